//! The errors of the state, told apart by what the caller has to do about them.
//!
//! Must not know what was being read or written.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use crate::domain::status::StoreFault;

/// Why an operation did not happen. Nothing of it was written, unless it says so.
///
/// No text in it holds a value that was to be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// No space is left. The same works once there is.
    #[error("no space left for the state: {0}")]
    Full(Arc<str>),
    /// This operation can never be written as it is. Others are not touched.
    #[error("the state refused the operation: {0}")]
    Refused(Arc<str>),
    /// The state cannot be reached for now. The same may work later. It may even have happened; doing it again does no harm.
    #[error("the state cannot be read or written for now: {detail}")]
    Away {
        /// The fault as it is counted: the disk, or another process that holds the state.
        fault: StoreFault,
        /// What the database said.
        detail: Arc<str>,
    },
    /// Another process owns the state, and only it may do this.
    #[error("another process owns the state: {0}")]
    Fenced(Arc<str>),
    /// The state has failed for good. Nobody knows what of the last writes is there; only the next start can tell.
    #[error("the state has failed for good: {detail}")]
    Dead {
        /// The fault as it is counted: a failed sync, damage, or a thread that is gone.
        fault: StoreFault,
        /// What happened.
        detail: Arc<str>,
    },
    /// The files of the state are not where they were opened. What is written into them is lost with the process.
    #[error("the state was removed or moved away while the router runs: {0}")]
    Moved(Arc<str>),
    /// The state was closed on purpose.
    #[error("the state is closed")]
    Closed,
}

impl StateError {
    /// Returns the fault as it is counted, or nothing where the state was closed on purpose or is another process's.
    #[must_use]
    pub fn fault(&self) -> Option<StoreFault> {
        match self {
            Self::Full(_) => Some(StoreFault::Full),
            Self::Refused(_) => Some(StoreFault::Refused),
            Self::Away { fault, .. } | Self::Dead { fault, .. } => Some(*fault),
            Self::Moved(_) => Some(StoreFault::Moved),
            Self::Fenced(_) | Self::Closed => None,
        }
    }

    /// Returns whether the state has failed for good: this process will never write anything again.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Dead { .. })
    }

    /// Returns whether waiting alone is no remedy. Of a full disk somebody makes room, and whoever holds the state lets go
    /// of it.
    #[must_use]
    pub fn lasts(&self) -> bool {
        match self {
            Self::Away { fault, .. } => *fault != StoreFault::Busy,
            Self::Dead { .. } | Self::Moved(_) => true,
            Self::Full(_) | Self::Refused(_) | Self::Fenced(_) | Self::Closed => false,
        }
    }

    /// Returns whether only the operation itself is at fault, so that its neighbours can go ahead without it.
    pub(super) fn is_its_own(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    fn away(fault: StoreFault, detail: Arc<str>) -> Self {
        Self::Away { fault, detail }
    }

    fn dead(fault: StoreFault, detail: Arc<str>) -> Self {
        Self::Dead { fault, detail }
    }

    /// The thread that writes is gone, though nobody closed the state.
    pub(super) fn gone() -> Self {
        Self::dead(StoreFault::Gone, "the thread that writes it is gone".into())
    }

    /// What was read cannot be what was once written.
    pub(super) fn unreadable(what: &str, why: &impl Display) -> Self {
        Self::dead(StoreFault::Corrupt, format!("{what}: {why}; restore a backup, or see `queue check --repair`").into())
    }

    /// A value that does not fit into the database.
    pub(super) fn unfit(what: &str, why: &impl Display) -> Self {
        Self::Refused(format!("{what}: {why}").into())
    }
}

/// Result codes of SQLite (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const NOT_A_DATABASE: i32 = 26;
    /// What a statement is refused for because of the values in it: too large, not allowed, of another type, out of range.
    pub(super) const OF_CONTENT: [i32; 4] = [18, 19, 20, 25];
    /// Extended codes: a file or its folder could not be synced.
    pub(super) const SYNC: [i32; 2] = [1034, 1290];
    /// Extended codes: the file system or the checksum of a page says that the file is damaged.
    pub(super) const DAMAGE: [i32; 2] = [8202, 8458];
}

