//! What was measured, as Markdown: for the terminal and for `docs/benchmarks.md` alike.

use std::fmt::{self, Write as _};

use crate::Failure;
use crate::heard::Heard;

/// Below this, packets were lost: a row says nothing about cost.
const DELIVERED_MIN: f64 = 0.999;
/// Above this share of its core's time in other hands, a server was not measured alone.
const OTHERS_MAX: f64 = 0.1;

/// Below this correlation with what was said, a distance from it says nothing of coding.
const LIKENESS_MIN: f32 = 0.5;
/// Above this times their bitrate, ours is not the same.
const SAME_BITRATE_MAX: f32 = 1.02;

/// One run of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// CPU time for one unit of work, in microseconds.
    pub(crate) cost_us: f64,
    /// Share of that which was spent in the kernel, 0 to 1.
    pub(crate) kernel: f64,
    /// Of one core, 0 to 1.
    pub(crate) cores: f64,
    /// Of the packets that were due, 0 to 1.
    pub(crate) delivered: f64,
    /// Of the server's core, 0 to 1, used by others.
    pub(crate) others: f64,
    /// The generator could not keep time.
    pub(crate) late: bool,
    /// What a listener heard, where there is sound.
    pub(crate) heard: Option<Heard>,
    /// What the encoder of that was set to, 0 to 10.
    pub(crate) complexity: Option<u8>,
}

impl Row {
    /// Why it does not count, if it does not.
    fn flaw(&self) -> Option<String> {
        if self.late {
            Some("the generator could not keep time".into())
        } else if self.delivered < DELIVERED_MIN {
            Some(format!("only {:.2} % delivered", 100.0 * self.delivered))
        } else if self.others > OTHERS_MAX {
            Some(format!("others used {:.0} % of the core", 100.0 * self.others))
        } else {
            let strange = self.heard.filter(|heard| heard.likeness < LIKENESS_MIN)?;
            Some(format!(
                "what was heard is not what was said (their correlation is {:.2})",
                strange.likeness
            ))
        }
    }

    /// Why its cost may not be compared with another's, both of which count: it is cheap to sound worse.
    fn worse_than(&self, other: &Row) -> Option<String> {
        let (heard, theirs) = match (&self.heard, &other.heard) {
            (Some(heard), Some(theirs)) => (heard, theirs),
            (None, None) => return None,
            _ => return Some("it is not known how both sound".into()),
        };
        if heard.kbps > theirs.kbps * SAME_BITRATE_MAX {
            Some(format!("{:.1} kbit/s beside {:.1}", heard.kbps, theirs.kbps))
        } else if heard.distance_db > theirs.distance_db {
            let (ours, theirs) = (heard.distance_db, theirs.distance_db);
            Some(format!("{ours:.2} dB from what was said beside {theirs:.2}"))
        } else {
            None
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} µs, {:.2} % of a core", self.cost_us, 100.0 * self.cores)?;
        if let Some(heard) = &self.heard {
            write!(f, ", {heard}")?;
        }
        match self.flaw() {
            Some(flaw) => write!(f, " (does not count: {flaw})"),
            None => Ok(()),
        }
    }
}

/// What we are called in reports.
pub(crate) const OURS: &str = "Campanile";

/// So many runs of a case may be made once more because they did not count; after that the machine is too busy.
const AGAIN_MAX: usize = 4;

/// One case, run in turn by ours and others.
#[derive(Debug)]
pub(crate) struct Case {
    name: String,
    /// Of each server, what counted of each round.
    servers: Vec<(&'static str, Vec<Option<Row>>)>,
    flaws: Vec<String>,
}

impl Case {
    /// Runs a server for one more round; again at once if that does not count. [`OURS`] is what others are compared with.
    pub(crate) fn run(
        &mut self,
        server: &'static str,
        mut run: impl FnMut() -> Result<Row, Failure>,
    ) -> Result<(), Failure> {
        let counted = loop {
            let row = run()?;
            eprintln!("{:40} {server:9} {row}", self.name);
            let Some(flaw) = row.flaw() else { break Some(row) };
            self.flaws.push(format!("{}, {server}: {flaw}", self.name));
            if self.flaws.len() > AGAIN_MAX {
                break None;
            }
        };
        match self.servers.iter_mut().find(|(name, _)| *name == server) {
            Some((_, rounds)) => rounds.push(counted),
            None => self.servers.push((server, vec![counted])),
        }
        Ok(())
    }

    /// Ours and theirs of each round in which both count, with the round's number.
    fn pairs<'a>(&'a self, theirs: &'a [Option<Row>]) -> impl Iterator<Item = (usize, &'a Row, &'a Row)> {
        let ours = self.servers.iter().find(|(name, _)| *name == OURS).map_or(&[][..], |(_, rounds)| rounds);
        let rounds = (1..).zip(ours.iter().zip(theirs));
        rounds.filter_map(|(number, pair)| Some((number, pair.0.as_ref()?, pair.1.as_ref()?)))
    }

