//! Repairs what can be repaired of a database no router uses: indexes, counters, rows that lack each other, and events
//! that are not what was written, which are moved to a file beside it.
//!
//! Says everything it did. What is wrong with the file itself beyond its indexes it leaves alone.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sqlx::{Connection, SqliteConnection, SqlitePool};

use super::error::{OpenError, StoreError};
use super::opening::{self, CutOff, Opened};
use super::options::Options;
use super::queue::by_bit;
use super::settling::needless;
use super::{Store, checksum, faults, journal, packing, queue};

pub(super) const STRAYS: &str = "DELETE FROM owed WHERE position NOT IN (SELECT position FROM events) \
    OR sink NOT IN (SELECT number FROM sinks)";
pub(super) const STRAY_LETTERS: &str = "DELETE FROM dead WHERE position NOT IN (SELECT position FROM events) \
    OR sink NOT IN (SELECT number FROM sinks)";
pub(super) const NEEDLESS: &str = concat!("DELETE FROM events WHERE ", needless!());
pub(super) const COUNTERS: &str = "UPDATE sinks SET owed = counted.owed, bytes = counted.bytes, dead = counted.dead \
    FROM (SELECT number, (SELECT count(*) FROM owing WHERE owing.sink = all_sinks.number) AS owed, \
        (SELECT coalesce(sum(owing.bytes), 0) FROM owing WHERE owing.sink = all_sinks.number) AS bytes, \
        (SELECT count(*) FROM dead WHERE dead.sink = all_sinks.number) AS dead FROM sinks AS all_sinks) AS counted \
    WHERE counted.number = sinks.number \
    AND (sinks.owed, sinks.bytes, sinks.dead) IS NOT (counted.owed, counted.bytes, counted.dead) RETURNING name";
/// Events of before there were checksums that are none.
const NO_EVENTS: &str = "SELECT position FROM events \
    WHERE checksum IS NULL AND iif(json_valid(body), (body ->> '$.id') IS NOT id, true)";
const DAMAGED: &str = "SELECT position, id, partition, received, body FROM events \
    WHERE position IN (SELECT value FROM json_each(?1)) ORDER BY position";
const DEBTORS: &str = "SELECT name FROM sinks WHERE EXISTS (SELECT 1 FROM owing WHERE owing.sink = number AND owing.position = ?1) \
    OR EXISTS (SELECT 1 FROM dead WHERE sink = number AND position = ?1) ORDER BY name";

/// The names of the sinks stand in the table and in its index; nothing else says which of two is right.
pub(super) const NAMES: &str = "SELECT number, name FROM sinks NOT INDEXED ORDER BY number";
pub(super) const INDEXED_NAMES: &str =
    "SELECT number, name FROM sinks INDEXED BY sqlite_autoindex_sinks_1 ORDER BY name";

/// Position, id, partition, time of receipt and body of an event whose texts may be none any more.
type Damaged = (i64, Vec<u8>, Vec<u8>, i64, Vec<u8>);

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What was done, one line each.
    pub done: Vec<String>,
    /// What is still wrong, one line each.
    pub left: Vec<String>,
}

/// Why nothing was repaired. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// It could not be opened, or a router uses it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be read or written.
    #[error("{}: {fault}", .path.display())]
    Store {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        fault: StoreError,
    },
    /// Damaged events could not be moved.
    #[error("damaged events cannot be moved to {}: {fault}", .path.display())]
    Aside {
        /// The file.
        path: PathBuf,
        /// What the system said.
        fault: io::Error,
    },
}

impl Store {
    /// Repairs what can be repaired of a database that no router uses, and says what that was.
    pub async fn repair(options: &Options) -> Result<Repaired, RepairError> {
        let (Opened { path, mut writer, readers, lock }, cut_off) = opening::owned(options).await?;
        let damage = |fault| RepairError::Store { path: path.clone(), fault };
        let mut repaired = Repaired { done: Vec::new(), left: file(&mut writer).await.map_err(damage)? };
        repaired.done.extend(cut_off.map(|CutOff { commits, copy }| {
            format!(
                "the log was cut off where it is damaged: {commits} commits are lost; a copy is in {}",
                copy.display()
            )
        }));
        if !repaired.left.is_empty() && are_named(&mut writer).await && reindex(&mut writer).await {
            repaired.done.push("the indexes were made anew from their tables".to_owned());
            repaired.left.clear();
        }
        if repaired.left.is_empty() {
            packing::unpack_all(&mut writer).await.map_err(damage)?;
            let begun = sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await;
            begun.map_err(|error| damage(error.into()))?;
            repaired.done.extend(rows(&mut writer, &readers, &path).await?);
            let written = sqlx::query("COMMIT").execute(&mut writer).await;
            written.map_err(|error| damage(error.into()))?;
            repaired.left = faults::look(&readers).await.map_err(damage)?;
        }
        readers.close().await;
        writer.close().await.map_err(|error| damage(error.into()))?;
        drop(lock);
        Ok(repaired)
    }
}

/// What is wrong with the file itself.
async fn file(connection: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(connection).await?;
    Ok(found.iter().flat_map(|found| super::dead::lines_of(found)).collect())
}

