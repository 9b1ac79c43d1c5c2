//! Whether an event is read as it was written: a flipped bit inside a text is nothing the database itself notices.
//!
//! Must not know who is owed an event.

use std::sync::Arc;

use crc32fast::Hasher;
use jiff::Timestamp;
use sqlx::{FromRow, SqlitePool};

use super::error::StoreError;
use crate::domain::identity::Token;

pub(super) const EVENTS: &str = "SELECT position, id, partition, received, body, checksum FROM events \
    WHERE position > ?1 ORDER BY position LIMIT 1000";

/// The parts of an event that a checksum stands for.
pub(super) struct Parts<'a> {
    pub(super) position: i64,
    pub(super) id: &'a [u8],
    pub(super) partition: &'a [u8],
    pub(super) received: i64,
    pub(super) body: &'a [u8],
}

/// CRC-32 of all parts; the texts are delimited by their lengths.
pub(super) fn of(parts: &Parts<'_>) -> i64 {
    let mut digest = Hasher::new();
    digest.update(&parts.position.to_be_bytes());
    digest.update(&parts.received.to_be_bytes());
    for text in [parts.id, parts.partition, parts.body] {
        digest.update(&(text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    digest.finalize().into()
}

/// An event as the database gives it. What was a text may be none any more.
#[derive(FromRow)]
pub(super) struct Kept {
    position: i64,
    id: Vec<u8>,
    partition: Vec<u8>,
    received: i64,
    body: Vec<u8>,
    checksum: Option<i64>,
}

/// An event as far as it can be read.
pub(super) struct Whole {
    pub(super) position: i64,
    pub(super) id: Token,
    pub(super) partition: String,
    pub(super) received: Timestamp,
    pub(super) body: Arc<str>,
    /// Whether it is what was written.
    pub(super) intact: bool,
}

impl Kept {
    fn is_intact(&self) -> bool {
        let Self { position, ref id, ref partition, received, ref body, checksum } = *self;
        checksum.is_none_or(|written| written == of(&Parts { position, id, partition, received, body }))
    }
}

impl From<Kept> for Whole {
    fn from(kept: Kept) -> Self {
        let mut intact = kept.is_intact();
        let received = Timestamp::from_microsecond(kept.received).unwrap_or_else(|_| {
            intact = false;
            Timestamp::UNIX_EPOCH
        });
        let mut readable = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap_or_else(|fault| {
                intact = false;
                String::from_utf8_lossy(fault.as_bytes()).into_owned()
            })
        };
        let (id, partition, body) = (readable(kept.id).into(), readable(kept.partition), readable(kept.body).into());
        Self { position: kept.position, id, partition, received, body, intact }
    }
}

/// The positions of all events that are not what was written.
pub(super) async fn damaged(readers: &SqlitePool) -> Result<Vec<i64>, StoreError> {
    let (mut damaged, mut after) = (Vec::new(), 0);
    loop {
        let events: Vec<Kept> = sqlx::query_as(EVENTS).bind(after).fetch_all(readers).await?;
        let Some(last) = events.last() else { return Ok(damaged) };
        after = last.position;
        damaged.extend(events.into_iter().map(Whole::from).filter(|event| !event.intact).map(|event| event.position));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_counts_and_the_texts_are_delimited() {
        let of = |position, id: &str, partition: &str, received, body: &str| {
            let (id, partition, body) = (id.as_bytes(), partition.as_bytes(), body.as_bytes());
            of(&Parts { position, id, partition, received, body })
        };
        let all = [
            of(1, "a", "b", 2, "c"),
            of(3, "a", "b", 2, "c"),
            of(1, "x", "b", 2, "c"),
            of(1, "a", "x", 2, "c"),
            of(1, "a", "b", 3, "c"),
            of(1, "a", "b", 2, "x"),
            of(1, "ab", "", 2, "c"),
            of(1, "a", "", 2, "bc"),
        ];
        assert_eq!(std::collections::BTreeSet::from(all).len(), all.len(), "{all:?}");
    }
}
