//! How fast meetings and attendees are made: CreateMeeting and CreateAttendee in turn, at a fixed rate over a few kept
//! connections, each answer durable. Latency counts from when a request was due, so a slow answer delays no measurement.
//!
//! ```text
//! cargo run --release --example bench_api -- --api HOST:PORT --access-key ID --secret-key SECRET
//!     [--rate 500] [--seconds 20] [--meetings 0]
//! ```
//!
//! With `--meetings N`, makes N meetings as fast as it can instead, reads each at once, and counts those not found.
//! The server needs quotas above what is asked of it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::Request;
use campanile::sigv4::{self, Credentials};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Connections, as of an application server's pool.
const CONNECTIONS: u32 = 16;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|word| *word != format!("--{name}")).nth(1)
}

struct Caller {
    stream: BufReader<TcpStream>,
    host: String,
    credentials: Credentials,
}

impl Caller {
    async fn connect(host: &str, credentials: &Credentials) -> Result<Caller, Failure> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Caller { stream: BufReader::new(stream), host: host.to_owned(), credentials: credentials.clone() })
    }

    async fn call(&mut self, method: &str, target: &str, body: &str) -> Result<(u16, String), Failure> {
        let mut head =
            Request::builder().method(method).uri(target).header("host", &self.host).body(())?.into_parts().0;
        let now_unix_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        sigv4::sign(&mut head, body.as_bytes(), &self.credentials, "us-east-1", now_unix_s)?;
        let mut request = format!("{method} {target} HTTP/1.1\r\n");
        for (name, value) in &head.headers {
            request += &format!("{name}: {}\r\n", value.to_str()?);
        }
        request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let (mut status, mut length, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            self.stream.read_line(&mut line).await?;
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
                status = rest.split(' ').next().unwrap_or_default().parse()?;
            } else if let Some(value) = text.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.parse()?;
            }
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await?;
        Ok((status, String::from_utf8(bytes)?))
    }

    async fn create(&mut self, token: &str) -> Result<String, Failure> {
        let body = format!(
            r#"{{"ClientRequestToken":"{token}","MediaRegion":"us-east-1","ExternalMeetingId":"bench"}}"#
        );
        let (status, text) = self.call("POST", "/meetings", &body).await?;
        if status != 200 {
            return Err(text.into());
        }
        let answer: serde_json::Value = serde_json::from_str(&text)?;
        Ok(answer["Meeting"]["MeetingId"].as_str().ok_or("no id")?.to_owned())
    }
}

async fn at_a_rate(
    mut caller: Caller,
    start: Instant,
    worker: u32,
    rate: u32,
    seconds: u32,
) -> Result<Vec<Duration>, Failure> {
    let (mut latencies, mut meeting) = (Vec::new(), None::<String>);
    for n in (worker..rate * seconds).step_by(CONNECTIONS as usize) {
        let due = start + Duration::from_secs_f64(f64::from(n) / f64::from(rate));
        tokio::time::sleep_until(due.into()).await;
        match meeting.take() {
            None => meeting = Some(caller.create(&format!("bench-{}-{n}", std::process::id())).await?),
            Some(id) => {
                let path = format!("/meetings/{id}/attendees");
                let (status, text) = caller.call("POST", &path, r#"{"ExternalUserId":"ann"}"#).await?;
                if status != 200 {
                    return Err(text.into());
                }
            }
        }
        latencies.push(due.elapsed());
    }
    Ok(latencies)
}

async fn all_at_once(mut caller: Caller, worker: u32, meetings: u32) -> Result<u32, Failure> {
    let mut missing = 0;
    for n in (worker..meetings).step_by(CONNECTIONS as usize) {
        let id = caller.create(&format!("bulk-{}-{n}", std::process::id())).await?;
        let (status, _) = caller.call("GET", &format!("/meetings/{id}"), "").await?;
        missing += u32::from(status != 200);
    }
    Ok(missing)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let needed = |name: &str| option(name).ok_or_else(|| format!("--{name} is required"));
    let number = |name: &str, standard: u32| option(name).map_or(Ok(standard), |text| text.parse());
    let (host, rate, seconds) = (needed("api")?, number("rate", 500)?, number("seconds", 20)?);
    let meetings = number("meetings", 0)?;
    let credentials = Credentials {
        access_key_id: needed("access-key")?,
        secret_access_key: needed("secret-key")?,
        session_token: None,
    };
    let mut callers = Vec::new();
    for _ in 0..CONNECTIONS {
        callers.push(Caller::connect(&host, &credentials).await?);
    }
    let start = Instant::now();
    if meetings > 0 {
        let workers: Vec<_> = (0..)
            .zip(callers)
            .map(|(worker, caller)| tokio::spawn(all_at_once(caller, worker, meetings)))
            .collect();
        let mut missing = 0;
        for worker in workers {
            missing += worker.await??;
        }
        let took = start.elapsed().as_secs_f64();
        println!(
            "{meetings} meetings made and read at once in {took:.1} s ({:.0}/s); {missing} missing",
            f64::from(meetings) / took
        );
        return Ok(());
    }
    let workers: Vec<_> = (0..)
        .zip(callers)
        .map(|(worker, caller)| tokio::spawn(at_a_rate(caller, start, worker, rate, seconds)))
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.await??);
    }
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{} requests at {rate}/s for {:.1} s: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        latencies.len(),
        start.elapsed().as_secs_f64(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    Ok(())
}
