//! Generations on a simulated disk.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod damage;
mod figures;
mod golden;
mod histories;

use std::sync::Arc;

use crate::disk::Folder;
use crate::disk::simulated::SimulatedDisk;
use crate::domain::event::Direction;
use crate::domain::identity::{StoreId, Token};
use crate::generations::{
    Draft, EndedLeg, Fingerprint, Generations, Key, Kind, Limits, New, Options, PastCall, ShortFingerprint,
};

const STORE: StoreId = StoreId(0x1234_5678_9abc_def0_0fed_cba9_8765_4321);
const SECOND: i64 = 1_000_000;
/// 2026-01-01 00:00 UTC.
const BEGIN: i64 = 1_767_225_600 * SECOND;

fn options() -> Options {
    Options { store: STORE, limits: Limits::default() }
}

/// The key of a thing of some kind with a number.
fn key(kind: Kind, number: u32) -> Key {
    Key::from(&Token::from(match kind {
        Kind::Id => format!("id {number}"),
        Kind::Leg => format!("leg {number}"),
        Kind::Call => format!("call {number}"),
    }))
}

fn leg(number: u32, ended: i64) -> EndedLeg {
    EndedLeg {
        ended: jiff::Timestamp::from_microsecond(ended).unwrap(),
        call: ShortFingerprint::from(&Token::from(format!("call {}", number % 7))),
        never_seen: number.is_multiple_of(3),
        answered: number.is_multiple_of(2),
        direction: [Direction::Unknown, Direction::Inbound, Direction::Outbound][number as usize % 3],
    }
}

fn call(number: u32) -> PastCall {
    let answered_by = (!number.is_multiple_of(4)).then(|| Fingerprint::from(&Token::from(format!("leg {number}"))));
    PastCall { sequence: number + 1, answered_by, newest: u64::from(number) * 1_000_003 }
}

/// What is new of things with these numbers, of which everything happened at `time`.
fn new(numbers: std::ops::Range<u32>, time: i64) -> New {
    New {
        ids: numbers.clone().map(|number| key(Kind::Id, number)).collect(),
        legs: numbers.clone().map(|number| (key(Kind::Leg, number), leg(number, time))).collect(),
        calls: numbers.map(|number| (key(Kind::Call, number), call(number))).collect(),
        times: (time, time),
    }
}

fn open(folder: Arc<dyn Folder>, named: &[u64]) -> Generations {
    Generations::open(folder, options(), named, BEGIN).unwrap()
}

/// Takes drafts over, as if a checkpoint had named them.
fn adopt(generations: &Generations, drafts: Vec<Draft>, now: i64) {
    generations.adopt(generations.next(drafts, now)).unwrap();
}

/// Generations of 500, 300 and 40 things, numbered from 0.
fn three() -> (SimulatedDisk, Generations) {
    let disk = SimulatedDisk::new(1);
    let generations = open(disk.folder(), &[]);
    for numbers in [0..500, 500..800, 800..840] {
        let draft = generations.write(new(numbers, BEGIN)).unwrap();
        adopt(&generations, vec![draft], BEGIN);
    }
    (disk, generations)
}
