//! Data messages: checked, stamped, delivered, and for a while remembered for those who come later.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use campanile_wire::signaling::{DataMessage, DeliveredMessage, FrameKind, ServerFrame};

use crate::bucket::TokenBucket;
use crate::ids::SessionId;
use crate::meeting::Meeting;
use crate::service::Cx;

/// Bytes of one message's data: the documented 2 KB.
const DATA_BYTES_MAX: usize = 2048;
/// Characters of a topic, as the client enforces them.
const TOPIC_CHARS_MAX: usize = 36;
/// Messages kept for replay, and for how long at most: the documented limits.
const STORED_MAX: usize = 1024;
const LIFETIME_MAX: Duration = Duration::from_secs(5 * 60);
/// Messages of one meeting: 100 a second, 200 at once. What is over comes back to its sender marked as throttled.
const RATE_PER_SECOND: f64 = 100.0;
const BURST: f64 = 200.0;

/// The data messages of one meeting.
#[derive(Debug)]
pub(crate) struct DataMessages {
    last_ingest_ns: i64,
    stored: VecDeque<Stored>,
    /// When the last of them has expired.
    kept_until: Option<Instant>,
    bucket: TokenBucket,
}

#[derive(Debug)]
struct Stored {
    message: DeliveredMessage,
    expires_ns: i64,
}

/// What becomes of a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Deliver it to everybody else.
    Deliver(DeliveredMessage),
    /// Return it to its sender: `ingest_time_ns` is zero, which the client reads as "throttled".
    Throttled(DeliveredMessage),
}

/// Why a message is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Not 1 to 36 of letters, digits, `_` and `-`.
    #[error("the topic of a data message is 1 to 36 of letters, digits, '_' and '-'")]
    Topic,
    /// More than 2,048 bytes.
    #[error("the data of a data message is at most 2048 bytes, not {0}")]
    Size(usize),
    /// More than 100 a second in this meeting.
    #[error("a meeting takes 100 data messages a second, 200 at once")]
    Throttled,
}

impl DataMessages {
    /// None yet.
    pub(crate) fn new(now: Instant) -> DataMessages {
        DataMessages {
            last_ingest_ns: 0,
            stored: VecDeque::new(),
            kept_until: None,
            bucket: TokenBucket::new(now, RATE_PER_SECOND, BURST),
        }
    }

    /// Takes one message from `sender`. Ingest times rise strictly within a meeting, since clients drop what is not
    /// newer than what they have seen.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        unix_ns: i64,
        sender_attendee_id: String,
        external_user_id: &str,
        message: DataMessage,
    ) -> Result<Verdict, DataError> {
        let topic_char = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
        if message.topic.is_empty()
            || message.topic.len() > TOPIC_CHARS_MAX
            || !message.topic.bytes().all(topic_char)
        {
            return Err(DataError::Topic);
        }
        if message.data.len() > DATA_BYTES_MAX {
            return Err(DataError::Size(message.data.len()));
        }
        let mut delivered = DeliveredMessage {
            topic: message.topic,
            data: message.data,
            sender_attendee_id,
            sender_external_user_id: external_user_id.to_owned(),
            ingest_time_ns: 0,
        };
        if !self.bucket.take(now) {
            return Ok(Verdict::Throttled(delivered));
        }
        self.last_ingest_ns = unix_ns.max(self.last_ingest_ns + 1);
        delivered.ingest_time_ns = self.last_ingest_ns;
        let lifetime = Duration::from_millis(u64::from(message.lifetime_ms)).min(LIFETIME_MAX);
        if !lifetime.is_zero() {
            if self.stored.len() == STORED_MAX {
                self.stored.pop_front();
            }
            let expires_ns = delivered.ingest_time_ns + lifetime.as_nanos() as i64;
            self.kept_until = self.kept_until.max(Some(now + lifetime));
            self.stored.push_back(Stored { message: delivered.clone(), expires_ns });
        }
        Ok(Verdict::Deliver(delivered))
    }

    /// Until when something is kept for newcomers.
    pub(crate) fn kept_until(&self) -> Option<Instant> {
        self.kept_until
    }

    /// Frees what nobody can get any more, once the last has expired.
    pub(crate) fn forget_expired(&mut self, now: Instant) {
        if self.kept_until.is_some_and(|until| until <= now) {
            self.kept_until = None;
            self.stored.clear();
        }
    }

    /// What a newcomer gets, oldest first, with the times at which it was first delivered.
    pub(crate) fn replay(&mut self, unix_ns: i64) -> impl Iterator<Item = &DeliveredMessage> {
        self.stored.retain(|stored| stored.expires_ns > unix_ns);
        self.stored.iter().map(|stored| &stored.message)
    }
}

