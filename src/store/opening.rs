//! Opens the database: takes ownership, looks before it touches, then migrates.
//!
//! Until all checks are passed nothing but the lock file is written. Must not know what the tables hold.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::coverage;
use super::error::{OpenError, StoreError};
use super::lock::Lock;
use super::log::{self, Log};
use super::options::Options;

/// The newest schema.
static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Folds the log into the file and empties it.
pub(super) const FOLD: &str = "PRAGMA wal_checkpoint(TRUNCATE)";
pub(super) const STAMP: &str = "SELECT stamp FROM clock";
pub(super) const SET_STAMP: &str = "UPDATE clock SET stamp = ?1";

/// `application_id` of our files, as the first migration sets it.
const OURS: i64 = 1_869_509_488;
/// Permissions of the files we make: events hold names and numbers of callers.
pub(super) const PRIVATE: u32 = 0o600;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;
/// Bytes of a page of a new database. Most of what is written is large: packs, and rows of the journal.
const PAGE: u32 = 8192;
/// Pages of a database that is written anew at once: a few seconds' work.
const REWRITTEN: i64 = 65_536;

/// An open database.
pub(super) struct Opened {
    /// The file.
    pub(super) path: PathBuf,
    /// The only connection that writes.
    pub(super) writer: SqliteConnection,
    /// Connections that read.
    pub(super) readers: SqlitePool,
    /// Ownership, if it is ours: lasts as long as this lives, and no longer than the process.
    pub(super) lock: Lock,
}

/// Opens the database of `options`, making it if it is absent.
pub(super) async fn open(options: &Options) -> Result<Opened, OpenError> {
    let path = path_of(&options.url)?;
    let lock = Lock::hold(&path)?;
    if has_content(&path, true)? {
        check_log(&path, &lock).await?;
        match examine(&path)? {
            Log::Whole => {}
            Log::LastCommitBroken => {
                tracing::warn!(database = %path.display(), "the last commit was not finished, or is damaged: it is cut off");
            }
            Log::Damaged { commits } => return Err(OpenError::Log { path, commits }),
        }
        inspect(&path).await?;
    } else {
        // SQLite would leave it to the umask who may read it; its log and index get the mode of the database.
        let made = OpenOptions::new().create(true).append(true).mode(PRIVATE).open(&path);
        made.map_err(|error| unopened(&path, &error))?;
    }
    let mut writer = writer(&path, true).await?;
    give_room_back(&mut writer).await.map_err(|error| refused(&path, error))?;
    MIGRATOR.run(&mut writer).await.map_err(|error| refused(&path, sqlx::Error::Migrate(Box::new(error))))?;
    coverage::close(&mut writer).await.map_err(|error| refused(&path, error))?;
    fold(&mut writer, &lock).await.map_err(|fault| OpenError::of(path.clone(), fault))?;
    Ok(Opened { writer, readers: readers(&path, false).await?, lock, path })
}

/// Opens an existing database without owning it.
pub(super) async fn beside(options: &Options) -> Result<Opened, OpenError> {
    let path = path_of(&options.url)?;
    // Without an owner the log is folded in by whoever opens it: what is damaged would be gone without a word.
    if has_content(&path, true)?
        && let Ok(lock) = Lock::hold(&path)
    {
        check_log(&path, &lock).await?;
        if let Log::Damaged { commits } = examine(&path)? {
            return Err(OpenError::Log { path, commits });
        }
    }
    {
        let lock = Lock::of(&path);
        existing(path, lock).await
    }
}

/// Opens an existing database to look at it: writes nothing at all, not even beside it, as long as no router left a log there.
/// Returns its path, and what reads it.
pub(super) async fn to_read(options: &Options) -> Result<(PathBuf, SqlitePool), OpenError> {
    let path = path_of(&options.url)?;
    if !has_content(&path, false)? {
        return Err(OpenError::Absent { path });
    }
    let owned = Lock::is_held(&path);
    // Whoever reads a log changes the index beside it. Without either, the file is all there is.
    let immutable = !owned && !has_log(&path);
    if !owned && let Log::Damaged { commits } = examine(&path)? {
        return Err(OpenError::Log { path, commits });
    }
    let (found, known) = (schema(&path, immutable).await?, newest_schema());
    if found < known {
        return Err(OpenError::Older { path, found, known });
    }
    let readers = readers(&path, immutable).await?;
    Ok((path, readers))
}

