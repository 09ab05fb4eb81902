//! Meetings: create, get, delete.

use campanile_meeting::ids::MeetingId;
use campanile_meeting::registry::MeetingRecord;
use campanile_wire::api::{
    CreateMeetingRequest, MediaPlacement, Meeting, MeetingResponse, MeetingWithAttendeesResponse,
};

use super::errors::{Answer, ApiError, to_json};
use super::{Call, attendees, unix_now};
use crate::state::Site;

/// CreateMeeting.
pub(super) async fn create(call: Call<'_>) -> Result<Answer, ApiError> {
    let new = call.json::<CreateMeetingRequest>()?.check()?;
    let now_unix_ms = unix_now().as_millis() as u64;
    let record =
        call.state.call(|registry| registry.create_meeting(call.account, now_unix_ms, new)).await??;
    Ok(Answer::Json(to_json(&MeetingResponse { meeting: shown(&call, &record) })))
}

/// CreateMeetingWithAttendees: an attendee that cannot be made is reported beside those that were.
pub(super) async fn create_with_attendees(call: Call<'_>) -> Result<Answer, ApiError> {
    let (new, items) = call.json::<CreateMeetingRequest>()?.check_with_attendees()?;
    let now_unix_ms = unix_now().as_millis() as u64;
    let (record, (attendees, errors)) = call
        .state
        .call(|registry| {
            let record = registry.create_meeting(call.account, now_unix_ms, new)?;
            let made = attendees::create_each(registry, call.account, record.id, items);
            Ok::<_, ApiError>((record, made))
        })
        .await??;
    let meeting = shown(&call, &record);
    Ok(Answer::Json(to_json(&MeetingWithAttendeesResponse { meeting, attendees, errors })))
}

/// GetMeeting.
pub(super) async fn get(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let record = call.state.call(|registry| registry.meeting(call.account, meeting).cloned()).await??;
    Ok(Answer::Json(to_json(&MeetingResponse { meeting: shown(&call, &record) })))
}

/// DeleteMeeting.
pub(super) async fn delete(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    call.state.call(|registry| registry.delete_meeting(call.account, meeting)).await??;
    Ok(Answer::Nothing)
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
        primary_meeting_id: None,
        tenant_ids: record.tenant_ids.clone(),
        meeting_arn: format!("arn:aws:chime:{}:{}:meeting/{}", site.region, record.account, record.id),
    }
}

/// Where a meeting's clients go. All but the audio host and the signaling URL are there for old and mobile clients, which
/// expect every member, and lead here and nowhere else.
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
