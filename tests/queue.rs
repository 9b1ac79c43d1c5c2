//! `queue` as an operator uses it: beside a running daemon and without one, and on databases that were damaged.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use jiff::Timestamp;
use onsip_router::domain::identity::Token;
use onsip_router::domain::name::SinkName;
use onsip_router::store::options::Options;
use onsip_router::store::{Commit, CommitEvent, Settlement, Store};
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use support::condition::SOON;
use support::folder::killed;
use support::program::{Said, configuration, folder, run};
use support::receiver::{Receiver, status};
use support::stage::*;

const ANNA: &str = "anna@acme.test";
const EVENTS_MADE: usize = 40;

async fn queue(folder: &Path, arguments: &[&str]) -> Said {
    let (action, rest) = arguments.split_first().unwrap();
    run(folder, &[&["queue", action, "--config", "config.toml"], rest].concat()).await
}

fn sink(name: &str) -> SinkName {
    name.parse().unwrap()
}

fn options(folder: &Path) -> Options {
    // Small segments: one is copied again and again.
    let url = format!("sqlite://{}", folder.join("onsip-router.db").display());
    Options { keep_bytes: 0, ..Options::at(url) }
}

fn event(n: usize) -> CommitEvent {
    let id = Token::of([n.to_string().as_str()]);
    let body = serde_json::json!({
        "id": id, "type": "com.onsip.call.requested", "data": { "n": n, "from_uri": format!("sip:+1212555{n:04}@x") },
        "filler": "f".repeat(200),
    });
    CommitEvent {
        id,
        partition: format!("call {}", n / 2),
        received: Timestamp::from_second(1_760_000_000).unwrap(),
        body: Arc::from(body.to_string()),
        owed: vec![sink("log"), sink("former")],
    }
}

/// A folder with a configuration whose only sink is `log`, and a store whose events are owed to it and to `former`, for
/// which the first ten are dead.
async fn stopped() -> TempDir {
    let folder = folder(&configuration(1, &[ANNA]));
    let store = Store::open(&options(folder.path())).await.unwrap();
    for n in 0..EVENTS_MADE {
        store.commit(Commit { events: vec![event(n)], ..Commit::default() }).await.unwrap();
    }
    let due = store.due(&sink("former"), 0, 10).await.unwrap();
    let dead = |position: i64| (position, Settlement::Dead { reason: format!("400 Bad Request {position}") });
    store.settle(&sink("former"), due.iter().map(|owed| dead(owed.position)).collect()).await.unwrap();
    store.close().await.unwrap();
    folder
}

async fn execute(folder: &Path, statement: &'static str) {
    let mut connection = SqliteConnection::connect(&options(folder).url).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// The only segment of the log.
fn segment(folder: &Path) -> PathBuf {
    folder.join("onsip-router.events/log/0000000001.segment")
}

/// The only generation.
fn generation(folder: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder.join("onsip-router.events/generations")).unwrap();
    files.next().unwrap().unwrap().path()
}

fn database(folder: &Path) -> PathBuf {
    folder.join("onsip-router.db")
}

