//! What an operator sees of the queue: the sinks that hold anything, single events, and whole parts by position.
//!
//! Must not know who asks, or change anything.

use jiff::Timestamp;
use sqlx::FromRow;

use super::checksum::{Kept, Whole};
use super::error::{StoreError, unreadable};
use super::picking::stretch;
use super::queue::by_bit;
use super::{DeadLetter, Store, dead};
use crate::domain::identity::Token;
use crate::domain::name::SinkName;

pub(super) const HOLDING: &str = "SELECT name FROM sinks WHERE owed > 0 OR dead > 0 ORDER BY name";
pub(super) const AT: &str = "SELECT position, id, partition, received, body, checksum FROM events WHERE position = ?1";
/// By way of no index: ids are looked for by operators only.
pub(super) const BY_ID: &str = "SELECT position, id, partition, received, body, checksum FROM events WHERE id = ?1 \
    ORDER BY position DESC LIMIT 1";
pub(super) const STANDINGS: &str = concat!(
    "SELECT sinks.name, coalesce(owed.attempts, 0) AS attempts, owed.failing_since, NULL AS died, NULL AS reason \
        FROM sinks CROSS JOIN events ON events.position = ?1 \
        LEFT JOIN owed ON owed.sink = sinks.number AND owed.position = ?1 WHERE owed.position IS NOT NULL OR ",
    by_bit!("events"),
    " UNION ALL SELECT sinks.name, dead.attempts, NULL, dead.died, dead.reason \
        FROM sinks CROSS JOIN dead ON dead.sink = sinks.number AND dead.position = ?1 ORDER BY 1"
);
pub(super) const OWED: &str = stretch!("0", "0", "");
pub(super) const DEAD: &str = "SELECT position FROM dead WHERE sink = (SELECT number FROM sinks WHERE name = ?1) \
    AND position > ?2 AND position <= ?3 ORDER BY position LIMIT ?4";

/// Which event is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one at this position.
    Position(i64),
    /// The newest with this id.
    Id(String),
}

/// A part of what the queue of a sink holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is yet to be delivered.
    Owed,
    /// What was given up.
    Dead,
}

/// An event of the queue, and what became of it so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Position in the queue.
    pub position: i64,
    /// The event's id.
    pub id: Token,
    /// Its partition key.
    pub partition: String,
    /// When the stanza was read.
    pub received: Timestamp,
    /// The event as JSON, or what is left of it.
    pub body: String,
    /// Whether all that is what was once written.
    pub intact: bool,
    /// The sinks that do not have it, by name.
    pub standings: Vec<(SinkName, Standing)>,
}

/// How a sink stands to an event it does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is still to get it.
    Owed {
        /// Tries so far.
        attempts: u32,
        /// When the first of them failed.
        failing_since: Option<Timestamp>,
    },
    /// It was given up.
    Dead {
        /// Tries, all failed.
        attempts: u32,
        /// When.
        died: Timestamp,
        /// Why.
        reason: String,
    },
}

#[derive(FromRow)]
struct Row {
    name: String,
    attempts: i64,
    failing_since: Option<i64>,
    died: Option<i64>,
    reason: Option<String>,
}

impl Row {
    fn standing(self) -> Result<(SinkName, Standing), StoreError> {
        let name = self.name.parse().map_err(|error| unreadable("sink", &error))?;
        let attempts = u32::try_from(self.attempts).unwrap_or(u32::MAX);
        let standing = match self.died {
            Some(died) => {
                Standing::Dead { attempts, died: super::timestamp(died)?, reason: self.reason.unwrap_or_default() }
            }
            None => Standing::Owed { attempts, failing_since: self.failing_since.map(super::timestamp).transpose()? },
        };
        Ok((name, standing))
    }
}

impl Store {
    /// The sinks that are owed anything or have dead letters, configured or not.
    pub async fn holding(&self) -> Result<Vec<SinkName>, StoreError> {
        let names: Vec<String> = sqlx::query_scalar(HOLDING).fetch_all(&self.readers).await?;
        names.iter().map(|name| name.parse().map_err(|error| unreadable("sink", &error))).collect()
    }

    /// The newest dead letters of `sink`, the newest first.
    pub async fn latest_dead(&self, sink: &SinkName, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let mut letters = dead::latest(&self.readers, sink, limit).await?;
        self.time.dead(&mut letters);
        Ok(letters)
    }

    /// The positions of a part of what `sink` holds, beyond `after`, in queue order.
    pub async fn positions(
        &self,
        sink: &SinkName,
        part: Part,
        after: i64,
        limit: usize,
    ) -> Result<Vec<i64>, StoreError> {
        self.unpack().await?;
        let query = sqlx::query_scalar(match part {
            Part::Owed => OWED,
            Part::Dead => DEAD,
        });
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(query.bind(sink.as_str()).bind(after).bind(i64::MAX).bind(limit).fetch_all(&self.readers).await?)
    }

    /// An event that is owed or dead, if there is one.
    pub async fn find(&self, wanted: &Wanted) -> Result<Option<Found>, StoreError> {
        self.unpack().await?;
        let query = match wanted {
            Wanted::Position(position) => sqlx::query_as(AT).bind(position),
            Wanted::Id(id) => sqlx::query_as(BY_ID).bind(id),
        };
        let kept: Option<Kept> = query.fetch_optional(&self.readers).await?;
        let Some(event) = kept.map(Whole::from) else { return Ok(None) };
        let rows: Vec<Row> = sqlx::query_as(STANDINGS).bind(event.position).fetch_all(&self.readers).await?;
        let standings = rows.into_iter().map(Row::standing).collect::<Result<Vec<_>, _>>()?;
        // Between the two looks the last sink may have got it.
        let mut found = (!standings.is_empty()).then(|| Found {
            position: event.position,
            id: event.id,
            partition: event.partition,
            received: event.received,
            body: event.body.as_ref().to_owned(),
            intact: event.intact,
            standings,
        });
        if let Some(found) = &mut found {
            self.time.found(found);
        }
        Ok(found)
    }
}
