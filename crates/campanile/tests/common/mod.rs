//! A server on free ports with records of its own, and a small HTTP client that signs as SDKs do.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::Request;
use campanile::config::Config;
use campanile::sigv4::{self, Credentials};
use campanile::{Running, serve};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A directory that goes away with the test.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("campanile-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) async fn start(directory: &TempDir) -> Running {
    serve(Config::local(directory.path())).await.unwrap()
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts a typed error with everything that SDKs need, and gives its message.
    pub(crate) fn error(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["x-amzn-errortype"], kind, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json", "{self:?}");
        let body = self.json();
        assert_eq!(body["RequestId"], self.headers["x-amzn-requestid"], "{self:?}");
        assert_eq!(format!("{}Exception", body["Code"].as_str().unwrap()), kind, "{self:?}");
        body["Message"].as_str().unwrap().to_owned()
    }

    /// Asserts success, and gives the body.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(self.headers["x-amzn-requestid"].len(), 36);
        self.json()
    }
}

/// Sends bytes, hangs up the sending half if told to, and reads whatever comes until the server closes.
pub(crate) async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> Answer {
    // The server may refuse and close before it has taken all.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    parse(&String::from_utf8(bytes).unwrap())
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status, headers, text: body.to_owned() }
}

pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    exchange(&mut TcpStream::connect(address).await.unwrap(), request).await
}

/// A signed request as bytes.
pub(crate) fn signed(
    credentials: &Credentials,
    host: &str,
    method: &str,
    target: &str,
    body: &str,
) -> Vec<u8> {
    let mut request = Request::builder().method(method).uri(target).header("host", host);
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    let head = request.body(()).unwrap().into_parts().0;
    signed_for("chime", credentials, head, body)
}

/// The request of this head, signed for a service, as bytes.
pub(crate) fn signed_for(
    service: &str,
    credentials: &Credentials,
    mut head: axum::http::request::Parts,
    body: &str,
) -> Vec<u8> {
    let now_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    sigv4::sign_for(service, &mut head, body.as_bytes(), credentials, "us-east-1", now_unix_s).unwrap();
    let mut bytes = format!("{} {} HTTP/1.1\r\n", head.method, head.uri);
    for (name, value) in &head.headers {
        bytes += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    bytes += &format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    bytes.into_bytes()
}

/// A caller with credentials.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) credentials: Credentials,
}

impl Client {
    pub(crate) fn of(running: &Running) -> Client {
        Client { address: running.state.site.listen, credentials: running.credentials().clone() }
    }

    pub(crate) async fn call(&self, method: &str, target: &str, body: &str) -> Answer {
        let host = self.address.to_string();
        raw(self.address, &signed(&self.credentials, &host, method, target, body)).await
    }

    /// As `call`; `None` when there is no whole answer, as when the server dies.
    pub(crate) async fn try_call(&self, method: &str, target: &str, body: &str) -> Option<Answer> {
        let host = self.address.to_string();
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        stream.write_all(&signed(&self.credentials, &host, method, target, body)).await.ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let answer = text.contains("\r\n\r\n").then(|| parse(&text))?;
        let whole = answer
            .headers
            .get("content-length")
            .is_none_or(|length| *length == answer.text.len().to_string());
        whole.then_some(answer)
    }

    /// CreateMeeting with this ClientRequestToken; its id.
    pub(crate) async fn create_meeting(&self, token: &str) -> String {
        let answer = self.call("POST", "/meetings", &meeting_body(token, "")).await.ok();
        answer["Meeting"]["MeetingId"].as_str().unwrap().to_owned()
    }

    /// CreateAttendee; the `Attendee`.
    pub(crate) async fn create_attendee(&self, meeting: &str, user: &str) -> Value {
        let body = format!(r#"{{"ExternalUserId":"{user}"}}"#);
        self.call("POST", &format!("/meetings/{meeting}/attendees"), &body).await.ok()["Attendee"].clone()
    }

    /// An unsigned request of the demo application.
    pub(crate) async fn demo(&self, verb: &str, body: &str) -> Answer {
        self.demo_from(&format!("http://{}", self.address), verb, body).await
    }

    /// As a page from there would call.
    pub(crate) async fn demo_from(&self, origin: &str, verb: &str, body: &str) -> Answer {
        let (address, length) = (self.address, body.len());
        let request = format!(
            "POST /demo/{verb} HTTP/1.1\r\nhost: {address}\r\norigin: {origin}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        );
        raw(self.address, request.as_bytes()).await
    }

    pub(crate) async fn get_unsigned(&self, target: &str) -> Answer {
        let request = format!("GET {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address);
        raw(self.address, request.as_bytes()).await
    }
}

/// A CreateMeeting body, with more members if need be (`,"Name":...`).
pub(crate) fn meeting_body(token: &str, more: &str) -> String {
    format!(
        r#"{{"ClientRequestToken":"{token}","MediaRegion":"us-east-1","ExternalMeetingId":"standup"{more}}}"#
    )
}

/// The binary itself, as scripts run it.
pub(crate) struct Binary {
    pub(crate) process: Child,
    pub(crate) ready: Value,
}

impl Binary {
    pub(crate) fn start(directory: &TempDir) -> Binary {
        Binary::run(Command::new(env!("CARGO_BIN_EXE_campanile")), directory)
    }

    /// In the place of a shell that has taken these commands.
    pub(crate) fn start_after(commands: &str, directory: &TempDir) -> Binary {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!(r#"{commands}; exec "$0" "$@""#), env!("CARGO_BIN_EXE_campanile")]);
        Binary::run(shell, directory)
    }

    fn run(mut command: Command, directory: &TempDir) -> Binary {
        let mut process = command
            .args(["dev", "--json", "--listen", "127.0.0.1:0", "--media", "127.0.0.1:0", "--data-dir"])
            .arg(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Binary { process, ready: serde_json::from_str(&line).unwrap() }
    }

    pub(crate) fn client(&self) -> Client {
        let text = |name: &str| self.ready[name].as_str().unwrap().to_owned();
        Client {
            address: text("api").strip_prefix("http://").unwrap().parse().unwrap(),
            credentials: Credentials {
                access_key_id: text("access_key_id"),
                secret_access_key: text("secret_access_key"),
                session_token: None,
            },
        }
    }
}

impl Binary {
    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