#[tokio::test]
async fn dead_letters_of_a_running_daemon_are_listed_shown_and_delivered_when_retried() {
    let answer = Arc::new(AtomicU16::new(400));
    let said = Arc::clone(&answer);
    let receiver = Receiver::start(move |post| {
        let of_caller = String::from_utf8_lossy(&post.body).contains(CALLER);
        status(if of_caller { said.load(Ordering::SeqCst) } else { 200 })
    });
    let (onsip, anna) = service_with_anna().await;
    let crm = format!("type = \"webhook\"\nurl = \"http://{}/\"", receiver.address());
    let daemon = Setup::of(&onsip).account("front-desk", &anna).sink("crm", &crm).start_active(1).await;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    let told = daemon.until_calls(2).await;
    daemon.until_count("sink_deliveries_total", &[("sink", "crm"), ("outcome", "retried")], 1).await;
    // Only what is refused while others pass becomes a dead letter.
    onsip.call_in(anna.as_str(), "sip:+12125550199@carrier.test", 1);
    daemon.until_metric("sink_dead_events", &[("sink", "crm")], SOON, |dead| dead > 1.5).await;
    daemon.until_settled().await;

    let listed = queue(daemon.folder(), &["list"]).await;
    assert_eq!((listed.code, listed.stderr.as_str()), (Some(0), ""), "{listed:#?}");
    assert_eq!(listed.row(&["crm"]), ["crm", "yes", "0", "0", "-", "2"]);
    assert_eq!(listed.row(&["log"]), ["log", "yes", "0", "0", "-", "0"]);
    assert!(!listed.shows("REASON"), "{listed:#?}");
    let listed = queue(daemon.folder(), &["list", "--sink", "crm", "--limit", "1"]).await;
    let newest = told[1]["id"].as_str().unwrap();
    let row = listed.stdout.lines().find(|line| line.contains(newest)).unwrap();
    assert!(row.contains("com.onsip.call.ended") && row.contains("400"), "{listed:#?}");
    assert!(listed.stdout.ends_with("\nthe newest 1 of 2 dead letters; --limit shows more\n"), "{listed:#?}");
    let position = row.split_whitespace().next().unwrap();

    let shown = queue(daemon.folder(), &["show", newest]).await;
    assert!(shown.code == Some(0) && shown.stdout.contains("crm: dead since "), "{shown:#?}");
    let same = queue(daemon.folder(), &["show", position, "--json"]).await;
    let same: Value = serde_json::from_str(&same.stdout).unwrap();
    assert_eq!((&same["event"], &same["sinks"]["crm"]["state"]), (&told[1], &"dead".into()));

    answer.store(200, Ordering::SeqCst);
    let before = receiver.received().len();
    let retried = queue(daemon.folder(), &["retry", "--sink", "crm", position]).await;
    assert_eq!((retried.code, retried.stdout.as_str()), (Some(0), "crm: 1 dead letter owed again\n"), "{retried:#?}");
    daemon.until("the delivery", SOON, async || (receiver.received().len() == before + 1).then_some(())).await;
    let retried = queue(daemon.folder(), &["retry", "--all"]).await;
    assert_eq!((retried.code, retried.stdout.as_str()), (Some(0), "crm: 1 dead letter owed again\n"), "{retried:#?}");
    daemon.until("both deliveries", SOON, async || (receiver.received().len() == before + 2).then_some(())).await;
    let arrived: Vec<Value> =
        receiver.received()[before..].iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect();
    assert_eq!(arrived, [told[1].clone(), told[0].clone()]);
    daemon.until_settled().await;
    daemon.until_metric("sink_dead_events", &[("sink", "crm")], SOON, |dead| dead < 0.5).await;

    let shown = queue(daemon.folder(), &["show", newest]).await;
    assert!(shown.code == Some(1) && shown.stderr.contains("no such event is owed or dead"), "{shown:#?}");
    let checked = queue(daemon.folder(), &["check"]).await;
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(0), "ok: no fault was found\n"), "{checked:#?}");
    let repaired = queue(daemon.folder(), &["check", "--repair"]).await;
    assert!(repaired.code == Some(1) && repaired.stderr.contains("is in use by another process"), "{repaired:#?}");
}

