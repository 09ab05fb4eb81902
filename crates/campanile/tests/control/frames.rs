//! Signaling that felled others, tried on a running server: frames that are none, floods, sessions where there may be none.
//! Whoever sends them pays alone.

use campanile_wire::signaling::{Adaption, ClientDetails, ClientFrame, Join, ServerFrame, decode_server};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::common::{Client, TempDir, start};
use crate::connections::{PATIENCE, Socket, close_code, connect};

pub(crate) fn join() -> ClientFrame {
    ClientFrame::Join(Join {
        protocol_version: 2,
        flags: 0,
        client: ClientDetails::default(),
        audio_session_id: None,
        wants_compressed_sdp: false,
        adaption: Adaption::Default,
        supported_adaptions: Vec::new(),
        wants_all_temporal_layers: false,
        disable_periodic_keyframes: false,
        max_videos: None,
    })
}

pub(crate) async fn send(socket: &mut Socket, bytes: Vec<u8>) {
    socket.send(Message::Binary(bytes.into())).await.unwrap();
}

/// The first frame of which `wanted` makes something.
pub(crate) async fn until<T>(socket: &mut Socket, wanted: impl Fn(ServerFrame) -> Option<T>) -> T {
    let search = async {
        loop {
            let message = socket.next().await.expect("the socket is open").expect("and whole");
            if let Message::Binary(bytes) = message
                && let Some(found) =
                    wanted(decode_server(&bytes).expect("the server writes what clients read"))
            {
                return found;
            }
        }
    };
    timeout(PATIENCE, search).await.expect("in time")
}

/// This session is alive: its ping is answered.
async fn lives(socket: &mut Socket, id: u32) {
    send(socket, ClientFrame::Ping { id }.encode(1)).await;
    until(socket, |frame| {
        matches!(frame, ServerFrame::Pong { id: answered } if answered == id).then_some(())
    })
    .await;
}

#[tokio::test]
async fn frames_that_are_none_end_their_own_session_and_no_other() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let meeting = client.create_meeting("tok").await;
    let (ann, bob) =
        (client.create_attendee(&meeting, "ann").await, client.create_attendee(&meeting, "bob").await);
    let mut bystander = connect(&client, &meeting, &bob).await;
    send(&mut bystander, join().encode(1)).await;
    until(&mut bystander, |frame| matches!(frame, ServerFrame::JoinAck(_)).then_some(())).await;

    // `timestamp_ms` and a type, but nothing of what the type promises.
    let bare = |kind: u8| vec![0x05, 0x08, 0x01, 0x10, kind];
    let mut bad: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("another first byte", vec![0x06, 0x08, 0x01]),
        ("not protobuf", vec![0x05, 0xff, 0xff, 0xff]),
        ("a field of the wrong wire type", vec![0x05, 0x0a, 0x01, 0x00, 0x10, 0x01]),
        ("a length beyond the end", vec![0x05, 0x08, 0x01, 0x10, 0x01, 0x1a, 0xff, 0xff, 0xff, 0xff, 0x07]),
        ("2 MiB", vec![0x05; 2 << 20]),
    ];
    bad.extend((1..=30).map(|kind| ("an empty frame", bare(kind))));
    let mut ended = 0;
    for (what, bytes) in bad {
        let mut socket = connect(&client, &meeting, &ann).await;
        send(&mut socket, bytes.clone()).await;
        // Types that promise nothing, or that nobody here knows, are let be.
        send(&mut socket, ClientFrame::Ping { id: 7 }.encode(1)).await;
        let outcome = async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return Some(u16::from(frame.code)),
                    Some(Ok(Message::Binary(bytes)))
                        if matches!(decode_server(&bytes), Ok(ServerFrame::Pong { id: 7 })) =>
                    {
                        return None;
                    }
                    Some(Ok(_)) => {}
                    other => panic!("{what}: {other:?}"),
                }
            }
        };
        let code = timeout(PATIENCE, outcome).await.expect("an answer or a close");
        assert!(matches!(code, None | Some(4400)), "{what}, {bytes:?}: {code:?}");
        assert!(code.is_some() || what == "an empty frame", "{what}");
        ended += usize::from(code.is_some());
    }
    assert!(ended >= 8, "{ended}");
    // What is beyond all reason is not read to its end: the connection ends, with a code or without.
    let mut socket = connect(&client, &meeting, &ann).await;
    let _ = socket.send(Message::Binary(vec![0x05; 5 << 20].into())).await;
    timeout(PATIENCE, async { while let Some(Ok(_)) = socket.next().await {} }).await.expect("it ends");
    let mut socket = connect(&client, &meeting, &ann).await;
    socket.send(Message::Text("{}".into())).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 4400);
    lives(&mut bystander, 9).await;
    running.stop().await;
}

#[tokio::test]
async fn floods_and_sessions_where_there_may_be_none_harm_nobody_else() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let client = Client::of(&running);
    let meeting = client.create_meeting("tok").await;
    let other = client.create_meeting("other").await;
    let (ann, bob) =
        (client.create_attendee(&meeting, "ann").await, client.create_attendee(&meeting, "bob").await);
    let mut bystander = connect(&client, &meeting, &bob).await;
    send(&mut bystander, join().encode(1)).await;
    until(&mut bystander, |frame| matches!(frame, ServerFrame::JoinAck(_)).then_some(())).await;

    assert_eq!(
        close_code(&mut connect(&client, &other, &ann).await).await,
        4403,
        "a token for another meeting"
    );
    assert_eq!(close_code(&mut connect(&client, "nonsense", &ann).await).await, 4410);

    // A frame before JOIN that needs one.
    let mut early = connect(&client, &meeting, &ann).await;
    send(&mut early, ClientFrame::AudioControl { muted: true }.encode(1)).await;
    assert_eq!(close_code(&mut early).await, 4400);

    // JOIN after LEAVE is not answered: the session is over. A second one for the same attendee is a device taking over.
    let mut first = connect(&client, &meeting, &ann).await;
    send(&mut first, join().encode(1)).await;
    until(&mut first, |frame| matches!(frame, ServerFrame::JoinAck(_)).then_some(())).await;
    let mut second = connect(&client, &meeting, &ann).await;
    send(&mut second, join().encode(1)).await;
    until(&mut second, |frame| matches!(frame, ServerFrame::JoinAck(_)).then_some(())).await;
    until(&mut first, |frame| matches!(frame, ServerFrame::AudioStatus(_)).then_some(())).await;
    send(&mut second, ClientFrame::Leave.encode(1)).await;
    until(&mut second, |frame| (frame == ServerFrame::LeaveAck).then_some(())).await;
    send(&mut second, join().encode(1)).await;
    send(&mut second, ClientFrame::Ping { id: 3 }.encode(1)).await;
    let joined_again = until(&mut second, |frame| match frame {
        ServerFrame::JoinAck(_) => Some(true),
        ServerFrame::Pong { id: 3 } => Some(false),
        _ => None,
    })
    .await;
    assert!(!joined_again);

    // More frames than any client has to say; what is not known is counted too.
    let mut flood = connect(&client, &meeting, &ann).await;
    let frame = ClientFrame::Ping { id: 1 }.encode(1);
    for _ in 0..20_000 {
        if flood.feed(Message::Binary(frame.clone().into())).await.is_err() {
            break;
        }
    }
    let _ = flood.flush().await;
    assert_eq!(close_code(&mut flood).await, 4508);
    lives(&mut bystander, 9).await;
    running.stop().await;
}
