//! Who is here, who is muted, who speaks: AUDIO_STREAM_ID_INFO and AUDIO_METADATA (signaling specification, 6.1, 6.2).

use std::collections::{BTreeMap, VecDeque};

use campanile_media::mix::LegId;
use campanile_wire::signaling::{AudioAttendeeState, AudioStreamIdInfo, ServerFrame, SignalStrength};

use crate::ids::AttendeeId;
use crate::meeting::Meeting;
use crate::service::Cx;

/// From this attenuation on, the client shows nothing: (42 - v) / 28.
pub(crate) const SILENT_DB: u8 = 42;
/// Stands for nobody: an entry that silences everybody not listed.
const NOBODY: u32 = 0;
/// Loss, in percent of the last packets, from which the signal counts as weak, and as gone.
const WEAK_LOSS: u64 = 4;
const GONE_LOSS: u64 = 20;
/// The last packets are those of the last second, or of as many as it takes to have so many: of a client that rests (DTX) five
/// come in a second, one of which says little. One lost of so many is no weak signal.
const TELLING_PACKETS: u64 = 40;
const TELLING_SECONDS: usize = 10;

/// What the last levels said, so that changes are said once more and silence only once.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    somebody_was_heard: bool,
    /// Audio stream id to signal strength, of those whose signal is not good.
    impaired: BTreeMap<u32, SignalStrength>,
    /// The same to packets expected and lost, second by second.
    losses: BTreeMap<u32, VecDeque<(u64, u64)>>,
    was_impaired: Vec<u32>,
}

impl Levels {
    /// Takes how many of one attendee's packets were expected in the last second, and lost.
    pub(crate) fn note_loss(&mut self, audio_stream_id: u32, expected: u64, lost: u64) {
        let seconds = self.losses.entry(audio_stream_id).or_default();
        seconds.push_back((expected, lost));
        let expected_in = |seconds: &VecDeque<(u64, u64)>, from| -> u64 {
            seconds.iter().skip(from).map(|(expected, _)| expected).sum()
        };
        while seconds.len() > TELLING_SECONDS || expected_in(seconds, 1) >= TELLING_PACKETS {
            seconds.pop_front();
        }
        let lost: u64 = seconds.iter().map(|(_, lost)| lost).sum();
        let signal = match (100 * lost).checked_div(expected_in(seconds, 0)).unwrap_or(0) {
            GONE_LOSS.. => SignalStrength::Lost,
            WEAK_LOSS.. => SignalStrength::Weak,
            _ => SignalStrength::Full,
        };
        if signal == SignalStrength::Full {
            if self.impaired.remove(&audio_stream_id).is_some() {
                self.was_impaired.push(audio_stream_id);
            }
        } else {
            self.was_impaired.retain(|id| *id != audio_stream_id);
            self.impaired.insert(audio_stream_id, signal);
        }
    }

    fn forget(&mut self, audio_stream_id: u32) {
        self.impaired.remove(&audio_stream_id);
        self.losses.remove(&audio_stream_id);
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
        levels.note_loss(3, 50, 5);
        assert_eq!(entries(&mut levels, &[]), [(3, None, Some(1))]);
        assert_eq!(entries(&mut levels, &[(1, 10)]), [(1, Some(10), None), (3, None, Some(1))]);
        levels.note_loss(3, 50, 40);
        assert_eq!(entries(&mut levels, &[(3, 10)]), [(3, Some(10), Some(0))]);
        levels.note_loss(3, 50, 0);
        assert_eq!(entries(&mut levels, &[(3, 10)]), [(3, Some(10), Some(2))]);
        assert_eq!(entries(&mut levels, &[(3, 10)]), [(3, Some(10), None)]);
    }

    #[test]
    fn one_packet_lost_of_the_few_of_a_client_that_rests_is_no_weak_signal() {
        let signal_after = |losses: [u64; 8]| {
            let mut levels = Levels::default();
            // It spoke before, and then rests.
            levels.note_loss(3, 50, 0);
            losses.iter().for_each(|lost| levels.note_loss(3, 5, *lost));
            entries(&mut levels, &[]).first().and_then(|(.., signal)| *signal)
        };
        assert_eq!(signal_after([0, 0, 0, 0, 0, 1, 0, 0]), None);
        assert_eq!(signal_after([0, 0, 0, 0, 0, 0, 2, 2]), Some(1));
        assert_eq!(signal_after([0, 1, 1, 2, 1, 2, 2, 2]), Some(0));
        assert_eq!(signal_after([3, 0, 0, 0, 0, 0, 0, 0]), Some(1));
        let mut levels = Levels::default();
        (0..100).for_each(|_| levels.note_loss(3, 0, 0));
        assert_eq!(levels.losses[&3].len(), TELLING_SECONDS);
    }
}
