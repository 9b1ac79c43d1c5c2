//! Journals that are not the database's own, or damaged. SQLite would believe them.

use sqlx::Connection as _;

use super::crash::{AFTER, BEFORE, MAGIC, commit, midway};
use super::*;

/// Opens the files and returns why that is refused. They must stay as they are.
async fn refusal(database: &[u8], journal: &[u8]) -> OpenError {
    let place = Place::new();
    place.write("", database);
    place.write("-journal", journal);
    let refused = State::open(&place.path, true).await.map(drop).unwrap_err();
    let beside = State::beside(&place.path).await.map(drop).unwrap_err();
    assert_eq!(beside, refused, "also beside");
    assert!(place.read("") == database && place.read("-journal") == journal, "{refused:?} but a file was changed");
    let told = refused.to_string();
    assert!(told.contains("router.db-journal") && told.contains(": "), "{told}");
    refused
}

/// What SQLite by itself makes of the files.
async fn sqlite_alone(database: &[u8], journal: &[u8]) -> Vec<u8> {
    let place = Place::new();
    place.write("", database);
    place.write("-journal", journal);
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", place.path.display())).await.unwrap();
    let _ = sqlx::query("SELECT 1 FROM sqlite_schema").execute(&mut connection).await;
    connection.close().await.unwrap();
    assert!(place.read("-journal").is_empty(), "it has taken the journal for its own");
    place.read("")
}

#[tokio::test]
async fn a_database_that_was_put_back_beside_another_ones_journal_is_refused() {
    let place = Place::new();
    let state = place.open().await;
    state.bury(2, (1..80).map(|offset| letter(offset, 0)).collect()).await.unwrap();
    let backup = Place::new();
    state.vacuum_into(&backup.path).await.unwrap();
    state.close().await.unwrap();
    let earlier = place.read("");
    let commit = commit(&place).await;
    let later = place.open().await;
    later.bury(3, vec![letter(1, 0)]).await.unwrap();
    later.close().await.unwrap();
    let other = Place::new();
    other.open().await.close().await.unwrap();
    for (what, database) in [
        ("a file that was copied before", earlier),
        ("a backup", backup.read("")),
        ("a file that was copied later", place.read("")),
        ("another store", other.read("")),
    ] {
        let refused = refusal(&database, &commit.journal).await;
        assert!(matches!(refused, OpenError::Restored { .. }), "{what}: {refused:?}");
        assert!(sqlite_alone(&database, &commit.journal).await != database, "{what}: SQLite leaves it alone");
        // Without the journal, or with one that was never on the disk, the database counts as it is.
        let alone = Place::new();
        alone.write("", &database);
        alone.write("-journal", &commit.unsynced);
        assert_eq!(alone.open().await.faults().await, Ok(vec![]), "{what}");
    }
    // Its own is believed.
    let own = Place::new();
    own.write("", &commit.before);
    own.write("-journal", &commit.journal);
    assert_eq!(own.open().await.load().await.unwrap().offset, BEFORE);
}

#[tokio::test]
async fn a_journal_that_cannot_undo_all_is_refused_and_can_be_given_up() {
    let commit = commit(&Place::new()).await;
    let database = midway(&commit, |_| true);
    let mut bad = Vec::new();
    // Magic, number of records, page size, and of the fifth record: its number, a byte of the page that is summed, and the sum.
    let record = 512 + 4 * 4104;
    for at in [0, 7, 8, 26, record, record + 4 + 96, record + 4100] {
        let mut journal = commit.journal.clone();
        journal[at] ^= 0x41;
        bad.push((at, journal));
    }
    bad.push((0, commit.journal[..commit.journal.len() - 1].to_vec()));
    for (at, journal) in bad {
        let refused = refusal(&database, &journal).await;
        assert!(matches!(refused, OpenError::Journal { .. } | OpenError::Restored { .. }), "byte {at}: {refused:?}");
    }

    let mut journal = commit.journal.clone();
    journal[record + 4 + 96] ^= 0x40;
    let place = Place::new();
    place.write("", &database);
    place.write("-journal", &journal);
    let Ok(state) = State::owned(&place.path).await else { panic!("nothing is left to look at") };
    let repaired = state.repair().await.unwrap();
    assert!(repaired.done[0].contains("router.db-journal.damaged"), "{repaired:?}");
    assert!(place.read("-journal.damaged") == journal);
}

