//! Where the files of the state are: the database, and what lies beside it under its name.
//!
//! | name | what it is |
//! |---|---|
//! | `NAME` | the database |
//! | `NAME.lock` | is locked by the process that owns the state; stays when that ends |
//! | `NAME-journal` | how the pages that a transaction changes were before it; empty between two |
//! | `NAME.new` | a database that is being made and has no content yet |
//! | `NAME.damaged.jsonl` | dead letters that a repair has taken out, since they were not what was written |
//! | `NAME-journal.damaged` | a copy of a damaged journal, from a repair |

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::refusal::OpenError;

/// Returns the file that is meant by `path`, through a link as well, so that one database has one lock.
pub(super) fn place(path: &Path) -> Result<PathBuf, OpenError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return match folder.metadata() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(OpenError::Permission { path: path.to_owned() })
            }
            _ => Err(OpenError::Folder { folder: folder.to_owned() }),
        };
    }
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(OpenError::of_file(path, &error)),
    }
}

/// Returns all files that belong to the state at `path` and to nobody else, also those of the file that a link points to.
#[must_use]
pub fn files(path: &Path) -> Vec<PathBuf> {
    const SUFFIXES: [&str; 8] =
        ["", ".lock", "-journal", ".new", ".new-journal", ".damaged.jsonl", "-journal.damaged", "-wal"];
    let real = path.canonicalize().ok().filter(|real| real != path);
    let paths = [Some(path.to_owned()), real].into_iter().flatten();
    paths.flat_map(|path| SUFFIXES.map(|suffix| beside(&path, suffix))).collect()
}

pub(super) fn lock_of(database: &Path) -> PathBuf {
    beside(database, ".lock")
}

pub(super) fn journal_of(database: &Path) -> PathBuf {
    beside(database, "-journal")
}

/// A write-ahead log, which is never ours.
pub(super) fn wal_of(database: &Path) -> PathBuf {
    beside(database, "-wal")
}

pub(super) fn new_of(database: &Path) -> PathBuf {
    beside(database, ".new")
}

pub(super) fn aside_of(database: &Path) -> PathBuf {
    beside(database, ".damaged.jsonl")
}

/// The copy that is made of a damaged journal.
pub(super) fn damaged_journal_of(database: &Path) -> PathBuf {
    beside(database, "-journal.damaged")
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
