//! What a meeting means: the records of the control plane and the live sessions of the data plane.
//!
//! Pure, like `campanile-media`: it opens no socket, reads no clock, takes no lock.

pub mod ids;
pub mod registry;
