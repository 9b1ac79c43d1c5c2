//! However the copies of a call's notifications arrive, the events are the same.

use std::collections::BTreeSet;

use super::*;
use crate::protocol::backoff::Dice;

/// Every leg of one call, each with its notifications in their order.
fn call() -> Vec<Vec<Part>> {
    vec![
        vec![created("A", 0), confirmed("A", 5), retract("A")],
        vec![requested("B", 1), retract("B")],
        vec![requested("C", 1), confirmed("C", 5), confirmed("C", 6), retract("C")],
    ]
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a roll is 0 up to 1")]
fn below(most: u32, dice: &mut Dice) -> usize {
    (dice.roll() * f64::from(most)) as usize
}

/// Merges in random order, keeping the order within each, with some parts twice in a row.
fn shuffled(mut legs: Vec<Vec<Part>>, dice: &mut Dice) -> Vec<Part> {
    let mut merged = Vec::new();
    for leg in &mut legs {
        leg.reverse();
    }
    while legs.iter().any(|leg| !leg.is_empty()) {
        let leg = below(3, dice);
        let Some(part) = legs[leg].pop() else { continue };
        if dice.roll() < 0.2 {
            merged.push(part.clone());
        }
        merged.push(part);
    }
    merged
}

#[test]
fn any_interleaving_over_two_accounts_gives_the_same_events_once_each_in_dense_sequence() {
    let mut all = BTreeSet::new();
    for seed in 0..500 {
        let mut dice = Dice::seeded(seed);
        let mut accounts = [shuffled(call(), &mut dice), shuffled(call(), &mut dice)];
        for parts in &mut accounts {
            parts.reverse();
        }
        let mut store = Store::default();
        let mut events = Vec::new();
        while accounts.iter().any(|parts| !parts.is_empty()) {
            let mut batch = Vec::new();
            for _ in 0..=below(4, &mut dice) {
                let account = usize::from(dice.roll() < 0.5);
                if let Some(part) = accounts[account].pop() {
                    let note = Notification { parts: vec![part], ..Notification::default() };
                    batch.push((["front", "back"][account], "active-calls", 10, note));
                }
            }
            events.extend(store.batch(&batch));
        }
        let ids: BTreeSet<_> = events.iter().map(|event| event.id.clone()).collect();
        assert_eq!(ids.len(), events.len(), "seed {seed}: once each");
        let ended = events.iter().filter(|event| event.r#type == EventType::CallEnded).count();
        assert_eq!(ended, 3, "seed {seed}: one end per leg");
        let sequences: Vec<_> = events.iter().map(|event| event.sequence.clone()).collect();
        let dense: Vec<_> = (1..=events.len()).map(|n| format!("{n:010}")).collect();
        assert_eq!(sequences, dense, "seed {seed}");
        all.insert(ids);
    }
    assert_eq!(all.len(), 1, "the same set of ids whatever the order");
}