/// Whether the sinks have the same names in their table and in its index: with another name, a sink would get nothing of
/// what it is owed.
async fn are_named(connection: &mut SqliteConnection) -> bool {
    let mut names = Vec::new();
    for statement in [NAMES, INDEXED_NAMES] {
        let read = sqlx::query_as(statement).fetch_all(&mut *connection).await;
        let Ok(mut read): Result<Vec<(i64, String)>, _> = read else { return false };
        read.sort();
        names.push(read);
    }
    names[0] == names[1]
}

/// Makes all indexes anew; keeps that only if everything is well then.
async fn reindex(connection: &mut SqliteConnection) -> bool {
    let made = sqlx::raw_sql("BEGIN IMMEDIATE; REINDEX").execute(&mut *connection).await;
    let well = made.is_ok() && file(connection).await.is_ok_and(|faults| faults.is_empty());
    let end = sqlx::query(if well { "COMMIT" } else { "ROLLBACK" }).execute(connection).await;
    well && end.is_ok()
}

/// Repairs rows and counters, inside a transaction that is open. The readers still see what was before.
async fn rows(
    connection: &mut SqliteConnection,
    readers: &SqlitePool,
    database: &Path,
) -> Result<Vec<String>, RepairError> {
    let fault = |fault| RepairError::Store { path: database.to_owned(), fault };
    let mut done = move_damaged(connection, readers, database).await?;
    for leg in faults::unreadable_legs(readers).await.map_err(fault)? {
        let removed = sqlx::query("DELETE FROM legs WHERE rowid = ?1").bind(leg).execute(&mut *connection).await;
        removed.map_err(|error| fault(error.into()))?;
        done.push(format!("leg {leg}: removed, it is not what was written"));
    }
    for row in journal::damaged(readers).await.map_err(fault)? {
        let removed = sqlx::query(journal::REMOVE).bind(row).execute(&mut *connection).await;
        removed.map_err(|error| fault(error.into()))?;
        done.push(format!("journal {row}: removed, it is not what was written; legs of it may be forgotten"));
    }
    for (statement, what) in [
        (STRAYS, "removed from what is owed, without event or sink"),
        (STRAY_LETTERS, "removed from the dead letters, without event or sink"),
        (NEEDLESS, "events removed that are owed to nobody"),
    ] {
        let removed = sqlx::query(statement).execute(&mut *connection).await.map_err(|error| fault(error.into()))?;
        if removed.rows_affected() > 0 {
            done.push(format!("{} {what}", removed.rows_affected()));
        }
    }
    let counted: Vec<String> =
        sqlx::query_scalar(COUNTERS).fetch_all(connection).await.map_err(|error| fault(error.into()))?;
    done.extend(counted.iter().map(|sink| format!("sink {sink}: counted anew")));
    Ok(done)
}

/// Moves events that are not what was written to a file beside the database.
async fn move_damaged(
    connection: &mut SqliteConnection,
    readers: &SqlitePool,
    database: &Path,
) -> Result<Vec<String>, RepairError> {
    let fault = |fault| RepairError::Store { path: database.to_owned(), fault };
    let broken = |error: sqlx::Error| fault(error.into());
    let mut positions = checksum::damaged(readers).await.map_err(fault)?;
    let others: Vec<i64> = sqlx::query_scalar(NO_EVENTS).fetch_all(&mut *connection).await.map_err(broken)?;
    positions.extend(others.into_iter().filter(|position| !positions.contains(position)).collect::<Vec<_>>());
    if positions.is_empty() {
        return Ok(Vec::new());
    }
    let positions = queue::text(&positions).map_err(fault)?;
    let events: Vec<Damaged> =
        sqlx::query_as(DAMAGED).bind(&positions).fetch_all(&mut *connection).await.map_err(broken)?;
    let aside = beside(database);
    let (mut done, mut lines) = (Vec::new(), String::new());
    for (position, id, partition, received, body) in events {
        let sinks: Vec<String> =
            sqlx::query_scalar(DEBTORS).bind(position).fetch_all(&mut *connection).await.map_err(broken)?;
        let (id, partition) = (String::from_utf8_lossy(&id), String::from_utf8_lossy(&partition));
        let lost = sinks.join(", ");
        done.push(format!("position {position}: the damaged event was moved to {}, lost to {lost}", aside.display()));
        let line = json!({
            "position": position, "id": id, "partition": partition, "received": received, "sinks": sinks,
            "body": String::from_utf8_lossy(&body), "bytes": STANDARD.encode(&body),
        });
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    append(&aside, &lines).map_err(|fault| RepairError::Aside { path: aside, fault })?;
    for table in ["owed", "dead", "events"] {
        let statement = format!("DELETE FROM {table} WHERE position IN (SELECT value FROM json_each(?1))");
        let removal = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(&positions);
        removal.execute(&mut *connection).await.map_err(broken)?;
    }
    Ok(done)
}

/// Where damaged events go.
fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".damaged.jsonl");
    name.into()
}

/// On the disk before the database forgets them.
fn append(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(lines.as_bytes())?;
    file.sync_all()
}
