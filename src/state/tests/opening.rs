//! Whom the state belongs to, and what it does with a file that it must not touch: it says so, and leaves every byte as it
//! is.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// Opens what is at `place`, which must be refused and stay as it is.
async fn refusal(place: &Place) -> OpenError {
    let before = place.read("");
    for _ in 0..2 {
        let refused = State::open(&place.path, true).await.map(drop);
        assert!(place.read("") == before, "{refused:?} but the file was changed");
        let told = refused.unwrap_err().to_string();
        assert!(told.contains(place.path.to_str().unwrap()) && told.contains(": "), "{told}");
    }
    let refused = State::open(&place.path, false).await.map(drop).unwrap_err();
    let beside = State::beside(&place.path).await.map(drop);
    let corrupt = matches!(refused, OpenError::Corrupt { .. });
    // Beside the owner nobody looks through the whole database.
    assert!(corrupt || beside.as_ref() == Err(&refused), "{refused:?}, beside {beside:?}");
    assert!(place.read("") == before, "the file was changed");
    refused
}

/// A database with something in it, closed.
async fn database() -> Place {
    let place = Place::new();
    let state = place.open().await;
    state.checkpoint(checkpoint(50, 0..100)).await.unwrap();
    state.bury(1, (1..200).map(|offset| letter(offset, 0)).collect()).await.unwrap();
    state.close().await.unwrap();
    place
}

#[tokio::test]
async fn what_is_not_a_database_is_left_alone() {
    let place = Place::new();
    for content in ["x", "# a configuration, not a database\n", &"text ".repeat(5000)] {
        place.write("", content.as_bytes());
        assert_eq!(refusal(&place).await, OpenError::NotADatabase { path: place.path.clone() });
    }
    fs::remove_file(&place.path).unwrap();
    fs::create_dir(&place.path).unwrap();
    for refused in [State::open(&place.path, true).await, State::beside(&place.path).await] {
        assert_eq!(refused.map(drop), Err(OpenError::NotADatabase { path: place.path.clone() }));
    }
}

#[tokio::test]
async fn a_damaged_database_is_left_alone() {
    let place = database().await;
    let good = place.read("");
    let page = 4096;
    assert!(good.len() > 40 * page);
    let is_refused = |refused: &OpenError| {
        matches!(
            refused,
            OpenError::Corrupt { .. } | OpenError::NotADatabase { .. } | OpenError::WriteAhead { .. }
        )
    };
    for length in [16, 99, 100, 3 * page, good.len() / 2, good.len() - page, good.len() - 1] {
        place.write("", &good[..length]);
        let refused = refusal(&place).await;
        assert!(is_refused(&refused), "{length}: {refused:?}");
    }
    // Of the header: magic, page size, format versions, reserved space, fractions, schema format, text encoding.
    for flipped in [0, 5, 15, 16, 17, 18, 19, 20, 21, 22, 23, 47, 59, 100, 105] {
        let mut bad = good.clone();
        bad[flipped] ^= 0xff;
        place.write("", &bad);
        let refused = refusal(&place).await;
        assert!(is_refused(&refused), "{flipped}: {refused:?}");
    }
    for number in [1, 5, good.len() / page / 2] {
        let mut bad = good.clone();
        bad[number * page..(number + 1) * page].fill(0x5a);
        place.write("", &bad);
        let refused = refusal(&place).await;
        assert!(matches!(refused, OpenError::Corrupt { .. }), "page {number}: {refused:?}");
    }
    place.write("", &good);
    assert_eq!(place.open().await.load().await.unwrap().legs.len(), 100);
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let place = Place::new();
    execute_on(&place.path, "CREATE TABLE bookmarks (url TEXT); INSERT INTO bookmarks VALUES ('https://example.com')").await;
    assert_eq!(refusal(&place).await, OpenError::Foreign { path: place.path.clone() });
    execute_on(&place.path, "PRAGMA application_id = 77").await;
    assert_eq!(refusal(&place).await, OpenError::Foreign { path: place.path.clone() });
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_by_both_numbers() {
    let place = database().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
        VALUES (9999, 'from the future', 1, x'00', 0)";
    execute_on(&place.path, newer).await;
    let refused = refusal(&place).await;
    assert_eq!(refused, OpenError::Newer { path: place.path.clone(), found: 9999, known: 1 });
    let told = refused.to_string();
    assert!(told.contains("9999") && told.contains("knows 1"), "{told}");
}

/// As the versions before the event log made it, as far as that is looked at.
const FORMER: &str = "PRAGMA journal_mode = wal; PRAGMA application_id = 1869509488; \
    CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP \
        NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL); \
    INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES \
        (1, 'foundation', 1, x'00', 0), (9, 'assigned', 1, x'00', 0); \
    CREATE TABLE events (position INTEGER PRIMARY KEY, body TEXT NOT NULL)";

#[tokio::test]
async fn a_database_of_before_the_event_log_is_refused_by_its_own_sentence() {
    let place = Place::new();
    execute_on(&place.path, FORMER).await;
    let former = OpenError::Former { path: place.path.clone() };
    assert_eq!(refusal(&place).await, former);
    let told = former.to_string();
    for part in ["before the event log", "never released", "move it away", "the program that wrote it"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(State::owned(&place.path).await.map(drop), Err(former));
    // Its program was killed, and its log is there.
    place.write("-wal", b"not looked at");
    assert_eq!(refusal(&place).await, OpenError::Former { path: place.path.clone() });
    assert_eq!(place.read("-wal"), b"not looked at");
    fs::remove_file(place.file("-wal")).unwrap();
    // It is known in whichever way it was folded.
    execute_on(&place.path, "PRAGMA journal_mode = delete").await;
    assert_eq!(refusal(&place).await, OpenError::Former { path: place.path.clone() });
}

#[tokio::test]
async fn a_place_that_cannot_be_used_is_named() {
    let place = Place::new();
    let folder = place.folder.path().join("absent");
    let nowhere = folder.join("router.db");
    let absent = OpenError::Folder { folder };
    assert_eq!(State::open(&nowhere, true).await.map(drop).unwrap_err(), absent);
    assert_eq!(State::beside(&nowhere).await.map(drop).unwrap_err(), absent);
    assert_eq!(State::owned(&nowhere).await.map(drop).unwrap_err(), absent);

    let absent = || Err(OpenError::Absent { path: place.path.clone() });
    for create in [State::open(&place.path, false).await, State::beside(&place.path).await, State::owned(&place.path).await] {
        assert_eq!(create.map(drop), absent());
    }
    assert!(!place.path.exists(), "nothing was made");

    place.write("", b"");
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o400)).unwrap();
    if fs::OpenOptions::new().write(true).open(&place.path).is_err() {
        // Not for root, who may do everything.
        let refused = State::open(&place.path, true).await.map(drop);
        assert_eq!(refused, Err(OpenError::Permission { path: place.path.clone() }));
    }
}

