//! Opens the database: takes ownership, looks before it touches, then migrates.
//!
//! Until all checks are passed nothing but the lock is written. A new database is made under another name and gets its own
//! only when it is complete, so that whatever has the name is whole. Must not know what the tables hold.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::journal::{self, DATABASE_HEADER, Journal};
use super::lock::{Lock, PRIVATE};
use super::place::{damaged_journal_of, journal_of, new_of, place, wal_of};
use super::refusal::OpenError;
use super::{checkpoint, faults, stamp};

/// The newest schema.
static MIGRATOR: Migrator = sqlx::migrate!("./migrations/state");

/// `application_id` of our files, as the first migration sets it.
const OURS: u32 = 1_869_509_488;
/// How the first migration of the databases of before the event log is called.
const FORMER: &str = "foundation";
const FIRST: &str = "SELECT description FROM _sqlx_migrations WHERE version = 1";
const NEWEST: &str = "SELECT max(version) FROM _sqlx_migrations";
/// How long a statement waits for another process that reads or writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 2;
/// Bytes of a page of a new database. Most transactions change two or three rows.
const PAGE: u32 = 4096;

/// An open database.
pub(super) struct Opened {
    /// The file.
    pub(super) path: PathBuf,
    /// The only connection that writes.
    pub(super) writer: SqliteConnection,
    /// Connections that read.
    pub(super) readers: SqlitePool,
    /// Ownership, if it is ours. It lasts as long as this lives, and no longer than the process.
    pub(super) lock: Option<Lock>,
}

/// Opens the database at `path` as its owner. If it is absent, it is made if `create` says so.
pub(super) async fn open(path: &Path, create: bool) -> Result<Opened, OpenError> {
    let path = place(path)?;
    let mut lock = Lock::hold(&path)?;
    match header_of(&path, true)? {
        None if !create => return Err(OpenError::Absent { path }),
        None => {
            make(&path).await?;
            lock.hold_file(&path)?;
        }
        Some(header) => {
            check_program(&path, &header).await?;
            undo_unfinished(&path).await?;
            check_pages(&path, &header).await?;
        }
    }
    let mut writer = writer(&path).await?;
    migrate(&path, &mut writer).await?;
    Ok(Opened { writer, readers: readers(&path), lock: Some(lock), path })
}

/// Opens an existing database without owning it.
pub(super) async fn beside(path: &Path) -> Result<Opened, OpenError> {
    let path = place(path)?;
    let Some(header) = header_of(&path, false)? else { return Err(OpenError::Absent { path }) };
    check_program(&path, &header).await?;
    if journal::is_there(&path) && !Lock::is_held(&path) {
        // Without an owner it is undone by whoever comes next: that must not be the wrong one.
        let _lock = Lock::hold(&path)?;
        undo_unfinished(&path).await?;
    }
    existing(path, None).await
}

/// Opens an existing database as its owner, as it stands: it may be damaged. Says what was done about its journal.
pub(super) async fn owned(path: &Path) -> Result<(Opened, Option<String>), OpenError> {
    let path = place(path)?;
    let lock = Lock::hold(&path)?;
    let Some(header) = header_of(&path, true)? else { return Err(OpenError::Absent { path }) };
    check_program(&path, &header).await?;
    let told = match undo_unfinished(&path).await {
        Err(OpenError::Journal { .. }) => {
            let copy = damaged_journal_of(&path);
            fs::copy(journal_of(&path), &copy).map_err(|error| OpenError::of_file(&copy, &error))?;
            undo(&path).await?;
            Some(format!(
                "the journal is damaged: what it could undo of an unfinished change was undone; a copy is in {}",
                copy.display()
            ))
        }
        outcome => outcome.map(|()| None)?,
    };
    Ok((existing(path, Some(lock)).await?, told))
}

/// Returns whether a process owns the database at `path`.
pub(super) fn has_owner(path: &Path) -> bool {
    place(path).is_ok_and(|path| Lock::is_held(&path))
}

