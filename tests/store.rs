//! What the store promises: nothing acknowledged is lost, nothing is there twice, nothing of anyone else is touched.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use onsip_router::domain::event::{CallFields, Direction};
use onsip_router::domain::fingerprint::Fingerprint;
use onsip_router::domain::identity::Token;
use onsip_router::domain::leg::{Call, EndedLeg, Leg};
use onsip_router::domain::moment::Moment;
use onsip_router::domain::name::SinkName;
use onsip_router::state;
use onsip_router::store::options::Options;
use onsip_router::store::{
    Bounds, Commit, CommitEvent, Depth, LedgerEntry, OpenError, Part, Pick, Recall, Settlement, Store, StoreError,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use support::folder::{killed, size};
use support::seed;

fn options(folder: &Path) -> Options {
    Options::at(format!("sqlite://{}", folder.join("router.db").display()))
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
        call: CallFields { call_id: Some("abc@host".to_owned()), ..CallFields::default() }.into(),
        direction: Direction::Inbound,
        began: at(0),
        answered: None,
        ended,
        touched: ended.unwrap_or(at(0)),
        account: Some("front".parse().unwrap()),
        collection: Some("/me/front@a".into()),
        told_by: vec!["a".into()],
    }
}

fn shared(legs: impl IntoIterator<Item = Leg>) -> Vec<Arc<Leg>> {
    legs.into_iter().map(Arc::new).collect()
}

fn call(name: &str, sequence: u64) -> Call {
    Call { partition: token(name), sequence, answered_by: Some(Fingerprint::from(&token("leg"))), newest: 0 }
}

#[tokio::test]
async fn what_was_committed_is_due_in_order_until_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let events = vec![event("one", &["log", "crm"]), event("two", &["crm"]), event("three", &["log"])];
    assert_eq!(store.commit(of_events(events.clone())).await, Ok(vec![true, true, true]));
    assert_eq!(store.holding().await, Ok(vec![sink("crm"), sink("log")]));

    let due = store.due(&sink("log"), 0, 10).await.unwrap();
    assert_eq!(due.iter().map(|owed| &owed.id).collect::<Vec<_>>(), [&events[0].id, &events[2].id]);
    assert_eq!((&due[0].body, &due[0].partition, due[0].received), (&events[0].body, &events[0].partition, at(0)));
    assert_eq!(store.due(&sink("log"), due[0].position, 10).await.unwrap()[0].id, events[2].id);
    assert_eq!(store.due(&sink("log"), 0, 1).await.unwrap().len(), 1);
    let bytes = (events[0].body.len() + events[2].body.len()) as u64;
    assert_eq!(
        store.depth(&sink("log")).await,
        Ok(Depth { events: 2, bytes, oldest: Some(at(0)), dead: 0, pending: 2 })
    );

    store.settle(&sink("log"), vec![(due[0].position, Settlement::Delivered)]).await.unwrap();
    let due = store.due(&sink("log"), 0, 10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(store.due(&sink("crm"), 0, 10).await.unwrap().len(), 2, "the other sink is still owed both");
    store.settle(&sink("log"), vec![(due[0].position, Settlement::Delivered)]).await.unwrap();
    assert_eq!(store.depth(&sink("log")).await, Ok(Depth::default()));
    assert_eq!(store.holding().await, Ok(vec![sink("crm")]));
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
    assert_eq!(store.depth(&sink("log")).await, Ok(Depth { dead: 2, ..Depth::default() }));
    assert_eq!(store.depth(&sink("unheard-of")).await, Ok(Depth::default()));
}

