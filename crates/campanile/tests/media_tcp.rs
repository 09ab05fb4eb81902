//! The media's TCP port, and strangers at it. Calls over it are told by the browser stories.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use campanile::config::{Config, MediaOver};
use campanile::serve;

use common::TempDir;

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

fn connect(media: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(media).expect("the port is open");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
    stream
}

/// A binding request under a name that is nobody's here, framed.
fn strange_check() -> Vec<u8> {
    let mut check = vec![0, 36, 0, 1, 0, 16, 0x21, 0x12, 0xA4, 0x42];
    check.extend_from_slice(b"transaction!");
    check.extend_from_slice(&[0, 6, 0, 12]);
    check.extend_from_slice(b"nobody:here!");
    check
}

/// True when the server closes, having said nothing.
fn is_closed(mut stream: TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_the_tcp_port_are_sent_away_or_ignored_and_the_service_goes_on() {
    let data = TempDir::new();
    let server = common::start(&data).await;
    let media = server.ready.media;

    // What announces a datagram that nobody sends is closed at once, whatever came before it.
    for bytes in [&b"GET / HTTP/1.1\r\nHost: campanile\r\n\r\n"[..], &[0xff; 4096], &[0, 1, 9, 0x08, 0x01]] {
        let mut stream = connect(media);
        stream.write_all(bytes).expect("it takes bytes");
        assert!(is_closed(stream), "{bytes:?}");
    }
    // Checks under a foreign name, media of nobody and empty frames change nothing. Pieces of any size are put together: a
    // length that is too large is noticed behind them.
    let mut stream = connect(media);
    let rtp = [&[0, 14, 0x80, 111][..], &[7; 12]].concat();
    for piece in [strange_check(), rtp, vec![0; 100]].concat().chunks(3) {
        stream.write_all(piece).expect("the connection stands");
    }
    stream.write_all(&[0xff, 0xff]).expect("the connection stands");
    assert!(is_closed(stream));
    // Hundreds who say half a word and wait.
    let idle: Vec<_> = (0..300).map(|_| connect(media)).collect();
    for mut stream in &idle {
        stream.write_all(&[0, 100, 0]).expect("it takes bytes");
    }
    let mut late = connect(media);
    late.write_all(&[0xff, 0xff]).expect("it takes bytes");
    assert!(is_closed(late), "and another is served beside them");
    let health = b"GET /health HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
    assert_eq!(common::raw(server.state.site.listen, health).await.text, "ok\n");
    drop(idle);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn media_over_udp_alone_opens_no_tcp_port() {
    let data = TempDir::new();
    let config = Config { media_over: MediaOver::Udp, ..Config::local(data.path()) };
    let server = serve(config).await.expect("it starts");
    assert!(TcpStream::connect(server.ready.media).is_err());
    server.stop().await;
}
