//! The store on real files: what a crash, a full disk, a clock and a look beside it do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::options::Options;
use super::{Commit, CommitEvent, Part, Settlement, Store, StoreError};
use crate::domain::fingerprint::Fingerprint;
use crate::domain::identity::Token;
use crate::domain::leg::{Call, Leg};
use crate::domain::moment::Moment;
use crate::domain::name::SinkName;

fn options_of(folder: &tempfile::TempDir) -> Options {
    Options::at(format!("sqlite://{}", folder.path().join("router.db").display()))
}

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&options_of(&folder)).await.unwrap();
    (folder, store)
}

fn event(id: &str, sink: &str) -> CommitEvent {
    CommitEvent {
        id: Token::of([id]),
        partition: Token::of(["call"]).as_str().to_owned(),
        received: Moment::now().utc(),
        body: Arc::from(id),
        owed: vec![sink.parse().unwrap()],
    }
}

fn commit(id: &str) -> Commit {
    Commit { events: vec![event(id, "log")], ..Commit::default() }
}

fn sink() -> SinkName {
    "log".parse().unwrap()
}

/// The folder as a kill leaves it, in another place.
fn killed(folder: &tempfile::TempDir) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(file.file_name());
            if file.file_type().unwrap().is_dir() {
                std::fs::create_dir(&to).unwrap();
                copy(&file.path(), &to);
            } else {
                std::fs::copy(file.path(), to).unwrap();
            }
        }
    }
    let elsewhere = tempfile::tempdir().unwrap();
    copy(folder.path(), elsewhere.path());
    elsewhere
}

async fn bodies(store: &Store) -> Vec<String> {
    store.due(&sink(), 0, 1000).await.unwrap().iter().map(|owed| owed.body.as_ref().to_owned()).collect()
}

