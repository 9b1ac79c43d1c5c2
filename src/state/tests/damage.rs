//! Flipped bits in copies of a database: refused, told, or harmless; never a line that is not what was written.
//!
//! The bits follow from a seed: a fixed one, and one that nobody tried before.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::seed;
use crate::state::{DeadLetter, Loaded};

const FLIPS: usize = 80;

/// A database as it was closed, and what is in it.
struct Original {
    database: Vec<u8>,
    loaded: Loaded,
    letters: Vec<DeadLetter>,
}

impl Original {
    async fn new() -> Self {
        let place = Place::new();
        let state = place.open().await;
        state.checkpoint(checkpoint(50, 0..30)).await.unwrap();
        state.bury(1, (1..30).map(|offset| letter(offset, 0)).collect()).await.unwrap();
        state.write_ledger(entry("front", "/me/a")).await.unwrap();
        let (loaded, letters) = (state.load().await.unwrap(), state.dead(1, 0, 100).await.unwrap());
        state.close().await.unwrap();
        Self { database: place.read(""), loaded, letters }
    }

    /// What becomes of a copy with this content.
    async fn fate(&self, copy: &[u8]) -> Fate {
        let place = Place::new();
        place.write("", copy);
        let state = match State::open(&place.path, false).await {
            Ok(state) => state,
            Err(_) => return Fate::Refused,
        };
        let fate = match self.read(&state).await {
            Ok(true) => Fate::Whole,
            Ok(false) => Fate::Told,
            Err(fault) => {
                println!("{fault}");
                Fate::Told
            }
        };
        state.close().await.ok();
        fate
    }

