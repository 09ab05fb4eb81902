//! Mixed audio: every 20 ms each listener gets everyone but themselves, in one Opus packet.
//!
//! One [`Mixer`] serves one meeting. It decodes only who may be heard (the eight loudest by the levels that senders
//! announce, checked against what was decoded), adds them up, and encodes once per quality ([`Profile`]) for all who are
//! silent and once more for each who is heard, because only theirs differs. When nobody speaks nothing is encoded: the
//! packet is canned. A listener who begins to speak gets a copy of the shared encoder, and so hears no seam; one who has
//! fallen silent comes back likewise if nobody else hears that quality, and otherwise with one packet that refers to none
//! before it. Nobody is held to the quality of another.
//!
//! RTP, encryption and the rhythm of ticks are the caller's; so is deciding who may speak and who is muted.

pub mod fuzz;
mod jitter;
mod kind;
mod leg;
mod level;
mod limiter;
mod profile;
mod red;
mod sound;
mod stream;
mod timing;
mod voice;

use campanile_opus::Channels;
use kind::Kind;
use leg::Leg;
use red::Red;
use sound::Sound;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use stream::Stream;
use voice::Voice;

pub use campanile_opus::SILENCE;
pub use jitter::Quality;
pub use level::Level;
pub use profile::{Effort, Profile, announces_stereo};

/// Samples of one tick: 20 ms at 48 kHz, one channel.
pub const FRAME_SAMPLES: usize = 960;
/// Time from one [`Mixer::tick`] to the next.
pub const TICK: Duration = Duration::from_millis(20);
/// Voices in the mix at most, when nothing else is said. More at once is a noise that nobody follows, and each costs a decode
/// and an encode.
pub const VOICES_MAX: usize = 8;
/// Profiles that there are.
const PROFILES: usize = Profile::ALL.len();
/// Whoever falls silent, or is muted in the middle of a word, still hears a mix of their own for so long. An encoder refers to
/// sound of up to 28 ms ago: by 6.5 it looks ahead, and its pitch filter reaches back by 21 (RFC 6716 section 4.3.7.1).
/// In the others' stream that would be one's own voice.
const LINGER_TICKS: u64 = 2;
/// How long decoders and encoders of those who fell silent are kept, so that a conversation makes no new ones.
const WARM: Duration = Duration::from_secs(5);

/// Names one leg of a meeting: one attendee's audio link (microphone and ear), or a content share's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub u32);

/// One audio packet of a leg, out of its RTP envelope.
#[derive(Debug, Clone, Copy)]
pub struct AudioPacket<'a> {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp, in units of 48 kHz (RFC 7587 section 4.1).
    pub timestamp: u32,
    /// What the audio-level extension says (RFC 6464): dB below full scale, 0 loudest to 127 silence. Without it the leg
    /// is always worth decoding.
    pub level_db: Option<u8>,
    /// One Opus packet of 2.5 to 120 ms, mono or stereo.
    pub payload: &'a [u8],
}

/// Mixes one meeting. Not a clock: the caller calls [`Mixer::tick`] every [`TICK`] while anybody listens.
pub struct Mixer {
    legs: BTreeMap<LegId, Leg>,
    voices_max: usize,
    ticks: u64,
    /// What everyone of a profile hears who is not heard, if the profile has listeners. Its mix is made on every tick,
    /// whether or not all its listeners are heard themselves.
    shared: [Option<Box<Stream>>; PROFILES],
    personal: Vec<Personal>,
    /// Legs by profile.
    listeners: [usize; PROFILES],
    spare_voices: Vec<Voice>,
    /// When decoders not in use, and the shared encoders if they rest, are given back.
    warm_until: Option<Instant>,
    /// Who might be heard, most worthy first; and the owners of those in this tick's mix. Kept to spare allocations.
    ranking: Vec<(f32, Reverse<u32>, LegId)>,
    heard_owners: Vec<u32>,
    /// Whoever hears a mix of their own, and the tick in whose mix they were last.
    apart: Vec<(u32, u64)>,
    /// The sum of all who are heard, and of all but one owner; from when first somebody is.
    sums: Option<Box<[Sound; 2]>>,
}

