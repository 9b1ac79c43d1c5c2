//! The checkpoint: what the log has changed up to an offset, so that a start need not read the log from its beginning.
//!
//! A checkpoint is written in one transaction, and replaces the one before. What it says of a line is all that is said of
//! it: to write it once more changes nothing. Must not know how the records of the log are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::SqliteConnection;

use super::coverage::{self, Coverage};
use super::error::StateError;
use super::rows::{Statements, values};
use super::sqlite::Sqlite;
use super::checksum::{self, Checksum};
use crate::domain::identity::Token;
use crate::domain::leg::{Call, Leg};

pub(super) const BEGIN: &str = "INSERT INTO store (id, store, behind, newest, offset, checksum) VALUES (0, ?1, ?2, ?3, ?4, ?5)";
pub(super) const STORE: &str = "SELECT store, behind, newest, offset, checksum FROM store WHERE id = 0";
pub(super) const SET_STORE: &str =
    "UPDATE store SET behind = ?1, newest = ?2, offset = ?3, checksum = ?4 WHERE id = 0 AND offset <= ?3";
pub(super) const GENERATIONS: &str = "SELECT number FROM generations ORDER BY place";
pub(super) const FORGET_GENERATIONS: &str = "DELETE FROM generations";
pub(super) const ADD_GENERATION: &str = "INSERT INTO generations (place, number) VALUES (?1, ?2)";
pub(super) const CONSUMERS: &str = "SELECT number, name, body, checksum FROM consumers ORDER BY number";
pub(super) const FORGET_CONSUMER: &str = "DELETE FROM consumers WHERE number = ?1";
pub(super) const FORGET_DEAD: &str = "DELETE FROM dead WHERE consumer = ?1";
pub(super) const WRITE_CONSUMER: &str = "INSERT INTO consumers (number, name, body, checksum) VALUES (?1, ?2, ?3, ?4) \
    ON CONFLICT (number) DO UPDATE SET name = excluded.name, body = excluded.body, checksum = excluded.checksum \
    WHERE (name, body, checksum) IS NOT (excluded.name, excluded.body, excluded.checksum)";
pub(super) const LEGS: &str = "SELECT token, body, checksum FROM legs ORDER BY token";
pub(super) const CALLS: &str = "SELECT partition, body, checksum FROM calls ORDER BY partition";

pub(super) static WRITE_LEGS: Statements = Statements::new(|rows| {
    format!(
        "INSERT INTO legs (token, body, checksum) VALUES {} \
        ON CONFLICT (token) DO UPDATE SET body = excluded.body, checksum = excluded.checksum",
        values(3, rows)
    )
});
pub(super) static WRITE_CALLS: Statements = Statements::new(|rows| {
    format!(
        "INSERT INTO calls (partition, body, checksum) VALUES {} \
        ON CONFLICT (partition) DO UPDATE SET body = excluded.body, checksum = excluded.checksum",
        values(3, rows)
    )
});
pub(super) static FORGET_LEGS: Statements =
    Statements::new(|rows| format!("DELETE FROM legs WHERE token IN ({})", vec!["?"; rows].join(", ")));
pub(super) static FORGET_CALLS: Statements =
    Statements::new(|rows| format!("DELETE FROM calls WHERE partition IN ({})", vec!["?"; rows].join(", ")));

/// The clock of the store: UTC without the steps it makes when it is set, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// How far it is behind UTC.
    pub behind: i64,
    /// What it read last.
    pub newest: i64,
}

/// A consumer of the log, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerState {
    /// Its number, by which the log names it. It never changes.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// What it wrote down of itself.
    pub body: Vec<u8>,
}

/// All that changed since the checkpoint before.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// It has seen all events before this offset, and none from it on. It never goes back.
    pub offset: u64,
    /// The clock of the store.
    pub clock: Clock,
    /// Legs that are live, new or changed.
    pub legs: Vec<Arc<Leg>>,
    /// Legs that are not live any more.
    pub ended_legs: Vec<Token>,
    /// Calls of live legs, new or changed.
    pub calls: Vec<Call>,
    /// Calls of which no leg is live any more (partition keys).
    pub ended_calls: Vec<Token>,
    /// Coverage that changed. An account whose coverage is closed by it is not heard any more.
    pub coverage: Vec<Coverage>,
    /// Consumers as they are, all or those that changed.
    pub consumers: Vec<ConsumerState>,
    /// Consumers that are forgotten, with their dead letters.
    pub removed: Vec<u32>,
    /// All generations of ids, in their order.
    pub generations: Vec<u64>,
}

