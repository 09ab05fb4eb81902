//! Reports of `campanile-load`, one line each.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Failure;

/// The runs of `scenarios.sh`, in its order, in words.
const RUNS: [(&str, &str); 9] = [
    ("large", "250 in one meeting, 3 speak"),
    ("many", "50 meetings of 5, one speaks in each"),
    ("broadcast", "one camera of 640 x 360 to 300, in a meeting that may hold 301"),
    ("grid", "25 x 25 cameras, simulcast, low layers"),
    ("vp9", "10, of whom 4 show VP9 in 3 x 3 layers"),
    ("av1", "10, of whom 4 show AV1 in 3 layers"),
    ("lossy", "10 with 3 % loss, 20 ms jitter and 1 % reordered each way, 3 cameras"),
    ("leavers", "24 of whom 8 vanish"),
    ("restart", "server killed and back after 2 s, 20 attendees, 2 cameras"),
];

/// All reports that are there.
pub(crate) fn of(folder: &Path) -> Result<String, Failure> {
    let mut table = "| run | joined | join, ms (p50 / p99) | audio delivered | video delivered | delay of sound, ms (p50 / p99) | delay of video | \
                     outages, ms (p99) | mix-minus violations | server: of a core, µs per packet, memory | generator, µs per packet |\n\
                     |---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (name, words) in RUNS {
        let Ok(text) = fs::read_to_string(folder.join(format!("{name}.json"))) else { continue };
        if text.is_empty() {
            table += &format!("| {words} | did not run |\n");
            continue;
        }
        let report: Value = serde_json::from_str(&text).map_err(|error| format!("{name}.json: {error}"))?;
        table += &line(words, &report);
    }
    Ok(table)
}

fn line(words: &str, report: &Value) -> String {
    let at = |path: &str| report.pointer(path).filter(|value| !value.is_null());
    if report["valid"] != true {
        let why: Vec<&str> =
            report["refused"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        return format!("| {words} | refused by the generator: {} |\n", why.join("; "));
    }
    let shown = |path: &str| at(path).map_or("–".to_owned(), Value::to_string);
    let two = |path: &str| match at(&format!("{path}/count")).and_then(Value::as_u64) {
        None | Some(0) => "–".to_owned(),
        Some(_) => format!("{} / {}", shown(&format!("{path}/p50")), shown(&format!("{path}/p99"))),
    };
    let outages = if two("/connections/outage_ms") == "–" {
        "–".into()
    } else {
        shown("/connections/outage_ms/p99")
    };
    let server = match (
        at("/server/cpu_share_of_a_core").and_then(Value::as_f64),
        at("/server/rss_bytes").and_then(Value::as_u64),
    ) {
        (Some(share), Some(bytes)) => {
            format!("{:.0} %, {}, {} MB", share * 100.0, shown("/server/cpu_us_per_packet"), bytes >> 20)
        }
        _ => "–".into(),
    };
    format!(
        "| {words} | {} | {} | {} | {} | {} | {} | {outages} | {} | {server} | {} |\n",
        shown("/joined"),
        two("/join_ms"),
        shown("/audio/delivered_ratio"),
        shown("/video/delivered_ratio"),
        two("/audio/delay_ms"),
        two("/video/delay_ms"),
        shown("/mix_minus_violations"),
        shown("/generator/cpu_us_per_packet"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_one_line_and_a_refused_one_says_why() {
        let mut report = json!({
            "valid": true, "refused": [], "joined": 5, "join_ms": { "p50": 1.5, "p99": 2.0, "count": 5 },
            "audio": { "delivered_ratio": 0.999, "delay_ms": { "p50": 31.5, "p99": 46.0, "count": 9 } }, "video": { "delivered_ratio": null, "delay_ms": { "count": 0 } },
            "mix_minus_violations": 0, "connections": { "outage_ms": { "count": 0 } },
            "server": { "cpu_share_of_a_core": 0.25, "cpu_us_per_packet": 7.5, "rss_bytes": 70 << 20 },
            "generator": { "cpu_us_per_packet": 3.5 }
        });
        let expected =
            "| five | 5 | 1.5 / 2.0 | 0.999 | – | 31.5 / 46.0 | – | – | 0 | 25 %, 7.5, 70 MB | 3.5 |\n";
        assert_eq!(line("five", &report), expected);
        report["valid"] = false.into();
        report["refused"] = json!(["too slow"]);
        assert_eq!(line("five", &report), "| five | refused by the generator: too slow |\n");
    }
}
