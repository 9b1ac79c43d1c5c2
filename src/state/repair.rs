//! Repairs what can be repaired of a state that no router uses: indexes, and lines that are not what was written. Dead
//! letters among these are moved to a file beside the database.
//!
//! It says everything that it did. What is wrong with the file itself beyond its indexes it leaves alone.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sqlx::SqliteConnection;

use super::error::StateError;
use super::faults::{self, DamagedLetter};
use super::lock::PRIVATE;
use super::place::aside_of;
use super::sqlite::Sqlite;
use super::{dead, stamp};
use crate::domain::status::StoreFault;

pub(super) const LETTER: &str = "SELECT number, consumer, offset, attempts, received, died, reason, id, partition, bytes, \
    checksum, body FROM dead WHERE number = ?1";
pub(super) const REMOVE_LETTER: &str = "DELETE FROM dead WHERE number = ?1";
/// The key may be no text any more.
pub(super) const REMOVE_LEG: &str = "DELETE FROM legs WHERE token = CAST(?1 AS TEXT)";
pub(super) const REMOVE_CALL: &str = "DELETE FROM calls WHERE partition = CAST(?1 AS TEXT)";

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What was done, one line each.
    pub done: Vec<String>,
    /// What is still wrong, one line each.
    pub left: Vec<String>,
}

impl Sqlite {
    pub(super) async fn repair(&self) -> Result<Repaired, StateError> {
        let aside = aside_of(self.path());
        let work = async move |connection: &mut SqliteConnection| repair(connection, &aside).await;
        let mut repaired = self.write_alone(work).await?;
        repaired.done.splice(..0, self.told().cloned());
        Ok(repaired)
    }
}

async fn repair(connection: &mut SqliteConnection, aside: &PathBuf) -> Result<Repaired, StateError> {
    let mut repaired = Repaired { done: Vec::new(), left: told(faults::file(&mut *connection).await)? };
    if !repaired.left.is_empty() && reindex(&mut *connection).await {
        repaired.done.push("the indexes were made anew from their tables".to_owned());
        repaired.left.clear();
    }
    if repaired.left.is_empty() {
        let lines = async {
            stamp::begin(&mut *connection).await?;
            let done = lines(&mut *connection, aside).await?;
            sqlx::query("COMMIT").execute(&mut *connection).await?;
            Ok(done)
        };
        match lines.await {
            Ok(done) => repaired.done.extend(done),
            Err(fault) => {
                let _ = sqlx::query("ROLLBACK").execute(connection).await;
                return Err(fault);
            }
        }
        repaired.left = told(faults::look(connection).await)?;
    }
    Ok(repaired)
}

/// Takes damage that keeps anybody from looking on for one more fault.
fn told(faults: Result<Vec<String>, StateError>) -> Result<Vec<String>, StateError> {
    match faults {
        Err(StateError::Dead { fault: StoreFault::Corrupt, detail }) => Ok(vec![detail.to_string()]),
        faults => faults,
    }
}

/// Makes all indexes anew; keeps that only if everything is well then.
async fn reindex(connection: &mut SqliteConnection) -> bool {
    let made = async {
        stamp::begin(&mut *connection).await?;
        sqlx::query("REINDEX").execute(&mut *connection).await?;
        faults::file(&mut *connection).await
    };
    let well = made.await.is_ok_and(|faults| faults.is_empty());
    let end = sqlx::query(if well { "COMMIT" } else { "ROLLBACK" }).execute(connection).await;
    well && end.is_ok()
}

/// Takes out the lines that are not what was written, inside a transaction that is open.
async fn lines(connection: &mut SqliteConnection, aside: &Path) -> Result<Vec<String>, StateError> {
    let letters = faults::damaged_letters(&mut *connection).await?;
    let mut done = move_letters(&mut *connection, &letters, aside).await?;
    let legs = faults::damaged_legs(&mut *connection).await?;
    let calls = faults::damaged_calls(&mut *connection).await?;
    for (damaged, statement) in [(legs, REMOVE_LEG), (calls, REMOVE_CALL)] {
        for (key, told) in damaged {
            sqlx::query(statement).bind(key).execute(&mut *connection).await?;
            done.push(format!("{told}, and was removed: it is forgotten"));
        }
    }
    Ok(done)
}

/// Moves dead letters that are not what was written to a file beside the database.
async fn move_letters(
    connection: &mut SqliteConnection,
    letters: &[DamagedLetter],
    aside: &Path,
) -> Result<Vec<String>, StateError> {
    let mut done = Vec::new();
    for (row, consumer, offset) in letters {
        let letter: dead::Row = sqlx::query_as(LETTER).bind(row).fetch_one(&mut *connection).await?;
        let bytes = STANDARD.encode(&letter.body);
        let letter = dead::DeadLetter::from(letter);
        let line = json!({
            "consumer": consumer, "offset": offset, "attempts": letter.attempts, "received": letter.received,
            "died": letter.died, "reason": letter.reason, "id": letter.id, "partition": letter.partition,
            "body": letter.body, "bytes": bytes,
        });
        // On the disk before the database forgets it.
        append(aside, &line.to_string()).map_err(|fault| {
            io::Error::new(fault.kind(), format!("damaged dead letters cannot be moved to {}: {fault}", aside.display()))
        })?;
        sqlx::query(REMOVE_LETTER).bind(row).execute(&mut *connection).await?;
        done.push(format!(
            "dead letter {offset} of consumer {consumer}: it is not what was written, and was moved to {}",
            aside.display()
        ));
    }
    Ok(done)
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).mode(PRIVATE).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()
}
