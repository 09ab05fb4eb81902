//! Moderation: an extension. What is decided goes to the worker under the registry's lock, as everything does that concerns
//! live sessions, and is carried out before its next packet.

use campanile_meeting::ids::{AttendeeId, MeetingId};
use serde::{Deserialize, Serialize};

use super::Call;
use super::errors::{Answer, ApiError, to_json};
use crate::worker::Command;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct MuteAttendee {
    can_unmute: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct UpdateUnmutePermission {
    can_unmute: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Permission {
    attendee_id: String,
    can_unmute: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Lock {
    meeting_id: String,
    locked: bool,
}

/// MuteAttendee.
pub(super) async fn mute(
    call: Call<'_>,
    meeting: MeetingId,
    attendee: AttendeeId,
) -> Result<Answer, ApiError> {
    let MuteAttendee { can_unmute } = call.json()?;
    permit_and(call, meeting, attendee, can_unmute, Some(Command::MuteAttendee(meeting, attendee))).await
}

/// UpdateUnmutePermission.
pub(super) async fn permit_unmute(
    call: Call<'_>,
    meeting: MeetingId,
    attendee: AttendeeId,
) -> Result<Answer, ApiError> {
    let UpdateUnmutePermission { can_unmute } = call.json()?;
    permit_and(call, meeting, attendee, Some(can_unmute), None).await
}

async fn permit_and(
    call: Call<'_>,
    meeting: MeetingId,
    attendee: AttendeeId,
    can_unmute: Option<bool>,
    command: Option<Command>,
) -> Result<Answer, ApiError> {
    let allowed = call.allow_meeting(meeting)?;
    let worker = &allowed.state.worker;
    let can_unmute = allowed
        .call(|registry, account| {
            let may_unmute = registry.attendee(account, meeting, attendee)?.may_unmute;
            if let Some(asked) = can_unmute.filter(|asked| *asked != may_unmute) {
                registry.permit_unmute(account, meeting, attendee, asked)?;
                worker.send(Command::PermitUnmute(meeting, attendee, asked));
            }
            if let Some(command) = command {
                worker.send(command);
            }
            Ok::<_, ApiError>(can_unmute.unwrap_or(may_unmute))
        })
        .await??;
    Ok(Answer::Json(to_json(&Permission { attendee_id: attendee.to_string(), can_unmute })))
}

/// RemoveAttendee.
pub(super) async fn remove(
    call: Call<'_>,
    meeting: MeetingId,
    attendee: AttendeeId,
) -> Result<Answer, ApiError> {
    let allowed = call.allow_meeting(meeting)?;
    let worker = &allowed.state.worker;
    allowed
        .call(|registry, account| {
            registry.revoke_token(account, meeting, attendee)?;
            worker.send(Command::RemoveAttendee(meeting, attendee));
            Ok::<_, ApiError>(())
        })
        .await??;
    Ok(Answer::Nothing)
}

/// LockMeeting.
pub(super) async fn lock(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let allowed = call.allow_meeting(meeting)?;
    let worker = &allowed.state.worker;
    allowed
        .call(|registry, account| {
            if registry.lock(account, meeting)? {
                worker.send(Command::LockMeeting(meeting));
            }
            Ok::<_, ApiError>(())
        })
        .await??;
    Ok(Answer::Json(to_json(&Lock { meeting_id: meeting.to_string(), locked: true })))
}

/// UnlockMeeting.
pub(super) async fn unlock(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let allowed = call.allow_meeting(meeting)?;
    allowed.call(|registry, account| registry.unlock(account, meeting)).await??;
    Ok(Answer::Json(to_json(&Lock { meeting_id: meeting.to_string(), locked: false })))
}
