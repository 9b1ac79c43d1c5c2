//! A copy of the state in a file of its own.
//!
//! Must not know where backups lie, or what belongs to one besides.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::SqliteConnection;

use super::error::StateError;
use super::lock::PRIVATE;
use super::sqlite::Sqlite;

pub(super) const COPY: &str = "VACUUM INTO ?1";

impl Sqlite {
    /// The writer does it, so that nobody waits for a lock meanwhile, but in the queue.
    pub(super) async fn vacuum_into(&self, path: &Path) -> Result<(), StateError> {
        let path = path.to_owned();
        self.write_alone(async move |connection: &mut SqliteConnection| copy(connection, &path).await).await
    }
}

async fn copy(connection: &mut SqliteConnection, path: &PathBuf) -> Result<(), StateError> {
    let told = |fault: io::Error| {
        StateError::from(io::Error::new(fault.kind(), format!("{}: {fault}", path.display())))
    };
    // SQLite would leave it to the umask who may read it.
    let made = OpenOptions::new().create_new(true).write(true).mode(PRIVATE).open(path);
    match made {
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {
            return Err(StateError::unfit("a copy of the state", &format!("{} is there already", path.display())));
        }
        made => drop(made.map_err(told)?),
    }
    let copied = async {
        let name = path.to_str().ok_or_else(|| StateError::unfit("a copy of the state", &"its name is no text"))?;
        sqlx::query(COPY).bind(name).execute(connection).await?;
        File::open(path).and_then(|file| file.sync_all()).map_err(told)
    };
    let copied = copied.await;
    if copied.is_err() {
        // A part of a copy is of no use, and on a full disk its room is needed.
        let _ = fs::remove_file(path);
    }
    copied
}
