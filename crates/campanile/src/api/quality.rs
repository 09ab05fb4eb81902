//! How well everybody's sound gets into a meeting and back: an extension (docs/extensions.md).

use campanile_meeting::ids::MeetingId;
use campanile_meeting::quality::AudioQuality;
use serde::Serialize;

use super::Call;
use super::errors::{Answer, ApiError, to_json};

/// Samples of the RTP clock in a millisecond.
const SAMPLES_PER_MS: f64 = 48.0;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MeetingQuality {
    meeting_id: String,
    attendees: Vec<AttendeeQuality>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AttendeeQuality {
    attendee_id: String,
    external_user_id: String,
    uplink: Uplink,
    downlink: Downlink,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Uplink {
    muted: bool,
    speaking: bool,
    /// dB below full scale; 127 is silence.
    level_db: u8,
    packets_received: u64,
    packets_expected: u64,
    packets_lost: u64,
    packets_late: u64,
    packets_duplicate: u64,
    packets_malformed: u64,
    packets_skipped: u64,
    packets_recovered: u64,
    packets_decoded: u64,
    concealed_ms: f64,
    jitter_ms: f64,
    delay_ms: f64,
    target_delay_ms: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Downlink {
    packets_sent: u32,
    /// As the client's last report says, 0 to 1.
    loss: f64,
    redundant_copies: usize,
}

/// GetMeetingQuality: those with audio now, and what became of it since they came.
pub(super) async fn get(call: Call<'_>, meeting: MeetingId) -> Result<Answer, ApiError> {
    let allowed = call.allow_meeting(meeting)?;
    allowed.call(|registry, account| registry.meeting(account, meeting).map(|_| ())).await??;
    let attendees = call.state.worker.audio_quality(meeting).await.into_iter().map(shown).collect();
    Ok(Answer::Json(to_json(&MeetingQuality { meeting_id: meeting.to_string(), attendees })))
}

fn shown(audio: AudioQuality) -> AttendeeQuality {
    let AudioQuality { attendee, external_user_id, muted, uplink, level, sent, lost, copies } = audio;
    let ms = |samples: f64| (samples / SAMPLES_PER_MS * 10.0).round() / 10.0;
    AttendeeQuality {
        attendee_id: attendee.to_string(),
        external_user_id,
        uplink: Uplink {
            muted,
            speaking: level.speaking,
            level_db: level.volume_db,
            packets_received: uplink.received,
            packets_expected: uplink.expected,
            packets_lost: uplink.lost,
            packets_late: uplink.late,
            packets_duplicate: uplink.duplicate,
            packets_malformed: uplink.malformed,
            packets_skipped: uplink.skipped,
            packets_recovered: uplink.recovered,
            packets_decoded: uplink.decoded,
            concealed_ms: ms(uplink.concealed_samples as f64),
            jitter_ms: ms(uplink.jitter.into()),
            delay_ms: ms(uplink.delay_samples.into()),
            target_delay_ms: ms(uplink.target_samples.into()),
        },
        downlink: Downlink {
            packets_sent: sent,
            loss: (f64::from(lost) / 256.0 * 1000.0).round() / 1000.0,
            redundant_copies: copies,
        },
    }
}
