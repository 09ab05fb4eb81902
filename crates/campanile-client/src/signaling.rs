//! The signaling socket: client frames out, server frames in, and why it closed.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use campanile_wire::signaling::{
    ClientFrame, FrameError, SERVER_FRAME_BYTES_MAX, ServerFrame, decode_server,
};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::Uri;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

use crate::join::JoinInfo;
use crate::status::ABNORMAL;
use crate::tls::{self, Io, Trust};

/// The subprotocol that services accept; the join token rides as a second one.
const SUBPROTOCOL: &str = "_aws_wt_session";

/// A close without a code.
const NO_CODE: u16 = 1005;

pub(crate) enum Incoming {
    Frame(ServerFrame),
    /// What became of the audio, in a number that no client knows.
    UnknownAudioStatus(u32),
    /// With this code; [`ABNORMAL`] when it just broke.
    Closed(u16),
}

pub(crate) struct Socket {
    stream: WebSocketStream<Box<dyn Io>>,
    /// Our own address, which media will also come from.
    pub(crate) local: SocketAddr,
}

impl Socket {
    /// # Errors
    /// In words; the JavaScript client does not see more either.
    pub(crate) async fn open(join: &JoinInfo, trust: &Trust) -> Result<Socket, String> {
        let version = env!("CARGO_PKG_VERSION");
        let url = format!(
            "{}?X-Chime-Control-Protocol-Version=3&X-Amzn-Chime-Send-Close-On-Error=1&X-Amzn-Version={version}&\
             X-Amzn-User-Agent=campanile-client",
            join.signaling_url
        );
        let uri: Uri = url.parse().map_err(|error| format!("{}: {error}", join.signaling_url))?;
        let mut request = (&uri).into_client_request().map_err(|error| error.to_string())?;
        let protocols = format!("{SUBPROTOCOL}, {}", join.join_token.0);
        let mut protocols =
            HeaderValue::from_str(&protocols).map_err(|_| "the join token is no header value".to_owned())?;
        protocols.set_sensitive(true);
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocols);
        let (stream, local) = tls::connect(&uri, trust).await?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(SERVER_FRAME_BYTES_MAX))
            .max_frame_size(Some(SERVER_FRAME_BYTES_MAX))
            // Hundreds of sockets in one process: the default of 128 KiB each would be most of its memory.
            .read_buffer_size(8 * 1024);
        let (stream, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config))
            .await
            .map_err(|error| error.to_string())?;
        Ok(Socket { stream, local })
    }

    /// False when the socket takes nothing any more; reading will tell why.
    pub(crate) async fn send(&mut self, frame: &ClientFrame) -> bool {
        let bytes = frame.encode(unix_ms());
        self.stream.send(Message::Binary(bytes.into())).await.is_ok()
    }

    /// The next frame that means anything. May be dropped between polls without loss.
    pub(crate) async fn recv(&mut self) -> Incoming {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Binary(bytes))) => match decode_server(&bytes) {
                    Ok(frame) => return Incoming::Frame(frame),
                    Err(FrameError::UnknownAudioStatus(number)) => {
                        return Incoming::UnknownAudioStatus(number);
                    }
                    Err(FrameError::UnknownType(kind)) => tracing::debug!(kind, "frame passed over"),
                    Err(error) => tracing::warn!(%error, "a frame cannot be read"),
                },
                Some(Ok(Message::Close(frame))) => {
                    return Incoming::Closed(frame.map_or(NO_CODE, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "signaling broke");
                    return Incoming::Closed(ABNORMAL);
                }
                None => return Incoming::Closed(ABNORMAL),
            }
        }
    }

    /// Closes without a code, as browsers do.
    pub(crate) async fn close(&mut self) {
        let _ = self.stream.close(None).await;
    }
}

pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
