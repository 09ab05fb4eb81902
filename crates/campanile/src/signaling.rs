//! The WebSocket door: bytes to client frames, server frames to bytes.
//!
//! The handshake always succeeds, and what is wrong is said by a close code: an HTTP error would make the unmodified
//! client try again for two minutes (signaling specification, section 2.2).

use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use campanile_meeting::bucket::TokenBucket;
use campanile_meeting::ids::{MeetingId, SessionId};
use campanile_meeting::registry::JoinError;
use campanile_meeting::trace::JoinTrace;
use campanile_wire::signaling::{ClientFrame, close_code, decode};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::api::unix_now;
use crate::http::ConnectionPermit;
use crate::state::AppState;
use crate::worker::{Mailbox, ToSocket};

/// The subprotocol that the client wants to see accepted.
const SUBPROTOCOL: &str = "_aws_wt_session";
/// A message up to this size is read to its end, so that its sender can be told that it is too large. Beyond it the
/// connection just ends.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Room for what is read at once. It is cleared before each read, and frames are small: nearly all fit.
const READ_BUFFER_BYTES: usize = 4096;
/// A client that takes longer than this to take one message does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames that ask for a promotion, each of which takes the registry's lock; a person asks once.
const PROMOTIONS_PER_SECOND: f64 = 1.0;
const PROMOTIONS_BURST: f64 = 10.0;
/// How long a close may take to be answered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// `GET /control/{meeting_id}`.
pub fn routes(state: AppState) -> Router {
    Router::new().route("/control/{meeting_id}", get(control)).with_state(state)
}

async fn control(
    State(state): State<AppState>,
    Path(meeting_id): Path<String>,
    Extension(permit): Extension<ConnectionPermit>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let token = join_token(&headers).unwrap_or_default().to_owned();
    upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        .on_upgrade(async move |socket| {
            serve(state, meeting_id, token, socket).await;
            drop(permit); // counted among the open connections until here
        })
}

/// The second of the two subprotocols offered.
fn join_token(headers: &HeaderMap) -> Option<&str> {
    let offered =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offered.flat_map(|value| value.split(',')).map(str::trim).find(|token| *token != SUBPROTOCOL)
}

async fn serve(state: AppState, meeting_id: String, token: String, mut socket: WebSocket) {
    // Without a word in the log: it may be anything, and of any length.
    let Ok(meeting) = meeting_id.parse::<MeetingId>() else {
        let (cause, remedy) =
            ("the URL names no meeting", "give the client the SignalingUrl as it was given out");
        warn!(phase = "Opened", cause, remedy, "a join failed");
        return close(&mut socket, close_code::MEETING_ENDED, "meeting ended").await;
    };
    let admitted = {
        let registry = state.registry();
        let admitted = registry.admit(meeting, &token).map(|admission| {
            info!(meeting_id, attendee_id = %admission.attendee, "connected");
            state.worker.connect(admission)
        });
        admitted.map_err(|why| (why, registry.refusal(meeting, &token, why)))
    };
    drop(token);
    match admitted {
        Ok((session, mailbox)) => {
            run(&state, meeting, session, mailbox, &mut socket).await;
            state.worker.disconnected(session).await;
        }
        Err((why, refusal)) => {
            let remedy = why.remedy();
            warn!(meeting_id, phase = "Opened", cause = %why, remedy, "a join failed");
            if let Some(refusal) = refusal {
                let (session, unix) = (state.worker.number(), unix_now());
                let trace = JoinTrace::refused(Instant::now(), unix, session, refusal);
                let now_unix_ms = state.now_unix_ms();
                // Stored before the close, so that who tries without end waits for the disk. If it cannot be stored, the
                // store says so; the client gets its answer all the same.
                let _ = state.call(|registry| registry.note_failed_join(now_unix_ms, &trace)).await;
                state.join_traces.keep(trace);
            }
            let code = match why {
                JoinError::MeetingEnded => close_code::MEETING_ENDED,
                JoinError::AttendeeUnavailable | JoinError::Locked => close_code::ATTENDEE_UNAVAILABLE,
            };
            close(&mut socket, code, &why.to_string()).await;
        }
    }
}

async fn run(
    state: &AppState,
    meeting: MeetingId,
    session: SessionId,
    mut mailbox: Mailbox,
    socket: &mut WebSocket,
) {
    // After a bad frame nothing more is read: the mailbox brings the reason and the close.
    let mut refused = false;
    let mut promotions = TokenBucket::new(Instant::now(), PROMOTIONS_PER_SECOND, PROMOTIONS_BURST);
    loop {
        tokio::select! {
            // What is to be sent goes first: a flood must not keep the server from answering.
            biased;
            outgoing = mailbox.recv() => match outgoing {
                Some(ToSocket::Frame(bytes)) => {
                    if !matches!(timeout(WRITE_TIMEOUT, socket.send(Message::Binary(bytes))).await, Ok(Ok(()))) {
                        debug!(session = session.0, "a socket takes nothing any more");
                        return;
                    }
                }
                Some(ToSocket::Close { code, reason }) => return close(socket, code, reason).await,
                None if state.worker.has_stopped() => {
                    return close(socket, close_code::COME_BACK, "the server is stopping").await;
                }
                None => return close(socket, close_code::TOO_MUCH, "too slow").await,
            },
            incoming = socket.recv(), if !refused => {
                let frame = match incoming {
                    None | Some(Ok(Message::Close(_))) => return,
                    Some(Err(error)) => {
                        debug!(session = session.0, %error, "connection lost");
                        return;
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Text(_))) => Err("frames are binary messages".to_owned()),
                    Some(Ok(Message::Binary(bytes))) => decode(&bytes).map_err(|why| why.to_string()),
                };
                match frame {
                    Ok(ClientFrame::PrimaryMeetingJoin { join_token, .. }) => {
                        if !promotions.take(Instant::now()) {
                            return close(socket, close_code::TOO_MUCH, "too many promotions").await;
                        }
                        let registry = state.registry();
                        let admitted = registry.admit_promoted(meeting, &join_token.0);
                        state.worker.promote(session, admitted);
                    }
                    Ok(frame) => state.worker.frame(session, frame).await,
                    Err(why) => {
                        refused = true;
                        state.worker.bad_frame(session, why).await;
                    }
                }
            }
        }
    }
}

/// Closes, and waits a moment for the answer: a connection torn down with unread data would take the code with it.
async fn close(socket: &mut WebSocket, code: u16, reason: &str) {
    // RFC 6455 section 5.5: 125 bytes for all of it.
    let reason: String = reason.chars().filter(char::is_ascii).take(100).collect();
    let frame = CloseFrame { code, reason: reason.into() };
    let _ = timeout(CLOSE_TIMEOUT, async {
        socket.send(Message::Close(Some(frame))).await.ok()?;
        while socket.recv().await?.is_ok() {}
        Some(())
    })
    .await;
}