#[tokio::test]
async fn legs_and_calls_are_recalled_as_they_were_last_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let legs = vec![leg("one", "/a/x", None), leg("two", "/a/x", Some(at(5))), leg("three", "/a/y", None)];
    let commit = Commit {
        events: vec![event("e", &[])],
        legs: shared(legs),
        calls: vec![call("call", 1), call("other", 7)],
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    let newer = Leg { answered: Some(at(3)), ..leg("one", "/a/x", None) };
    let commit = Commit { legs: shared([newer.clone()]), calls: vec![call("call", 2)], ..Commit::default() };
    assert_eq!(store.commit(commit).await, Ok(vec![]));

    let nodes = vec![("active-calls".to_owned(), "/a/x".into()), ("user-agents".to_owned(), "/a/y".into())];
    let asked = Recall { legs: vec![token("one"), token("never")], nodes, ..Recall::default() };
    let recalled = store.recall(asked).await.unwrap();
    assert_eq!(recalled.legs, shared([newer]), "the ended leg of the node is not live, and the live one is there once");
    assert_eq!(recalled.calls, [call("call", 2)]);

    let asked = Recall { legs: vec![token("two")], calls: vec![token("other")], ..Recall::default() };
    let recalled = store.recall(asked).await.unwrap();
    assert_eq!(recalled.ended, [(token("two"), EndedLeg::of(&leg("two", "/a/x", None), at(5)))]);
    assert_eq!((recalled.legs, recalled.calls), (vec![], vec![call("other", 7)]));
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
    store.commit(Commit { legs: shared(legs), ..Commit::default() }).await.unwrap();
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
        assigned: false,
    };
    let newer =
        LedgerEntry { assigned: true, subid: Some("x1".into()), lease_until: Some(at(9)), ..entry("front", "/me/a") };
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
    let is_locked =
        |opened: &Result<Store, OpenError>| matches!(opened, Err(OpenError::State(state::OpenError::Locked { .. })));
    assert!(is_locked(&second), "{second:?}");
    std::os::unix::fs::symlink(folder.path().join("router.db"), folder.path().join("link.db")).unwrap();
    let link = Options::at(format!("sqlite://{}", folder.path().join("link.db").display()));
    assert!(is_locked(&Store::open(&link).await));
    std::fs::hard_link(folder.path().join("router.db"), folder.path().join("hard.db")).unwrap();
    let hard = Options::at(format!("sqlite://{}", folder.path().join("hard.db").display()));
    let beside = Store::beside(&hard).await;
    assert!(is_locked(&Store::open(&hard).await) && is_locked(&beside), "{beside:?}");

    store.commit(of_events(vec![event("a", &["log"])])).await.unwrap();
    let (late, closed) = tokio::join!(store.commit(of_events(vec![event("b", &["log"])])), store.close());
    assert_eq!((late, closed), (Ok(vec![true]), Ok(())));
    assert_eq!(store.commit(Commit::default()).await, Err(StoreError::Closed));
    assert!(store.due(&sink("log"), 0, 1).await.is_err());
    assert_eq!(size(&folder.path().join("router.db-journal")), 0, "nothing of it is left unfinished");
    let store = open(folder.path()).await;
    assert_eq!(store.depth(&sink("log")).await.unwrap().events, 2);
}

#[tokio::test]
async fn an_operator_may_look_at_dead_letters_retry_and_purge_them_beside_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let absent = Store::beside(&options(folder.path())).await.map(drop);
    assert!(matches!(absent, Err(OpenError::State(state::OpenError::Absent { .. }))), "{absent:?}");
    let (store, log) = (open(folder.path()).await, sink("log"));
    store.commit(of_events(vec![event("a", &["log"]), event("b", &["log"]), event("c", &["log"])])).await.unwrap();
    let due = store.due(&log, 0, 10).await.unwrap();
    let dead = due.iter().map(|owed| (owed.position, Settlement::Dead { reason: "410 Gone".to_owned() }));
    store.settle(&log, dead.collect()).await.unwrap();

    let beside = Store::for_operator(&options(folder.path())).await.unwrap();
    let letters = beside.dead(&log, 0, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| &letter.id).collect::<Vec<_>>(), [&token("a"), &token("b"), &token("c")]);
    assert_eq!((letters[0].attempts, letters[0].reason.as_str(), &letters[0].body), (1, "410 Gone", &due[0].body));
    let positions = vec![i64::try_from(letters[1].offset).unwrap(), 99];
    assert_eq!(served(&store, beside.retry(&log, Some(positions))).await, Ok(1));
    assert_eq!(served(&store, beside.purge(&log, Part::Dead)).await, Ok(2));
    assert_eq!(beside.faults().await, Ok(vec![]));
    beside.close().await.unwrap();

    let again = store.due(&log, 0, 10).await.unwrap();
    assert_eq!((again.len(), &again[0].id, &again[0].body, again[0].attempts), (1, &due[1].id, &due[1].body, 0));
    assert!(again[0].position > due[2].position, "it comes after all that was there");
    let depth = store.depth(&log).await.unwrap();
    assert_eq!((depth.events, depth.bytes, depth.dead), (1, due[1].body.len() as u64, 0));
    let dead = Settlement::Dead { reason: "410 Gone".to_owned() };
    store.settle(&log, vec![(again[0].position, dead)]).await.unwrap();
    assert_eq!(store.depth(&log).await, Ok(Depth { dead: 1, ..Depth::default() }));
    assert_eq!(store.purge(&log, Part::Dead).await, Ok(1));
    assert_eq!(store.depth(&log).await, Ok(Depth::default()));
    assert_eq!(store.faults().await, Ok(vec![]));
}

