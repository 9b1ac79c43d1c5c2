//! Commands beside the owner, from one process to the other.

use super::*;
use crate::state::{Answer, Command};

#[tokio::test]
async fn what_an_owner_took_and_did_not_finish_is_taken_by_the_next() {
    let place = Place::new();
    let owner = place.open().await;
    let beside = State::beside(&place.path).await.unwrap();
    let mut numbers = Vec::new();
    for body in ["1", "2", "3"] {
        numbers.push(beside.ask(body.to_owned(), at(0)).await.unwrap());
    }
    let bodies = |commands: Vec<Command>| commands.into_iter().map(|command| command.body).collect::<Vec<_>>();
    assert_eq!(bodies(owner.take_commands(at(1)).await.unwrap()), ["1", "2", "3"]);
    owner.finish(numbers[1], "true".to_owned(), at(2)).await.unwrap();
    // It dies.
    let killed = place.killed();
    let next = killed.open().await;
    assert_eq!(bodies(next.take_commands(at(3)).await.unwrap()), ["1", "3"]);
    assert_eq!(next.take_commands(at(4)).await, Ok(vec![]));
    assert_eq!(next.answer_of(numbers[1]).await, Ok(Answer::Done("true".to_owned())));
    // It stops, and the next one comes too late for anybody to wait for it.
    next.close().await.unwrap();
    let late = killed.open().await;
    assert_eq!(late.take_commands(at(301)).await, Ok(vec![]));
    assert_eq!(late.answer_of(numbers[0]).await, Ok(Answer::Gone));
}

#[tokio::test]
async fn whoever_asks_sees_the_answer_and_the_owner_sees_the_question() {
    let place = Place::new();
    let owner = place.open().await;
    let beside = State::beside(&place.path).await.unwrap();
    for round in 0..20 {
        let number = beside.ask(format!("[{round}]"), at(round)).await.unwrap();
        let taken = owner.take_commands(at(round)).await.unwrap();
        assert_eq!(taken, [Command { number, body: format!("[{round}]") }]);
        owner.finish(number, format!("{{\"of\":{round}}}"), at(round)).await.unwrap();
        assert_eq!(beside.answer_of(number).await, Ok(Answer::Done(format!("{{\"of\":{round}}}"))));
    }
}

#[tokio::test]
async fn many_may_ask_at_once_while_the_owner_writes() {
    let place = Place::new();
    let owner = place.open().await;
    let mut askers = Vec::new();
    for asker in 0..4 {
        let beside = State::beside(&place.path).await.unwrap();
        askers.push(tokio::spawn(async move {
            let mut numbers = Vec::new();
            for round in 0..10 {
                numbers.push(beside.ask(format!("[{asker},{round}]"), at(0)).await.unwrap());
            }
            numbers
        }));
    }
    for offset in 1..=40 {
        owner.bury(1, vec![letter(offset, 0)]).await.unwrap();
    }
    let mut numbers = Vec::new();
    for asker in askers {
        numbers.extend(asker.await.unwrap());
    }
    numbers.sort_unstable();
    let mut taken = Vec::new();
    while taken.len() < 40 {
        taken.extend(owner.take_commands(at(1)).await.unwrap().into_iter().map(|command| command.number));
    }
    assert_eq!(taken, numbers);
    assert_eq!(owner.faults().await, Ok(vec![]));
}
