//! Draining this server: an extension. It concerns every tenant, so it is for the first account's callers alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Call;
use super::errors::{Answer, ApiError, to_json};
use crate::drain::DrainState;

/// The longest that clients may be left waiting for their turn.
const WITHIN_MAX_S: u64 = 3600;
const WITHIN_DEFAULT_S: u64 = 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StartDrain {
    within_seconds: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    state: DrainState,
}

pub(super) fn get(call: &Call<'_>) -> Result<Answer, ApiError> {
    allow(call)?;
    Ok(shown(call))
}

pub(super) fn start(call: &Call<'_>) -> Result<Answer, ApiError> {
    let wish: StartDrain = call.json()?;
    let within_s = wish.within_seconds.unwrap_or(WITHIN_DEFAULT_S);
    if within_s > WITHIN_MAX_S {
        return Err(ApiError::bad_request(format!("WithinSeconds must be at most {WITHIN_MAX_S}")));
    }
    allow(call)?;
    call.state.drain.start(Duration::from_secs(within_s));
    Ok(shown(call))
}

pub(super) fn cancel(call: &Call<'_>) -> Result<Answer, ApiError> {
    allow(call)?;
    call.state.drain.cancel();
    Ok(shown(call))
}

fn allow(call: &Call<'_>) -> Result<(), ApiError> {
    call.allow_new_meeting(&[])?;
    if call.account() != call.state.directory.first().account() {
        return Err(ApiError::forbidden(
            "This concerns the whole server: only callers of its first account may do it",
        ));
    }
    Ok(())
}

fn shown(call: &Call<'_>) -> Answer {
    Answer::Json(to_json(&Shown { state: call.state.drain.state() }))
}
