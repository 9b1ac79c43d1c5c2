//! Dead letters: events that a consumer gave up, whole, until an operator retries or removes them, or they are too old or
//! too many.
//!
//! Must not know who asks, or what an event says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{FromRow, SqliteConnection};

use super::checkpoint::number;
use super::checksum::Checksum;
use super::error::StateError;
use super::rows::{Statements, values};
use super::sqlite::Sqlite;
use crate::domain::identity::Token;

/// Letters that are looked at in one step of a trimming.
const STEP: i64 = 512;

macro_rules! letters {
    ($which:literal) => {
        concat!(
            "SELECT number, consumer, offset, attempts, received, died, reason, id, partition, bytes, checksum, body \
            FROM dead ",
            $which
        )
    };
}

pub(super) const LIST: &str = letters!("WHERE consumer = ?1 AND offset > ?2 ORDER BY offset LIMIT ?3");
pub(super) const LATEST: &str = letters!("WHERE consumer = ?1 ORDER BY offset DESC LIMIT ?2");
pub(super) const AT: &str =
    letters!("WHERE consumer = ?1 AND offset IN (SELECT value FROM json_each(?2)) ORDER BY offset");
/// In the order of the rows, a step at a time.
pub(super) const ALL: &str = letters!("WHERE number > ?1 ORDER BY number LIMIT 256");
pub(super) const OFFSETS: &str = "SELECT consumer, offset FROM dead ORDER BY consumer, offset";
pub(super) const COUNT: &str = "SELECT count(*), coalesce(sum(bytes), 0) FROM dead WHERE consumer = ?1";
pub(super) const COUNTS: &str = "SELECT consumer, count(*), sum(bytes) FROM dead GROUP BY consumer";
pub(super) const REMOVE: &str =
    "DELETE FROM dead WHERE consumer = ?1 AND offset IN (SELECT value FROM json_each(?2))";
pub(super) const OLDEST: &str =
    "SELECT offset, died, bytes FROM dead WHERE consumer = ?1 ORDER BY died, offset LIMIT ?2";

pub(super) static BURY: Statements = Statements::new(|rows| {
    format!(
        "INSERT INTO dead (consumer, offset, attempts, received, died, reason, id, partition, bytes, checksum, body) \
        VALUES {} ON CONFLICT (consumer, offset) DO NOTHING",
        values(11, rows)
    )
});

/// An event that a consumer gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDead {
    /// Its offset in the log.
    pub offset: u64,
    /// Tries, all failed.
    pub attempts: u32,
    /// When the stanza was read.
    pub received: Timestamp,
    /// When it was given up.
    pub died: Timestamp,
    /// Why, free of secrets.
    pub reason: String,
    /// The event's id.
    pub id: Token,
    /// Its partition key.
    pub partition: Token,
    /// The event as JSON, without a line break.
    pub body: Arc<str>,
}

/// An event that a consumer gave up, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its offset in the log when it was given up.
    pub offset: u64,
    /// Tries, all failed.
    pub attempts: u32,
    /// When the stanza was read.
    pub received: Timestamp,
    /// When it was given up.
    pub died: Timestamp,
    /// Why.
    pub reason: String,
    /// The event's id.
    pub id: Token,
    /// Its partition key.
    pub partition: Token,
    /// The event as JSON, without a line break.
    pub body: Arc<str>,
    /// Whether all that is what was once written. If not, nothing of it may leave.
    pub intact: bool,
}

/// How many dead letters a consumer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadCount {
    /// Letters.
    pub letters: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

/// What the dead letters of a consumer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadBounds {
    /// Bytes of their bodies.
    pub bytes: u64,
    /// What was given up before this goes.
    pub died: Timestamp,
}

/// A dead letter as it lies there. What was a text may be none any more.
#[derive(FromRow)]
pub(super) struct Row {
    pub(super) number: i64,
    pub(super) consumer: i64,
    offset: i64,
    attempts: i64,
    received: i64,
    died: i64,
    reason: Vec<u8>,
    id: Vec<u8>,
    partition: Vec<u8>,
    bytes: i64,
    checksum: i64,
    pub(super) body: Vec<u8>,
}

