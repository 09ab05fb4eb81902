//! Random sequences of calls against an oracle that is too simple to be wrong: a list of what there is, and a tally of what
//! has happened. Between any two calls the process may be killed, and only what was written is left.

use std::collections::BTreeMap;

use campanile_wire::api::{Capabilities, Capability, NewAttendee};
use rand_core::SeedableRng as _;
use uuid::Uuid;

use super::*;

const ACCOUNTS: u64 = 2;
const STEPS: usize = 120;
const LIMITS: RegistryLimits = RegistryLimits {
    meetings_per_account: 4,
    attendees_per_meeting: 3,
    replicas_per_primary: 2,
    idle_ms: 1_000,
    lifetime_ms: 5_000,
    one_attendee_per_user: true,
};

#[derive(Clone, Debug)]
struct OracleMeeting {
    id: MeetingId,
    account: AccountId,
    token: String,
    created: u64,
    idle_since: Option<u64>,
    primary: Option<MeetingId>,
    attendees: BTreeMap<AttendeeId, (String, Capabilities)>,
    tags: BTreeMap<String, String>,
    transcribed: bool,
}

/// How often what has happened to whom, by what the events say.
type Tally = BTreeMap<(AccountId, EventType, MeetingId, Option<AttendeeId>), usize>;

#[derive(Default)]
struct Oracle {
    meetings: Vec<OracleMeeting>,
    /// Who is in a meeting, as far as events tell.
    joined: BTreeSet<(AccountId, MeetingId, AttendeeId)>,
    told: Tally,
}

impl Oracle {
    fn tell(&mut self, account: AccountId, what: EventType, meeting: MeetingId, who: Option<AttendeeId>) {
        *self.told.entry((account, what, meeting, who)).or_default() += 1;
    }
    fn count(&self, whose: AccountId) -> u64 {
        self.told.iter().filter(|((account, ..), _)| *account == whose).map(|(_, count)| *count as u64).sum()
    }
    fn find(&mut self, account: AccountId, id: MeetingId) -> Option<&mut OracleMeeting> {
        self.meetings.iter_mut().find(|meeting| meeting.account == account && meeting.id == id)
    }
    fn awaited(&self) -> BTreeSet<(MeetingId, AttendeeId)> {
        self.joined.iter().map(|(_, meeting, attendee)| (*meeting, *attendee)).collect()
    }
    fn end(&mut self, id: MeetingId) {
        let over = |meeting: &mut OracleMeeting| meeting.id == id || meeting.primary == Some(id);
        for meeting in self.meetings.extract_if(.., over).collect::<Vec<_>>() {
            self.tell(meeting.account, EventType::MeetingEnded, meeting.id, None);
        }
    }
    fn pass(&mut self, now: u64) {
        let over: Vec<_> = self
            .meetings
            .iter()
            .filter(|m| {
                now >= m.created + LIMITS.lifetime_ms
                    || (m.primary.is_none()
                        && m.idle_since.is_some_and(|since| now >= since + LIMITS.idle_ms))
            })
            .map(|meeting| meeting.id)
            .collect();
        over.into_iter().for_each(|id| self.end(id));
    }
}

/// What the store would hold.
#[derive(Default)]
struct Disk {
    meetings: BTreeMap<MeetingId, String>,
    attendees: BTreeMap<(MeetingId, AttendeeId), String>,
    events: BTreeMap<(AccountId, u64), OutboxEvent>,
}

