//! What every implementation of the state has to do, and that none of them is told apart by those above.

use std::collections::BTreeMap;

use super::*;
use crate::domain::status::StoreFault;
use crate::state::model::Model;
use crate::state::{Answer, DeadBounds, DeadCount, DeadLetter, Loaded};

/// All implementations, new.
async fn all(place: &Place) -> [State; 2] {
    [place.open().await, Model::of(7)]
}

fn offsets(letters: &[DeadLetter]) -> Vec<u64> {
    assert!(letters.iter().all(|letter| letter.intact));
    letters.iter().map(|letter| letter.offset).collect()
}

#[tokio::test]
async fn a_new_state_is_empty_and_begins_at_the_first_offset() {
    for state in all(&Place::new()).await {
        let loaded = state.load().await.unwrap();
        assert_ne!(loaded.store, 0, "it was drawn");
        assert_eq!(loaded, Loaded { store: loaded.store, offset: 1, ..Loaded::default() });
        assert_eq!((state.ledger().await, state.dead_counts().await), (Ok(vec![]), Ok(BTreeMap::new())));
        assert_eq!((state.waiting(), state.is_closed()), (0, false));
    }
}

#[tokio::test]
async fn what_a_checkpoint_wrote_is_loaded_as_it_was_last_written() {
    for state in all(&Place::new()).await {
        state.checkpoint(checkpoint(10, 0..300)).await.unwrap();
        let ended = (0..290).map(|n| format!("item {n}"));
        let next = Checkpoint {
            legs: vec![leg("item 299", 8).into(), leg("new", 8).into()],
            calls: vec![call("item 299", 9)],
            ended_legs: ended.clone().map(|item| Token::of([item.as_str()])).collect(),
            ended_calls: ended.map(|item| Token::of(["call", item.as_str()])).collect(),
            coverage: vec![coverage("front-desk", false, 20)],
            consumers: vec![consumer(3, "crm", "new"), consumer(1, "log", "floor 9")],
            removed: vec![2],
            generations: vec![4, 20, 5],
            ..checkpoint(20, 0..0)
        };
        state.checkpoint(next.clone()).await.unwrap();
        // Once more is the same.
        state.checkpoint(next).await.unwrap();
        let mut loaded = state.load().await.unwrap();
        assert_eq!((loaded.offset, loaded.clock), (20, Clock { behind: -5, newest: at(0).as_microsecond() }));
        let mut legs: Vec<_> = (290..299).map(|n| leg(&format!("item {n}"), 1)).collect();
        legs.extend([leg("item 299", 8), leg("new", 8)]);
        legs.sort_by(|one, other| one.token.cmp(&other.token));
        assert_eq!(loaded.legs, legs);
        let mut calls: Vec<_> = (290..299).map(|n| call(&format!("item {n}"), 10)).collect();
        calls.push(call("item 299", 9));
        calls.sort_by(|one, other| one.partition.cmp(&other.partition));
        assert_eq!(loaded.calls, calls);
        loaded.coverage.sort_by(|one, other| one.account.cmp(&other.account));
        assert_eq!(loaded.coverage, [coverage("back", false, 7), coverage("front-desk", false, 20)]);
        assert_eq!(loaded.consumers, [consumer(1, "log", "floor 9"), consumer(3, "crm", "new")]);
        assert_eq!((loaded.generations, loaded.damaged), (vec![4, 20, 5], vec![]));

        let older = state.checkpoint(checkpoint(19, 0..1)).await;
        assert!(matches!(older, Err(StateError::Refused(_))), "a checkpoint goes back: {older:?}");
        assert_eq!(state.load().await.unwrap().legs.len(), 11, "nothing of it was written");
    }
}

