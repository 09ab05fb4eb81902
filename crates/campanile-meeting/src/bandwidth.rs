//! What each receiver's network bears, shared among what it watches: layers, pauses, paced packets, probes.
//!
//! The estimate is the peer's, the sharing `campanile_media::allocate`'s. Here its questions are gathered and its answers
//! carried out: forwarders get their targets, clients are told what is paused, and in a meeting of two the sender
//! learns what its only receiver bears.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use campanile_media::allocate::{Ask, Budget, allocate};
use campanile_media::estimate::CEILING;
use campanile_media::forward::{Layer, Prefer, Rung, StoredPacket, Wish, choose_layer};
use campanile_media::rtcp;
use campanile_media::units::Bitrate;
use campanile_wire::signaling::ServerFrame;

use crate::ids::SessionId;
use crate::link::MediaLink;
use crate::meeting::Meeting;
use crate::service::Cx;
use crate::session::Session;
use crate::source::{Source, Subscriber};

/// A subscription that was paused for want of bandwidth stays so for at least this long.
const REST: Duration = Duration::from_secs(3);
/// After so long it comes back also where it just fits, without the room to spare that it would need before. Each time that
/// it is paused again soon it waits for twice as long.
const TRY_AFTER: Duration = Duration::from_secs(6);
const TRY_AFTER_MAX: Duration = Duration::from_secs(96);
/// What has lasted for so long was no failure.
const LASTS: Duration = Duration::from_secs(30);
/// Less is given only when it has been too much for this long: an estimate may be wrong for a moment.
const GRACE: Duration = Duration::from_millis(700);
/// Below this share of what is sent, an estimate is not wrong by chance.
const SEVERE: f64 = 0.7;
/// The same for nothing at all: just after congestion an estimate is lower than the network.
const PAUSE_GRACE: Duration = Duration::from_millis(2500);
/// When something has been paused or comes back, the rest goes on for so long: only when the queues have drained, after a
/// keyframe too, does it show whether there is room enough.
const SETTLING: Duration = Duration::from_secs(5);
/// Paced packets that wait for longer than this are more than the network bears: of what comes next only the lowest layer is
/// sent, for which nobody needs a keyframe.
const BACKLOG_MAX: Duration = Duration::from_millis(250);
/// Beyond this not even the lowest layer is.
const LOWEST_BACKLOG_MAX: Duration = Duration::from_secs(1);
/// In the place of the first while a keyframe of a smaller stream waits with them: it takes as much as many frames do, and
/// stopping would take another. Of one stream in several sizes stopping is what makes the keyframe small.
const KEYFRAME_BACKLOG_MAX: Duration = Duration::from_secs(1);
/// No keyframe is waited for longer than this, however long its publisher says that it is.
const KEYFRAME_LEAVES_MAX: Duration = Duration::from_secs(2);
/// Beyond so long a round trip, what the last one took tells nothing of the next.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(500);
/// What the network must bear beyond what is watched, so that nothing of it waits for a margin.
const HEADROOM: f64 = 1.25;
/// All that one client subscribes to at most.
const DEMAND_MAX: Bitrate = Bitrate::kbps(15_000);

/// A subscription's share of its receiver's bandwidth.
#[derive(Debug)]
pub(crate) struct Share {
    /// The larger, the more important.
    pub(crate) priority: u32,
    state: ShareState,
    /// The least that could be sent of the stream that is; `None` where that is all of it.
    lowest: Option<Layer>,
    /// When it came back from its last pause.
    resumed_at: Option<Instant>,
    /// How long it waits, once paused, before it comes back where it just fits.
    tries_after: Duration,
    /// Since when it has had more than it should.
    excess_since: Option<Instant>,
    /// The keyframe that it was last sent.
    keyframe: Option<SentKeyframe>,
    /// The client has been told that it is paused.
    told_paused: bool,
}