/// Makes sure that a log beside the database is its own: SQLite would write another one's pages into it. Only the owner may
/// ask.
async fn check_log(path: &Path, lock: &Lock) -> Result<(), OpenError> {
    let stamps = lock.stamps();
    if stamps.is_empty() || !has_log(path) {
        return Ok(());
    }
    // Without its log, which is how it was when the log was folded in last.
    let Ok(mut alone) = connect_options(path).read_only(true).immutable(true).connect().await else { return Ok(()) };
    let stamp: Result<i64, _> = sqlx::query_scalar(STAMP).fetch_one(&mut alone).await;
    let _ = alone.close().await;
    match stamp {
        Ok(stamp) if !stamps.contains(&stamp) => Err(OpenError::Restored { path: path.to_owned() }),
        // One of before there were stamps, or so damaged that the checks to come will say so.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Folds the log into the database, with another stamp.
pub(super) async fn fold(connection: &mut SqliteConnection, lock: &Lock) -> Result<(), StoreError> {
    if !lock.is_ours() {
        sqlx::query(FOLD).execute(connection).await?;
        return Ok(());
    }
    let stamp = stamp_anew(connection, lock).await?;
    let (busy, ..): (i64, i64, i64) = sqlx::query_as(FOLD).fetch_one(connection).await?;
    if busy == 0 {
        lock.stamp(&[stamp]).map_err(|error| unwritten(&error))?;
    }
    Ok(())
}

/// Gives the database another stamp, and writes it down beside it. Until the log is folded in, the file has the one of before.
async fn stamp_anew(connection: &mut SqliteConnection, lock: &Lock) -> Result<i64, StoreError> {
    let before: i64 = sqlx::query_scalar(STAMP).fetch_one(&mut *connection).await?;
    let stamp = i64::from(rand::random::<u32>()) + 1;
    // Both may be found; so may those of earlier times at which a fold was begun and the process killed: the file still has the
    // stamp of before the first of them.
    let known = lock.stamps();
    let new = [before, stamp].into_iter().filter(|stamp| !known.contains(stamp));
    lock.stamp(&known.iter().copied().chain(new).collect::<Vec<_>>()).map_err(|error| unwritten(&error))?;
    sqlx::query(SET_STAMP).bind(stamp).execute(connection).await?;
    Ok(stamp)
}

fn unwritten(error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full(error.to_string().into()),
        _ => StoreError::Io(error.to_string().into()),
    }
}

/// A damaged log whose readable beginning was kept, and of which there is a copy.
pub(super) struct CutOff {
    /// Commits that are lost.
    pub(super) commits: usize,
    /// The whole log as it was.
    pub(super) copy: PathBuf,
}

/// Opens an existing database as its owner, as it stands: it may be damaged. Says what of its log was cut off.
pub(super) async fn owned(options: &Options) -> Result<(Opened, Option<CutOff>), OpenError> {
    let path = path_of(&options.url)?;
    if !path.exists() {
        return Err(OpenError::Absent { path });
    }
    let lock = Lock::hold(&path)?;
    check_log(&path, &lock).await?;
    let cut_off = match examine(&path)? {
        Log::Whole | Log::LastCommitBroken => None,
        Log::Damaged { commits } => {
            let log = log::of(&path);
            let mut copy = log.clone().into_os_string();
            copy.push(".damaged");
            let copy = PathBuf::from(copy);
            std::fs::copy(&log, &copy).map_err(|error| unopened(&copy, &error))?;
            Some(CutOff { commits, copy })
        }
    };
    Ok((existing(path, lock).await?, cut_off))
}

fn examine(path: &Path) -> Result<Log, OpenError> {
    log::examine(path).map_err(|error| unopened(&log::of(path), &error))
}

async fn existing(path: PathBuf, lock: Lock) -> Result<Opened, OpenError> {
    if !has_content(&path, true)? {
        return Err(OpenError::Absent { path });
    }
    let (found, known) = (schema(&path, false).await?, newest_schema());
    if found < known {
        return Err(OpenError::Older { path, found, known });
    }
    Ok(Opened { writer: writer(&path, false).await?, readers: readers(&path, false).await?, lock, path })
}

async fn writer(path: &Path, create: bool) -> Result<SqliteConnection, OpenError> {
    connect_options(path)
        .create_if_missing(create)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .pragma("cache_size", "-6000")
        .pragma("journal_size_limit", "67108864")
        // What a statement of many rows would have to undo is a temporary file otherwise.
        .pragma("temp_store", "MEMORY")
        // 8 MiB: what is delivered soon after it came need not be written twice, and a log that is written over soon need
        // not grow, which the disk takes longer for.
        .pragma("wal_autocheckpoint", "1000")
        .connect()
        .await
        .map_err(|error| refused(path, error))
}

/// A database of before can only be shrunk once it was written anew. One that is too large for that now stays as it is:
/// its free pages are used again all the same.
async fn give_room_back(writer: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let (mode, pages): (i64, i64) =
        sqlx::query_as("SELECT (SELECT auto_vacuum FROM pragma_auto_vacuum), page_count FROM pragma_page_count")
            .fetch_one(&mut *writer)
            .await?;
    if mode == 0 && (1..=REWRITTEN).contains(&pages) {
        // On a full disk it fails, and nothing has changed.
        let _ = sqlx::raw_sql("PRAGMA auto_vacuum = INCREMENTAL; VACUUM").execute(writer).await;
    }
    Ok(())
}

async fn readers(path: &Path, immutable: bool) -> Result<SqlitePool, OpenError> {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(connect_options(path).read_only(true).immutable(immutable).pragma("cache_size", "-1000"))
        .await
        .map_err(|error| refused(path, error))
}

/// The file an URL means; through a link, what it points to, so that one database has one lock.
fn path_of(url: &str) -> Result<PathBuf, OpenError> {
    let name = url.strip_prefix("sqlite://").filter(|name| !name.is_empty() && !name.ends_with('/'));
    let path = PathBuf::from(name.ok_or_else(|| OpenError::Url { url: url.to_owned() })?);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return match folder.metadata() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(OpenError::Permission { path }),
            _ => Err(OpenError::Folder { folder: folder.to_owned() }),
        };
    }
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path),
        Err(error) => Err(unopened(&path, &error)),
    }
}

