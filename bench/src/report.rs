//! What was measured, as Markdown: for the terminal and for `docs/benchmarks.md` alike.

use std::fmt::{self, Write as _};

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
        if self.delivered < DELIVERED_MIN {
            Some(format!("only {:.2} % delivered", 100.0 * self.delivered))
        } else if self.late {
            Some("the generator could not keep time".into())
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

/// One case, run in turn by ours and others.
#[derive(Debug)]
pub(crate) struct Case {
    name: String,
    servers: Vec<(&'static str, Vec<Row>)>,
}

impl Case {
    /// Takes in one more run of a server; [`OURS`] is what others are compared with.
    pub(crate) fn ran(&mut self, server: &'static str, row: Row) {
        eprintln!("{:40} {server:9} {row}", self.name);
        match self.servers.iter_mut().find(|(name, _)| *name == server) {
            Some((_, rows)) => rows.push(row),
            None => self.servers.push((server, vec![row])),
        }
    }

    /// Ours by theirs, of each round in which both count.
    fn ratios(&self, theirs: &[Row]) -> Vec<f64> {
        let ours = self.servers.iter().find(|(name, _)| *name == OURS).map_or(&[][..], |(_, rows)| rows);
        let pairs = ours.iter().zip(theirs);
        let good = pairs.filter(|(ours, theirs)| ours.flaw().is_none() && theirs.flaw().is_none());
        good.map(|(ours, theirs)| ours.cost_us / theirs.cost_us).collect()
    }

    fn flaws(&self) -> Vec<String> {
        let rows = self.servers.iter().flat_map(|(server, rows)| rows.iter().map(move |row| (server, row)));
        rows.filter_map(|(server, row)| Some(format!("{}, {server}: {}", self.name, row.flaw()?))).collect()
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
        self.cases.push(Case { name: name.into(), servers: Vec::new() });
        self.cases.last_mut().expect("just pushed")
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| case | server | {} | of it in the kernel | of a core | ours by theirs |", self.unit)?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for case in &self.cases {
            for (at, (server, rows)) in case.servers.iter().enumerate() {
                let spread = |of: fn(&Row) -> f64| spread(rows.iter().map(of));
                let ratio =
                    if *server == OURS { "–".into() } else { self::spread(case.ratios(rows).into_iter()) };
                writeln!(
                    f,
                    "| {} | {server} | {} | {} % | {} % | {ratio} |",
                    if at == 0 { &case.name } else { "" },
                    spread(|row| row.cost_us),
                    spread(|row| 100.0 * row.kernel),
                    spread(|row| 100.0 * row.cores),
                )?;
            }
        }
        let flaws: Vec<String> = self.cases.iter().flat_map(Case::flaws).collect();
        if !flaws.is_empty() {
            writeln!(f, "\nDoes not count, and is in no ratio:")?;
            flaws.iter().try_for_each(|flaw| writeln!(f, "- {flaw}"))?;
        }
        Ok(())
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

    #[test]
    fn ratios_are_of_rounds_in_which_both_count() {
        let mut comparison = Comparison::new("µs");
        let case = comparison.case("talk");
        for (ours, theirs) in [(1.0, 4.0), (1.0, 2.0), (3.0, 4.0)] {
            case.ran(OURS, row(ours));
            case.ran("Janus", row(theirs));
        }
        case.ran(OURS, row(1.0));
        case.ran("Janus", Row { delivered: 0.99, ..row(100.0) });
        case.ran(OURS, Row { late: true, ..row(100.0) });
        case.ran("Janus", row(1.0));
        let text = comparison.to_string();
        assert!(text.contains("| 0.500 (0.250 to 0.750) |"), "{text}");
        assert!(text.contains("- talk, Janus: only 99.00 % delivered"), "{text}");
        assert!(text.contains("- talk, Campanile: the generator could not keep time"), "{text}");
    }

    #[test]
    fn every_server_has_a_line_and_others_a_ratio() {
        let mut comparison = Comparison::new("µs");
        let case = comparison.case("many");
        case.ran(OURS, row(2.0));
        case.ran("Janus", row(8.0));
        case.ran("mediasoup", row(4.0));
        let text = comparison.to_string();
        assert!(text.contains("| many | Campanile | 2.0 | 75.0 % | 50.0 % | – |"), "{text}");
        assert!(text.contains("|  | Janus | 8.0 | 75.0 % | 50.0 % | 0.250 |"), "{text}");
        assert!(text.contains("|  | mediasoup | 4.0 | 75.0 % | 50.0 % | 0.500 |"), "{text}");
    }
}