#[tokio::test]
async fn what_a_sink_no_longer_configured_holds_is_seen_and_purged_once_confirmed() {
    let folder = stopped().await;
    let folder = folder.path();
    let listed = queue(folder, &["list"]).await;
    assert_eq!(listed.row(&["former"])[1..3], ["no", "30"], "{listed:#?}");
    let listed = queue(folder, &["list", "--sink", "former", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!((&listed["sinks"][0]["dead"], &listed["dead_letters"][0]["position"]), (&10.into(), &10.into()));
    assert_eq!(listed["dead_letters"].as_array().unwrap().len(), 10);

    let refused = queue(folder, &["purge", "--sink", "former"]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("--dead or --all"), "{refused:#?}");
    let refused = queue(folder, &["purge", "--sink", "former", "--dead"]).await;
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("former: 10 dead letters; say --yes"), "{refused:#?}");
    let purged = queue(folder, &["purge", "--sink", "former", "--dead", "--yes"]).await;
    assert_eq!((purged.code, purged.stdout.as_str()), (Some(0), "former: 10 dead letters purged\n"), "{purged:#?}");
    let purged = queue(folder, &["purge", "--sink", "former", "--all", "--yes"]).await;
    assert_eq!(purged.stdout, "former: 30 owed events and 0 dead letters purged\n", "{purged:#?}");
    let listed = queue(folder, &["list"]).await;
    assert!(!listed.shows("former"), "{listed:#?}");
    assert_eq!(listed.row(&["log"])[2], "40", "no other sink loses anything");
    let gone = queue(folder, &["purge", "--sink", "former", "--all", "--yes"]).await;
    assert!(gone.code == Some(1) && gone.stderr.contains("--sink former: unknown sink"), "{gone:#?}");
    assert_eq!(queue(folder, &["check"]).await.code, Some(0));
}

#[tokio::test]
async fn a_retry_wants_a_selection_and_names_what_is_no_dead_letter() {
    let folder = stopped().await;
    let refused = queue(folder.path(), &["retry"]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("or --all"), "{refused:#?}");
    let refused = queue(folder.path(), &["retry", "--sink", "formr", "--all"]).await;
    let nearest = "--sink formr: unknown sink; the nearest known one is `former`";
    assert!(refused.code == Some(1) && refused.stderr.contains(nearest), "{refused:#?}");
    let partly = queue(folder.path(), &["retry", "3", "11"]).await;
    assert_eq!((partly.code, partly.stdout.as_str()), (Some(1), "former: 1 dead letter owed again\n"), "{partly:#?}");
    assert!(partly.stderr.contains("11: is no dead letter"), "{partly:#?}");
    assert!(partly.stderr.contains("former: is not configured"), "{partly:#?}");
    let all = queue(folder.path(), &["retry", "--all"]).await;
    assert_eq!((all.code, all.stdout.as_str()), (Some(0), "former: 9 dead letters owed again\n"), "{all:#?}");
    assert_eq!(
        queue(folder.path(), &["list"]).await.row(&["former"])[2..],
        ["40", "13390", "2025-10-09T08:53:20Z", "0"]
    );
    assert_eq!(queue(folder.path(), &["check"]).await.code, Some(0));
}

#[tokio::test]
async fn a_flipped_bit_inside_an_event_is_found_and_its_bytes_are_moved_aside() {
    let folder = stopped().await;
    let path = segment(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    let text = b"sip:+12125550003@x";
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[at + 8] ^= 1;
    fs::write(&path, &bytes).unwrap();

    let name = path.file_name().unwrap().to_str().unwrap();
    let checked = queue(folder.path(), &["check"]).await;
    assert_eq!(checked.code, Some(1), "{checked:#?}");
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert!(said.contains(name) && said.contains("damaged") && said.contains("--repair"), "{checked:#?}");

    let repaired = queue(folder.path(), &["check", "--repair"]).await;
    assert_eq!(repaired.code, Some(0), "{repaired:#?}");
    assert!(repaired.stdout.contains(&format!("repaired: {name}: ")), "{repaired:#?}");
    assert!(repaired.stdout.contains("event 4 ") && repaired.stdout.contains("moved to "), "{repaired:#?}");
    assert!(repaired.stdout.ends_with("\nok: no fault is left\n"), "{repaired:#?}");
    let aside = fs::read(folder.path().join("onsip-router.events/damaged").join(name)).unwrap();
    assert!(aside.windows(9).any(|window| window == b"5550003@x"), "the bytes as they were");
    let again = queue(folder.path(), &["check", "--repair"]).await;
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), "ok: no fault was found\n"));

    // It is owed still, and becomes a dead letter; what was one already has a copy of the event.
    let shown = queue(folder.path(), &["show", "4"]).await;
    assert!(shown.code == Some(0) && shown.stdout.contains("\ndamaged: "), "{shown:#?}");
    let listed = queue(folder.path(), &["list"]).await;
    assert_eq!(listed.row(&["log"])[2], "40");
    assert_eq!(listed.row(&["former"])[5], "10");
    let all = content(folder.path()).await.unwrap();
    assert_eq!(all.len(), 2 * EVENTS_MADE - 1);
    assert!(!all.contains_key(&("log".to_owned(), 4)) && all.contains_key(&("former, dead".to_owned(), 4)));
}

