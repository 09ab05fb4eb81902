//! Bad inputs, each of which has felled a server of this kind, on a live one: while they come, two neighbours in the same
//! meeting talk on, and not a packet of 20 ms is missing in what they hear. `docs/traps.md` has the list.

mod attacker;
mod doors;
mod dtls;
mod flood;
mod forge;
mod ice;
mod rtp;
mod signaling;

use std::sync::{LazyLock, Mutex, mpsc};
use std::time::Duration;

use campanile::config::Config as ServerConfig;
use campanile_client::api::{Api, Credentials};
use campanile_client::clip::Clip;
use campanile_client::pcm::tone;
use campanile_client::{AudioSource, Config, JoinInfo, Media, Session, Subscriptions, Trust, VideoSource};
use campanile_wire::signaling::Secret;
use tokio::sync::watch;
use tokio::time::timeout;

/// Nothing here takes longer, even on a machine that does other things as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Packets that the neighbours have to hear after an attack: one second.
const HEARD_AFTER: usize = 50;

/// One server for all attacks, with a runtime of its own: a test's ends with the test.
static SERVER: LazyLock<(String, String, String, String)> = LazyLock::new(|| {
    let (told, ready) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let data = std::env::temp_dir().join(format!("campanile-hostile-{}", std::process::id()));
            let running = campanile::serve(ServerConfig::local(&data)).await.expect("the service starts");
            let ready = &running.ready;
            let secret = ready.secret_access_key.as_ref().expect("dev has one").reveal().to_owned();
            let key = ready.access_key_id.clone().expect("dev has one");
            told.send((ready.api.clone(), ready.region.clone(), key, secret)).expect("somebody waits");
            // As long as the tests: an open database may lose its name.
            let _ = std::fs::remove_dir_all(&data);
            std::future::pending::<()>().await;
        });
    });
    ready.recv().expect("the server starts")
});

/// A meeting with two neighbours in it, and invitations for those who mean harm.
pub(crate) struct Scene {
    invitations: Mutex<Vec<JoinInfo>>,
    /// Speaks, and shows a picture.
    pub(crate) ann: Session,
    bob: Session,
    /// The numbers of the packets that bob has heard.
    heard: watch::Receiver<Vec<u64>>,
    /// Its API, with the right to everything.
    pub(crate) api: Api,
    /// The address of its API.
    pub(crate) host: String,
}

impl Scene {
    pub(crate) async fn new(name: &str) -> Scene {
        let (endpoint, region, key, secret) = &*SERVER;
        let credentials = Credentials {
            access_key_id: key.clone(),
            secret_access_key: Secret(secret.clone()),
            session_token: None,
        };
        let api = Api::new(endpoint, region, credentials, Trust::system()).unwrap();
        let meeting = api.create_meeting(name).await.expect("a meeting is made");
        let names: Vec<String> = ["ann", "bob"].map(str::to_owned).into();
        let mut people = api.create_attendees(&meeting, &names).await.expect("attendees are made");
        let evil: Vec<String> = (0..60).map(|at| format!("eve{at}")).collect();
        let invitations = api.create_attendees(&meeting, &evil).await.expect("attendees are made");
        let (told, heard) = watch::channel(Vec::new());
        let listening = Config {
            audio: AudioSource::Silence,
            subscriptions: Subscriptions::Highest(1),
            sink: Some(Box::new(move |media| {
                if let Media::Audio(packet) = media {
                    told.send_modify(|heard| heard.push(packet.sequence));
                }
            })),
            ..Config::default()
        };
        let clip = Clip::from_ivf(include_bytes!("../../clips/low.vp8.ivf")).expect("a committed clip");
        let camera = VideoSource {
            codec: campanile_client::Codec::Vp8,
            layers: vec![clip.layer(None)],
            framerate: clip.framerate,
            stamp: None,
        };
        let speaking = Config {
            audio: AudioSource::Loop(tone(400.0, 0.1, 2).unwrap()),
            video: Some(camera),
            ..Config::default()
        };
        let join = async |info, config| {
            timeout(PATIENCE, Session::join(info, config)).await.expect("in time").expect("joined").0
        };
        let bob = join(people.remove(1), listening).await;
        let ann = join(people.remove(0), speaking).await;
        let host = endpoint.trim_start_matches("http://").to_owned();
        let scene = Scene { invitations: Mutex::new(invitations), ann, bob, heard, api, host };
        scene.hear_more().await;
        scene
    }

    /// An invitation that nobody has used.
    pub(crate) fn invitation(&self) -> JoinInfo {
        self.invitations.lock().unwrap().pop().expect("there are enough")
    }

    async fn hear_more(&self) {
        let mut heard = self.heard.clone();
        let enough = heard.borrow().len() + HEARD_AFTER;
        let hearing = timeout(PATIENCE, heard.wait_for(|heard| heard.len() >= enough)).await;
        hearing.expect("the neighbours hear nothing any more").expect("the sink lives");
    }

    /// The end of an attack: the neighbours talk on, and have not missed a packet.
    pub(crate) async fn is_undisturbed(&self) {
        self.hear_more().await;
        let mut sorted = self.heard.borrow().clone();
        sorted.sort_unstable();
        let missing: Vec<_> = sorted.windows(2).filter(|two| two[1] != two[0] + 1).collect();
        assert!(missing.is_empty(), "packets are missing between {missing:?}");
        for (name, session) in [("ann", &self.ann), ("bob", &self.bob)] {
            let stats = session.stats();
            assert_eq!((stats.outages.len(), stats.ended), (0, None), "{name} was disturbed");
        }
    }
}
