//! The WebSocket door: bytes to client frames, server frames to bytes.

use axum::Router;

use crate::state::AppState;

/// `GET /control/{meeting_id}`.
pub fn routes(state: AppState) -> Router {
    let _ = state;
    Router::new()
}
