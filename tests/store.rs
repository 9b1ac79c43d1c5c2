//! What the store promises: nothing acknowledged is lost, nothing is there twice, nothing of anyone else is touched.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use onsip_router::domain::event::{CallFields, Direction};
use onsip_router::domain::identity::Token;
use onsip_router::domain::leg::{Call, Leg};
use onsip_router::domain::name::SinkName;
use onsip_router::store::options::Options;
use onsip_router::store::{Commit, CommitEvent, Depth, LedgerEntry, OpenError, Recall, Settlement, Store, StoreError};

fn options(folder: &Path) -> Options {
    Options { url: format!("sqlite://{}", folder.join("router.db").display()) }
}

async fn open(folder: &Path) -> Store {
    Store::open(&options(folder)).await.unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + seconds).unwrap()
}

fn sink(name: &str) -> SinkName {
    name.parse().unwrap()
}

fn token(text: &str) -> Token {
    Token::of([text])
}

fn event(id: &str, sinks: &[&str]) -> CommitEvent {
    CommitEvent {
        id: token(id),
        partition: format!("call of {id}"),
        received: at(0),
        body: Arc::from(format!(r#"{{"id":"{id}","text":"a \"quoted\" ü\u0000 line"}}"#)),
        owed: sinks.iter().map(|name| sink(name)).collect(),
    }
}

fn of_events(events: Vec<CommitEvent>) -> Commit {
    Commit { events, ..Commit::default() }
}

fn leg(item: &str, node: &str, ended: Option<Timestamp>) -> Leg {
    Leg {
        token: token(item),
        service: "active-calls".to_owned(),
        node: node.into(),
        item: item.to_owned().into(),
        partition: token("call"),
        first_event: token("first"),
        call: CallFields { call_id: Some("abc@host".to_owned()), ..CallFields::default() },
        direction: Direction::Inbound,
        began: at(0),
        answered: None,
        ended,
        touched: ended.unwrap_or(at(0)),
        account: Some("front".parse().unwrap()),
        collection: Some("/me/front@a".into()),
    }
}

fn call(name: &str, sequence: u64) -> Call {
    Call { partition: token(name), sequence, answered_by: Some(token("leg")) }
}

#[tokio::test]
async fn what_was_committed_is_due_in_order_until_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let events = vec![event("one", &["log", "crm"]), event("two", &["crm"]), event("three", &["log"])];
    assert_eq!(store.commit(of_events(events.clone())).await, Ok(vec![true, true, true]));
    assert_eq!(store.sinks().await, Ok(vec![sink("crm"), sink("log")]));

    let due = store.due(&sink("log"), 0, 10).await.unwrap();
    assert_eq!(due.iter().map(|owed| &owed.id).collect::<Vec<_>>(), [&events[0].id, &events[2].id]);
    assert_eq!((&due[0].body, &due[0].partition, due[0].received), (&events[0].body, &events[0].partition, at(0)));
    assert_eq!(store.due(&sink("log"), due[0].position, 10).await.unwrap()[0].id, events[2].id);
    assert_eq!(store.due(&sink("log"), 0, 1).await.unwrap().len(), 1);
    assert_eq!(store.depth(&sink("log")).await, Ok(Depth { events: 2, oldest: Some(at(0)), dead: 0 }));

    store.settle(&sink("log"), vec![(due[0].position, Settlement::Delivered)]).await.unwrap();
    let due = store.due(&sink("log"), 0, 10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(store.due(&sink("crm"), 0, 10).await.unwrap().len(), 2, "the other sink is still owed both");
    store.settle(&sink("log"), vec![(due[0].position, Settlement::Delivered)]).await.unwrap();
    assert_eq!(store.depth(&sink("log")).await, Ok(Depth::default()));
    assert_eq!(store.sinks().await, Ok(vec![sink("crm")]));
}

#[tokio::test]
async fn a_repeated_id_creates_nothing_owed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let twice = vec![event("a", &["log"]), event("a", &["log"]), event("b", &["log"])];
    assert_eq!(store.commit(of_events(twice)).await, Ok(vec![true, false, true]));
    assert_eq!(store.commit(of_events(vec![event("b", &["log"]), event("c", &[])])).await, Ok(vec![false, true]));
    let due = store.due(&sink("log"), 0, 10).await.unwrap();
    assert_eq!(due.len(), 2);
    store.settle(&sink("log"), due.iter().map(|owed| (owed.position, Settlement::Delivered)).collect()).await.unwrap();
    assert_eq!(store.commit(of_events(vec![event("a", &["log"])])).await, Ok(vec![false]), "also after its delivery");
    let asked = Recall { events: vec![token("a"), token("c"), token("never")], ..Recall::default() };
    let mut known = store.recall(asked).await.unwrap().events;
    known.sort();
    let mut expected = vec![token("a"), token("c")];
    expected.sort();
    assert_eq!(known, expected);
}

#[tokio::test]
async fn a_failed_delivery_stays_owed_and_a_dead_one_is_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.commit(of_events(vec![event("a", &["log"]), event("b", &["log"])])).await.unwrap();
    let due = store.due(&sink("log"), 0, 10).await.unwrap();
    assert_eq!((due[0].attempts, due[0].failing_since), (0, None));
    let log = sink("log");
    let retried = || store.settle(&log, vec![(due[0].position, Settlement::Retried)]);
    retried().await.unwrap();
    let first = store.due(&sink("log"), 0, 1).await.unwrap()[0].failing_since;
    assert!(first.is_some());
    retried().await.unwrap();
    let again = &store.due(&sink("log"), 0, 1).await.unwrap()[0];
    assert_eq!((again.attempts, again.failing_since), (2, first));

    let dead = Settlement::Dead { reason: "410 Gone".to_owned() };
    store.settle(&sink("log"), vec![(due[0].position, dead.clone()), (due[1].position, dead.clone())]).await.unwrap();
    store.settle(&sink("log"), vec![(due[0].position, dead), (99, Settlement::Delivered)]).await.unwrap();
    assert_eq!(store.depth(&sink("log")).await, Ok(Depth { events: 0, oldest: None, dead: 2 }));
    assert_eq!(store.depth(&sink("unheard-of")).await, Ok(Depth::default()));
}