#[tokio::test]
async fn a_journal_without_its_database_is_not_the_next_ones() {
    let commit = commit(&Place::new()).await;
    for create in [true, false] {
        for empty in [true, false] {
            let place = Place::new();
            place.write("-journal", &commit.journal);
            if empty {
                place.write("", b"");
            }
            let refused = State::open(&place.path, create).await.map(drop).unwrap_err();
            assert_eq!(refused, OpenError::Orphan { path: place.path.clone() });
            assert!(place.read("-journal") == commit.journal && place.read("").is_empty());
            fs::remove_file(place.file("-journal")).unwrap();
            place.open().await;
        }
    }
    // An empty journal is what every state leaves.
    let place = Place::new();
    place.write("-journal", b"");
    place.open().await;
}

#[tokio::test]
async fn a_write_ahead_log_is_refused_whosoever_it_is() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    let whole = place.read("");
    // It is left over from another database.
    let other = Place::new();
    execute_on(&other.path, "PRAGMA journal_mode = wal; CREATE TABLE other (x); INSERT INTO other VALUES (1)").await;
    let url = format!("sqlite://{}", other.path.display());
    let mut open = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("INSERT INTO other VALUES (2)").execute(&mut open).await.unwrap();
    let log = other.read("-wal");
    assert!(!log.is_empty());
    place.write("-wal", &log);
    let refused = State::open(&place.path, true).await.map(drop).unwrap_err();
    assert_eq!(refused, OpenError::WriteAhead { path: place.path.clone() });
    assert!(place.read("") == whole && place.read("-wal") == log);
    fs::remove_file(&place.path).unwrap();
    let refused = State::open(&place.path, true).await.map(drop).unwrap_err();
    assert_eq!(refused, OpenError::WriteAhead { path: place.path.clone() }, "without the database too");

    // Somebody has worked on it.
    fs::remove_file(place.file("-wal")).unwrap();
    place.write("", &whole);
    execute_on(&place.path, "PRAGMA journal_mode = wal; UPDATE heard SET until = 0").await;
    let refused = State::open(&place.path, true).await.map(drop).unwrap_err();
    assert_eq!(refused, OpenError::WriteAhead { path: place.path.clone() });
    execute_on(&place.path, "PRAGMA journal_mode = delete").await;
    assert_eq!(place.open().await.faults().await, Ok(vec![]));
}

#[tokio::test]
async fn what_another_program_left_undone_is_undone_as_well() {
    // Its transactions have no stamp. (It changes the first page; while a reader is in the way of the commit, only what
    // changes that is in the journal already.)
    let place = Place::new();
    let state = place.open().await;
    state.checkpoint(checkpoint(AFTER, 0..50)).await.unwrap();
    state.close().await.unwrap();
    let url = format!("sqlite://{}", place.path.display());
    let mut reader = SqliteConnection::connect(&url).await.unwrap();
    let mut writer = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM store").execute(&mut reader).await.unwrap();
    let written = "PRAGMA busy_timeout = 0; BEGIN; UPDATE legs SET checksum = 1; CREATE TABLE other (x); COMMIT";
    assert!(sqlx::raw_sql(written).execute(&mut writer).await.is_err());
    let before = place.read("");
    let mut journal = place.read("-journal");
    reader.close().await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();
    writer.close().await.unwrap();
    let after = place.read("");
    let records = u32::try_from((journal.len() - 512) / 4104).unwrap();
    journal[..8].copy_from_slice(&MAGIC);
    journal[8..12].copy_from_slice(&records.to_be_bytes());
    for database in [&before, &after] {
        let killed = Place::new();
        killed.write("", database);
        killed.write("-journal", &journal);
        let state = killed.open().await;
        assert_eq!(state.faults().await, Ok(vec![]));
        assert_eq!(state.load().await.unwrap().legs.len(), 50);
    }
}