async fn existing(path: PathBuf, lock: Option<Lock>) -> Result<Opened, OpenError> {
    check_schema(&path).await.and_then(|(found, known)| match found < known {
        true => Err(OpenError::Older { path: path.clone(), found, known }),
        false => Ok(()),
    })?;
    Ok(Opened { writer: writer(&path).await?, readers: readers(&path), lock, path })
}

// ---- looking ------------------------------------------------------------------------------------------------------

/// Returns the header of the database, or nothing where there is no content. SQLite would rather open a strange file
/// read-only than refuse it. Closing a file drops the locks that this process has on it: who asks must not have the database
/// open.
fn header_of(path: &Path, write: bool) -> Result<Option<[u8; DATABASE_HEADER]>, OpenError> {
    let not_a_database = || OpenError::NotADatabase { path: path.to_owned() };
    let file = match OpenOptions::new().read(true).write(write).open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) if error.kind() == ErrorKind::IsADirectory => return Err(not_a_database()),
        Err(error) => return Err(OpenError::of_file(path, &error)),
    };
    let length = file.as_ref().map_or(Ok(0), |file| {
        let metadata = file.metadata().map_err(|error| OpenError::of_file(path, &error))?;
        if metadata.is_file() { Ok(metadata.len()) } else { Err(not_a_database()) }
    })?;
    let (Some(mut file), 1..) = (file, length) else {
        // What belongs to a database that is gone would be taken for the new one's.
        if journal::is_there(path) {
            return Err(OpenError::Orphan { path: path.to_owned() });
        }
        return if has_wal(path) { Err(OpenError::WriteAhead { path: path.to_owned() }) } else { Ok(None) };
    };
    let mut header = [0; DATABASE_HEADER];
    match file.read_exact(&mut header) {
        Ok(()) if header.starts_with(b"SQLite format 3\0") => Ok(Some(header)),
        Ok(()) => Err(not_a_database()),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(not_a_database()),
        Err(error) => Err(OpenError::of_file(path, &error)),
    }
}

/// Makes sure that the database is of this program, and of a time since there is an event log.
async fn check_program(path: &Path, header: &[u8; DATABASE_HEADER]) -> Result<(), OpenError> {
    let path = || path.to_owned();
    if journal::application(header) != OURS {
        return Err(OpenError::Foreign { path: path() });
    }
    if first_migration(&path()).await.as_deref() == Some(FORMER) {
        return Err(OpenError::Former { path: path() });
    }
    // It would be read as a part of the database, whether it belongs to it or not.
    if has_wal(&path()) || header[18..20].contains(&2) {
        return Err(OpenError::WriteAhead { path: path() });
    }
    if header[18..20] == [1, 1] {
        Ok(())
    } else {
        Err(OpenError::Corrupt { path: path(), detail: "file header".to_owned() })
    }
}

/// The name of the first migration, as far as the file alone tells.
async fn first_migration(path: &Path) -> Option<String> {
    let mut alone = connect_options(path).read_only(true).immutable(true).connect().await.ok()?;
    let name = sqlx::query_scalar(FIRST).fetch_one(&mut alone).await.ok();
    let _ = alone.close().await;
    name
}

fn has_wal(path: &Path) -> bool {
    wal_of(path).metadata().is_ok_and(|metadata| metadata.len() > 0)
}

/// Undoes what a transaction has written that was not finished. Only the owner may ask.
async fn undo_unfinished(path: &Path) -> Result<(), OpenError> {
    match journal::examine(path).map_err(|error| OpenError::of_file(&journal_of(path), &error))? {
        Journal::Idle => Ok(()),
        Journal::Own => undo(path).await,
        Journal::Strange => Err(OpenError::Restored { path: path.to_owned() }),
        Journal::Damaged => Err(OpenError::Journal { path: path.to_owned() }),
    }
}

/// Has SQLite do that. It does it for whoever reads, if he may write.
async fn undo(path: &Path) -> Result<(), OpenError> {
    let undone = async {
        let mut connection = connect_options(path).journal_mode(SqliteJournalMode::Truncate).connect().await?;
        sqlx::query("SELECT 1 FROM sqlite_schema").fetch_optional(&mut connection).await?;
        connection.close().await
    };
    undone.await.map_err(|error| OpenError::of_database(path, error))
}