/// The mix of one owner who is heard, in one profile: everyone else.
struct Personal {
    owner: u32,
    /// Someone listens: the owner is heard now.
    active: bool,
    /// Somebody's decoder comes here at this tick.
    joined: bool,
    idle_since: Instant,
    stream: Box<Stream>,
}

impl Default for Mixer {
    fn default() -> Mixer {
        Mixer {
            legs: BTreeMap::new(),
            voices_max: VOICES_MAX,
            ticks: 0,
            shared: Default::default(),
            personal: Vec::new(),
            listeners: [0; PROFILES],
            spare_voices: Vec::new(),
            warm_until: None,
            ranking: Vec::new(),
            heard_owners: Vec::new(),
            apart: Vec::new(),
            sums: None,
        }
    }
}

impl Mixer {
    /// A mixer of a meeting without legs.
    pub fn new() -> Mixer {
        Mixer::default()
    }

    /// Adds a leg, not muted, in place of any of that name. Legs of one `owner` (an attendee and their content share)
    /// never hear each other. Without `can_speak` it only listens.
    pub fn add(&mut self, leg: LegId, owner: u32, can_speak: bool) {
        self.remove(leg);
        self.legs.insert(leg, Leg::new(owner, can_speak));
        self.listeners[Profile::default() as usize] += 1;
        self.ranking.reserve(self.legs.len());
        self.reserve_owners();
    }

    /// Removes a leg: it is heard no more and hears no more.
    pub fn remove(&mut self, leg: LegId) {
        if let Some(leg) = self.legs.remove(&leg) {
            self.listeners[leg.profile as usize] -= 1;
            self.spare_voices.extend(leg.voice);
        }
    }

    /// How many voices may be heard at once: at least 1, and the number of legs is all of them. Each costs a decode and
    /// an encode per tick.
    pub fn set_voices_max(&mut self, voices: usize) {
        self.voices_max = voices.max(1);
        self.reserve_owners();
    }

    /// Sets the quality in which a leg hears.
    pub fn set_profile(&mut self, leg: LegId, profile: Profile) {
        let Some(leg) = self.legs.get_mut(&leg) else { return };
        if leg.profile != profile {
            self.listeners[leg.profile as usize] -= 1;
            self.listeners[profile as usize] += 1;
            leg.profile = profile;
            leg.hears_personal = None;
        }
    }

    /// Says whether a leg sends stereo. Without that its packets are mixed down.
    pub fn set_stereo(&mut self, leg: LegId, stereo: bool) {
        let Some(leg) = self.legs.get_mut(&leg) else { return };
        let channels = if stereo { Channels::Stereo } else { Channels::Mono };
        if leg.channels != channels {
            leg.channels = channels;
            if let Some(voice) = leg.voice.take() {
                leg.jitter.release(voice.queued());
                self.spare_voices.push(voice);
            }
        }
    }

    /// Mutes or unmutes a leg. From the next tick on, nothing of a muted leg is in any mix; unmuted, nothing that it sent
    /// before.
    pub fn set_muted(&mut self, leg: LegId, muted: bool) {
        self.silence(leg, |leg| leg.muted = muted);
    }

    /// Grants or takes the right to be heard.
    pub fn set_can_speak(&mut self, leg: LegId, can_speak: bool) {
        self.silence(leg, |leg| leg.can_speak = can_speak);
    }

    /// Takes one packet of a leg. Packets of unknown legs are ignored; what else cannot be played is counted in
    /// [`Mixer::quality_of`].
    pub fn push(&mut self, now: Instant, leg: LegId, packet: AudioPacket<'_>) {
        let Some(leg) = self.legs.get_mut(&leg) else { return };
        if !leg.may_be_heard() {
            leg.jitter.count_only(now, packet);
        } else if leg.jitter.push(now, packet) {
            leg.announce(packet.level_db);
        }
    }