/// Whether there is a database to look into. Reads the fixed parts of the header
/// (<https://www.sqlite.org/fileformat2.html>, section 1.3), as SQLite would rather open a strange file read-only
/// than refuse it. Called only by the owner: closing a file drops the locks this process has on it.
fn has_content(path: &Path, write: bool) -> Result<bool, OpenError> {
    let not_a_database = || OpenError::NotADatabase { path: path.to_owned() };
    let mut file = match OpenOptions::new().read(true).write(write).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) if error.kind() == ErrorKind::IsADirectory => return Err(not_a_database()),
        Err(error) => return Err(unopened(path, &error)),
    };
    let metadata = file.metadata().map_err(|error| unopened(path, &error))?;
    if !metadata.is_file() {
        return Err(not_a_database());
    }
    if metadata.len() == 0 {
        return Ok(false);
    }
    let mut header = [0; 100];
    match file.read_exact(&mut header) {
        Ok(()) if header.starts_with(b"SQLite format 3\0") => {}
        Ok(()) => return Err(not_a_database()),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(not_a_database()),
        Err(error) => return Err(unopened(path, &error)),
    }
    let corrupt = |detail: &str| Err(OpenError::Corrupt { path: path.to_owned(), detail: detail.to_owned() });
    if !matches!(header[18..20], [1 | 2, 1 | 2]) {
        return corrupt("file header");
    }
    // SQLite fills up a last page that was cut off. Where a log is left over, the page is still in there.
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size.max(1)),
    };
    if metadata.len() % page != 0 && !has_log(path) {
        return corrupt("the last page is cut off");
    }
    Ok(true)
}

fn has_log(path: &Path) -> bool {
    ["-wal", "-journal"].iter().any(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        Path::new(&name).metadata().is_ok_and(|metadata| metadata.len() > 0)
    })
}

/// Looks through a database without writing to it, and makes sure that it is whole.
async fn inspect(path: &Path) -> Result<(), OpenError> {
    let failed = |error| refused(path, error);
    let mut connection = connect_options(path).read_only(true).connect().await.map_err(failed)?;
    let verdict: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    if verdict != "ok" {
        return Err(OpenError::Corrupt { path: path.to_owned(), detail: verdict });
    }
    schema(path, false).await.map(drop)
}

