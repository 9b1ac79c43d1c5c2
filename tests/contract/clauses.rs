//! The clauses of the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use onsip_router::sinks::{Failure, Parcel, Sink};
use serde_json::Value;
use tokio::time::timeout;

use super::parcels::{parcel, parcels};
use super::peer::{Machine, Peer, id, options};
use crate::support::condition;

/// How long a delivery to a healthy peer may take on a crowded machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a caller waits for a peer that hangs.
const IMPATIENCE: Duration = Duration::from_secs(2);

pub async fn acknowledged_is_there<P: Peer>() {
    let mut peer = P::start().await;
    let mut sink = options(&peer.settings()).open();
    assert_eq!(sink.deliver(&[]).await, []);
    let parcels = parcels(0, 500);
    for batch in parcels.chunks(sink.batch()) {
        let answers = timeout(PATIENCE, sink.deliver(batch)).await.expect("a healthy peer answers");
        assert_eq!(answers, vec![Ok(()); batch.len()]);
    }
    let held = peer.events().await;
    assert_eq!(held.len(), parcels.len(), "every event once");
    assert_whole_and_in_order(&held, &parcels);
}

pub async fn dead_peer<P: Peer>() {
    let mut peer = P::start().await;
    let mut sink = options(&peer.settings()).open();
    deliver_all(sink.as_mut(), &parcels(0, 10)).await;
    peer.server().kill().await;
    let answers = timeout(PATIENCE, sink.deliver(&parcels(10, 10))).await.expect("a refused connection is an answer");
    assert_eq!(answers.len(), 10);
    for answer in &answers {
        assert!(matches!(answer, Err(Failure::Retry { .. })), "{answer:?}");
    }
    peer.start_again().await;
    deliver_all(sink.as_mut(), &parcels(10, 10)).await;
    assert_whole_and_in_order(&peer.events().await, &parcels(0, 20));
}

pub async fn hanging_peer<P: Peer>() {
    let mut peer = P::start().await;
    let options = options(&peer.settings());
    let mut sink = options.open();
    deliver_all(sink.as_mut(), &parcels(0, 10)).await;
    peer.server().freeze();
    let answers = timeout(IMPATIENCE, sink.deliver(&parcels(10, 10))).await.unwrap_or_default();
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    let left = tokio::task::spawn_blocking(move || drop(sink));
    timeout(PATIENCE, left).await.expect("a sink can be left at any time").expect("it does not panic");
    peer.server().thaw();
    deliver_all(options.open().as_mut(), &parcels(10, 10)).await;
    assert_whole_and_in_order(&peer.events().await, &parcels(0, 20));
}

pub async fn killed_peer<P: Peer>() {
    let mut peer = P::start().await;
    let options = options(&peer.settings());
    let all = parcels(0, 4_000);
    let mut sink = options.open();
    deliver_all(sink.as_mut(), &all[..10]).await;
    let mut rest = all[10..].to_vec();
    for round in 0..3 {
        let (mut tried, mut waiting) = (sink, std::mem::take(&mut rest));
        let delivering = tokio::spawn(async move {
            while !waiting.is_empty() {
                let before = waiting.len();
                let _ = timeout(PATIENCE, step(tried.as_mut(), &mut waiting)).await;
                if waiting.len() == before {
                    break; // it is dead
                }
            }
            (tried, waiting)
        });
        tokio::time::sleep(Duration::from_millis(5 + 20 * round)).await; // any moment will do
        peer.server().kill().await;
        let (tried, waiting) = delivering.await.expect("the delivery does not panic");
        peer.start_again().await;
        (sink, rest) = (tried, waiting);
    }
    deliver_all(sink.as_mut(), &rest).await;
    assert_whole_and_in_order(&peer.events().await, &all);
}

pub async fn wrong_secret<P: Peer>() {
    let mut peer = P::start().await;
    let Some((settings, secret)) = peer.wrong_settings() else { return };
    let options = options(&settings);
    assert!(!format!("{options:?}").contains(secret), "Debug shows it");
    let answers = timeout(PATIENCE, options.open().deliver(&parcels(0, 3))).await.expect("a refusal is an answer");
    assert_eq!(answers.len(), 3);
    for answer in answers {
        let reason = answer.expect_err("nothing is acknowledged").to_string();
        assert!(!reason.contains(secret) && !reason.is_empty(), "{reason}");
    }
    assert_eq!(peer.events().await, Vec::<Value>::new());
}

pub async fn indigestible<P: Peer>() {
    let mut peer = P::start().await;
    let Some(bytes) = peer.too_many_bytes() else { return };
    let mut sink = options(&peer.settings()).open();
    let mut batch = parcels(0, 6);
    batch.insert(3, parcel(99, 99, bytes));
    let mut waiting = batch.clone();
    let mut rejected = BTreeSet::new();
    let swallowed = condition::until("all to be taken or rejected", PATIENCE, async || {
        rejected.extend(step(sink.as_mut(), &mut waiting).await);
        waiting.is_empty().then_some(())
    });
    swallowed.await.unwrap();
    assert_eq!(rejected, BTreeSet::from([batch.remove(3).id.to_string()]));
    assert_whole_and_in_order(&peer.events().await, &batch);
}

/// One delivery as the queue does it: what is acknowledged or rejected is gone, the rest waits. Returns the rejected.
async fn step(sink: &mut dyn Sink, waiting: &mut Vec<Parcel>) -> Vec<String> {
    let batch: Vec<_> = waiting.iter().take(sink.batch()).cloned().collect();
    let answers = sink.deliver(&batch).await;
    assert_eq!(answers.len(), batch.len(), "an answer for each");
    let (mut left, mut rejected, mut failed) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (parcel, answer) in batch.iter().zip(answers) {
        match answer {
            Ok(()) => assert!(!failed.contains(&parcel.partition), "{} overtook another of its call", parcel.id),
            Err(Failure::Reject { .. }) => rejected.push(parcel.id.to_string()),
            Err(_) => {
                failed.insert(parcel.partition.clone());
                left.push(parcel.clone());
            }
        }
    }
    waiting.splice(..batch.len(), left);
    rejected
}

async fn deliver_all(sink: &mut dyn Sink, parcels: &[Parcel]) {
    let mut waiting = parcels.to_vec();
    let done = condition::until("all to be delivered", PATIENCE, async || {
        assert_eq!(step(sink, &mut waiting).await, Vec::<String>::new(), "nothing is rejected");
        waiting.is_empty().then_some(())
    });
    done.await.unwrap();
}

/// Every parcel is among the events, unchanged; a repeat is one of the same event; within a call the first copies are in
/// order.
fn assert_whole_and_in_order(events: &[Value], parcels: &[Parcel]) {
    let expected: BTreeMap<String, Value> =
        parcels.iter().map(|parcel| (parcel.id.to_string(), serde_json::from_str(&parcel.body).unwrap())).collect();
    let mut seen = BTreeSet::new();
    let mut newest: BTreeMap<String, String> = BTreeMap::new();
    for event in events {
        let known = expected.get(id(event)).unwrap_or_else(|| panic!("an event nobody sent: {event:#}"));
        assert_eq!(event, known);
        if seen.insert(id(event)) {
            let sequence = event["sequence"].as_str().unwrap().to_owned();
            let before = newest.insert(event["partitionkey"].as_str().unwrap().to_owned(), sequence.clone());
            assert!(before.as_ref().is_none_or(|before| *before < sequence), "out of order: {event:#}");
        }
    }
    let missing: Vec<_> = expected.keys().filter(|id| !seen.contains(id.as_str())).collect();
    assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), expected.len());
}