#[tokio::test]
async fn lines_of_the_database_that_are_not_what_was_written_are_repaired() {
    let folder = stopped().await;
    let damage = "UPDATE dead SET body = 'cut off' WHERE offset = 5; \
        UPDATE dead SET reason = 'another' WHERE offset = 7; \
        INSERT INTO legs (token, body, checksum) VALUES ('t', x'7b7d', 0); \
        INSERT INTO calls (partition, body, checksum) VALUES ('p', x'7b7d', 0)";
    execute(folder.path(), damage).await;
    let checked = queue(folder.path(), &["check"]).await;
    assert_eq!(checked.code, Some(1), "{checked:#?}");
    let said = format!("{}{}", checked.stdout, checked.stderr);
    for fault in ["dead letter 5 of", "dead letter 7 of", "leg ", "call "] {
        assert!(said.contains(fault), "{fault}: {checked:#?}");
    }
    let repaired = queue(folder.path(), &["check", "--repair"]).await;
    assert_eq!(repaired.code, Some(0), "{repaired:#?}");
    for done in ["repaired: dead letter 5 of", "repaired: dead letter 7 of", "repaired: leg ", "repaired: call "] {
        assert!(repaired.stdout.contains(done), "{done}: {repaired:#?}");
    }
    let aside = fs::read_to_string(folder.path().join("onsip-router.db.damaged.jsonl")).unwrap();
    let aside: Vec<Value> = aside.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&aside[0]["offset"], &aside[0]["body"]), (&5.into(), &"cut off".into()));
    assert_eq!((&aside[1]["offset"], &aside[1]["reason"]), (&7.into(), &"another".into()));
    assert_eq!(queue(folder.path(), &["check"]).await.code, Some(0));
    let listed = queue(folder.path(), &["list"]).await;
    assert_eq!(listed.row(&["log"])[2], "40");
    // They are gone as dead letters, and are not owed again.
    assert_eq!(listed.row(&["former"])[2..6], ["30", &listed.row(&["former"])[3], "2025-10-09T08:53:20Z", "8"]);
}

#[tokio::test]
async fn an_index_that_does_not_fit_its_table_is_made_anew() {
    let folder = stopped().await;
    let damage = "PRAGMA writable_schema = ON; \
        UPDATE sqlite_schema SET sql = 'CREATE INDEX dead_by_age ON dead (consumer, offset, died, bytes)' \
        WHERE name = 'dead_by_age'";
    execute(folder.path(), damage).await;
    let checked = queue(folder.path(), &["check"]).await;
    assert!(checked.code == Some(1) && checked.stdout.contains("missing from index dead_by_age"), "{checked:#?}");
    let repaired = queue(folder.path(), &["check", "--repair"]).await;
    let expected = "repaired: the indexes were made anew from their tables\nok: no fault is left\n";
    assert_eq!((repaired.code, repaired.stdout.as_str()), (Some(0), expected), "{repaired:#?}");
    assert_eq!(queue(folder.path(), &["check"]).await.code, Some(0));
}

#[tokio::test]
async fn a_torn_database_is_refused_by_name_with_what_to_do() {
    let folder = stopped().await;
    let path = database(folder.path());
    let whole = fs::read(&path).unwrap();
    for length in [whole.len() - 1, whole.len() - 4096, whole.len() / 2, 4096] {
        fs::write(&path, &whole[..length]).unwrap();
        for arguments in [&["check"][..], &["check", "--repair"]] {
            let said = queue(folder.path(), arguments).await;
            assert_eq!(said.code, Some(1), "{length} {said:#?}");
            let text = format!("{}{}", said.stdout, said.stderr);
            assert!(text.contains("move") || text.contains("--repair"), "it says what to do: {length} {said:#?}");
        }
    }
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let said = queue(folder.path(), &["check"]).await;
    let expected = format!("{} is damaged (the last page is cut off): restore a backup", path.display());
    assert!(said.stderr.contains(&expected), "{said:#?}");
    fs::write(&path, "no database").unwrap();
    let said = queue(folder.path(), &["list"]).await;
    assert!(said.code == Some(1) && said.stderr.contains("is not a database: move it away"), "{said:#?}");
    fs::remove_file(&path).unwrap();
    for arguments in [&["list"][..], &["check"], &["check", "--repair"]] {
        let said = queue(folder.path(), arguments).await;
        assert!(said.code == Some(1) && said.stderr.contains("does not exist"), "{said:#?}");
    }
}

