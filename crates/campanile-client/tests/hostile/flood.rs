//! Strangers' datagrams by the thousand: 10,000 a second of checks, ClientHellos and SRTP from addresses that nobody has
//! validated. `cargo xtask bench flood` makes a benchmark of it, by `CAMPANILE_FLOOD_SECONDS`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use campanile_wire::signaling::ClientFrame;
use tokio::net::UdpSocket;
use tokio::time::{Instant, interval};

use crate::Scene;
use crate::attacker::{Attacker, client_hello};
use crate::forge::{BINDING_REQUEST, attribute, random, stun};

const PER_SECOND: u32 = 10_000;
const STRANGERS: u8 = 200;
/// They come in bursts, one every 10 ms.
const BURST: Duration = Duration::from_millis(10);

/// CPU time of the server's media thread since a moment.
struct Meter {
    since: Instant,
    ticks: u64,
}

impl Meter {
    fn start() -> Meter {
        Meter { since: Instant::now(), ticks: Meter::ticks() }
    }

    /// In ticks of 10 ms (proc(5), /proc/[pid]/stat).
    fn ticks() -> u64 {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
        let of_workers = stats.filter(|stat| stat.contains("(media-worker)"));
        let ticks = |stat: String| -> u64 {
            let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
            fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
        };
        of_workers.map(ticks).sum()
    }

    /// Of a core.
    fn percent(&self) -> f64 {
        (Meter::ticks() - self.ticks) as f64 / self.since.elapsed().as_secs_f64()
    }
}

/// Datagrams that the kernel had no room for in this socket's queue, so far (proc(5), /proc/net/udp).
fn dropped_by_kernel(socket: SocketAddr) -> u64 {
    let table = std::fs::read_to_string("/proc/self/net/udp").unwrap_or_default();
    let port = format!(":{:04X}", socket.port());
    let line =
        table.lines().find(|line| line.split_whitespace().nth(1).is_some_and(|at| at.ends_with(&port)));
    line.and_then(|line| line.split_whitespace().next_back()?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_flood_ten_thousand_strangers_datagrams_a_second_cost_nobody_their_session() {
    let scene = Scene::new("bad-flood").await;
    let mut eve = Attacker::enter(&scene.invitation()).await;
    let seconds =
        std::env::var("CAMPANILE_FLOOD_SECONDS").ok().map_or(2, |text| text.parse().expect("a number"));
    let mut strangers = Vec::new();
    for number in 1..=STRANGERS {
        let address = SocketAddr::from((Ipv4Addr::new(127, 1, 1, number), 0));
        strangers.push(UdpSocket::bind(address).await.expect("all of 127/8 is this machine"));
    }
    let username = eve.username();
    let named = [(attribute::USERNAME, username.as_bytes())];
    let mut datagrams = vec![
        stun(BINDING_REQUEST, &[], None),
        stun(BINDING_REQUEST, &named, None),
        stun(BINDING_REQUEST, &named, Some("not the password")),
        client_hello(),
    ];
    datagrams.extend((0..4).map(|_| [&[0x80, 111][..], &random::<100>()].concat()));
    let quiet = Meter::start();
    scene.hear_more().await;
    let quiet = quiet.percent();
    let (meter, dropped_before) = (Meter::start(), dropped_by_kernel(eve.media));
    // An interval is what makes it so many a second; nothing is waited for.
    let mut bursts = interval(BURST);
    let mut sent = 0_usize;
    while meter.since.elapsed() < Duration::from_secs(seconds) {
        bursts.tick().await;
        for _ in 0..PER_SECOND * BURST.as_millis() as u32 / 1000 {
            let stranger = &strangers[sent % strangers.len()];
            let _ = stranger.send_to(&datagrams[sent % datagrams.len()], eve.media).await;
            sent += 1;
        }
        // Who says nothing for long is taken for gone.
        eve.say(&ClientFrame::Ping { id: sent as u32 }).await;
    }
    let (took, flooded) = (meter.since.elapsed().as_secs_f64(), meter.percent());
    let dropped = dropped_by_kernel(eve.media) - dropped_before;
    println!(
        "{sent} strangers' datagrams from {STRANGERS} addresses in {took:.1} s, {dropped} of them dropped by the kernel: the \
         media thread took {flooded:.1} % of a core, three people included; {quiet:.1} % with the people alone"
    );
    for stranger in &strangers {
        let mut buffer = [0; 2048];
        let answer = stranger.try_recv(&mut buffer);
        assert!(
            answer.is_err() || buffer[..2] == [1, 0x11],
            "nothing is said to strangers, but that a check was wrong"
        );
    }
    assert!(eve.check().await && eve.hears().await);
    scene.is_undisturbed().await;
}
