//! What the store does with files it must not touch: it says so, and leaves every byte as it is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use onsip_router::domain::identity::Token;
use onsip_router::state;
use onsip_router::store::options::Options;
use onsip_router::store::{Commit, CommitEvent, OpenError, Settlement, Store};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use support::folder::copy;

fn options(path: &Path) -> Options {
    Options { keep_bytes: 0, ..Options::at(format!("sqlite://{}", path.display())) }
}

/// Opens what is at `path`, which must be refused and stay as it is, with all that lies beside it.
async fn refusal(path: &Path) -> OpenError {
    let before = contents(path.parent().unwrap());
    for _ in 0..2 {
        let refused = Store::open(&options(path)).await.map(drop);
        let mut after = contents(path.parent().unwrap());
        if !before.contains_key(&lock_of(path)) {
            after.remove(&lock_of(path));
        }
        assert!(after == before, "{refused:?} but a file was changed");
        let error = refused.unwrap_err();
        let message = error.to_string();
        let name = path.with_extension("");
        assert!(message.contains(name.to_str().unwrap()) && message.contains(": "), "{message}");
    }
    Store::open(&options(path)).await.unwrap_err()
}

/// Why the state was refused.
async fn refusal_of_state(path: &Path) -> state::OpenError {
    match refusal(path).await {
        OpenError::State(refused) => refused,
        other => panic!("{other:?}"),
    }
}

fn lock_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.lock", path.display()))
}

/// All files in a folder and in those that lie in it.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if file.is_dir() {
            all.extend(contents(&file));
        } else {
            all.insert(file.clone(), fs::read(file).unwrap());
        }
    }
    all
}

/// A database with some hundred events in it, closed.
async fn database(folder: &Path) -> PathBuf {
    let path = folder.join("router.db");
    let store = Store::open(&options(&path)).await.unwrap();
    let event = |n: usize| CommitEvent {
        id: Token::of([n.to_string().as_str()]),
        partition: "call".to_owned(),
        received: Timestamp::UNIX_EPOCH,
        body: Arc::from("x".repeat(500)),
        owed: vec!["log".parse().unwrap()],
    };
    store.commit(Commit { events: (0..300).map(event).collect(), ..Commit::default() }).await.unwrap();
    // Dead letters lie in the database.
    let log = "log".parse().unwrap();
    let due = store.due(&log, 0, 100).await.unwrap();
    let dead = due.iter().map(|owed| (owed.position, Settlement::Dead { reason: "422".to_owned() }));
    store.settle(&log, dead.collect()).await.unwrap();
    store.close().await.unwrap();
    path
}

async fn execute(path: &Path, statement: &'static str) {
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn what_is_not_a_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.db");
    for content in ["x", "# a configuration, not a database\n", &"text ".repeat(5000)] {
        fs::write(&path, content).unwrap();
        let refused = refusal_of_state(&path).await;
        assert!(matches!(refused, state::OpenError::NotADatabase { .. }), "{refused:?}");
    }
    let refused = Store::open(&options(folder.path())).await.map(drop);
    assert!(matches!(refused, Err(OpenError::State(state::OpenError::NotADatabase { .. }))), "{refused:?}");
}

#[tokio::test]
async fn a_damaged_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path()).await;
    let good = fs::read(&path).unwrap();
    let page = 4096;
    assert!(good.len() > 20 * page);

    for length in [16, 99, 100, 3 * page, good.len() / 2, good.len() - page, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        let refused = refusal_of_state(&path).await;
        assert!(
            matches!(refused, state::OpenError::Corrupt { .. } | state::OpenError::NotADatabase { .. }),
            "{length}: {refused:?}"
        );
    }
    // Of the header: magic, page size, format versions, reserved space, fractions, schema format, text encoding.
    for flipped in [0, 5, 15, 16, 17, 18, 19, 20, 21, 22, 23, 47, 59, 100, 105] {
        let mut bad = good.clone();
        bad[flipped] ^= 0xff;
        fs::write(&path, bad).unwrap();
        let refused = refusal_of_state(&path).await;
        assert!(
            matches!(refused, state::OpenError::Corrupt { .. } | state::OpenError::NotADatabase { .. }),
            "{flipped}: {refused:?}"
        );
    }
    for number in [1, 5, good.len() / page / 2] {
        let mut bad = good.clone();
        bad[number * page..(number + 1) * page].fill(0x5a);
        fs::write(&path, bad).unwrap();
        let refused = refusal_of_state(&path).await;
        assert!(matches!(refused, state::OpenError::Corrupt { .. }), "page {number}: {refused:?}");
    }
    fs::write(&path, good).unwrap();
    let store = Store::open(&options(&path)).await.unwrap();
    assert_eq!(store.depth(&"log".parse().unwrap()).await.unwrap().events, 200);
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bookmarks.db");
    execute(&path, "CREATE TABLE bookmarks (url TEXT); INSERT INTO bookmarks VALUES ('https://example.com')").await;
    assert!(matches!(refusal_of_state(&path).await, state::OpenError::Foreign { .. }));
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path()).await;
    execute(
        &path,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .await;
    assert!(matches!(refusal_of_state(&path).await, state::OpenError::Newer { found: 9999, .. }));
}

