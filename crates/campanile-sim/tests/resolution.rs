//! The largest pictures that a meeting allows: larger ones reach nobody, and who sends nothing else is told.

use campanile_sim::{Camera, Ending, Page, Seed, Watch, World, millis, secs};
use campanile_wire::api::{ContentResolution, MeetingFeatures, VideoResolution};
use campanile_wire::signaling::{NotificationLevel, ServerFrame};

/// As the service words it for the client's log.
const REFUSAL: &str = "Disabled video/content send capability, reason: Video resolution is above limit of current \
    meeting feature selection";

fn told(page: &Page) -> Vec<String> {
    let client = page.client();
    let lines = client.frames.iter().filter_map(|(_, frame)| match frame {
        ServerFrame::Notification { level: NotificationLevel::Error, message } => Some(message.clone()),
        _ => None,
    });
    lines.collect()
}

fn refused_video(world: &World, page: &Page) -> Option<String> {
    world.join_traces(page).pop().expect("every connection leaves a trace").refused_video
}

#[test]
fn a_camera_above_its_meetings_limit_is_never_seen_and_refused_after_three_seconds() {
    let world = World::new(Seed(1));
    let (ann, bob) = (world.join("ann"), world.join("bob"));
    world.run_for(secs(2));
    ann.publish(Camera::hd().sized(1920, 1080));
    world.run_for(millis(2500));
    assert!(!ann.client().view_only && told(&ann).is_empty(), "its client may be about to scale");
    world.run_for(millis(2500));
    assert!(ann.client().view_only && ann.client().is_in());
    assert_eq!(told(&ann), [REFUSAL]);
    let why =
        "pictures of 1920x1080 are larger than the 1280x720 that MeetingFeatures.Video.MaxResolution allows";
    assert_eq!(refused_video(&world, &ann).as_deref(), Some(why));
    assert_eq!(bob.seen(&ann).packets, 0);
    assert!(bob.client().index.sources.is_empty());
    // What it sends next may be small enough.
    ann.publish(Camera::hd());
    world.run_for(secs(2));
    assert!(bob.seen(&ann).frames > 15);
    assert_eq!(bob.seen(&ann).sizes, [(1280, 720)]);
}

#[test]
fn the_same_camera_is_seen_where_it_is_allowed_upright_or_lying() {
    let full = MeetingFeatures::with_pictures(VideoResolution::Fhd, ContentResolution::Fhd);
    for (seed, features, size) in
        [(2, full, (1920, 1080)), (3, full, (1080, 1920)), (4, MeetingFeatures::default(), (720, 1280))]
    {
        let world = World::new(Seed(seed)).offering(features);
        let ann = world.join("ann").publish(Camera::hd().sized(size.0, size.1));
        let bob = world.join("bob");
        world.run_for(secs(6));
        assert_eq!(bob.seen(&ann).sizes, [size]);
        assert!(bob.seen(&ann).frames > 50 && !ann.client().view_only && told(&ann).is_empty());
    }
}

#[test]
fn of_simulcast_the_layers_within_the_limit_go_on() {
    let world = World::new(Seed(5));
    let ann = world.join("ann").publish(Camera::simulcast().sized(1920, 1080));
    let (bob, _cat) = (world.join("bob"), world.join("cat"));
    world.run_for(secs(3));
    bob.watch(Watch::Layer(1));
    world.run_for(secs(10));
    assert_eq!(bob.seen(&ann).sizes, [(480, 270)]);
    assert!(bob.seen(&ann).frames > 100 && !ann.client().view_only && told(&ann).is_empty());
    assert_eq!(bob.client().index.sources.len(), 1, "what nobody gets is not on offer");
}

#[test]
fn a_camera_that_grows_beyond_the_limit_stops_and_goes_on_when_it_shrinks_in_time() {
    let world = World::new(Seed(6));
    let ann = world.join("ann").publish(Camera::hd());
    let bob = world.join("bob");
    world.run_for(secs(4));
    ann.resize(1920, 1080);
    world.run_for(millis(500));
    let before = bob.seen(&ann);
    world.run_for(millis(1500));
    assert_eq!(bob.seen(&ann).packets, before.packets);
    ann.resize(640, 360);
    world.run_for(secs(4));
    let seen = bob.seen(&ann);
    assert_eq!(seen.sizes, [(1280, 720), (640, 360)]);
    let breaks = [seen.corrupt, seen.picture_breaks, seen.clock_breaks, seen.sequence_jumps];
    assert_eq!(breaks, [0; 4], "{seen:?}");
    assert!(seen.frames > before.frames + 40 && !ann.client().view_only, "{seen:?}");
}

#[test]
fn a_share_above_the_limit_ends_and_one_within_it_is_seen_in_full() {
    let world = World::new(Seed(7));
    let (ann, bob) = (world.join("ann"), world.join("bob"));
    world.run_for(secs(2));
    let slides = world.share(&ann, Camera::hd().sized(1920, 1080));
    let film = world.share(&bob, Camera::hd().sized(3840, 2160));
    world.run_for(secs(6));
    assert_eq!(bob.seen(&slides).sizes, [(1920, 1080)]);
    assert!(slides.client().is_in() && bob.seen(&slides).frames > 50);
    assert_eq!((ann.seen(&film).packets, film.client().ending), (0, Some(Ending::Error(400))));
    assert_eq!(told(&film), [REFUSAL]);
    assert_eq!(ann.roster(), ["ann", "ann#content", "bob"]);
    let why = "pictures of 3840x2160 are larger than the 1920x1080 that MeetingFeatures.Content.MaxResolution allows";
    assert_eq!(refused_video(&world, &film).as_deref(), Some(why));
}
