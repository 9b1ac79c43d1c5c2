//! What a kill or a power failure leaves, at each moment of a transaction: the state as it was before, or after, and whole.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::Connection as _;

use super::*;
use crate::seed;
use crate::state::stamp;

const PAGE: usize = 4096;
/// Bytes of the header of a journal, and of a record in it.
const SECTOR: usize = 512;
const RECORD: usize = PAGE + 8;

/// What a journal begins with as soon as all of it is on the disk.
pub(super) const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// What is on the disk before, while and after a transaction is committed.
pub(super) struct Commit {
    /// The database before it.
    pub(super) before: Vec<u8>,
    /// The journal, full, as it is synced first: zeros are where its beginning will be.
    pub(super) unsynced: Vec<u8>,
    /// The journal from then on.
    pub(super) journal: Vec<u8>,
    /// The database after it.
    pub(super) after: Vec<u8>,
}

/// The offset that the state has before and after it.
pub(super) const BEFORE: u64 = 10;
pub(super) const AFTER: u64 = 20;

/// The checkpoint of the transaction: it changes, adds and removes much of what was there.
pub(super) fn next() -> Checkpoint {
    let ended_legs = (0..50).map(|n| Token::of([format!("item {n}").as_str()])).collect();
    Checkpoint { ended_legs, removed: vec![2], ..checkpoint(AFTER, 50..400) }
}

/// Writes a checkpoint into the database of `place`, and stops it at the moment before it writes the first page.
pub(super) async fn commit(place: &Place) -> Commit {
    let state = place.open().await;
    state.checkpoint(checkpoint(BEFORE, 0..200)).await.unwrap();
    state.bury(1, (1..50).map(|offset| letter(offset, 0)).collect()).await.unwrap();
    let before = place.read("");
    let url = format!("sqlite://{}", place.path.display());
    let mut reader = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM store").execute(&mut reader).await.unwrap();
    execute(&state, "PRAGMA busy_timeout = 0; PRAGMA cache_spill = OFF").await;
    let work = async |connection: &mut SqliteConnection| {
        stamp::begin(&mut *connection).await?;
        crate::state::checkpoint::write(&mut *connection, &next()).await?;
        // A reader is in the way of the first page, and the transaction stays open.
        assert!(sqlx::query("COMMIT").execute(connection).await.is_err());
        Ok(())
    };
    sqlite(&state).write_alone(work).await.unwrap();
    let (unsynced, unchanged) = (place.read("-journal"), place.read(""));
    assert!(unchanged == before, "nothing is written before the journal is on the disk");
    reader.close().await.unwrap();
    execute(&state, "COMMIT").await;
    state.close().await.unwrap();
    let records = (unsynced.len() - SECTOR) / RECORD;
    assert!(records > 10 && unsynced.len() == SECTOR + records * RECORD, "{}", unsynced.len());
    let mut journal = unsynced.clone();
    journal[..8].copy_from_slice(&MAGIC);
    journal[8..12].copy_from_slice(&u32::try_from(records).unwrap().to_be_bytes());
    Commit { before, unsynced, journal, after: place.read("") }
}

/// Opens a database beside a journal and returns the offset of its state, which is whole.
async fn opened(database: &[u8], journal: &[u8]) -> u64 {
    let place = Place::new();
    place.write("", database);
    place.write("-journal", journal);
    let state = place.open().await;
    assert_eq!(state.faults().await, Ok(vec![]));
    let loaded = state.load().await.unwrap();
    let (legs, consumers) = if loaded.offset == BEFORE { (200, 2) } else { (350, 2) };
    assert_eq!((loaded.legs.len(), loaded.consumers.len(), loaded.dead[&1].len()), (legs, consumers, 49));
    loaded.offset
}

/// The database while its pages are written: those that `is_written` says are as after it.
pub(super) fn midway(commit: &Commit, mut is_written: impl FnMut(usize) -> bool) -> Vec<u8> {
    let mut database = commit.before.clone();
    for (page, content) in commit.after.chunks(PAGE).enumerate() {
        if is_written(page) {
            database.resize(database.len().max((page + 1) * PAGE), 0);
            database[page * PAGE..(page + 1) * PAGE].copy_from_slice(content);
        }
    }
    database
}

#[tokio::test]
async fn a_commit_that_is_killed_at_any_write_is_undone_or_done() {
    let commit = commit(&Place::new()).await;
    // While the journal is written, nothing else is.
    let (full, step) = (commit.unsynced.len(), commit.unsynced.len() / 8);
    for length in (0..full).step_by(step).chain([1, 8, 27, 28, SECTOR - 1, SECTOR, SECTOR + 1, SECTOR + RECORD, full]) {
        assert_eq!(opened(&commit.before, &commit.unsynced[..length]).await, BEFORE, "{length} bytes of the journal");
    }
    // Then the pages, in their order.
    let pages = commit.after.len() / PAGE;
    for written in (0..=pages).step_by(pages / 12).chain([1, 2, 3, pages]) {
        let database = midway(&commit, |page| page < written);
        assert_eq!(opened(&database, &commit.journal).await, BEFORE, "{written} pages are written");
    }
    // What an earlier transaction has left in the journal, which was killed before it was synced, follows.
    let stale: Vec<u8> = commit.unsynced[SECTOR + RECORD..].iter().map(|byte| byte ^ 0x11).collect();
    for length in [1, RECORD, 7 * RECORD] {
        let journal = [&commit.journal[..], &stale[..length]].concat();
        assert_eq!(opened(&midway(&commit, |page| page < pages / 2), &journal).await, BEFORE);
    }
    // At last the journal is emptied.
    assert_eq!(opened(&commit.after, &[]).await, AFTER);
}

