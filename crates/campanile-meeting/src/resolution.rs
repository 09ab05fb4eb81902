//! The largest pictures that a meeting allows (`MeetingFeatures`): larger ones are forwarded to nobody, and who sends nothing
//! else is told.
//!
//! The unmodified client scales its camera and its share to what the meeting allows, and may take a moment for that. Of
//! simulcast layers and spatial layers those within the limit go on; a server cannot make a picture smaller.

use std::time::{Duration, Instant};

use campanile_media::forward::PictureSize;
use campanile_wire::api::{ContentResolution, MeetingFeatures, VideoResolution};
use campanile_wire::signaling::{FrameKind, NotificationLevel, ServerFrame};
use tracing::warn;

use crate::meeting::{Meeting, status};
use crate::service::Cx;
use crate::source::Source;

/// For so long pictures may be too large before they are refused: nobody sees them meanwhile.
const REFUSED_AFTER: Duration = Duration::from_secs(3);
/// What the client writes into its log, as the service documents it (developer guide, "Selecting meeting features").
const REFUSAL: &str = "Disabled video/content send capability, reason: Video resolution is above limit of current \
    meeting feature selection";

/// The largest picture of a camera, or of a content share.
pub(crate) fn largest_picture(features: &MeetingFeatures, content: bool) -> PictureSize {
    const NONE: PictureSize = PictureSize { width: 0, height: 0 };
    match (content, features.video_max(), features.content_max()) {
        (false, VideoResolution::None, _) | (true, _, ContentResolution::None) => NONE,
        (false, VideoResolution::Hd, _) => PictureSize::HD,
        (false, VideoResolution::Fhd, _) | (true, _, ContentResolution::Fhd) => PictureSize::FHD,
        (true, _, ContentResolution::Uhd) => PictureSize::UHD,
    }
}

impl Source {
    /// The smallest of its pictures, when nothing comes that is within the limit.
    fn too_large(&self, now: Instant) -> Option<PictureSize> {
        let mut flowing = self.layers.iter().filter(|layer| layer.uplink.is_flowing(now));
        let smallest = flowing.next()?.uplink.too_large()?;
        flowing.all(|layer| layer.uplink.too_large().is_some()).then_some(smallest)
    }
}

impl Meeting {
    /// Once a second: refuses what has been too large for too long. A camera stops in the words that its client understands; a
    /// share, whose client would go on as if it were seen, ends.
    pub(crate) fn refuse_large_pictures(&mut self, cx: &mut Cx<'_>) {
        let mut refused = Vec::new();
        for source in self.sources.values_mut() {
            let Some(size) = source.too_large(cx.now) else {
                source.too_large_since = None;
                continue;
            };
            let since = *source.too_large_since.get_or_insert(cx.now);
            if cx.now.saturating_duration_since(since) >= REFUSED_AFTER {
                refused.push((source.owner, source.attendee, size));
            }
        }
        for (id, attendee, size) in refused {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let limit = session.largest_picture();
            let feature = if attendee.content { "Content" } else { "Video" };
            let why = format!(
                "pictures of {size} are larger than the {limit} that MeetingFeatures.{feature}.MaxResolution allows"
            );
            warn!(meeting_id = %self.id, attendee_id = %attendee, %size, %limit, "video refused: {why}");
            session.trace.note_refused_video(&why);
            self.tell_trace(cx, id);
            let (level, message) = (NotificationLevel::Error, REFUSAL.to_owned());
            cx.frame(id, ServerFrame::Notification { level, message });
            if attendee.content {
                self.end_session_with_error(cx, id, status::BAD_REQUEST, why, FrameKind::AudioStatus);
            } else {
                self.unpublish(id);
                let (status, on) = (status::VIEW_ONLY, FrameKind::AudioStatus);
                cx.frame(id, ServerFrame::Error { status, description: why, on });
            }
        }
    }
}
