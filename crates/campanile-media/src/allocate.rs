//! Shares what the network to one receiver bears among its subscriptions.
//!
//! First everybody gets the lowest rung of their ladder, the most important first; then the rungs above are climbed, again
//! by importance and within the same importance by turns. What does not fit at all is paused. A rung that a subscription
//! has already needs no margin, a higher one does: so a picture does not flicker between two. So does the first rung of
//! what was paused, unless it has rested for long. What is sent and does not fit any more takes what is less important
//! along: an estimate made in congestion is low, and once that is gone there may be room.

use crate::forward::Rung;
use crate::units::Bitrate;

/// What a rung not yet held must leave free: this factor of its cost must fit.
const MARGIN: f64 = 1.15;
/// What of its cost the whole network must bear, or nothing that is taken from others would make room for it.
const HOPELESS: f64 = 0.7;

/// One subscription.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The larger, the more important.
    pub priority: u32,
    /// What can be sent, lowest first.
    pub ladder: &'a [Rung],
    /// The highest rung that is wanted, by its place; `None` for nothing at all.
    pub wanted: Option<usize>,
    /// The rung that is being sent.
    pub current: Option<usize>,
    /// Its sender adapts to this receiver: it gets the lowest rung whatever that takes.
    pub follows: bool,
    /// It was paused a moment ago: it rests, and its room is kept free of what is less important and has not begun.
    pub rests: bool,
    /// It has rested for long, and comes back where it just fits.
    pub tries: bool,
}

/// What there is to share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// The estimate.
    pub rate: Bitrate,
    /// The network has refused more. Otherwise nothing is taken away that was given.
    pub limited: bool,
}

/// The rung for each subscription, `None` for those that get nothing or are paused. Without a budget, what is wanted.
pub fn allocate(asks: &[Ask<'_>], budget: Option<Budget>) -> Vec<Option<usize>> {
    let Some(budget) = budget else { return asks.iter().map(|ask| ask.wanted).collect() };
    // What is new counts with its lowest rung.
    let held = |ask: &Ask<'_>| {
        let rung = ask.current.map(|current| Some(current.min(ask.wanted?)));
        Some(ask.ladder[rung.unwrap_or(next_rung(ask, None))?].bitrate)
    };
    let held: Bitrate = asks.iter().filter_map(held).sum();
    let mut left = if budget.limited { budget.rate } else { budget.rate.max(held) };
    let mut order: Vec<usize> = (0..asks.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(asks[*at].priority));

    let mut rungs = vec![None; asks.len()];
    let mut kept_free = Bitrate::default();
    for peers in order.chunk_by(|a, b| asks[*a].priority == asks[*b].priority) {
        let (mut resting, mut too_much) = (Bitrate::default(), Bitrate::default());
        for &at in peers {
            let ask = &asks[at];
            let Some(lowest) = next_rung(ask, None) else { continue };
            let cost = ask.ladder[lowest].bitrate;
            let room = if ask.current.is_none() { left.saturating_sub(kept_free) } else { left };
            let needed = if ask.tries { cost } else { with_margin(ask, lowest) };
            let fits = needed <= room && !ask.rests;
            if fits || ask.follows || (!budget.limited && !ask.rests) {
                rungs[at] = Some(lowest);
                left = left.saturating_sub(cost);
            } else if cost.scaled(HOPELESS) > budget.rate {
                continue;
            } else if ask.rests {
                resting = resting.saturating_add(cost);
            } else if ask.current.is_some() {
                too_much = too_much.saturating_add(cost);
            }
        }
        // What rests comes back before anything begins that is less important, and what is sent goes after all that is.
        kept_free = kept_free.saturating_add(resting);
        left = left.saturating_sub(too_much);
    }
    for peers in order.chunk_by(|a, b| asks[*a].priority == asks[*b].priority) {
        let mut climbing = true;
        while std::mem::take(&mut climbing) {
            for &at in peers {
                let (ask, Some(rung)) = (&asks[at], rungs[at]) else { continue };
                let Some(next) = next_rung(ask, Some(rung)) else { continue };
                let before = ask.ladder[rung].bitrate;
                if with_margin(ask, next).saturating_sub(before) <= left {
                    left = left.saturating_sub(ask.ladder[next].bitrate.saturating_sub(before));
                    rungs[at] = Some(next);
                    climbing = true;
                }
            }
        }
    }
    rungs
}

/// The lowest flowing rung above this one, or of all; within what is wanted, unless nothing there flows.
fn next_rung(ask: &Ask<'_>, above: Option<usize>) -> Option<usize> {
    let wanted = ask.wanted?;
    let first = above.map_or(0, |at| at + 1);
    let within = (first..=wanted).find(|at| ask.ladder[*at].flowing);
    within.or(above.is_none().then_some(wanted))
}