    /// Whether all is there. What is not is told, and nothing is there that was not written.
    async fn read(&self, state: &State) -> Result<bool, StateError> {
        let mut told = state.faults().await.unwrap_or_else(|fault| vec![fault.to_string()]);
        let loaded = state.load().await?;
        told.extend(loaded.damaged.iter().cloned());
        for leg in &loaded.legs {
            assert!(self.loaded.legs.contains(leg), "{leg:?} was not written");
        }
        for call in &loaded.calls {
            assert!(self.loaded.calls.contains(call), "{call:?} was not written");
        }
        for consumer in &loaded.consumers {
            assert!(self.loaded.consumers.contains(consumer), "{consumer:?} was not written");
        }
        assert_eq!((loaded.store, loaded.offset, loaded.clock), (self.loaded.store, self.loaded.offset, self.loaded.clock));
        for letter in state.dead(1, 0, 100).await? {
            if letter.intact {
                assert!(self.letters.contains(&letter), "{letter:?} was not written");
            } else {
                told.push(format!("{} is not intact", letter.offset));
            }
        }
        let counts = |loaded: &Loaded| {
            let dead = loaded.dead.values().map(Vec::len).sum::<usize>();
            (loaded.legs.len(), loaded.calls.len(), loaded.consumers.len(), dead)
        };
        let is_whole = counts(&loaded) == counts(&self.loaded);
        assert!(is_whole || !told.is_empty(), "{:?} of {:?}, and nothing is told", counts(&loaded), counts(&self.loaded));
        Ok(told.is_empty())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Refused,
    Told,
    Whole,
}

#[tokio::test]
async fn a_flipped_bit_is_refused_or_told_or_touches_nothing() {
    let original = Original::new().await;
    assert_eq!(original.fate(&original.database).await, Fate::Whole);
    let mut fates = Vec::new();
    for seed in seed::fixed_and_fresh([1]) {
        let mut dice = StdRng::seed_from_u64(seed);
        for _ in 0..FLIPS {
            let mut copy = original.database.clone();
            let (byte, bit) = (dice.random_range(0..copy.len()), dice.random_range(0..8));
            println!("bit {bit} of byte {byte}");
            copy[byte] ^= 1 << bit;
            fates.push(original.fate(&copy).await);
        }
    }
    let count = |fate| fates.iter().filter(|found| **found == fate).count();
    let counts = [Fate::Refused, Fate::Told, Fate::Whole].map(count);
    println!("refused, told, harmless: {counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "refused, told, harmless: {counts:?}");
}

/// Replaces a text wherever it lies, also where a page that was divided holds an old copy.
fn replace(database: &[u8], text: &str, by: &[u8]) -> Vec<u8> {
    assert_eq!(text.len(), by.len());
    let mut copy = database.to_vec();
    let found: Vec<_> = (0..copy.len()).filter(|at| copy[*at..].starts_with(text.as_bytes())).collect();
    assert!(!found.is_empty(), "{text} is not there");
    for at in found {
        copy[at..at + by.len()].copy_from_slice(by);
    }
    copy
}

#[tokio::test]
async fn what_is_damaged_is_named_left_out_and_repaired_as_far_as_it_can_be() {
    let original = Original::new().await;
    let database = [
        ("item 7@host", &b"item 7@hosT"[..]),
        ("floor 7", b"floor 9"),
        ("\"no\"", b"\"n\xff\""),
    ];
    let database = database.iter().fold(original.database.clone(), |copy, (text, by)| replace(&copy, text, by));
    let place = Place::new();
    place.write("", &database);
    let state = place.open().await;
    let loaded = state.load().await.unwrap();
    let token = Token::of(["item 7"]);
    let told = [format!("leg {token}: it is not what was written"), "consumer 1 (log): it is not what was written".to_owned()];
    assert_eq!(loaded.damaged, told);
    assert_eq!((loaded.legs.len(), loaded.consumers.len()), (29, 1));
    let letters = state.dead(1, 0, 100).await.unwrap();
    assert!(letters.len() == 29 && letters.iter().all(|letter| !letter.intact));
    assert_eq!(state.take_dead(1, &[3, 4]).await, Ok(vec![]), "a damaged one does not leave");
    assert_eq!(state.faults().await.unwrap().len(), 29 + 2);
    state.close().await.unwrap();

    let state = State::owned(&place.path).await.unwrap();
    let repaired = state.repair().await.unwrap();
    assert_eq!((repaired.done.len(), &repaired.left[..]), (30, &told[1..]), "{repaired:?}");
    assert_eq!(state.faults().await.as_deref(), Ok(&told[1..]));
    let aside = String::from_utf8(place.read(".damaged.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = aside.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines[0]["offset"].as_u64(), lines[0]["consumer"].as_u64()), (29, Some(1), Some(1)));
    assert_eq!(lines[0]["body"].as_str(), Some(&*original.letters[0].body));
    let again = state.repair().await.unwrap();
    assert_eq!((again.done.len(), again.left.len()), (0, 1), "once");
    assert_eq!(state.load().await.unwrap().legs.len(), 29);
}

#[tokio::test]
async fn an_index_that_is_damaged_is_made_anew() {
    let place = Place::new();
    let state = place.open().await;
    state.bury(1, (1..30).map(|offset| letter(offset, 0)).collect()).await.unwrap();
    state.close().await.unwrap();
    // The index lacks a row: the table is right.
    execute_on(
        &place.path,
        "PRAGMA writable_schema = on; \
        UPDATE sqlite_schema SET sql = 'CREATE INDEX dead_by_age ON dead (consumer, died, offset, bytes) WHERE offset > 99' \
            WHERE name = 'dead_by_age'",
    )
    .await;
    execute_on(
        &place.path,
        "REINDEX dead_by_age; PRAGMA writable_schema = on; \
        UPDATE sqlite_schema SET sql = 'CREATE INDEX dead_by_age ON dead (consumer, died, offset, bytes)' \
            WHERE name = 'dead_by_age'",
    )
    .await;
    let state = State::owned(&place.path).await.unwrap();
    assert!(!state.faults().await.unwrap().is_empty());
    let repaired = state.repair().await.unwrap();
    assert!(repaired.done[0].contains("indexes") && repaired.left.is_empty(), "{repaired:?}");
    assert_eq!(state.faults().await, Ok(vec![]));
    assert_eq!(state.dead_count(1).await.unwrap().letters, 29);
}