    /// Ours by theirs, of each round in which both count and ours is no worse.
    fn ratios(&self, theirs: &[Option<Row>]) -> Vec<f64> {
        let fair = self.pairs(theirs).filter(|(_, ours, theirs)| ours.worse_than(theirs).is_none());
        fair.map(|(_, ours, theirs)| ours.cost_us / theirs.cost_us).collect()
    }

    /// Whose cost is in no ratio, and why.
    fn unfair(&self) -> Vec<String> {
        let others = self.servers.iter().filter(|(name, _)| *name != OURS);
        let of = |(server, theirs): &(&str, Vec<Option<Row>>)| -> Vec<String> {
            let why = |(number, ours, theirs): (usize, &Row, &Row)| {
                let why = ours.worse_than(theirs)?;
                Some(format!("{}, round {number} beside {server}, for its ratio: {why}", self.name))
            };
            self.pairs(theirs).filter_map(why).collect()
        };
        others.flat_map(of).collect()
    }
}

/// All cases of one kind of work.
#[derive(Debug)]
pub(crate) struct Comparison {
    unit: &'static str,
    cases: Vec<Case>,
}

impl Comparison {
    pub(crate) fn new(unit: &'static str) -> Comparison {
        Comparison { unit, cases: Vec::new() }
    }

    pub(crate) fn case(&mut self, name: impl Into<String>) -> &mut Case {
        self.cases.push(Case { name: name.into(), servers: Vec::new(), flaws: Vec::new() });
        self.cases.last_mut().expect("just pushed")
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| case | server | {} | of it in the kernel | of a core | ours by theirs | rounds that count |",
            self.unit
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for case in &self.cases {
            for (at, (server, rounds)) in case.servers.iter().enumerate() {
                let spread = |of: fn(&Row) -> f64| spread(rounds.iter().flatten().map(of));
                let ratio = if *server == OURS {
                    "–".into()
                } else {
                    self::spread(case.ratios(rounds).into_iter())
                };
                let (counted, all) = (rounds.iter().flatten().count(), rounds.len());
                writeln!(
                    f,
                    "| {} | {server} | {} | {} % | {} % | {ratio} | {counted} of {all} |",
                    if at == 0 { &case.name } else { "" },
                    spread(|row| row.cost_us),
                    spread(|row| 100.0 * row.kernel),
                    spread(|row| 100.0 * row.cores),
                )?;
            }
        }
        self.write_heard(f)?;
        let flaws = self.cases.iter().flat_map(|case| case.flaws.iter().cloned().chain(case.unfair()));
        let mut flaws = flaws.peekable();
        if flaws.peek().is_some() {
            writeln!(
                f,
                "\nDid not count and is in no figure; at most {AGAIN_MAX} of a case were run again:"
            )?;
        }
        flaws.try_for_each(|flaw| writeln!(f, "- {flaw}"))
    }
}

impl Comparison {
    /// What one listener heard in the same runs, if there was anything to hear.
    fn write_heard(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = |case: &'_ Case| -> Vec<(&'static str, Vec<Row>)> {
            let heard = |rounds: &[Option<Row>]| {
                rounds.iter().flatten().filter(|row| row.heard.is_some()).copied().collect::<Vec<_>>()
            };
            let servers = case.servers.iter().map(|(server, rounds)| (*server, heard(rounds)));
            servers.filter(|(_, rows)| !rows.is_empty()).collect()
        };
        if self.cases.iter().all(|case| servers(case).is_empty()) {
            return Ok(());
        }
        writeln!(f, "\n| case | server | from what was said, dB | kbit/s received | coded | complexity |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for case in &self.cases {
            for (at, (server, rows)) in servers(case).into_iter().enumerate() {
                let heard = |of: fn(&Heard) -> f32| {
                    rows.iter().filter_map(move |row| row.heard.as_ref()).map(move |heard| of(heard).into())
                };
                let Row { heard: Some(Heard { coding, .. }), complexity, .. } = &rows[0] else { continue };
                let complexity = complexity.map_or("–".into(), |complexity| complexity.to_string());
                writeln!(
                    f,
                    "| {} | {server} | {} | {} | {coding}: {} % of the packets | {complexity} |",
                    if at == 0 { &case.name } else { "" },
                    spread_by(heard(|heard| heard.distance_db), |db| format!("{db:.2}")),
                    spread(heard(|heard| heard.kbps)),
                    spread(heard(|heard| 100.0 * heard.share)),
                )?;
            }
        }
        Ok(())
    }
}

/// Median, and least to most where there are several; small values to the thousandth.
fn spread(values: impl Iterator<Item = f64>) -> String {
    spread_by(values, |value| if value < 1.0 { format!("{value:.3}") } else { format!("{value:.1}") })
}