impl Meeting {
    /// DATA_MESSAGE of a client. An audience's are passed over.
    pub(crate) fn data_message(&mut self, cx: &mut Cx<'_>, id: SessionId, message: DataMessage) {
        let Some(session) = self.sessions.get(&id).filter(|session| session.is_on_stage()) else { return };
        let unix_ns = cx.clock.unix(cx.now).as_nanos() as i64;
        let (sender, external_user_id) = session.appears_as();
        match self.data.accept(cx.now, unix_ns, sender.to_string(), external_user_id, message) {
            Ok(Verdict::Deliver(message)) => self.deliver(cx, Some(id), message),
            Ok(Verdict::Throttled(message)) => cx.frame(id, ServerFrame::DataMessages(vec![message])),
            // The unmodified client checks this itself, so its sender is no such client.
            Err(why) => self.refuse(cx, id, FrameKind::DataMessage, &why.to_string()),
        }
    }

    /// SendDataMessage of the API, which names no attendee as its sender.
    pub(crate) fn data_message_of_api(
        &mut self,
        cx: &mut Cx<'_>,
        external_user_id: &str,
        message: DataMessage,
    ) -> Result<i64, DataError> {
        let unix_ns = cx.clock.unix(cx.now).as_nanos() as i64;
        match self.data.accept(cx.now, unix_ns, String::new(), external_user_id, message)? {
            Verdict::Deliver(message) => {
                let ingest_time_ns = message.ingest_time_ns;
                self.deliver(cx, None, message);
                Ok(ingest_time_ns)
            }
            Verdict::Throttled(_) => Err(DataError::Throttled),
        }
    }

    /// What a newcomer would get.
    pub(crate) fn kept_data_messages(&mut self, unix_ns: i64) -> Vec<DeliveredMessage> {
        self.data.replay(unix_ns).cloned().collect()
    }

    fn deliver(&self, cx: &mut Cx<'_>, sender: Option<SessionId>, message: DeliveredMessage) {
        let listening = self.sessions.values().filter(|session| session.is_listening());
        let others = listening.filter(|session| !session.attendee.content && Some(session.id) != sender);
        cx.frame_to_all(others.map(|session| session.id), ServerFrame::DataMessages(vec![message]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, bytes: usize, lifetime_ms: u32) -> DataMessage {
        DataMessage { topic: topic.to_owned(), data: vec![7; bytes], lifetime_ms }
    }

    fn accept(
        data: &mut DataMessages,
        now: Instant,
        ns: i64,
        message: DataMessage,
    ) -> Result<Verdict, DataError> {
        data.accept(now, ns, "someone".to_owned(), "ann", message)
    }

    #[test]
    fn what_the_client_would_not_send_is_refused() {
        fn check(topic: &str, bytes: usize, ok: bool) {
            let now = crate::test_start();
            let mut data = DataMessages::new(now);
            assert_eq!(accept(&mut data, now, 1, message(topic, bytes, 0)).is_ok(), ok, "{topic} {bytes}");
        }
        check("chat", 2048, true);
        check("chat", 2049, false);
        check("", 1, false);
        check(&"a".repeat(36), 1, true);
        check(&"a".repeat(37), 1, false);
        check("aws:chime:transcription", 1, false);
        check("grün", 1, false);
    }

    #[test]
    fn trap_30_ingest_times_rise_strictly_whatever_the_clock_does() {
        let now = crate::test_start();
        let mut data = DataMessages::new(now);
        let mut last = 0;
        for ns in [100, 100, 90, 200] {
            let Ok(Verdict::Deliver(m)) = accept(&mut data, now, ns, message("t", 1, 0)) else {
                panic!("delivered")
            };
            assert!(m.ingest_time_ns > last);
            last = m.ingest_time_ns;
        }
    }

    #[test]
    fn too_many_come_back_as_throttled() {
        let now = crate::test_start();
        let mut data = DataMessages::new(now);
        let verdicts: Vec<_> =
            (0..250).map(|i| accept(&mut data, now, i, message("t", 1, 0)).expect("valid")).collect();
        let throttled =
            verdicts.iter().filter(|v| matches!(v, Verdict::Throttled(m) if m.ingest_time_ns == 0));
        assert_eq!(throttled.count(), 50);
    }

    #[test]
    fn a_lifetime_is_replayed_until_it_ends() {
        let now = crate::test_start();
        let mut data = DataMessages::new(now);
        for (ns, lifetime) in [(1, 0), (2, 1000), (3, u32::MAX)] {
            accept(&mut data, now, ns, message("t", 1, lifetime)).expect("valid");
        }
        assert_eq!(data.replay(4).map(|m| m.ingest_time_ns).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(data.replay(2_000_000_000).map(|m| m.ingest_time_ns).collect::<Vec<_>>(), [3]);
        assert_eq!(data.replay(LIFETIME_MAX.as_nanos() as i64 + 4).count(), 0);
    }
}
