//! Who owns a database, and how its owner learns that an operator has changed it.
//!
//! The file `<db>.lock` is locked by the owner, and so is the database itself, which may have another name too. Whoever else writes touches it, before the change can be seen. Must not know
//! what is written.

use std::fs::{File, FileTimes, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{FsWord, NFS_SUPER_MAGIC, fstatfs};

use super::error::OpenError;
use super::opening::{PRIVATE, unopened};
use crate::domain::moment::Moment;

/// File systems of other machines: there a lock of the database would be one of those that SQLite takes (flock(2)).
const REMOTE: [FsWord; 3] = [NFS_SUPER_MAGIC, 0xff53_4d42, 0xfe53_4d42];

/// The lock of one database, held or not.
#[derive(Debug)]
pub(super) struct Lock {
    file: Option<File>,
    /// The database, locked. Closing a file drops the locks that SQLite has on it, so it stays open for longer than there.
    database: Option<File>,
    held: bool,
    path: Arc<Path>,
}

impl Lock {
    /// Locks a database. The system lets go of it when the process ends, however it ends.
    pub(super) fn hold(database: &Path) -> Result<Self, OpenError> {
        let path = beside(database);
        let file = OpenOptions::new().create(true).read(true).append(true).mode(PRIVATE).open(&path);
        let file = file.map_err(|error| unopened(&path, &error))?;
        match file.try_lock() {
            Ok(()) => {
                let mut lock = Self { file: Some(file), database: None, held: true, path: path.into() };
                lock.hold_file(database)?;
                Ok(lock)
            }
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: database.to_owned() }),
            Err(TryLockError::Error(error)) => Err(unopened(&path, &error)),
        }
    }

    /// Locks the file of the database, if it is there and not locked yet: by another name of it, it has another lock beside it.
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
            Err(error) => return Err(unopened(database, &error)),
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

    /// The lock of a database that another process may own.
    pub(super) fn of(database: &Path) -> Self {
        let path = beside(database);
        let file = OpenOptions::new().append(true).open(&path).ok();
        Self { file, database: None, held: false, path: path.into() }
    }

    /// Whether somebody owns the database. Changes nothing, and keeps nobody from it for longer than this takes.
    pub(super) fn is_held(database: &Path) -> bool {
        File::open(beside(database)).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The stamps one of which the database has, as they are written down beside it; none if nothing is.
    pub(super) fn stamps(&self) -> Vec<i64> {
        let mut text = String::new();
        let read = self.file.as_ref().map(|mut file| file.rewind().and_then(|()| file.read_to_string(&mut text)));
        if !matches!(read, Some(Ok(_))) {
            return Vec::new();
        }
        text.split_whitespace().filter_map(|stamp| stamp.parse().ok()).collect()
    }

    /// Writes down the stamps one of which the database has, and makes sure that they are there.
    pub(super) fn stamp(&self, stamps: &[i64]) -> io::Result<()> {
        let Some(mut file) = self.file.as_ref().filter(|_| self.held) else { return Ok(()) };
        let text: Vec<String> = stamps.iter().map(i64::to_string).collect();
        file.set_len(0)?;
        file.write_all(text.join(" ").as_bytes())?;
        file.sync_data()
    }

    /// Whether it is held by us.
    pub(super) fn is_ours(&self) -> bool {
        self.held
    }

    /// Tells the owner, if that is another, that something changes.
    pub(super) fn touch(&self) {
        if let Some(file) = self.file.as_ref().filter(|_| !self.held) {
            // An owner that does not see it sees the change with its own next one.
            let _ = file.set_times(FileTimes::new().set_modified(Moment::now().utc().into()));
        }
    }

    /// When it was touched last.
    pub(super) fn watch(&self) -> Watch {
        Watch { path: Arc::clone(&self.path) }
    }

    /// When the lock of a database was touched last, whoever holds it.
    pub(super) fn watch_of(database: &Path) -> Watch {
        Watch { path: beside(database).into() }
    }
}

/// Sees whether a lock was touched.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    path: Arc<Path>,
}

impl Watch {
    /// When it was touched last, as far as that can be told.
    pub(super) fn touched(&self) -> Option<SystemTime> {
        self.path.metadata().and_then(|metadata| metadata.modified()).ok()
    }
}

fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
