//! The delivery queue: which event is owed to which sink.
//!
//! A sink that takes events in their order is owed them by a bit of the event, and settles many by moving on one number;
//! what it does not take in its turn gets a row of its own. The view `owing` says what is owed either way. Must not know
//! what an event says, or when the next try is due.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;
use serde_json::json;
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::error::{StoreError, unreadable};
use super::memory::{Memory, Numbered};
use super::packing::{self, Row};
use super::window::{self, BITS, Packed};
use super::{CommitEvent, Depth, recall};
use crate::domain::identity::Token;
use crate::domain::name::SinkName;

/// Events a sink is not owed between two that it is owed by a bit: so many may have to be passed over to find the next.
const NEAR: i64 = 256;

/// The newest position with a row, and the first number that was never given to an id.
pub(super) const ENDS: &str = "SELECT (SELECT coalesce(max(position), 0) FROM events), \
    (SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'seen')";
pub(super) const STANDING: &str = "SELECT name, number, done, newest, owed, bytes, dead, \
    EXISTS (SELECT 1 FROM owed WHERE owed.sink = sinks.number) FROM sinks";
pub(super) const NAME: &str =
    "INSERT INTO sinks (name) SELECT value FROM json_each(?1) WHERE true ON CONFLICT (name) DO NOTHING";
pub(super) const DEBTORS: &str =
    "SELECT name, number, done, newest FROM sinks WHERE name IN (SELECT value FROM json_each(?1))";
pub(super) const OWE: &str =
    "INSERT INTO owed (sink, position, bytes) SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1)";
/// Where nothing is owed by a bit, nothing before the first event is.
pub(super) const OWE_MORE: &str = "UPDATE sinks SET done = iif(done >= newest, (more.value ->> 1) - 1, done), \
    newest = more.value ->> 2, owed = owed + (more.value ->> 3), bytes = bytes + (more.value ->> 4) \
    FROM json_each(?1) AS more WHERE sinks.number = more.value ->> 0";
pub(super) const COUNT: &str =
    "UPDATE sinks SET owed = owed + ?2, bytes = bytes + ?3, dead = dead + ?4 WHERE name = ?1";

/// Whether the row `$event` of `events` is owed by a bit to the row of `sinks` beside it.
macro_rules! by_bit {
    ($event:literal) => {
        concat!(
            "sinks.number < 63 AND ",
            $event,
            ".debtors & (1 << sinks.number) \
            AND ",
            $event,
            ".position > sinks.done AND ",
            $event,
            ".position <= sinks.newest"
        )
    };
}
pub(super) use by_bit;

pub(super) const DEPTH: &str = concat!(
    "SELECT owed, bytes, dead, (SELECT received FROM (\
        SELECT events.position, events.received FROM owed CROSS JOIN events ON events.position = owed.position \
            WHERE owed.sink = sinks.number \
        UNION ALL SELECT events.position, events.received FROM events WHERE ",
    by_bit!("events"),
    " ORDER BY 1 LIMIT 1)) FROM sinks WHERE name = ?1"
);
pub(super) const SINKS: &str = "SELECT name FROM sinks WHERE owed > 0 ORDER BY name";

/// A sink, and what a commit adds to what it is owed.
#[derive(FromRow)]
struct Debtor {
    name: String,
    number: i64,
    done: i64,
    newest: i64,
    #[sqlx(skip)]
    more: More,
}

#[derive(Default)]
struct More {
    first: i64,
    last: i64,
    events: usize,
    bytes: usize,
}

impl Debtor {
    /// Owes it one event more. True if its bit says so, false if it needs a row.
    fn owe(&mut self, position: i64, bytes: usize) -> bool {
        let idle = self.done >= self.newest;
        if self.more.events == 0 {
            self.more.first = position;
        }
        self.more.last = position;
        self.more.events += 1;
        self.more.bytes += bytes;
        let by_bit = self.number < BITS && (idle || position - self.newest <= NEAR);
        if by_bit {
            self.newest = position;
        }
        by_bit
    }
}

/// Writes those of `events` that are `fresh` as rows, from the position `first` on, and what is owed of them.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    events: &[CommitEvent],
    fresh: &[bool],
    first: i64,
) -> Result<(), StoreError> {
    let mut debtors = debtors(connection, events, fresh).await?;
    let (mut kept, mut rows) = (Vec::with_capacity(events.len()), Vec::new());
    for ((position, event), _) in (first..).zip(events).zip(fresh).filter(|(_, fresh)| **fresh) {
        let mut bits = 0;
        for sink in &event.owed {
            let Some(debtor) = debtors.get_mut(sink.as_str()) else { continue };
            if debtor.more.last == position {
                continue; // named twice
            }
            if debtor.owe(position, event.body.len()) {
                bits |= 1_i64 << debtor.number;
            } else {
                rows.push(json!([debtor.number, position, event.body.len()]));
            }
        }
        if !event.owed.is_empty() {
            kept.push(Packed::of(event, position, bits));
        }
    }
    packing::keep_all(connection, &kept.iter().map(Row::of).collect::<Vec<_>>()).await?;
    if !rows.is_empty() {
        sqlx::query(OWE).bind(text(&rows)?).execute(&mut *connection).await?;
    }
    let more = debtors.values().filter(|debtor| debtor.more.events > 0);
    let more: Vec<_> = more
        .map(|Debtor { number, newest, more, .. }| json!([number, more.first, newest, more.events, more.bytes]))
        .collect();
    if !more.is_empty() {
        sqlx::query(OWE_MORE).bind(text(&more)?).execute(connection).await?;
    }
    Ok(())
}

