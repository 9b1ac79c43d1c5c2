//! Which of the owed events a step takes: part of the queue, some calls left out, or those of certain calls only.
//!
//! What is in the window comes from there. Every statement walks the rows of one sink's queue in order, what is owed by a row
//! beside what is owed by a bit. Must not know why a call is left out, or when its time comes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::checksum::{Kept, Whole};
use super::error::{StoreError, unreadable};
use super::queue::{self, by_bit, text};
use super::window::{Glance, Packed};
use super::{Depth, Owed, Pick, Store, packing};
use crate::domain::limits::TAKEN_BYTES;
use crate::domain::name::SinkName;

/// Events that are read at once.
const READ: usize = 256;

/// What is owed to the sink `?1` between `?2` and `?3`, at most `?4`: what is to be read of it by way of a row and by way
/// of a bit, its position first, and what is asked for besides.
macro_rules! stretch {
    ($of_row:expr, $of_bit:expr, $also:expr) => {
        concat!(
            "SELECT events.position, ",
            $of_row,
            " FROM owed CROSS JOIN events ON events.position = owed.position \
            WHERE owed.sink = (SELECT number FROM sinks WHERE name = ?1) \
                AND owed.position > ?2 AND owed.position <= ?3",
            $also,
            " UNION ALL SELECT events.position, ",
            $of_bit,
            " FROM events WHERE position > max(?2, (SELECT done FROM sinks WHERE name = ?1)) \
                AND position <= min(?3, (SELECT newest FROM sinks WHERE name = ?1)) \
                AND debtors & (SELECT 1 << number FROM sinks WHERE name = ?1 AND number < 63)",
            $also,
            " ORDER BY 1 LIMIT ?4"
        )
    };
}
pub(super) use stretch;

/// What is owed and how it stands, but not of the calls `?5`: one text, since a row for each costs more than finding it.
macro_rules! places {
    ($also:expr) => {
        concat!(
            "SELECT coalesce(group_concat(place, ','), '') FROM (",
            stretch!(
                "owed.position || ' ' || owed.attempts || coalesce(' ' || owed.failing_since, '') AS place",
                "position",
                concat!(" AND events.partition NOT IN (SELECT value FROM json_each(?5))", $also)
            ),
            ")"
        )
    };
}

pub(super) const STRETCH: &str = places!("");
/// The same, but only what has no owed event of its call before it and below the position `?6`.
pub(super) const FIRST: &str = places!(concat!(
    " AND NOT EXISTS (SELECT 1 FROM sinks CROSS JOIN events AS earlier \
        ON substr(earlier.partition, 1, 8) = substr(events.partition, 1, 8) AND earlier.partition = events.partition \
            AND earlier.position < min(events.position, ?6) \
        WHERE sinks.name = ?1 AND (",
    by_bit!("earlier"),
    " OR EXISTS (SELECT 1 FROM owed WHERE owed.sink = sinks.number AND owed.position = earlier.position)))"
));
pub(super) const OF_CALLS: &str = concat!(
    "SELECT events.position, coalesce(owed.attempts, 0), owed.failing_since FROM sinks CROSS JOIN json_each(?2) AS asked CROSS JOIN events \
        ON substr(events.partition, 1, 8) = substr(asked.value, 1, 8) AND events.partition = asked.value \
    LEFT JOIN owed ON owed.sink = sinks.number AND owed.position = events.position \
    WHERE sinks.name = ?1 AND (owed.position IS NOT NULL OR ",
    by_bit!("events"),
    ") ORDER BY events.position LIMIT ?3"
);
pub(super) const NEWEST: &str = concat!(
    "SELECT max(coalesce((SELECT max(position) FROM owed WHERE sink = number), 0), \
        coalesce((SELECT position FROM events WHERE ",
    by_bit!("events"),
    " ORDER BY position DESC LIMIT 1), 0)) FROM sinks WHERE name = ?1"
);

pub(super) const EVENTS: &str = "SELECT position, id, partition, received, body, checksum FROM events \
    WHERE position IN (SELECT value FROM json_each(?1))";

/// Where an owed event stands: its position, the tries so far, and when the first of them failed.
type Place = (i64, i64, Option<i64>);

/// What `pick` asks for, in queue order.
pub(super) async fn pick(store: &Store, sink: &SinkName, pick: &Pick) -> Result<Vec<Owed>, StoreError> {
    let Some(window) = store.window().await? else { return rows(store, sink, pick).await };
    if pick.first_below.is_some() {
        store.unpack().await?;
        return rows(store, sink, pick).await;
    }
    // First, since events only go from there to the rows.
    let Glance { owed, rows: may_be_rows } = window.pick(sink, pick);
    let older = if may_be_rows { rows(store, sink, pick).await? } else { Vec::new() };
    let (mut bytes, mut events) = (older.iter().map(|owed| owed.body.len()).sum::<usize>(), older.len());
    let fits = |event: &Packed| {
        bytes += event.bytes;
        events += 1;
        events == 1 || bytes <= TAKEN_BYTES
    };
    let owed = owed.into_iter().take_while(fits).collect();
    joined(store, older, owed, pick.limit).await
}

