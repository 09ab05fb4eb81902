//! STUN and ICE: numbers 1 to 6 of the list.

use crate::Scene;
use crate::attacker::Attacker;
use crate::forge::{
    BINDING_ERROR, BINDING_INDICATION, BINDING_REQUEST, BINDING_SUCCESS, attribute, offer, random, stun,
};

#[tokio::test(flavor = "multi_thread")]
async fn bad_01_a_check_without_integrity_or_with_a_wrong_one_is_not_believed() {
    let scene = Scene::new("bad-01").await;
    let mut eve = Attacker::subscribe(&scene.invitation()).await;
    let username = eve.username();
    let attributes: &[(u16, &[u8])] = &[
        (attribute::USERNAME, username.as_bytes()),
        (attribute::PRIORITY, &[1; 4]),
        (attribute::ICE_CONTROLLING, &[1; 8]),
        (attribute::USE_CANDIDATE, &[]),
    ];
    for key in [None, Some("not the password"), Some("")] {
        let request = stun(BINDING_REQUEST, attributes, key);
        assert_ne!(eve.stun_answer(&request).await, Some(BINDING_SUCCESS), "key {key:?}");
    }
    // A good seal over something else.
    let mut request = eve.good_check(&[]);
    let last = request.len() - 1;
    request[last] ^= 1;
    assert_ne!(eve.stun_answer(&request).await, Some(BINDING_SUCCESS));
    assert!(!eve.dtls_answer(&crate::attacker::client_hello()).await, "no address was validated by them");
    assert!(eve.check().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_02_malformed_stun_is_passed_over() {
    let scene = Scene::new("bad-02").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    let username = eve.username();
    let user: (u16, &[u8]) = (attribute::USERNAME, username.as_bytes());
    let password = eve.password().to_owned();
    let mut messages = vec![
        stun(BINDING_INDICATION, &[], None),
        stun(BINDING_INDICATION, &[user], Some(&password)),
        stun(BINDING_ERROR, &[(attribute::ERROR_CODE, &[])], None),
        stun(BINDING_ERROR, &[(attribute::ERROR_CODE, &[0, 0, 255, 255])], Some(&password)),
        stun(BINDING_ERROR, &[(attribute::ERROR_CODE, &[7; 700])], Some(&password)),
        stun(BINDING_SUCCESS, &[(0x0020, &[0, 9, 1, 2, 3])], None),
        stun(0x3fff, &[user], Some(&password)),
    ];
    let good = eve.good_check(&[]);
    // Every truncation, and every attribute length that lies.
    messages.extend((0..good.len()).map(|length| good[..length].to_vec()));
    for place in (20..good.len() - 4).step_by(4) {
        for length in [0_u16, 1, 3, 0x7fff, 0xffff] {
            let mut lies = good.clone();
            lies[place + 2..place + 4].copy_from_slice(&length.to_be_bytes());
            messages.push(lies);
        }
    }
    for length in [0_u16, 1, 4, 0xfffc, 0xffff] {
        let mut lies = good.clone();
        lies[2..4].copy_from_slice(&length.to_be_bytes());
        messages.push(lies);
    }
    for message in messages {
        eve.send(&message).await;
    }
    assert!(eve.check().await && eve.hears().await, "its own session lives on");
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_03_candidates_of_unknown_components_are_passed_over() {
    let scene = Scene::new("bad-03").await;
    for component in ["0", "2", "999", "4294967296", "-1", "x", ""] {
        let mut eve = Attacker::join(&scene.invitation()).await;
        let offer = offer(9).replace("a=candidate:1 1 ", &format!("a=candidate:1 {component} "));
        assert!(eve.offer(offer).await.is_ok(), "component {component:?}");
    }
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_04_very_long_names_are_refused() {
    let scene = Scene::new("bad-04").await;
    for (from, name) in
        [("a=ice-ufrag:evil", "a=ice-ufrag:"), ("a=ice-pwd:attackers-need-passwords-too", "a=ice-pwd:")]
    {
        let mut eve = Attacker::join(&scene.invitation()).await;
        let long = format!("{name}{}", "x".repeat(100_000));
        assert_eq!(eve.offer(offer(9).replace(from, &long)).await, Err(400), "{name}");
        assert_eq!(eve.close_code().await, 4400);
    }
    let mut eve = Attacker::subscribe(&scene.invitation()).await;
    for length in [1, 255, 513, 1_200] {
        let name = vec![b'u'; length];
        let request = stun(BINDING_REQUEST, &[(attribute::USERNAME, &name)], Some("password"));
        assert_eq!(eve.stun_answer(&request).await, None, "a username of {length} bytes");
    }
    assert!(eve.check().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_05_renomination_and_role_conflicts_move_nobody() {
    let scene = Scene::new("bad-05").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    for number in [0_u32, 1, 0xff_ffff, u32::MAX] {
        let request = eve.good_check(&[(attribute::NOMINATION, &number.to_be_bytes())]);
        eve.send(&request).await;
    }
    let username = eve.username();
    for tie_breaker in [[0; 8], [0xff; 8], random()] {
        let attributes: &[(u16, &[u8])] = &[
            (attribute::USERNAME, username.as_bytes()),
            (attribute::PRIORITY, &[1; 4]),
            (attribute::ICE_CONTROLLED, &tie_breaker),
        ];
        let request = stun(BINDING_REQUEST, attributes, Some(eve.password()));
        eve.send(&request).await;
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_06_peers_that_vanish_without_a_word_take_nothing_with_them() {
    let scene = Scene::new("bad-06").await;
    for _ in 0..10 {
        drop(Attacker::enter(&scene.invitation()).await);
        drop(Attacker::subscribe(&scene.invitation()).await);
    }
    scene.is_undisturbed().await;
}