    /// Takes one packet of a leg whose payload is redundant audio (RFC 2198) of Opus frames of `payload_type`: what is
    /// missing of the frames before is filled in from the copies.
    pub fn push_red(&mut self, now: Instant, leg: LegId, payload_type: u8, packet: AudioPacket<'_>) {
        let Some(leg) = self.legs.get_mut(&leg) else { return };
        let Some(red) = Red::parse(packet.payload, payload_type) else {
            leg.jitter.count_malformed(now, packet);
            return;
        };
        let primary = AudioPacket { payload: red.primary, ..packet };
        if !leg.may_be_heard() {
            leg.jitter.count_only(now, primary);
            return;
        }
        if leg.jitter.push(now, primary) {
            leg.announce(packet.level_db);
        }
        for copy in red.copies() {
            leg.jitter.push_copy(now, packet.sequence, copy.age, copy.payload);
        }
    }

    /// Produces the next 20 ms for everyone; to be collected by [`Mixer::payload_for`].
    pub fn tick(&mut self, now: Instant) {
        self.ticks += 1;
        self.choose();
        self.decode(now);
        self.encode(now);
        self.release(now);
    }

    /// The Opus packet (20 ms) of the last tick for this listener. An unknown leg is sent silence.
    pub fn payload_for(&self, leg: LegId) -> &[u8] {
        let Some(leg) = self.legs.get(&leg) else { return &SILENCE };
        self.stream_of(leg).map_or(leg.profile.silence(), Stream::payload)
    }

    /// Writes the same as redundant audio (RFC 2198) with up to `copies` packets before it, at most two, as Opus of
    /// `payload_type`. There are never copies of what another stream carried: a listener who has just fallen silent
    /// must not be sent their own voice to make up for a loss.
    pub fn write_red_for(&self, leg: LegId, payload_type: u8, copies: usize, out: &mut Vec<u8>) {
        let leg = self.legs.get(&leg);
        let Some((leg, stream)) = leg.and_then(|leg| Some((leg, self.stream_of(leg)?))) else {
            let silence = leg.map_or(&SILENCE[..], |leg| leg.profile.silence());
            return red::write(out, payload_type, std::iter::empty(), silence);
        };
        let ticks = usize::try_from(self.ticks - leg.hears_since).unwrap_or(usize::MAX);
        let copies = (1..=copies.min(stream::COPIES_MAX).min(ticks)).rev();
        let copies = copies.map(|back| ((back * FRAME_SAMPLES) as u32, stream.payload_before(back)));
        red::write(out, payload_type, copies, stream.payload());
    }

    /// How loud a leg is, for the roster.
    pub fn level_of(&self, leg: LegId) -> Level {
        self.legs.get(&leg).map_or(Level::SILENT, |leg| leg.meter.level())
    }

    /// What became of a leg's packets.
    pub fn quality_of(&self, leg: LegId) -> Quality {
        self.legs.get(&leg).map_or_else(Quality::default, |leg| leg.jitter.quality)
    }

    /// Whether nobody is heard: the last tick made nothing but silence, and so will the next unless packets come.
    pub fn is_idle(&self) -> bool {
        let quiet = |leg: &Leg| leg.voice.is_none() && !leg.is_candidate();
        !self.shared.iter().flatten().any(|shared| shared.is_running())
            && !self.personal.iter().any(|personal| personal.active)
            && self.legs.values().all(quiet)
    }

    /// Chooses the legs to be heard in this tick.
    fn choose(&mut self) {
        self.ranking.clear();
        for (id, leg) in &mut self.legs {
            leg.age();
            leg.chosen = false;
            if leg.is_candidate() {
                self.ranking.push((leg.rank_db(), Reverse(leg.waited_ticks), *id));
            }
        }
        self.ranking.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        self.ranking.truncate(self.voices_max);
        for (_, _, id) in &self.ranking {
            if let Some(leg) = self.legs.get_mut(id) {
                leg.chosen = true;
            }
        }
    }

    /// Decodes the chosen, and once more those who were, to fade them out. Everyone else's packets pass.
    fn decode(&mut self, now: Instant) {
        self.heard_owners.clear();
        for leg in self.legs.values_mut() {
            if leg.chosen && leg.voice.is_none() {
                // Without memory for a decoder one voice is missing; the meeting goes on.
                let spare = self.spare_voices.iter().rposition(|voice| voice.channels() == leg.channels);
                let spare = spare.map(|at| self.spare_voices.swap_remove(at));
                leg.voice = spare.or_else(|| Voice::new(leg.channels).ok());
                if let Some(voice) = &mut leg.voice {
                    voice.start(&mut leg.jitter);
                }
                self.warm_until = Some(now + WARM);
            }
            leg.tick(now);
            if leg.heard && !self.heard_owners.contains(&leg.owner) {
                self.heard_owners.push(leg.owner);
            }
        }
    }

