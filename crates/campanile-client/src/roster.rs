//! Who is in the meeting, by the JavaScript client's rules.

use std::collections::BTreeMap;

use campanile_wire::signaling::AudioStreamIdInfo;

/// One attendee in the meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attendee {
    /// The attendee; ends in `#content` for a content share.
    pub attendee_id: String,
    /// The application's own name.
    pub external_user_id: String,
    /// The microphone is muted.
    pub muted: bool,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RosterChange {
    /// Someone came.
    Joined(Attendee),
    /// Someone went.
    Left {
        /// Who.
        attendee: Attendee,
        /// The connection was lost, rather than left.
        dropped: bool,
    },
    /// Someone muted or unmuted.
    Muted(Attendee),
}

/// Everybody present, by audio stream id.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    present: BTreeMap<u32, Attendee>,
    /// The next list is the first on its connection, and so holds everybody.
    fresh: bool,
}

impl Roster {
    /// A new connection: the next list is complete.
    pub(crate) fn reconnected(&mut self) {
        self.fresh = true;
    }

    pub(crate) fn attendee(&self, audio_stream_id: u32) -> Option<&Attendee> {
        self.present.get(&audio_stream_id)
    }

    pub(crate) fn apply(&mut self, entries: Vec<AudioStreamIdInfo>) -> Vec<RosterChange> {
        let mut changes = Vec::new();
        if std::mem::take(&mut self.fresh) {
            let named = |attendee: &Attendee| {
                entries.iter().any(|entry| {
                    matches!(entry, AudioStreamIdInfo::Present { attendee_id, .. } if *attendee_id == attendee.attendee_id)
                })
            };
            let gone: Vec<u32> =
                self.present.iter().filter(|(_, attendee)| !named(attendee)).map(|(id, _)| *id).collect();
            for id in gone {
                if let Some(attendee) = self.present.remove(&id) {
                    changes.push(RosterChange::Left { attendee, dropped: false });
                }
            }
        }
        for entry in entries {
            match entry {
                AudioStreamIdInfo::Present { audio_stream_id, attendee_id, external_user_id, muted } => {
                    let known = self.present.values().find(|other| other.attendee_id == attendee_id);
                    let muted = muted.unwrap_or(known.is_some_and(|known| known.muted));
                    let known = known.is_some();
                    let attendee = Attendee { attendee_id, external_user_id, muted };
                    // A rejoin gets a new id before the old one leaves.
                    self.present.retain(|id, other| {
                        *id == audio_stream_id || other.attendee_id != attendee.attendee_id
                    });
                    self.present.insert(audio_stream_id, attendee.clone());
                    changes.push(if known {
                        RosterChange::Muted(attendee)
                    } else {
                        RosterChange::Joined(attendee)
                    });
                }
                AudioStreamIdInfo::Mute { audio_stream_id, muted } => {
                    if let Some(attendee) = self.present.get_mut(&audio_stream_id)
                        && attendee.muted != muted
                    {
                        attendee.muted = muted;
                        changes.push(RosterChange::Muted(attendee.clone()));
                    }
                }
                AudioStreamIdInfo::Left { audio_stream_id, dropped } => {
                    if let Some(attendee) = self.present.remove(&audio_stream_id) {
                        changes.push(RosterChange::Left { attendee, dropped });
                    }
                }
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(id: u32, name: &str) -> AudioStreamIdInfo {
        AudioStreamIdInfo::Present {
            audio_stream_id: id,
            attendee_id: name.into(),
            external_user_id: name.into(),
            muted: Some(false),
        }
    }

    fn words(changes: Vec<RosterChange>) -> String {
        let word = |change: &RosterChange| match change {
            RosterChange::Joined(who) => format!("+{}", who.attendee_id),
            RosterChange::Left { attendee, dropped } => {
                format!("-{}{}", attendee.attendee_id, if *dropped { "!" } else { "" })
            }
            RosterChange::Muted(who) => format!("{}={}", who.attendee_id, who.muted),
        };
        changes.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_roster_follows_what_it_is_told() {
        let mut roster = Roster::default();
        let mut check = |entries: Vec<AudioStreamIdInfo>, expected: &str| {
            assert_eq!(words(roster.apply(entries)), expected);
        };
        check(vec![present(1, "ann"), present(2, "bob")], "+ann +bob");
        check(vec![AudioStreamIdInfo::Mute { audio_stream_id: 2, muted: true }], "bob=true");
        check(
            vec![present(3, "ann"), AudioStreamIdInfo::Left { audio_stream_id: 1, dropped: false }],
            "ann=false",
        );
        check(vec![AudioStreamIdInfo::Left { audio_stream_id: 2, dropped: true }], "-bob!");
        check(vec![AudioStreamIdInfo::Left { audio_stream_id: 9, dropped: true }], "");
    }

    #[test]
    fn who_is_not_in_the_first_list_after_a_reconnect_has_left() {
        let mut roster = Roster::default();
        roster.apply(vec![present(1, "ann"), present(2, "bob")]);
        roster.reconnected();
        assert_eq!(words(roster.apply(vec![present(7, "ann")])), "-bob ann=false");
    }
}
