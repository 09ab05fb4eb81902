//! What was acknowledged is there after `kill -9`.
