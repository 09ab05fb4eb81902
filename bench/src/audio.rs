//! Mixed audio: people who talk and people who listen, each over bare RTP, in our mixer and in Janus' AudioBridge.

use std::path::Path;
use std::process::Command;

use campanile_media::mix::{FRAME_SAMPLES, Profile, VOICES_MAX};
use serde_json::json;

use crate::generator::{Attendees, Frame, TICK, encode, samples};
use crate::janus::Janus;
use crate::report::{Comparison, OURS, Row};
use crate::system::{Meter, Server, open_files};
use crate::{Failure, Plan};

/// Where our attendees send from: the first of as many ports.
const FIRST_PORT: u16 = 20_000;
/// What both mixers make, and what AudioBridge makes by default.
const BITRATE_BPS: u32 = 32_000;
/// What AudioBridge's encoders are set to: what they have by default (`DEFAULT_COMPLEXITY` in 1.1.2), told as `quality`.
pub(crate) const COMPLEXITY: u8 = 4;

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

impl Case {
    /// So many talk that ours need not find out what kind of sound it is.
    const fn is_crowd(&self) -> bool {
        self.talkers > VOICES_MAX
    }
}

const CASES: [Case; 5] = [
    case("25 people, all talking, all mixed", [1, 25, 25, 25], true),
    case("50 people, all talking, all mixed", [1, 50, 50, 50], true),
    case("60 people, 3 talking", [1, 60, 3, 8], true),
    case("250 people, 3 talking", [1, 250, 3, 8], false),
    case("10 meetings of 250, 3 talking in each", [10, 250, 3, 8], false),
];

/// Measures all cases (in a short run, all but the largest of either kind), or those whose names contain `named`; `speech_file`
/// holds raw 48 kHz mono 16-bit samples. What was said and heard in each case, last, is left in `folder`.
pub(crate) fn run(
    plan: &Plan,
    speech_file: &Path,
    named: Option<&str>,
    folder: Option<&Path>,
) -> Result<Comparison, Failure> {
    let speech = samples(speech_file)?;
    let wanted = |case: &&Case| match named {
        Some(named) => case.name.contains(named),
        None => !plan.short || case.meetings * case.people <= 250 && case.people != 50,
    };
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    let most = cases.iter().map(|case| case.meetings * case.people).max();
    open_files(most.ok_or("there is no such case")?)?;
    let mut comparison = Comparison::new("µs of CPU per person and tick of 20 ms");
    for case in cases {
        let talk = &Talk::new(case, &speech, folder)?;
        let ours = || {
            let (server, ports) = campanile(case)?;
            let row = talk.measure(plan, OURS, server.pid(), &ports)?;
            Ok(Row { complexity: Some(Profile::Speech.effort(true, case.is_crowd()).complexity), ..row })
        };
        let janus = || {
            let (janus, ports) = audiobridge(case)?;
            let row = talk.measure(plan, "Janus", janus.pid(), &ports)?;
            Ok(Row { complexity: Some(COMPLEXITY), ..row })
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
        // Everything not named here is as Janus has it by default.
        janus.request(
            handle,
            json!({ "request": "create", "room": room, "sampling_rate": 48_000, "default_bitrate": BITRATE_BPS,
                "allow_rtp_participants": true, "audiolevel_event": false, "record": false }),
        )?;
        for _ in 0..case.people {
            let own = FIRST_PORT + ports.len() as u16;
            let joined = janus.negotiate(
                janus.attach("audiobridge")?,
                json!({ "request": "join", "room": room, "bitrate": BITRATE_BPS, "quality": COMPLEXITY, "expected_loss": 0,
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

/// What everybody says in one case.
struct Talk<'a> {
    case: &'a Case,
    /// Whole frames, from end to beginning again.
    speech: Vec<f32>,
    frames: Vec<Frame>,
    folder: Option<&'a Path>,
}

impl Talk<'_> {
    /// All voices together are as loud as one of `speech`, so that their sum fits: AudioBridge's overflows.
    fn new<'a>(case: &'a Case, speech: &[f32], folder: Option<&'a Path>) -> Result<Talk<'a>, Failure> {
        let gain = 1.0 / (case.talkers as f32).sqrt();
        let whole = speech.len() / FRAME_SAMPLES * FRAME_SAMPLES;
        let speech: Vec<f32> = speech[..whole].iter().map(|sample| gain * sample).collect();
        let frames = encode(&speech)?;
        Ok(Talk { case, speech, frames, folder })
    }

    /// The last person of the first meeting is listened to.
    fn measure(&self, plan: &Plan, server: &str, pid: u32, ports: &[u16]) -> Result<Row, Failure> {
        let Case { people, talkers, .. } = *self.case;
        let listener = people - 1;
        let mut attendees =
            Attendees::new(FIRST_PORT, ports, |number| number % people < talkers, &self.frames)?;
        attendees.run(plan.warm);
        attendees.record(listener);
        let meter = Meter::start(pid)?;
        let traffic = attendees.run(plan.measured);
        let used = meter.stop()?;
        let recording = attendees.recorded().ok_or("nothing was recorded")?;
        let others = (0..people).filter(|number| *number != listener);
        let begin = others.filter_map(|number| attendees.sends(number, recording.since_tick));
        let voices: Vec<_> = begin.map(|frame| self.voice(frame)).collect();
        let name = format!("{}, {server}", self.case.name);
        let work = ports.len() as f64 * used.elapsed.as_secs_f64() / TICK.as_secs_f64();
        Ok(Row {
            cost_us: used.cpu.as_secs_f64() * 1e6 / work,
            kernel: used.kernel,
            cores: used.cpu.as_secs_f64() / used.elapsed.as_secs_f64(),
            delivered: traffic.received as f64 / traffic.sent as f64,
            others: used.others,
            late: traffic.late(),
            heard: recording.judge(&voices, self.folder.map(|folder| (folder, &*name)))?,
            complexity: None,
        })
    }

    /// Somebody who says this frame at the moment from which samples are counted.
    fn voice(&self, frame: usize) -> impl Fn(i64, usize) -> Vec<f32> {
        move |from, samples| {
            let whole = self.speech.len();
            let first = ((frame * FRAME_SAMPLES) as i64 + from).rem_euclid(whole as i64) as usize;
            (first..first + samples).map(|at| self.speech[at % whole]).collect()
        }
    }
}