/// What the state knows when it is opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The number of the store.
    pub store: u128,
    /// The clock of the store.
    pub clock: Clock,
    /// The checkpoint has seen all events before this offset, and none from it on.
    pub offset: u64,
    /// The legs that are live, as of the checkpoint.
    pub legs: Vec<Leg>,
    /// The calls that they belong to.
    pub calls: Vec<Call>,
    /// The coverage as of the checkpoint; an open line reaches as far as the account was heard.
    pub coverage: Vec<Coverage>,
    /// When each account was heard last, for lines that the log holds after the checkpoint ([`Coverage::hear`]).
    pub heard: BTreeMap<crate::domain::name::AccountName, jiff::Timestamp>,
    /// The consumers, by number.
    pub consumers: Vec<ConsumerState>,
    /// The generations of ids, in their order.
    pub generations: Vec<u64>,
    /// The offsets of the dead letters of each consumer, ascending.
    pub dead: BTreeMap<u32, Vec<u64>>,
    /// What is not what was written, and was left out: one line each.
    pub damaged: Vec<String>,
}

/// A line of legs or of calls as it lies there: key, body, checksum.
pub(super) type Row = (Vec<u8>, Vec<u8>, i64);
/// A consumer as it lies there.
pub(super) type ConsumerRow = (i64, Vec<u8>, Vec<u8>, i64);

/// A key, and what there is to say of a line that cannot be read.
pub(super) type Damaged = (Vec<u8>, String);

/// Reads a leg. One that cannot be read is told by its token.
pub(super) fn read_leg(row: Row) -> Result<Leg, Damaged> {
    read("leg", row)
}

/// Reads a call. One that cannot be read is told by its partition key.
pub(super) fn read_call(row: Row) -> Result<Call, Damaged> {
    read("call", row)
}

fn read<T: DeserializeOwned>(what: &str, (key, body, written): Row) -> Result<T, Damaged> {
    let sound = checksum::of(&key, &body) == written;
    let read = sound.then(|| serde_json::from_slice(&body).ok()).flatten();
    read.ok_or_else(|| {
        let told = format!("{what} {}: it is not what was written", String::from_utf8_lossy(&key));
        (key, told)
    })
}

/// Reads a consumer. One that cannot be read is told by its number and name.
pub(super) fn read_consumer((number, name, body, written): ConsumerRow) -> Result<ConsumerState, String> {
    let damaged = || format!("consumer {number} ({}): it is not what was written", String::from_utf8_lossy(&name));
    if consumer_checksum(number, &name, &body) != written {
        return Err(damaged());
    }
    let name = String::from_utf8(name.clone()).map_err(|_| damaged())?;
    Ok(ConsumerState { number: u32::try_from(number).map_err(|_| damaged())?, name, body })
}

fn consumer_checksum(number: i64, name: &[u8], body: &[u8]) -> i64 {
    Checksum::default().number(number).bytes(name).bytes(body).sum()
}

fn store_checksum(store: &[u8], clock: Clock, offset: i64) -> i64 {
    Checksum::default().bytes(store).number(clock.behind).number(clock.newest).number(offset).sum()
}

/// Gives a new database its only line about itself.
pub(super) async fn begin_store(connection: &mut SqliteConnection, store: u128) -> Result<(), sqlx::Error> {
    // No event is before the first offset.
    let (store, clock, offset) = (store.to_be_bytes(), Clock::default(), 1);
    let query = sqlx::query(BEGIN).bind(&store[..]).bind(clock.behind).bind(clock.newest).bind(offset);
    query.bind(store_checksum(&store, clock, offset)).execute(connection).await?;
    Ok(())
}

/// Reads the line of the database about itself: its number, its clock, and the offset of its checkpoint.
pub(super) async fn read_store(connection: &mut SqliteConnection) -> Result<(u128, Clock, u64), StateError> {
    let row: Option<(Vec<u8>, i64, i64, i64, i64)> = sqlx::query_as(STORE).fetch_optional(connection).await?;
    let damaged = || StateError::unreadable("the line of the state about itself", &"it is not what was written");
    let (store, behind, newest, offset, written) = row.ok_or_else(damaged)?;
    let clock = Clock { behind, newest };
    if store_checksum(&store, clock, offset) != written {
        return Err(damaged());
    }
    let number = u128::from_be_bytes(store.try_into().map_err(|_| damaged())?);
    Ok((number, clock, u64::try_from(offset).map_err(|_| damaged())?))
}

