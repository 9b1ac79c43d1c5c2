//! The writer: groups, faults, full disks, and that nothing is answered before it is on the disk.

use std::collections::BTreeSet;

use super::*;
use crate::domain::status::StoreFault;

#[tokio::test]
async fn many_callers_at_once_are_all_answered() {
    let place = Place::new();
    let state = place.open().await;
    let callers: Vec<_> = (1..=3000)
        .map(|offset| {
            let state = state.clone();
            tokio::spawn(async move { state.bury(1, vec![letter(offset, 0)]).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(1));
    }
    assert_eq!((state.dead_count(1).await.unwrap().letters, state.waiting()), (3000, 0));
    state.close().await.unwrap();
    let changes = stamps(&place);
    assert!(changes < 3000, "many of them share a transaction, but there were {changes}");
}

/// Transactions in the life of the database.
fn stamps(place: &Place) -> u32 {
    let header = place.read("");
    u32::from_be_bytes(header[24..28].try_into().unwrap())
}

#[tokio::test]
async fn an_operation_that_is_refused_does_not_sink_its_neighbours() {
    let place = Place::new();
    let state = place.open().await;
    state.checkpoint(checkpoint(9, 0..1)).await.unwrap();
    let (one, bad, other) = tokio::join!(
        state.bury(1, vec![letter(1, 0)]),
        state.checkpoint(checkpoint(8, 0..1)),
        state.bury(1, vec![letter(2, 0)]),
    );
    assert_eq!((one, other), (Ok(1), Ok(1)));
    assert!(matches!(bad, Err(StateError::Refused(_))), "{bad:?}");
    assert_eq!(state.dead_count(1).await.unwrap().letters, 2);
}

#[tokio::test]
async fn only_what_is_wrong_with_the_content_is_refused() {
    let place = Place::new();
    let state = place.open().await;
    let run = async |statement: &'static str| {
        let work = async move |connection: &mut SqliteConnection| {
            Ok(sqlx::query(statement).execute(connection).await.map(drop)?)
        };
        sqlite(&state).write(work).await.unwrap_err()
    };
    assert_eq!(run("SELECT * FROM nowhere").await.fault(), Some(StoreFault::Io));
    assert_eq!(run("SELECT zeroblob(2000000000)").await.fault(), Some(StoreFault::Refused));
    assert_eq!(run("INSERT INTO commands (asked, body) VALUES (1, 'no JSON')").await.fault(), Some(StoreFault::Refused));
    let twice = vec![consumer(1, "log", "a"), consumer(2, "log", "b")];
    let refused = state.checkpoint(Checkpoint { consumers: twice, ..checkpoint(5, 0..1) }).await;
    assert!(matches!(refused, Err(StateError::Refused(_))), "{refused:?}");
    assert_eq!(state.load().await.unwrap().offset, 1, "nothing of it is there");
    let far = state.checkpoint(Checkpoint { offset: u64::MAX, ..checkpoint(5, 0..1) }).await;
    assert!(matches!(far, Err(StateError::Refused(_))), "{far:?}");
    assert_eq!(state.bury(1, vec![letter(1, 0)]).await, Ok(1));
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_half_written_and_work_goes_on_once_there_is_room() {
    let place = Place::new();
    let state = place.open().await;
    execute(&state, "PRAGMA max_page_count = 60").await;
    let mut kept = 0;
    let full = loop {
        match state.bury(1, vec![letter(3 * kept + 1, 0), letter(3 * kept + 2, 0), letter(3 * kept + 3, 0)]).await {
            Ok(_) => kept += 1,
            Err(fault) => break fault,
        }
    };
    assert!(matches!(full, StateError::Full(_)), "{full:?}");
    assert!(!full.is_final() && kept > 10);
    let refused = state.checkpoint(checkpoint(5, 0..500)).await;
    assert!(matches!(refused, Err(StateError::Full(_))), "{refused:?}");
    let loaded = state.load().await.unwrap();
    assert_eq!((loaded.offset, loaded.legs.len(), loaded.dead[&1].len() as u64), (1, 0, 3 * kept));
    assert_eq!(state.faults().await, Ok(vec![]));
    // What makes room can be done.
    assert_eq!(state.remove_dead(1, &loaded.dead[&1]).await, Ok(3 * kept));
    assert_eq!(state.bury(1, vec![letter(1, 0)]).await, Ok(1));
    execute(&state, "PRAGMA max_page_count = 6000").await;
    state.checkpoint(checkpoint(5, 0..500)).await.unwrap();
    assert_eq!(state.load().await.unwrap().legs.len(), 500);
    assert_eq!(state.faults().await, Ok(vec![]));
}

#[tokio::test]
async fn whoever_holds_the_database_for_too_long_is_waited_for_later() {
    let place = Place::new();
    let state = place.open().await;
    execute(&state, "PRAGMA busy_timeout = 0").await;
    let url = format!("sqlite://{}", place.path.display());
    let mut other = <SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM store").execute(&mut other).await.unwrap();
    let busy = state.bury(1, vec![letter(1, 0)]).await.unwrap_err();
    assert_eq!(busy.fault(), Some(StoreFault::Busy), "a reader keeps it from its commit: {busy:?}");
    assert!(!busy.is_final() && !busy.lasts());
    sqlx::raw_sql("COMMIT; BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    assert_eq!(state.bury(1, vec![letter(1, 0)]).await.unwrap_err().fault(), Some(StoreFault::Busy));
    assert_eq!(state.dead_count(1).await.unwrap().letters, 0, "it can be read meanwhile");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(state.bury(1, vec![letter(1, 0)]).await, Ok(1));
}

#[tokio::test]
async fn a_sync_that_fails_is_the_end_for_all_that_wait_and_all_that_come() {
    let place = Place::new();
    let state = place.open().await;
    let dead = StateError::Dead { fault: StoreFault::Sync, detail: "disk I/O error".into() };
    let work = {
        let dead = dead.clone();
        async move |_: &mut SqliteConnection| Err::<(), _>(dead.clone())
    };
    let (before, fault, after) =
        tokio::join!(state.bury(1, vec![letter(1, 0)]), sqlite(&state).write(work), state.bury(1, vec![letter(2, 0)]));
    // Whether they were in one group with it or not, nobody was told that all is well after it.
    assert!(before == Ok(1) || before == Err(dead.clone()), "{before:?}");
    assert_eq!((fault, after), (Err(dead.clone()), Err(dead.clone())));
    assert_eq!(state.load().await.unwrap_err(), dead, "nothing that is there is believed");
    assert_eq!(state.ended().await, dead);
    assert!(!state.is_closed(), "nobody asked for that");
}

#[tokio::test]
async fn a_thread_that_is_gone_is_no_clean_stop() {
    let place = Place::new();
    let state = place.open().await;
    let panics = sqlite(&state).write(async |_: &mut SqliteConnection| -> Result<(), _> { panic!("asked to") });
    assert_eq!(panics.await, Err(StateError::gone()));
    assert_eq!(state.ended().await, StateError::gone());
    assert!(StateError::gone().is_final());
    assert_eq!(state.close().await, Err(StateError::gone()));
    assert_eq!(state.ledger().await, Err(StateError::gone()));
}

#[tokio::test]
async fn nothing_is_written_into_a_database_that_was_moved_away() {
    let place = Place::new();
    let state = place.open().await;
    assert_eq!(state.look().await, Ok(()));
    fs::rename(&place.path, place.file(".aside")).unwrap();
    for outcome in [state.look().await, state.bury(1, vec![letter(1, 0)]).await.map(drop)] {
        let moved = outcome.unwrap_err();
        assert!(matches!(&moved, StateError::Moved(told) if told.contains("router.db")), "{moved:?}");
        assert!(!moved.is_final(), "it may be put back");
    }
    fs::rename(place.file(".aside"), &place.path).unwrap();
    assert_eq!((state.look().await, state.bury(1, vec![letter(1, 0)]).await), (Ok(()), Ok(1)));
    let (before, closed) = tokio::join!(state.bury(1, vec![letter(2, 0)]), state.close());
    assert_eq!((before, closed), (Ok(1), Ok(())), "what waits is finished first");
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_kill() {
    let place = Place::new();
    let state = place.open().await;
    let mut answered = BTreeSet::new();
    for offset in 1..=40 {
        state.bury(1, vec![letter(offset, 0)]).await.unwrap();
        answered.insert(offset);
        if offset % 10 == 0 {
            state.checkpoint(checkpoint(offset, 0..offset)).await.unwrap();
        }
        let killed = place.killed();
        let state = killed.open().await;
        let loaded = state.load().await.unwrap();
        assert_eq!(loaded.dead[&1].iter().copied().collect::<BTreeSet<_>>(), answered);
        assert_eq!(loaded.legs.len() as u64, offset / 10 * 10);
    }
}

#[tokio::test]
async fn an_idle_state_writes_nothing() {
    let place = Place::new();
    let state = place.open().await;
    state.bury(1, vec![letter(1, 0)]).await.unwrap();
    let before = place.read("");
    let bounds = crate::state::DeadBounds { bytes: u64::MAX, died: at(-9) };
    for _ in 0..3 {
        assert_eq!(state.take_commands(at(0)).await, Ok(vec![]));
        assert_eq!(state.trim_dead(1, bounds).await, Ok(0));
        state.load().await.unwrap();
        state.faults().await.unwrap();
    }
    assert!(place.read("") == before, "the file was changed");
    assert!(place.read("-journal").is_empty(), "between two transactions the journal is empty");
}

#[tokio::test]
async fn the_room_of_the_database_and_of_its_disk_is_told() {
    let place = Place::new();
    let state = place.open().await;
    let room = state.room().await.unwrap();
    assert!((1..=room.size).contains(&room.free) && room.used == place.read("").len() as u64, "{room:?}");
}

#[tokio::test]
async fn a_copy_of_the_state_is_a_state_of_its_own() {
    let place = Place::new();
    let state = place.open().await;
    state.checkpoint(checkpoint(50, 0..200)).await.unwrap();
    state.bury(1, vec![letter(1, 0)]).await.unwrap();
    state.write_ledger(entry("front", "/me/a")).await.unwrap();
    let copy = Place::new();
    state.vacuum_into(&copy.path).await.unwrap();
    let refused = state.vacuum_into(&copy.path).await;
    assert!(matches!(refused, Err(StateError::Refused(_))), "it is there already: {refused:?}");
    let nowhere = state.vacuum_into(&copy.folder.path().join("absent/copy.db")).await;
    assert!(nowhere.is_err_and(|fault| fault.to_string().contains("absent")));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&copy.path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(!copy.file("-journal").exists() && !copy.file("-wal").exists(), "it is one file");

    let copied = copy.open().await;
    assert_eq!(copied.load().await, state.load().await);
    assert_eq!(copied.ledger().await, state.ledger().await);
    assert_eq!(copied.bury(1, vec![letter(2, 0)]).await, Ok(1));
    assert_eq!(state.dead_count(1).await.unwrap().letters, 1);
}
