//! A generation of format 1, checked in. It was made by another program from what the module page says, so it also shows that
//! the page says it all.

use super::{BEGIN, SECOND, STORE, call, key, leg, open};
use crate::disk::simulated::SimulatedDisk;
use crate::generations::{Generations, Key, Kind, New};

const NAME: &str = "0000000042.generation";
const GOLDEN: &[u8] = include_bytes!("0000000042.generation");

/// What is in it: the things with the numbers 0–399, 0–29 and 0–9, and an id of digits.
fn content() -> New {
    let digits = Key::from(&"00ff00ff00ff00ff00ff00ff12345678".into());
    New {
        ids: (0..400).map(|number| key(Kind::Id, number)).chain([digits]).collect(),
        legs: (0..30).map(|number| (key(Kind::Leg, number), leg(number, ended(number)))).collect(),
        calls: (0..10).map(|number| (key(Kind::Call, number), call(number))).collect(),
        times: (BEGIN - 3600 * SECOND, BEGIN),
    }
}

fn ended(number: u32) -> i64 {
    BEGIN - i64::from(number) * 100 * SECOND
}

#[test]
fn a_generation_of_format_1_is_read() {
    let disk = SimulatedDisk::new(1);
    disk.put(NAME, GOLDEN.to_vec());
    let generations = open(disk.folder(), &[42]);
    let New { ids, legs, calls, .. } = content();
    assert!(ids.iter().all(|id| generations.find_id(id).unwrap()));
    assert!(legs.iter().all(|(key, leg)| generations.find_leg(key).unwrap() == Some(*leg)));
    assert!(calls.iter().all(|(key, call)| generations.find_call(key).unwrap() == Some(*call)));
    assert!((400..900).all(|other| !generations.find_id(&key(Kind::Id, other)).unwrap()));
    let counts = generations.counts();
    assert_eq!((counts.ids, counts.legs, counts.calls), (401, 30, 10));
    assert_eq!((counts.ids_since, counts.disk_bytes), (Some(BEGIN - 3600 * SECOND), GOLDEN.len() as u64));
    generations.check().unwrap();
}

#[test]
fn what_is_written_is_format_1_to_the_byte() {
    let disk = SimulatedDisk::new(1);
    disk.put("0000000041.generation", Vec::new());
    let generations = Generations::open(disk.folder(), super::options(), &[], BEGIN).unwrap();
    assert_eq!(super::options().store, STORE);
    generations.write(content()).unwrap();
    let written = disk.content(NAME);
    let differs = written.iter().zip(GOLDEN).position(|(written, golden)| written != golden);
    assert_eq!((differs, written.len()), (None, GOLDEN.len()));
}