impl Disk {
    fn write(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Meeting(record) => {
                    self.meetings.insert(record.id, serde_json::to_string(&record).unwrap());
                }
                Write::Attendee(record) | Write::Capabilities(record) => {
                    let key = (record.meeting, record.id);
                    self.attendees.insert(key, serde_json::to_string(&record).unwrap());
                }
                Write::MeetingDeleted(id) => {
                    self.meetings.remove(&id);
                    self.attendees.retain(|(meeting, _), _| *meeting != id);
                }
                Write::AttendeeDeleted(meeting, id) => {
                    self.attendees.remove(&(meeting, id));
                }
                Write::Event(event) => {
                    let twice = self.events.insert((event.account, event.sequence), *event);
                    assert!(twice.is_none(), "{twice:?}");
                }
            }
        }
    }
    /// A new process, and whom it expects back.
    fn start(&self, seed: u64, now: u64) -> (Registry, BTreeSet<(MeetingId, AttendeeId)>) {
        let rng = ChaCha12Rng::seed_from_u64(seed);
        let mut registry = Registry::new(JoinTokenKey::new(&[7; 32]), 1, rng).with_limits(LIMITS);
        let meetings = self.meetings.values().map(|text| serde_json::from_str(text).unwrap()).collect();
        let attendees = self.attendees.values().map(|text| serde_json::from_str(text).unwrap()).collect();
        registry.restore(now, meetings, attendees);
        let mut events = StoredEvents::default();
        self.events.values().for_each(|event| events.add(event.clone()));
        let expected = registry.restore_events(now, events).into_values().flatten();
        let place = |subject: Subject| (subject.place().0, subject.place().1.id);
        (registry, expected.map(place).collect())
    }
    fn told(&self) -> Tally {
        let mut told = Tally::new();
        for event in self.events.values() {
            let detail = &event.event.detail;
            let who = detail.attendee_id.as_ref().map(|id| id.parse().unwrap());
            let key = (event.account, detail.event_type, detail.meeting_id.parse().unwrap(), who);
            *told.entry(key).or_default() += 1;
        }
        told
    }
}

