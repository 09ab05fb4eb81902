use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use campanile_wire::api::{Capabilities, Capability, JoinToken, NewAttendee};
use rand_core::SeedableRng as _;
use uuid::Uuid;

use super::tokens::JOIN_TOKEN_CHARS;
use super::*;
use crate::ids::{AttendeeKey, SessionId};
use crate::trace::JoinTrace;

const KEY: [u8; 32] = [7; 32];

fn registry() -> Registry {
    Registry::new(JoinTokenKey::new(&KEY), 0x2713, ChaCha12Rng::seed_from_u64(1))
}

fn account(digit: u8) -> AccountId {
    format!("{digit:012}").parse().unwrap()
}

fn meeting_with(features: &str, token: &str) -> NewMeeting {
    let body = format!(
        r#"{{"ClientRequestToken":"{token}","MediaRegion":"us-east-1","ExternalMeetingId":"standup","MeetingFeatures":{features}}}"#
    );
    serde_json::from_str::<campanile_wire::api::CreateMeetingRequest>(&body).unwrap().check().unwrap()
}

fn meeting(token: &str) -> NewMeeting {
    meeting_with("null", token)
}

fn person(name: &str) -> NewAttendee {
    NewAttendee { external_user_id: name.into(), capabilities: None }
}

fn capable(name: &str, capabilities: Capabilities) -> NewAttendee {
    NewAttendee { external_user_id: name.into(), capabilities: Some(capabilities) }
}

/// What has changed but for the events of it.
fn record_writes(registry: &mut Registry) -> Vec<Write> {
    registry.take_writes().into_iter().filter(|write| !matches!(write, Write::Event(_))).collect()
}

const LISTENER: Capabilities =
    Capabilities { audio: Capability::Receive, video: Capability::Receive, content: Capability::Receive };