impl From<sqlx::Error> for StateError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let text: Arc<str> = error.to_string().into();
        match &error {
            E::Database(answer) => {
                let extended: i32 = answer.code().and_then(|code| code.parse().ok()).unwrap_or_default();
                match extended & 0xff {
                    _ if code::SYNC.contains(&extended) => Self::dead(StoreFault::Sync, text),
                    _ if code::DAMAGE.contains(&extended) => Self::dead(StoreFault::Corrupt, text),
                    code::FULL => Self::Full(text),
                    code::BUSY | code::LOCKED => Self::away(StoreFault::Busy, text),
                    code::CORRUPT | code::NOT_A_DATABASE => Self::dead(StoreFault::Corrupt, text),
                    primary if code::OF_CONTENT.contains(&primary) => Self::Refused(text),
                    // A fault of the database, whatever is being written: nothing of that must be given up for it.
                    _ => Self::away(StoreFault::Io, text),
                }
            }
            E::PoolTimedOut => Self::away(StoreFault::Busy, text),
            E::PoolClosed => Self::Closed,
            E::WorkerCrashed => Self::gone(),
            E::Decode(_) | E::ColumnDecode { .. } => Self::dead(StoreFault::Corrupt, text),
            E::Encode(_) => Self::Refused(text),
            _ => Self::away(StoreFault::Io, text),
        }
    }
}

impl From<io::Error> for StateError {
    fn from(fault: io::Error) -> Self {
        match fault.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(fault.to_string().into()),
            _ => Self::away(StoreFault::Io, fault.to_string().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error;
    use std::fmt;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// What SQLite answers with a code.
    #[derive(Debug)]
    struct Answer(i32);

    impl Display for Answer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("told by SQLite")
        }
    }

    impl Error for Answer {}

    impl DatabaseError for Answer {
        fn message(&self) -> &'static str {
            "told by SQLite"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.to_string().into())
        }

        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    #[test]
    fn each_answer_of_sqlite_is_told_apart_by_what_is_to_be_done() {
        let of = |code: i32| StateError::from(sqlx::Error::Database(Box::new(Answer(code))));
        for (codes, fault) in [
            (&[13][..], Some(StoreFault::Full)),
            (&[5, 6, 261, 517, 262], Some(StoreFault::Busy)),
            (&[18, 19, 20, 25, 275, 787, 1299, 2067, 3091], Some(StoreFault::Refused)),
            // Of the disk only a failed sync is final: nobody knows what is there then.
            (&[1034, 1290], Some(StoreFault::Sync)),
            (&[1, 7, 8, 10, 14, 266, 522, 778, 1546, 776, 9999], Some(StoreFault::Io)),
            (&[11, 26, 267, 523, 779, 8202, 8458], Some(StoreFault::Corrupt)),
        ] {
            for code in codes {
                assert_eq!(of(*code).fault(), fault, "{code}");
                let is_final = matches!(fault, Some(StoreFault::Sync | StoreFault::Corrupt));
                assert_eq!(of(*code).is_final(), is_final, "{code}");
                assert!(of(*code).to_string().contains("told by SQLite"), "{code}");
            }
        }
        assert!(StateError::from(sqlx::Error::WorkerCrashed).is_final(), "a thread that is gone is no clean stop");
        assert_eq!(StateError::from(sqlx::Error::PoolClosed), StateError::Closed);
        assert!(of(19).is_its_own() && !of(13).is_its_own());
        assert!(of(10).lasts() && !of(5).lasts() && !of(13).lasts() && of(1034).lasts());
    }

    #[test]
    fn a_full_disk_is_told_apart_whoever_notices_it() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(StateError::from(full), StateError::Full(_)));
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(StateError::from(other).fault(), Some(StoreFault::Io));
    }
}
