//! What can go wrong with the database, sorted by what to do about it.
//!
//! Must not know what was being read or written.

use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::status::StoreFault;

/// Why an operation did not happen. Nothing of it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space left; works again once there is.
    #[error("no space left for the database: {0}")]
    Full(Arc<str>),
    /// The disk failed to read or write; may work later.
    #[error("the database could not be read or written: {0}")]
    Io(Arc<str>),
    /// Another process holds the database for longer than the time-out.
    #[error("the database is in use by another process: {0}")]
    Busy(Arc<str>),
    /// This operation can never be written as it is; others are not touched.
    #[error("the database refused the operation: {0}")]
    Refused(Arc<str>),
    /// The file is damaged, or holds what this program did not write.
    #[error("the database is damaged, restore it from a backup: {0}")]
    Corrupt(Arc<str>),
    /// The disk could not make sure that what was written is there: nobody knows what is. Nothing is written after that.
    #[error("the disk could not make sure that what was written is there, check the disk: {0}")]
    Sync(Arc<str>),
    /// The files of the database are not where they were opened: what is written into them is lost with the process.
    #[error("the database was removed or moved away while the router runs: {0}")]
    Moved(Arc<str>),
    /// The thread that writes the database is gone, though nobody closed the store.
    #[error("the thread that writes the database is gone")]
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

    /// Whether waiting alone is no remedy: of a full disk somebody makes room, and whoever holds the database lets go of it.
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

/// Primary result codes of SQLite (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const NO_MEMORY: i32 = 7;
    pub(super) const READ_ONLY: i32 = 8;
    pub(super) const IO: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANNOT_OPEN: i32 = 14;
    pub(super) const NOT_A_DATABASE: i32 = 26;
    /// What a statement is refused for because of the values in it: too large, not allowed, of another type, out of range.
    pub(super) const OF_CONTENT: [i32; 4] = [18, 19, 20, 25];
    /// Extended codes: the file, or its folder, could not be synchronised.
    pub(super) const SYNC: [i32; 2] = [1034, 1290];
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let text: Arc<str> = error.to_string().into();
        match &error {
            E::Database(answer) => {
                let extended: i32 = answer.code().and_then(|code| code.parse().ok()).unwrap_or_default();
                match extended & 0xff {
                    _ if code::SYNC.contains(&extended) => Self::Sync(text),
                    code::FULL => Self::Full(text),
                    code::IO | code::CANNOT_OPEN | code::READ_ONLY | code::NO_MEMORY => Self::Io(text),
                    code::BUSY | code::LOCKED => Self::Busy(text),
                    code::CORRUPT | code::NOT_A_DATABASE => Self::Corrupt(text),
                    primary if code::OF_CONTENT.contains(&primary) => Self::Refused(text),
                    // A fault of the database, whatever is being written: nothing of that must be given up for it.
                    _ => Self::Io(text),
                }
            }
            E::PoolTimedOut => Self::Busy(text),
            E::PoolClosed => Self::Closed,
            E::WorkerCrashed => Self::Gone,
            E::Decode(_) | E::ColumnDecode { .. } => Self::Corrupt(text),
            E::Encode(_) => Self::Refused(text),
            _ => Self::Io(text),
        }
    }
}

/// What was read cannot be what was once written.
pub(super) fn unreadable(what: &str, why: &impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("{what}: {why}").into())
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
    /// The folder does not exist.
    #[error("the folder {} does not exist: create it, or correct store.url", .folder.display())]
    Folder {
        /// Where the database should be.
        folder: PathBuf,
    },
    /// The user of this process may not read or write the file or its folder.
    #[error("no permission to read and write {}: give the file and its folder to the user that runs the router", .path.display())]
    Permission {
        /// The file in question.
        path: PathBuf,
    },
    /// Another router owns the database.
    #[error("{} is in use by another process: stop it, or give this router another store.url", .path.display())]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// Something else than an SQLite database.
    #[error("{} is not a database: move it away, or correct store.url", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// A database of another program.
    #[error("{} belongs to another program: correct store.url", .path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// A damaged database.
    #[error("{} is damaged ({detail}): restore a backup, or move it away to begin anew", .path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite found first.
        detail: String,
    },
    /// The write-ahead log is damaged in its midst.
    #[error(
        "the log {}-wal is damaged, and {commits} commits in it cannot be read: restore a backup, or give them up with \
        `queue check --repair`", .path.display()
    )]
    Log {
        /// The database.
        path: PathBuf,
        /// Commits that cannot be read.
        commits: usize,
    },
    /// The write-ahead log beside it is another database's, or that of another time.
    #[error(
        "{} is not the database that the log {}-wal beside it belongs to, as when a backup was put back: remove {}-wal and \
        {}-shm, and only the backup counts; if the log was put back together with the database, remove {}.lock instead",
        .path.display(), .path.display(), .path.display(), .path.display(), .path.display()
    )]
    Restored {
        /// The database.
        path: PathBuf,
    },
    /// Written by a newer version of this program.
    #[error(
        "{} has schema {found}, this version knows {known}: run the newer version, or move the file away",
        .path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema this version knows.
        known: i64,
    },
    /// Nothing there for a command to work on.
    #[error("{} does not exist: correct store.url, or run the router once", .path.display())]
    Absent {
        /// Where the database should be.
        path: PathBuf,
    },
    /// Written by an older version of this program, and not ours to migrate.
    #[error("{} has schema {found}, this version needs {known}: run the router once to migrate it", .path.display())]
    Older {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The schema this version works on.
        known: i64,
    },
    /// No space left.
    #[error("no space left to open {}: make room on its disk", .path.display())]
    Full {
        /// The database.
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