#[test]
fn the_same_request_token_finds_the_same_meeting_while_it_lives() {
    let mut registry = registry();
    let first = registry.create_meeting(account(1), 5, meeting("tok")).unwrap();
    let again = registry
        .create_meeting(account(1), 9, meeting_with(r#"{"Attendee":{"MaxCount":2}}"#, "tok"))
        .unwrap();
    assert_eq!((again.id, again.created_unix_ms), (first.id, 5));
    assert_eq!(record_writes(&mut registry).len(), 1, "a retry writes nothing");
    registry.delete_meeting(account(1), 0, first.id).unwrap();
    assert_ne!(registry.create_meeting(account(1), 10, meeting("tok")).unwrap().id, first.id);
}

#[test]
fn nothing_crosses_accounts() {
    let mut registry = registry();
    let ours = registry.create_meeting(account(1), 0, meeting("tok")).unwrap();
    let theirs = registry.create_meeting(account(2), 0, meeting("tok")).unwrap();
    assert_ne!(ours.id, theirs.id, "request tokens are per account");
    let ann = registry.create_attendee(account(1), 0, ours.id, person("ann")).unwrap();
    let gone = RegistryError::MeetingNotFound(ours.id);
    assert_eq!(registry.meeting(account(2), ours.id).unwrap_err(), gone);
    assert_eq!(registry.attendee(account(2), ours.id, ann.id).unwrap_err(), gone);
    assert_eq!(registry.attendees(account(2), ours.id, None, 100).unwrap_err(), gone);
    assert_eq!(registry.create_attendee(account(2), 0, ours.id, person("eve")).unwrap_err(), gone);
    assert_eq!(registry.delete_attendee(account(2), 0, ours.id, ann.id).unwrap_err(), gone);
    assert_eq!(registry.delete_meeting(account(2), 0, ours.id).unwrap_err(), gone);
    assert_eq!(
        registry.attendee(account(2), theirs.id, ann.id).unwrap_err(),
        RegistryError::AttendeeNotFound(ann.id)
    );
    assert!(registry.meeting(account(1), ours.id).is_ok());
}

#[test]
fn the_same_person_again_is_the_same_attendee() {
    let mut registry = registry();
    let id = registry.create_meeting(account(1), 0, meeting("tok")).unwrap().id;
    let mut create = |new| registry.create_attendee(account(1), 0, id, new).unwrap().id;
    let ann = create(person("ann"));
    assert_eq!(create(person("ann")), ann);
    assert_eq!(create(capable("ann", Capabilities::ALL)), ann);
    assert_ne!(create(person("Ann")), ann, "compared exactly");
    let listener = create(capable("ann", LISTENER));
    assert_ne!(listener, ann);
    assert_eq!(create(capable("ann", LISTENER)), listener);
}

#[test]
fn the_ceiling_counts_attendees_that_exist() {
    let mut registry = registry();
    let id = registry
        .create_meeting(account(1), 0, meeting_with(r#"{"Attendee":{"MaxCount":2}}"#, "tok"))
        .unwrap()
        .id;
    let ann = registry.create_attendee(account(1), 0, id, person("ann")).unwrap();
    registry.create_attendee(account(1), 0, id, person("bob")).unwrap();
    assert_eq!(
        registry.create_attendee(account(1), 0, id, person("cid")).unwrap_err(),
        RegistryError::AttendeeLimit(2)
    );
    assert_eq!(
        registry.create_attendee(account(1), 0, id, person("ann")).unwrap().id,
        ann.id,
        "not a new one"
    );
    registry.delete_attendee(account(1), 0, id, ann.id).unwrap();
    assert!(registry.create_attendee(account(1), 0, id, person("cid")).is_ok());
}

#[test]
fn capabilities_follow_what_the_meeting_has() {
    use Capability::{None, Receive, SendReceive};
    let check = |features: &str, asked: Option<[Capability; 3]>, expected: Option<[Capability; 3]>| {
        let mut registry = registry();
        let id = registry.create_meeting(account(1), 0, meeting_with(features, "tok")).unwrap().id;
        let capabilities = asked.map(|[audio, video, content]| Capabilities { audio, video, content });
        let new = NewAttendee { external_user_id: "ann".into(), capabilities };
        let made = registry.create_attendee(account(1), 0, id, new).ok().map(|made| made.capabilities);
        assert_eq!(made.map(|made| [made.audio, made.video, made.content]), expected, "{features} {asked:?}");
    };
    let no_video = r#"{"Video":{"MaxResolution":"None"}}"#;
    let no_content = r#"{"Content":{"MaxResolution":"None"}}"#;
    let neither = r#"{"Video":{"MaxResolution":"None"},"Content":{"MaxResolution":"None"}}"#;
    check("null", Option::None, Some([SendReceive; 3]));
    check(no_video, Option::None, Some([SendReceive, Receive, SendReceive]));
    check(no_content, Option::None, Some([SendReceive, SendReceive, None]));
    check(neither, Option::None, Some([SendReceive, None, None]));
    check(no_video, Some([SendReceive, Receive, SendReceive]), Option::None);
    check(no_video, Some([SendReceive, None, None]), Some([SendReceive, None, None]));
    check(no_content, Some([SendReceive, SendReceive, Receive]), Option::None);
    check(no_content, Some([None, SendReceive, None]), Some([None, SendReceive, None]));
}

#[test]
fn pages_hold_while_attendees_come_and_go() {
    let mut registry = registry();
    let id = registry.create_meeting(account(1), 0, meeting("tok")).unwrap().id;
    for n in 0..7 {
        registry.create_attendee(account(1), 0, id, person(&format!("person {n}"))).unwrap();
    }
    let page = |registry: &Registry, after, max| -> (Vec<AttendeeId>, Option<AttendeeId>) {
        let (page, next) = registry.attendees(account(1), id, after, max).unwrap();
        (page.into_iter().map(|record| record.id).collect(), next)
    };
    let (all, end) = page(&registry, None, 7);
    assert_eq!((all.len(), end), (7, None), "a full last page has no successor");
    let (first, next) = page(&registry, None, 3);
    assert_eq!((&first[..], next), (&all[..3], Some(all[2])));
    registry.delete_attendee(account(1), 0, id, all[2]).unwrap();
    registry.delete_attendee(account(1), 0, id, all[3]).unwrap();
    assert_eq!(page(&registry, next, 3), (all[4..].to_vec(), None));
}

#[test]
fn trap_03_and_trap_35_a_token_admits_its_attendee_and_their_share_and_no_other() {
    let mut registry = registry();
    let here = registry.create_meeting(account(1), 0, meeting("here")).unwrap().id;
    let there = registry.create_meeting(account(1), 0, meeting("there")).unwrap().id;
    let ann = registry.create_attendee(account(1), 0, here, capable("ann", LISTENER)).unwrap();
    let token = registry.join_token(&ann);
    let token = token.reveal();
    assert_eq!(token.len(), JOIN_TOKEN_CHARS);
    assert!(
        token.bytes().all(|c| c.is_ascii_alphanumeric()),
        "legal in a subprotocol and a SIP URI: {token}"
    );

    let admission = registry.admit(here, token).unwrap();
    assert_eq!(admission.attendee, AttendeeKey { id: ann.id, content: false });
    assert_eq!((admission.external_user_id.as_str(), admission.capabilities), ("ann", LISTENER));
    let share = registry.admit(here, &format!("{token}#content")).unwrap();
    assert_eq!(share.attendee, AttendeeKey { id: ann.id, content: true });

    let check = |token: &str| {
        assert_eq!(registry.admit(here, token).unwrap_err(), JoinError::AttendeeUnavailable, "{token}");
    };
    check("");
    check("#content");
    check(&token[1..]);
    check(&format!("{token}#content#content"));
    check(&format!("{token}A"));
    check(&STANDARD_NO_PAD.encode(format!("{}:{}", ann.id, Uuid::nil())));
    check(&STANDARD_NO_PAD.encode("x".repeat(73)));
    check(JoinTokenKey::new(&[8; 32]).token(ann.id, 0).reveal());
    check(JoinTokenKey::new(&KEY).token(ann.id, 1).reveal());
    check(JoinTokenKey::new(&KEY).token(AttendeeId(Uuid::nil()), 0).reveal());
    for place in 0..token.len() {
        let mut forged = token.as_bytes().to_vec();
        forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
        check(std::str::from_utf8(&forged).unwrap());
    }
    assert_eq!(
        registry.admit(there, token).unwrap_err(),
        JoinError::AttendeeUnavailable,
        "another meeting's"
    );
    assert_eq!(registry.admit(MeetingId(Uuid::nil()), token).unwrap_err(), JoinError::MeetingEnded);
}

#[test]
fn a_token_dies_with_its_attendee_or_meeting() {
    let mut registry = registry();
    let id = registry.create_meeting(account(1), 0, meeting("tok")).unwrap().id;
    let ann = registry.create_attendee(account(1), 0, id, person("ann")).unwrap();
    let bob = registry.create_attendee(account(1), 0, id, person("bob")).unwrap();
    let (ann_token, bob_token) = (registry.join_token(&ann), registry.join_token(&bob));
    registry.delete_attendee(account(1), 0, id, ann.id).unwrap();
    assert_eq!(registry.admit(id, ann_token.reveal()).unwrap_err(), JoinError::AttendeeUnavailable);
    assert_ne!(registry.create_attendee(account(1), 0, id, person("ann")).unwrap().id, ann.id);
    assert!(registry.admit(id, bob_token.reveal()).is_ok());
    registry.delete_meeting(account(1), 0, id).unwrap();
    assert_eq!(registry.admit(id, bob_token.reveal()).unwrap_err(), JoinError::MeetingEnded);
}

#[test]
fn what_was_written_restores_everything() {
    let mut before = registry();
    let id = before.create_meeting(account(1), 3, meeting("tok")).unwrap().id;
    let ann = before.create_attendee(account(1), 0, id, capable("ann", LISTENER)).unwrap();
    let (mut meetings, mut attendees) = (vec![], vec![]);
    for write in record_writes(&mut before) {
        match write {
            // Through JSON, as the store keeps them.
            Write::Meeting(record) => {
                meetings.push(serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap());
            }
            Write::Attendee(record) => {
                attendees.push(serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap());
            }
            other => panic!("nothing was deleted: {other:?}"),
        }
    }
    let mut after = registry();
    after.restore(9, meetings, attendees);
    assert!(after.admit(id, before.join_token(&ann).reveal()).is_ok());
    assert_eq!(after.create_meeting(account(1), 9, meeting("tok")).unwrap().id, id);
    assert_eq!(after.create_attendee(account(1), 0, id, person("ann")).unwrap().id, ann.id);
    assert!(record_writes(&mut after).is_empty());
}

#[test]
fn meeting_ids_end_in_the_cell() {
    let id = registry().create_meeting(account(1), 0, meeting("tok")).unwrap().id.to_string();
    assert!(id.ends_with("2713"), "{id}");
    assert_eq!(&id[14..15], "4", "the rest looks like a random UUID: {id}");
}

#[test]
fn a_strangers_token_is_harmless() {
    fuzz::join_token(b"");
    fuzz::join_token(&[0xff; 98]);
    fuzz::join_token(STANDARD_NO_PAD.encode(format!("{}:{}", Uuid::nil(), Uuid::max())).as_bytes());
}

const MINUTE_MS: u64 = 60_000;

/// Runs a registry's own timers up to `now`, as the shell does.
fn run_until(registry: &mut Registry, now_unix_ms: u64) {
    while let Some(due) = registry.poll_timeout().filter(|due| *due <= now_unix_ms) {
        registry.handle_timeout(due);
    }
}

fn lives(registry: &Registry, id: MeetingId) -> bool {
    registry.meeting(account(1), id).is_ok()
}

#[test]
fn a_meeting_to_which_nobody_comes_ends_after_five_minutes() {
    let mut registry = registry();
    assert_eq!(registry.poll_timeout(), None);
    let id = registry.create_meeting(account(1), 1_000, meeting("tok")).unwrap().id;
    registry.take_writes();
    assert_eq!(registry.poll_timeout(), Some(1_000 + 5 * MINUTE_MS));
    run_until(&mut registry, 999 + 5 * MINUTE_MS);
    assert!(lives(&registry, id));
    run_until(&mut registry, 1_000 + 5 * MINUTE_MS);
    assert!(!lives(&registry, id));
    assert!(matches!(record_writes(&mut registry)[..], [Write::MeetingDeleted(ended)] if ended == id));
    assert_eq!(registry.poll_timeout(), None);
    assert_ne!(registry.create_meeting(account(1), 2_000, meeting("tok")).unwrap().id, id);
}

#[test]
fn five_minutes_without_anybody_begin_with_the_last_departure() {
    let mut registry = registry();
    let id = registry.create_meeting(account(1), 0, meeting("tok")).unwrap().id;
    registry.set_present(4 * MINUTE_MS, id, 1);
    registry.set_present(5 * MINUTE_MS, id, 2);
    run_until(&mut registry, 60 * MINUTE_MS);
    registry.set_present(61 * MINUTE_MS, id, 1);
    run_until(&mut registry, 90 * MINUTE_MS);
    registry.set_present(90 * MINUTE_MS, id, 0);
    registry.set_present(92 * MINUTE_MS, id, 0);
    assert_eq!(registry.poll_timeout(), Some(95 * MINUTE_MS), "said twice is not said anew");
    registry.set_present(94 * MINUTE_MS, id, 1);
    registry.set_present(96 * MINUTE_MS, id, 0);
    run_until(&mut registry, 101 * MINUTE_MS - 1);
    assert!(lives(&registry, id));
    run_until(&mut registry, 101 * MINUTE_MS);
    assert!(!lives(&registry, id));
    registry.set_present(102 * MINUTE_MS, id, 3);
    assert_eq!(registry.poll_timeout(), None, "what is told of an ended meeting changes nothing");
}

#[test]
fn a_meeting_ends_after_a_day_whoever_is_present() {
    let mut registry = registry();
    let id = registry.create_meeting(account(1), 7, meeting("tok")).unwrap().id;
    registry.set_present(8, id, 5);
    run_until(&mut registry, 24 * 60 * MINUTE_MS + 6);
    assert!(lives(&registry, id));
    run_until(&mut registry, 24 * 60 * MINUTE_MS + 7);
    assert!(!lives(&registry, id));
}

#[test]
fn after_a_restart_people_have_time_to_come_back() {
    let mut before = registry();
    let record = before.create_meeting(account(1), 0, meeting("tok")).unwrap();
    let mut after = registry();
    after.restore(60 * MINUTE_MS, vec![record.clone()], vec![]);
    assert_eq!(after.poll_timeout(), Some(65 * MINUTE_MS));
    let mut next_day = registry();
    next_day.restore(25 * 60 * MINUTE_MS, vec![record.clone()], vec![]);
    run_until(&mut next_day, 25 * 60 * MINUTE_MS);
    assert!(!lives(&next_day, record.id), "its day was over meanwhile");
}

fn replica(token: &str, primary: impl std::fmt::Display) -> NewMeeting {
    NewMeeting { primary_meeting_id: Some(primary.to_string()), ..meeting(token) }
}

#[test]
fn replicas_hang_on_their_primary() {
    let mut registry = registry();
    let primary = registry.create_meeting(account(1), 0, meeting("primary")).unwrap().id;
    let refused = |result: Result<MeetingRecord, RegistryError>| {
        assert!(matches!(result, Err(RegistryError::Invalid(_))), "{result:?}");
    };
    refused(registry.create_meeting(account(1), 0, replica("tok", Uuid::nil())));
    refused(registry.create_meeting(account(1), 0, replica("tok", "no id")));
    refused(registry.create_meeting(account(2), 0, replica("tok", primary)));
    let mut make = |token: &str| registry.create_meeting(account(1), 0, replica(token, primary));
    let made: Vec<_> = ["aa", "bb", "cc", "dd"].map(|token| make(token).unwrap().id).into();
    assert_eq!(make("ee").unwrap_err(), RegistryError::ReplicaLimit(4));
    assert_eq!(make("aa").unwrap().id, made[0]);
    refused(registry.create_meeting(account(1), 0, replica("ff", made[0])));
    registry.delete_meeting(account(1), 0, made[0]).unwrap();
    let again = registry.create_meeting(account(1), 0, replica("ee", primary)).unwrap().id;

    registry.set_present(0, primary, 1);
    run_until(&mut registry, 60 * MINUTE_MS);
    assert!(lives(&registry, again), "an empty replica does not end by itself");
    registry.set_present(60 * MINUTE_MS, primary, 0);
    run_until(&mut registry, 65 * MINUTE_MS);
    assert!(!lives(&registry, primary) && !lives(&registry, again), "but with its primary");
    assert_eq!((registry.meeting_count(), registry.poll_timeout()), (0, None));
}

#[test]
fn an_account_has_as_many_meetings_as_it_may() {
    let limits = RegistryLimits { meetings_per_account: 3, ..RegistryLimits::default() };
    let mut registry = registry().with_limits(limits);
    let mut make = |who, token: &str| registry.create_meeting(account(who), 0, meeting(token));
    let first = make(1, "aa").unwrap().id;
    make(1, "bb").unwrap();
    make(1, "cc").unwrap();
    assert_eq!(make(1, "dd").unwrap_err(), RegistryError::MeetingLimit(3));
    assert_eq!(make(1, "aa").unwrap().id, first, "a retry is not a new one");
    assert!(make(2, "dd").is_ok(), "another account's meetings do not count");
    registry.delete_meeting(account(1), 0, first).unwrap();
    assert!(registry.create_meeting(account(1), 0, meeting("dd")).is_ok());
}

#[test]
fn the_documented_quotas_are_the_defaults() {
    let mut registry = registry();
    for n in 0..250 {
        registry.create_meeting(account(1), 0, meeting(&format!("t{n}"))).unwrap();
    }
    assert_eq!(
        registry.create_meeting(account(1), 0, meeting("more")).unwrap_err(),
        RegistryError::MeetingLimit(250)
    );
    let id = registry.create_meeting(account(2), 0, meeting("tok")).unwrap().id;
    for n in 0..250 {
        registry.create_attendee(account(2), 0, id, person(&format!("p{n}"))).unwrap();
    }
    assert_eq!(
        registry.create_attendee(account(2), 0, id, person("more")).unwrap_err(),
        RegistryError::AttendeeLimit(250)
    );
}

#[test]
fn an_installation_may_hold_more_than_the_documented_attendees() {
    let limits = RegistryLimits { attendees_per_meeting: 301, ..RegistryLimits::default() };
    let mut registry = registry().with_limits(limits);
    let id = registry.create_meeting(account(1), 0, meeting("tok")).unwrap().id;
    for n in 0..301 {
        registry.create_attendee(account(1), 0, id, person(&format!("p{n}"))).unwrap();
    }
    assert_eq!(
        registry.create_attendee(account(1), 0, id, person("more")).unwrap_err(),
        RegistryError::AttendeeLimit(301)
    );
}

#[test]
fn two_attendees_per_user_can_be_asked_for() {
    let limits = RegistryLimits { one_attendee_per_user: false, ..RegistryLimits::default() };
    let mut registry = registry().with_limits(limits);
    let id = registry.create_meeting(account(1), 0, meeting("tok")).unwrap().id;
    let first = registry.create_attendee(account(1), 0, id, person("ann")).unwrap();
    assert_ne!(registry.create_attendee(account(1), 0, id, person("ann")).unwrap().id, first.id);
}

#[test]
fn capabilities_are_replaced_for_one_or_for_all_but_some() {
    let mut registry = registry();
    let id = registry.create_meeting(account(1), 0, meeting("tok")).unwrap().id;
    let [ann, bob, cid] =
        ["ann", "bob", "cid"].map(|name| registry.create_attendee(account(1), 0, id, person(name)).unwrap());
    registry.take_writes();
    let changed = registry.set_capabilities(account(1), 0, id, ann.id, LISTENER).unwrap();
    assert_eq!(changed.capabilities, LISTENER);
    let writes = record_writes(&mut registry);
    assert!(matches!(&writes[..], [Write::Capabilities(record)] if record.id == ann.id));
    registry.set_capabilities(account(1), 0, id, ann.id, LISTENER).unwrap();
    assert!(record_writes(&mut registry).is_empty(), "nothing has changed");
    let token = registry.join_token(&bob);
    registry
        .set_capabilities_except(
            account(1),
            0,
            id,
            &BTreeSet::from([cid.id, AttendeeId(Uuid::nil())]),
            LISTENER,
        )
        .unwrap();
    assert!(
        matches!(&record_writes(&mut registry)[..], [Write::Capabilities(record)] if record.id == bob.id)
    );
    assert_eq!(registry.admit(id, token.reveal()).unwrap().capabilities, LISTENER);
    assert_eq!(registry.attendee(account(1), id, cid.id).unwrap().capabilities, Capabilities::ALL);
    assert_eq!(
        registry.set_capabilities(account(1), 0, id, AttendeeId(Uuid::nil()), LISTENER).unwrap_err(),
        RegistryError::AttendeeNotFound(AttendeeId(Uuid::nil()))
    );
    let gone = RegistryError::MeetingNotFound(id);
    assert_eq!(registry.set_capabilities(account(2), 0, id, ann.id, LISTENER).unwrap_err(), gone);
    let nobody = BTreeSet::new();
    assert_eq!(registry.set_capabilities_except(account(2), 0, id, &nobody, LISTENER).unwrap_err(), gone);

    let no_video = meeting_with(r#"{"Video":{"MaxResolution":"None"}}"#, "no-video");
    let id = registry.create_meeting(account(1), 0, no_video).unwrap().id;
    let ann = registry.create_attendee(account(1), 0, id, person("ann")).unwrap();
    let refused = registry.set_capabilities(account(1), 0, id, ann.id, LISTENER);
    assert!(matches!(refused, Err(RegistryError::Invalid(_))));
    assert!(matches!(
        registry.set_capabilities_except(account(1), 0, id, &nobody, LISTENER),
        Err(RegistryError::Invalid(_))
    ));
}

#[test]
fn tags_are_added_replaced_and_removed() {
    let mut registry = registry();
    let id = registry.create_meeting(account(1), 0, meeting("tok")).unwrap().id;
    let tag = |key: &str, value: &str| Tag { key: key.into(), value: value.into() };
    registry.tag(account(1), id, vec![tag("a", "1"), tag("b", "2")]).unwrap();
    registry.tag(account(1), id, vec![tag("b", "3")]).unwrap();
    assert_eq!(registry.meeting(account(1), id).unwrap().tags, [tag("a", "1"), tag("b", "3")]);
    registry.untag(account(1), id, &["a".into(), "never was".into()]).unwrap();
    assert_eq!(registry.meeting(account(1), id).unwrap().tags, [tag("b", "3")]);
    registry.tag(account(1), id, (0..49).map(|n| tag(&format!("k{n}"), "")).collect()).unwrap();
    registry.take_writes();
    assert_eq!(
        registry.tag(account(1), id, vec![tag("one-more", "")]).unwrap_err(),
        RegistryError::TooManyTags(50)
    );
    assert_eq!(registry.meeting(account(1), id).unwrap().tags.len(), 50, "nothing was added");
    assert!(record_writes(&mut registry).is_empty());
    registry.tag(account(1), id, vec![tag("k0", "new")]).unwrap();
    assert_eq!(registry.tag(account(2), id, vec![]).unwrap_err(), RegistryError::MeetingNotFound(id));
}

#[test]
fn transcription_is_recorded_until_it_is_stopped() {
    let mut registry = registry();
    let id = registry.create_meeting(account(1), 0, meeting("tok")).unwrap().id;
    assert_eq!(registry.stop_transcription(account(1), 0, id).unwrap_err(), RegistryError::NoTranscription);
    for _ in 0..2 {
        registry.start_transcription(account(1), 0, id, TranscriptionConfiguration::default()).unwrap();
    }
    assert!(registry.meeting(account(1), id).unwrap().transcription.is_some());
    registry.stop_transcription(account(1), 0, id).unwrap();
    assert_eq!(registry.stop_transcription(account(1), 0, id).unwrap_err(), RegistryError::NoTranscription);
}

#[test]
fn a_replica_promotes_by_tokens_of_its_primary_only() {
    let mut registry = registry();
    let primary = registry.create_meeting(account(1), 0, meeting("primary")).unwrap().id;
    let replica = registry.create_meeting(account(1), 0, replica("replica", primary)).unwrap().id;
    let mut token = |meeting| {
        let made = registry.create_attendee(account(1), 0, meeting, person("ann")).unwrap();
        (made.id, registry.join_token(&made))
    };
    let ((guest, of_primary), (_, of_replica)) = (token(primary), token(replica));
    let promoted = registry.admit_promoted(replica, of_primary.reveal()).unwrap();
    assert_eq!((promoted.meeting, promoted.primary, promoted.attendee.id), (primary, None, guest));
    let admitted = registry.admit(replica, of_replica.reveal()).unwrap();
    assert_eq!((admitted.meeting, admitted.primary), (replica, Some(primary)));
    let refused = |registry: &Registry, meeting, token: &JoinToken| {
        let why = registry.admit_promoted(meeting, token.reveal()).unwrap_err();
        assert_eq!(why, JoinError::AttendeeUnavailable);
    };
    refused(&registry, replica, &of_replica);
    refused(&registry, primary, &of_primary); // it is no replica
    registry.delete_attendee(account(1), 0, primary, guest).unwrap();
    refused(&registry, replica, &of_primary);
}

/// A join that is refused as the doors refuse it, and the events of it.
fn refused(registry: &mut Registry, now: u64, meeting: MeetingId, token: &str) -> Vec<Detail> {
    let why = registry.admit(meeting, token).unwrap_err();
    if let Some(refusal) = registry.refusal(meeting, token, why) {
        let opened = std::time::Duration::from_millis(now);
        let trace = JoinTrace::refused(crate::test_start(), opened, SessionId(1), refusal);
        registry.note_failed_join(now, &trace);
    }
    let writes = registry.take_writes().into_iter();
    let event = |write| if let Write::Event(event) = write { Some(event.event.detail) } else { None };
    writes.filter_map(event).collect()
}

#[test]
fn a_failed_join_is_told_to_the_meetings_owner_with_phase_cause_and_remedy() {
    let mut registry = registry();
    let id = registry.create_meeting(account(1), 0, meeting("tok")).unwrap().id;
    let ann = registry.create_attendee(account(1), 0, id, person("ann")).unwrap();
    let token = registry.join_token(&ann).reveal().to_owned();
    registry.take_writes();
    // A stranger: nobody is named.
    let told = refused(&mut registry, 1_000, id, "a guess");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].event_type, EventType::AttendeeJoinFailed);
    assert_eq!((told[0].timestamp, told[0].attendee_id.as_deref()), (1_000, None));
    assert_eq!(told[0].cause.as_deref(), Some("attendee unavailable"));
    assert_eq!(told[0].phase.as_deref(), Some("Opened"));
    assert!(told[0].remedy.as_deref().is_some_and(|remedy| remedy.contains("join token")));
    // Whose token it was, though the meeting is over.
    registry.delete_meeting(account(1), 2_000, id).unwrap();
    registry.take_writes();
    for (token, what) in [
        (token.clone(), EventType::AttendeeJoinFailed),
        (format!("{token}#content"), EventType::AttendeeContentJoinFailed),
    ] {
        let told = refused(&mut registry, 3_000, id, &token);
        assert_eq!(told[0].event_type, what);
        assert_eq!(told[0].attendee_id, Some(ann.id.to_string()));
        assert_eq!(told[0].external_meeting_id.as_deref(), Some("standup"));
        assert_eq!(told[0].cause.as_deref(), Some("meeting ended"));
    }
    // A meeting that never was is nobody's.
    assert_eq!(refused(&mut registry, 3_000, MeetingId(Uuid::nil()), &token), []);
}

#[test]
fn a_flood_of_failed_joins_is_told_within_bounds_and_what_is_left_out_is_counted() {
    const HOUR: u64 = 3_600_000;
    let mut registry = registry();
    let mut make = |token: &str| registry.create_meeting(account(1), 0, meeting(token)).unwrap().id;
    let (flooded, calm) = (make("flooded"), make("calm"));
    let ann = registry.create_attendee(account(1), 0, flooded, person("ann")).unwrap();
    let token = registry.join_token(&ann).reveal().to_owned();
    registry.take_writes();
    let told: usize = (0..10_000).map(|now| refused(&mut registry, now, flooded, "x").len()).sum();
    assert_eq!(told, 25);
    assert_eq!(refused(&mut registry, 10_000, calm, "x").len(), 1, "other meetings are told of as before");
    // Strangers take nothing from the meeting's own people, who have a bound as well.
    registry.lock(account(1), flooded).unwrap();
    registry.set_inside(flooded, Default::default());
    registry.take_writes();
    let own: Vec<_> = (0..1_000).flat_map(|_| refused(&mut registry, 10_000, flooded, &token)).collect();
    assert_eq!((own.len(), own[0].omitted), (250, Some(9_975)));
    let later = refused(&mut registry, HOUR, flooded, "x");
    assert_eq!(later.iter().map(|detail| detail.omitted).collect::<Vec<_>>(), [Some(750)]);
    assert_eq!(refused(&mut registry, HOUR, flooded, "x")[0].omitted, None);
    // An account has bounds, too, however many meetings are flooded.
    let mut told = [0; 2];
    for n in 0..5 {
        let id = registry.create_meeting(account(2), 0, meeting(&format!("flooded-{n}"))).unwrap().id;
        let ann = registry.create_attendee(account(2), 0, id, person("ann")).unwrap();
        let token = registry.join_token(&ann).reveal().to_owned();
        registry.lock(account(2), id).unwrap();
        registry.set_inside(id, Default::default());
        registry.take_writes();
        for (told, token) in told.iter_mut().zip(["x", &token]) {
            *told += (0..300).map(|_| refused(&mut registry, 5, id, token).len()).sum::<usize>();
        }
    }
    assert_eq!(told, [50, 400]);
}

#[test]
fn who_comes_too_late_is_told_of_also_after_a_restart_and_the_oldest_meetings_are_forgotten() {
    let mut first = registry();
    let id = first.create_meeting(account(1), 0, meeting("tok")).unwrap().id;
    first.delete_meeting(account(1), 1, id).unwrap();
    let mut stored = StoredEvents::default();
    for write in first.take_writes() {
        if let Write::Event(event) = write {
            stored.add(*event);
        }
    }
    let mut second = registry();
    second.restore_events(2, stored);
    assert_eq!(refused(&mut second, 3, id, "x").len(), 1);
    for n in 0..10_000 {
        let other = second.create_meeting(account(1), n, meeting("next")).unwrap().id;
        second.delete_meeting(account(1), n + 2, other).unwrap();
    }
    second.take_writes();
    assert_eq!(refused(&mut second, 20_000, id, "x"), []);
}
