//! Whatever is done in whatever order: the database agrees with the model.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::domain::name::NodeName;
use crate::seed;
use crate::state::DeadBounds;
use crate::state::model::Model;

#[tokio::test]
async fn however_it_is_used_it_holds_what_the_model_holds() {
    for seed in seed::fixed_and_fresh([1]) {
        agrees(&mut StdRng::seed_from_u64(seed)).await;
    }
}

async fn agrees(dice: &mut StdRng) {
    let place = Place::new();
    let mut state = place.open().await;
    let store = state.load().await.unwrap().store;
    let model = Model::of(store);
    let mut offset = 1;
    for round in 0..120_i64 {
        let mut name = || ["anna", "bert", "carl", "dora"][dice.random_range(0..4)];
        let (one, other) = (name(), name());
        let (some, limit, consumer_number) = (dice.random_range(1..40), dice.random_range(1..30), dice.random_range(1..4));
        let any: Vec<u64> = (0..some).map(|_| dice.random_range(1..60)).collect();
        match dice.random_range(0..10) {
            0 | 1 => {
                offset += dice.random_range(0..5);
                let item = |n: &u64| format!("item {n}");
                let (gone, kept) = any.split_at(any.len() / 2);
                let written = Checkpoint {
                    offset,
                    clock: Clock { behind: round, newest: at(round).as_microsecond() },
                    legs: kept.iter().map(|n| leg(&item(n), round).into()).collect::<Vec<_>>(),
                    calls: kept.iter().map(|n| call(&item(n), *n)).collect(),
                    ended_legs: gone.iter().map(|n| Token::of([item(n).as_str()])).collect(),
                    ended_calls: gone.iter().map(|n| Token::of(["call", item(n).as_str()])).collect(),
                    coverage: vec![coverage(one, dice.random_bool(0.6), round)],
                    consumers: vec![consumer(consumer_number, &format!("sink-{consumer_number}"), &item(&any[0]))],
                    removed: if dice.random_bool(0.1) { vec![1 + consumer_number % 3] } else { vec![] },
                    generations: (0..offset.min(16)).collect(),
                };
                assert_eq!(state.checkpoint(written.clone()).await, model.checkpoint(written).await);
            }
            2 => {
                let heard = vec![(account(one), at(round + 5 - i64::from(some > 30) * 9))];
                assert_eq!(state.hear(heard.clone(), at(round)).await, model.hear(heard, at(round)).await);
            }
            3 => {
                let line = entry(one, other);
                assert_eq!(state.write_ledger(line.clone()).await, model.write_ledger(line).await);
                let (name, node) = (account(other), one.into());
                let forget = |state: &State| {
                    let (state, name, node) = (state.clone(), name.clone(), NodeName::clone(&node));
                    async move { state.forget_ledger(&name, "active-calls", &node, "a@b/c").await }
                };
                assert_eq!(forget(&state).await, forget(&model).await);
            }
            4 | 5 => {
                let letters: Vec<_> = any.iter().map(|offset| letter(*offset, round)).collect();
                assert_eq!(
                    state.bury(consumer_number, letters.clone()).await,
                    model.bury(consumer_number, letters).await
                );
            }
            6 => assert_eq!(
                state.take_dead(consumer_number, &any).await,
                model.take_dead(consumer_number, &any).await
            ),
            7 => {
                let bounds = DeadBounds { bytes: some * 700, died: at(round - limit) };
                assert_eq!(
                    state.trim_dead(consumer_number, bounds).await,
                    model.trim_dead(consumer_number, bounds).await
                );
            }
            8 => {
                let number = state.ask(round.to_string(), at(round)).await.unwrap();
                assert_eq!(model.ask(round.to_string(), at(round)).await, Ok(number));
                assert_eq!(state.take_commands(at(round)).await, model.take_commands(at(round)).await);
                let done = (round.to_string(), at(round));
                if dice.random_bool(0.5) {
                    state.finish(number, done.0.clone(), done.1).await.unwrap();
                    model.finish(number, done.0, done.1).await.unwrap();
                }
                assert_eq!(state.answer_of(number).await, model.answer_of(number).await);
            }
            _ => {
                state.close().await.unwrap();
                state = place.open().await;
                let State::Model(model) = &model else { panic!("it is the model") };
                model.opened_again();
            }
        }
        assert_eq!(state.load().await, model.load().await, "round {round}");
        assert_eq!(state.ledger().await, model.ledger().await);
        assert_eq!(state.dead_counts().await, model.dead_counts().await);
        let (after, limit) = (any[0], usize::try_from(limit).unwrap());
        assert_eq!(
            state.dead(consumer_number, after, limit).await,
            model.dead(consumer_number, after, limit).await
        );
    }
    assert_eq!(state.faults().await, Ok(vec![]));
}