#[tokio::test]
async fn legs_and_calls_are_recalled_as_they_were_last_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let legs = vec![leg("one", "/a/x", None), leg("two", "/a/x", Some(at(5))), leg("three", "/a/y", None)];
    let commit = Commit {
        events: vec![event("e", &[])],
        legs,
        calls: vec![call("call", 1), call("other", 7)],
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    let newer = Leg { answered: Some(at(3)), ..leg("one", "/a/x", None) };
    let commit = Commit { legs: vec![newer.clone()], calls: vec![call("call", 2)], ..Commit::default() };
    assert_eq!(store.commit(commit).await, Ok(vec![]));

    let nodes = vec![("active-calls".to_owned(), "/a/x".into()), ("user-agents".to_owned(), "/a/y".into())];
    let asked = Recall { legs: vec![token("one"), token("never")], nodes, ..Recall::default() };
    let recalled = store.recall(asked).await.unwrap();
    assert_eq!(recalled.legs, [newer], "the ended leg of the node is not live, and the live one is there once");
    assert_eq!(recalled.calls, [call("call", 2)]);

    let asked = Recall { legs: vec![token("two")], calls: vec![token("other")], ..Recall::default() };
    let recalled = store.recall(asked).await.unwrap();
    assert_eq!(recalled.legs, [leg("two", "/a/x", Some(at(5)))]);
    assert_eq!(recalled.calls.len(), 2);
}