#[tokio::test]
async fn an_open_line_reaches_as_far_as_the_account_was_heard() {
    for state in all(&Place::new()).await {
        let lines = vec![
            coverage("anna", true, 10),
            coverage("bert", true, 10),
            coverage("carl", false, 10),
            coverage("dora", true, 90),
        ];
        state.checkpoint(Checkpoint { coverage: lines, ..checkpoint(2, 0..0) }).await.unwrap();
        let heard = |heard: &[(&str, i64)]| heard.iter().map(|(name, until)| (account(name), at(*until))).collect();
        let first = heard(&[("anna", 30), ("bert", 5), ("carl", 30), ("dora", 30), ("nobody", 30), ("emil", 70)]);
        state.hear(first, at(40)).await.unwrap();
        let lines = async || {
            let mut lines = state.load().await.unwrap().coverage;
            lines.sort_by(|one, other| one.account.cmp(&other.account));
            lines
        };
        let open = |name, until| coverage(name, true, until);
        // What lies ahead of the clock is of before it was set back.
        let known = [open("anna", 30), open("bert", 10), coverage("carl", false, 10), open("dora", 40)];
        assert_eq!(lines().await, known);
        state.hear(heard(&[("anna", 25), ("bert", 41), ("emil", 45)]), at(50)).await.unwrap();
        assert_eq!(lines().await, [open("anna", 30), open("bert", 41), known[2].clone(), known[3].clone()]);
        let loaded = state.load().await.unwrap();
        assert_eq!(loaded.heard[&account("emil")], at(45), "it lay ahead");
        assert_eq!(loaded.heard[&account("anna")], at(30), "it does not go back");

        // An account that is not covered any more is not heard either, whatever it was.
        let closed = vec![coverage("anna", false, 60), coverage("carl", false, 10)];
        state.checkpoint(Checkpoint { coverage: closed, ..checkpoint(3, 0..0) }).await.unwrap();
        let loaded = state.load().await.unwrap();
        let left: Vec<_> = loaded.heard.keys().map(AccountName::as_str).collect();
        assert_eq!(left, ["bert", "dora", "emil", "nobody"]);
        assert_eq!(lines().await[0], coverage("anna", false, 60));
    }
}

#[tokio::test]
async fn the_ledger_holds_one_line_per_subscription() {
    for state in all(&Place::new()).await {
        let older = LedgerEntry { subid: None, lease_until: None, assigned: false, ..entry("front", "/me/a") };
        for line in [older, entry("back", "/me/a"), entry("front", "/me/a"), entry("front", "/me/b")] {
            state.write_ledger(line).await.unwrap();
        }
        let all = vec![entry("back", "/me/a"), entry("front", "/me/a"), entry("front", "/me/b")];
        assert_eq!(state.ledger().await, Ok(all.clone()));
        assert_eq!(state.ledger_of(&account("front")).await, Ok(all[1..].to_vec()));
        let forget = async |jid| state.forget_ledger(&account("front"), "active-calls", &"/me/a".into(), jid).await;
        forget("another").await.unwrap();
        assert_eq!(state.ledger().await.unwrap().len(), 3);
        forget("a@b/c").await.unwrap();
        assert_eq!(state.ledger().await, Ok(vec![all[0].clone(), all[2].clone()]));
    }
}

