//! Mixed audio: people who talk and people who listen, each over bare RTP, in our mixer and in Janus' AudioBridge.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::generator::{Attendees, Frame, TICK, speech};
use crate::janus::Janus;
use crate::report::{Comparison, OURS, Row};
use crate::system::{Meter, Server, open_files};
use crate::{Failure, Plan};

/// Where our attendees send from: the first of as many ports.
const FIRST_PORT: u16 = 20_000;
/// What both mixers make, and what AudioBridge makes by default.
const BITRATE_BPS: u32 = 32_000;

struct Case {
    name: &'static str,
    meetings: usize,
    people: usize,
    talkers: usize,
    /// Voices that our mixer lets through at once. AudioBridge knows no such limit.
    voices: usize,
    /// Whether Janus on one core could do it at all.
    beside: bool,
}

const fn case(name: &'static str, numbers: [usize; 4], beside: bool) -> Case {
    let [meetings, people, talkers, voices] = numbers;
    Case { name, meetings, people, talkers, voices, beside }
}

const CASES: [Case; 5] = [
    case("25 people, all talking, all mixed", [1, 25, 25, 25], true),
    case("50 people, all talking, all mixed", [1, 50, 50, 50], true),
    case("60 people, 3 talking", [1, 60, 3, 8], true),
    case("250 people, 3 talking", [1, 250, 3, 8], false),
    case("10 meetings of 250, 3 talking in each", [10, 250, 3, 8], false),
];

/// Measures all cases (in a short run, all but the largest of either kind), or those whose names contain `named`; `speech_file`
/// holds raw 48 kHz mono 16-bit samples.
pub(crate) fn run(plan: &Plan, speech_file: &Path, named: Option<&str>) -> Result<Comparison, Failure> {
    let frames = speech(speech_file)?;
    let wanted = |case: &&Case| match named {
        Some(named) => case.name.contains(named),
        None => !plan.short || case.meetings * case.people <= 250 && case.people != 50,
    };
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    let most = cases.iter().map(|case| case.meetings * case.people).max();
    open_files(most.ok_or("there is no such case")?)?;
    let mut comparison = Comparison::new("µs of CPU per person and tick of 20 ms");
    for case in cases {
        let ours = || {
            let (server, ports) = campanile(case)?;
            measure(plan, case, server.pid(), &ports, &frames)
        };
        let janus = || {
            let (janus, ports) = audiobridge(case)?;
            measure(plan, case, janus.pid(), &ports, &frames)
        };
        let rounds = comparison.case(case.name);
        for _ in 0..plan.pairs {
            rounds.run(OURS, ours)?;
            if case.beside {
                rounds.run("Janus", janus)?;
            }
        }
    }
    Ok(comparison)
}

fn campanile(case: &Case) -> Result<(Server, Vec<u16>), Failure> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let numbers =
        [case.meetings, case.people, case.voices, FIRST_PORT.into()].map(|number| number.to_string());
    let mut server = Server::start(Command::new(own).arg("plain-server").args(numbers))?;
    let line = server.first_line()?;
    let port = line.trim().parse().map_err(|_| format!("the server said {line:?}"))?;
    Ok((server, vec![port; case.meetings * case.people]))
}

fn audiobridge(case: &Case) -> Result<(Janus, Vec<u16>), Failure> {
    let janus = Janus::start("audiobridge")?;
    let mut ports = Vec::new();
    for room in 1..=case.meetings {
        let handle = janus.attach("audiobridge")?;
        // Everything not named here is as Janus has it by default, the encoder's complexity of 4 among it.
        janus.request(
            handle,
            json!({ "request": "create", "room": room, "sampling_rate": 48_000, "default_bitrate": BITRATE_BPS,
                "allow_rtp_participants": true, "audiolevel_event": false, "record": false }),
        )?;
        for _ in 0..case.people {
            let own = FIRST_PORT + ports.len() as u16;
            let joined = janus.negotiate(
                janus.attach("audiobridge")?,
                json!({ "request": "join", "room": room, "bitrate": BITRATE_BPS, "expected_loss": 0,
                    "rtp": { "ip": "127.0.0.1", "port": own, "payload_type": 111, "audiolevel_ext": 1, "fec": false } }),
                None,
            )?;
            let port = joined["plugindata"]["data"]["rtp"]["port"].as_u64();
            let port = port.and_then(|port| port.try_into().ok());
            ports.push(port.ok_or_else(|| format!("Janus answered {joined}"))?);
        }
    }
    Ok((janus, ports))
}

fn measure(plan: &Plan, case: &Case, pid: u32, ports: &[u16], frames: &[Frame]) -> Result<Row, Failure> {
    let mut attendees =
        Attendees::new(FIRST_PORT, ports, |number| number % case.people < case.talkers, frames)?;
    attendees.run(plan.warm);
    let meter = Meter::start(pid)?;
    let traffic = attendees.run(plan.measured);
    let used = meter.stop()?;
    let work = ports.len() as f64 * used.elapsed.as_secs_f64() / TICK.as_secs_f64();
    Ok(Row {
        cost_us: used.cpu.as_secs_f64() * 1e6 / work,
        kernel: used.kernel,
        cores: used.cpu.as_secs_f64() / used.elapsed.as_secs_f64(),
        delivered: traffic.received as f64 / traffic.sent as f64,
        others: used.others,
        late: traffic.late(),
    })
}