#[tokio::test]
async fn a_power_failure_that_tears_pages_or_loses_some_is_undone() {
    let commit = commit(&Place::new()).await;
    for seed in seed::fixed_and_fresh([1]) {
        let mut dice = StdRng::seed_from_u64(seed);
        for _ in 0..8 {
            let share = dice.random_range(0.0..1.0);
            let mut database = midway(&commit, |_| dice.random_bool(share));
            for page in database.chunks_mut(PAGE).skip(1) {
                if dice.random_bool(0.05) {
                    page[dice.random_range(0..PAGE / 512) * 512..].fill(0x5a);
                }
            }
            // Only what the journal can put right was written: pages beyond the old end are cut off.
            let changed: Vec<_> = recorded(&commit.journal);
            for (page, old) in commit.before.chunks(PAGE).enumerate().filter(|(page, _)| !changed.contains(&(page + 1))) {
                database[page * PAGE..(page + 1) * PAGE].copy_from_slice(old);
            }
            assert_eq!(opened(&database, &commit.journal).await, BEFORE);
        }
    }
}

/// The numbers of the pages in a journal.
fn recorded(journal: &[u8]) -> Vec<usize> {
    let number = |record: &[u8]| u32::from_be_bytes(record[..4].try_into().unwrap()) as usize;
    journal[SECTOR..].chunks(RECORD).map(number).collect()
}

#[tokio::test]
async fn the_first_page_is_the_first_in_every_journal() {
    let commit = commit(&Place::new()).await;
    assert_eq!(recorded(&commit.journal)[0], 1);
}

#[tokio::test]
async fn a_transaction_that_is_larger_than_the_memory_is_undone_after_a_kill_at_any_statement() {
    let place = Place::new();
    let state = place.open().await;
    state.checkpoint(checkpoint(BEFORE, 0..200)).await.unwrap();
    state.bury(1, (1..50).map(|offset| letter(offset, 0)).collect()).await.unwrap();
    // So that pages are written long before the commit.
    execute(&state, "PRAGMA cache_size = 5; PRAGMA cache_spill = 1").await;
    let (before, killed) = (place.read(""), Arc::new(std::sync::Mutex::new(Vec::new())));
    let (copies, files) = (Arc::clone(&killed), [place.path.clone(), place.file("-journal")]);
    let work = async move |connection: &mut SqliteConnection| {
        stamp::begin(&mut *connection).await?;
        for step in 0..30 {
            let written = if step == 15 { next() } else { checkpoint(AFTER, 100 + 20 * step..150 + 20 * step) };
            crate::state::checkpoint::write(&mut *connection, &written).await?;
            copies.lock().unwrap().push(files.clone().map(|file| fs::read(file).unwrap()));
        }
        sqlx::query("ROLLBACK").execute(connection).await?;
        Ok(())
    };
    sqlite(&state).write_alone(work).await.unwrap();
    let killed = killed.lock().unwrap().clone();
    let spilled = killed.iter().filter(|[database, _]| *database != before).count();
    assert!(spilled > 20, "only {spilled} of {} have pages of the transaction", killed.len());
    for [database, journal] in killed {
        assert_eq!(opened(&database, &journal).await, BEFORE);
    }
    assert_eq!(state.load().await.unwrap().offset, BEFORE, "it is undone here too");
}

#[tokio::test]
async fn a_database_whose_making_was_killed_is_made_anew() {
    let made = Place::new();
    made.open().await.close().await.unwrap();
    let whole = made.read("");
    for length in [0, 1, 100, PAGE, 3 * PAGE, whole.len()] {
        let place = Place::new();
        place.write(".new", &whole[..length]);
        place.write(".new-journal", &MAGIC);
        let state = place.open().await;
        assert_eq!(state.load().await.unwrap().offset, 1);
        assert_eq!(state.faults().await, Ok(vec![]));
        let mut names: Vec<_> =
            place.folder.path().read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert!(names.iter().all(|name| !name.to_string_lossy().contains(".new")), "{names:?}");
    }
}

#[tokio::test]
async fn a_command_beside_a_dead_owner_undoes_what_that_left() {
    let commit = commit(&Place::new()).await;
    let place = Place::new();
    place.write("", &midway(&commit, |page| page % 2 == 0));
    place.write("-journal", &commit.journal);
    let beside = State::beside(&place.path).await.unwrap();
    assert_eq!(beside.load().await.unwrap().offset, BEFORE);
    assert_eq!(beside.ask("1".to_owned(), at(0)).await, Ok(1));
    assert!(!State::has_owner(&place.path));
    assert_eq!(place.open().await.take_commands(at(0)).await.unwrap().len(), 1);
}
