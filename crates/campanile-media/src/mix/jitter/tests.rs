use super::*;
use std::time::Duration;

/// 20 ms of Opus silence.
const PAYLOAD: &[u8] = &[0xf8, 0xff, 0xfe];

struct Line {
    jitter: Jitter,
    now: Instant,
}

impl Line {
    fn new() -> Line {
        #[allow(clippy::disallowed_methods)] // any instant will do; from here on time is an argument
        Line { jitter: Jitter::new(), now: Instant::now() }
    }

    fn arrive(&mut self, sequence: u16) -> bool {
        // The level stands in for the name of the packet.
        let level_db = Some(sequence as u8);
        let timestamp = u32::from(sequence) * 960;
        self.jitter.push(self.now, AudioPacket { sequence, timestamp, level_db, payload: PAYLOAD })
    }

    /// What one tick plays: a packet's number, `x` concealment, `-` nothing.
    fn tick(&mut self) -> String {
        self.now += Duration::from_millis(20);
        self.jitter.begin_tick(self.now, 0);
        match self.jitter.step() {
            Step::Packet { level_db, samples, .. } => {
                assert_eq!(samples, FRAME_SAMPLES);
                level_db.unwrap().to_string()
            }
            Step::Recover { .. } => "r".into(),
            Step::Dry => {
                self.jitter.ran_dry(FRAME_SAMPLES);
                "x".into()
            }
            Step::Rest => "z".into(),
            Step::Waiting => "-".into(),
        }
    }
}

impl Line {
    /// Does what the buffer wants done about the delay, by whole packets; a frame put in plays nothing new.
    fn adjust(&mut self) {
        match self.jitter.take_adjustment(true) {
            Some(Adjust::Shorten) => drop(self.jitter.step()),
            Some(Adjust::Lengthen) => self.now += Duration::from_millis(20),
            None => {}
        }
    }
}

/// Arrivals by tick, divided by bars, and what each tick plays.
fn check(arrivals: &str, played: &str) {
    let mut line = Line::new();
    let mut result = Vec::new();
    for arrivals in arrivals.split('|') {
        for sequence in arrivals.split_whitespace() {
            line.arrive(sequence.parse().unwrap());
        }
        result.push(line.tick());
    }
    assert_eq!(result.join(" "), played, "{arrivals}");
}

#[test]
fn packets_come_out_in_order_and_once() {
    check("1|2|3|4|5", "1 2 3 4 5"); // each is late by 20 ms when it is played
    check("1 2|3|4", "1 2 3");
    check("2 1|3|4", "1 2 3"); // the very first two in the wrong order
    check("1|2|4|3|5|6", "1 2 x 3 4 5"); // reordered
    check("1|2|2|3 3|4", "1 2 x 3 4"); // duplicates of what is held and of what is played
    check("1|2|3 1|4|5", "1 2 3 4 5"); // late: its place has been played
}

#[test]
fn a_lost_packet_costs_its_own_time_and_no_more() {
    check("1|2|3||5|6|7", "1 2 3 x 5 6 7");
    check("1|2|||5|6|7", "1 2 x x 5 6 7");
    check("1|2|3||5||7|8|9", "1 2 3 x 5 x 7 8 9");
}

#[test]
fn a_late_packet_is_waited_for_and_the_delay_made_up_for_later() {
    check("1|2|3|||4 5 6|7", "1 2 3 x x 4 5");
    let mut line = Line::new();
    for sequence in 0..10 {
        line.arrive(sequence);
        line.tick();
    }
    let usual = line.jitter.quality.delay_samples;
    line.tick();
    line.tick();
    (10..12).for_each(|sequence| assert!(line.arrive(sequence)));
    let mut longest = 0;
    for sequence in 12..500 {
        line.arrive(sequence);
        line.tick();
        longest = longest.max(line.jitter.quality.delay_samples);
        line.adjust();
    }
    let frame = FRAME_SAMPLES as u32;
    assert_eq!((longest, line.jitter.quality.delay_samples), (usual + 2 * frame, usual + frame));
    assert!(usual + frame <= line.jitter.quality.target_samples + TOLERANCE_SAMPLES as u32);
}

