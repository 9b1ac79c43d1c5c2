//! What can go wrong with the store, told apart by what the caller has to do about it.
//!
//! Must not know what was being read or written.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::consumer::ReadFault;
use crate::domain::status::StoreFault;
use crate::generations;
use crate::log::{self, LogError};
use crate::state::{self, StateError};

/// Why an operation did not happen. Nothing of it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space left; works again once there is.
    #[error("no space left for the store: {0}")]
    Full(Arc<str>),
    /// The disk failed to read or write; may work later.
    #[error("the store could not be read or written: {0}")]
    Io(Arc<str>),
    /// Another process holds the store for longer than the time-out.
    #[error("the store is in use by another process: {0}")]
    Busy(Arc<str>),
    /// This operation can never be written as it is; others are not touched.
    #[error("the store refused the operation: {0}")]
    Refused(Arc<str>),
    /// A file is damaged, or holds what this program did not write.
    #[error("the store is damaged, see `queue check --repair` or restore a backup: {0}")]
    Corrupt(Arc<str>),
    /// The disk could not make sure that what was written is there: nobody knows what is. Nothing is written after that.
    #[error("the disk could not make sure that what was written is there, check the disk: {0}")]
    Sync(Arc<str>),
    /// The files of the store are not where they were opened: what is written into them is lost with the process.
    #[error("the store was removed or moved away while the router runs: {0}")]
    Moved(Arc<str>),
    /// A thread that writes the store is gone, though nobody closed the store.
    #[error("a thread that writes the store is gone")]
    Gone,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// The fault as it is counted; none where the store was closed on purpose.
    #[must_use]
    pub fn fault(&self) -> Option<StoreFault> {
        match self {
            Self::Full(_) => Some(StoreFault::Full),
            Self::Io(_) => Some(StoreFault::Io),
            Self::Busy(_) => Some(StoreFault::Busy),
            Self::Refused(_) => Some(StoreFault::Refused),
            Self::Corrupt(_) => Some(StoreFault::Corrupt),
            Self::Sync(_) => Some(StoreFault::Sync),
            Self::Moved(_) => Some(StoreFault::Moved),
            Self::Gone => Some(StoreFault::Gone),
            Self::Closed => None,
        }
    }

    /// Whether the store has failed for good: nothing will ever be written again by this process.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Sync(_) | Self::Gone => true,
            Self::Full(_)
            | Self::Io(_)
            | Self::Busy(_)
            | Self::Refused(_)
            | Self::Corrupt(_)
            | Self::Moved(_)
            | Self::Closed => false,
        }
    }

    /// Whether waiting alone is no remedy: of a full disk somebody makes room, and whoever holds the store lets go of it.
    #[must_use]
    pub fn lasts(&self) -> bool {
        match self {
            Self::Io(_) | Self::Corrupt(_) | Self::Sync(_) | Self::Moved(_) | Self::Gone => true,
            Self::Full(_) | Self::Busy(_) | Self::Refused(_) | Self::Closed => false,
        }
    }

    /// Whether only the operation itself is at fault, so that its neighbours may go ahead without it.
    pub(super) fn is_its_own(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Full(_)
            | Self::Io(_)
            | Self::Busy(_)
            | Self::Corrupt(_)
            | Self::Sync(_)
            | Self::Moved(_)
            | Self::Gone
            | Self::Closed => false,
        }
    }
}

/// What was read cannot be what was once written.
pub(super) fn unreadable(what: &str, why: &impl Display) -> StoreError {
    StoreError::Corrupt(format!("{what}: {why}").into())
}

