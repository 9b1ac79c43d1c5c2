//! Why the state does not open, each with what the operator can do about it. Nothing was changed then.
//!
//! Must not know how it is found out.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::error::StateError;

/// Why the state did not open. No file was changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The folder does not exist.
    #[error("the folder {} does not exist: create it, or correct store.url", .folder.display())]
    Folder {
        /// Where the database should be.
        folder: PathBuf,
    },
    /// The user of this process may not read or write the file or its folder.
    #[error(
        "no permission to read and write {}: give the file and its folder to the user that runs the router", .path.display()
    )]
    Permission {
        /// The file in question.
        path: PathBuf,
    },
    /// The file system takes no writes.
    #[error("{} is on a file system that is read-only: mount it for writing, or correct store.url", .path.display())]
    ReadOnly {
        /// The file in question.
        path: PathBuf,
    },
    /// The file system has no locks.
    #[error(
        "{} cannot be locked, as on some network file systems: keep the store on a disk of this machine", .path.display()
    )]
    NoLocks {
        /// The file in question.
        path: PathBuf,
    },
    /// Another process owns the state.
    #[error("{} is in use by another process: stop it, or give this router another store.url", .path.display())]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// The file is something else than an SQLite database.
    #[error("{} is not a database: move it away, or correct store.url", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The database is another program's.
    #[error("{} belongs to another program: correct store.url", .path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The database is of the time before the event log.
    #[error(
        "{} is a database of before the event log, which held the queue itself and was never released: move it away with \
        all files of its name to begin anew, or deliver its queue first with the program that wrote it", .path.display()
    )]
    Former {
        /// The database.
        path: PathBuf,
    },
    /// The database is damaged.
    #[error(
        "{} is damaged ({detail}): restore a backup, or see what `queue check --repair` can save", .path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found first.
        detail: String,
    },
    /// The journal beside the database is another one's, or that of another time.
    #[error(
        "{} is not the database that the journal {}-journal beside it belongs to, as when a backup was put back: move the \
        journal away, and the database counts as it is; or put back the database that it belongs to",
        .path.display(), .path.display()
    )]
    Restored {
        /// The database.
        path: PathBuf,
    },
    /// The journal that would make the database whole is damaged.
    #[error(
        "{}-journal, without which {} is not whole, is damaged: restore a backup, or see what `queue check --repair` can save",
        .path.display(), .path.display()
    )]
    Journal {
        /// The database.
        path: PathBuf,
    },
    /// There is a journal, and no database that it belongs to.
    #[error(
        "{} is missing, and a journal of it is there: put the database back, or move {}-journal away to begin anew",
        .path.display(), .path.display()
    )]
    Orphan {
        /// Where the database should be.
        path: PathBuf,
    },
    /// The database has a write-ahead log, which this program never makes.
    #[error(
        "{} has a write-ahead log, which this version never writes: if another program has worked on the database, have that \
        fold the log in (`PRAGMA journal_mode = delete`); if the log is left over from another database, move {}-wal and \
        {}-shm away", .path.display(), .path.display(), .path.display()
    )]
    WriteAhead {
        /// The database.
        path: PathBuf,
    },
    /// The database was written by a newer version of this program.
    #[error(
        "{} has schema {found}, this version knows {known}: run the newer version, or move the file away", .path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that this version knows.
        known: i64,
    },
    /// There is nothing for a command to work on.
    #[error("{} does not exist: correct store.url, or run the router once", .path.display())]
    Absent {
        /// Where the database should be.
        path: PathBuf,
    },
    /// The database was written by an older version of this program, and only its owner migrates it.
    #[error("{} has schema {found}, this version needs {known}: run the router once to migrate it", .path.display())]
    Older {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The schema that this version works on.
        known: i64,
    },
    /// No space is left.
    #[error("no space left to open {}: make room on its disk", .path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// There is any other fault of the disk or the system.
    #[error("{} cannot be opened: {detail}", .path.display())]
    Io {
        /// The file in question.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
}

impl OpenError {
    /// Takes what the system says of a file.
    pub(super) fn of_file(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            ErrorKind::PermissionDenied => Self::Permission { path },
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { path, detail: error.to_string() },
        }
    }

    /// Takes what the system says of a lock.
    pub(super) fn of_lock(path: &Path, error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                Self::NoLocks { path: path.to_owned() }
            }
            Some(_) | None => Self::of_file(path, error),
        }
    }

    /// Takes what the first statements on a database were refused for.
    pub(super) fn of_database(path: &Path, error: sqlx::Error) -> Self {
        let owned = path.to_owned();
        let error = match error {
            sqlx::Error::Migrate(error) => match *error {
                sqlx::migrate::MigrateError::Execute(error)
                | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => error,
                other => return Self::Corrupt { path: owned, detail: other.to_string() },
            },
            other => other,
        };
        if let sqlx::Error::Database(answer) = &error {
            match answer.code().as_deref() {
                Some("26") => return Self::NotADatabase { path: owned },
                // What the first statements of all are refused for as they stand is the file: no content is in question yet.
                Some("1") => return Self::Corrupt { path: owned, detail: answer.message().to_owned() },
                Some(_) | None => {}
            }
        }
        Self::of_fault(path, StateError::from(error))
    }

    /// Takes why the first operations on a database failed.
    pub(super) fn of_fault(path: &Path, fault: StateError) -> Self {
        use crate::domain::status::StoreFault;
        let path = path.to_owned();
        match fault {
            StateError::Full(_) => Self::Full { path },
            StateError::Away { fault: StoreFault::Busy, .. } => Self::Locked { path },
            // What our own statements on our own schema cannot be refused for but damage.
            StateError::Dead { fault: StoreFault::Corrupt, detail } | StateError::Refused(detail) => {
                Self::Corrupt { path, detail: detail.to_string() }
            }
            StateError::Away { detail, .. } | StateError::Dead { detail, .. } => {
                Self::Io { path, detail: detail.to_string() }
            }
            fault @ (StateError::Fenced(_) | StateError::Moved(_) | StateError::Closed) => {
                Self::Io { path, detail: fault.to_string() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_told_by_its_own_sentence() {
        let path = Path::new("/srv/router.db");
        let of = |code: Errno| OpenError::of_file(path, &io::Error::from(code));
        assert_eq!(of(Errno::ACCESS), OpenError::Permission { path: path.into() });
        assert_eq!(of(Errno::ROFS), OpenError::ReadOnly { path: path.into() });
        assert_eq!(of(Errno::NOSPC), OpenError::Full { path: path.into() });
        assert_eq!(of(Errno::DQUOT), OpenError::Full { path: path.into() });
        assert!(matches!(of(Errno::IO), OpenError::Io { .. }));
        for code in [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS] {
            let refused = OpenError::of_lock(path, &io::Error::from(code));
            assert_eq!(refused, OpenError::NoLocks { path: path.into() });
            assert!(refused.to_string().contains("/srv/router.db") && refused.to_string().contains("network"));
        }
        assert_eq!(
            OpenError::of_lock(path, &io::Error::from(Errno::ROFS)),
            OpenError::ReadOnly { path: path.into() }
        );
    }
}
