//! How well everybody's sound gets here and back, for whoever runs the service.

use campanile_media::mix::{LegId, Level, Quality};

use crate::ids::{AttendeeKey, MeetingId};
use crate::meeting::Meeting;
use crate::service::MediaService;

/// One attendee's audio, both ways, since they came.
#[derive(Clone, Debug)]
pub struct AudioQuality {
    /// Whose, or whose content share's.
    pub attendee: AttendeeKey,
    /// The caller's own name for them.
    pub external_user_id: String,
    /// They have muted themselves.
    pub muted: bool,
    /// What became of the packets that they sent.
    pub uplink: Quality,
    /// How loud they are.
    pub level: Level,
    /// Packets of the mix sent to them.
    pub sent: u32,
    /// The share of these, in 256ths, that their last report calls lost.
    pub lost: u8,
    /// Copies of earlier packets that go with each, for that loss (RFC 2198).
    pub copies: usize,
}

impl MediaService {
    /// Everybody with audio in this meeting, or in the audience that came by this replica; empty when nobody is connected.
    pub fn audio_quality(&self, meeting: MeetingId) -> Vec<AudioQuality> {
        let host = self.host_of(meeting);
        let replica = (host != meeting).then_some(meeting);
        self.meeting(host).map_or_else(Vec::new, |meeting| meeting.audio_quality(replica))
    }
}

impl Meeting {
    fn audio_quality(&self, replica: Option<MeetingId>) -> Vec<AudioQuality> {
        let theirs = self.sessions.values().filter(|session| session.replica == replica);
        let quality = theirs.filter_map(|session| {
            let audio = session.link.as_ref()?.audio.as_ref()?;
            let leg = LegId(session.audio_stream_id);
            Some(AudioQuality {
                attendee: session.attendee,
                external_user_id: session.external_user_id.clone(),
                muted: session.muted,
                uplink: self.mixer.quality_of(leg),
                level: self.mixer.level_of(leg),
                sent: audio.packets,
                lost: audio.copies.reported_loss(),
                copies: audio.copies.count(),
            })
        });
        quality.collect()
    }
}
