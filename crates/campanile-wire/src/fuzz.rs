//! Fuzz targets: one plain function per parser of outside bytes. They must not panic on any input.

use crate::signaling::{ClientFrame, FrameError, ServerFrame, decode, decode_server};

/// A client's frame: what decodes must encode again, to something that decodes to the same.
pub fn signaling_frame(data: &[u8]) {
    let Ok(frame) = decode(data) else { return };
    let again = frame.encode(1);
    same(&again, decode(&again).map(|frame: ClientFrame| frame.encode(1)));
}

/// A server's frame, as a client library reads it.
pub fn server_frame(data: &[u8]) {
    let Ok(frame) = decode_server(data) else { return };
    let again = frame.encode(1);
    same(&again, decode_server(&again).map(|frame: ServerFrame| frame.encode(1)));
}

/// Compares bytes rather than frames: a metric may be a NaN, which does not equal itself.
fn same(first: &[u8], second: Result<Vec<u8>, FrameError>) {
    match second {
        Ok(second) => assert_eq!(first, second),
        // Defaults are written out, so a frame just below the bound may grow past it.
        Err(error) => assert!(matches!(error, FrameError::TooLong { .. }), "{error}"),
    }
}