/// Waits for what an operator has asked for, with an owner that looks for it.
async fn served<T>(owner: &Store, asked: impl Future<Output = T>) -> T {
    let serve = async {
        loop {
            owner.serve_operators().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = asked => answer,
        () = serve => unreachable!("it goes on for ever"),
    }
}

#[tokio::test]
async fn positions_are_never_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { keep: Duration::ZERO, keep_bytes: 0, ..options(folder.path()) };
    let mut store = Store::open(&options).await.unwrap();
    let large = |n: usize| CommitEvent { body: "x".repeat(300_000).into(), ..event(&n.to_string(), &["log"]) };
    let mut before = 0;
    for n in 0..12 {
        store.commit(of_events(vec![large(n)])).await.unwrap();
        let due = store.due(&sink("log"), 0, 2).await.unwrap();
        assert!(due.len() == 1 && due[0].position > before, "{n}: {due:?} after {before}");
        before = due[0].position;
        store.settle(&sink("log"), vec![(before, Settlement::Delivered)]).await.unwrap();
        store.checkpoint().await.unwrap();
        store.keep_up().await.unwrap();
        if n % 3 == 0 {
            store.close().await.unwrap();
            store = Store::open(&options).await.unwrap();
        }
    }
    assert!(size(folder.path()) < 12 * 300_000, "what was delivered is gone");
}

#[tokio::test]
async fn a_queue_beyond_its_bounds_loses_its_oldest_and_no_other_queue_does() {
    let folder = tempfile::tempdir().unwrap();
    let (store, log, crm) = (open(folder.path()).await, sink("log"), sink("crm"));
    let late = |n: i64| CommitEvent {
        received: at(n),
        body: "x".repeat(100).into(),
        ..event(&n.to_string(), &["log", "crm"])
    };
    store.commit(of_events((0..1000).map(late).collect())).await.unwrap();
    let depth = store.depth(&log).await.unwrap();
    assert_eq!((depth.events, depth.bytes), (1000, 100_000));
    let bounds = Bounds { bytes: Some(40_050), received: at(700) };
    assert!(bounds.exceeded(depth.bytes, depth.oldest) && !bounds.exceeded(40_050, Some(at(700))));
    let (mut full, mut age, mut steps) = (0, 0, 0);
    loop {
        let shed = store.shed(&log, bounds).await.unwrap();
        (full, age, steps) = (full + shed.full, age + shed.age, steps + 1);
        if !shed.more {
            break;
        }
    }
    assert_eq!((full, age), (600, 100), "the oldest go while there are too many bytes, then those that are too old");
    assert!(steps > 1, "in small steps");
    let left = Depth { events: 300, bytes: 30_000, oldest: Some(at(700)), dead: 0, pending: 0 };
    assert_eq!(Depth { pending: 0, ..store.depth(&log).await.unwrap() }, left);
    assert_eq!(store.depth(&crm).await.unwrap().events, 1000);
    store.close().await.unwrap();
    let store = open(folder.path()).await;
    assert_eq!(Depth { pending: 0, ..store.depth(&log).await.unwrap() }, left);
    let due = store.due(&log, 0, 1000).await.unwrap();
    assert_eq!((due.len(), due[0].received), (300, at(700)));
    assert_eq!(store.due(&crm, 0, 2000).await.unwrap().len(), 1000);
}

