//! The journal: ids, and changes of legs and calls, as they were committed, one row for a transaction, until they are posted.
//!
//! From it the memory is made anew at the start. A row lives for seconds, so it is written as it is read fastest and takes
//! the least room; only after a crash may another version of the router read it. Must not know what a leg or a call means.

use std::sync::Arc;

use crc32fast::Hasher;
use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, SqlitePool};

use super::error::{StoreError, unreadable};
use super::memory::{Added, Memory, Numbered, Slice, Touched};
use super::posting;
use crate::domain::leg::Leg;

pub(super) const TRIM: &str = "DELETE FROM journal WHERE number < ?1";
pub(super) const ROWS: &str = "SELECT number, checksum, body FROM journal WHERE number > ?1 ORDER BY number LIMIT 100";
pub(super) const REMOVE: &str = "DELETE FROM journal WHERE number = ?1";

/// The first byte of a row: what those that follow mean. Another one with each change of what is in it.
const FORMAT: u8 = 2;

/// One row as it is written.
#[derive(Serialize)]
struct Written<'a> {
    ids: &'a [Numbered],
    legs: &'a [Arc<Leg>],
    calls: &'a [Touched],
}

/// One row as it is read.
#[derive(Deserialize)]
struct Read {
    ids: Vec<Numbered>,
    legs: Vec<Arc<Leg>>,
    calls: Vec<Touched>,
}

fn checksum(number: i64, body: &[u8]) -> i64 {
    let mut digest = Hasher::new();
    digest.update(&number.to_be_bytes());
    digest.update(body);
    digest.finalize().into()
}

/// What was added, as a row that is numbered `number`: its checksum and its body.
pub(super) fn row(number: i64, added: &Added) -> Result<(i64, Vec<u8>), StoreError> {
    let written = Written { ids: &added.ids, legs: &added.legs, calls: &added.calls };
    let body = postcard::to_extend(&written, vec![FORMAT]).map_err(|error| unreadable("journal", &error))?;
    Ok((checksum(number, &body), body))
}

/// Puts `slice` into its tables, and drops the rows nobody needs then.
pub(super) async fn post(connection: &mut SqliteConnection, slice: &Slice) -> Result<(), StoreError> {
    posting::legs(connection, &slice.legs).await?;
    posting::calls(connection, &slice.calls).await?;
    posting::ids(connection, &slice.ids).await?;
    sqlx::query(TRIM).bind(slice.journal).execute(connection).await?;
    Ok(())
}

/// The memory as it was when the database was used last.
pub(super) async fn remember(connection: &mut SqliteConnection) -> Result<Memory, StoreError> {
    let memory = Memory::default();
    let mut after = i64::MIN;
    loop {
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(ROWS).bind(after).fetch_all(&mut *connection).await?;
        let Some((last, ..)) = rows.last() else { return Ok(memory) };
        after = *last;
        for row in rows {
            let number = row.0;
            let Read { ids, legs, calls } = read(row)?;
            memory.keep(number, Added { ids, legs, calls });
        }
    }
}

fn read((number, written, body): (i64, i64, Vec<u8>)) -> Result<Read, StoreError> {
    let damaged = |why: &dyn std::fmt::Display| unreadable(&format!("journal {number}"), &why);
    if written != checksum(number, &body) {
        return Err(damaged(&"it is not what was written"));
    }
    match body.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| damaged(&error)),
        _ => Err(damaged(&"another version of the router wrote it")),
    }
}

/// The rows that cannot be read any more.
pub(super) async fn damaged(readers: &SqlitePool) -> Result<Vec<i64>, StoreError> {
    let (mut damaged, mut after) = (Vec::new(), i64::MIN);
    loop {
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(ROWS).bind(after).fetch_all(readers).await?;
        let Some((last, ..)) = rows.last() else { return Ok(damaged) };
        after = *last;
        for row in rows {
            let number = row.0;
            damaged.extend(read(row).is_err().then_some(number));
        }
    }
}
