//! What is known afterwards of each way in: the time of every step, and why the ones that failed did.

use campanile_meeting::trace::{JoinStep, JoinTrace};
use campanile_sim::{Camera, Conditions, Page, Seed, World, millis, secs};
use campanile_wire::signaling::{ClientFrame, proto};

fn last(world: &World, page: &Page) -> JoinTrace {
    world.join_traces(page).pop().expect("every connection leaves a trace")
}

/// The step not reached, the cause, and that there is a remedy.
fn failure(world: &World, page: &Page) -> (JoinStep, String) {
    let trace = last(world, page);
    let failure = trace.failure.unwrap_or_else(|| panic!("it got in: {:?}", trace.reached));
    assert!(!failure.remedy.is_empty());
    (failure.step, failure.cause)
}

#[test]
fn each_step_in_has_its_time() {
    let world = World::new(Seed(1)).network(Conditions { latency: millis(100), ..Conditions::GOOD });
    let ann = world.join("ann");
    world.run_for(secs(3));
    let trace = last(&world, &ann);
    let at: Vec<_> = JoinStep::ALL.iter().map(|step| trace.at(*step).expect("reached").as_millis()).collect();
    // JOIN is a round trip after the handshake, and SUBSCRIBE another one.
    assert_eq!(at[0], 0);
    assert!((200..260).contains(&at[1]), "{at:?}");
    assert!((400..460).contains(&at[2]), "{at:?}");
    assert!(at.is_sorted_by(|a, b| a <= b) || at[5] > at[6], "{at:?}");
    assert_eq!(trace.failure, None);
}

#[test]
fn a_reconnection_has_a_trace_of_its_own() {
    let world = World::new(Seed(2));
    let ann = world.join("ann");
    world.run_for(secs(2));
    ann.cut();
    world.run_for(secs(4));
    let traces = world.join_traces(&ann);
    assert_eq!(traces.len(), 2);
    assert!(
        traces.iter().all(|trace| trace.failure.is_none() && trace.at(JoinStep::DtlsConnected).is_some())
    );
}

#[test]
fn every_failed_join_says_where_and_why() {
    let world = World::new(Seed(3));
    let silent = world.join("silent").joins_by_hand();
    let gone = world.join("gone").joins_by_hand().stays_away();
    let rude = world.join("rude").joins_by_hand().stays_away();
    let left = world.join("left").joins_by_hand();
    let removed = world.join("removed").joins_by_hand();
    world.run_for(secs(1));
    gone.cut();
    rude.say_bytes(vec![1, 2, 3]);
    left.leave();
    world.remove_attendee(&removed);
    world.run_for(secs(130));
    assert_eq!(
        failure(&world, &gone),
        (JoinStep::Joined, "the connection was lost, or the client closed it".into())
    );
    assert_eq!(failure(&world, &rude), (JoinStep::Joined, "message starts with byte 0x01".into()));
    assert_eq!(failure(&world, &left), (JoinStep::Joined, "the client left".into()));
    assert_eq!(failure(&world, &removed), (JoinStep::Joined, "attendee unavailable".into()));
    assert!(world.failed_joins() >= 5, "each is told as an event");
    let first =
        world.join_traces(&silent).into_iter().find_map(|trace| trace.failure).expect("it never joined");
    assert_eq!((first.step, first.cause.as_str()), (JoinStep::Joined, "no JOIN came"));
}

#[test]
fn whoever_was_on_the_way_in_when_a_drain_began_learns_that_from_the_trace() {
    let world = World::new(Seed(6));
    let ann = world.join("ann").joins_by_hand().stays_away();
    world.run_for(secs(1));
    world.drain_server(secs(1));
    world.run_for(secs(2));
    assert_eq!(failure(&world, &ann), (JoinStep::Joined, "the server is draining".into()));
}

#[test]
fn a_share_for_which_there_is_no_room_says_so() {
    let world = World::new(Seed(4));
    let people: Vec<_> = (0..3).map(|at| world.join(&format!("p{at}"))).collect();
    let shares: Vec<_> = people.iter().map(|page| world.share(page, Camera::small())).collect();
    world.run_for(secs(3));
    let refused = shares.iter().filter_map(|share| last(&world, share).failure).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].cause.contains("2 content shares are on"), "{refused:?}");
}

#[test]
fn what_the_client_measured_is_kept() {
    let world = World::new(Seed(5));
    let ann = world.join("ann");
    world.run_for(secs(2));
    let signaling = proto::SdkMeetingSessionSignalingTiming {
        start_ms: Some(1_000),
        join_sent_ms: Some(1_040),
        ice_connected_ms: Some(1_120),
        ..Default::default()
    };
    ann.say(ClientFrame::MeetingSessionTiming(proto::SdkMeetingSessionTimingFrame {
        signaling: vec![signaling],
        ..Default::default()
    }));
    let metric = |kind: proto::sdk_metric::Type, value| proto::SdkMetric {
        r#type: Some(kind as i32),
        value: Some(value),
    };
    ann.say(ClientFrame::ClientMetric(proto::SdkClientMetricFrame {
        global_metrics: vec![
            metric(proto::sdk_metric::Type::StunRttMs, 23.0),
            metric(proto::sdk_metric::Type::RtcMicPps, f64::NAN),
        ],
        ..Default::default()
    }));
    world.run_for(secs(1));
    let trace = last(&world, &ann);
    assert_eq!(trace.client_timings, [("JoinSent", 40), ("IceConnected", 120)]);
    assert_eq!(trace.client_metrics, [("STUN_RTT_MS", 23.0)]);
}
