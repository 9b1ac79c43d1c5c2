//! What can only be seen from inside: how every statement is carried out, and what a full disk does.

use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::oneshot;

use super::options::Options;
use super::writer::{Operation, Work};
use super::{
    Commit, CommitEvent, Store, StoreError, checksum, coverage, dead, faults, inspection, journal, ledger, opening,
    packing, picking, posting, pruning, queue, recall, repair, settling, shedding, time, transaction,
};
use crate::domain::identity::Token;
use crate::domain::leg::Leg;
use crate::domain::moment::Moment;

/// Every statement, with the tables it may read from end to end: those that have a row per sink, or are wanted whole.
const STATEMENTS: &[(&str, &[&str])] = &[
    // In the order of the key, and no further than the step.
    (checksum::EVENTS, &["events"]),
    (coverage::OF, &[]),
    // One row.
    (opening::STAMP, &["clock"]),
    (opening::SET_STAMP, &["clock"]),
    (time::READ, &["clock"]),
    (time::WRITE, &["clock"]),
    (packing::DEBTOR, &[]),
    (packing::PACK_OF, &[]),
    (coverage::ALL, &["coverage"]),
    (coverage::CLOSE, &["coverage"]),
    (coverage::WRITE, &[]),
    (coverage::EXTEND, &[]),
    (dead::LIST, &[]),
    (dead::REVIVE, &[]),
    (dead::REMOVE, &[]),
    (dead::FAULTS, &["owed", "dead", "sinks", "events"]),
    (dead::LATEST, &[]),
    // An operator asks for these, and waits.
    (faults::ROWS, &["owed", "dead", "sinks", "events"]),
    (faults::LEGS, &["legs"]),
    (repair::STRAYS, &["owed", "sinks"]),
    (repair::STRAY_LETTERS, &["dead", "sinks"]),
    (repair::NEEDLESS, &["events", "sinks"]),
    (repair::NAMES, &["sinks"]),
    (repair::INDEXED_NAMES, &["sinks"]),
    (repair::COUNTERS, &["sinks", "all_sinks", "owed", "owing"]),
    (inspection::HOLDING, &["sinks"]),
    (inspection::BY_ID, &["events"]),
    (inspection::AT, &[]),
    (inspection::STANDINGS, &["sinks"]),
    (inspection::OWED, &[]),
    (inspection::DEAD, &[]),
    (ledger::ALL, &["ledger"]),
    (ledger::OF_ACCOUNT, &[]),
    (ledger::WRITE, &[]),
    (ledger::FORGET, &[]),
    (recall::KNOWN, &[]),
    (recall::LEGS, &[]),
    (recall::CALLS, &[]),
    (recall::STALE, &[]),
    (recall::LIVE, &[]),
    (recall::KEYS, &["CONSTANT"]),
    (recall::IDS_BEYOND, &[]),
    (recall::LEGS_BEYOND, &[]),
    (recall::CALLS_BEYOND, &[]),
    (journal::TRIM, &[]),
    (journal::REMOVE, &[]),
    // In the order of the key.
    (journal::ROWS, &["journal"]),
    (posting::KNOW, &[]),
    (packing::PACKS, &[]),
    (packing::CLEAR, &[]),
    (packing::BETWEEN, &[]),
    (transaction::PACK, &[]),
    // The oldest packs, of a few hundred.
    (transaction::FREE, &["packs"]),
    (transaction::SINK, &[]),
    (transaction::JOURNAL, &[]),
    (queue::ENDS, &["CONSTANT", "sqlite_sequence"]),
    (queue::STANDING, &["sinks"]),
    (queue::NAME, &[]),
    (queue::DEBTORS, &[]),
    (queue::OWE, &[]),
    (queue::OWE_MORE, &["sinks"]),
    (queue::COUNT, &[]),
    (queue::DEPTH, &[]),
    (queue::SINKS, &["sinks"]),
    (settling::SINK, &[]),
    (settling::RUN, &[]),
    (settling::DROP_RUN, &["sinks"]),
    (settling::OWES, &[]),
    (settling::LEFT, &[]),
    (settling::CLEAR, &[]),
    (settling::REMOVE, &[]),
    (settling::SETTLE, &[]),
    (settling::AGAIN, &[]),
    (settling::FIRST, &[]),
    (settling::DEAD, &[]),
    (settling::DROP, &["sinks"]),
    (picking::STRETCH, &[]),
    (picking::FIRST, &[]),
    (picking::OF_CALLS, &[]),
    (picking::EVENTS, &[]),
    (picking::NEWEST, &[]),
    (shedding::BYTES, &[]),
    (shedding::OLDEST, &[]),
    // In the order of the key, and no further than the step.
    (pruning::PRUNE_KNOWN, &["seen"]),
    (pruning::PRUNE_IDS, &["seen"]),
    (pruning::PRUNE_LEGS, &[]),
    (pruning::PRUNE_CALLS, &[]),
];

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("router.db").display());
    let store = Store::open(&Options { url }).await.unwrap();
    (folder, store)
}