#[tokio::test]
async fn a_part_of_the_queue_leaves_calls_out_and_lets_none_overtake() {
    let folder = tempfile::tempdir().unwrap();
    let (store, log) = (open(folder.path()).await, sink("log"));
    let of = |id: &str, call: &str| CommitEvent { partition: call.to_owned(), ..event(id, &["log"]) };
    let events = vec![of("a1", "a"), of("b1", "b"), of("a2", "a"), of("c1", "c"), of("b2", "b"), of("d1", "d")];
    store.commit(of_events(events)).await.unwrap();
    let all = Pick { after: 0, until: i64::MAX, without: vec![], first_below: None, limit: 10 };
    let store = &store;
    let picked = async |pick: Pick| -> Vec<i64> {
        store.pick(&sink("log"), &pick).await.unwrap().iter().map(|owed| owed.position).collect()
    };
    assert_eq!(picked(all.clone()).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(picked(Pick { without: vec!["a".into(), "d".into()], ..all.clone() }).await, [2, 4, 5]);
    assert_eq!(picked(Pick { after: 1, until: 5, limit: 3, ..all.clone() }).await, [2, 3, 4]);
    let firsts = Pick { first_below: Some(i64::MAX), ..all.clone() };
    assert_eq!(picked(firsts.clone()).await, [1, 2, 4, 6], "one of each call");
    let fresh = Pick { after: 2, first_below: Some(3), ..all.clone() };
    assert_eq!(picked(fresh).await, [4, 6], "what has something before the mark waits");
    let calls = store.of_calls(&log, &["b".into(), "a".into()], 3).await.unwrap();
    assert_eq!(calls.iter().map(|owed| owed.position).collect::<Vec<_>>(), [1, 2, 3]);
    store.settle(&log, vec![(1, Settlement::Delivered)]).await.unwrap();
    assert_eq!(picked(firsts).await, [2, 3, 4, 6]);
    assert_eq!(store.newest(&log).await, Ok(Some(6)));
    assert_eq!(store.newest(&sink("unheard-of")).await, Ok(None));
}

#[tokio::test]
async fn an_empty_queue_is_small_also_after_many_events() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { keep: Duration::ZERO, keep_bytes: 0, ..options(folder.path()) };
    let (store, log) = (Store::open(&options).await.unwrap(), sink("log"));
    assert!(size(folder.path()) < 1 << 20, "{}", size(folder.path()));
    for round in 0..50 {
        let large = |n: usize| CommitEvent { body: "x".repeat(700).into(), ..event(&format!("{round} {n}"), &["log"]) };
        store.commit(of_events((0..1000).map(large).collect())).await.unwrap();
        let due = store.due(&log, 0, 1000).await.unwrap();
        store.settle(&log, due.iter().map(|owed| (owed.position, Settlement::Delivered)).collect()).await.unwrap();
    }
    assert!(size(folder.path()) > 30 << 20, "{}", size(folder.path()));
    store.checkpoint().await.unwrap();
    store.keep_up().await.unwrap();
    // The segment that is written, the room for the next one, and 50,000 ids.
    assert!(size(folder.path()) < 5 << 20, "{}", size(folder.path()));
    let used = store.room().await.unwrap().used;
    assert!(used <= size(folder.path()) && used > 50_000 * 12, "{used}");
    assert_eq!(store.commit(of_events(vec![event("7 7", &["log"])])).await, Ok(vec![false]));
}