#[tokio::test]
async fn dead_letters_are_kept_once_until_they_are_taken_or_removed() {
    for state in all(&Place::new()).await {
        let many: Vec<_> = [5, 1, 9, 3].map(|offset| letter(offset, 10)).into();
        assert_eq!(state.bury(1, many.clone()).await, Ok(4));
        let other = NewDead { reason: "later".to_owned(), ..letter(5, 99) };
        assert_eq!(state.bury(1, vec![other, letter(12, 10)]).await, Ok(1), "one that is there stays as it is");
        assert_eq!(state.bury(2, vec![letter(5, 10)]).await, Ok(1), "another consumer has its own");
        assert_eq!(state.bury(2, vec![]).await, Ok(0));

        let letters = state.dead(1, 0, 100).await.unwrap();
        assert_eq!(offsets(&letters), [1, 3, 5, 9, 12]);
        let NewDead { offset, attempts, received, died, reason, id, partition, body } = letter(5, 10);
        let five = DeadLetter { offset, attempts, received, died, reason, id, partition, body, intact: true };
        assert_eq!(letters[2], five);
        assert_eq!(offsets(&state.dead(1, 3, 2).await.unwrap()), [5, 9]);
        assert_eq!(offsets(&state.latest_dead(1, 2).await.unwrap()), [12, 9]);
        assert_eq!(offsets(&state.dead_at(1, &[9, 2, 1, 9]).await.unwrap()), [1, 9]);
        let bytes = many.iter().chain([&letter(12, 10)]).map(|letter| letter.body.len() as u64).sum();
        assert_eq!(state.dead_count(1).await, Ok(DeadCount { letters: 5, bytes }));
        assert_eq!(state.dead_count(9).await, Ok(DeadCount::default()));
        assert_eq!(state.load().await.unwrap().dead, BTreeMap::from([(1, vec![1, 3, 5, 9, 12]), (2, vec![5])]));

        assert_eq!(offsets(&state.take_dead(1, &[5, 6, 1]).await.unwrap()), [1, 5]);
        assert_eq!(state.take_dead(1, &[5]).await, Ok(vec![]), "they are gone");
        assert_eq!(state.remove_dead(1, &[9, 7]).await, Ok(1));
        assert_eq!(offsets(&state.dead(1, 0, 100).await.unwrap()), [3, 12]);
        assert_eq!(offsets(&state.dead(2, 0, 100).await.unwrap()), [5]);
        // With the consumer go its letters.
        state.checkpoint(Checkpoint { removed: vec![1], ..checkpoint(30, 0..0) }).await.unwrap();
        assert_eq!(state.dead_counts().await.unwrap().into_keys().collect::<Vec<_>>(), [2]);
    }
}

#[tokio::test]
async fn the_oldest_dead_letters_go_first_and_no_more_of_them_than_must() {
    for state in all(&Place::new()).await {
        // They die in another order than they came.
        let many = (1..=1200).map(|offset| letter(offset, 5000 - i64::try_from(offset).unwrap())).collect();
        state.bury(1, many).await.unwrap();
        state.bury(2, vec![letter(1, 0)]).await.unwrap();
        let count = async || state.dead_count(1).await.unwrap();
        let everything = DeadBounds { bytes: u64::MAX, died: at(0) };
        assert_eq!(state.trim_dead(1, everything).await, Ok(0));
        assert_eq!(state.trim_dead(1, DeadBounds { died: at(4000), ..everything }).await, Ok(200), "by age");
        assert_eq!(count().await.letters, 1000);
        assert_eq!(offsets(&state.latest_dead(1, 1).await.unwrap()), [1000]);
        let bytes = count().await.bytes;
        let exactly = DeadBounds { bytes, died: at(4000) };
        assert_eq!(state.trim_dead(1, exactly).await, Ok(0));
        assert_eq!(state.trim_dead(1, DeadBounds { bytes: bytes - 1, ..exactly }).await, Ok(1));
        let tenth = DeadBounds { bytes: bytes / 10, ..exactly };
        assert!(state.trim_dead(1, tenth).await.unwrap() > 512, "in more than one step");
        let left = count().await;
        let largest = letter(1000, 0).body.len() as u64;
        assert!(left.bytes <= bytes / 10 && left.bytes + largest > bytes / 10, "{left:?} of {bytes}");
        assert_eq!(offsets(&state.dead(1, 0, 1).await.unwrap()), [1], "the newest of death is left");
        assert_eq!(state.trim_dead(1, DeadBounds { bytes: 0, ..exactly }).await, Ok(left.letters));
        assert_eq!(state.dead_count(2).await.unwrap().letters, 1, "another's are left alone");
    }
}

