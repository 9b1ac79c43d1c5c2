//! The event log: every event once, in the order of its commit, in files that are only ever appended to.
//!
//! # What it promises
//!
//! * What was answered with `Ok` is on the disk: after any crash it is there, once, whole and in its order. What was not
//!   answered is there as a whole or not at all.
//! * An offset never changes, and none is given twice. They begin at 1 and have no holes.
//! * What a disk has damaged is found and told, never passed over: each record has a checksum of its own. It holds up nothing:
//!   which events are damaged is known, and all others are read.
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

use crate::domain::identity::StoreId;

mod appender;
mod damage;
mod entry;
mod error;
mod record;
mod records;
mod recovery;
mod repair;
mod segment;
mod shared;
#[cfg(test)]
mod tests;

pub use appender::Appender;
pub use damage::Lost;
pub use entry::{ConsumerNumber, Entry, Group, Read};
pub use error::{LogError, OpenError, ReadError};
pub use recovery::{Torn, open, open_to_read};
pub use repair::repair;
pub use segment::{FORMAT, Share};

use damage::Found;
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

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The name of its file.
    pub name: String,
    /// The first event that it may hold.
    pub first: Offset,
    /// The first event that it does not hold any more.
    pub end: Offset,
    /// Bytes up to the end of its records.
    pub bytes: u64,
    /// When its newest group was committed (microseconds since 1970, UTC), if it has any.
    pub newest: Option<i64>,
    /// How much of it each consumer was given.
    pub shares: Vec<Share>,
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
    /// and at least one, unless there is none. Newer ones come from memory, older ones from the disk. What is damaged is among
    /// them, and says so.
    ///
    /// # Errors
    /// If the system refuses to read it.
    pub fn read(&self, from: Offset, bytes: usize) -> Result<Vec<Arc<Read>>, ReadError> {
        self.0.read(from, bytes)
    }

    /// Returns events from `from` on as [`Log::read`] does, if that is in memory, and nothing where the disk would have to be
    /// read.
    #[must_use]
    pub fn read_tail(&self, from: Offset, bytes: usize) -> Option<Vec<Arc<Read>>> {
        self.0.read_tail(from, bytes)
    }

    /// Returns the segments as they are, the oldest first.
    #[must_use]
    pub fn extents(&self) -> Vec<Extent> {
        self.0.extents()
    }

    /// Reads all records that are there, and says what is damaged and was not repaired, or cannot be read.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut told = Vec::new();
        for span in self.0.sources(Offset(0)) {
            let looked = damage::look(&span, |found| {
                if let Found::Lost(lost @ Lost { moved: false, .. }) = found {
                    told.push(lost.to_string());
                }
                ControlFlow::Continue(())
            });
            told.extend(looked.err().map(|fault| fault.to_string()));
        }
        told
    }

    /// Shows the groups of which an event, or what they changed, may lie at `from` or beyond, in order, until `visit` has
    /// seen enough: the offset of the first event, when it was committed (microseconds since 1970, UTC), and the group. Returns
    /// what of all that is damaged.
    ///
    /// # Errors
    /// If the system refuses to read it.
    pub fn replay(
        &self,
        from: Offset,
        mut visit: impl FnMut(Offset, i64, Group) -> ControlFlow<()>,
    ) -> Result<Vec<Lost>, ReadError> {
        let mut damaged = Vec::new();
        for span in self.0.sources(from) {
            let looked = damage::look(&span, |found| match found {
                Found::Group(header, group) => visit(header.first, header.committed, group),
                Found::Lost(lost) => {
                    damaged.push(lost);
                    ControlFlow::Continue(())
                }
            })?;
            if looked.is_break() {
                break;
            }
        }
        Ok(damaged)
    }
}