/// Much more than is kept in memory.
#[tokio::test]
async fn a_sink_far_behind_gets_everything_in_order_while_another_keeps_up() {
    let folder = tempfile::tempdir().unwrap();
    let (store, slow, quick) = (open(folder.path()).await, sink("slow"), sink("quick"));
    let mut written = Vec::new();
    for round in 0..40 {
        let body = |n: usize| -> Arc<str> { format!("{round} {n} {}", "x".repeat(600)).into() };
        let events: Vec<_> = (0..500)
            .map(|n| CommitEvent { body: body(n), ..event(&format!("{round} {n}"), &["slow", "quick"]) })
            .collect();
        written.extend(events.iter().map(|event| event.body.clone()));
        store.commit(of_events(events)).await.unwrap();
        let due = store.due(&quick, 0, 1000).await.unwrap();
        assert_eq!(due.len(), 500, "round {round}");
        store.settle(&quick, due.iter().map(|owed| (owed.position, Settlement::Delivered)).collect()).await.unwrap();
    }
    assert_eq!(store.depth(&slow).await.unwrap().events, 20_000);
    let (mut after, mut got) = (0, Vec::new());
    loop {
        let due = store.due(&slow, after, 777).await.unwrap();
        let Some(last) = due.last() else { break };
        assert!(due.iter().all(|owed| owed.intact && owed.attempts == 0));
        after = last.position;
        let settled = due.iter().map(|owed| (owed.position, Settlement::Delivered)).collect();
        store.settle(&slow, settled).await.unwrap();
        got.extend(due.into_iter().map(|owed| owed.body));
    }
    assert!(got == written, "{} of {}, or not in order", got.len(), written.len());
    for sink in [slow, quick] {
        assert_eq!(store.depth(&sink).await, Ok(Depth::default()));
    }
    assert_eq!(store.faults().await, Ok(vec![]));
}

#[tokio::test]
async fn what_is_remembered_is_found_wherever_it_is_and_after_a_restart() {
    let mut folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await;
    let name = |round: i64, n: i64| format!("{round} {n}");
    // What ended long ago is forgotten. Times are remembered in seconds.
    let lately = Timestamp::from_second(Moment::now().utc().as_second()).unwrap();
    // As many as are looked at of one node.
    let node = |round: i64| format!("/a/x{}", round % 4);
    for round in 0..30 {
        let events = (0..700).map(|n| event(&name(round, n), &[])).collect();
        let legs = (0..250).map(|n| leg(&name(round, n), &node(round), (n % 2 == 0).then_some(lately)));
        // One leg and one call change in every round.
        let legs = shared(legs.chain([Leg { touched: at(round), ..leg("always", "/a/y", None) }]));
        let calls = vec![call("call", u64::try_from(round).unwrap() + 1), call(&name(round, 0), 1)];
        store.commit(Commit { events, legs, calls, ..Commit::default() }).await.unwrap();
        if round == 10 || round == 20 {
            store.checkpoint().await.unwrap();
        }
    }
    // One id is no hash, but as long as the bytes of one.
    let odd = CommitEvent { id: "gap:front-office".into(), ..event("odd", &[]) };
    store.commit(of_events(vec![odd.clone()])).await.unwrap();
    for step in ["log", "killed", "checkpoint", "killed after it", "closed"] {
        match step {
            "log" => {}
            "checkpoint" => store.checkpoint().await.unwrap(),
            "closed" => {
                store.close().await.unwrap();
                store = open(folder.path()).await;
            }
            _ => {
                let copy = killed(folder.path());
                store = open(copy.path()).await;
                folder = copy;
            }
        }
        let asked = Recall {
            events: (0..31).flat_map(|round| [token(&name(round, 0)), token(&name(round, 699))]).collect(),
            legs: (0..31).flat_map(|round| [token(&name(round, 7)), token(&name(round, 8))]).collect(),
            calls: (0..31).map(|round| token(&name(round, 0))).chain([token("call")]).collect(),
            ..Recall::default()
        };
        let asked = Recall { legs: [asked.legs, vec![token("always")]].concat(), ..asked };
        let recalled = store.recall(asked).await.unwrap();
        assert_eq!((recalled.events.len(), recalled.legs.len(), recalled.calls.len()), (60, 31, 31), "{step}");
        let mut ended = recalled.ended;
        ended.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut expected: Vec<_> = (0..30).map(|round| token(&name(round, 8))).collect();
        expected.sort();
        let expected = expected.into_iter().map(|token| (token, EndedLeg::of(&leg("any", "/a/x", None), lately)));
        assert_eq!(ended, expected.collect::<Vec<_>>(), "{step}");
        let always = recalled.legs.iter().find(|leg| leg.token == token("always")).unwrap();
        assert!(always.touched == at(29) && recalled.calls.contains(&call("call", 30)), "{step}");
        assert!(recalled.calls.contains(&call(&name(17, 0), 1)), "{step}");
        let nodes = (0..4).map(|of| ("active-calls".to_owned(), node(of).as_str().into())).collect();
        let live = store.recall(Recall { nodes, ..Recall::default() }).await.unwrap().legs;
        assert_eq!(live.len(), 30 * 125, "{step}: the live ones of the nodes, each once");
        assert_eq!(store.live("active-calls").await, Ok(30 * 125 + 1), "{step}");
        let again = vec![event(&name(3, 3), &["log"]), event(&name(29, 600), &["log"]), odd.clone()];
        assert_eq!(store.commit(of_events(again)).await, Ok(vec![false; 3]), "{step}");
        assert_eq!(store.faults().await, Ok(vec![]), "{step}");
    }
}

