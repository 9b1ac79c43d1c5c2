//! The errors of the log, told apart by how the caller has to go on.

use std::fmt::Display;
use std::io;

use super::segment::FORMAT;
use super::{Offset, StoreId};

/// Why something could not be appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The disk is full. Nothing was appended, and the same may succeed once there is room.
    #[error("the event log has no room on the disk")]
    Full,
    /// The group is larger than a record may be; it can never be appended.
    #[error("a group of {0} events is larger than a record of the event log may be")]
    Refused(usize),
    /// The disk has failed. Nothing more is appended: what of it is on the disk only the next start can tell.
    #[error("the event log cannot be written any more: {0}")]
    Dead(String),
}

impl LogError {
    /// Takes what the system says of a write. Only a full disk passes: of anything else nobody knows what it leaves behind.
    pub(super) fn of(fault: &io::Error) -> Self {
        match fault.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::dead(fault),
        }
    }

    pub(super) fn dead(fault: &impl Display) -> Self {
        Self::Dead(fault.to_string())
    }
}

/// Why the log could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused.
    #[error("{name}: {fault}")]
    Io {
        /// The file, or `.` for the folder.
        name: String,
        /// The system's error.
        fault: io::Error,
    },
    /// A file is none of a log.
    #[error("{0} is no segment of an event log; move it elsewhere")]
    Unknown(String),
    /// A segment's header is damaged, or the file is something else under a segment's name.
    #[error("{0} does not begin as a segment of an event log does; `queue check --repair` says what can be saved")]
    Header(String),
    /// A segment was made by a program with another format.
    #[error("{name} has format {found}, and this program reads format {FORMAT}; run the version that wrote it")]
    Format {
        /// The file.
        name: String,
        /// The number of its format.
        found: u32,
    },
    /// A segment belongs to another store.
    #[error("{name} belongs to the store {found:032x} and not to {expected:032x}; move it elsewhere", found = found.0, expected = expected.0)]
    Foreign {
        /// The file.
        name: String,
        /// Its store.
        found: StoreId,
        /// Ours.
        expected: StoreId,
    },
    /// A segment has the name of another one.
    #[error("{name} is segment {number}, which is not what its name says; give it back its name")]
    Renamed {
        /// The file.
        name: String,
        /// The number in its header.
        number: u64,
    },
    /// Segments are missing.
    #[error("{0} is missing; put it back")]
    Missing(String),
    /// A segment does not begin where the one before it ends.
    #[error(
        "{name} begins with event {first}, and the segment before it ends before event {expected}; one of them is of another time, put the right one back"
    )]
    Apart {
        /// The later of the two.
        name: String,
        /// The first event that it may hold.
        first: Offset,
        /// The one that should come first.
        expected: Offset,
    },
    /// A segment that is not the newest one has no index, or a damaged one.
    #[error("{0} does not end as a sealed segment does; `queue check --repair` says what can be saved")]
    Unsealed(String),
    /// The log ends before what the state has seen of it.
    #[error(
        "the event log ends before event {next}, and the state has seen events up to {seen}; put the newest segments back"
    )]
    Short {
        /// The event that would come next.
        next: Offset,
        /// The one that should.
        seen: Offset,
    },
    /// A record that was once written is not there any more as it was.
    #[error("{name} is damaged at byte {position}; `queue check --repair` says what can be saved")]
    Damaged {
        /// The file.
        name: String,
        /// Where the record begins, or should.
        position: u64,
    },
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error("{name}: {fault}")]
    Io {
        /// The file.
        name: String,
        /// The system's error.
        fault: io::Error,
    },
    /// A record is not there any more as it was written.
    #[error("{name} is damaged at byte {position}")]
    Damaged {
        /// The file.
        name: String,
        /// Where the record begins.
        position: u64,
    },
}