/// A keyframe on its way.
#[derive(Clone, Copy, Debug)]
struct SentKeyframe {
    stream_id: u32,
    /// Its publisher's timestamp.
    timestamp: u32,
    /// When its first packet was sent.
    since: Instant,
    /// When all of it will have left.
    leaves_at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ShareState {
    /// It gets what it wants.
    Whole,
    /// It gets less: this.
    Part(Layer),
    /// This stream was more than could leave in time, and is its lowest layer or nothing: the next sharing says what it gets.
    Late { stream: Option<u32> },
    /// It gets nothing.
    Paused { since: Instant },
}

/// How long a subscription may have more than its share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Patience {
    /// No longer at all.
    None,
    /// For a moment, as the estimate may be wrong; less of one if it is far too much.
    Grace { severe: bool },
    /// It is made as small as it can be, and not paused.
    Endless,
}

impl Share {
    pub(crate) fn new(priority: u32) -> Share {
        Share {
            priority,
            state: ShareState::Whole,
            lowest: None,
            resumed_at: None,
            tries_after: TRY_AFTER,
            excess_since: None,
            keyframe: None,
            told_paused: false,
        }
    }

    fn pause(&mut self, now: Instant) {
        if !self.is_paused() {
            let is_soon = self.resumed_at.is_some_and(|at| now < at + LASTS);
            self.tries_after = if is_soon { (2 * self.tries_after).min(TRY_AFTER_MAX) } else { TRY_AFTER };
            self.state = ShareState::Paused { since: now };
        }
    }

    fn give(&mut self, now: Instant, state: ShareState) {
        if self.is_paused() {
            self.resumed_at = Some(now);
        }
        self.state = state;
    }

    /// Notes when the keyframe that this packet is part of, if it is, will have left.
    pub(crate) fn note_keyframe(
        &mut self,
        now: Instant,
        stream_id: u32,
        packet: &StoredPacket,
        link: &MediaLink,
    ) {
        let timestamp = packet.timestamp;
        let is_its =
            |keyframe: SentKeyframe| (keyframe.stream_id, keyframe.timestamp) == (stream_id, timestamp);
        let known = self.keyframe.filter(|keyframe| is_its(*keyframe));
        if packet.info.starts_keyframe || known.is_some() {
            let since = known.map_or(now, |keyframe| keyframe.since);
            let leaves_at = (now + link.peer.backlog()).min(since + KEYFRAME_LEAVES_MAX);
            self.keyframe = Some(SentKeyframe { stream_id, timestamp, since, leaves_at });
        }
    }

    /// A keyframe of this stream was sent that cannot have arrived yet, or not all of it, over a network that bears no more:
    /// another would only make it later.
    pub(crate) fn has_keyframe_on_its_way(&self, now: Instant, stream_id: u32, link: &mut MediaLink) -> bool {
        let estimator = link.peer.estimator();
        // For itself, and for the repair of what of it is lost.
        let arrival = 2 * estimator.round_trip().min(ROUND_TRIP_MAX);
        let is_coming =
            |keyframe: SentKeyframe| keyframe.stream_id == stream_id && now < keyframe.leaves_at + arrival;
        estimator.is_limited() && self.keyframe.is_some_and(is_coming)
    }

    fn is_paused(&self) -> bool {
        matches!(self.state, ShareState::Paused { .. })
    }

    /// For how long it has been paused; `None` if it is not.
    fn paused_for(&self, now: Instant) -> Option<Duration> {
        match self.state {
            ShareState::Paused { since } => Some(now.saturating_duration_since(since)),
            _ => None,
        }
    }
}

impl Subscriber {
    /// A new target for one that gets whatever it wants: that may have changed with what flows. The others wait for the
    /// next sharing.
    pub(crate) fn retarget(&mut self, ladder: &[Rung]) {
        if self.paused {
            self.aim(ladder, None);
        } else if self.share.state == ShareState::Whole {
            self.aim(ladder, choose_layer(ladder, self.wish));
        }
    }

    fn aim(&mut self, ladder: &[Rung], layer: Option<Layer>) {
        let lowest = layer.and_then(|layer| ladder.iter().find(|rung| rung.layer.stream == layer.stream));
        self.share.lowest = lowest.map(|rung| rung.layer).filter(|lowest| Some(*lowest) != layer);
        self.forwarder.set_target(layer);
    }