/// As the version before the event log made it.
#[tokio::test]
async fn a_database_of_before_the_event_log_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.db");
    let all = sqlx::migrate!("./migrations");
    for newest in [5, 9] {
        let before: Vec<_> = all.iter().filter(|migration| migration.version <= newest).cloned().collect();
        assert_eq!(before.len(), usize::try_from(newest).unwrap());
        let old = Migrator { migrations: before.into(), ..Migrator::DEFAULT };
        let made = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut database = SqliteConnection::connect_with(&made).await.unwrap();
        old.run(&mut database).await.unwrap();
        database.close().await.unwrap();
        let refused = refusal_of_state(&path).await;
        assert!(matches!(refused, state::OpenError::Former { .. }), "{refused:?}");
        for operator in [Store::beside(&options(&path)).await, Store::for_operator(&options(&path)).await] {
            assert_eq!(operator.map(drop), Err(OpenError::State(state::OpenError::Former { path: path.clone() })));
        }
        let repaired = Store::repair(&options(&path)).await.map(drop).unwrap_err().to_string();
        assert!(repaired.contains("before the event log"), "{repaired}");
        assert!(!folder.path().join("router.events").exists(), "nothing was made");
    }
}

#[tokio::test]
async fn a_log_and_a_state_that_are_not_of_one_time_or_of_one_store_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path()).await;
    let events = folder.path().join("router.events");
    let aside = |what: &Path| fs::rename(what, folder.path().join("aside")).unwrap();
    let back = |what: &Path| fs::rename(folder.path().join("aside"), what).unwrap();

    // The state is gone, and the log is there: a new state would give numbers anew.
    aside(&path);
    let refused = Store::open(&options(&path)).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::State(state::OpenError::Absent { .. })), "{refused:?}");
    assert!(!path.exists());
    back(&path);
    // The log is gone, and the state is there.
    for part in [events.clone(), events.join("log"), events.join("generations")] {
        aside(&part);
        let refused = Store::open(&options(&path)).await.map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::Part { .. }), "{refused:?}");
        let _ = fs::remove_dir_all(&part);
        back(&part);
    }
    // A segment or a generation is gone, is another store's, or none at all.
    let other = tempfile::tempdir().unwrap();
    database(other.path()).await;
    for kind in ["log", "generations"] {
        let file = fs::read_dir(events.join(kind)).unwrap().map(|file| file.unwrap().path());
        let file = file.into_iter().find(|file| !file.ends_with("spare")).unwrap();
        aside(&file);
        let refused = refusal(&path).await;
        assert!(matches!(refused, OpenError::Part { .. }), "{refused:?}");
        let others = other.path().join("router.events").join(kind).join(file.file_name().unwrap());
        fs::copy(&others, &file).unwrap();
        let refused = refusal(&path).await.to_string();
        assert!(refused.contains("belongs to the store"), "{refused}");
        fs::write(&file, "something else").unwrap();
        let refused = refusal(&path).await.to_string();
        assert!(refused.contains("does not begin as"), "{refused}");
        fs::remove_file(&file).unwrap();
        back(&file);
        let strange = events.join(kind).join("notes.txt");
        fs::write(&strange, "mine").unwrap();
        let refused = refusal(&path).await.to_string();
        assert!(refused.contains("notes.txt"), "{refused}");
        fs::remove_file(&strange).unwrap();
    }
    // A backup of the log that is older than the state.
    let backup = tempfile::tempdir().unwrap();
    copy(folder.path(), backup.path());
    let store = Store::open(&options(&path)).await.unwrap();
    let event = CommitEvent {
        id: Token::of(["newer"]),
        partition: "call".to_owned(),
        received: Timestamp::UNIX_EPOCH,
        body: Arc::from("newer"),
        owed: vec!["log".parse().unwrap()],
    };
    store.commit(Commit { events: vec![event], ..Commit::default() }).await.unwrap();
    store.close().await.unwrap();
    aside(&events);
    fs::create_dir(&events).unwrap();
    copy(&backup.path().join("router.events"), &events);
    let refused = refusal(&path).await.to_string();
    assert!(refused.contains("put the newest segments back") || refused.contains("is missing"), "{refused}");
    fs::remove_dir_all(&events).unwrap();
    back(&events);
    let store = Store::open(&options(&path)).await.unwrap();
    assert_eq!(store.depth(&"log".parse().unwrap()).await.unwrap().events, 201);
}

#[tokio::test]
async fn a_place_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let absent = Store::open(&options(&folder.path().join("absent/router.db"))).await.map(drop);
    assert_eq!(absent, Err(OpenError::State(state::OpenError::Folder { folder: folder.path().join("absent") })));
    for url in ["router.db", "sqlite://", "postgres://x/y", "sqlite:///tmp/"] {
        let refused = Store::open(&Options::at(url.to_owned())).await.map(drop);
        assert_eq!(refused, Err(OpenError::Url { url: url.to_owned() }));
    }

    let path = folder.path().join("router.db");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    if fs::OpenOptions::new().write(true).open(&path).is_err() {
        // Not for root, who may do everything.
        assert!(matches!(
            Store::open(&options(&path)).await,
            Err(OpenError::State(state::OpenError::Permission { .. }))
        ));
    }
}

#[tokio::test]
async fn an_empty_file_and_one_whose_first_opening_was_cut_short_become_databases() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.db");
    fs::write(&path, "").unwrap();
    Store::open(&options(&path)).await.unwrap().close().await.unwrap();
    // One that is made has another name until it is complete.
    let cut_short = folder.path().join("cut-short.db.new");
    execute(
        &cut_short,
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP \
         NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
    )
    .await;
    Store::open(&options(&folder.path().join("cut-short.db"))).await.unwrap().close().await.unwrap();
    assert!(!cut_short.exists());
}
