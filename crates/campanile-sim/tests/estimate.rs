//! What the estimator makes of links of all kinds, in virtual time.

use campanile_media::units::Bitrate;
use campanile_sim::bed::{Bed, Traffic, narrow};
use campanile_sim::{Conditions, Loss, millis, secs};

/// Queueing that nobody minds in a call.
const SHORT: std::time::Duration = millis(150);

fn elastic(kbps: u64) -> Traffic {
    Traffic::Elastic(Bitrate::kbps(kbps))
}

#[test]
fn a_constant_link_is_found_and_filled_without_a_standing_queue() {
    fn check(kbps: u64, within: u64) {
        let mut bed = Bed::new(elastic(8000), narrow(kbps, millis(400)), kbps);
        let reached = bed.reaches(secs(within), kbps * 7 / 10..kbps * 11 / 10);
        assert!(reached.is_some(), "{kbps} kbit/s: not within {within} s, but {:?}", bed.samples.last());
        bed.run(secs(30));
        let (arrived, long) = bed.lately(secs(25), SHORT);
        assert!(arrived.as_kbps() > kbps * 7 / 10, "{kbps} kbit/s: used {arrived}");
        assert!(long < 0.1, "{kbps} kbit/s: a long queue {:.0} % of the time", long * 100.0);
    }
    check(300, 3);
    check(1000, 3);
    check(5000, 4);
}

#[test]
fn a_link_wide_enough_is_never_in_the_way() {
    let mut bed = Bed::new(elastic(3000), narrow(100_000, millis(200)), 1);
    assert!(bed.reaches(secs(2), 3000..10_000).is_some(), "{:?}", bed.samples.last());
    bed.run(secs(10));
    assert!(!bed.peer.estimator().is_limited());
    assert!(bed.lately(secs(8), millis(5)).0.as_kbps() > 2700);
}

#[test]
fn a_link_that_narrows_is_followed_down_and_up() {
    let mut bed = Bed::new(elastic(4000), narrow(3000, millis(400)), 2);
    bed.run(secs(15)).becomes(narrow(500, millis(400)));
    let down = bed.reaches(secs(3), 200..520);
    assert!(down.is_some(), "not down within 3 s: {:?}", bed.samples.last());
    bed.run(secs(15));
    assert!(bed.peer.estimator().is_limited());
    let (arrived, long) = bed.lately(secs(10), SHORT);
    assert!(arrived.as_kbps() > 330 && long < 0.15, "{arrived}, {long}");
    bed.becomes(narrow(3000, millis(400)));
    let up = bed.reaches(secs(10), 2000..3400);
    assert!(up.is_some(), "not up within 10 s: {:?}", bed.samples.last());
}

#[test]
fn layers_that_leave_room_are_probed_beyond() {
    let layers = Traffic::Layers([200, 600, 2500].map(Bitrate::kbps).to_vec());
    let mut bed = Bed::new(layers, narrow(300, millis(400)), 3);
    bed.run(secs(20));
    let (arrived, long) = bed.lately(secs(10), SHORT);
    assert!((150..320).contains(&arrived.as_kbps()) && long < 0.1, "{arrived}, {long}");
    bed.becomes(narrow(5000, millis(400)));
    let up = bed.reaches(secs(10), 2500..8000);
    assert!(up.is_some(), "not up within 10 s: {:?}", bed.samples.last());
}

#[test]
fn loss_that_is_not_ours_does_not_starve_us() {
    for share in [0.02, 0.10, 0.20] {
        let mut bed = Bed::new(elastic(2000), narrow(3000, millis(300)).losing(share), 4);
        bed.run(secs(40));
        let (arrived, _) = bed.lately(secs(20), SHORT);
        assert!(arrived.as_kbps() > 1000, "{share}: {arrived}");
    }
}

#[test]
fn loss_by_a_short_queue_is_ours() {
    let mut bed = Bed::new(elastic(4000), narrow(1000, millis(30)), 5);
    bed.run(secs(30));
    let (arrived, _) = bed.lately(secs(20), SHORT);
    assert!(arrived.as_kbps() > 500, "{arrived}");
    let estimate = bed.peer.estimator().estimate().unwrap_or_default().as_kbps();
    assert!(estimate < 1300, "{estimate}");
}

#[test]
fn jitter_is_no_congestion() {
    let conditions = narrow(5000, millis(300)).jittery(millis(30));
    let mut bed = Bed::new(elastic(2000), conditions, 6);
    bed.run(secs(40));
    let (arrived, _) = bed.lately(secs(20), SHORT);
    assert!(arrived.as_kbps() > 1200, "{arrived}");
}

#[test]
fn after_a_black_out_it_comes_back() {
    let mut bed = Bed::new(elastic(2000), narrow(3000, millis(300)), 7);
    bed.run(secs(10)).black_out(secs(5)).run(secs(5));
    let during = bed.peer.estimator().estimate().unwrap_or_default();
    assert!(during.as_kbps() < 500, "in the dark: {during}");
    assert!(bed.reaches(secs(10), 1800..4000).is_some(), "{:?}", bed.samples.last());
}

#[test]
fn what_others_take_is_left_to_them() {
    let mut bed = Bed::new(elastic(4000), narrow(3000, millis(400)), 8);
    bed.run(secs(10));
    bed.cross = Bitrate::kbps(1500);
    bed.run(secs(20));
    let (arrived, long) = bed.lately(secs(12), SHORT);
    assert!((900..1700).contains(&arrived.as_kbps()) && long < 0.2, "{arrived}, {long}");
    bed.cross = Bitrate::default();
    assert!(bed.reaches(secs(12), 2200..3400).is_some(), "{:?}", bed.samples.last());
}

#[test]
fn no_number_stops_it_when_it_wraps() {
    // 65,536 packets at 8 Mbit/s take a minute.
    let mut bed = Bed::new(elastic(8000), narrow(20_000, millis(300)), 9);
    bed.run(secs(150));
    let (arrived, _) = bed.lately(secs(140), SHORT);
    assert!(arrived.as_kbps() > 7000, "{arrived}");
}

#[test]
fn a_mobile_network_is_used() {
    let mut bed = Bed::new(
        elastic(2000),
        Conditions { loss: Loss::Burst { begins: 0.005, ends: 0.2, within: 0.6 }, ..Conditions::MOBILE },
        10,
    );
    bed.run(secs(40));
    let (arrived, _) = bed.lately(secs(20), SHORT);
    assert!(arrived.as_kbps() > 1000, "{arrived}");
}
