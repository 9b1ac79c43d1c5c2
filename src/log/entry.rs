//! Entries: events as they lie in the log, and the groups they are committed in.
//!
//! The body of a group is written by `postcard`: first what the commit changed besides, as bytes that only the store reads,
//! and then its events in order. Must not know what is in an event's JSON.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Offset;
use super::record;
use crate::domain::identity::Token;

/// The number of a consumer, by which entries name whom they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConsumerNumber(pub u32);

/// An event in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The event's id.
    pub id: Token,
    /// Its partition key: order is kept within it.
    pub partition: Token,
    /// The entry before it with the same partition key, if one was known.
    pub previous: Option<Offset>,
    /// When the stanza was read: microseconds since 1970, UTC.
    pub received: i64,
    /// Whom it is for.
    pub consumers: Vec<ConsumerNumber>,
    /// The event as JSON, without a line break.
    pub body: Arc<str>,
}

/// All that one commit appends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Other changes of the same commit, as the store wrote them.
    pub changes: Vec<u8>,
    /// Its events, in order.
    pub entries: Vec<Entry>,
}

/// An entry where it is read, and where it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Its offset.
    pub offset: Offset,
    /// When it was committed: microseconds since 1970, UTC.
    pub committed: i64,
    /// The entry.
    pub entry: Entry,
    /// Whether it is there as it was written. If not, the entry has neither a body nor a name, and is for all that it may have
    /// been for.
    pub intact: bool,
}

impl Group {
    /// Puts the body of its record in `record`, behind room for the header.
    pub(super) fn encode(&self, record: &mut Vec<u8>) -> Result<(), TooLarge> {
        record.clear();
        record.resize(record::HEADER, 0);
        *record = postcard::to_extend(self, std::mem::take(record)).map_err(|_| TooLarge)?;
        if record.len() - record::HEADER > record::BODY_BYTES { Err(TooLarge) } else { Ok(()) }
    }

    /// Reads the body of a group.
    pub(super) fn decode(body: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(body)
    }
}

/// A group has no room in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;