#[tokio::test]
async fn a_command_is_taken_once_and_answered_to_whom_asked() {
    for state in all(&Place::new()).await {
        assert_eq!(state.take_commands(at(0)).await, Ok(vec![]));
        let numbers = [state.ask("[1]".to_owned(), at(0)).await, state.ask("2".to_owned(), at(1)).await];
        let [first, second] = numbers.map(Result::unwrap);
        assert!(first < second);
        assert_eq!(state.answer_of(first).await, Ok(Answer::Waits));
        let taken = state.take_commands(at(2)).await.unwrap();
        assert_eq!(taken.iter().map(|command| (command.number, &*command.body)).collect::<Vec<_>>(), [
            (first, "[1]"),
            (second, "2")
        ]);
        assert_eq!(state.take_commands(at(3)).await, Ok(vec![]), "once");
        assert_eq!(state.answer_of(first).await, Ok(Answer::Taken));
        assert_eq!(state.withdraw(first).await, Ok(false), "it is being carried out");
        state.finish(first, r#"{"n":3}"#.to_owned(), at(4)).await.unwrap();
        state.finish(first, "4".to_owned(), at(5)).await.unwrap();
        assert_eq!(state.answer_of(first).await, Ok(Answer::Done(r#"{"n":3}"#.to_owned())));
        assert_eq!(state.answer_of(second).await, Ok(Answer::Taken));
        let third = state.ask("3".to_owned(), at(6)).await.unwrap();
        assert_eq!((state.withdraw(third).await, state.answer_of(third).await), (Ok(true), Ok(Answer::Gone)));
        assert_eq!(state.answer_of(999).await, Ok(Answer::Gone));
        assert!(matches!(state.ask("no JSON".to_owned(), at(6)).await, Err(StateError::Refused(_))));

        // A result can be read for an hour; what nobody took for five minutes surprises nobody.
        let late = state.ask("4".to_owned(), at(7)).await.unwrap();
        let hour = 3600;
        assert_eq!(state.take_commands(at(4 + hour)).await, Ok(vec![]));
        assert_eq!(state.answer_of(late).await, Ok(Answer::Gone));
        assert!(matches!(state.answer_of(first).await, Ok(Answer::Done(_))));
        assert_eq!(state.take_commands(at(5 + hour)).await, Ok(vec![]));
        assert_eq!(state.answer_of(first).await, Ok(Answer::Gone));
        assert_eq!(state.answer_of(second).await, Ok(Answer::Taken), "its owner is at it still");
        let after = state.ask("5".to_owned(), at(5 + hour)).await.unwrap();
        assert!(after > late, "a number is never given again");
    }
}

#[tokio::test]
async fn commands_that_nobody_takes_are_bounded() {
    for state in all(&Place::new()).await {
        for n in 0..256 {
            state.ask(n.to_string(), at(0)).await.unwrap();
        }
        assert!(matches!(state.ask("1".to_owned(), at(0)).await, Err(StateError::Refused(_))));
        let mut taken = Vec::new();
        loop {
            let some = state.take_commands(at(1)).await.unwrap();
            assert!(some.len() <= 16);
            if some.is_empty() {
                break;
            }
            taken.extend(some.into_iter().map(|command| command.body));
        }
        assert_eq!(taken, (0..256).map(|n: i32| n.to_string()).collect::<Vec<_>>());
    }
}

/// Everything that can be asked of a state, and what it fails with.
async fn asked(state: &State) -> Vec<(&'static str, Option<StateError>)> {
    let nowhere = Path::new("/nowhere/copy.db");
    let name = account("front");
    let bounds = DeadBounds { bytes: 0, died: at(0) };
    vec![
        ("checkpoint", state.checkpoint(checkpoint(99, 0..1)).await.err()),
        ("hear", state.hear(vec![(name.clone(), at(0))], at(0)).await.err()),
        ("write_ledger", state.write_ledger(entry("front", "n")).await.err()),
        ("forget_ledger", state.forget_ledger(&name, "s", &"n".into(), "j").await.err()),
        ("bury", state.bury(1, vec![letter(1, 0)]).await.err()),
        ("take_dead", state.take_dead(1, &[1]).await.err()),
        ("remove_dead", state.remove_dead(1, &[1]).await.err()),
        ("finish", state.finish(1, "1".to_owned(), at(0)).await.err()),
        ("vacuum_into", state.vacuum_into(nowhere).await.err()),
        ("repair", state.repair().await.err()),
        ("ask", state.ask("1".to_owned(), at(0)).await.err()),
        ("withdraw", state.withdraw(99).await.err()),
        ("load", state.load().await.err()),
        ("ledger", state.ledger().await.err()),
        ("ledger_of", state.ledger_of(&name).await.err()),
        ("dead", state.dead(1, 0, 1).await.err()),
        ("latest_dead", state.latest_dead(1, 1).await.err()),
        ("dead_at", state.dead_at(1, &[1]).await.err()),
        ("dead_count", state.dead_count(1).await.err()),
        ("dead_counts", state.dead_counts().await.err()),
        ("trim_dead", state.trim_dead(1, bounds).await.err()),
        ("answer_of", state.answer_of(1).await.err()),
        ("take_commands", state.take_commands(at(0)).await.err()),
        ("faults", state.faults().await.err()),
    ]
}

/// How many of [`asked`] only an owner may ask.
const OWNERS: usize = 10;

fn faults() -> [StateError; 8] {
    [
        StateError::Full("disk".into()),
        StateError::Refused("value".into()),
        StateError::Away { fault: StoreFault::Busy, detail: "locked".into() },
        StateError::Away { fault: StoreFault::Io, detail: "disk".into() },
        StateError::Fenced("term 7".into()),
        StateError::Dead { fault: StoreFault::Sync, detail: "fsync".into() },
        StateError::Moved("router.db".into()),
        StateError::Closed,
    ]
}

#[tokio::test]
async fn the_model_returns_each_error_from_everything_that_can_be_asked() {
    let state = Model::of(7);
    let State::Model(model) = &state else { panic!("it is the model") };
    for fault in faults() {
        model.fail_with(Some(fault.clone()));
        for (what, found) in asked(&state).await {
            assert_eq!(found, Some(fault.clone()), "{what}");
        }
        assert_eq!(state.look().await, Err(fault.clone()));
        if fault.is_final() || fault == StateError::Closed {
            assert_eq!(state.ended().await, fault);
        }
        model.fail_with(None);
        assert_eq!(state.load().await.unwrap().offset, 1, "nothing of it was done");
    }
}

#[tokio::test]
async fn a_state_that_is_closed_or_dead_says_so_to_everybody() {
    for fault in [StateError::Closed, StateError::Dead { fault: StoreFault::Sync, detail: "fsync".into() }] {
        let place = Place::new();
        let state = place.open().await;
        if fault == StateError::Closed {
            state.close().await.unwrap();
        } else {
            let dies = fault.clone();
            let work = async move |_: &mut SqliteConnection| Err::<(), _>(dies.clone());
            assert_eq!(sqlite(&state).write(work).await, Err(fault.clone()));
        }
        assert_eq!(state.ended().await, fault);
        for (what, found) in asked(&state).await {
            assert_eq!(found, Some(fault.clone()), "{what}");
        }
        assert_eq!(state.close().await, Err(fault.clone()));
        assert_eq!(state.is_closed(), fault == StateError::Closed);
    }
}

#[tokio::test]
async fn beside_the_owner_everything_can_be_read_and_nothing_written_but_commands() {
    let place = Place::new();
    let owner = place.open().await;
    owner.checkpoint(checkpoint(3, 0..4)).await.unwrap();
    owner.bury(1, vec![letter(1, 0)]).await.unwrap();
    assert!(State::has_owner(&place.path));
    let beside = State::beside(&place.path).await.unwrap();
    let found = asked(&beside).await;
    for (what, found) in &found[..OWNERS] {
        assert!(matches!(found, Some(StateError::Fenced(_))), "{what}: {found:?}");
    }
    let (fenced, free) = (["trim_dead", "take_commands"], &found[OWNERS..]);
    for (what, found) in free {
        let expected = fenced.contains(what);
        assert_eq!(matches!(found, Some(StateError::Fenced(_))), expected, "{what}: {found:?}");
        assert_eq!(found.is_some(), expected, "{what}");
    }
    assert_eq!(beside.load().await, owner.load().await);
    assert_eq!(owner.take_commands(at(0)).await.unwrap().len(), 1);
    beside.close().await.unwrap();
    assert_eq!(owner.dead_count(1).await.unwrap().letters, 1);
}