    /// A frame begins. If too much waits already, the stream becomes as small as it can without a keyframe, or stops before it.
    pub(crate) fn stop_if_late(&mut self, now: Instant, link: &MediaLink) {
        let backlog = link.peer.backlog();
        let keyframe_waits = self.share.keyframe.is_some_and(|keyframe| now < keyframe.leaves_at);
        let is_late = match self.share.state {
            ShareState::Part(layer) if keyframe_waits && layer.is_whole_size() => {
                backlog > KEYFRAME_BACKLOG_MAX
            }
            ShareState::Whole | ShareState::Part(_) => backlog > BACKLOG_MAX,
            ShareState::Late { .. } | ShareState::Paused { .. } => false,
        };
        if is_late {
            let stream = self.forwarder.current().map(|layer| layer.stream);
            self.share.state = ShareState::Late { stream };
            self.forwarder.set_target(self.share.lowest.filter(|lowest| Some(lowest.stream) == stream));
        }
        if matches!(self.share.state, ShareState::Late { .. }) && backlog > LOWEST_BACKLOG_MAX {
            self.forwarder.set_target(None);
        }
    }

    /// What has not arrived by now of a stream that it had to leave is worth nothing any more: it would only keep the keyframe
    /// of the next from coming.
    fn give_up_what_it_left(&mut self, link: &mut MediaLink) {
        if self.forwarder.has_left() {
            self.forwarder.forget();
            self.share.keyframe = None;
            link.peer.discard(self.forwarder.ssrc);
            link.peer.discard(self.forwarder.rtx_ssrc);
        }
    }

    fn ask<'a>(&self, now: Instant, ladder: &'a [Rung], follows: bool) -> Ask<'a> {
        let place = |layer: Layer| ladder.iter().position(|rung| rung.layer == layer);
        let wanted = if self.paused { None } else { choose_layer(ladder, self.wish).and_then(place) };
        let current = match self.share.state {
            ShareState::Whole => wanted,
            // The ladder may have been built anew meanwhile: of the same stream, then, its lowest.
            ShareState::Part(layer) => {
                place(layer).or_else(|| ladder.iter().position(|rung| rung.layer.stream == layer.stream))
            }
            ShareState::Late { .. } => wanted.map(|_| 0),
            ShareState::Paused { .. } => None,
        };
        let paused_for = self.share.paused_for(now);
        let rests = paused_for.is_some_and(|span| span < REST);
        let tries = paused_for.is_some_and(|span| span >= self.share.tries_after);
        Ask { priority: self.share.priority, ladder, wanted, current, follows, rests, tries }
    }

    /// Whether it was late, and nothing smaller than that is to be had.
    fn is_too_much(&self, ladder: &[Rung]) -> bool {
        let lowest = ladder.iter().find(|rung| rung.flowing).map(|rung| rung.layer.stream);
        matches!(self.share.state, ShareState::Late { stream } if stream == lowest)
    }

    fn take_share(&mut self, now: Instant, ask: &Ask<'_>, mut rung: Option<usize>, patience: Patience) {
        let lowest = || ask.ladder.iter().position(|rung| rung.flowing);
        if ask.current.min(ask.wanted) <= rung {
            self.share.excess_since = None;
        } else {
            let excess = now - *self.share.excess_since.get_or_insert(now);
            let is_late = self.is_too_much(ask.ladder);
            match (patience, rung) {
                (Patience::Endless, None) => rung = lowest(),
                (Patience::Grace { severe: false }, _) if excess < GRACE && !is_late => {
                    rung = ask.current.min(ask.wanted);
                }
                (Patience::Grace { .. }, None) if excess < PAUSE_GRACE && !is_late => rung = lowest(),
                _ => {}
            }
        }
        let layer = rung.map(|rung| ask.ladder[rung].layer);
        let is_another =
            layer.zip(self.forwarder.current()).is_some_and(|(next, current)| next.stream != current.stream);
        let falls_far = patience == (Patience::Grace { severe: true }) && rung < ask.current.min(ask.wanted);
        if is_another && (falls_far || matches!(self.share.state, ShareState::Late { .. })) {
            // Going on until the keyframe of the smaller one comes would keep the network's queue full, and lose much of that.
            self.forwarder.set_target(None);
        }
        match layer {
            None if ask.wanted.is_some() => self.share.pause(now),
            // Whatever is to be had of it no more for a moment, it comes back by the same rules.
            None if self.share.is_paused() && !self.paused => {}
            Some(layer) if ask.wanted != rung => self.share.give(now, ShareState::Part(layer)),
            _ => self.share.give(now, ShareState::Whole),
        }
        self.aim(ask.ladder, layer);
    }
}

