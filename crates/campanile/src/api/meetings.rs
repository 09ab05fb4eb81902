//! Meetings: create, get, delete; their transcription.

use campanile_meeting::ids::MeetingId;
use campanile_meeting::registry::MeetingRecord;
use campanile_wire::api::{
    CreateMeetingRequest, MediaPlacement, Meeting, MeetingResponse, MeetingWithAttendeesResponse,
    StartTranscriptionRequest,
};

use super::errors::{Answer, ApiError, to_json};
use super::{Call, attendees};
use crate::state::Site;

/// CreateMeeting.
pub(super) async fn create(call: Call<'_>) -> Result<Answer, ApiError> {
    let new = call.json::<CreateMeetingRequest>()?.check()?;
    let allowed = call.allow_new_meeting(&new.tags)?;
    let now_unix_ms = call.state.now_unix_ms();
    let record =
        allowed.call(|registry, account| registry.create_meeting(account, now_unix_ms, new)).await??;
    Ok(Answer::Json(to_json(&MeetingResponse { meeting: shown(&call, &record) })))
}

/// CreateMeetingWithAttendees: an attendee that cannot be made is reported beside those that were.
pub(super) async fn create_with_attendees(call: Call<'_>) -> Result<Answer, ApiError> {
    let (new, items) = call.json::<CreateMeetingRequest>()?.check_with_attendees()?;
    let allowed = call.allow_new_meeting(&new.tags)?;
    let now_unix_ms = call.state.now_unix_ms();
    let (record, (attendees, errors)) = allowed
        .call(|registry, account| {
            let record = registry.create_meeting(account, now_unix_ms, new)?;
            let made = attendees::create_each(registry, account, now_unix_ms, record.id, items);
            Ok::<_, ApiError>((record, made))
        })
        .await??;
    let meeting = shown(&call, &record);
    Ok(Answer::Json(to_json(&MeetingWithAttendeesResponse { meeting, attendees, errors })))
}

/// GetMeeting.
pub(super) async fn get(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let allowed = call.allow_meeting(meeting)?;
    let record = allowed.call(|registry, account| registry.meeting(account, meeting).cloned()).await??;
    Ok(Answer::Json(to_json(&MeetingResponse { meeting: shown(&call, &record) })))
}

/// DeleteMeeting.
pub(super) async fn delete(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let allowed = call.allow_meeting(meeting)?;
    let now_unix_ms = call.state.now_unix_ms();
    allowed.call(|registry, account| registry.delete_meeting(account, now_unix_ms, meeting)).await??;
    Ok(Answer::Nothing)
}

/// StartMeetingTranscription: recorded. No engine is configured in this version, which `chime:TranscriptionFailed` tells.
pub(super) async fn start_transcription(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let configuration = call.json::<StartTranscriptionRequest>()?.check()?;
    let allowed = call.allow_meeting(meeting)?;
    let now_unix_ms = call.state.now_unix_ms();
    allowed
        .call(|registry, account| registry.start_transcription(account, now_unix_ms, meeting, configuration))
        .await??;
    tracing::warn!(meeting_id = %meeting, "transcription was asked for, and no engine is configured");
    Ok(Answer::Empty)
}

/// StopMeetingTranscription.
pub(super) async fn stop_transcription(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let allowed = call.allow_meeting(meeting)?;
    let now_unix_ms = call.state.now_unix_ms();
    allowed.call(|registry, account| registry.stop_transcription(account, now_unix_ms, meeting)).await??;
    Ok(Answer::Empty)
}

/// ListClientEvents (docs/extensions.md): what clients of the account's meetings, or of one of them, told of themselves.
pub(super) async fn list_client_events(call: Call<'_>) -> Result<Answer, ApiError> {
    let meeting = call.query("meeting-id")?.map(super::meeting_id).transpose()?;
    let allowed = match meeting {
        Some(meeting) => call.allow_meeting(meeting)?,
        None => call.allow_new_meeting(&[])?,
    };
    Ok(Answer::Json(to_json(&call.state.client_events.of(allowed.account, meeting))))
}

fn shown(call: &Call<'_>, record: &MeetingRecord) -> Meeting {
    let site = &call.state.site;
    Meeting {
        meeting_id: record.id.to_string(),
        meeting_host_id: record.meeting_host_id.clone(),
        external_meeting_id: record.external_meeting_id.clone(),
        media_region: record.media_region.clone(),
        media_placement: placement(site, &site.authority(call.headers), record.id),
        meeting_features: record.features.shown(),
        primary_meeting_id: record.primary.map(|primary| primary.to_string()),
        tenant_ids: record.tenant_ids.clone(),
        meeting_arn: site.meeting_arn(record.account, record.id),
    }
}

/// Where a meeting's clients go. All but the audio host, the signaling and the event URL are there for old and mobile
/// clients, which expect every member, and lead here and nowhere else.
fn placement(site: &Site, authority: &str, meeting: MeetingId) -> MediaPlacement {
    let (http, ws) = (site.http(), site.ws());
    // The authority's host, without a port but with the brackets of an IPv6 address.
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    };
    MediaPlacement {
        audio_host_url: format!("{host}:{}", site.media_port),
        audio_fallback_url: format!("{ws}://{authority}/calls/{meeting}"),
        signaling_url: format!("{ws}://{authority}/control/{meeting}"),
        turn_control_url: format!("{http}://{authority}/v2/turn_sessions"),
        screen_data_url: format!("{ws}://{authority}/v2/screen/{meeting}"),
        screen_viewing_url: format!(
            "{ws}://{authority}/ws/connect?passcode=null&viewer_uuid=null&X-BitHub-Call-Id={meeting}"
        ),
        screen_sharing_url: format!("{ws}://{authority}/v2/screen/{meeting}"),
        event_ingestion_url: format!("{http}://{authority}/v1/client-events"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_33_a_placement_names_the_media_port_at_the_public_host_and_no_query() {
        let check = |authority: &str, tls: bool, audio: &str, signaling: &str| {
            let site = Site {
                tls,
                public_host: None,
                listen: "127.0.0.1:1".parse().unwrap(),
                media_port: 10_000,
                region: "us-east-1".into(),
                media_region: "us-east-1".into(),
            };
            let placement = placement(&site, authority, MeetingId(uuid::Uuid::nil()));
            assert_eq!(placement.audio_host_url, audio);
            assert_eq!(placement.signaling_url, format!("{signaling}/control/{}", uuid::Uuid::nil()));
        };
        check("127.0.0.1:8080", false, "127.0.0.1:10000", "ws://127.0.0.1:8080");
        check("meet.example.net", true, "meet.example.net:10000", "wss://meet.example.net");
        check("[2001:db8::1]:8443", true, "[2001:db8::1]:10000", "wss://[2001:db8::1]:8443");
        check("[2001:db8::1]", true, "[2001:db8::1]:10000", "wss://[2001:db8::1]");
    }
}