/// What a store says is in its queue: sink and position, with id and body.
async fn content(folder: &Path) -> Option<BTreeMap<(String, i64), (String, String)>> {
    let store = Store::beside(&options(folder)).await.ok()?;
    let mut all = BTreeMap::new();
    for sink in store.holding().await.ok()? {
        for owed in store.due(&sink, 0, 1000).await.ok()?.into_iter().filter(|owed| owed.intact) {
            all.insert((sink.to_string(), owed.position), (owed.id.to_string(), owed.body.to_string()));
        }
        for dead in store.dead(&sink, 0, 1000).await.ok()?.into_iter().filter(|dead| dead.intact) {
            let position = i64::try_from(dead.offset).ok()?;
            all.insert((format!("{sink}, dead"), position), (dead.id.to_string(), dead.body.to_string()));
        }
    }
    store.close().await.ok()?;
    Some(all)
}

#[tokio::test]
async fn a_bit_flipped_anywhere_is_found_or_changes_nothing_and_no_repair_makes_up_anything() {
    let original = stopped().await;
    let before = content(original.path()).await.unwrap();
    assert_eq!(before.len(), 2 * EVENTS_MADE);
    for (file, flips) in
        [(database(original.path()), 200), (segment(original.path()), 60), (generation(original.path()), 50)]
    {
        let whole = fs::read(&file).unwrap();
        // What is reserved and not written yet is none of it.
        let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let (mut found, mut mended) = (0, 0);
        for (n, at) in (0..used).step_by(used / flips).enumerate() {
            let folder = killed(original.path());
            let mut bytes = whole.clone();
            let at = (at + n % 7).min(used - 1);
            bytes[at] ^= 1 << (n % 8);
            fs::write(folder.path().join(file.strip_prefix(original.path()).unwrap()), &bytes).unwrap();
            let faults = Store::check(&options(folder.path())).await.unwrap_or_else(|fault| vec![fault.to_string()]);
            let named = format!("byte {at} of {}", file.display());
            if faults.is_empty() {
                assert_eq!(content(folder.path()).await.as_ref(), Some(&before), "{named}: nothing was found");
                continue;
            }
            found += 1;
            if let Ok(repaired) = Store::repair(&options(folder.path())).await
                && repaired.left.is_empty()
            {
                mended += 1;
                let after = content(folder.path()).await;
                let after = after.unwrap_or_else(|| panic!("{named}: {faults:#?} {repaired:#?}, and it does not open"));
                let made_up: Vec<_> = after.iter().filter(|(key, value)| before.get(key) != Some(value)).collect();
                assert!(made_up.is_empty(), "{named}: {faults:#?} {repaired:#?} {made_up:#?}");
                let store = Store::open(&options(folder.path())).await.unwrap();
                assert_eq!(store.faults().await, Ok(vec![]), "{named}: {repaired:#?}");
            }
        }
        println!("{}: {found} found, {mended} repaired", file.display());
        assert!(found > 20 && mended > 0, "{}: {found} found, {mended} repaired", file.display());
    }
}

/// It stands in the table and in its index, and nothing says which of two is right.
#[tokio::test]
async fn a_sink_whose_name_is_in_doubt_gets_none_by_a_repair() {
    let original = stopped().await;
    let whole = fs::read(database(original.path())).unwrap();
    let places = whole.windows(6).enumerate().filter(|(_, text)| *text == b"former");
    let mut doubted = 0;
    for (at, _) in places {
        let folder = killed(original.path());
        let mut bytes = whole.clone();
        bytes[at + 2] = b'v';
        fs::write(database(folder.path()), &bytes).unwrap();
        let repaired = Store::repair(&options(folder.path())).await.unwrap();
        doubted += usize::from(!repaired.left.is_empty());
        if let Ok(store) = Store::beside(&options(folder.path())).await {
            assert_eq!(store.holding().await, Ok(vec![sink("former"), sink("log")]), "{repaired:?}");
        }
    }
    assert!(doubted >= 1);
}

#[tokio::test]
async fn each_action_has_help_with_an_example() {
    let folder = folder("");
    for action in ["list", "show", "retry", "purge", "check"] {
        let said = run(folder.path(), &["queue", action, "--help"]).await;
        let example = format!("  onsip-router queue {action} ");
        assert!(said.code == Some(0) && said.stdout.contains(&example), "{said:#?}");
    }
    fs::write(folder.path().join("config.toml"), "sinks.log.type = 'fil'").unwrap();
    let said = queue(folder.path(), &["list"]).await;
    assert!(said.code == Some(78) && said.stderr.contains("sinks.log.type: "), "{said:#?}");
}