impl Meeting {
    /// Shares every receiver's bandwidth anew, and notices streams that came or went.
    pub(crate) fn retarget_all(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now;
        let follows = self.participants() <= 2;
        let mut ladders: BTreeMap<(u32, Prefer), Vec<Rung>> = BTreeMap::new();
        // By receiver; each source's subscribers in their order, so that nothing depends on chance.
        let mut places: Vec<(SessionId, u32, usize)> = Vec::new();
        for (group_id, source) in &self.sources {
            for subscriber in &source.subscribers {
                let prefer = source.preference(subscriber);
                ladders.entry((*group_id, prefer)).or_insert_with(|| source.ladder(now, prefer));
            }
            let subscribers = source.subscribers.iter().enumerate();
            places.extend(subscribers.map(|(at, subscriber)| (subscriber.session, *group_id, at)));
        }
        places.sort_unstable();
        for theirs in places.chunk_by(|a, b| a.0 == b.0) {
            let Some(session) = self.sessions.get_mut(&theirs[0].0) else { continue };
            let budget = budget(session, &self.sources);
            let ask = |(_, group_id, at): &(SessionId, u32, usize)| {
                let source = &self.sources[group_id];
                let subscriber = &source.subscribers[*at];
                subscriber.ask(now, &ladders[&(*group_id, source.preference(subscriber))], follows)
            };
            let asks: Vec<Ask<'_>> = theirs.iter().map(ask).collect();
            let held: Bitrate = asks.iter().filter_map(|ask| Some(ask.ladder[ask.current?].bitrate)).sum();
            let severe = budget.is_some_and(|budget| budget.rate < held.scaled(SEVERE));
            let rungs = allocate(&asks, budget);
            let mut shares: Vec<_> = theirs.iter().zip(&asks).zip(rungs).collect();
            // What is paused makes room for the rest: the least important goes first, also when it was another that came too
            // late; of equals the last, as in the allocation.
            shares.sort_by_key(|((_, ask), _)| std::cmp::Reverse(ask.priority));
            let any_late = shares.iter().any(|(((_, group_id, at), ask), rung)| {
                rung.is_none() && self.sources[group_id].subscribers[*at].is_too_much(ask.ladder)
            });
            // What is still sent of all that was held.
            let mut left = held;
            for ((place, ask), rung) in shares.into_iter().rev() {
                let (_, group_id, at) = place;
                let Some(source) = self.sources.get_mut(group_id) else { continue };
                let is_settling = session.settling_since.is_some_and(|at| now < at + SETTLING);
                let patience = match budget {
                    Some(budget) if is_settling && budget.rate >= left.scaled(SEVERE) => Patience::Endless,
                    _ if any_late => Patience::None,
                    _ => Patience::Grace { severe },
                };
                let subscriber = &mut source.subscribers[*at];
                let was_paused = subscriber.share.is_paused();
                subscriber.take_share(now, ask, rung, patience);
                if let Some(link) = &mut session.link {
                    subscriber.give_up_what_it_left(link);
                }
                let is_paused = subscriber.share.is_paused();
                if let Some(current) = ask.current.filter(|_| is_paused) {
                    left = left.saturating_sub(ask.ladder[current].bitrate);
                }
                if was_paused != is_paused {
                    session.settling_since = Some(now);
                }
            }
        }
        self.begin_pictures(cx);
        self.index_due |= self.offered != self.offered_now(now);
    }

