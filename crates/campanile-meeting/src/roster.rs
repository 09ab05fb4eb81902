//! Who is here, who is muted, who speaks: AUDIO_STREAM_ID_INFO and AUDIO_METADATA (signaling specification, 6.1, 6.2).

use std::collections::BTreeMap;

use campanile_media::mix::LegId;
use campanile_wire::signaling::{AudioAttendeeState, AudioStreamIdInfo, ServerFrame, SignalStrength};

use crate::ids::AttendeeId;
use crate::meeting::Meeting;
use crate::service::Cx;

/// From this attenuation on, the client shows nothing: (42 - v) / 28.
pub(crate) const SILENT_DB: u8 = 42;
/// Stands for nobody: an entry that silences everybody not listed.
const NOBODY: u32 = 0;
/// Loss, in 256ths of the last second's packets, from which the signal counts as weak (4 %), and as gone (20 %).
const WEAK_LOSS: u8 = 10;
const GONE_LOSS: u8 = 51;

/// What the last levels said, so that changes are said once more and silence only once.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    somebody_was_heard: bool,
    /// Audio stream id to signal strength, of those whose signal is not good.
    impaired: BTreeMap<u32, SignalStrength>,
    was_impaired: Vec<u32>,
}

impl Levels {
    /// Takes the share of one attendee's packets lost in the last second, 0 to 255 for all.
    pub(crate) fn note_loss(&mut self, audio_stream_id: u32, fraction_lost: u8) {
        let signal = match fraction_lost {
            GONE_LOSS.. => SignalStrength::Lost,
            WEAK_LOSS.. => SignalStrength::Weak,
            _ => SignalStrength::Full,
        };
        if signal == SignalStrength::Full {
            if self.impaired.remove(&audio_stream_id).is_some() {
                self.was_impaired.push(audio_stream_id);
            }
        } else {
            self.impaired.insert(audio_stream_id, signal);
        }
    }

    fn forget(&mut self, audio_stream_id: u32) {
        self.impaired.remove(&audio_stream_id);
        self.was_impaired.retain(|id| *id != audio_stream_id);
    }

    /// The entries of one frame. A frame with any volume silences all it does not list, and one with any signal
    /// strength declares all it does not list to be perfect: so speakers are listed every time, the impaired too,
    /// and silence takes one entry that names nobody.
    fn entries(&mut self, heard: impl Iterator<Item = (u32, u8)>) -> Vec<AudioAttendeeState> {
        let mut entries = BTreeMap::new();
        let state =
            |audio_stream_id| AudioAttendeeState { audio_stream_id, volume_db: None, signal_strength: None };
        for (id, volume) in heard.filter(|(_, volume)| *volume < SILENT_DB) {
            entries.entry(id).or_insert_with(|| state(id)).volume_db = Some(volume);
        }
        let somebody_is_heard = !entries.is_empty();
        if self.somebody_was_heard && !somebody_is_heard {
            entries.entry(NOBODY).or_insert_with(|| state(NOBODY)).volume_db = Some(SILENT_DB);
        }
        self.somebody_was_heard = somebody_is_heard;
        let recovered =
            std::mem::take(&mut self.was_impaired).into_iter().map(|id| (id, SignalStrength::Full));
        for (id, signal) in self.impaired.iter().map(|(id, signal)| (*id, *signal)).chain(recovered) {
            entries.entry(id).or_insert_with(|| state(id)).signal_strength = Some(signal);
        }
        entries.into_values().collect()
    }
}

impl Meeting {
    /// Everybody on stage, and the viewer: the first frame that a client gets must hold them all, for whoever is missing
    /// has left. An attendee about to be present again, after a reconnect or a restart, is still there under the
    /// earlier number.
    pub(crate) fn roster_for(&self, viewer: AttendeeId) -> Vec<AudioStreamIdInfo> {
        let mut roster: Vec<_> = self.awaited.entries().collect();
        for session in self.sessions.values().filter(|session| session.is_in()) {
            let number = if session.present { Some(session.audio_stream_id) } else { session.replaces };
            if session.replica.is_none() || session.attendee.id == viewer {
                roster.extend(number.map(|number| session.entry(number)));
            }
            if session.present {
                roster.extend(session.promoted_entry());
            }
        }
        roster
    }

    /// Tells everybody what changed in the roster.
    pub(crate) fn tell_roster(&mut self, cx: &mut Cx<'_>, entries: Vec<AudioStreamIdInfo>) {
        if entries.is_empty() {
            return;
        }
        for entry in &entries {
            if let AudioStreamIdInfo::Left { audio_stream_id, .. } = entry {
                self.levels.forget(*audio_stream_id);
            }
        }
        let listening = self.sessions.values().filter(|session| session.is_listening());
        cx.frame_to_all(listening.map(|session| session.id), ServerFrame::AudioStreamIdInfo(entries));
    }

    /// Five times a second: who is heard how loudly, and whose signal suffers.
    pub(crate) fn send_levels(&mut self, cx: &mut Cx<'_>) {
        let mixer = &self.mixer;
        let present = self.sessions.values().filter(|session| session.present && !session.muted);
        let heard = present.filter_map(|session| {
            Some((session.stage_number()?, mixer.level_of(LegId(session.audio_stream_id)).volume_db))
        });
        let entries = self.levels.entries(heard);
        if entries.is_empty() {
            return;
        }
        let listening = self.sessions.values().filter(|session| session.is_listening());
        cx.frame_to_all(listening.map(|session| session.id), ServerFrame::AudioMetadata(entries));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(levels: &mut Levels, heard: &[(u32, u8)]) -> Vec<(u32, Option<u8>, Option<u8>)> {
        let entries = levels.entries(heard.iter().copied());
        entries
            .into_iter()
            .map(|e| (e.audio_stream_id, e.volume_db, e.signal_strength.map(|s| s as u8)))
            .collect()
    }

    #[test]
    fn trap_28_volume_is_attenuation_and_silence_is_said_once() {
        let mut levels = Levels::default();
        assert_eq!(entries(&mut levels, &[(1, 20), (2, 60)]), [(1, Some(20), None)]);
        assert_eq!(entries(&mut levels, &[(1, 127), (2, 60)]), [(NOBODY, Some(42), None)]);
        assert_eq!(entries(&mut levels, &[(1, 127)]), []);
    }

    #[test]
    fn trap_29_the_impaired_are_repeated_and_recovery_is_said() {
        let mut levels = Levels::default();
        levels.note_loss(3, 30);
        assert_eq!(entries(&mut levels, &[]), [(3, None, Some(1))]);
        assert_eq!(entries(&mut levels, &[(1, 10)]), [(1, Some(10), None), (3, None, Some(1))]);
        levels.note_loss(3, 200);
        assert_eq!(entries(&mut levels, &[(3, 10)]), [(3, Some(10), Some(0))]);
        levels.note_loss(3, 0);
        assert_eq!(entries(&mut levels, &[(3, 10)]), [(3, Some(10), Some(2))]);
        assert_eq!(entries(&mut levels, &[(3, 10)]), [(3, Some(10), None)]);
    }
}
