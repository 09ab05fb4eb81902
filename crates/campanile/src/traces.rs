//! How attendees got in, or did not: the newest traces, for whoever is asked why somebody is not in the meeting
//! (docs/extensions.md). Kept in memory, also after the meeting and after a failure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use campanile_meeting::ids::{AccountId, AttendeeId, MeetingId, SessionId};
use campanile_meeting::trace::{JoinStep, JoinTrace};
use serde_json::{Map, Value, json};

/// Traces kept. Each takes some 4 KiB at most, so 40 MiB.
const TRACES_MAX: usize = 10_000;
/// ... of one attendee, so that one who tries again and again drives out no other's; and of all strangers at one meeting.
const OF_ATTENDEE_MAX: usize = 8;
/// Failed joins of one meeting that are shown at once.
const FAILED_SHOWN_MAX: usize = 1_000;

/// Of whom: all who were never given the token that they showed are nobody.
type Whose = (MeetingId, Option<AttendeeId>);

/// All that is kept.
#[derive(Debug, Default)]
pub struct JoinTraces(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Of each attendee, oldest first.
    of: BTreeMap<Whose, VecDeque<JoinTrace>>,
    /// Whose each session is; their numbers rise.
    sessions: BTreeMap<SessionId, Whose>,
}

impl Kept {
    fn drop_oldest(&mut self) {
        let Some((session, whose)) = self.sessions.pop_first() else { return };
        let Some(theirs) = self.of.get_mut(&whose) else { return };
        theirs.retain(|trace| trace.session != session);
        if theirs.is_empty() {
            self.of.remove(&whose);
        }
    }
}

impl JoinTraces {
    /// Takes the newest state of a connection's trace.
    pub fn keep(&self, trace: JoinTrace) {
        let mut kept = self.0.lock().expect("no panic while it is held");
        let whose = (trace.meeting, trace.attendee.map(|attendee| attendee.id));
        let session = trace.session;
        let theirs = kept.of.entry(whose).or_default();
        if let Some(known) = theirs.iter_mut().find(|known| known.session == session) {
            *known = trace;
            return;
        }
        theirs.push_back(trace);
        if theirs.len() > OF_ATTENDEE_MAX
            && let Some(oldest) = theirs.pop_front()
        {
            kept.sessions.remove(&oldest.session);
        }
        kept.sessions.insert(session, whose);
        if kept.sessions.len() > TRACES_MAX {
            kept.drop_oldest();
        }
    }

    /// An attendee's ways in, newest last, its content shares' among them: `{"Connections":[...]}`. `None` if there are
    /// none, or if they are another account's.
    pub fn of(&self, account: AccountId, meeting: MeetingId, attendee: AttendeeId) -> Option<Value> {
        let kept = self.0.lock().expect("no panic while it is held");
        let theirs = kept.of.get(&(meeting, Some(attendee)))?.iter().filter(|trace| trace.account == account);
        let connections: Vec<_> = theirs.map(shown).collect();
        (!connections.is_empty()).then(|| json!({ "Connections": connections }))
    }

    /// Those ways into a meeting that came to nothing, newest last, whoever tried, the newest thousand:
    /// `{"FailedJoins":[...]}`. None are another account's.
    pub fn failed(&self, account: AccountId, meeting: MeetingId) -> Value {
        let kept = self.0.lock().expect("no panic while it is held");
        let here = kept.of.range((meeting, None)..).take_while(|((of, _), _)| *of == meeting);
        let failed = |trace: &&JoinTrace| trace.account == account && trace.failure.is_some();
        let mut these: Vec<_> = here.flat_map(|(_, theirs)| theirs).filter(failed).collect();
        these.sort_unstable_by_key(|trace| trace.session);
        let newest = these.len().saturating_sub(FAILED_SHOWN_MAX);
        let these: Vec<_> = these.into_iter().skip(newest).cloned().collect();
        drop(kept); // everybody's way in is noted under this lock, and writing them out takes a while
        let shown: Vec<_> = these.iter().map(shown).collect();
        json!({ "FailedJoins": shown })
    }
}

fn shown(trace: &JoinTrace) -> Value {
    let ms = |step: JoinStep| trace.at(step).map(|at| at.as_micros() as f64 / 1000.0);
    let steps: Map<_, _> =
        JoinStep::ALL.into_iter().filter_map(|step| Some((format!("{step:?}"), json!(ms(step)?)))).collect();
    let map = |pairs: Vec<(&str, Value)>| -> Map<_, _> {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let timings = trace.client_timings.iter().map(|(name, ms)| (*name, json!(ms))).collect();
    let metrics = trace.client_metrics.iter().map(|(name, value)| (*name, json!(value))).collect();
    let failure = trace.failure.as_ref().map(|failure| {
        json!({ "Step": format!("{:?}", failure.step), "Cause": failure.cause, "Remedy": failure.remedy })
    });
    json!({
        "AttendeeId": trace.attendee.map(|attendee| attendee.to_string()),
        "OpenedTimestampMs": trace.opened_unix.as_millis() as u64,
        "StepsMs": steps,
        "Failure": failure,
        "RefusedVideo": trace.refused_video,
        "ClientTimingsMs": map(timings),
        "ClientMetrics": map(metrics),
    })
}