fn run(seed: u64, kills: bool) {
    use Capability::{None as Nothing, Receive, SendReceive};
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut pick = move |n: u64| rng.next_u64() % n;
    let (mut disk, mut oracle, mut now) = (Disk::default(), Oracle::default(), 1_000);
    let (mut registry, _) = disk.start(seed, now);
    let account = |n: u64| -> AccountId { format!("{:012}", n + 1).parse().unwrap() };
    for step in 0..STEPS {
        let who = account(pick(ACCOUNTS));
        let known: Vec<_> = oracle.meetings.iter().map(|meeting| meeting.id).collect();
        let id = match known.len() as u64 {
            0 => MeetingId(Uuid::nil()),
            n => known[pick(n) as usize],
        };
        let attendee = oracle
            .meetings
            .iter()
            .flat_map(|meeting| meeting.attendees.keys())
            .nth(pick(4) as usize)
            .copied()
            .unwrap_or(AttendeeId(Uuid::nil()));
        let mut choose = |options: [Capability; 3]| options[pick(3) as usize];
        let capabilities = Capabilities {
            audio: choose([Nothing, Receive, SendReceive]),
            video: choose([Receive, Receive, SendReceive]),
            content: choose([Nothing, Receive, SendReceive]),
        };
        let context = format!("seed {seed}, step {step}");
        match pick(13) {
            0 | 1 => {
                let token = format!("tok-{}", pick(5));
                let primary = (pick(3) == 0).then_some(id);
                let body = format!(
                    r#"{{"ClientRequestToken":"{token}","MediaRegion":"us-east-1","ExternalMeetingId":"model"}}"#
                );
                let new: campanile_wire::api::CreateMeetingRequest = serde_json::from_str(&body).unwrap();
                let new = NewMeeting {
                    primary_meeting_id: primary.map(|id| id.to_string()),
                    ..new.check().unwrap()
                };
                let made = registry.create_meeting(who, now, new);
                let theirs = || oracle.meetings.iter().filter(|meeting| meeting.account == who);
                if let Some(existing) = theirs().find(|meeting| meeting.token == token) {
                    assert_eq!(made.unwrap().id, existing.id, "{context}");
                    continue;
                }
                let parent =
                    primary.map(|id| theirs().find(|m| m.id == id && m.primary.is_none()).map(|m| m.id));
                let replicas =
                    theirs().filter(|meeting| primary.is_some() && meeting.primary == primary).count();
                let expected = match parent {
                    Some(None) => Err("no primary"),
                    Some(Some(_)) if replicas >= LIMITS.replicas_per_primary => Err("replicas"),
                    _ if theirs().count() >= LIMITS.meetings_per_account => Err("meetings"),
                    _ => Ok(()),
                };
                let outcome = made.as_ref().map(|_| ()).map_err(|error| match error {
                    RegistryError::Invalid(_) => "no primary",
                    RegistryError::ReplicaLimit(_) => "replicas",
                    RegistryError::MeetingLimit(_) => "meetings",
                    other => panic!("{context}: {other}"),
                });
                assert_eq!(outcome, expected, "{context}");
                if let Ok(record) = made {
                    oracle.tell(who, EventType::MeetingStarted, record.id, None);
                    oracle.meetings.push(OracleMeeting {
                        id: record.id,
                        account: who,
                        token,
                        created: now,
                        idle_since: Some(now),
                        primary,
                        attendees: BTreeMap::new(),
                        tags: BTreeMap::new(),
                        transcribed: false,
                    });
                }
            }
            2 | 3 => {
                let user = format!("user {}", pick(5));
                let asked = (pick(2) == 0 && capabilities.check().is_ok()).then_some(capabilities);
                let new = NewAttendee { external_user_id: user.clone(), capabilities: asked };
                let made = registry.create_attendee(who, now, id, new);
                let Some(meeting) = oracle.find(who, id) else {
                    assert_eq!(made.unwrap_err(), RegistryError::MeetingNotFound(id), "{context}");
                    continue;
                };
                let same = meeting.attendees.iter().find(|(_, (name, capabilities))| {
                    *name == user && asked.is_none_or(|asked| asked == *capabilities)
                });
                if let Some((existing, _)) = same {
                    assert_eq!(made.unwrap().id, *existing, "{context}");
                } else if meeting.attendees.len() >= usize::from(LIMITS.attendees_per_meeting) {
                    assert_eq!(made.unwrap_err(), RegistryError::AttendeeLimit(3), "{context}");
                } else {
                    let record = made.unwrap();
                    assert_eq!(record.capabilities, asked.unwrap_or(Capabilities::ALL), "{context}");
                    meeting.attendees.insert(record.id, (user, record.capabilities));
                    oracle.tell(who, EventType::AttendeeAdded, id, Some(record.id));
                }
            }
            4 => {
                let done = registry.delete_attendee(who, now, id, attendee).is_ok();
                let expected = oracle.find(who, id).and_then(|m| m.attendees.remove(&attendee)).is_some();
                assert_eq!(done, expected, "{context}");
                if done {
                    oracle.tell(who, EventType::AttendeeDeleted, id, Some(attendee));
                }
            }
            5 => {
                let done = registry.delete_meeting(who, now, id).is_ok();
                assert_eq!(done, oracle.find(who, id).is_some(), "{context}");
                if done {
                    oracle.end(id);
                }
            }
            6 => {
                let done = registry.set_capabilities(who, now, id, attendee, capabilities).is_ok();
                let known = oracle.find(who, id).and_then(|meeting| meeting.attendees.get_mut(&attendee));
                assert_eq!(done, known.is_some(), "{context}");
                if known.is_some_and(|(_, known)| std::mem::replace(known, capabilities) != capabilities) {
                    oracle.tell(who, EventType::AttendeeCapabilitiesUpdated, id, Some(attendee));
                }
            }
            7 => {
                let except = BTreeSet::from([attendee]);
                let done = registry.set_capabilities_except(who, now, id, &except, capabilities).is_ok();
                let known = oracle.find(who, id);
                assert_eq!(done, known.is_some(), "{context}");
                let mut changed = Vec::new();
                for (id, (_, known)) in known.into_iter().flat_map(|meeting| &mut meeting.attendees) {
                    if *id != attendee && std::mem::replace(known, capabilities) != capabilities {
                        changed.push(*id);
                    }
                }
                for attendee in changed {
                    oracle.tell(who, EventType::AttendeeCapabilitiesUpdated, id, Some(attendee));
                }
            }
            8 => {
                let (key, value) = (format!("k{}", pick(3)), format!("v{}", pick(3)));
                let known = oracle.find(who, id);
                if pick(2) == 0 {
                    let done = registry.tag(who, id, vec![Tag { key: key.clone(), value: value.clone() }]);
                    assert_eq!(done.is_ok(), known.is_some(), "{context}");
                    known.map(|meeting| meeting.tags.insert(key, value));
                } else {
                    let done = registry.untag(who, id, std::slice::from_ref(&key));
                    assert_eq!(done.is_ok(), known.is_some(), "{context}");
                    known.map(|meeting| meeting.tags.remove(&key));
                }
            }
            9 => {
                let configuration = TranscriptionConfiguration::default();
                let known = oracle.find(who, id);
                if pick(2) == 0 {
                    let done = registry.start_transcription(who, now, id, configuration);
                    assert_eq!(done.is_ok(), known.is_some(), "{context}");
                    if let Some(meeting) = known {
                        meeting.transcribed = true;
                        oracle.tell(who, EventType::TranscriptionFailed, id, None);
                    }
                } else {
                    let done = registry.stop_transcription(who, now, id);
                    let running = known.is_some_and(|meeting| std::mem::take(&mut meeting.transcribed));
                    assert_eq!(done.is_ok(), running, "{context}");
                    if running {
                        oracle.tell(who, EventType::TranscriptionStopped, id, None);
                    }
                }
            }
            10 => {
                let present = pick(3) as usize;
                registry.set_present(now, id, present);
                if let Some(meeting) = oracle.meetings.iter_mut().find(|meeting| meeting.id == id) {
                    meeting.idle_since = match (present, meeting.idle_since) {
                        (0, since) => since.or(Some(now)),
                        _ => None,
                    };
                }
            }
            11 => {
                let records = registry.attendee(who, id, attendee).cloned();
                let Ok(record) = records else { continue };
                let subject = registry.admit(id, registry.join_token(&record).reveal()).unwrap().subject();
                let key = (who, id, attendee);
                let what = if oracle.joined.insert(key) {
                    EventType::AttendeeJoined
                } else {
                    oracle.joined.remove(&key);
                    [EventType::AttendeeLeft, EventType::AttendeeDropped][pick(2) as usize]
                };
                registry.note(now, &subject, what);
                oracle.tell(who, what, id, Some(attendee));
            }
            _ => {
                now += pick(700);
                registry.handle_timeout(now);
                oracle.pass(now);
            }
        }
        disk.write(registry.take_writes());
        if kills && pick(10) == 0 {
            let expected;
            (registry, expected) = disk.start(seed + step as u64, now);
            // Nobody is present after a start, and everybody has the time to come back.
            oracle.meetings.iter_mut().for_each(|meeting| meeting.idle_since = Some(now));
            // Whoever has a record in a primary meeting is expected back; the others have dropped.
            for (account, meeting, attendee) in std::mem::take(&mut oracle.joined) {
                let known = oracle.find(account, meeting).filter(|meeting| meeting.primary.is_none());
                if known.is_some_and(|meeting| meeting.attendees.contains_key(&attendee)) {
                    oracle.joined.insert((account, meeting, attendee));
                } else {
                    oracle.tell(account, EventType::AttendeeDropped, meeting, Some(attendee));
                }
            }
            assert_eq!(expected, oracle.awaited(), "{context}");
            disk.write(registry.take_writes());
            assert_eq!(disk.told(), oracle.told, "{context}: no event is lost, and none told twice");
        }
        check(&registry, &oracle, now, &context);
    }
    assert_eq!(disk.told(), oracle.told, "seed {seed}");
    for who in [0, 1].map(account) {
        let numbers = disk.events.keys().filter(|(account, _)| *account == who).map(|(_, number)| *number);
        assert!(numbers.eq(1..=oracle.count(who)), "seed {seed}: numbered without gaps");
    }
}