impl Sqlite {
    pub(super) async fn checkpoint(&self, checkpoint: Checkpoint) -> Result<(), StateError> {
        self.write(async move |connection: &mut SqliteConnection| write(connection, &checkpoint).await).await
    }
}

pub(super) async fn write(connection: &mut SqliteConnection, checkpoint: &Checkpoint) -> Result<(), StateError> {
    let (store, ..) = read_store(&mut *connection).await?;
    let (clock, offset) = (checkpoint.clock, number("offset", checkpoint.offset)?);
    let sum = store_checksum(&store.to_be_bytes(), clock, offset);
    let query = sqlx::query(SET_STORE).bind(clock.behind).bind(clock.newest).bind(offset).bind(sum);
    if query.execute(&mut *connection).await?.rows_affected() == 0 {
        return Err(StateError::unfit("a checkpoint", &format!("offset {offset} is before that of the one before")));
    }
    remove(connection, &FORGET_LEGS, checkpoint.ended_legs.iter().collect()).await?;
    remove(connection, &FORGET_CALLS, checkpoint.ended_calls.iter().collect()).await?;
    let legs = checkpoint.legs.iter().map(|leg| (&leg.token, &**leg)).collect();
    insert(connection, &WRITE_LEGS, legs).await?;
    insert(connection, &WRITE_CALLS, checkpoint.calls.iter().map(|call| (&call.partition, call)).collect()).await?;
    let mut lines: Vec<&Coverage> = checkpoint.coverage.iter().collect();
    lines.sort_by(|one, other| one.account.cmp(&other.account));
    coverage::write(connection, &lines).await?;
    for number in &checkpoint.removed {
        for statement in [FORGET_CONSUMER, FORGET_DEAD] {
            sqlx::query(statement).bind(number).execute(&mut *connection).await?;
        }
    }
    for ConsumerState { number, name, body } in &checkpoint.consumers {
        let sum = consumer_checksum((*number).into(), name.as_bytes(), body);
        let query = sqlx::query(WRITE_CONSUMER).bind(number).bind(name).bind(body).bind(sum);
        query.execute(&mut *connection).await?;
    }
    let before: Vec<i64> = sqlx::query_scalar(GENERATIONS).fetch_all(&mut *connection).await?;
    let generations = checkpoint.generations.iter().map(|generation| number("generation", *generation));
    let generations = generations.collect::<Result<Vec<_>, _>>()?;
    if generations != before {
        sqlx::query(FORGET_GENERATIONS).execute(&mut *connection).await?;
        for (place, generation) in (0_i64..).zip(generations) {
            sqlx::query(ADD_GENERATION).bind(place).bind(generation).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Writes lines in the order of their keys, so that no page is written twice, and a few at a time, so that only those are in
/// memory twice.
async fn insert<T: Serialize>(
    connection: &mut SqliteConnection,
    statements: &'static Statements,
    mut lines: Vec<(&Token, &T)>,
) -> Result<(), StateError> {
    lines.sort_by_key(|(key, _)| *key);
    for (statement, piece) in statements.pieces(&lines) {
        let mut query = sqlx::query(statement);
        for (key, line) in piece {
            let body = serde_json::to_vec(line).map_err(|error| StateError::unfit("a line of the checkpoint", &error))?;
            let sum = checksum::of(key.as_str().as_bytes(), &body);
            query = query.bind(key.as_str()).bind(body).bind(sum);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn remove(
    connection: &mut SqliteConnection,
    statements: &'static Statements,
    mut keys: Vec<&Token>,
) -> Result<(), StateError> {
    keys.sort();
    for (statement, piece) in statements.pieces(&keys) {
        let query = piece.iter().fold(sqlx::query(statement), |query, key| query.bind(key.as_str()));
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// A number as SQLite has it.
pub(super) fn number(what: &str, number: u64) -> Result<i64, StateError> {
    i64::try_from(number).map_err(|error| StateError::unfit(what, &error))
}
