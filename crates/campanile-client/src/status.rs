//! How a session ends or must begin again, by the rules of the JavaScript client.

use campanile_wire::signaling::AudioStatus;

/// `MeetingSessionStatusCode` of the JavaScript client, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are the JavaScript client's own.
pub enum SessionStatus {
    Left = 1,
    AudioJoinedFromAnotherDevice = 2,
    AudioAuthenticationRejected = 3,
    AudioCallAtCapacity = 4,
    MeetingEnded = 5,
    AudioInternalServerError = 6,
    AudioServiceUnavailable = 7,
    AudioDisconnected = 8,
    VideoCallAtSourceCapacity = 10,
    SignalingBadRequest = 11,
    SignalingInternalServerError = 12,
    SignalingRequestFailed = 13,
    SignalingChannelClosedUnexpectedly = 14,
    ConnectionHealthReconnect = 16,
    TaskFailed = 18,
    AudioAttendeeRemoved = 22,
}

use SessionStatus::*;

/// WebSocket close codes by which a service asks to be tried again.
const RETRY_CODES: std::ops::RangeInclusive<u16> = 4500..=4599;
/// A connection that broke without saying so.
pub(crate) const ABNORMAL: u16 = 1006;
/// The meeting is over.
const MEETING_ENDED: u16 = 4410;

/// How far a connection had come when it closed; that decides what the close means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Before the first INDEX.
    Joining,
    /// Before the first answer.
    Subscribing,
    /// Before media.
    Connecting,
    /// In the meeting.
    Live,
}

impl SessionStatus {
    /// Nothing will be tried again.
    pub fn is_terminal(self) -> bool {
        !matches!(
            self,
            AudioInternalServerError
                | AudioServiceUnavailable
                | SignalingInternalServerError
                | SignalingChannelClosedUnexpectedly
                | ConnectionHealthReconnect
                | TaskFailed
        )
    }

    /// What a closed socket means at this stage. `None`: nothing, as the JavaScript client takes other clean closes of a
    /// live session; it finds out when media stops.
    pub(crate) fn of_close(code: u16, stage: Stage) -> Option<SessionStatus> {
        match (stage, code) {
            (_, code) if RETRY_CODES.contains(&code) => Some(SignalingInternalServerError),
            (Stage::Joining, MEETING_ENDED) => Some(MeetingEnded),
            (Stage::Joining, _) => Some(SignalingBadRequest),
            (Stage::Subscribing, _) => Some(TaskFailed),
            (_, ABNORMAL) => Some(SignalingChannelClosedUnexpectedly),
            _ => None,
        }
    }

    /// What an AUDIO_STATUS means; `None` for no news.
    pub(crate) fn of_audio(status: AudioStatus) -> Option<SessionStatus> {
        Some(match status {
            AudioStatus::Ok => return None,
            AudioStatus::JoinedFromAnotherDevice => AudioJoinedFromAnotherDevice,
            AudioStatus::AuthenticationRejected => AudioAuthenticationRejected,
            AudioStatus::CallAtCapacity => AudioCallAtCapacity,
            AudioStatus::MeetingEnded => MeetingEnded,
            AudioStatus::AttendeeRemoved => AudioAttendeeRemoved,
            AudioStatus::InternalServerError => AudioInternalServerError,
            AudioStatus::ServiceUnavailable => AudioServiceUnavailable,
        })
    }

    /// What any other AUDIO_STATUS means: the end, but for the one that the JavaScript client passes over.
    pub(crate) fn of_unknown_audio(number: u32) -> Option<SessionStatus> {
        const DISCONNECT_AUDIO: u32 = 302;
        (number != DISCONNECT_AUDIO).then_some(AudioDisconnected)
    }

    /// What a frame's error status means; `None` when the session goes on (206: only the video was refused).
    pub(crate) fn of_error(status: u32) -> Option<SessionStatus> {
        match status {
            0 | 200..=299 => None,
            403 => Some(AudioAuthenticationRejected),
            409 => Some(AudioCallAtCapacity),
            509 => Some(VideoCallAtSourceCapacity),
            400..=499 => Some(SignalingBadRequest),
            500..=599 => Some(SignalingInternalServerError),
            _ => Some(SignalingRequestFailed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes() {
        fn check(code: u16, stage: Stage, expected: Option<SessionStatus>) {
            assert_eq!(SessionStatus::of_close(code, stage), expected, "{code} at {stage:?}");
        }
        check(4410, Stage::Joining, Some(MeetingEnded));
        check(4403, Stage::Joining, Some(SignalingBadRequest));
        check(1006, Stage::Joining, Some(SignalingBadRequest));
        check(4500, Stage::Joining, Some(SignalingInternalServerError));
        check(1006, Stage::Subscribing, Some(TaskFailed));
        check(4599, Stage::Subscribing, Some(SignalingInternalServerError));
        check(1006, Stage::Live, Some(SignalingChannelClosedUnexpectedly));
        check(4508, Stage::Live, Some(SignalingInternalServerError));
        check(1000, Stage::Live, None);
        check(4410, Stage::Live, None);
    }

    #[test]
    fn audio_statuses() {
        assert_eq!(SessionStatus::of_audio(AudioStatus::Ok), None);
        assert_eq!(SessionStatus::of_audio(AudioStatus::AttendeeRemoved), Some(AudioAttendeeRemoved));
        assert_eq!(SessionStatus::of_unknown_audio(302), None);
        assert_eq!(SessionStatus::of_unknown_audio(0), Some(AudioDisconnected));
    }

    #[test]
    fn what_is_tried_again() {
        let again = [
            AudioInternalServerError,
            AudioServiceUnavailable,
            SignalingInternalServerError,
            SignalingChannelClosedUnexpectedly,
            ConnectionHealthReconnect,
            TaskFailed,
        ];
        let never = [
            Left,
            AudioJoinedFromAnotherDevice,
            AudioAuthenticationRejected,
            AudioCallAtCapacity,
            MeetingEnded,
            AudioDisconnected,
            VideoCallAtSourceCapacity,
            SignalingBadRequest,
            SignalingRequestFailed,
            AudioAttendeeRemoved,
        ];
        assert!(!again.into_iter().any(SessionStatus::is_terminal));
        assert!(never.into_iter().all(SessionStatus::is_terminal));
    }

    #[test]
    fn error_statuses() {
        fn check(status: u32, expected: Option<SessionStatus>) {
            assert_eq!(SessionStatus::of_error(status), expected, "{status}");
        }
        check(206, None);
        check(403, Some(AudioAuthenticationRejected));
        check(404, Some(SignalingBadRequest));
        check(509, Some(VideoCallAtSourceCapacity));
        check(503, Some(SignalingInternalServerError));
        check(700, Some(SignalingRequestFailed));
    }
}
