//! What goes side by side, what goes one after the other, and what waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::time::timeout;

use super::{event, reject, retry, sink};
use crate::parcels::parcels;
use crate::support::condition::SOON;
use crate::support::receiver::{Answer, Received, Receiver, status};

fn anywhere() -> std::net::SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Call and number of the event.
fn which(received: &Received) -> (String, String) {
    let event: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
    (event["partitionkey"].as_str().unwrap().to_owned(), event["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn events_of_different_calls_go_side_by_side() {
    let all_there = Arc::new(Barrier::new(4));
    let receiver = Receiver::start_at(anywhere(), move |_| {
        let all_there = Arc::clone(&all_there);
        async move {
            all_there.wait().await;
            status(200)
        }
    });
    let mut sink = sink(&format!("url = 'http://{}/'\nconcurrency = 4", receiver.address()));
    let events: Vec<_> = (0..8).map(|call| event(call, call)).collect();
    let answers = timeout(SOON, sink.deliver(&events)).await.expect("four are under way at once");
    assert_eq!(answers, vec![Ok(()); 8]);
}

#[tokio::test]
async fn no_more_posts_are_under_way_than_allowed_and_none_two_of_one_call() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (Arc::clone(&now), Arc::clone(&most));
    let receiver = Receiver::start_at(anywhere(), move |_| {
        let (now, most) = counted.clone();
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            status(200)
        }
    });
    let mut narrow = sink(&format!("url = 'http://{}/'\nconcurrency = 2", receiver.address()));
    assert_eq!(narrow.deliver(&parcels(0, 70)).await, vec![Ok(()); 70]);
    assert!(most.load(Ordering::SeqCst) <= 2);
    most.store(0, Ordering::SeqCst);
    let mut wide = sink(&format!("url = 'http://{}/'\nconcurrency = 8", receiver.address()));
    let one_call: Vec<_> = (0..20).map(|number| event(1, number)).collect();
    assert_eq!(wide.deliver(&one_call).await, vec![Ok(()); 20]);
    assert_eq!(most.load(Ordering::SeqCst), 1);
    let ids: Vec<_> = receiver.received()[70..].iter().map(|post| which(post).1).collect();
    assert_eq!(ids, one_call.iter().map(|parcel| parcel.id.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn after_a_failure_the_rest_of_the_call_waits_unsent_and_other_calls_go_on() {
    let receiver = Receiver::start(|post| status(if which(post).1 == *event(1, 3).id { 500 } else { 200 }));
    let mut sink = sink(&format!("url = 'http://{}/'", receiver.address()));
    let events: Vec<_> = (0..12).map(|number| event(number % 2, number)).collect();
    let answers = sink.deliver(&events).await;
    for (parcel, answer) in events.iter().zip(&answers) {
        if parcel.partition.as_ref() == "call-0" || *parcel.id == *event(1, 1).id {
            assert_eq!(*answer, Ok(()), "{}", parcel.id);
        } else {
            assert!(retry(answer).contains("500 Internal Server Error"));
        }
    }
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for post in receiver.received() {
        *sent.entry(which(&post).0).or_default() += 1;
    }
    assert_eq!(sent, BTreeMap::from([("call-0".to_owned(), 6), ("call-1".to_owned(), 2)]));
}

#[tokio::test]
async fn a_rejected_event_holds_up_its_call_alone() {
    let receiver = Receiver::start(|post| status(if which(post).1 == *event(1, 1).id { 404 } else { 200 }));
    let mut sink = sink(&format!("url = 'http://{}/'", receiver.address()));
    let answers = sink.deliver(&[event(1, 0), event(1, 1), event(1, 2), event(2, 3)]).await;
    assert_eq!((&answers[0], &answers[3]), (&Ok(()), &Ok(())));
    assert!(reject(&answers[1]).contains("404 Not Found"));
    assert!(retry(&answers[2]).contains("404 Not Found"), "it may be tried again, and nothing overtakes it");
}

#[tokio::test]
async fn one_bad_event_of_a_batch_is_found_and_the_others_are_taken_in_order() {
    let bad = event(5, 5).id;
    let receiver = Receiver::start(move |post| {
        let refused = String::from_utf8_lossy(&post.body).contains(&*bad);
        status(if refused { 422 } else { 200 })
    });
    let mut sink = sink(&format!("url = 'http://{}/'\nbatch = 8", receiver.address()));
    let events: Vec<_> = (0..8).map(|number| event(number, number)).collect();
    let answers = sink.deliver(&events).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 7);
    assert!(reject(&answers[5]).contains("422"));
    let taken: Vec<String> = receiver
        .received()
        .iter()
        .map(|post| serde_json::from_slice::<serde_json::Value>(&post.body).unwrap())
        .filter(|batch| batch.as_array().unwrap().iter().all(|one| one["id"] != *event(5, 5).id))
        .flat_map(|batch| batch.as_array().unwrap().clone())
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(taken, [0, 1, 2, 3, 4, 6, 7].map(|number| event(number, number).id.to_string()));
}

#[tokio::test]
async fn a_batch_that_fails_fails_as_a_whole() {
    let receiver = Receiver::start(|_| status(500));
    let mut sink = sink(&format!("url = 'http://{}/'\nbatch = 8\nconcurrency = 1", receiver.address()));
    let events: Vec<_> = (0..20).map(|number| event(number, number)).collect();
    for answer in sink.deliver(&events).await {
        retry(&answer);
    }
    assert_eq!(receiver.received().len(), 1, "what was to follow was not sent");
}

#[tokio::test]
async fn whoever_asks_for_less_is_not_asked_again_at_once() {
    for (code, asked) in [(429, "7"), (503, "120")] {
        let wait = Duration::from_secs(asked.parse().unwrap());
        let receiver =
            Receiver::start(move |_| Answer { headers: vec![("Retry-After", asked.to_owned())], ..status(code) });
        let mut sink = sink(&format!("url = 'http://{}/'\nconcurrency = 1", receiver.address()));
        let events: Vec<_> = (0..20).map(|number| event(number, number)).collect();
        for answer in sink.deliver(&events).await {
            let Err(onsip_router::sinks::Failure::Retry { after, .. }) = answer else { panic!("{answer:?}") };
            assert_eq!(after, Some(wait));
        }
        assert_eq!(receiver.received().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_caller_who_stops_waiting_finds_a_fresh_connection() {
    let (gate, calls) = (Arc::new(Barrier::new(2)), Arc::new(AtomicUsize::new(0)));
    let (closed, counted) = (Arc::clone(&gate), Arc::clone(&calls));
    let receiver = Receiver::start_at(anywhere(), move |_| {
        let (closed, first) = (Arc::clone(&closed), counted.fetch_add(1, Ordering::SeqCst) == 0);
        async move {
            if first {
                closed.wait().await;
                std::future::pending::<()>().await;
            }
            status(200)
        }
    });
    let mut sink = sink(&format!("url = 'http://{}/'", receiver.address()));
    let events = [event(1, 0), event(1, 1)];
    let abandoned = tokio::select! {
        answers = sink.deliver(&events) => answers,
        _ = gate.wait() => Vec::new(),
    };
    assert_eq!(abandoned, []);
    let answers = timeout(SOON, sink.deliver(&events)).await.expect("nothing hangs any more");
    assert_eq!(answers, [Ok(()), Ok(())]);
    let posts = receiver.received();
    assert_ne!(posts[0].from, posts[1].from);
}
