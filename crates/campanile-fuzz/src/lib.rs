//! Every fuzz target there is. The functions stand beside what they test, except [`operations`], which tests all of it
//! together.
//!
//! Each is run in two ways: by `cargo test` on any toolchain, over the inputs in `fuzz/corpus` and some thousand seeded
//! mutations of them, and by libFuzzer (`cargo xtask fuzz`), whose binaries are in a workspace of their own, `fuzz/`.

#[cfg(test)]
mod corpus;
mod operations;

pub use operations::operations;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its file in `fuzz/fuzz_targets` and of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Must not panic, whatever it is given.
    pub run: fn(&[u8]),
    /// How many mutations `cargo test` tries: what takes a second or two without optimisation.
    pub mutations: u64,
}

/// Makes the list, and a test of each name.
macro_rules! targets {
    ($($name:ident = $run:expr, $mutations:literal;)+) => {
        /// All targets.
        pub const TARGETS: &[Target] =
            &[$(Target { name: stringify!($name), run: $run, mutations: $mutations }),+];

        #[cfg(test)]
        mod tests {
            $(
                #[test]
                fn $name() {
                    crate::corpus::check(stringify!($name));
                }
            )+
        }
    };
}

targets! {
    api_requests = campanile_wire::api::fuzz::requests, 50_000;
    client_report = campanile::client_events::fuzz::report, 20_000;
    dependency_descriptor = campanile_media::forward::fuzz::dependency_descriptor, 50_000;
    estimator = campanile_media::estimate::fuzz::estimator, 5_000;
    framing = campanile_media::peer::framing::fuzz::framing, 50_000;
    iam_policy = campanile::iam::fuzz::policy, 20_000;
    join_token = campanile_meeting::registry::fuzz::join_token, 50_000;
    layers_allocation = campanile_media::forward::fuzz::layers_allocation, 50_000;
    mixer = mixer, 2_000;
    operations = operations, 1_500;
    opus_packet = campanile_opus::fuzz::opus_packet, 10_000;
    picture_size = campanile_media::forward::fuzz::picture_size, 50_000;
    red = campanile_media::mix::fuzz::red, 50_000;
    rtcp = campanile_media::rtcp::fuzz::rtcp, 50_000;
    rtp = campanile_media::rtp::fuzz::rtp, 50_000;
    sdp = campanile_media::peer::sdp::fuzz::sdp, 10_000;
    server_frame = campanile_wire::fuzz::server_frame, 50_000;
    session_token = campanile::directory::fuzz::session_token, 20_000;
    signaling_frame = campanile_wire::fuzz::signaling_frame, 50_000;
    sigv4 = sigv4, 20_000;
    srtp = campanile_media::peer::srtp::fuzz::srtp, 20_000;
    stun_and_demux = campanile_media::peer::fuzz::stun_and_demux, 30_000;
    twcc = campanile_media::rtcp::fuzz::twcc, 20_000;
    video_payload = campanile_media::forward::fuzz::payload, 50_000;
}

/// Runs one target.
///
/// # Panics
/// When there is no target of this name, and when the target finds something.
pub fn run(name: &str, data: &[u8]) {
    (target(name).run)(data);
}

fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    *found.unwrap_or_else(|| panic!("there is no fuzz target {name}"))
}

fn mixer(data: &[u8]) {
    campanile_media::mix::fuzz::mixer(std::time::Instant::now(), data);
}

fn sigv4(data: &[u8]) {
    campanile::sigv4::fuzz::request(data);
    campanile::sigv4::fuzz::signed(data);
}
