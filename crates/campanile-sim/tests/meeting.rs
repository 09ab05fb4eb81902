//! The meeting itself: people hear, see and read each other, over networks good and bad.

use campanile_sim::{Camera, Conditions, Page, Seed, World, millis, secs};

#[test]
fn three_meet() {
    let world = World::new(Seed(7)).network(Conditions::MOBILE);
    let ann = world.join("ann").publish(Camera::simulcast()).says(400).listens();
    let bob = world.join("bob").publish(Camera::hd()).says(600).listens();
    let cid = world.join("cid").publish(Camera::hd().h264()).says(900).listens();
    world.run_for(secs(20));
    for page in [&ann, &bob, &cid] {
        assert_eq!(page.roster(), ["ann", "bob", "cid"]);
        println!("{} {} {} {}", page.client().hears_db(400), page.client().hears_db(600), page.client().hears_db(900), page.client().audio_packets);
        for other in [&ann, &bob, &cid] { println!("{:?}", page.seen(other)); }
    }
    let _ = (millis(1), world.trace());
    println!("{:?} {:?}", world.trace(), world.elapsed());
}
