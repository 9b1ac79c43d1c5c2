//! What is wrong with the state: the file, and lines that are not what was written.
//!
//! Only looks. Must not know what can be done about it.

use sqlx::SqliteConnection;

use super::checkpoint::{self, Damaged};
use super::error::StateError;
use super::ledger::{self, LedgerEntry};
use super::loading::each;
use super::sqlite::Sqlite;
use super::{coverage, dead};

pub(super) const FILE: &str = "PRAGMA integrity_check";

/// A dead letter that is not what was written: row, consumer and offset.
pub(super) type DamagedLetter = (i64, i64, u64);

impl Sqlite {
    pub(super) async fn faults(&self) -> Result<Vec<String>, StateError> {
        look(&mut *self.readers()?.acquire().await?).await
    }
}

/// Looks through everything, and says what is wrong, one line each.
pub(super) async fn look(connection: &mut SqliteConnection) -> Result<Vec<String>, StateError> {
    let mut faults = file(&mut *connection).await?;
    faults.extend(checkpoint::read_store(&mut *connection).await.err().map(|fault| fault.to_string()));
    let letters = damaged_letters(&mut *connection).await?;
    faults.extend(letters.iter().map(|(_, consumer, offset)| {
        format!("dead letter {offset} of consumer {consumer}: it is not what was written")
    }));
    faults.extend(damaged_legs(&mut *connection).await?.into_iter().map(|(_, told)| told));
    faults.extend(damaged_calls(&mut *connection).await?.into_iter().map(|(_, told)| told));
    faults.extend(each(&mut *connection, checkpoint::CONSUMERS, checkpoint::read_consumer, drop).await?);
    faults.extend(each(&mut *connection, coverage::ALL, coverage::read, drop).await?);
    faults.extend(each(&mut *connection, coverage::ALL_HEARD, coverage::read_heard, drop).await?);
    let read = |row: ledger::Row| {
        let told = format!("ledger of account {:?}, node {:?}: it is not what was written", row.account, row.node);
        LedgerEntry::try_from(row).map_err(|_| told)
    };
    faults.extend(each(connection, ledger::ALL, read, drop).await?);
    Ok(faults)
}

/// The legs that are not what was written, by token.
pub(super) async fn damaged_legs(connection: &mut SqliteConnection) -> Result<Vec<Damaged>, StateError> {
    each(connection, checkpoint::LEGS, checkpoint::read_leg, drop).await
}

/// The calls that are not what was written, by partition key.
pub(super) async fn damaged_calls(connection: &mut SqliteConnection) -> Result<Vec<Damaged>, StateError> {
    each(connection, checkpoint::CALLS, checkpoint::read_call, drop).await
}

/// What is wrong with the file itself.
pub(super) async fn file(connection: &mut SqliteConnection) -> Result<Vec<String>, StateError> {
    let found: Vec<String> = sqlx::query_scalar(FILE).fetch_all(connection).await?;
    Ok(found.iter().flat_map(|found| lines_of(found)).collect())
}

/// Returns the faults in one row of a check by SQLite, which puts many of them into one, below a heading.
pub(super) fn lines_of(found: &str) -> impl Iterator<Item = String> + '_ {
    let lines =
        found.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "ok" && !line.starts_with("***"));
    lines.map(str::to_owned)
}

/// The dead letters that are not what was written.
pub(super) async fn damaged_letters(connection: &mut SqliteConnection) -> Result<Vec<DamagedLetter>, StateError> {
    let (mut damaged, mut after) = (Vec::new(), i64::MIN);
    loop {
        // In steps, between which others can write.
        let rows: Vec<dead::Row> = sqlx::query_as(dead::ALL).bind(after).fetch_all(&mut *connection).await?;
        let Some(last) = rows.last() else { return Ok(damaged) };
        after = last.number;
        let letters = rows.into_iter().map(|row| (row.number, row.consumer, dead::DeadLetter::from(row)));
        damaged.extend(letters.filter(|(.., letter)| !letter.intact).map(|(row, of, letter)| (row, of, letter.offset)));
    }
}
