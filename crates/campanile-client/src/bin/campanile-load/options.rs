//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde_json::Value;

/// Loads a service that speaks the Amazon Chime SDK's protocol, and reports what people in its meetings would notice.
///
/// Makes meetings through the API, joins them as many attendees, and deletes them. Exits with 0 when everything is
/// within the thresholds, 1 when not, 2 when it could not run, and 3 when it was itself the bottleneck.
#[derive(Clone, Debug, Parser)]
#[command(name = "campanile-load", version)]
pub(crate) struct Options {
    /// The meetings API: scheme, host and port.
    #[arg(long, value_name = "URL", required_unless_present = "dev_json")]
    pub(crate) api: Option<String>,
    /// File with the line that `campanile dev --json` printed: API, credentials, region and pid in one.
    #[arg(long, value_name = "FILE")]
    pub(crate) dev_json: Option<PathBuf>,
    /// Access key.
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide_env_values = true, default_value = "")]
    pub(crate) access_key_id: String,
    /// Its secret.
    #[arg(
        long,
        env = "AWS_SECRET_ACCESS_KEY",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) secret_access_key: Secret,
    /// Goes with temporary keys.
    #[arg(long, env = "AWS_SESSION_TOKEN", hide_env_values = true)]
    pub(crate) session_token: Option<Secret>,
    /// What calls are signed for.
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    pub(crate) region: String,
    /// PEM file of certificates to trust instead of the system's.
    #[arg(long, value_name = "PEM")]
    pub(crate) ca: Option<PathBuf>,
    /// How many meetings.
    #[arg(long, default_value_t = 1)]
    pub(crate) meetings: usize,
    /// Attendees of each.
    #[arg(long, default_value_t = 5)]
    pub(crate) attendees: usize,
    /// How many of them speak, each with a tone of their own.
    #[arg(long, default_value_t = 1)]
    pub(crate) speakers: usize,
    /// How many of them show video.
    #[arg(long, default_value_t = 0)]
    pub(crate) publishers: usize,
    /// How their video is encoded: VP9 in three spatial and three temporal layers, AV1 in three temporal ones.
    #[arg(long, value_enum, default_value_t = Codec::Vp8)]
    pub(crate) codec: Codec,
    /// Publish three streams instead of one (VP8).
    #[arg(long)]
    pub(crate) simulcast: bool,
    /// Remote videos that each attendee watches.
    #[arg(long, default_value_t = 25)]
    pub(crate) tiles: usize,
    /// Watch the smallest layers instead of the largest.
    #[arg(long)]
    pub(crate) small: bool,
    /// Let the service choose the layers.
    #[arg(long)]
    pub(crate) server_layers: bool,
    /// How long to measure, in seconds, once everybody is in.
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// Attendees joining per second.
    #[arg(long, default_value_t = 20.0)]
    pub(crate) join_rate: f64,
    /// Listeners send nothing, instead of the silence that muted browsers send.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Share of the attendees, 0 to 1, that only count packets. Speakers never do, and
    /// publishers only with --light-publishers.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) light: f64,
    /// Publishers may be among those: they send nothing twice, so the network must lose nothing.
    #[arg(long)]
    pub(crate) light_publishers: bool,
    /// Of counted packets, one in how many is decrypted as a check; 0 for none.
    #[arg(long, default_value_t = 50)]
    pub(crate) verify_one_in: u32,
    /// Listeners of each meeting who decode what they hear and check the tones, beside all speakers.
    #[arg(long, default_value_t = 5)]
    pub(crate) checked: usize,
    /// Share of the attendees, 0 to 1, on the bad network that the next three describe.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) impaired: f64,
    /// Datagrams lost, in percent, each way.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) loss: f32,
    /// Datagrams wait for up to so many milliseconds, each way.
    #[arg(long, default_value_t = 0)]
    pub(crate) jitter_ms: u64,
    /// Datagrams that wait for another 20 ms, in percent.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) reorder: f32,
    /// Attendees of each meeting who are gone without a word halfway through.
    #[arg(long, default_value_t = 0)]
    pub(crate) leavers: usize,
    /// The service's process, when it runs here: for its CPU time and memory.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Threads of this generator [default: one for each core]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Print the report as JSON on standard output.
    #[arg(long)]
    pub(crate) json: bool,
    /// At least this share of the attendees must get in.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) min_joined: f64,
    /// The 99th percentile of join times must not exceed this.
    #[arg(long)]
    pub(crate) max_join_ms: Option<f64>,
    /// At least this share of the audio must arrive.
    #[arg(long, default_value_t = 0.99)]
    pub(crate) min_audio: f64,
    /// At least this share of the video frames must arrive.
    #[arg(long, default_value_t = 0.98)]
    pub(crate) min_video: f64,
    /// At most so many checks may hear oneself, or miss somebody.
    #[arg(long, default_value_t = 0)]
    pub(crate) max_mix_minus: u64,
    /// Beyond this delay of its own sending (99th percentile) the generator holds itself for the bottleneck.
    #[arg(long, default_value_t = 20)]
    pub(crate) max_lag_ms: u64,
    /// Report also when the generator was the bottleneck; the report then says so.
    #[arg(long)]
    pub(crate) anyway: bool,
}

/// What the clips are encoded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Codec {
    Vp8,
    H264,
    Vp9,
    Av1,
}

impl Codec {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Codec::Vp8 => "vp8",
            Codec::H264 => "h264",
            Codec::Vp9 => "vp9",
            Codec::Av1 => "av1",
        }
    }

    /// The clip is made of layers that a service may leave out.
    pub(crate) fn has_layers(self) -> bool {
        matches!(self, Codec::Vp9 | Codec::Av1)
    }
}

/// Text that no log shows.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(text.to_owned())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.trim_end_matches('s').parse().map_err(|_| "a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl Options {
    /// Fills in what `--dev-json` says and nothing else did, and checks that the numbers make sense.
    pub(crate) fn completed(mut self) -> Result<Options, String> {
        if let Some(path) = &self.dev_json {
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let line: Value = serde_json::from_str(text.lines().next().unwrap_or_default())
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            self.api.get_or_insert(text("api"));
            self.region = text("region");
            // `campanile serve` has accounts of its own, and tells no keys.
            if line["access_key_id"].is_string() {
                self.access_key_id = text("access_key_id");
                self.secret_access_key = Secret(text("secret_access_key"));
            }
            self.pid = self.pid.or(line["pid"].as_u64().map(|pid| pid as u32));
        }
        if self.access_key_id.is_empty() || self.secret_access_key.0.is_empty() {
            return Err(
                "no credentials: give --access-key-id and --secret-access-key, the AWS_ variables, or \
                        --dev-json"
                    .into(),
            );
        }
        if self.meetings == 0 || self.attendees == 0 || self.join_rate <= 0.0 {
            return Err("there must be meetings, attendees and a rate at which they join".into());
        }
        if self.speakers > self.attendees || self.publishers > self.attendees {
            return Err("no more can speak or publish than attend".into());
        }
        if self.simulcast && self.codec != Codec::Vp8 {
            return Err("only VP8 is simulcast; VP9 and AV1 have layers of their own".into());
        }
        Ok(self)
    }
}
