//! What a meeting offers (`MeetingFeaturesConfiguration`).

use serde::{Deserialize, Serialize};

use super::check::{Invalid, invalid};

/// Attendees of a meeting that sets no ceiling of its own.
pub const ATTENDEES_MAX: u16 = 250;

/// Attendees of a meeting with FHD video or UHD content.
pub const HIGH_DEFINITION_ATTENDEES_MAX: u16 = 25;

/// Whether the client library may use echo reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EchoReduction {
    /// It may.
    #[serde(rename = "AVAILABLE")]
    Available,
    /// It may not.
    #[serde(rename = "UNAVAILABLE")]
    Unavailable,
}

/// The largest camera picture of a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VideoResolution {
    /// No cameras.
    None,
    /// 1280x720.
    #[serde(rename = "HD")]
    Hd,
    /// 1920x1080.
    #[serde(rename = "FHD")]
    Fhd,
}

/// The largest content share of a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ContentResolution {
    /// No content shares.
    None,
    /// 1920x1080.
    #[serde(rename = "FHD")]
    Fhd,
    /// 3840x2160.
    #[serde(rename = "UHD")]
    Uhd,
}

/// `MeetingFeatures.Audio`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AudioFeatures {
    /// Absent means unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo_reduction: Option<EchoReduction>,
}

/// `MeetingFeatures.Video`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VideoFeatures {
    /// Absent means HD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_resolution: Option<VideoResolution>,
}

/// `MeetingFeatures.Content`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContentFeatures {
    /// Absent means FHD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_resolution: Option<ContentResolution>,
}

/// `MeetingFeatures.Attendee`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttendeeFeatures {
    /// Absent means 250.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_count: Option<i64>,
}

/// What a meeting offers (`MeetingFeaturesConfiguration`). Absent members are omitted, never written as null: the client
/// library reads `Video.MaxResolution` whenever `Video` is there at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MeetingFeatures {
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<AudioFeatures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<VideoFeatures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<ContentFeatures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attendee: Option<AttendeeFeatures>,
}

impl MeetingFeatures {
    /// With these largest pictures, and nothing else said.
    pub fn with_pictures(video: VideoResolution, content: ContentResolution) -> MeetingFeatures {
        MeetingFeatures {
            video: Some(VideoFeatures { max_resolution: Some(video) }),
            content: Some(ContentFeatures { max_resolution: Some(content) }),
            ..MeetingFeatures::default()
        }
    }

    /// The largest camera picture; HD unless the meeting says otherwise.
    pub fn video_max(&self) -> VideoResolution {
        self.video.and_then(|video| video.max_resolution).unwrap_or(VideoResolution::Hd)
    }
    /// The largest content share; FHD unless the meeting says otherwise.
    pub fn content_max(&self) -> ContentResolution {
        self.content.and_then(|content| content.max_resolution).unwrap_or(ContentResolution::Fhd)
    }
    /// How many attendees may exist at once, joined or not, when an installation allows so many.
    pub fn attendees_max(&self, allowed: u16) -> u16 {
        let asked = self.attendee.and_then(|attendee| attendee.max_count);
        asked.and_then(|count| u16::try_from(count).ok()).unwrap_or(allowed).min(allowed)
    }
    /// What a caller is shown: as given, with the echo reduction that the service fills in.
    pub fn shown(self) -> MeetingFeatures {
        let given = self.audio.and_then(|audio| audio.echo_reduction);
        let echo_reduction = Some(given.unwrap_or(EchoReduction::Unavailable));
        MeetingFeatures { audio: Some(AudioFeatures { echo_reduction }), ..self }
    }

    /// Empty members dropped; the ceiling within 1..=250, and given and at most 25 with FHD video or UHD content.
    pub(super) fn check(self) -> Result<MeetingFeatures, Invalid> {
        let count = self.attendee.and_then(|attendee| attendee.max_count);
        if let Some(count) = count
            && !(1..=i64::from(ATTENDEES_MAX)).contains(&count)
        {
            return invalid(format!(
                "MeetingFeatures.Attendee.MaxCount must be between 1 and {ATTENDEES_MAX}"
            ));
        }
        let high = self.video_max() == VideoResolution::Fhd || self.content_max() == ContentResolution::Uhd;
        if high && count.is_none_or(|count| count > i64::from(HIGH_DEFINITION_ATTENDEES_MAX)) {
            return invalid(format!(
                "MeetingFeatures: FHD video and UHD content need Attendee.MaxCount of at most {HIGH_DEFINITION_ATTENDEES_MAX}"
            ));
        }
        Ok(MeetingFeatures {
            audio: self.audio.filter(|audio| audio.echo_reduction.is_some()),
            video: self.video.filter(|video| video.max_resolution.is_some()),
            content: self.content.filter(|content| content.max_resolution.is_some()),
            attendee: self.attendee.filter(|attendee| attendee.max_count.is_some()),
        })
    }
}