async fn deliver(store: &Store, bodies: &[&str]) {
    let owed = store.due(&sink(), 0, 1000).await.unwrap();
    let owed = owed.iter().filter(|owed| bodies.contains(&&*owed.body));
    store.settle(&sink(), owed.map(|owed| (owed.position, Settlement::Delivered)).collect()).await.unwrap();
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_kill_once_and_in_order() {
    let (folder, store) = store().await;
    for id in ["a", "b", "c", "d"] {
        assert_eq!(store.commit(commit(id)).await, Ok(vec![true]));
    }
    assert_eq!(store.commit(commit("b")).await, Ok(vec![false]));
    deliver(&store, &["a", "c"]).await;
    assert_eq!(bodies(&store).await, ["b", "d"]);
    store.keep_up().await.unwrap();
    deliver(&store, &["b"]).await; // not written down yet
    let killed = killed(&folder);
    let next = Store::open(&options_of(&killed)).await.unwrap();
    assert_eq!(bodies(&next).await, ["b", "d"], "what was acknowledged a moment ago comes again");
    let depth = next.depth(&sink()).await.unwrap();
    assert_eq!((depth.events, depth.bytes), (2, 2));
    for id in ["a", "b", "c", "d"] {
        assert_eq!(next.commit(commit(id)).await, Ok(vec![false]), "{id} is known");
    }
    assert_eq!(next.commit(commit("e")).await, Ok(vec![true]));
    deliver(&next, &["b", "d"]).await;
    next.close().await.unwrap();
    let last = Store::open(&options_of(&killed)).await.unwrap();
    assert_eq!(bodies(&last).await, ["e"], "a clean stop writes down all");
    assert_eq!(last.commit(commit("a")).await, Ok(vec![false]));
}

#[tokio::test]
async fn what_is_remembered_outlives_checkpoints_and_kills() {
    let (folder, store) = store().await;
    let call = |sequence| Call {
        partition: Token::of(["call"]),
        sequence,
        answered_by: Some(Fingerprint::from(&Token::of(["leg"]))),
        newest: 0,
    };
    let live = leg("leg");
    let legs = vec![Arc::new(live.clone())];
    store.commit(Commit { legs, calls: vec![call(1)], ..commit("1") }).await.unwrap();
    let recall = || super::Recall {
        events: vec![Token::of(["1"])],
        legs: vec![live.token.clone()],
        calls: vec![Token::of(["call"])],
        ..super::Recall::default()
    };
    let at_node = super::Recall { nodes: vec![("active-calls".to_owned(), "n".into())], ..super::Recall::default() };
    let mut opened = (folder, store);
    for step in ["log", "checkpoint", "past", "generation"] {
        if step == "past" {
            let ended = Leg { ended: Some(Moment::now().utc()), ..live.clone() };
            let legs = vec![Arc::new(ended)];
            opened.1.commit(Commit { legs, calls: vec![call(2)], ..commit("2") }).await.unwrap();
        }
        if step != "log" && step != "past" {
            opened.1.checkpoint().await.unwrap();
        }
        for kill in [false, true] {
            if kill {
                let folder = killed(&opened.0);
                let store = Store::open(&options_of(&folder)).await.unwrap();
                opened = (folder, store);
            }
            let recalled = opened.1.recall(recall()).await.unwrap();
            let is_past = step == "past" || step == "generation";
            assert_eq!(recalled.events.len(), 1, "{step} {kill}");
            assert_eq!(
                (recalled.legs.len(), recalled.ended.len()),
                if is_past { (0, 1) } else { (1, 0) },
                "{step} {kill}"
            );
            let known = &recalled.calls[0];
            assert_eq!((recalled.calls.len(), known.sequence), (1, if is_past { 2 } else { 1 }), "{step} {kill}");
            assert_eq!((known.answered_by, known.newest), (call(0).answered_by, known.sequence), "{step} {kill}");
            let found = opened.1.recall(at_node.clone()).await.unwrap().legs.len();
            assert_eq!(found, usize::from(!is_past), "{step} {kill}");
            assert_eq!(opened.1.live("active-calls").await, Ok(u64::from(!is_past)), "{step} {kill}");
        }
    }
}

#[tokio::test]
async fn segments_go_once_nobody_needs_them() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { keep: std::time::Duration::ZERO, keep_bytes: 0, ..options_of(&folder) };
    let store = Store::open(&options).await.unwrap();
    let large = |n: usize| Commit {
        events: vec![CommitEvent { body: "x".repeat(300_000).into(), ..event(&n.to_string(), "log") }],
        ..Commit::default()
    };
    for n in 0..20 {
        store.commit(large(n)).await.unwrap();
    }
    let segments = |store: &Store| store.shared.log.extents().len();
    let before = segments(&store);
    assert!(before > 4, "{before}");
    store.checkpoint().await.unwrap();
    store.keep_up().await.unwrap();
    assert_eq!(segments(&store), before, "all of it is owed");
    let due = store.due(&sink(), 0, 10).await.unwrap();
    store.settle(&sink(), due.iter().map(|owed| (owed.position, Settlement::Delivered)).collect()).await.unwrap();
    store.keep_up().await.unwrap();
    let half = segments(&store);
    assert!(half < before && half > 1, "{half} of {before}");
    assert_eq!(store.purge(&sink(), Part::Owed).await, Ok(10));
    store.keep_up().await.unwrap();
    assert_eq!(segments(&store), 1, "the newest is always kept");
    store.close().await.unwrap();
    let store = Store::open(&options).await.unwrap();
    assert_eq!(store.depth(&sink()).await.unwrap().events, 0);
    assert_eq!(store.commit(large(3)).await, Ok(vec![false]), "it is known all the same");
}