#[tokio::test]
async fn stale_legs_are_those_of_the_service_and_of_their_state_that_were_not_touched_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let ringing = |item, touched| Leg { touched: at(touched), ..leg(item, "/a/x", None) };
    let answered = |item, touched| Leg { answered: Some(at(0)), ..ringing(item, touched) };
    let legs = vec![
        ringing("a", 1),
        ringing("b", 3),
        answered("c", 2),
        answered("d", 7),
        Leg { service: "voicemail".to_owned(), ..ringing("e", 0) },
        leg("f", "/a/x", Some(at(0))),
    ];
    store.commit(Commit { legs, ..Commit::default() }).await.unwrap();
    let stale = async |ringing, answered, limit| {
        let found = store.stale("active-calls", at(ringing), at(answered), limit).await.unwrap();
        found.iter().map(|leg| leg.item.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(stale(9, 9, 10).await, ["a", "c", "b", "d"], "the longest untouched first");
    assert_eq!(stale(9, 9, 2).await, ["a", "c"]);
    assert_eq!(stale(3, 2, 10).await, ["a"]);
    assert_eq!(stale(0, 9, 10).await, ["c", "d"]);
    assert_eq!(stale(9, 0, 10).await, ["a", "b"]);
    assert_eq!((store.live("active-calls").await, store.live("user-agents").await), (Ok(4), Ok(0)));
}

#[tokio::test]
async fn the_ledger_holds_one_line_per_subscription() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let entry = |account: &str, node: &str| LedgerEntry {
        account: account.parse().unwrap(),
        service: "active-calls".to_owned(),
        node: node.into(),
        jid: "a@b/c".to_owned(),
        subid: None,
        state: "pending".to_owned(),
        lease_until: None,
        renewed: Some(at(1)),
    };
    let newer = LedgerEntry { subid: Some("x1".into()), lease_until: Some(at(9)), ..entry("front", "/me/a") };
    for line in [entry("front", "/me/a"), entry("back", "/me/a"), newer.clone()] {
        store.write_ledger(line).await.unwrap();
    }
    assert_eq!(store.ledger().await, Ok(vec![entry("back", "/me/a"), newer.clone()]));
    assert_eq!(store.ledger_of(&newer.account).await, Ok(vec![newer.clone()]));
    store.forget_ledger(&newer.account, "active-calls", &newer.node, "another").await.unwrap();
    store.forget_ledger(&newer.account, "active-calls", &newer.node, "a@b/c").await.unwrap();
    assert_eq!(store.ledger_of(&newer.account).await, Ok(vec![]));
}

#[tokio::test]
async fn what_is_too_old_is_forgotten_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut late = leg("late", "/a/x", Some(at(100)));
    late.partition = token("late call");
    let calls = vec![call("call", 1), call("late call", 2)];
    let many = (0..1200).map(|n| event(&n.to_string(), &[])).collect();
    let legs = vec![leg("old", "/a/x", Some(at(0))), late.clone()];
    store.commit(Commit { events: many, legs, calls, ..Commit::default() }).await.unwrap();
    store.commit(of_events(vec![CommitEvent { received: at(100), ..event("new", &[]) }])).await.unwrap();
    let everything = || Recall {
        events: (0..1200).map(|n| token(&n.to_string())).chain([token("new")]).collect(),
        legs: vec![token("old"), token("late")],
        calls: vec![token("call"), token("late call")],
        ..Recall::default()
    };
    store.prune(at(50) + Duration::from_hours(24)).await.unwrap();
    let left = store.recall(everything()).await.unwrap();
    assert_eq!((left.events.len(), left.legs, left.calls.len()), (1201, vec![late], 2));
    store.prune(at(101) + Duration::from_hours(7 * 24)).await.unwrap();
    let left = store.recall(everything()).await.unwrap();
    assert_eq!((left.events.len(), left.legs.len(), left.calls.len()), (0, 0, 0));
}

#[tokio::test]
async fn many_callers_at_once_are_all_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let callers: Vec<_> = (0..3000)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(of_events(vec![event(&n.to_string(), &["log"])])).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(vec![true]));
    }
    assert_eq!(store.depth(&sink("log")).await.unwrap().events, 3000);
    assert_eq!(store.waiting(), 0);
}

