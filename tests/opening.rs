//! What the store does with a file it must not touch: it says so, and leaves every byte as it is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use onsip_router::domain::identity::Token;
use onsip_router::store::options::Options;
use onsip_router::store::{Commit, CommitEvent, OpenError, Store};
use sqlx::{Connection, SqliteConnection};

fn options(path: &Path) -> Options {
    Options { url: format!("sqlite://{}", path.display()) }
}

/// Opens what is at `path`, which must be refused and stay as it is.
async fn refusal(path: &Path) -> OpenError {
    let before = fs::read(path).unwrap();
    for _ in 0..2 {
        let refused = Store::open(&options(path)).await.map(drop);
        assert!(fs::read(path).unwrap() == before, "{refused:?} but the file was changed");
        let error = refused.unwrap_err();
        let message = error.to_string();
        assert!(message.contains(path.to_str().unwrap()) && message.contains(": "), "{message}");
    }
    Store::open(&options(path)).await.unwrap_err()
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
        let refused = refusal(&path).await;
        assert!(matches!(refused, OpenError::NotADatabase { .. }), "{refused:?}");
    }
    let refused = Store::open(&options(folder.path())).await.map(drop);
    assert!(matches!(refused, Err(OpenError::NotADatabase { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_damaged_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path()).await;
    let good = fs::read(&path).unwrap();
    let page = 8192;
    assert!(good.len() > 20 * page);

    for length in [16, 99, 100, 3 * page, good.len() / 2, good.len() - page, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        let refused = refusal(&path).await;
        assert!(matches!(refused, OpenError::Corrupt { .. } | OpenError::NotADatabase { .. }), "{length}: {refused:?}");
    }
    // Of the header: magic, page size, format versions, reserved space, fractions, schema format, text encoding.
    for flipped in [0, 5, 15, 16, 17, 18, 19, 20, 21, 22, 23, 47, 59, 100, 105] {
        let mut bad = good.clone();
        bad[flipped] ^= 0xff;
        fs::write(&path, bad).unwrap();
        let refused = refusal(&path).await;
        assert!(
            matches!(refused, OpenError::Corrupt { .. } | OpenError::NotADatabase { .. }),
            "{flipped}: {refused:?}"
        );
    }
    for number in [1, 5, good.len() / page / 2] {
        let mut bad = good.clone();
        bad[number * page..(number + 1) * page].fill(0x5a);
        fs::write(&path, bad).unwrap();
        let refused = refusal(&path).await;
        assert!(matches!(refused, OpenError::Corrupt { .. }), "page {number}: {refused:?}");
    }
    fs::write(&path, good).unwrap();
    let store = Store::open(&options(&path)).await.unwrap();
    assert_eq!(store.depth(&"log".parse().unwrap()).await.unwrap().events, 300);
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bookmarks.db");
    execute(&path, "CREATE TABLE bookmarks (url TEXT); INSERT INTO bookmarks VALUES ('https://example.com')").await;
    assert!(matches!(refusal(&path).await, OpenError::Foreign { .. }));
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
    assert!(matches!(refusal(&path).await, OpenError::Newer { found: 9999, .. }));
}

#[tokio::test]
async fn a_place_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let absent = Store::open(&options(&folder.path().join("absent/router.db"))).await.map(drop);
    assert_eq!(absent, Err(OpenError::Folder { folder: folder.path().join("absent") }));
    for url in ["router.db", "sqlite://", "postgres://x/y", "sqlite:///tmp/"] {
        let refused = Store::open(&Options { url: url.to_owned() }).await.map(drop);
        assert_eq!(refused, Err(OpenError::Url { url: url.to_owned() }));
    }

    let path = folder.path().join("router.db");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    if fs::OpenOptions::new().write(true).open(&path).is_err() {
        // Not for root, who may do everything.
        assert!(matches!(Store::open(&options(&path)).await, Err(OpenError::Permission { .. })));
    }
}

#[tokio::test]
async fn an_empty_file_and_one_whose_first_opening_was_cut_short_become_databases() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.db");
    fs::write(&path, "").unwrap();
    Store::open(&options(&path)).await.unwrap().close().await.unwrap();
    let cut_short = folder.path().join("cut-short.db");
    execute(
        &cut_short,
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP \
         NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
    )
    .await;
    Store::open(&options(&cut_short)).await.unwrap().close().await.unwrap();
}
