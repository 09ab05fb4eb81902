//! Payloads of no sense harm nobody.

use super::*;

/// Two people sound the same whether or not a third pushes what `hostile` makes, packet by packet, for so many ticks.
fn harms_nobody(ticks: u16, hostile: impl Fn(&mut World, u16, &mut dyn FnMut() -> u32)) {
    let run = |is_there: bool| {
        let mut world = World::new();
        world.join(ANN, tone(440.0, 0.3));
        world.join(BOB, tone(900.0, 0.2));
        world.mixer.add(CAT, 3, true);
        let mut dice = dice();
        for n in 0..ticks {
            if is_there {
                hostile(&mut world, n, &mut dice);
            }
            world.run(1);
        }
        let voices = [ANN, BOB].map(|leg| world.mixer.legs[&leg].sound().mid);
        assert!(world.client(ANN).mix.iter().all(|sample| sample.abs() < 0.9));
        (voices, world.mixer.quality_of(CAT))
    };
    let ((quiet, _), (noisy, quality)) = (run(false), run(true));
    assert!(quality.malformed > 20, "{quality:?}");
    assert_eq!(quiet, noisy);
}

#[test]
fn a_hostile_leg_leaves_the_others_unchanged() {
    harms_nobody(200, |world, n, dice| {
        let payload: Vec<u8> = (0..dice() % 200).map(|_| dice() as u8).collect();
        let (timestamp, level_db) = (dice(), Some(dice() as u8));
        let packet = AudioPacket { sequence: n, timestamp, level_db, payload: &payload };
        world.mixer.push(world.now, CAT, packet);
    });
}

#[test]
fn hostile_redundancy_leaves_the_neighbours_unchanged() {
    harms_nobody(300, |world, n, dice| {
        // Headers that look right, around anything: ages, lengths and frames of no sense.
        let mut payload: Vec<u8> = Vec::new();
        for _ in 0..dice() % 6 {
            payload.extend_from_slice(&[0xef, dice() as u8, dice() as u8 & 0xfc, dice() as u8 & 0x1f]);
        }
        payload.push(111);
        payload.extend((0..dice() % 200).map(|_| dice() as u8));
        let (sequence, timestamp) = (n.wrapping_add((dice() % 3) as u16), dice());
        let packet = AudioPacket { sequence, timestamp, level_db: Some(5), payload: &payload };
        world.mixer.push_red(world.now, CAT, 111, packet);
    });
}

#[test]
fn any_bytes_are_survived() {
    let mut dice = dice();
    for _ in 0..300 {
        let data: Vec<u8> = (0..dice() % 3_000).map(|_| dice() as u8).collect();
        fuzz::mixer(World::new().now, &data);
    }
}