#[tokio::test]
async fn an_operation_that_cannot_be_written_does_not_sink_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let bad = CommitEvent { body: Arc::from(""), ..event("bad", &["log"]) };
    let (good, bad, other) = tokio::join!(
        store.commit(of_events(vec![event("good", &["log"])])),
        store.commit(of_events(vec![event("half", &["log"]), bad])),
        store.commit(of_events(vec![event("other", &["log"])])),
    );
    assert_eq!((good, other), (Ok(vec![true]), Ok(vec![true])));
    assert!(matches!(bad, Err(StoreError::Refused(_))), "{bad:?}");
    assert_eq!(store.depth(&sink("log")).await.unwrap().events, 2);
    assert_eq!(store.commit(of_events(vec![event("half", &["log"])])).await, Ok(vec![true]));
}

#[tokio::test]
async fn a_database_has_one_owner_until_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let second = Store::open(&options(folder.path())).await;
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
    std::os::unix::fs::symlink(folder.path().join("router.db"), folder.path().join("link.db")).unwrap();
    let link = Options { url: format!("sqlite://{}", folder.path().join("link.db").display()) };
    assert!(matches!(Store::open(&link).await, Err(OpenError::Locked { .. })));

    store.commit(of_events(vec![event("a", &["log"])])).await.unwrap();
    let (late, closed) = tokio::join!(store.commit(of_events(vec![event("b", &["log"])])), store.close());
    assert_eq!((late, closed), (Ok(vec![true]), Ok(())));
    assert_eq!(store.commit(Commit::default()).await, Err(StoreError::Closed));
    assert!(store.due(&sink("log"), 0, 1).await.is_err());
    assert!(!folder.path().join("router.db-wal").exists(), "a closed database is one file");
    let store = open(folder.path()).await;
    assert_eq!(store.depth(&sink("log")).await.unwrap().events, 2);
}

#[tokio::test]
async fn an_operator_may_look_at_dead_letters_revive_and_discard_them_beside_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let absent = Store::beside(&options(folder.path())).await.map(drop);
    assert!(matches!(absent, Err(OpenError::Absent { .. })), "{absent:?}");
    let (store, log) = (open(folder.path()).await, sink("log"));
    store.commit(of_events(vec![event("a", &["log"]), event("b", &["log"]), event("c", &["log"])])).await.unwrap();
    let due = store.due(&log, 0, 10).await.unwrap();
    let dead = due.iter().map(|owed| (owed.position, Settlement::Dead { reason: "410 Gone".to_owned() }));
    store.settle(&log, dead.collect()).await.unwrap();

    let beside = Store::beside(&options(folder.path())).await.unwrap();
    let letters = beside.dead(&log, 0, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| &letter.id).collect::<Vec<_>>(), [&token("a"), &token("b"), &token("c")]);
    assert_eq!((letters[0].attempts, letters[0].reason.as_str(), &letters[0].body), (1, "410 Gone", &due[0].body));
    assert_eq!(beside.revive(&log, vec![letters[1].position, 99]).await, Ok(1));
    assert_eq!(beside.discard(&log, vec![letters[0].position, 99]).await, Ok(1));
    assert_eq!(beside.faults().await, Ok(vec![]));
    beside.close().await.unwrap();

    assert_eq!(store.due(&log, 0, 10).await, Ok(vec![due[1].clone()]));
    assert_eq!(store.depth(&log).await, Ok(Depth { events: 1, oldest: Some(at(0)), dead: 1 }));
    store.settle(&log, vec![(due[1].position, Settlement::Delivered)]).await.unwrap();
    assert_eq!(store.discard(&log, vec![due[2].position]).await, Ok(1));
    assert_eq!(store.depth(&log).await, Ok(Depth::default()));
    assert_eq!(store.faults().await, Ok(vec![]));
}

#[tokio::test]
async fn positions_are_never_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.commit(of_events(vec![event("a", &["log"])])).await.unwrap();
    let first = store.due(&sink("log"), 0, 1).await.unwrap()[0].position;
    store.settle(&sink("log"), vec![(first, Settlement::Delivered)]).await.unwrap();
    store.prune(at(0) + Duration::from_hours(24 * 30)).await.unwrap();
    store.commit(of_events(vec![event("a", &["log"])])).await.unwrap();
    assert_eq!(store.due(&sink("log"), first, 1).await.unwrap().len(), 1);
}
