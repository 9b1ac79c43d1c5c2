//! The errors of generations, told apart by how the caller has to go on.

use std::io;

use super::format::FORMAT;
use crate::domain::identity::StoreId;

/// Why generations could not be opened. Nothing was changed.
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
    /// A file has not the name of a generation.
    #[error("{0} is no generation of remembered ids; move it elsewhere")]
    Unknown(String),
    /// A generation's header is damaged, or the file is something else under a generation's name.
    #[error(
        "{0} does not begin as a generation of remembered ids does; put it back from a backup, or `queue check --repair` says what can be saved"
    )]
    Header(String),
    /// A generation was made by a program with another format.
    #[error("{name} has format {found}, and this program reads format {FORMAT}; run the version that wrote it")]
    Format {
        /// The file.
        name: String,
        /// The number of its format.
        found: u32,
    },
    /// A generation belongs to another store.
    #[error("{name} belongs to the store {found:032x} and not to {expected:032x}; move it elsewhere", found = found.0, expected = expected.0)]
    Foreign {
        /// The file.
        name: String,
        /// Its store.
        found: StoreId,
        /// Ours.
        expected: StoreId,
    },
    /// A generation has the name of another one.
    #[error("{name} is generation {number}, which is not what its name says; give it back its name")]
    Renamed {
        /// The file.
        name: String,
        /// The number in its header.
        number: u64,
    },
    /// A generation that the checkpoint names is not there.
    #[error("{0}, which the last checkpoint names, is missing; put it back")]
    Missing(String),
    /// A generation has more or fewer bytes than it was written with.
    #[error(
        "{name} has {found} bytes, and was written with {expected}; put it back from a backup, or `queue check --repair` says what can be saved"
    )]
    Length {
        /// The file.
        name: String,
        /// Its bytes.
        found: u64,
        /// Those that its header says.
        expected: u64,
    },
    /// What of a generation is held in memory is not there any more as it was written.
    #[error(
        "{name} is damaged at byte {position}; put it back from a backup, or `queue check --repair` says what can be saved"
    )]
    Damaged {
        /// The file.
        name: String,
        /// Where the damaged part begins.
        position: u64,
    },
}

impl From<ReadError> for OpenError {
    fn from(fault: ReadError) -> Self {
        match fault {
            ReadError::Io { name, fault } => Self::Io { name, fault },
            ReadError::Damaged { name, position } => Self::Damaged { name, position },
        }
    }
}

/// Why something could not be looked up.
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
    /// A block of records is not there any more as it was written.
    #[error("{name} is damaged at byte {position}; `queue check --repair` says what can be saved")]
    Damaged {
        /// The file.
        name: String,
        /// Where the block begins.
        position: u64,
    },
}

/// Why a generation could not be written. Those that were there before are as they were, and can be looked up.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk is full. The same may succeed once there is room.
    #[error("there is no room on the disk for {0}, a generation of remembered ids")]
    Full(String),
    /// The disk has failed: what is on it only the next start can tell.
    #[error("{name}, a generation of remembered ids, cannot be written: {fault}")]
    Io {
        /// The file.
        name: String,
        /// The system's error.
        fault: io::Error,
    },
    /// A generation that was to be merged, or the new one, could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl WriteError {
    pub(super) fn of(name: &str, fault: io::Error) -> Self {
        match fault.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(name.to_owned()),
            _ => Self::Io { name: name.to_owned(), fault },
        }
    }
}

/// A list of generations was made of one that is not the current one any more: two checkpoints were written at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another checkpoint has changed the list of generations meanwhile; only one may be written at a time")]
pub struct Outdated;