    /// Mixes and encodes: one shared stream for each profile, and one for each owner who is heard.
    fn encode(&mut self, now: Instant) {
        for (profile, shared) in Profile::ALL.into_iter().zip(&mut self.shared) {
            let wanted = self.listeners[profile as usize] > 0;
            if wanted && shared.is_none() && !self.heard_owners.is_empty() {
                *shared = Some(Box::new(Stream::new(profile)));
            } else if !wanted {
                *shared = None;
            }
        }
        let (quiet, joined) = self.assign(now);
        // A crowd talks; but whoever has asked for music may get it from one, too.
        let is_crowd = self.heard_owners.len() > VOICES_MAX;
        let crowd = |profile: Profile| (is_crowd && !profile.is_for_music()).then_some(Kind::SPEECH);

        if self.sums.is_none() && self.heard_owners.is_empty() {
            return; // until somebody has spoken there are no streams, and canned silence needs none
        }
        let [sum, others] = &mut **self.sums.get_or_insert_default();
        sum.clear();
        for leg in self.legs.values().filter(|leg| leg.heard) {
            sum.add(leg.sound(), 1.0);
        }
        for shared in self.shared.iter_mut().flatten() {
            shared.mix(sum);
        }
        for (owner, _) in &self.apart {
            let alone = self.heard_owners.iter().all(|heard| heard == owner);
            others.clone_from(sum);
            for leg in self.legs.values().filter(|leg| leg.heard && leg.owner == *owner) {
                others.add(leg.sound(), -1.0);
            }
            if alone {
                others.clear(); // exactly, where subtraction might leave a rounding error
            }
            let theirs =
                self.personal.iter_mut().filter(|personal| personal.active && personal.owner == *owner);
            for personal in theirs {
                personal.stream.mix(others);
                let joined = std::mem::take(&mut personal.joined);
                // What everybody else hears is much the same, and is listened to by its encoder.
                let profile = personal.stream.profile();
                let shared = self.shared[profile as usize].as_deref().filter(|_| quiet[profile as usize] > 0);
                let known = crowd(profile).or_else(|| shared.and_then(Stream::kind));
                if personal.stream.encode(joined, known).is_err() {
                    personal.stream.rest(); // no memory for an encoder: silence in time is the best left
                }
            }
        }
        for (at, shared) in self.shared.iter_mut().enumerate() {
            let Some(shared) = shared else { continue };
            if quiet[at] == 0 || shared.encode(joined[at], crowd(shared.profile())).is_err() {
                shared.rest();
            }
        }
    }