#[tokio::test]
async fn a_new_database_is_its_owners_alone_and_is_there_as_a_whole() {
    let place = Place::new();
    // Somebody has prepared an empty file.
    place.write("", b"");
    let state = place.open().await;
    for suffix in ["", ".lock"] {
        assert_eq!(fs::metadata(place.file(suffix)).unwrap().permissions().mode() & 0o777, 0o600, "{suffix}");
    }
    state.bury(1, vec![letter(1, 0)]).await.unwrap();
    assert_eq!(fs::metadata(place.file("-journal")).unwrap().permissions().mode() & 0o777, 0o600);
    let one = state.load().await.unwrap().store;
    let other = Place::new();
    let another = other.open().await.load().await.unwrap().store;
    assert_ne!(one, another, "each draws its own number");
    state.close().await.unwrap();
    let again = place.open().await;
    assert_eq!(again.load().await.unwrap().store, one);
    let known = crate::state::files(&place.path);
    for file in place.folder.path().read_dir().unwrap() {
        let file = file.unwrap().path();
        assert!(known.contains(&file), "{} is not among the files of the state", file.display());
    }
}

#[tokio::test]
async fn a_database_has_one_owner_until_it_is_closed() {
    let place = Place::new();
    assert!(!State::has_owner(&place.path));
    let state = place.open().await;
    assert!(State::has_owner(&place.path));
    let locked = |path: &Path| Err(OpenError::Locked { path: path.to_owned() });
    assert_eq!(State::open(&place.path, true).await.map(drop), locked(&place.path));
    assert_eq!(State::owned(&place.path).await.map(drop), locked(&place.path));
    // Neither a link nor another name of the file makes another database of it.
    let (link, hard) = (place.folder.path().join("link.db"), place.folder.path().join("hard.db"));
    symlink(&place.path, &link).unwrap();
    fs::hard_link(&place.path, &hard).unwrap();
    let real = place.path.canonicalize().unwrap();
    assert_eq!(State::open(&link, true).await.map(drop), locked(&real));
    assert_eq!(State::open(&hard, true).await.map(drop), locked(&hard));
    // Another process holds the lock as this file does.
    assert!(fs::File::open(place.file(".lock")).unwrap().try_lock().is_err());

    state.close().await.unwrap();
    assert!(!State::has_owner(&place.path));
    let mut left: Vec<_> = place.folder.path().read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    left.retain(|file| fs::metadata(file).unwrap().len() > 0);
    left.sort();
    assert_eq!(left, [hard, link, place.path.clone()], "a closed state is one file");
    let state = State::open(&place.folder.path().join("link.db"), false).await.unwrap();
    assert_eq!(State::open(&place.path, true).await.map(drop), locked(&place.path));
    drop(state);
}

#[tokio::test]
async fn whoever_is_beside_keeps_no_router_from_starting() {
    let place = database().await;
    let beside = State::beside(&place.path).await.unwrap();
    assert!(!State::has_owner(&place.path));
    let before = place.read("");
    assert_eq!(beside.load().await.unwrap().legs.len(), 100);
    assert_eq!(beside.faults().await, Ok(vec![]));
    assert!(place.read("") == before, "who only looks writes nothing");
    let owner = State::open(&place.path, false).await.unwrap();
    owner.bury(9, vec![letter(1, 0)]).await.unwrap();
    assert_eq!(beside.dead_count(9).await.unwrap().letters, 1);
}

#[tokio::test]
async fn a_lock_that_a_dead_process_left_is_nobodys() {
    let place = database().await;
    assert!(place.file(".lock").exists());
    assert!(State::open(&place.path, false).await.is_ok());
}