impl Row {
    fn of(consumer: u32, letter: &NewDead) -> Result<Self, StateError> {
        let mut row = Self {
            number: 0,
            consumer: consumer.into(),
            offset: number("offset", letter.offset)?,
            attempts: letter.attempts.into(),
            received: letter.received.as_microsecond(),
            died: letter.died.as_microsecond(),
            reason: letter.reason.clone().into(),
            id: letter.id.as_str().into(),
            partition: letter.partition.as_str().into(),
            bytes: i64::try_from(letter.body.len()).unwrap_or(i64::MAX),
            checksum: 0,
            body: letter.body.as_bytes().to_owned(),
        };
        row.checksum = row.sum();
        Ok(row)
    }

    fn sum(&self) -> i64 {
        let Self { number: _, checksum: _, consumer, offset, attempts, received, died, reason, id, partition, bytes, body } =
            self;
        let sum = [consumer, offset, attempts, received, died, bytes].into_iter().fold(Checksum::default(), |sum, part| sum.number(*part));
        [reason, id, partition, body].into_iter().fold(sum, |sum, part| sum.bytes(part)).sum()
    }
}

impl From<Row> for DeadLetter {
    fn from(row: Row) -> Self {
        let mut intact = row.sum() == row.checksum;
        let mut told = |micros| {
            Timestamp::from_microsecond(micros).unwrap_or_else(|_| {
                intact = false;
                Timestamp::UNIX_EPOCH
            })
        };
        let (received, died) = (told(row.received), told(row.died));
        let mut readable = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap_or_else(|fault| {
                intact = false;
                String::from_utf8_lossy(fault.as_bytes()).into_owned()
            })
        };
        let [reason, id, partition, body] = [row.reason, row.id, row.partition, row.body].map(&mut readable);
        Self {
            offset: row.offset.unsigned_abs(),
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            received,
            died,
            reason,
            id: id.into(),
            partition: partition.into(),
            body: body.into(),
            intact,
        }
    }
}

/// Reads which letter a row is.
pub(super) fn read_offset((consumer, offset): (i64, i64)) -> Result<(u32, u64), String> {
    let damaged = || format!("dead letter {offset} of consumer {consumer}: it is not what was written");
    Ok((u32::try_from(consumer).map_err(|_| damaged())?, u64::try_from(offset).map_err(|_| damaged())?))
}

impl Sqlite {
    pub(super) async fn bury(&self, consumer: u32, letters: Vec<NewDead>) -> Result<u64, StateError> {
        self.write(async move |connection: &mut SqliteConnection| bury(connection, consumer, &letters).await).await
    }

    pub(super) async fn dead(&self, consumer: u32, after: u64, limit: usize) -> Result<Vec<DeadLetter>, StateError> {
        let (after, limit) = (number("offset", after)?, i64::try_from(limit).unwrap_or(i64::MAX));
        let query = sqlx::query_as::<_, Row>(LIST).bind(consumer).bind(after).bind(limit);
        Ok(query.fetch_all(self.readers()?).await?.into_iter().map(DeadLetter::from).collect())
    }

