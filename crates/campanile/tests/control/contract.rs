//! Generated from the service model.