#[tokio::test]
async fn a_dead_letter_is_retried_under_its_old_id_and_purged_for_good() {
    let (folder, store) = store().await;
    for id in ["a", "b", "c"] {
        store.commit(commit(id)).await.unwrap();
    }
    let owed = store.due(&sink(), 0, 9).await.unwrap();
    let dead = |reason: &str| Settlement::Dead { reason: reason.to_owned() };
    store.settle(&sink(), vec![(owed[0].position, Settlement::Retried)]).await.unwrap();
    store.settle(&sink(), vec![(owed[0].position, dead("422")), (owed[1].position, dead("410"))]).await.unwrap();
    let depth = store.depth(&sink()).await.unwrap();
    assert_eq!((depth.events, depth.dead), (1, 2));
    let killed = killed(&folder);
    let store = Store::open(&options_of(&killed)).await.unwrap();
    assert_eq!(bodies(&store).await, ["c"], "what is dead is owed no more");
    assert_eq!(store.depth(&sink()).await.unwrap(), depth);
    let letters = store.dead(&sink(), 0, 9).await.unwrap();
    let told: Vec<_> = letters.iter().map(|letter| (&*letter.body, letter.attempts, letter.reason.as_str())).collect();
    assert_eq!(told, [("a", 2, "422"), ("b", 1, "410")]);
    let first = i64::try_from(letters[0].offset).unwrap();
    assert_eq!(store.retry(&sink(), Some(vec![first, 999])).await, Ok(1));
    assert_eq!(bodies(&store).await, ["c", "a"]);
    assert_eq!(store.due(&sink(), 0, 9).await.unwrap()[1].id, Token::of(["a"]));
    assert_eq!(store.purge(&sink(), Part::Dead).await, Ok(1));
    assert_eq!(store.purge(&sink(), Part::Owed).await, Ok(2));
    assert_eq!(store.holding().await.unwrap(), []);
}

#[tokio::test]
async fn a_command_beside_the_owner_is_carried_out_by_it() {
    let (folder, store) = store().await;
    for id in ["a", "b"] {
        store.commit(commit(id)).await.unwrap();
    }
    let beside = Store::for_operator(&options_of(&folder)).await.unwrap();
    assert_eq!(beside.depth(&sink()).await.unwrap().events, 2);
    assert!(beside.commit(commit("c")).await.is_err());
    let asked = tokio::spawn(async move { beside.purge(&"log".parse().unwrap(), Part::Owed).await });
    let mut done = BTreeMap::new();
    while done.is_empty() {
        done = store.serve_operators().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(asked.await.unwrap(), Ok(2));
    assert_eq!(done[&sink()].purged, 2);
    assert_eq!(bodies(&store).await, [] as [&str; 0]);
}

#[tokio::test]
async fn d12_a_look_at_the_queue_writes_nothing() {
    let (folder, store) = store().await;
    for n in 0..20 {
        store.commit(commit(&n.to_string())).await.unwrap();
    }
    deliver(&store, &["3"]).await;
    store.keep_up().await.unwrap();
    let depth = store.depth(&sink()).await.unwrap();
    let looking = Store::beside(&options_of(&folder)).await.unwrap();
    let pending = depth.pending;
    assert_eq!(super::Depth { pending, ..looking.depth(&sink()).await.unwrap() }, depth, "beside the owner");
    assert_eq!(looking.holding().await.unwrap(), vec![sink()]);
    looking.close().await.unwrap();
    store.close().await.unwrap();
    let files = || {
        let mut files = Vec::new();
        let mut folders = vec![folder.path().to_owned()];
        while let Some(next) = folders.pop() {
            for file in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
                if file.file_type().unwrap().is_dir() {
                    folders.push(file.path());
                    continue;
                }
                let modified = file.metadata().unwrap().modified().unwrap();
                files.push((file.path(), std::fs::read(file.path()).unwrap(), modified));
            }
        }
        files.sort();
        files
    };
    let before = files();
    let looking = Store::beside(&options_of(&folder)).await.unwrap();
    assert_eq!(looking.depth(&sink()).await.unwrap().events, depth.events);
    looking.close().await.unwrap();
    assert!(files() == before, "without an owner not even a file beside it is made");
}

#[tokio::test]
async fn c1_only_what_is_wrong_with_the_content_is_refused() {
    let (_folder, store) = store().await;
    let mut empty = commit("empty");
    empty.events[0].body = Arc::from("");
    assert!(matches!(store.commit(empty).await, Err(StoreError::Refused(_))));
    let mut large = commit("large");
    large.events[0].body = "x".repeat(20 << 20).into();
    assert!(matches!(store.commit(large).await, Err(StoreError::Refused(_))));
    assert_eq!(store.commit(commit("usual")).await, Ok(vec![true]));
}