    /// Says who hears which stream in this tick. Returns, for each profile, how many hear the shared one, and whether
    /// anybody's decoder comes over to it.
    fn assign(&mut self, now: Instant) -> ([usize; PROFILES], [bool; PROFILES]) {
        for owner in &self.heard_owners {
            match self.apart.iter_mut().find(|(apart, _)| apart == owner) {
                Some((_, last)) => *last = self.ticks,
                None => self.apart.push((*owner, self.ticks)),
            }
        }
        self.apart.retain(|(_, last)| last + LINGER_TICKS >= self.ticks);
        let speaks = |owner| self.apart.iter().any(|(apart, _)| *apart == owner);
        let mut continued = [None; PROFILES];
        for personal in self.personal.iter_mut().filter(|personal| personal.active) {
            if !speaks(personal.owner) {
                let profile = personal.stream.profile();
                let hears_shared = |leg: &Leg| leg.profile == profile && leg.hears_personal == Some(false);
                // What nobody hears may as well go on where this ends: in a meeting of two that is each time.
                if let Some(shared) = &mut self.shared[profile as usize]
                    && !self.legs.values().any(hears_shared)
                    && shared.branch_from(&personal.stream)
                {
                    continued[profile as usize] = Some(personal.owner);
                }
                personal.active = false;
                personal.idle_since = now;
                personal.stream.rest();
            }
        }
        let (mut quiet, mut joined) = ([0; PROFILES], [false; PROFILES]);
        for leg in self.legs.values_mut() {
            let speaks = speaks(leg.owner);
            let before = leg.hears_personal.replace(speaks);
            let comes = before != Some(speaks);
            if comes {
                leg.hears_since = self.ticks;
            }
            if !speaks {
                quiet[leg.profile as usize] += 1;
                let goes_on = before == Some(true) && continued[leg.profile as usize] == Some(leg.owner);
                joined[leg.profile as usize] |= comes && !goes_on;
            } else if comes && let Some(shared) = &self.shared[leg.profile as usize] {
                let owner = leg.owner;
                let theirs = |personal: &Personal| {
                    personal.active && personal.owner == owner && personal.stream.profile() == leg.profile
                };
                if let Some(personal) = self.personal.iter_mut().find(|personal| theirs(personal)) {
                    personal.joined = true;
                    continue;
                }
                let usable =
                    |personal: &Personal| !personal.active && personal.stream.profile() == leg.profile;
                let at = self.personal.iter().position(usable).unwrap_or_else(|| {
                    let stream = Box::new(Stream::new(leg.profile));
                    let (active, joined) = (false, true);
                    self.personal.push(Personal { owner, active, joined, idle_since: now, stream });
                    self.personal.len() - 1
                });
                let goes_on = if before == Some(false) {
                    self.personal[at].stream.branch_from(shared)
                } else {
                    // In the others' stream is their own voice: they go on from what they heard in another quality, if any.
                    let heard = self.personal.iter().position(|other| other.active && other.owner == owner);
                    match heard.and_then(|heard| self.personal.get_disjoint_mut([at, heard]).ok()) {
                        Some([new, heard]) => new.stream.begin_after(Some(&heard.stream)),
                        None => self.personal[at].stream.begin_after(None),
                    }
                    false
                };
                let personal = &mut self.personal[at];
                personal.joined = !goes_on;
                (personal.owner, personal.active) = (owner, true);
            }
        }
        (quiet, joined)
    }

    /// Gives back what is needed no more.
    fn release(&mut self, now: Instant) {
        for leg in self.legs.values_mut() {
            if !leg.chosen
                && let Some(voice) = leg.voice.take()
            {
                leg.jitter.release(voice.queued());
                self.spare_voices.push(voice);
            }
        }
        self.personal.retain(|personal| personal.active || now < personal.idle_since + WARM);
        if !self.ranking.is_empty() {
            self.warm_until = Some(now + WARM);
        } else if self.warm_until.is_some_and(|until| now >= until) {
            self.warm_until = None;
            self.spare_voices.clear();
            self.shared.iter_mut().flatten().for_each(|shared| shared.drop_encoder());
        }
    }

    /// Of each voice that may be heard there may be another that fades out, or lingers.
    fn reserve_owners(&mut self) {
        self.heard_owners.reserve(self.voices_max * 2);
        self.apart.reserve(self.voices_max * 4);
    }

    fn silence(&mut self, leg: LegId, change: impl FnOnce(&mut Leg)) {
        let Some(leg) = self.legs.get_mut(&leg) else { return };
        let before = leg.may_be_heard();
        change(leg);
        if leg.may_be_heard() != before {
            self.spare_voices.extend(leg.voice.take());
            leg.forget();
        }
    }

    /// The mix of the last tick for this listener, before it was encoded.
    #[cfg(test)]
    fn mix_for(&self, leg: LegId) -> sound::Pcm {
        let stream = self.legs.get(&leg).and_then(|leg| self.stream_of(leg));
        stream.map_or([0.0; FRAME_SAMPLES], |stream| stream.sound().mid)
    }

    fn stream_of(&self, leg: &Leg) -> Option<&Stream> {
        if leg.hears_personal != Some(true) {
            return self.shared[leg.profile as usize].as_deref();
        }
        let theirs = |personal: &&Personal| {
            personal.active && personal.owner == leg.owner && personal.stream.profile() == leg.profile
        };
        self.personal.iter().find(theirs).map(|personal| &*personal.stream)
    }
}

#[cfg(test)]
mod tests;
