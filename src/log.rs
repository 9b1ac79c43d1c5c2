//! The event log: every event once, in the order of its commit, in files that are only ever appended to.
//!
//! # What it promises
//!
//! * What was answered with `Ok` is on the disk: after any crash it is there, once, whole and in its order. What was not
//!   answered is there as a whole or not at all.
//! * An offset never changes, and none is given twice. They begin at 1 and have no holes.
//! * What a disk has damaged is found and told, never passed over: each record has a checksum of its own.
//! * After a failed sync, and after a write that failed for anything but a full disk, nothing is appended any more. What is
//!   on the disk then only the next start can tell.
//! * On a full disk appending fails, and nothing else: what is there can be read, and there is room left for the records
//!   that free some.
//! * A log of another store, of another format, with a missing, copied or renamed segment is refused, and left as it is.
//!
//! # What it relies on
//!
//! * One process appends. The store holds the lock.
//! * A file that was synced is on the disk, and so is the name that a synced folder shows for it.
//! * Bytes that are written again as they were stay what they were, also when power fails meanwhile.
//!
//! # What is in the folder
//!
//! | file | what it is |
//! |---|---|
//! | `0000000042.segment` | segment 42: a header, records, and once it is sealed an index and a trailer |
//! | `spare` | room that is reserved for the next segment; it may be removed while nothing runs |
//!
//! A segment is a file of [`Options::segment_bytes`], reserved as a whole before the one before it is half full. It takes
//! records until no other one fits, is then sealed, and never written again. Its parts are described where they are written:
//! header, index and trailer in `segment.rs`, records in `record.rs`, the events in them in `entry.rs`.
//!
//! A record is appended by one write and one sync; the next one is written only after that. Retention removes whole segments,
//! the oldest first, and a record says so before. How a log is opened after a crash is described in `recovery.rs`.
//!
//! Must not know XMPP, sinks, SQLite, or what an event is about.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

mod appender;
mod entry;
mod error;
mod record;
mod records;
mod recovery;
mod segment;
mod shared;
#[cfg(test)]
mod tests;

pub use appender::Appender;
pub use entry::{ConsumerNumber, Entry, Group, Read};
pub use error::{LogError, OpenError, ReadError};
pub use recovery::{Torn, open};
pub use segment::FORMAT;

use shared::Shared;

/// The name of the file that is reserved for the next segment.
const SPARE: &str = "spare";

/// The place of an event in the log, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub u64);

impl Offset {
    /// Returns the offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number that a store draws when it is made, so that nothing of another store is ever taken for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreId(pub u128);

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose log it is.
    pub store: StoreId,
    /// Bytes of one segment. A record that does not fit gets a larger one.
    pub segment_bytes: u64,
    /// Bytes of the newest events' JSON that are held in memory at most.
    pub tail_bytes: usize,
    /// The offset before which the state has seen all events. A log that ends before it has lost some.
    pub seen: Offset,
}

/// The log, to read it. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Log(Arc<Shared>);

impl Log {
    /// Returns the offset that the next event will have.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.0.next()
    }

    /// Returns the offset of the oldest event that is left, or of the next one where there is none.
    #[must_use]
    pub fn first(&self) -> Offset {
        self.0.first()
    }

    /// Returns the number of segments.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.0.segments()
    }

    /// Returns events from `from` on, or from the oldest that is left, in order: as many as have about `bytes` bytes of JSON,
    /// and at least one, unless there is none. Newer ones come from memory, older ones from the disk.
    ///
    /// # Errors
    /// If a record is damaged, or the system refuses to read it.
    pub fn read(&self, from: Offset, bytes: usize) -> Result<Vec<Arc<Read>>, ReadError> {
        self.0.read(from, bytes)
    }

    /// Shows the groups of which an event, or what they changed, may lie at `from` or beyond, in order, until `visit` has
    /// seen enough: the offset of the first event, when it was committed (microseconds since 1970, UTC), and the group.
    ///
    /// # Errors
    /// If a record is damaged, or the system refuses to read it.
    pub fn replay(
        &self,
        from: Offset,
        mut visit: impl FnMut(Offset, i64, Group) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        for (segment, position, end) in self.0.sources(from) {
            let visit = |header: record::Header, group| visit(header.first, header.committed, group);
            if shared::groups(&segment, (position, end), visit)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}