fn spread_by(values: impl Iterator<Item = f64>, digits: impl Fn(f64) -> String) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else { return "–".into() };
    let mut text = digits(values[values.len() / 2]);
    if values.len() > 1 {
        let _ = write!(text, " ({} to {})", digits(*least), digits(*most));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heard::Coding;

    fn row(cost_us: f64) -> Row {
        Row {
            cost_us,
            kernel: 0.75,
            cores: 0.5,
            delivered: 1.0,
            others: 0.0,
            late: false,
            heard: None,
            complexity: None,
        }
    }

    fn sounding(cost_us: f64, distance_db: f32, kbps: f32) -> Row {
        let heard = Some(Heard { distance_db, likeness: 0.9, kbps, coding: Coding::FULL_HYBRID, share: 1.0 });
        Row { heard, complexity: Some(4), ..row(cost_us) }
    }

    /// A server of which each run is the next of these.
    fn rounds(case: &mut Case, rounds: usize, mut ours: Vec<Row>, mut theirs: Vec<Row>) {
        for _ in 0..rounds {
            case.run(OURS, || Ok(ours.remove(0))).unwrap();
            case.run("Janus", || Ok(theirs.remove(0))).unwrap();
        }
        assert!(ours.is_empty() && theirs.is_empty());
    }

    #[test]
    fn what_does_not_count_is_run_again_and_in_no_figure() {
        let mut comparison = Comparison::new("µs");
        let lossy = Row { delivered: 0.99, ..row(100.0) };
        let late = Row { late: true, ..row(100.0) };
        let ours = vec![row(1.0), late, row(1.0), row(3.0)];
        let mut strange = sounding(100.0, 4.0, 31.0);
        strange.heard.as_mut().expect("it sounds").likeness = 0.3;
        let theirs = vec![row(4.0), row(2.0), lossy, strange, row(4.0)];
        rounds(comparison.case("talk"), 3, ours, theirs);
        let text = comparison.to_string();
        assert!(text.contains("| talk | Campanile | 1.0 (1.0 to 3.0) |"), "{text}");
        assert!(text.contains("| 0.500 (0.250 to 0.750) | 3 of 3 |"), "{text}");
        assert!(text.contains("- talk, Janus: only 99.00 % delivered"), "{text}");
        assert!(text.contains("- talk, Janus: what was heard is not what was said"), "{text}");
        assert!(text.contains("- talk, Campanile: the generator could not keep time"), "{text}");
    }

    #[test]
    fn a_busy_machine_ends_the_trying_and_ratios_are_of_rounds_in_which_both_count() {
        let mut comparison = Comparison::new("µs");
        let busy = Row { others: 0.5, ..row(100.0) };
        let ours = [&[busy; AGAIN_MAX + 1][..], &[row(1.0), busy, row(1.0)]].concat();
        rounds(comparison.case("talk"), 4, ours, vec![row(2.0), row(2.0), row(2.0), busy]);
        let text = comparison.to_string();
        assert!(text.contains("| 0.500 | 3 of 4 |"), "{text}");
        assert!(text.contains("| talk | Campanile | 1.0 (1.0 to 1.0) |"), "{text}");
    }

    #[test]
    fn every_server_has_a_line_and_others_a_ratio() {
        let mut comparison = Comparison::new("µs");
        let case = comparison.case("many");
        for (server, cost_us) in [(OURS, 2.0), ("Janus", 8.0), ("mediasoup", 4.0)] {
            case.run(server, || Ok(row(cost_us))).unwrap();
        }
        let text = comparison.to_string();
        assert!(text.contains("| many | Campanile | 2.0 | 75.0 % | 50.0 % | – | 1 of 1 |"), "{text}");
        assert!(text.contains("|  | Janus | 8.0 | 75.0 % | 50.0 % | 0.250 | 1 of 1 |"), "{text}");
        assert!(text.contains("|  | mediasoup | 4.0 | 75.0 % | 50.0 % | 0.500 | 1 of 1 |"), "{text}");
    }

    #[test]
    fn a_ratio_counts_only_if_the_same_round_sounds_no_worse_at_the_same_bitrate() {
        let mut comparison = Comparison::new("µs");
        let ours = vec![
            sounding(1.0, 4.0, 31.0),
            sounding(2.0, 4.5, 31.0),
            sounding(3.0, 4.0, 36.0),
            sounding(8.0, 4.2, 31.5),
        ];
        rounds(comparison.case("talk"), 4, ours, vec![sounding(10.0, 4.2, 31.0); 4]);
        let text = comparison.to_string();
        assert!(text.contains("| 0.800 (0.100 to 0.800) | 4 of 4 |"), "{text}");
        assert!(
            text.contains(
                "- talk, round 2 beside Janus, for its ratio: 4.50 dB from what was said beside 4.20"
            ),
            "{text}"
        );
        assert!(
            text.contains("- talk, round 3 beside Janus, for its ratio: 36.0 kbit/s beside 31.0"),
            "{text}"
        );
        assert!(text.contains("|  | Janus | 4.20 (4.20 to 4.20) | 31.0 (31.0 to 31.0) | hybrid"), "{text}");
        assert!(text.contains(": 100.0 (100.0 to 100.0) % of the packets | 4 |"), "{text}");
        let mut comparison = Comparison::new("µs");
        rounds(comparison.case("talk"), 1, vec![row(1.0)], vec![sounding(2.0, 4.0, 31.0)]);
        assert!(comparison.to_string().contains("| – | 1 of 1 |"), "{comparison}");
    }
}