/// The older ones, which may have some of the newer ones among them, and then those.
async fn joined(
    store: &Store,
    mut older: Vec<Owed>,
    mut newer: Vec<Packed>,
    limit: usize,
) -> Result<Vec<Owed>, StoreError> {
    let last = older.last().map_or(0, |owed| owed.position);
    newer.retain(|event| event.position > last);
    newer.truncate(limit.saturating_sub(older.len()));
    let mut absent = newer.iter().filter(|event| event.body.is_none()).map(|event| event.position);
    let mut bodies = match absent.next() {
        Some(first) => packing::bodies(&store.readers, first, absent.next_back().unwrap_or(first)).await?,
        None => BTreeMap::new(),
    };
    // What was taken apart or away meanwhile is found by the next look.
    older.extend(newer.into_iter().map_while(|event| event.owed(|position| bodies.remove(&position))));
    Ok(older)
}

async fn rows(store: &Store, sink: &SinkName, pick: &Pick) -> Result<Vec<Owed>, StoreError> {
    let limit = i64::try_from(pick.limit).unwrap_or(i64::MAX);
    let query = sqlx::query_scalar(if pick.first_below.is_some() { FIRST } else { STRETCH })
        .bind(sink.as_str())
        .bind(pick.after)
        .bind(pick.until)
        .bind(limit)
        .bind(text(&pick.without)?);
    let query = match pick.first_below {
        Some(bound) => query.bind(bound),
        None => query,
    };
    let text: String = query.fetch_one(&store.readers).await?;
    let mut places = text.split(',').filter(|place| !place.is_empty()).map(place).collect::<Result<Vec<_>, _>>()?;
    places.sort_unstable(); // the database promises no order
    read(store, places).await
}

/// Position, tries and first failure, the latter two where there were any.
fn place(text: &str) -> Result<Place, StoreError> {
    let mut numbers = text.split(' ').map(|number| number.parse().map_err(|error| unreadable("queue", &error)));
    let position = numbers.next().unwrap_or(Ok(0))?;
    Ok((position, numbers.next().unwrap_or(Ok(0))?, numbers.next().transpose()?))
}

/// What is owed of `calls`, in queue order.
pub(super) async fn of_calls(
    store: &Store,
    sink: &SinkName,
    calls: &[Arc<str>],
    limit: usize,
) -> Result<Vec<Owed>, StoreError> {
    let newer = store.window().await?.map(|window| window.of_calls(sink, calls, limit)).unwrap_or_default();
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query_as(OF_CALLS).bind(sink.as_str()).bind(text(&calls)?).bind(most);
    let older = read(store, query.fetch_all(&store.readers).await?).await?;
    joined(store, older, newer, limit).await
}

/// The events at `places`, as far as not too many bytes are taken at once.
async fn read(store: &Store, places: Vec<Place>) -> Result<Vec<Owed>, StoreError> {
    let (mut owed, mut bytes) = (Vec::new(), 0);
    for places in places.chunks(READ) {
        let read = read_all(store, places).await?;
        bytes += read.iter().map(|owed| owed.body.len()).sum::<usize>();
        owed.extend(read);
        if bytes >= TAKEN_BYTES {
            break;
        }
    }
    Ok(owed)
}

/// The events at `places`. One that was taken away meanwhile is owed to nobody.
async fn read_all(store: &Store, places: &[Place]) -> Result<Vec<Owed>, StoreError> {
    let positions: Vec<i64> = places.iter().map(|(position, ..)| *position).collect();
    let kept: Vec<Kept> = sqlx::query_as(EVENTS).bind(text(&positions)?).fetch_all(&store.readers).await?;
    let events = kept.into_iter().map(Whole::from).map(|event| (event.position, event));
    let mut events: HashMap<i64, Whole> = events.collect();
    let owed = |&(position, attempts, failing_since): &Place| {
        let event = events.remove(&position)?;
        Some(Owed {
            position,
            id: event.id,
            partition: event.partition,
            received: event.received,
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            failing_since: failing_since.and_then(|since| Timestamp::from_microsecond(since).ok()),
            body: event.body,
            intact: event.intact,
        })
    };
    Ok(places.iter().filter_map(owed).collect())
}

/// The newest position owed to `sink`.
pub(super) async fn newest(store: &Store, sink: &SinkName) -> Result<Option<i64>, StoreError> {
    if let Some(newest) = store.window().await?.and_then(|window| window.newest(sink)) {
        return Ok(Some(newest));
    }
    let newest: Option<i64> = sqlx::query_scalar(NEWEST).bind(sink.as_str()).fetch_optional(&store.readers).await?;
    Ok(newest.filter(|newest| *newest > 0))
}

/// How much is owed to `sink`: without rows nobody is asked.
pub(super) async fn depth(store: &Store, sink: &SinkName) -> Result<Depth, StoreError> {
    match store.window().await?.map(|window| window.depth(sink)) {
        None => {
            let depth = queue::depth(&store.readers, sink).await?;
            // What is in packs is newer than all rows.
            let oldest = match depth.oldest {
                None if depth.events > 0 => packing::oldest(&store.readers, sink).await?,
                oldest => oldest,
            };
            Ok(Depth { oldest, ..depth })
        }
        Some(None) => Ok(Depth::default()),
        Some(Some((debtor, rows, newer))) => {
            let older = if rows { queue::depth(&store.readers, sink).await?.oldest } else { None };
            queue::counted(debtor.owed, debtor.bytes, debtor.dead, older.or(newer))
        }
    }
}