/// What the registry shows is what the oracle lists.
fn check(registry: &Registry, oracle: &Oracle, now: u64, context: &str) {
    assert_eq!(registry.meeting_count(), oracle.meetings.len(), "{context}");
    for meeting in &oracle.meetings {
        let record = registry.meeting(meeting.account, meeting.id).unwrap();
        assert_eq!(
            (record.primary, record.transcription.is_some()),
            (meeting.primary, meeting.transcribed),
            "{context}"
        );
        let tags: BTreeMap<_, _> =
            record.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
        assert_eq!(tags, meeting.tags, "{context}");
        let (listed, next) = registry.attendees(meeting.account, meeting.id, None, 100).unwrap();
        assert_eq!(next, None);
        let listed: BTreeMap<_, _> = listed
            .into_iter()
            .map(|one| (one.id, (one.external_user_id.clone(), one.capabilities)))
            .collect();
        assert_eq!(listed, meeting.attendees, "{context}");
        for (id, (_, capabilities)) in &meeting.attendees {
            let record = registry.attendee(meeting.account, meeting.id, *id).unwrap().clone();
            let admitted = registry.admit(meeting.id, registry.join_token(&record).reveal()).unwrap();
            assert_eq!(admitted.capabilities, *capabilities, "{context}");
        }
        let other = if meeting.account.to_string().ends_with('1') { 2 } else { 1 };
        assert!(registry.meeting(format!("{other:012}").parse().unwrap(), meeting.id).is_err(), "{context}");
    }
    assert!(registry.poll_timeout().is_none_or(|due| due > now), "{context}: what is over has ended");
}

#[test]
fn random_calls_do_what_the_oracle_says() {
    (0..2_000).for_each(|seed| run(seed, false));
}

#[test]
fn and_so_they_do_with_a_kill_between_any_two() {
    (10_000..12_000).for_each(|seed| run(seed, true));
}
