//! What the doors share: the registry behind the shell's one lock, the store, the worker, and where clients find us.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use campanile_meeting::ids::{AccountId, MeetingId};
use campanile_meeting::registry::{Registry, Write};
use campanile_meeting::service::{Event, WallClock};
use tokio::sync::{Notify, mpsc};

use crate::api::unix_now;
use crate::audit::Audit;
use crate::client_events::ClientEvents;
use crate::directory::Directory;
use crate::drain::Drain;
use crate::store::{EventPage, EventQuery, Store, StoreFailed};
use crate::throttle::Throttle;
use crate::traces::JoinTraces;
use crate::worker::{Command, WorkerHandle};

/// What the worker tells, taken at once.
const EVENTS_AT_ONCE: usize = 256;

/// Shared by all doors; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

/// See [`AppState`].
pub struct Inner {
    registry: Mutex<Registry>,
    store: Store,
    /// The worker that hosts a meeting. There is one, so it hosts every meeting.
    pub worker: WorkerHandle,
    /// Whether clients are taken in.
    pub drain: Drain,
    /// Where clients find us.
    pub site: Site,
    /// Who may call.
    pub directory: Directory,
    /// How often.
    pub throttle: Throttle,
    /// What was called.
    pub audit: Audit,
    /// How attendees got in.
    pub join_traces: JoinTraces,
    /// What clients tell of themselves.
    pub client_events: ClientEvents,
    /// From the start on, time only moves forward: a clock that is set must not end meetings.
    clock: WallClock,
    /// The registry's next timeout has come nearer.
    timeout_nearer: Notify,
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
        directory: Directory,
        throttle: Throttle,
        audit: Audit,
    ) -> AppState {
        AppState(Arc::new(Inner {
            registry: Mutex::new(registry),
            store,
            drain: Drain::new(worker.clone()),
            worker,
            site,
            directory,
            throttle,
            audit,
            join_traces: JoinTraces::default(),
            client_events: ClientEvents::default(),
            clock: WallClock { instant: Instant::now(), unix: unix_now() },
            timeout_nearer: Notify::new(),
        }))
    }

    /// Milliseconds since the Unix epoch, by a clock that only moves forward.
    pub fn now_unix_ms(&self) -> u64 {
        self.clock.unix(Instant::now()).as_millis() as u64
    }

    /// Lets the registry's time pass, and tells it who is present, for as long as the worker lives.
    pub async fn run_life_cycle(self, mut events: mpsc::UnboundedReceiver<Event>) {
        // What ended with the process before.
        if self.call(|_| ()).await.is_err() {
            return;
        }
        let mut waiting = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            let wait = self.registry().poll_timeout().map(|due| due.saturating_sub(self.now_unix_ms()));
            let timeout = async {
                match wait {
                    Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // All that waits shares a transaction: a storm of joins must not wait for the disk one by one.
                taken = events.recv_many(&mut waiting, EVENTS_AT_ONCE) => if taken == 0 {
                    return;
                },
                () = self.timeout_nearer.notified() => continue,
                () = timeout => {}
            }
            let now_unix_ms = self.now_unix_ms();
            let outcome = self
                .call(|registry| {
                    for event in waiting.drain(..) {
                        match event {
                            Event::Present { meeting, attendees } => {
                                registry.set_present(now_unix_ms, meeting, attendees);
                            }
                            Event::Attendee { subject, what } => registry.note(now_unix_ms, &subject, what),
                            Event::JoinTrace(trace) => self.join_traces.keep(*trace),
                            Event::JoinFailed(trace) => {
                                registry.note_failed_join(now_unix_ms, &trace);
                                self.join_traces.keep(*trace);
                            }
                            Event::Locked { meeting, inside } => {
                                registry.set_inside(meeting, inside.into_iter().collect());
                            }
                            Event::Drained => self.drain.note_drained(),
                        }
                    }
                    registry.handle_timeout(now_unix_ms);
                })
                .await;
            if outcome.is_err() {
                // Said aloud by the store. Sessions go on; what ends now ends again after the next start.
                return;
            }
        }
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
    /// The worker hears of what concerns it at once, not after the disk: a caller who hangs up in between must not leave
    /// sessions without a record, and a crash in between ends the sessions anyway.
    pub async fn call<T>(&self, act: impl FnOnce(&mut Registry) -> T) -> Result<T, StoreFailed> {
        let (answer, mark) = {
            let mut registry = self.registry();
            let before = registry.poll_timeout();
            let answer = act(&mut registry);
            let after = registry.poll_timeout();
            if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
                self.timeout_nearer.notify_one();
            }
            let writes = registry.take_writes();
            for write in &writes {
                let command = match write {
                    Write::MeetingDeleted(meeting) => Command::EndMeeting(*meeting),
                    Write::AttendeeDeleted(meeting, attendee) => Command::RemoveAttendee(*meeting, *attendee),
                    Write::Capabilities(record) => {
                        Command::SetCapabilities(record.meeting, record.id, record.capabilities)
                    }
                    Write::Meeting(_) | Write::Attendee(_) | Write::Event(_) => continue,
                };
                self.worker.send(command);
            }
            (answer, self.store.queue(writes))
        };
        self.store.durable(mark).await?;
        Ok(answer)
    }

    /// See [`Store::has_failed`].
    pub fn store_has_failed(&self) -> bool {
        self.store.has_failed()
    }

    /// See [`Store::events`].
    pub async fn events(&self, query: EventQuery) -> Result<EventPage, StoreFailed> {
        self.store.events(query).await
    }

    /// Writes what is queued and closes the records; later calls fail.
    pub async fn close(&self) {
        self.store.close().await;
        self.audit.close();
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
    /// The media region that clients are told is nearest.
    pub media_region: String,
}

impl Site {
    /// A meeting's name in policies, tags and logs.
    pub fn meeting_arn(&self, account: AccountId, meeting: MeetingId) -> String {
        format!("arn:aws:chime:{}:{account}:meeting/{meeting}", self.region)
    }

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
            media_region: "us-east-1".into(),
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
