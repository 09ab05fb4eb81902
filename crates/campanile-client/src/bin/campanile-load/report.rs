//! From counters to figures: the table, the JSON and the verdict.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use campanile_client::{JoinTimings, LagCounts, Stats, VIDEO_CLOCK_HZ};
use serde_json::{Value, json};

use crate::Participant;
use crate::generator::Generator;
use crate::options::Options;
use crate::process;

/// Packets of audio that a listener is owed each second.
const AUDIO_PACKETS_PER_SECOND: f64 = 50.0;

/// Everything that is compared before and after.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) own_cpu_s: f64,
    server_cpu_s: Option<f64>,
    server_memory: Option<(u64, u64)>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) lag: LagCounts,
    pub(crate) udp_drops: u64,
    alive: usize,
    reconnects: usize,
}

impl Snapshot {
    pub(crate) fn take(options: &Options, participants: &[Participant]) -> Snapshot {
        let mut snapshot = Snapshot {
            own_cpu_s: process::cpu_seconds(std::process::id()).unwrap_or_default(),
            server_cpu_s: options.pid.and_then(process::cpu_seconds),
            server_memory: options.pid.and_then(process::memory),
            udp_drops: process::own_udp_drops(),
            ..Snapshot::default()
        };
        for one in participants {
            let Ok(session) = &one.session else { continue };
            let stats = session.stats();
            snapshot.received += stats.datagrams_received;
            snapshot.sent += stats.datagrams_sent;
            snapshot.lag.add(&stats.lag);
            snapshot.alive += usize::from(session.is_alive());
            snapshot.reconnects += stats.reconnects();
        }
        snapshot
    }
}

/// One line while it runs.
pub(crate) fn progress(before: &Snapshot, now: &Snapshot, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = |a: u64, b: u64| (b.saturating_sub(a)) as f64 / seconds;
    let server = match (before.server_cpu_s, now.server_cpu_s) {
        (Some(a), Some(b)) => format!(", server {:.0} % of a core", (b - a) / seconds * 100.0),
        _ => String::new(),
    };
    format!(
        "{} in, {:.0} packets/s received, {:.0} sent, {} reconnects, own {:.0} % of a core{server}",
        now.alive,
        rate(before.received, now.received),
        rate(before.sent, now.sent),
        now.reconnects,
        (now.own_cpu_s - before.own_cpu_s) / seconds * 100.0,
    )
}

/// What a run left behind.
pub(crate) struct Measured {
    pub(crate) participants: Vec<Participant>,
    pub(crate) stats: Vec<Stats>,
    pub(crate) window: Duration,
    /// Of each camera, pictures per second.
    pub(crate) framerate: u32,
    pub(crate) before: Snapshot,
    pub(crate) after: Snapshot,
}

/// The value that `share` of all lie at or below.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
}

pub(crate) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

fn percentiles(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |share| round(percentile(&values, share), 1);
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0), "count": values.len() })
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Prints the report; the exit code is the verdict.
pub(crate) fn present(options: &Options, measured: &Measured) -> ExitCode {
    let generator = Generator::of(options, measured);
    let refusals = generator.refusals(options.max_lag_ms);
    let refused = !refusals.is_empty();
    let mut report = json!({
        "tool": concat!("campanile-load ", env!("CARGO_PKG_VERSION")),
        "valid": !refused,
        "refused": refusals,
        "load": load(options, measured),
        "generator": generator.figures(options.max_lag_ms),
    });
    let mut missed = Vec::new();
    if !refused || options.anyway {
        add_results(options, measured, &mut report);
        missed = thresholds(options, &report);
    }
    report["thresholds_missed"] = json!(missed);
    eprint!("{}", table(&report));
    if options.json {
        println!("{report:#}");
    }
    ExitCode::from(verdict(refused, &missed))
}