#[tokio::test]
async fn no_statement_reads_a_growing_table_from_end_to_end() {
    let (folder, store) = store().await;
    store.close().await.unwrap();
    let url = format!("sqlite://{}", folder.path().join("router.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let virtual_tables = ["json_each", "asked", "given_up", "more"];
    for (statement, scanned) in STATEMENTS {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")))
                .bind("[]")
                .bind("[]")
                .fetch_all(&mut connection)
                .await
                .expect(statement);
        for (.., step) in plan {
            let Some(table) = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next()) else { continue };
            // What a part of the statement has just found is no table.
            let found = table.starts_with("(subquery-");
            assert!(found || scanned.contains(&table) || virtual_tables.contains(&table), "{statement}\n{step}");
        }
    }
}

async fn limit(store: &Store, pages: i64) {
    let (answer, answered) = oneshot::channel();
    store.writer.send(Operation { work: Work::MaxPages(pages), answer }).await.unwrap();
    answered.await.unwrap().unwrap();
}

fn commit(id: &str) -> Commit {
    let event = CommitEvent {
        id: Token::of([id]),
        partition: "call".to_owned(),
        received: Moment::now().utc(),
        body: Arc::from("x".repeat(3000)),
        owed: vec!["log".parse().unwrap()],
    };
    Commit { events: vec![event], ..Commit::default() }
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_half_written_and_work_goes_on_once_there_is_room() {
    let (folder, store) = store().await;
    let sink = "log".parse().unwrap();
    limit(&store, 40).await;
    let mut kept = 0;
    let refused = loop {
        match store.commit(commit(&kept.to_string())).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    let (one, two) = tokio::join!(store.commit(commit("one")), store.commit(commit("two")));
    assert!(matches!((&one, &two), (Err(StoreError::Full(_)), Err(StoreError::Full(_)))), "{one:?} {two:?}");
    assert_eq!(store.depth(&sink).await.unwrap().events, kept);

    limit(&store, 4000).await;
    assert_eq!(store.commit(commit(&kept.to_string())).await, Ok(vec![true]));
    assert_eq!(store.commit(commit("one")).await, Ok(vec![true]));
    assert_eq!(store.due(&sink, 0, 1000).await.unwrap().len() as u64, kept + 2);
    drop(folder);
}

#[tokio::test]
async fn the_room_of_the_database_and_of_its_disk_is_told() {
    let (folder, store) = store().await;
    let room = store.room().await.unwrap();
    assert!((1..=room.size).contains(&room.free) && (1..room.size).contains(&room.used), "{room:?}");
    let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert!(room.used <= files.sum(), "{room:?}");
}

#[tokio::test]
async fn what_is_delivered_makes_room_again() {
    let (_folder, store) = store().await;
    let sink = "log".parse().unwrap();
    limit(&store, 60).await;
    for n in 0..200 {
        store.commit(commit(&n.to_string())).await.unwrap();
        let due = store.due(&sink, 0, 10).await.unwrap();
        let settled = due.iter().map(|owed| (owed.position, super::Settlement::Delivered)).collect();
        store.settle(&sink, settled).await.unwrap();
    }
}

/// The database as it is without its log, put back over the one that has it: what a careless restore does.
async fn restore_over_log(kill: bool) -> (tempfile::TempDir, Result<Store, super::OpenError>) {
    let folder = tempfile::tempdir().unwrap();
    let (database, options) = {
        let path = folder.path().join("router.db");
        let url = format!("sqlite://{}", path.display());
        (path, Options { url })
    };
    let store = Store::open(&options).await.unwrap();
    store.commit(commit("old")).await.unwrap();
    store.close().await.unwrap();
    let backup = std::fs::read(&database).unwrap();
    let store = Store::open(&options).await.unwrap();
    store.commit(commit("new")).await.unwrap();
    // As after a kill: the files as they lie.
    let elsewhere = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), elsewhere.path().join(file.file_name())).unwrap();
    }
    store.close().await.unwrap();
    let database = elsewhere.path().join("router.db");
    if !kill {
        std::fs::write(&database, backup).unwrap();
    }
    let opened = Store::open(&Options { url: format!("sqlite://{}", database.display()) }).await;
    (elsewhere, opened)
}

#[tokio::test]
async fn d8_a_backup_that_was_put_back_beside_another_log_is_refused_with_what_to_do() {
    let (_folder, killed) = restore_over_log(true).await;
    assert_eq!(killed.unwrap().depth(&"log".parse().unwrap()).await.unwrap().events, 2, "a log of its own is read");
    let (folder, restored) = restore_over_log(false).await;
    let refused = restored.unwrap_err();
    assert!(matches!(refused, super::OpenError::Restored { .. }), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("router.db-wal") && said.contains("remove"), "{said}");
    let url = format!("sqlite://{}", folder.path().join("router.db").display());
    assert_eq!(Store::beside(&Options { url: url.clone() }).await.unwrap_err(), refused);
    for file in ["router.db-wal", "router.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(file));
    }
    let store = Store::open(&Options { url }).await.unwrap();
    assert_eq!(store.depth(&"log".parse().unwrap()).await.unwrap().events, 1, "the backup counts");
}

