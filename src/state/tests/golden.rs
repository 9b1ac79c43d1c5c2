//! A database of each format that was ever released, which no test writes: what this program must be able to read.
//!
//! Each was made once, by the program of its time. One that is there is never made again.

use std::collections::BTreeMap;

use super::*;
use crate::state::{Answer, Command};

/// The schema as of `0001_state.sql`.
const FIRST: &[u8] = include_bytes!("../../../tests/golden/state-1.sqlite");
const FIRST_STORE: u128 = 0x8a5f_d719_d8aa_1875_c56b_71e0_73f3_da5a;

#[tokio::test]
async fn a_state_of_the_first_format_is_read_as_it_was_written() {
    let place = Place::new();
    place.write("", FIRST);
    let beside = State::beside(&place.path).await.unwrap();
    assert_eq!(beside.load().await.unwrap().store, FIRST_STORE);
    drop(beside);
    assert!(place.read("") == FIRST, "who only looks migrates nothing");

    let state = State::open(&place.path, false).await.unwrap();
    assert_eq!(state.faults().await, Ok(vec![]));
    let loaded = state.load().await.unwrap();
    assert_eq!((loaded.store, loaded.offset), (FIRST_STORE, 10));
    assert_eq!(loaded.clock, Clock { behind: -5, newest: at(0).as_microsecond() });
    let mut legs: Vec<_> = (0..5).map(|n| leg(&format!("item {n}"), 1)).collect();
    legs.sort_by(|one, other| one.token.cmp(&other.token));
    let mut calls: Vec<_> = (0..5).map(|n| call(&format!("item {n}"), 10)).collect();
    calls.sort_by(|one, other| one.partition.cmp(&other.partition));
    assert_eq!((loaded.legs, loaded.calls), (legs, calls));
    assert_eq!(loaded.coverage, [coverage("back", false, 7), coverage("front-desk", true, 30)]);
    assert_eq!(loaded.heard, BTreeMap::from([(account("emil"), at(31)), (account("front-desk"), at(30))]));
    assert_eq!(loaded.consumers, [consumer(1, "log", "floor 7"), consumer(2, "crm", "floor 3")]);
    assert_eq!(loaded.generations, [3, 4, 110]);
    assert_eq!(loaded.dead, BTreeMap::from([(1, vec![3, 8]), (2, vec![3])]));
    assert_eq!(loaded.damaged, [""; 0]);

    let letters = state.dead(1, 0, 10).await.unwrap();
    let NewDead { offset, attempts, received, died, reason, id, partition, body } = letter(8, 21);
    let eight = crate::state::DeadLetter { offset, attempts, received, died, reason, id, partition, body, intact: true };
    assert_eq!(letters[1], eight);
    let lines = [LedgerEntry { subid: None, ..entry("back", "/me/b@a") }, entry("front-desk", "/me/front@a")];
    assert_eq!(state.ledger().await.as_deref(), Ok(&lines[..]));
    assert_eq!(state.answer_of(1).await, Ok(Answer::Done("{\"n\":1}".to_owned())));
    assert_eq!(state.take_commands(at(60)).await, Ok(vec![Command { number: 2, body: "[2]".to_owned() }]));
    // It goes on from there.
    state.checkpoint(checkpoint(11, 3..9)).await.unwrap();
    assert_eq!(state.load().await.unwrap().legs.len(), 9);
    assert_eq!(state.faults().await, Ok(vec![]));
}