/// The exit code: 0 when all is within the thresholds, 1 when not, 3 when the generator was the bottleneck.
fn verdict(refused: bool, missed: &[String]) -> u8 {
    match (refused, missed) {
        (true, _) => 3,
        (false, []) => 0,
        (false, _) => 1,
    }
}

fn load(options: &Options, measured: &Measured) -> Value {
    let light = measured.participants.iter().filter(|one| one.light).count();
    json!({
        "meetings": options.meetings,
        "attendees": options.attendees,
        "speakers": options.speakers,
        "publishers": options.publishers,
        "codec": options.codec.name(),
        "simulcast": options.simulcast,
        "tiles": options.tiles,
        "join_rate": options.join_rate,
        "loss_percent": options.loss,
        "jitter_ms": options.jitter_ms,
        "reorder_percent": options.reorder,
        "leavers": options.leavers,
        "listeners_send_silence": !options.quiet,
        "engines": {
            "full": measured.participants.len() - light,
            "light": light,
            "light_verify_one_in": options.verify_one_in,
        },
        "window_s": round(measured.window.as_secs_f64(), 2),
    })
}

fn add_results(options: &Options, measured: &Measured, report: &mut Value) {
    let joined: Vec<(&Participant, &Stats)> =
        measured.participants.iter().zip(&measured.stats).filter(|(one, _)| one.session.is_ok()).collect();
    let mut failures: BTreeMap<String, u32> = BTreeMap::new();
    for one in &measured.participants {
        if let Err(status) = &one.session {
            *failures.entry(format!("{status:?}")).or_default() += 1;
        }
    }
    report["attendees"] = json!(measured.participants.len());
    report["joined"] = json!(joined.len());
    report["join_failures"] = json!(failures);
    report["join_ms"] = join_times(&joined);
    report["audio"] = audio(measured, &joined);
    report["mix_minus"] = mix_minus(&joined);
    let count = |name: &str| report["mix_minus"][name].as_u64().unwrap_or_default();
    report["mix_minus_violations"] = json!(count("self_heard") + count("missing"));
    report["video"] = video(options, measured, &joined);
    report["connections"] = connections(&joined);
    report["server"] = server(options, measured);
}

fn join_times(joined: &[(&Participant, &Stats)]) -> Value {
    let timings: Vec<JoinTimings> = joined.iter().filter_map(|(_, stats)| stats.join).collect();
    let of = |step: fn(&JoinTimings) -> Duration| percentiles(timings.iter().map(|t| ms(step(t))).collect());
    let mut report = of(|t| t.started);
    report["phases"] = json!({
        "signaling_open": of(|t| t.opened),
        "index": of(|t| t.indexed),
        "answer": of(|t| t.answered),
        "media": of(|t| t.started),
        "first_audio": percentiles(timings.iter().filter_map(|t| t.first_audio).map(ms).collect()),
    });
    report
}

fn audio(measured: &Measured, joined: &[(&Participant, &Stats)]) -> Value {
    let owed = AUDIO_PACKETS_PER_SECOND * measured.window.as_secs_f64();
    let (mut received, mut lost, mut gaps, mut listeners) = (0, 0, 0, 0_u32);
    let (mut jitter, mut longest, mut delays) = (Vec::new(), Vec::new(), Vec::new());
    let (mut worst, mut missed) = (f64::MAX, Vec::new());
    for (one, _) in joined.iter().filter(|(one, _)| !one.left_early) {
        let Ok(counts) = one.observer.counts.lock() else { continue };
        listeners += 1;
        received += counts.audio.received;
        lost += counts.audio.lost;
        gaps += counts.audio.gaps;
        jitter.push(counts.audio.jitter_s * 1000.0);
        longest.push(ms(counts.audio.longest_gap));
        delays.extend(counts.audio.delays.iter().copied().map(ms));
        worst = worst.min(counts.audio.received as f64 / owed);
        missed.push((owed - counts.audio.received as f64).max(0.0) * 1000.0 / AUDIO_PACKETS_PER_SECOND);
    }
    let expected = owed * f64::from(listeners);
    json!({
        "listeners": listeners,
        "expected": expected.round(),
        "received": received,
        "delivered_ratio": round(received as f64 / expected.max(1.0), 5),
        "worst_listener_ratio": round(if listeners == 0 { 0.0 } else { worst }, 5),
        "lost_seconds": round((expected - received as f64).max(0.0) / AUDIO_PACKETS_PER_SECOND, 1),
        "lost_ms_of_each": percentiles(missed),
        "lost_by_sequence": lost,
        "gaps_over_100_ms": gaps,
        "longest_gap_ms": percentiles(longest),
        "jitter_ms": percentiles(jitter),
        "delay_ms": percentiles(delays),
    })
}

