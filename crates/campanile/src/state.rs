//! What the doors share: the registry behind the shell's one lock, the store, the worker, and where clients find us.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use campanile_meeting::ids::AccountId;
use campanile_meeting::registry::{Registry, Write};

use crate::sigv4::Credentials;
use crate::store::{Store, StoreFailed};
use crate::worker::{Command, WorkerHandle};

/// Shared by all doors; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

/// See [`AppState`].
pub struct Inner {
    registry: Mutex<Registry>,
    store: Store,
    /// The worker that hosts a meeting. There is one, so it hosts every meeting.
    pub worker: WorkerHandle,
    /// Where clients find us.
    pub site: Site,
    /// The caller we know, and whose records it sees.
    pub credentials: Credentials,
    /// The account of those credentials.
    pub account: AccountId,
}

impl Deref for AppState {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl AppState {
    /// Puts the pieces together.
    pub fn new(
        registry: Registry,
        store: Store,
        worker: WorkerHandle,
        site: Site,
        credentials: Credentials,
        account: AccountId,
    ) -> AppState {
        AppState(Arc::new(Inner {
            registry: Mutex::new(registry),
            store,
            worker,
            site,
            credentials,
            account,
        }))
    }

    /// The shell's one lock. Nothing may be awaited while it is held. What is sent to the worker under it arrives in the
    /// order in which the registry decided: a session admitted here is told of a later deletion, never of an earlier one.
    ///
    /// For looking only, as in admitting a session: changes go through [`AppState::call`].
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().expect("no call panics half-way through a change")
    }

    /// Calls the registry, and returns once all that the call has changed *or seen* is durable.
    ///
    /// The worker hears of deletions at once, not after the disk: a caller who hangs up in between must not leave
    /// sessions without a record, and a crash in between ends the sessions anyway.
    pub async fn call<T>(&self, act: impl FnOnce(&mut Registry) -> T) -> Result<T, StoreFailed> {
        let (answer, mark) = {
            let mut registry = self.registry();
            let answer = act(&mut registry);
            let writes = registry.take_writes();
            for write in &writes {
                match *write {
                    Write::MeetingDeleted(meeting) => self.worker.send(Command::EndMeeting(meeting)),
                    Write::AttendeeDeleted(meeting, attendee) => {
                        self.worker.send(Command::RemoveAttendee(meeting, attendee));
                    }
                    Write::Meeting(_) | Write::Attendee(_) => {}
                }
            }
            (answer, self.store.queue(writes))
        };
        self.store.durable(mark).await?;
        Ok(answer)
    }

    /// Writes what is queued and closes the records; later calls fail.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

/// Where clients find us: the addresses that go into answers.
#[derive(Clone, Debug)]
pub struct Site {
    /// Over TLS or not.
    pub tls: bool,
    /// Host by which clients reach us, when it was given.
    pub public_host: Option<String>,
    /// Where we listen.
    pub listen: SocketAddr,
    /// Port of the media as clients see it.
    pub media_port: u16,
    /// Control region.
    pub region: String,
}

impl Site {
    /// `host` or `host:port` of our URLs: the public address, else where we listen; if that is everywhere, what the
    /// client itself called us by (`Host` is part of what a caller signs).
    pub fn authority(&self, headers: &HeaderMap) -> String {
        let port = self.listen.port();
        if let Some(host) = &self.public_host {
            return with_port(&bracketed(host), port, self.tls);
        }
        if self.listen.ip().is_unspecified()
            && let Some(called) = headers.get(header::HOST).and_then(|host| host.to_str().ok())
            && let Ok(called) = called.parse::<Authority>()
            && !called.as_str().contains('@')
        {
            return called.to_string();
        }
        self.own_authority()
    }

    /// As [`Site::authority`], for those who have not called us yet.
    pub fn own_authority(&self) -> String {
        let host = match &self.public_host {
            Some(host) => bracketed(host),
            None if self.listen.ip().is_unspecified() => "localhost".into(),
            None => bracketed(&self.listen.ip().to_string()),
        };
        with_port(&host, self.listen.port(), self.tls)
    }

    /// `http` or `https`.
    pub fn http(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// `ws` or `wss`.
    pub fn ws(&self) -> &'static str {
        if self.tls { "wss" } else { "ws" }
    }
}

/// A host as URLs write it: IPv6 addresses in brackets.
fn bracketed(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

/// Default ports are left out, as clients leave them out of `Host` and origins.
fn with_port(host: &str, port: u16, tls: bool) -> String {
    let default = if tls { 443 } else { 80 };
    if port == default { host.to_owned() } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listen: &str, public: Option<&str>, tls: bool, host: Option<&str>, expected: &str) {
        let site = Site {
            tls,
            public_host: public.map(str::to_owned),
            listen: listen.parse().unwrap(),
            media_port: 1,
            region: "us-east-1".into(),
        };
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, host.parse().unwrap());
        }
        assert_eq!(site.authority(&headers), expected);
    }

    #[test]
    fn urls_name_the_address_that_clients_can_reach() {
        check("127.0.0.1:8080", None, false, None, "127.0.0.1:8080");
        check("127.0.0.1:8080", None, false, Some("evil.example"), "127.0.0.1:8080");
        check("[::1]:8080", None, false, None, "[::1]:8080");
        check("0.0.0.0:8443", Some("meet.example.net"), true, Some("10.0.0.1:8443"), "meet.example.net:8443");
        check("0.0.0.0:443", Some("meet.example.net"), true, None, "meet.example.net");
        check("0.0.0.0:443", Some("2001:db8::1"), true, None, "[2001:db8::1]");
        check("0.0.0.0:8080", None, false, Some("10.0.0.1:8080"), "10.0.0.1:8080");
        check("0.0.0.0:8080", None, false, Some("user@10.0.0.1"), "localhost:8080");
        check("[::]:8080", None, false, Some("not a host"), "localhost:8080");
        check("0.0.0.0:8080", None, false, None, "localhost:8080");
    }
}