    /// Tells clients what was paused for want of bandwidth since they were last told, and what goes on.
    pub(crate) fn tell_pauses(&mut self, cx: &mut Cx<'_>) {
        for (group_id, source) in &mut self.sources {
            for subscriber in &mut source.subscribers {
                let paused = subscriber.share.is_paused() && !subscriber.paused;
                if paused != subscriber.share.told_paused {
                    subscriber.share.told_paused = paused;
                    let group_ids = vec![*group_id];
                    let frame = match paused {
                        true => ServerFrame::Pause { group_ids },
                        false => ServerFrame::Resume { group_ids },
                    };
                    cx.frame(subscriber.session, frame);
                }
            }
        }
    }

    /// Lets paced packets go that may leave now, fills probes up, and notes when to come again.
    pub(crate) fn release_paced(&mut self, cx: &mut Cx<'_>) {
        self.release_at = None;
        for session in self.sessions.values_mut() {
            let link = session.link.as_mut().filter(|link| link.is_paced(cx.now));
            let Some(link) = link else { continue };
            link.release(cx.now);
            let next = link.peer.next_release(cx.now);
            self.release_at = [self.release_at, next].into_iter().flatten().min();
            cx.touch(self.id, session.id);
        }
    }

    /// Packets of this session may wait to leave.
    pub(crate) fn note_release(&mut self, now: Instant, id: SessionId) {
        let link = self.sessions.get(&id).and_then(|session| session.link.as_ref());
        let next = link.and_then(|link| link.peer.next_release(now));
        self.release_at = [self.release_at, next].into_iter().flatten().min();
    }

    /// In a meeting of two the client sends one stream, as large as it goes, and expects to hear what its receiver
    /// bears: so it is told, as long as that is less than it might send, and once when it no longer is.
    pub(crate) fn relay_estimates(&mut self, cx: &mut Cx<'_>) {
        let two = self.participants() <= 2;
        for source in self.sources.values_mut() {
            let estimate = match source.subscribers[..] {
                [ref only] if two => self.sessions.get_mut(&only.session).and_then(limiting_estimate),
                _ => None,
            };
            if estimate.is_none() && !source.told_estimate {
                continue;
            }
            source.told_estimate = estimate.is_some();
            let Some(link) = self.sessions.get_mut(&source.owner).and_then(|s| s.link.as_mut()) else {
                continue;
            };
            let ssrcs: Vec<u32> = source.layers.iter().filter_map(|layer| layer.ssrc).collect();
            let (local_ssrc, bitrate) = (link.local_ssrc, estimate.unwrap_or(CEILING));
            link.peer.send_rtcp(|out| rtcp::remb(out, local_ssrc, bitrate.as_bps(), &ssrcs));
            cx.touch(self.id, source.owner);
        }
    }
}

/// What this receiver's network bears, if that is less than it would be sent.
fn limiting_estimate(session: &mut Session) -> Option<Bitrate> {
    let estimator = session.link.as_mut()?.peer.estimator();
    estimator.estimate().filter(|_| estimator.is_limited())
}

/// What there is to share for one receiver. Tells its estimator on the way what could be used at most: all that its
/// client could choose to watch, or, where the server chooses, all that it has asked for.
fn budget(session: &mut Session, sources: &BTreeMap<u32, Source>) -> Option<Budget> {
    let server_picks = session.server_picks_layers();
    let most = |source: &Source| {
        let top = source.most();
        let subscriber = source.subscribers.iter().find(|subscriber| subscriber.session == session.id);
        match subscriber.map(|subscriber| subscriber.wish) {
            Some(Wish::Within(target)) => top.min(target),
            None if server_picks => Bitrate::default(),
            _ => top,
        }
    };
    let visible = sources
        .values()
        .filter(|source| !session.is_own(source.attendee.id) && session.may_see(source.attendee.content));
    let demand: Bitrate = visible.map(most).sum();
    let estimator = session.link.as_mut()?.peer.estimator();
    estimator.set_demand(demand.min(DEMAND_MAX).scaled(HEADROOM));
    estimator.estimate().map(|rate| Budget { rate, limited: estimator.is_limited() })
}