fn mix_minus(joined: &[(&Participant, &Stats)]) -> Value {
    let (mut checked, mut windows, mut self_heard, mut missing) = (0, 0, 0, 0);
    for (one, _) in joined.iter().filter(|(one, _)| one.checked) {
        let Ok(counts) = one.observer.counts.lock() else { continue };
        checked += 1;
        windows += counts.tones.windows;
        self_heard += counts.tones.self_heard;
        missing += counts.tones.missing;
    }
    json!({ "attendees_checked": checked, "windows": windows, "self_heard": self_heard, "missing": missing })
}

fn video(options: &Options, measured: &Measured, joined: &[(&Participant, &Stats)]) -> Value {
    // What each camera sent while measuring, by the widest span that anyone saw: of its numbers, or, of frames without
    // any, of its stream's times.
    let mut spans: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    let mut streams: BTreeMap<(usize, u32), f64> = BTreeMap::new();
    for (one, _) in joined {
        let Ok(counts) = one.observer.counts.lock() else { continue };
        for (stream_id, video) in &counts.videos {
            if let (Some(sender), Some(first), Some(last)) =
                (video.sender, video.first_number, video.last_number)
            {
                let span = spans.entry(sender).or_insert((first, last));
                *span = (span.0.min(first), span.1.max(last));
            }
            if let Some((first, last)) = video.times {
                let seconds = f64::from(last.wrapping_sub(first)) / VIDEO_CLOCK_HZ as f64;
                let sent = streams.entry((one.meeting, *stream_id)).or_default();
                *sent = sent.max((seconds * f64::from(measured.framerate)).round() + 1.0);
            }
        }
    }
    let cameras_of = |meeting: usize, except: Option<u32>| {
        let inside = joined.iter().filter(move |(one, _)| one.meeting == meeting && one.camera != except);
        inside.filter_map(|(one, _)| one.camera)
    };
    let sent = |camera: u32| spans.get(&camera).map_or(0.0, |(first, last)| f64::from(last - first) + 1.0);
    // Of each camera that someone may watch, the mean.
    let sent_to = |one: &Participant, cameras: &[u32]| {
        if spans.is_empty() {
            let of_meeting = streams.range((one.meeting, 0)..=(one.meeting, u32::MAX)).map(|(_, sent)| *sent);
            let (count, sum) = of_meeting.fold((0.0, 0.0), |(count, sum), sent| (count + 1.0, sum + sent));
            return sum / f64::max(count, 1.0);
        }
        cameras.iter().map(|camera| sent(*camera)).sum::<f64>() / cameras.len() as f64
    };
    let (mut frames, mut undecodable, mut freezes, mut bytes, mut expected) = (0, 0, 0, 0, 0.0);
    let (mut longest, mut waits, mut delays) = (Vec::new(), Vec::new(), Vec::new());
    let (mut subscriptions, mut unseen) = (0, 0);
    for (one, _) in joined.iter().filter(|(one, _)| !one.left_early) {
        let cameras: Vec<u32> = cameras_of(one.meeting, one.camera).collect();
        let watched = cameras.len().min(options.tiles);
        if watched == 0 {
            continue;
        }
        expected += sent_to(one, &cameras) * watched as f64;
        subscriptions += watched;
        let Ok(counts) = one.observer.counts.lock() else { continue };
        let seen = counts.videos.values().filter(|video| video.frames > 0);
        unseen += watched.saturating_sub(seen.clone().count());
        for video in seen {
            frames += video.frames;
            bytes += video.bytes;
            undecodable += video.undecodable;
            freezes += video.freezes;
            longest.push(ms(video.longest_gap));
            waits.extend(video.first_frame.map(ms));
            delays.extend(video.delays_us.iter().map(|us| f64::from(*us) / 1000.0));
        }
    }
    json!({
        "subscriptions": subscriptions,
        "subscriptions_without_a_frame": unseen,
        "expected_frames": expected.round(),
        "frames": frames,
        "delivered_ratio": if expected > 0.0 { json!(round(frames as f64 / expected, 5)) } else { Value::Null },
        "undecodable_frames": undecodable,
        "freezes_over_1_s": freezes,
        "longest_gap_ms": percentiles(longest),
        "keyframe_wait_ms": percentiles(waits),
        "delay_ms": percentiles(delays),
        "bytes_of_whole_frames": bytes,
    })
}