/// The schema of one of our databases, 0 if it has none yet. Refuses those of others and of a newer version.
async fn schema(path: &Path, immutable: bool) -> Result<i64, OpenError> {
    let failed = |error| refused(path, error);
    let options = connect_options(path).read_only(true).immutable(immutable);
    let mut connection = options.connect().await.map_err(failed)?;
    let (application, others, migrated): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT application_id FROM pragma_application_id), \
                count(*) FILTER (WHERE name <> '_sqlx_migrations'), \
                count(*) FILTER (WHERE name = '_sqlx_migrations') \
         FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(failed)?;
    if application != OURS && others > 0 {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let mut found = None;
    if migrated > 0 {
        let newest = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations");
        found = newest.fetch_one(&mut connection).await.map_err(failed)?;
    }
    connection.close().await.map_err(failed)?;
    match (found.unwrap_or(0), newest_schema()) {
        (found, known) if found > known => Err(OpenError::Newer { path: path.to_owned(), found, known }),
        (found, _) => Ok(found),
    }
}

fn newest_schema() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default()
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new().filename(path).page_size(PAGE).busy_timeout(BUSY_TIMEOUT);
    options.foreign_keys(true).disable_statement_logging()
}

pub(super) fn unopened(path: &Path, error: &io::Error) -> OpenError {
    let path = path.to_owned();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => OpenError::Permission { path },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => OpenError::Full { path },
        _ => OpenError::Io { path, detail: error.to_string() },
    }
}

fn refused(path: &Path, error: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    let error = match error {
        sqlx::Error::Migrate(error) => match *error {
            sqlx::migrate::MigrateError::Execute(error) | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => {
                error
            }
            other => return OpenError::Corrupt { path, detail: other.to_string() },
        },
        other => other,
    };
    if let sqlx::Error::Database(answer) = &error
        && answer.code().is_some_and(|code| code == "26")
    {
        return OpenError::NotADatabase { path };
    }
    // What the first statements of all are refused for as they stand is the file: no content is in question yet.
    if let sqlx::Error::Database(answer) = &error
        && answer.code().is_some_and(|code| code == "1")
    {
        return OpenError::Corrupt { path, detail: answer.message().to_owned() };
    }
    OpenError::of(path, StoreError::from(error))
}

impl OpenError {
    /// Why `path` does not open, as the first statements on it failed.
    pub(super) fn of(path: PathBuf, fault: StoreError) -> Self {
        match fault {
            StoreError::Full(_) => Self::Full { path },
            StoreError::Busy(_) => Self::Locked { path },
            // What our own statements on our own schema cannot be refused for but damage.
            StoreError::Corrupt(detail) | StoreError::Refused(detail) => {
                Self::Corrupt { path, detail: detail.to_string() }
            }
            StoreError::Io(detail) | StoreError::Sync(detail) => Self::Io { path, detail: detail.to_string() },
            fault @ (StoreError::Gone | StoreError::Closed) => Self::Io { path, detail: fault.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies the database with what is beside it, as a kill leaves it.
    fn killed(path: &Path, next: &Path) -> PathBuf {
        std::fs::create_dir(next).unwrap();
        for file in path.parent().unwrap().read_dir().unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), next.join(file.file_name())).unwrap();
        }
        next.join(path.file_name().unwrap())
    }

    #[tokio::test]
    async fn a_router_that_is_killed_at_any_number_of_starts_knows_its_own_log() {
        let folder = tempfile::tempdir().unwrap();
        let options = |path: &Path| Options { url: format!("sqlite://{}", path.display()) };
        let mut path = folder.path().join("first/router.db");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        open(&options(&path)).await.map(drop).unwrap();
        for kill in ["second", "third", "fourth"] {
            let lock = Lock::hold(&path).unwrap();
            check_log(&path, &lock).await.unwrap();
            let mut writer = writer(&path, false).await.unwrap();
            stamp_anew(&mut writer, &lock).await.unwrap();
            path = killed(&path, &folder.path().join(kill));
            assert!(has_log(&path), "nothing of it is folded in");
        }
        open(&options(&path)).await.map(drop).unwrap();
        // A log of another one is still refused.
        let lock = Lock::hold(&path).unwrap();
        let mut writer = writer(&path, false).await.unwrap();
        stamp_anew(&mut writer, &lock).await.unwrap();
        let strange = killed(&path, &folder.path().join("strange"));
        std::fs::copy(folder.path().join("first/router.db"), &strange).unwrap();
        assert!(matches!(open(&options(&strange)).await, Err(OpenError::Restored { .. })));
    }
}
