//! What was measured, as Markdown: for the terminal and for `docs/benchmarks.md` alike.

use std::fmt::{self, Write as _};

use crate::Failure;

/// Below this, packets were lost: a row says nothing about cost.
const DELIVERED_MIN: f64 = 0.999;
/// Above this share of its core's time in other hands, a server was not measured alone.
const OTHERS_MAX: f64 = 0.1;

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
            None
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} µs, {:.2} % of a core", self.cost_us, 100.0 * self.cores)?;
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

    /// Ours by theirs, of each round in which both count.
    fn ratios(&self, theirs: &[Option<Row>]) -> Vec<f64> {
        let ours = self.servers.iter().find(|(name, _)| *name == OURS).map_or(&[][..], |(_, rounds)| rounds);
        let pairs = ours.iter().zip(theirs).filter_map(|(ours, theirs)| ours.zip(*theirs));
        pairs.map(|(ours, theirs)| ours.cost_us / theirs.cost_us).collect()
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
        let mut flaws = self.cases.iter().flat_map(|case| &case.flaws).peekable();
        if flaws.peek().is_some() {
            writeln!(
                f,
                "\nDid not count and is in no figure; at most {AGAIN_MAX} of a case were run again:"
            )?;
        }
        flaws.try_for_each(|flaw| writeln!(f, "- {flaw}"))
    }
}

/// Median, and least to most where there are several.
fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else { return "–".into() };
    let digits = |value: f64| if value < 1.0 { format!("{value:.3}") } else { format!("{value:.1}") };
    let mut text = digits(values[values.len() / 2]);
    if values.len() > 1 {
        let _ = write!(text, " ({} to {})", digits(*least), digits(*most));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cost_us: f64) -> Row {
        Row { cost_us, kernel: 0.75, cores: 0.5, delivered: 1.0, others: 0.0, late: false }
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
        let theirs = vec![row(4.0), row(2.0), lossy, lossy, row(4.0)];
        rounds(comparison.case("talk"), 3, ours, theirs);
        let text = comparison.to_string();
        assert!(text.contains("| talk | Campanile | 1.0 (1.0 to 3.0) |"), "{text}");
        assert!(text.contains("| 0.500 (0.250 to 0.750) | 3 of 3 |"), "{text}");
        assert!(text.contains("- talk, Janus: only 99.00 % delivered"), "{text}");
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
}