fn connections(joined: &[(&Participant, &Stats)]) -> Value {
    let outages: Vec<_> = joined.iter().flat_map(|(_, stats)| &stats.outages).collect();
    let mut statuses: BTreeMap<String, u32> = BTreeMap::new();
    for outage in &outages {
        *statuses.entry(format!("{:?}", outage.status)).or_default() += 1;
    }
    let mut ended: BTreeMap<String, u32> = BTreeMap::new();
    for (_, stats) in joined.iter().filter(|(one, _)| !one.left_early) {
        if let Some(status) = stats.ended {
            *ended.entry(format!("{status:?}")).or_default() += 1;
        }
    }
    json!({
        "reconnects": outages.iter().filter(|outage| outage.recovered).count(),
        "outages": outages.len(),
        "outages_not_recovered": outages.iter().filter(|outage| !outage.recovered).count(),
        "outage_ms": percentiles(outages.iter().filter(|o| o.recovered).map(|o| ms(o.duration)).collect()),
        "outage_reasons": statuses,
        "ended_early": ended,
        "left_without_a_word": joined.iter().filter(|(one, _)| one.left_early).count(),
    })
}

fn server(options: &Options, measured: &Measured) -> Value {
    let (before, after) = (&measured.before, &measured.after);
    let (Some(start), Some(end), Some((rss, peak))) =
        (before.server_cpu_s, after.server_cpu_s, after.server_memory)
    else {
        return json!({ "pid": options.pid, "cpu_seconds": Value::Null, "rss_bytes": Value::Null });
    };
    let cpu = end - start;
    let packets = (after.received - before.received) + (after.sent - before.sent);
    json!({
        "pid": options.pid,
        "cpu_seconds": round(cpu, 2),
        "cpu_share_of_a_core": round(cpu / measured.window.as_secs_f64(), 3),
        "cpu_us_per_packet": round(cpu * 1e6 / packets.max(1) as f64, 2),
        "rss_bytes": rss,
        "rss_peak_bytes": peak,
    })
}