/// What must be free for this rung.
fn with_margin(ask: &Ask<'_>, rung: usize) -> Bitrate {
    let cost = ask.ladder[rung].bitrate;
    if ask.current.is_some_and(|current| rung <= current) { cost } else { cost.scaled(MARGIN) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::Layer;

    fn ladder(kbps: &[u64]) -> Vec<Rung> {
        let rung = |(at, kbps): (usize, &u64)| Rung {
            layer: Layer::whole(at as u32),
            bitrate: Bitrate::kbps(*kbps),
            nominal: Bitrate::kbps(*kbps),
            flowing: true,
        };
        kbps.iter().enumerate().map(rung).collect()
    }

    fn ask(ladder: &[Rung], priority: u32, current: Option<usize>) -> Ask<'_> {
        let wanted = Some(ladder.len() - 1);
        Ask { priority, ladder, wanted, current, follows: false, rests: false, tries: false }
    }

    fn limited(kbps: u64) -> Option<Budget> {
        Some(Budget { rate: Bitrate::kbps(kbps), limited: true })
    }

    #[test]
    fn the_lowest_for_all_comes_before_more_for_some() {
        let cameras = ladder(&[200, 600, 1500]);
        let check = |priorities: [u32; 3], kbps: u64, expected: [Option<usize>; 3]| {
            let asks = priorities.map(|priority| ask(&cameras, priority, None));
            assert_eq!(allocate(&asks, limited(kbps)), expected, "{priorities:?} within {kbps} kbit/s");
        };
        check([1, 1, 1], 5500, [Some(2); 3]);
        check([1, 1, 1], 700, [Some(0); 3]);
        check([1, 1, 1], 2200, [Some(1); 3]);
        check([1, 2, 1], 1200, [Some(0), Some(1), Some(0)]);
        check([1, 2, 1], 2300, [Some(0), Some(2), Some(0)]);
        check([3, 2, 1], 500, [Some(0), Some(0), None]);
        check([1, 2, 3], 250, [None, None, Some(0)]);
        check([1, 2, 3], 100, [None; 3]);
    }

    #[test]
    fn what_is_held_needs_no_margin_and_what_is_new_does() {
        let cameras = ladder(&[200, 600]);
        let check = |current: Option<usize>, kbps: u64, expected: Option<usize>| {
            assert_eq!(
                allocate(&[ask(&cameras, 1, current)], limited(kbps)),
                [expected],
                "{current:?} {kbps}"
            );
        };
        check(Some(1), 600, Some(1));
        check(Some(1), 599, Some(0));
        check(Some(0), 689, Some(0));
        check(Some(0), 690, Some(1));
        check(Some(0), 200, Some(0));
        check(None, 229, None);
        check(None, 230, Some(0));
        let tries = |kbps| allocate(&[Ask { tries: true, ..ask(&cameras, 1, None) }], limited(kbps));
        assert_eq!([tries(199), tries(200), tries(689)], [[None], [Some(0)], [Some(0)]]);
    }

    #[test]
    fn a_network_that_has_refused_nothing_keeps_what_it_has() {
        let cameras = ladder(&[200, 600]);
        let free = |kbps| Some(Budget { rate: Bitrate::kbps(kbps), limited: false });
        let asks = [ask(&cameras, 1, Some(1)), ask(&cameras, 1, Some(1)), ask(&cameras, 1, None)];
        assert_eq!(allocate(&asks, free(500)), [Some(1), Some(1), Some(0)]);
        assert_eq!(allocate(&asks, None), [Some(1); 3]);
        assert_eq!(allocate(&asks, limited(500)), [Some(0), Some(0), None]);
    }

    #[test]
    fn wishes_streams_that_stand_still_and_senders_that_follow_are_respected() {
        let mut cameras = ladder(&[200, 600, 1500]);
        let little = Ask { wanted: Some(1), ..ask(&cameras, 1, None) };
        assert_eq!(allocate(&[little], limited(9000)), [Some(1)]);
        assert_eq!(allocate(&[Ask { wanted: None, ..little }], limited(9000)), [None]);
        let resting = Ask { rests: true, priority: 2, ..little };
        assert_eq!(allocate(&[resting], limited(9000)), [None]);
        let (small, large) = (ladder(&[200]), ladder(&[600]));
        let held = |ladder, priority| ask(ladder, priority, Some(0));
        assert_eq!(allocate(&[held(&small, 1), held(&large, 2)], limited(500)), [None, None]);
        assert_eq!(allocate(&[held(&small, 2), held(&large, 2)], limited(500)), [Some(0), None]);
        assert_eq!(allocate(&[held(&small, 3), held(&large, 2)], limited(500)), [Some(0), None]);
        assert_eq!(allocate(&[little, resting], limited(350)), [None, None]);
        assert_eq!(allocate(&[little, resting], limited(430)), [Some(0), None]);
        assert_eq!(allocate(&[Ask { current: Some(0), ..little }, resting], limited(350)), [Some(0), None]);
        let huge = ladder(&[u32::MAX.into()]);
        for asked in [held(&huge, 2), Ask { rests: true, ..held(&huge, 2) }] {
            assert_eq!(allocate(&[held(&small, 1), asked], limited(500)), [Some(0), None]);
        }
        assert_eq!(allocate(&[Ask { follows: true, ..little }], limited(50)), [Some(0)]);
        cameras[0].flowing = false;
        assert_eq!(allocate(&[ask(&cameras, 1, None)], limited(700)), [Some(1)]);
        cameras[1].flowing = false;
        assert_eq!(allocate(&[ask(&cameras, 1, None)], limited(1800)), [Some(2)]);
    }
}
