//! Someone between client and service who hears what signaling says, and closes the socket when told to.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use campanile_client::JoinInfo;
use campanile_wire::signaling::{ClientFrame, decode};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, connect_async};

/// When a connection is closed unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// As soon as it is open.
    Opening,
    /// At the client's first SUBSCRIBE.
    Subscribing,
}

/// What was seen, and what is to be done.
#[derive(Debug, Default)]
struct Notes {
    /// Of each connection so far, the audio session that its JOIN named.
    joins: Vec<Option<u64>>,
    /// For each connection to come: when it is closed, and with which code.
    plan: VecDeque<(Moment, u16)>,
    /// Ends the present connection with a code.
    closing: Option<mpsc::UnboundedSender<u16>>,
}

/// In front of one service.
#[derive(Clone, Debug)]
pub(crate) struct Meddler {
    address: SocketAddr,
    notes: Arc<Mutex<Notes>>,
}

impl Meddler {
    /// Listens, and passes on to `upstream`, except as planned.
    pub(crate) async fn before(upstream: &JoinInfo, plan: &[(Moment, u16)]) -> Meddler {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let notes = Arc::new(Mutex::new(Notes { plan: plan.iter().copied().collect(), ..Notes::default() }));
        let (upstream, shared) = (upstream.signaling_url.clone(), notes.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, upstream.clone(), shared.clone()));
            }
        });
        Meddler { address, notes }
    }

    /// The way in past the meddler.
    pub(crate) fn way_in(&self, info: &JoinInfo) -> JoinInfo {
        let path = info.signaling_url.splitn(4, '/').nth(3).expect("scheme, host and path");
        JoinInfo { signaling_url: format!("ws://{}/{path}", self.address), ..info.clone() }
    }

    /// The audio session of each JOIN so far; `None` where it came to none.
    pub(crate) fn joins(&self) -> Vec<Option<u64>> {
        self.notes.lock().expect("nobody panics").joins.clone()
    }

    /// Closes the present connection.
    pub(crate) fn close(&self, code: u16) {
        let notes = self.notes.lock().expect("nobody panics");
        notes.closing.as_ref().expect("there is a connection").send(code).expect("it goes on");
    }
}

async fn connection(stream: TcpStream, upstream: String, notes: Arc<Mutex<Notes>>) {
    let (mut protocols, mut query) = (HeaderValue::from_static(""), String::new());
    #[expect(clippy::result_large_err, reason = "the callback's type is not ours")]
    let greet = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        query = request.uri().query().unwrap_or_default().to_owned();
        protocols = request.headers()[SEC_WEBSOCKET_PROTOCOL].clone();
        let accepted = HeaderValue::from_static("_aws_wt_session");
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, accepted);
        Ok(response)
    };
    let mut client = accept_hdr_async(stream, greet).await.expect("a client shakes hands");
    let (closing, mut told) = mpsc::unbounded_channel();
    let (planned, place) = {
        let mut notes = notes.lock().expect("nobody panics");
        notes.joins.push(None);
        notes.closing = Some(closing);
        (notes.plan.pop_front(), notes.joins.len() - 1)
    };
    if let Some((Moment::Opening, code)) = planned {
        return hang_up(client, code).await;
    }
    let mut request = format!("{upstream}?{query}").into_client_request().expect("a URL");
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocols);
    let (mut service, _) = connect_async(request).await.expect("the service is there");
    loop {
        tokio::select! {
            code = told.recv() => {
                return hang_up(client, code.expect("held by the notes")).await;
            }
            message = client.next() => {
                let Some(Ok(message)) = message else { return };
                if let Message::Binary(bytes) = &message {
                    match (decode(bytes), planned) {
                        (Ok(ClientFrame::Join(join)), _) => {
                            notes.lock().expect("nobody panics").joins[place] = join.audio_session_id;
                        }
                        (Ok(ClientFrame::Subscribe(_)), Some((Moment::Subscribing, code))) => {
                            return hang_up(client, code).await;
                        }
                        _ => {}
                    }
                }
                if service.send(message).await.is_err() { return }
            }
            message = service.next() => {
                let Some(Ok(message)) = message else { return };
                if client.send(message).await.is_err() { return }
            }
        }
    }
}

/// Closes, and waits for the client's own close: with unread data the system would take back what was sent last.
async fn hang_up(mut client: WebSocketStream<TcpStream>, code: u16) {
    let close = Message::Close(Some(CloseFrame { code: code.into(), reason: "".into() }));
    if client.send(close).await.is_ok() {
        while let Some(Ok(_)) = client.next().await {}
    }
}
