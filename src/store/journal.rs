//! The journal: changes of legs and calls as they were committed, one row for a transaction, until they are posted.
//!
//! From it the memory is made anew at the start. Must not know what a leg or a call means.

use crc::{CRC_32_ISO_HDLC, Crc, Table};
use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, SqlitePool};

use super::error::{StoreError, unreadable};
use super::memory::{Added, Memory, Slice, Touched};
use super::posting;
use super::queue::text;
use crate::domain::identity::Token;
use crate::domain::leg::Leg;

pub(super) const WRITE: &str = "INSERT INTO journal (number, checksum, body) VALUES (?1, ?2, ?3)";
pub(super) const TRIM: &str = "DELETE FROM journal WHERE number < ?1";
pub(super) const ROWS: &str =
    "SELECT number, checksum, body FROM journal WHERE number > ?1 ORDER BY number LIMIT 100";
/// Ids that are not posted.
pub(super) const IDS: &str = "SELECT number, lower(hex(id)) FROM seen WHERE number > (SELECT number FROM known_upto) \
    ORDER BY number";
pub(super) const REMOVE: &str = "DELETE FROM journal WHERE number = ?1";

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// One row as it is written.
#[derive(Serialize)]
struct Written<'a> {
    legs: &'a [Leg],
    calls: &'a [Touched],
}

/// One row as it is read.
#[derive(Deserialize)]
struct Read {
    legs: Vec<Leg>,
    calls: Vec<Touched>,
}

fn checksum(number: i64, body: &[u8]) -> i64 {
    let mut digest = CRC.digest();
    digest.update(&number.to_be_bytes());
    digest.update(body);
    digest.finalize().into()
}

/// Writes the legs and calls of `added` as the row `number`.
pub(super) async fn write(connection: &mut SqliteConnection, number: i64, added: &Added) -> Result<(), StoreError> {
    if added.legs.is_empty() && added.calls.is_empty() {
        return Ok(());
    }
    let body = text(&Written { legs: &added.legs, calls: &added.calls })?;
    let query = sqlx::query(WRITE).bind(number).bind(checksum(number, body.as_bytes())).bind(body);
    query.execute(connection).await?;
    Ok(())
}

/// Puts `slice` into its tables, and drops the rows nobody needs then.
pub(super) async fn post(connection: &mut SqliteConnection, slice: &Slice) -> Result<(), StoreError> {
    posting::legs(connection, &slice.legs).await?;
    posting::calls(connection, &slice.calls).await?;
    if let Some(upto) = slice.upto {
        posting::ids(connection, upto).await?;
    }
    sqlx::query(TRIM).bind(slice.journal).execute(connection).await?;
    Ok(())
}

/// The memory as it was when the database was used last.
pub(super) async fn remember(connection: &mut SqliteConnection) -> Result<Memory, StoreError> {
    let memory = Memory::default();
    let ids: Vec<(i64, String)> = sqlx::query_as(IDS).fetch_all(&mut *connection).await?;
    let ids = ids.into_iter().map(|(number, id)| (number, Token::from(id))).collect();
    memory.keep(0, Added { ids, ..Added::default() });
    let mut after = i64::MIN;
    loop {
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(ROWS).bind(after).fetch_all(&mut *connection).await?;
        let Some((last, ..)) = rows.last() else { return Ok(memory) };
        after = *last;
        for row in rows {
            let number = row.0;
            let Read { legs, calls } = read(row)?;
            memory.keep(number, Added { ids: Vec::new(), legs, calls });
        }
    }
}

fn read((number, written, body): (i64, i64, Vec<u8>)) -> Result<Read, StoreError> {
    let damaged = |why: &dyn std::fmt::Display| unreadable(&format!("journal {number}"), &why);
    if written != checksum(number, &body) {
        return Err(damaged(&"it is not what was written"));
    }
    serde_json::from_slice(&body).map_err(|error| damaged(&error))
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
