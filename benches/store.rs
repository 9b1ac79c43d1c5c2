//! How fast the store is: `cargo bench --bench store` prints events per second.

#![allow(clippy::unwrap_used, reason = "a measurement")]

use std::sync::Arc;
use std::time::Duration;

use onsip_router::domain::identity::Token;
use onsip_router::domain::moment::Moment;
use onsip_router::domain::name::SinkName;
use onsip_router::store::options::Options;
use onsip_router::store::{Commit, CommitEvent, Recall, Settlement, Store};

fn events(name: &str, count: usize) -> Commit {
    let body: Arc<str> = format!(r#"{{"data":"{}"}}"#, "x".repeat(680)).into();
    let event = |n: usize| CommitEvent {
        id: Token::of([name, n.to_string().as_str()]),
        partition: "0123456789abcdef0123456789abcdef".to_owned(),
        received: Moment::now().utc(),
        body: body.clone(),
        owed: vec!["log".parse().unwrap(), "crm".parse().unwrap()],
    };
    Commit { events: (0..count).map(event).collect(), ..Commit::default() }
}

fn say(what: &str, count: usize, took: Duration) {
    let count = u32::try_from(count).unwrap();
    println!("{what}: {:.0}/s, {:?} each", f64::from(count) / took.as_secs_f64(), took / count);
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("router.db").display());
    let store = Store::open(&Options::at(url)).await.unwrap();
    let log: SinkName = "log".parse().unwrap();

    let commits: Vec<_> = (0..200).map(|n| events(&format!("one {n}"), 1)).collect();
    let start = Moment::now();
    for commit in commits {
        store.commit(commit).await.unwrap();
    }
    say("one caller, events one by one", 200, Moment::now().since(start));

    let commits: Vec<_> = (0..100).map(|n| events(&format!("batch {n}"), 128)).collect();
    let start = Moment::now();
    for commit in commits {
        store.commit(commit).await.unwrap();
    }
    say("one caller, events in batches of 128", 12_800, Moment::now().since(start));

    let start = Moment::now();
    let callers = (0..256).map(|caller| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..20 {
                store.commit(events(&format!("caller {caller} {n}"), 1)).await.unwrap();
            }
        })
    });
    futures::future::join_all(callers).await;
    say("256 callers, events one by one", 5120, Moment::now().since(start));

    let start = Moment::now();
    let mut settled = 0;
    while settled < 12_800 {
        let due = store.due(&log, 0, 256).await.unwrap();
        settled += due.len();
        let delivered = due.iter().map(|owed| (owed.position, Settlement::Delivered)).collect();
        store.settle(&log, delivered).await.unwrap();
    }
    say("due and settled in batches of 256", settled, Moment::now().since(start));

    for n in 0..100 {
        store.commit(events(&format!("deep {n}"), 1000)).await.unwrap();
    }
    let start = Moment::now();
    for _ in 0..1000 {
        store.depth(&log).await.unwrap();
    }
    println!("owed: {}", store.depth(&log).await.unwrap().events);
    say("depths", 1001, Moment::now().since(start));
    let after = store.due(&log, 0, 1).await.unwrap()[0].position;
    let start = Moment::now();
    for n in 0..1000 {
        store.due(&log, after + n * 80, 1).await.unwrap();
    }
    say("dues of one", 1000, Moment::now().since(start));
    let ids = events("deep 7", 128).events.into_iter().map(|event| event.id).collect();
    let recall = Recall { events: ids, ..Recall::default() };
    let start = Moment::now();
    for _ in 0..100 {
        assert_eq!(store.recall(recall.clone()).await.unwrap().events.len(), 128);
    }
    say("recalls of 128 ids", 100, Moment::now().since(start));
    let commits: Vec<_> = (0..100).map(|n| events(&format!("late {n}"), 128)).collect();
    let start = Moment::now();
    for commit in commits {
        store.commit(commit).await.unwrap();
    }
    say("with a hundred thousand ids known, events in batches of 128", 12_800, Moment::now().since(start));
    store.close().await.unwrap();
}
