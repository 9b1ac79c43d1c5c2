//! Who owns a database. The file `NAME.lock` is locked by the owner, and so is the database itself, which may have another
//! name too.
//!
//! Must not know what is in the database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FsWord, NFS_SUPER_MAGIC, fstatfs};

use super::place::lock_of;
use super::refusal::OpenError;

/// Permissions of the files we make: events hold names and numbers of callers.
pub(super) const PRIVATE: u32 = 0o600;

/// File systems of other machines. There a lock of the database would be one of those that SQLite takes (flock(2)).
const REMOTE: [FsWord; 3] = [NFS_SUPER_MAGIC, 0xff53_4d42, 0xfe53_4d42];

/// The lock of one database. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    /// The database, locked. Closing a file drops the locks that SQLite has on it, so this stays open for longer than those.
    database: Option<File>,
}

impl Lock {
    /// Locks a database, which need not exist.
    pub(super) fn hold(database: &Path) -> Result<Self, OpenError> {
        let path = lock_of(database);
        let file = OpenOptions::new().create(true).append(true).mode(PRIVATE).open(&path);
        let file = file.map_err(|error| OpenError::of_file(&path, &error))?;
        match file.try_lock() {
            Ok(()) => {
                let mut lock = Self { _file: file, database: None };
                lock.hold_file(database)?;
                Ok(lock)
            }
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: database.to_owned() }),
            Err(TryLockError::Error(error)) => Err(OpenError::of_lock(&path, &error)),
        }
    }

    /// Locks the file of the database, if it is there and not locked yet. Another name of it has another lock beside it.
    pub(super) fn hold_file(&mut self, database: &Path) -> Result<(), OpenError> {
        if self.database.is_some() {
            return Ok(());
        }
        // What is no file is refused later; to open a pipe would be to wait for somebody who writes into it.
        let file = match database.metadata().and_then(|found| found.is_file().then(|| File::open(database)).transpose())
        {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(OpenError::of_file(database, &error)),
        };
        if fstatfs(&file).is_ok_and(|found| REMOTE.contains(&found.f_type)) {
            return Ok(());
        }
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: database.to_owned() }),
            // Where it cannot be locked, the lock beside it has to do.
            Ok(()) | Err(TryLockError::Error(_)) => {
                self.database = Some(file);
                Ok(())
            }
        }
    }

    /// Returns whether somebody owns the database. Changes nothing, and keeps nobody from it for longer than this takes.
    pub(super) fn is_held(database: &Path) -> bool {
        let locked = |path: &Path| {
            File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
        };
        locked(&lock_of(database))
    }
}