/// Looks through a database without writing to it, and makes sure that it is whole.
async fn check_pages(path: &Path, header: &[u8; DATABASE_HEADER]) -> Result<(), OpenError> {
    let corrupt = |detail: &str| OpenError::Corrupt { path: path.to_owned(), detail: detail.to_owned() };
    // SQLite fills up a last page that was cut off.
    let length = path.metadata().map_err(|error| OpenError::of_file(path, &error))?.len();
    if length % journal::page_size(header) != 0 {
        return Err(corrupt("the last page is cut off"));
    }
    let failed = |error| OpenError::of_database(path, error);
    let mut connection = connect_options(path).read_only(true).connect().await.map_err(failed)?;
    let verdict: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    if verdict != "ok" {
        return Err(corrupt(&faults::lines_of(&verdict).next().unwrap_or_else(|| verdict.clone())));
    }
    check_schema(path).await.map(drop)
}

/// Returns the schema of a database, and the newest one. Refuses that of a newer version.
async fn check_schema(path: &Path) -> Result<(i64, i64), OpenError> {
    let failed = |error| OpenError::of_database(path, error);
    let mut connection = connect_options(path).read_only(true).connect().await.map_err(failed)?;
    let found: Option<i64> = sqlx::query_scalar(NEWEST).fetch_one(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    let known = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default();
    match found {
        Some(found) if found > known => Err(OpenError::Newer { path: path.to_owned(), found, known }),
        Some(found) => Ok((found, known)),
        None => Err(OpenError::Corrupt { path: path.to_owned(), detail: "it has no schema".to_owned() }),
    }
}

// ---- connecting ---------------------------------------------------------------------------------------------------

/// Makes a database with the newest schema. Until it is complete nothing has its name.
async fn make(path: &Path) -> Result<(), OpenError> {
    let new = new_of(path);
    for leftover in [&new, &journal_of(&new)] {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(OpenError::of_file(leftover, &error)),
            Ok(()) | Err(_) => {}
        }
    }
    // SQLite would leave it to the umask who may read it; what lies beside it gets the mode of the database.
    let made = OpenOptions::new().create_new(true).write(true).mode(PRIVATE).open(&new);
    made.map_err(|error| OpenError::of_file(&new, &error))?;
    let mut connection = writer(&new).await?;
    migrate(&new, &mut connection).await?;
    let begun = async {
        checkpoint::begin_store(&mut connection, rand::random()).await?;
        stamp::begin_anywhere(&mut connection, rand::random()).await?;
        connection.close().await
    };
    begun.await.map_err(|error| OpenError::of_database(&new, error))?;
    let named = || {
        fs::remove_file(journal_of(&new)).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        File::open(&new)?.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
    };
    named().map_err(|error| OpenError::of_file(path, &error))
}

async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let migrated = MIGRATOR.run(connection).await;
    migrated.map_err(|error| OpenError::of_database(path, sqlx::Error::Migrate(Box::new(error))))
}

/// A journal that is emptied and not removed costs no sync of the folder, and its emptying is synced (`synchronous = FULL`).
async fn writer(path: &Path) -> Result<SqliteConnection, OpenError> {
    connect_options(path)
        .journal_mode(SqliteJournalMode::Truncate)
        .synchronous(SqliteSynchronous::Full)
        // In KiB. What has no room goes into the file before the commit, behind the journal.
        .pragma("cache_size", "-4000")
        // What a statement of many rows would have to undo is a temporary file otherwise.
        .pragma("temp_store", "MEMORY")
        .connect()
        .await
        .map_err(|error| OpenError::of_database(path, error))
}

fn readers(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(connect_options(path).read_only(true).pragma("cache_size", "-1000"))
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new().filename(path).page_size(PAGE).busy_timeout(BUSY_TIMEOUT);
    options.disable_statement_logging()
}