impl From<StateError> for StoreError {
    fn from(fault: StateError) -> Self {
        let detail: Arc<str> = fault.to_string().into();
        match fault {
            StateError::Full(_) => Self::Full(detail),
            StateError::Refused(_) => Self::Refused(detail),
            StateError::Away { fault: StoreFault::Busy, .. } | StateError::Fenced(_) => Self::Busy(detail),
            StateError::Away { .. } => Self::Io(detail),
            StateError::Dead { fault: StoreFault::Sync, .. } => Self::Sync(detail),
            StateError::Dead { fault: StoreFault::Gone, .. } => Self::Gone,
            StateError::Dead { .. } => Self::Corrupt(detail),
            StateError::Moved(detail) => Self::Moved(detail),
            StateError::Closed => Self::Closed,
        }
    }
}

impl From<LogError> for StoreError {
    fn from(fault: LogError) -> Self {
        let detail = fault.to_string().into();
        match fault {
            LogError::Full => Self::Full(detail),
            LogError::Refused(_) => Self::Refused(detail),
            LogError::Dead(_) => Self::Sync(detail),
        }
    }
}

impl From<log::ReadError> for StoreError {
    fn from(fault: log::ReadError) -> Self {
        let detail = fault.to_string().into();
        match fault {
            log::ReadError::Io { .. } => Self::Io(detail),
            log::ReadError::Damaged { .. } => Self::Corrupt(detail),
        }
    }
}

impl From<ReadFault> for StoreError {
    fn from(fault: ReadFault) -> Self {
        match fault {
            ReadFault::OnDisk => Self::Io("it was to be read from memory alone".into()),
            ReadFault::Log(fault) => fault.into(),
        }
    }
}

impl From<generations::ReadError> for StoreError {
    fn from(fault: generations::ReadError) -> Self {
        let detail = fault.to_string().into();
        match fault {
            generations::ReadError::Io { .. } => Self::Io(detail),
            generations::ReadError::Damaged { .. } => Self::Corrupt(detail),
        }
    }
}

impl From<generations::WriteError> for StoreError {
    fn from(fault: generations::WriteError) -> Self {
        let detail: Arc<str> = fault.to_string().into();
        match fault {
            generations::WriteError::Full(_) => Self::Full(detail),
            generations::WriteError::Io { .. } => Self::Io(detail),
            generations::WriteError::Read(fault) => fault.into(),
        }
    }
}

/// Why the store did not open. No file was changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not `sqlite://NAME`.
    #[error("store.url: {url:?} is not sqlite://NAME or sqlite:///PATH")]
    Url {
        /// As configured.
        url: String,
    },
    /// The state.
    #[error(transparent)]
    State(#[from] state::OpenError),
    /// The event log, or what is remembered beside it.
    #[error("{}: {detail}", .path.display())]
    Part {
        /// Its folder.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// What is in it cannot be what was written.
    #[error("{} is damaged ({detail}): restore a backup, or see what `queue check --repair` can save", .path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found first.
        detail: String,
    },
    /// The user of this process may not read or write a file or its folder.
    #[error(
        "no permission to read and write {}: give the file and its folder to the user that runs the router", .path.display()
    )]
    Permission {
        /// The file in question.
        path: PathBuf,
    },
    /// No space left.
    #[error("no space left to open {}: make room on its disk", .path.display())]
    Full {
        /// The file in question.
        path: PathBuf,
    },
    /// Any other fault of the disk or the system.
    #[error("{} cannot be opened: {detail}", .path.display())]
    Io {
        /// The file in question.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
}

impl OpenError {
    /// Why `path` does not open, as the first look at it failed.
    pub(super) fn of(path: &Path, fault: StoreError) -> Self {
        let path = path.to_owned();
        match fault {
            StoreError::Full(_) => Self::Full { path },
            StoreError::Corrupt(detail) | StoreError::Refused(detail) => {
                Self::Corrupt { path, detail: detail.to_string() }
            }
            fault => Self::Io { path, detail: fault.to_string() },
        }
    }

    /// Why `path` does not open, as the system says.
    pub(super) fn of_file(path: &Path, fault: &io::Error) -> Self {
        let path = path.to_owned();
        match fault.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::Permission { path },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { path, detail: fault.to_string() },
        }
    }
}