    pub(super) async fn latest_dead(&self, consumer: u32, limit: usize) -> Result<Vec<DeadLetter>, StateError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let query = sqlx::query_as::<_, Row>(LATEST).bind(consumer).bind(limit);
        Ok(query.fetch_all(self.readers()?).await?.into_iter().map(DeadLetter::from).collect())
    }

    pub(super) async fn dead_at(&self, consumer: u32, offsets: &[u64]) -> Result<Vec<DeadLetter>, StateError> {
        let query = sqlx::query_as::<_, Row>(AT).bind(consumer).bind(list(offsets)?);
        Ok(query.fetch_all(self.readers()?).await?.into_iter().map(DeadLetter::from).collect())
    }

    pub(super) async fn dead_count(&self, consumer: u32) -> Result<DeadCount, StateError> {
        let query = sqlx::query_as::<_, (i64, i64)>(COUNT).bind(consumer);
        let (letters, bytes) = query.fetch_one(self.readers()?).await?;
        Ok(DeadCount { letters: letters.unsigned_abs(), bytes: bytes.unsigned_abs() })
    }

    pub(super) async fn dead_counts(&self) -> Result<BTreeMap<u32, DeadCount>, StateError> {
        let rows: Vec<(i64, i64, i64)> = sqlx::query_as(COUNTS).fetch_all(self.readers()?).await?;
        let count = |(consumer, letters, bytes): (i64, i64, i64)| {
            let consumer = u32::try_from(consumer).map_err(|error| StateError::unreadable("a dead letter", &error))?;
            Ok((consumer, DeadCount { letters: letters.unsigned_abs(), bytes: bytes.unsigned_abs() }))
        };
        rows.into_iter().map(count).collect()
    }

    pub(super) async fn take_dead(&self, consumer: u32, offsets: &[u64]) -> Result<Vec<DeadLetter>, StateError> {
        let offsets = list(offsets)?;
        self.write(async move |connection: &mut SqliteConnection| take(connection, consumer, &offsets).await).await
    }

    pub(super) async fn remove_dead(&self, consumer: u32, offsets: &[u64]) -> Result<u64, StateError> {
        let offsets = list(offsets)?;
        self.write(async move |connection: &mut SqliteConnection| remove(connection, consumer, &offsets).await).await
    }

    /// In steps, between which others write. Nothing is written unless something goes.
    pub(super) async fn trim_dead(&self, consumer: u32, bounds: DeadBounds) -> Result<u64, StateError> {
        let DeadCount { bytes, .. } = self.dead_count(consumer).await?;
        let (mut gone, mut surplus) = (0, i128::from(bytes) - i128::from(bounds.bytes));
        loop {
            let query = sqlx::query_as::<_, (i64, i64, i64)>(OLDEST).bind(consumer).bind(STEP);
            let oldest = query.fetch_all(self.readers()?).await?;
            let goes = oldest.into_iter().take_while(|(_, died, bytes)| {
                let goes = surplus > 0 || *died < bounds.died.as_microsecond();
                surplus -= if goes { i128::from(*bytes) } else { 0 };
                goes
            });
            let offsets: Vec<u64> = goes.map(|(offset, ..)| offset.unsigned_abs()).collect();
            if offsets.is_empty() {
                return Ok(gone);
            }
            gone += self.remove_dead(consumer, &offsets).await?;
        }
    }
}

async fn bury(connection: &mut SqliteConnection, consumer: u32, letters: &[NewDead]) -> Result<u64, StateError> {
    let mut buried = 0;
    for (statement, piece) in BURY.pieces(letters) {
        let mut query = sqlx::query(statement);
        for letter in piece {
            let row = Row::of(consumer, letter)?;
            query = query
                .bind(row.consumer)
                .bind(row.offset)
                .bind(row.attempts)
                .bind(row.received)
                .bind(row.died)
                .bind(letter.reason.as_str())
                .bind(letter.id.as_str())
                .bind(letter.partition.as_str())
                .bind(row.bytes)
                .bind(row.checksum)
                .bind(&*letter.body);
        }
        buried += query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(buried)
}

async fn take(
    connection: &mut SqliteConnection,
    consumer: u32,
    offsets: &str,
) -> Result<Vec<DeadLetter>, StateError> {
    let rows: Vec<Row> = sqlx::query_as(AT).bind(consumer).bind(offsets).fetch_all(&mut *connection).await?;
    let letters: Vec<_> = rows.into_iter().map(DeadLetter::from).filter(|letter| letter.intact).collect();
    let offsets: Vec<u64> = letters.iter().map(|letter| letter.offset).collect();
    remove(connection, consumer, &list(&offsets)?).await?;
    Ok(letters)
}

async fn remove(connection: &mut SqliteConnection, consumer: u32, offsets: &str) -> Result<u64, StateError> {
    Ok(sqlx::query(REMOVE).bind(consumer).bind(offsets).execute(connection).await?.rows_affected())
}

/// Offsets as the database reads a list of them.
fn list(offsets: &[u64]) -> Result<String, StateError> {
    let offsets = offsets.iter().map(|offset| number("offset", *offset)).collect::<Result<BTreeSet<_>, _>>()?;
    serde_json::to_string(&offsets).map_err(|error| StateError::unfit("offsets", &error))
}