/// The thresholds that were missed, in words.
fn thresholds(options: &Options, report: &Value) -> Vec<String> {
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64);
    let mut missed = Vec::new();
    let share = number("/joined").unwrap_or(0.0) / number("/attendees").unwrap_or(1.0).max(1.0);
    if share < options.min_joined {
        missed.push(format!("{:.1} % joined", share * 100.0));
    }
    if let (Some(max), Some(p99)) = (options.max_join_ms, number("/join_ms/p99"))
        && p99 > max
    {
        missed.push(format!("joins took {p99} ms (99th percentile)"));
    }
    let audio = number("/audio/delivered_ratio").unwrap_or(0.0);
    if audio < options.min_audio {
        missed.push(format!("{:.2} % of the audio arrived", audio * 100.0));
    }
    if options.publishers > 0 && options.tiles > 0 {
        let video = number("/video/delivered_ratio").unwrap_or(0.0);
        if video < options.min_video {
            missed.push(format!("{:.2} % of the video frames arrived", video * 100.0));
        }
    }
    let violations = number("/mix_minus_violations").unwrap_or(0.0) as u64;
    if violations > options.max_mix_minus {
        missed.push(format!("{violations} mix-minus violations"));
    }
    missed
}

/// The report for people: one line per figure.
fn table(report: &Value) -> String {
    let mut lines = String::new();
    let mut stack = vec![(String::new(), report)];
    while let Some((name, value)) = stack.pop() {
        match value {
            Value::Object(fields) if fields.contains_key("p50") => {
                let of = |key: &str| fields.get(key).map(Value::to_string).unwrap_or_default();
                lines.push_str(&format!(
                    "{name:<38} p50 {:>9}  p90 {:>9}  p99 {:>9}  max {:>9}  of {}\n",
                    of("p50"),
                    of("p90"),
                    of("p99"),
                    of("max"),
                    of("count")
                ));
                if let Some(phases) = fields.get("phases") {
                    stack.push((format!("{name}.phases"), phases));
                }
            }
            Value::Object(fields) => {
                for (key, value) in fields.iter().rev() {
                    let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                    stack.push((name, value));
                }
            }
            Value::Array(items) if items.is_empty() => lines.push_str(&format!("{name:<38} none\n")),
            Value::Array(items) => {
                for item in items {
                    lines.push_str(&format!("{name:<38} {}\n", item.as_str().unwrap_or_default()));
                }
            }
            other => lines.push_str(&format!("{name:<38} {other}\n")),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        fn check(values: &[f64], share: f64, expected: f64) {
            assert_eq!(percentile(values, share), expected);
        }
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        check(&hundred, 0.5, 50.0);
        check(&hundred, 0.99, 99.0);
        check(&hundred, 1.0, 100.0);
        check(&[7.0], 0.5, 7.0);
        check(&[], 0.5, 0.0);
    }

    #[test]
    fn every_threshold_is_held_against_its_figure() {
        let report = json!({
            "attendees": 10, "joined": 9, "join_ms": { "p99": 120.0 },
            "audio": { "delivered_ratio": 0.95 }, "video": { "delivered_ratio": 0.9 }, "mix_minus_violations": 2,
        });
        let missed = |flag: &str| {
            let lenient = ["--min-joined 0", "--min-audio 0", "--min-video 0", "--max-mix-minus 9"];
            let (name, _) = flag.split_once(' ').unwrap_or((flag, ""));
            let others = lenient.into_iter().filter(|other| name.is_empty() || !other.starts_with(name));
            let words = ["load --api http://x --publishers 1"].into_iter().chain(others).chain([flag]);
            let words: Vec<&str> = words.flat_map(str::split_whitespace).collect();
            thresholds(&Options::try_parse_from(words).unwrap(), &report)
        };
        assert_eq!(verdict(false, &missed("")), 0);
        for (flag, words) in [
            ("--min-joined 0.91", "90.0 % joined"),
            ("--max-join-ms 119", "joins took 120 ms (99th percentile)"),
            ("--min-audio 0.96", "95.00 % of the audio arrived"),
            ("--min-video 0.91", "90.00 % of the video frames arrived"),
            ("--max-mix-minus 1", "2 mix-minus violations"),
        ] {
            assert_eq!(missed(flag), [words], "{flag}");
            assert_eq!(verdict(false, &missed(flag)), 1);
        }
        assert_eq!(verdict(true, &missed("")), 3);
    }
}