fn leg(item: &str) -> Leg {
    Leg {
        token: Token::of([item]),
        service: "active-calls".to_owned(),
        node: "n".into(),
        item: item.into(),
        partition: Token::of(["call"]),
        first_event: Token::of(["first"]),
        call: Arc::default(),
        direction: crate::domain::event::Direction::Inbound,
        began: Moment::now().utc(),
        answered: None,
        ended: None,
        touched: Moment::now().utc(),
        account: None,
        collection: None,
        told_by: Vec::new(),
    }
}

#[tokio::test]
async fn a5_a_clock_that_jumps_drops_nothing_forgets_no_id_and_makes_no_leg_stale() {
    let (folder, mut store) = store().await;
    let (sink, options) = ("log".parse().unwrap(), options_of(&folder));
    let real = || Moment::now().utc();
    let leg = leg("leg");
    store.commit(Commit { legs: vec![leg.clone().into()], ..commit("waits") }).await.unwrap();
    let days = |days: i64| jiff::SignedDuration::from_hours(24 * days);
    for step in [days(800), days(-30), days(0), days(30), days(-900)] {
        if step == days(30) {
            // What the clock read last counts also in the next life.
            store.close().await.unwrap();
            store = Store::open(&options).await.unwrap();
        }
        store.shared.time.set_clock(step);
        let now = real() + step;
        let hour = jiff::SignedDuration::from_hours(1);
        let shed = store.shed(&sink, super::Bounds { bytes: None, received: now - 2 * hour }).await.unwrap();
        assert_eq!(shed, super::Shed::default(), "{step:#}");
        store.checkpoint().await.unwrap();
        assert_eq!(store.commit(commit("waits")).await, Ok(vec![false]), "{step:#}: the id is known");
        assert!(store.stale("active-calls", now - 2 * hour, now - 2 * hour, 10).await.unwrap().is_empty(), "{step:#}");
        let recall = super::Recall { legs: vec![leg.token.clone()], ..super::Recall::default() };
        let recalled = store.recall(recall).await.unwrap();
        let ages = now.duration_since(recalled.legs[0].touched);
        assert!(
            ages < 2 * hour && ages > -hour,
            "{step:#}: it was touched a moment ago, as the clock reads now: {ages:#}"
        );
        let owed = store.due(&sink, 0, 1).await.unwrap();
        let waited = now.duration_since(owed[0].received);
        assert!(waited < 2 * hour && waited > -hour, "{step:#}: {waited:#}");
    }
    // What is really old goes.
    let now = real() + days(-900);
    let shed = store.shed(&sink, super::Bounds { bytes: None, received: now + days(1) }).await.unwrap();
    assert_eq!(shed.age, 1);
}

#[tokio::test]
async fn f1_coverage_moves_on_with_its_own_account_and_ends_with_the_router_that_wrote_it() {
    let (folder, store) = store().await;
    let second = |second| jiff::Timestamp::from_second(second).unwrap();
    let row = |account: &str, open: bool, until: i64| super::Coverage {
        account: account.parse().unwrap(),
        open,
        until: second(until),
        reason: (!open).then(|| "lease".to_owned()),
    };
    let written = vec![row("anna", true, 10), row("bert", true, 10), row("carl", false, 10), row("dora", true, 90)];
    store.commit(Commit { coverage: written, ..Commit::default() }).await.unwrap();
    let heard = [("anna", 30), ("bert", 5), ("carl", 30), ("dora", 30), ("nobody", 30)];
    let heard = heard.map(|(account, until)| (account.parse().unwrap(), second(until))).to_vec();
    store.extend_coverage(heard, second(40)).await.unwrap();
    // It does not go back, unless the clock was set back.
    let kept = [row("anna", true, 30), row("bert", true, 10), row("carl", false, 10), row("dora", true, 30)];
    assert_eq!(store.coverage().await.unwrap(), kept);

    store.close().await.unwrap();
    let store = Store::open(&options_of(&folder)).await.unwrap();
    let ended = store.coverage().await.unwrap().into_iter().map(|row| (row.open, row.reason.unwrap()));
    let restart = || (false, "restart".to_owned());
    assert_eq!(ended.collect::<Vec<_>>(), [restart(), restart(), (false, "lease".to_owned()), restart()]);
}