/// Whatever is delivered, failed, given up, retried, purged and shed in whatever order, and wherever the store is closed or
/// killed meanwhile: it agrees with a simple model of it.
#[tokio::test]
async fn however_deliveries_end_the_queue_holds_what_a_model_holds() {
    for seed in seed::fixed_and_fresh([1]) {
        agrees_with_a_model(&mut StdRng::seed_from_u64(seed)).await;
    }
}

/// What one sink is to get, by position, with the tries so far, and its dead letters.
#[derive(Default)]
struct Model {
    owed: BTreeMap<i64, u32>,
    dead: BTreeSet<i64>,
    /// What it was through with, or failed with, and a kill may make owed again, with the fewest and the most tries then.
    lately: BTreeMap<i64, (u32, u32)>,
}

impl Model {
    /// It has the event at `position`.
    fn is_done(&mut self, position: i64) {
        if let Some(tries) = self.owed.remove(&position) {
            self.lately.entry(position).or_insert((tries, tries)).1 = tries;
        }
    }

    /// A delivery of the event at `position` failed.
    fn failed(&mut self, position: i64) {
        let tries = self.owed.get_mut(&position).unwrap();
        self.lately.entry(position).or_insert((*tries, *tries)).1 = *tries + 1;
        *tries += 1;
    }

    /// Takes over what a kill may have left: no event less, and none that was done with before it was written down.
    fn takes_over(&mut self, found: &BTreeMap<i64, u32>) {
        for (position, tries) in found {
            let lately = self.lately.get(position).copied();
            let known = lately.or_else(|| self.owed.get(position).map(|tries| (*tries, *tries)));
            let (fewest, most) = known.unwrap_or_else(|| panic!("{position} was done with for good"));
            assert!((fewest..=most).contains(tries), "{position} was tried {tries} times");
        }
        assert!(self.owed.keys().all(|position| found.contains_key(position)), "an event is lost");
        self.owed.clone_from(found);
        self.lately.clear();
    }
}