#[test]
fn a_burst_after_a_stall_is_cut_to_the_target() {
    let mut line = Line::new();
    for sequence in 0..10 {
        line.arrive(sequence);
        line.tick();
    }
    let played: Vec<String> = (0..150).map(|_| line.tick()).collect();
    assert_eq!(&played[..10], ["x", "x", "x", "x", "x", "x", "x", "x", "-", "-"]);
    (10..160).for_each(|sequence| _ = line.arrive(sequence));
    assert_eq!(line.tick(), "158", "as late as at the start");
    // Without silence in between, what is beyond the bound goes too.
    (160..200).for_each(|sequence| _ = line.arrive(sequence));
    line.now += Duration::from_millis(800);
    assert_eq!(line.tick(), "199");
    assert_eq!(line.jitter.quality.skipped, 148 + 40);
}

#[test]
fn a_slow_clock_and_a_fast_one_are_absorbed() {
    for skew_ppm in [-2_000isize, -50, 50, 2_000] {
        let mut line = Line::new();
        let (mut sent, mut concealed, mut longest) = (0u16, 0, 0);
        let mut count = 0;
        for tick in 0..180_000isize {
            while count < tick + tick * skew_ppm / 1_000_000 {
                line.arrive(sent);
                sent = sent.wrapping_add(1);
                count += 1;
            }
            concealed += usize::from(line.tick() == "x");
            if line.jitter.take_adjustment(true) == Some(Adjust::Shorten) {
                line.jitter.step();
            }
            longest = longest.max(line.jitter.quality.delay_samples);
        }
        let allowed = 10 + 180 * skew_ppm.unsigned_abs() / 1_000;
        assert!(concealed <= allowed, "{concealed} frames concealed in an hour at {skew_ppm} ppm");
        assert!(longest <= 4 * FRAME_SAMPLES as u32, "{longest} samples at {skew_ppm} ppm");
        assert_eq!(line.jitter.quality.lost, 0);
    }
}

#[test]
fn the_sequence_may_wrap_jump_and_begin_anew() {
    fn after(jump: u16) -> usize {
        let mut line = Line::new();
        for n in 0..100u16 {
            line.arrive(65_480u16.wrapping_add(n));
            line.tick();
        }
        assert_eq!(line.jitter.quality.lost, 0);
        assert_eq!(line.jitter.quality.highest_sequence, 65_579);
        (0..40u16)
            .position(|n| {
                let sequence = 65_480u16.wrapping_add(100 + n).wrapping_add(jump);
                line.arrive(sequence);
                let played = line.tick().parse::<u8>();
                played.is_ok_and(|played| (sequence as u8).wrapping_sub(played) <= 2)
            })
            .unwrap_or(usize::MAX)
    }
    assert!(after(0) <= 1);
    assert!(after(10) <= 3); // ten lost
    assert!(after(200) <= 3);
    assert!(after(20_000) <= 3); // a restart is believed at the second packet
    assert!(after(5u16.wrapping_neg()) <= 8);
    assert!(after(50u16.wrapping_neg()) <= 12); // like late packets at first
    assert!(after(500u16.wrapping_neg()) <= 3);
}

#[test]
fn one_stray_number_changes_nothing() {
    check("1|2|3 40000|4|5", "1 2 3 4 5");
}

#[test]
fn a_leg_not_decoded_keeps_the_same_time() {
    let (mut decoded, mut passed) = (Line::new(), Line::new());
    for sequence in 0..400u16 {
        if sequence % 11 != 3 && !(200..230).contains(&sequence) {
            decoded.arrive(sequence);
            passed.arrive(sequence);
        }
        decoded.tick();
        passed.now += Duration::from_millis(20);
        passed.jitter.skip_tick(passed.now);
    }
    assert_eq!(decoded.jitter.quality.lost, passed.jitter.quality.lost);
    assert_eq!(decoded.jitter.quality.delay_samples, passed.jitter.quality.delay_samples);
    assert!(passed.jitter.primers().count() > 0);
}

#[test]
fn useless_payloads_are_counted_and_not_kept() {
    let mut line = Line::new();
    let long = vec![0xf8; PAYLOAD_BYTES_MAX + 1];
    for payload in [&[][..], &[0xff], &long] {
        let packet = AudioPacket { sequence: 7, timestamp: 0, level_db: None, payload };
        assert!(!line.jitter.push(line.now, packet));
    }
    assert_eq!((line.jitter.quality.received, line.jitter.quality.malformed), (3, 3));
}

#[test]
fn jitter_is_measured_as_rfc_3550_says() {
    let mut line = Line::new();
    for sequence in 0..500u16 {
        line.arrive(sequence);
        // Alternately 15 and 25 ms apart: 5 ms off each time.
        line.now += Duration::from_millis(if sequence % 2 == 0 { 15 } else { 25 });
    }
    assert!((230..=240).contains(&line.jitter.quality.jitter), "{}", line.jitter.quality.jitter);
}
