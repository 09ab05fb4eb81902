//! The client against a running service, with real sockets.

mod examples;
mod load;
mod meddler;
mod meeting;
mod returning;
mod video;
mod world;