/// Which of `events` were never seen before, in this transaction (whose ids are in `added`) or another.
pub(super) async fn fresh(
    connection: &mut SqliteConnection,
    memory: &Memory,
    events: &[CommitEvent],
    added: &[Numbered],
) -> Result<Vec<bool>, StoreError> {
    let mut here: HashSet<&Token> = added.iter().map(|(_, id, _)| id).collect();
    let told: Vec<_> = events
        .iter()
        .map(|event| if here.insert(&event.id) { memory.is_new(&event.id) } else { Some(false) })
        .collect();
    let unsure: Vec<Token> =
        events.iter().zip(&told).filter(|(_, told)| told.is_none()).map(|(event, _)| event.id.clone()).collect();
    let known = if unsure.is_empty() { HashSet::new() } else { recall::known(connection, &unsure).await? };
    Ok(events.iter().zip(told).map(|(event, told)| told.unwrap_or_else(|| !known.contains(&event.id))).collect())
}

/// The sinks that the fresh ones of `events` are owed to.
async fn debtors<'a>(
    connection: &mut SqliteConnection,
    events: &'a [CommitEvent],
    fresh: &[bool],
) -> Result<BTreeMap<&'a str, Debtor>, StoreError> {
    let fresh = events.iter().zip(fresh).filter(|(_, fresh)| **fresh);
    let names: BTreeSet<&str> = fresh.flat_map(|(event, _)| event.owed.iter().map(SinkName::as_str)).collect();
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let asked = text(&names)?;
    let mut rows: Vec<Debtor> = sqlx::query_as(DEBTORS).bind(&asked).fetch_all(&mut *connection).await?;
    if rows.len() < names.len() {
        sqlx::query(NAME).bind(&asked).execute(&mut *connection).await?;
        rows = sqlx::query_as(DEBTORS).bind(&asked).fetch_all(connection).await?;
    }
    Ok(rows.into_iter().filter_map(|row| Some((*names.get(row.name.as_str())?, row))).collect())
}

/// Keeps the counters of `sink`: so many events and bytes more are owed, so many more are dead.
pub(super) async fn count(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    (events, bytes): (i64, i64),
    dead: i64,
) -> Result<(), StoreError> {
    let change = sqlx::query(COUNT).bind(sink.as_str()).bind(events).bind(bytes).bind(dead);
    change.execute(&mut *connection).await?;
    Ok(())
}

/// Name, number, `done`, `newest`, events and bytes owed, dead letters, and whether there are rows.
type Standing = (String, i64, i64, i64, i64, i64, i64, bool);

/// All sinks as they stand, the newest position with a row, and the first that was never given.
pub(super) async fn standing(
    connection: &mut SqliteConnection,
) -> Result<(BTreeMap<SinkName, window::Debtor>, i64, i64), StoreError> {
    let (rows_upto, next): (i64, i64) = sqlx::query_as(ENDS).fetch_one(&mut *connection).await?;
    let rows: Vec<Standing> = sqlx::query_as(STANDING).fetch_all(connection).await?;
    let sinks = rows.into_iter().map(|(name, number, done, newest, owed, bytes, dead, has_rows)| {
        let name = name.parse().map_err(|error| unreadable("sink", &error))?;
        Ok((name, window::Debtor { number, done, newest, owed, bytes, dead, has_rows }))
    });
    Ok((sinks.collect::<Result<_, StoreError>>()?, rows_upto, next))
}

/// How much is owed to `sink` by rows, and all in all: two look-ups, whatever the depth.
pub(super) async fn depth(readers: &SqlitePool, sink: &SinkName) -> Result<Depth, StoreError> {
    let row: Option<(i64, i64, i64, Option<i64>)> =
        sqlx::query_as(DEPTH).bind(sink.as_str()).fetch_optional(readers).await?;
    let Some((events, bytes, dead, oldest)) = row else { return Ok(Depth::default()) };
    counted(events, bytes, dead, oldest.map(super::timestamp).transpose()?)
}

/// The counters of a sink, for those who ask.
pub(super) fn counted(events: i64, bytes: i64, dead: i64, oldest: Option<Timestamp>) -> Result<Depth, StoreError> {
    let count = |number| u64::try_from(number).map_err(|error| unreadable("depth", &error));
    Ok(Depth { events: count(events)?, bytes: count(bytes)?, oldest, dead: count(dead)? })
}

/// The sinks that are owed anything.
pub(super) async fn sinks(readers: &SqlitePool) -> Result<Vec<SinkName>, StoreError> {
    let names: Vec<String> = sqlx::query_scalar(SINKS).fetch_all(readers).await?;
    names.iter().map(|name| name.parse().map_err(|error| unreadable("sink", &error))).collect()
}

/// A bound value for `json_each`.
pub(super) fn text(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Refused(error.to_string().into()))
}