async fn agrees_with_a_model(dice: &mut StdRng) {
    let mut folder = tempfile::tempdir().unwrap();
    let small = |folder: &Path| Options { keep: Duration::ZERO, keep_bytes: 0, ..options(folder) };
    let mut store = Store::open(&small(folder.path())).await.unwrap();
    let sinks = [sink("dense"), sink("half"), sink("rare")];
    let mut models = [const { Model { owed: BTreeMap::new(), dead: BTreeSet::new(), lately: BTreeMap::new() } }; 3];
    let mut next = 1;
    for round in 0..300 {
        if dice.random_bool(0.4) {
            let mut events = Vec::new();
            for n in 0..dice.random_range(1..if round % 50 == 7 { 700 } else { 40 }) {
                let chances = [1.0, 0.5, 0.01].map(|chance| dice.random_bool(chance));
                let mut event = event(&format!("{round} {n}"), &[]);
                event.body = "x".repeat(dice.random_range(1..2000)).into();
                for (of, name) in sinks.iter().enumerate().filter(|(of, _)| chances[*of]) {
                    event.owed.push(name.clone());
                    models[of].owed.insert(next, 0);
                }
                events.push(event);
                next += 1;
            }
            assert!(store.commit(of_events(events)).await.unwrap().into_iter().all(|new| new));
        }
        let of = dice.random_range(0..3);
        let (name, model) = (&sinks[of], &mut models[of]);
        let pass = dice.random_range(0..3) * dice.random_range(0..60);
        let taken: Vec<i64> = model.owed.keys().copied().skip(pass).take(dice.random_range(1..200)).collect();
        // Only what was read is settled.
        let limit = pass + taken.len();
        let due: Vec<i64> = store.due(name, 0, limit).await.unwrap().iter().map(|owed| owed.position).collect();
        assert!(due.ends_with(&taken), "round {round}");
        let sure = dice.random_bool(0.6);
        let mut settlements = Vec::new();
        for position in taken {
            settlements.push((
                position,
                match dice.random_range(0..if sure { 1 } else { 6 }) {
                    0..=2 => {
                        model.is_done(position);
                        Settlement::Delivered
                    }
                    3 | 4 => {
                        model.failed(position);
                        Settlement::Retried
                    }
                    _ => {
                        // It is on the disk at once that it is dead.
                        model.owed.remove(&position);
                        model.lately.remove(&position);
                        model.dead.insert(position);
                        Settlement::Dead { reason: "422".to_owned() }
                    }
                },
            ));
        }
        store.settle(name, settlements).await.unwrap();
        if dice.random_bool(0.1) {
            let retried: Vec<i64> = model.dead.iter().copied().filter(|_| dice.random_bool(0.5)).collect();
            assert_eq!(store.retry(name, Some(retried.clone())).await, Ok(retried.len() as u64), "round {round}");
            for position in retried {
                model.dead.remove(&position);
                model.owed.insert(next, 0);
                next += 1;
            }
        }
        if dice.random_bool(0.03) {
            let went = store.shed(name, Bounds { bytes: None, received: Timestamp::MAX }).await.unwrap();
            assert_eq!(went.age, model.owed.len().min(256) as u64);
            let gone: Vec<i64> = model.owed.keys().copied().take(256).collect();
            gone.into_iter().for_each(|position| model.is_done(position));
        }
        if dice.random_bool(0.02) {
            assert_eq!(store.purge(name, Part::Dead).await, Ok(model.dead.len() as u64), "round {round}");
            model.dead.clear();
        }
        if dice.random_bool(0.02) {
            assert_eq!(store.purge(name, Part::Owed).await, Ok(model.owed.len() as u64), "round {round}");
            // They are gone for good.
            model.owed.clear();
            model.lately.clear();
        }
        let step = dice.random_range(0..40);
        match step {
            0 => store.checkpoint().await.unwrap(),
            1 | 2 => {
                store.keep_up().await.unwrap();
                models.iter_mut().for_each(|model| model.lately.clear());
            }
            3 => {
                store.close().await.unwrap();
                store = Store::open(&small(folder.path())).await.unwrap();
                models.iter_mut().for_each(|model| model.lately.clear());
            }
            4 | 5 => {
                let copy = killed(folder.path());
                store = Store::open(&small(copy.path())).await.unwrap();
                folder = copy;
            }
            _ => {}
        }
        for (name, model) in sinks.iter().zip(&mut models) {
            let due = store.due(name, 0, 100_000).await.unwrap();
            let found: Vec<(i64, u32)> = due.iter().map(|owed| (owed.position, owed.attempts)).collect();
            let found: BTreeMap<i64, u32> = found.into_iter().collect();
            assert_eq!(found.len(), due.len(), "round {round}: each once");
            if matches!(step, 4 | 5) {
                model.takes_over(&found);
            }
            assert_eq!(found, model.owed, "round {round}, step {step}, {name}");
            let depth = store.depth(name).await.unwrap();
            let bytes: usize = due.iter().map(|owed| owed.body.len()).sum();
            let counted = (depth.events, depth.bytes, depth.dead);
            let expected = (model.owed.len() as u64, bytes as u64, model.dead.len() as u64);
            assert_eq!(counted, expected, "round {round}, step {step}, {name}");
        }
        if round % 30 == 0 {
            assert_eq!(store.faults().await, Ok(vec![]), "round {round}");
        }
    }
    assert_eq!(store.faults().await, Ok(vec![]));
}