#[tokio::test]
async fn d12_a_look_at_the_queue_writes_nothing() {
    let (folder, store) = store().await;
    let sink = "log".parse().unwrap();
    let options = Options { url: format!("sqlite://{}", folder.path().join("router.db").display()) };
    store.commit(commit("first")).await.unwrap();
    let due = store.due(&sink, 0, 5).await.unwrap();
    store.settle(&sink, vec![(due[0].position, super::Settlement::Delivered)]).await.unwrap();
    for n in 0..20 {
        store.commit(commit(&n.to_string())).await.unwrap();
    }
    let depth = store.depth(&sink).await.unwrap();
    let looking = Store::to_read(&options).await.unwrap();
    assert_eq!(looking.depth(&sink).await.unwrap(), depth, "beside the owner");
    assert_eq!(looking.holding().await.unwrap(), vec![sink.clone()]);
    assert!(looking.discard(&sink, vec![6]).await.is_err());
    assert!(store.kept().0 > 0, "the packs were left alone");
    drop(looking);
    store.close().await.unwrap();
    let files = || {
        let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap());
        let mut files: Vec<_> = files
            .map(|file| {
                (file.file_name(), std::fs::read(file.path()).unwrap(), file.metadata().unwrap().modified().unwrap())
            })
            .collect();
        files.sort();
        files
    };
    let before = files();
    let looking = Store::to_read(&options).await.unwrap();
    assert_eq!(looking.depth(&sink).await.unwrap().events, depth.events);
    drop(looking);
    assert!(files() == before, "without an owner not even a file beside it is made");
}

#[tokio::test]
async fn c1_only_what_is_wrong_with_the_content_is_refused() {
    let (_folder, store) = store().await;
    let mut empty = commit("empty");
    empty.events[0].body = Arc::from("");
    assert!(matches!(store.commit(empty).await, Err(StoreError::Refused(_))));
    // A fault of the database itself is nobody's content.
    let readers = &store.readers;
    let fault = sqlx::query("SELECT * FROM nowhere").execute(readers).await.unwrap_err();
    assert!(matches!(StoreError::from(fault), StoreError::Io(_)));
    let fault = sqlx::query("SELECT zeroblob(2000000000)").fetch_one(readers).await.unwrap_err();
    assert!(matches!(StoreError::from(fault), StoreError::Refused(_)), "string or blob too big");
    assert_eq!(store.commit(commit("usual")).await, Ok(vec![true]));
}

#[tokio::test]
async fn a5_a_clock_that_jumps_drops_nothing_forgets_no_id_and_makes_no_leg_stale() {
    let (folder, mut store) = store().await;
    let (sink, options) =
        ("log".parse().unwrap(), Options { url: format!("sqlite://{}", folder.path().join("router.db").display()) });
    let real = || Moment::now().utc();
    let leg = Leg {
        token: Token::of(["leg"]),
        service: "active-calls".to_owned(),
        node: "n".into(),
        item: "i".into(),
        partition: Token::of(["call"]),
        first_event: Token::of(["first"]),
        call: Arc::default(),
        direction: crate::domain::event::Direction::Inbound,
        began: real(),
        answered: None,
        ended: None,
        touched: real(),
        account: None,
        collection: None,
        told_by: Vec::new(),
    };
    store.commit(Commit { legs: vec![leg.clone().into()], ..commit("waits") }).await.unwrap();
    let days = |days: i64| jiff::SignedDuration::from_hours(24 * days);
    for step in [days(800), days(-30), days(0), days(30), days(-900)] {
        if step == days(30) {
            // What the clock read last counts also in the next life.
            store.close().await.unwrap();
            store = Store::open(&options).await.unwrap();
        }
        store.time.set_clock(step);
        let now = real() + step;
        let hour = jiff::SignedDuration::from_hours(1);
        let shed = store.shed(&sink, super::Bounds { bytes: None, received: now - 2 * hour }).await.unwrap();
        assert_eq!(shed, super::Shed::default(), "{step:#}");
        store.prune(now).await.unwrap();
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
    store.prune(now + days(8)).await.unwrap();
    assert_eq!(store.commit(commit("waits")).await, Ok(vec![true]));
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
    let url = format!("sqlite://{}", folder.path().join("router.db").display());
    let store = Store::open(&Options { url }).await.unwrap();
    let ended = store.coverage().await.unwrap().into_iter().map(|row| (row.open, row.reason.unwrap()));
    let restart = || (false, "restart".to_owned());
    assert_eq!(ended.collect::<Vec<_>>(), [restart(), restart(), (false, "lease".to_owned()), restart()]);
}
