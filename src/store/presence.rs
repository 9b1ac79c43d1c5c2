//! Whether the files of the store still are where they were opened. Who removes or moves them takes along all that is
//! written from then on, and the system says nothing.
//!
//! Must not know what is in them.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::StoreError;

/// The device and the number of a file there.
type Identity = (u64, u64);

/// The files and folders of an open store.
#[derive(Debug, Default)]
pub(super) struct Presence {
    files: Vec<(PathBuf, Identity)>,
    absent: AtomicBool,
}

impl Presence {
    /// Remembers where these are, which are open.
    pub(super) fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = files.into_iter();
        let files = files.filter_map(|file| identity(&file).ok().map(|identity| (file, identity)));
        Self { files: files.collect(), absent: AtomicBool::new(false) }
    }

    /// Looks whether they are there.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        let absent = self.files.iter().find(|(file, opened)| match identity(file) {
            Ok(found) => found != *opened,
            // Any other fault says nothing of where the file is.
            Err(fault) => matches!(fault.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        });
        self.absent.store(absent.is_some(), Ordering::Relaxed);
        absent.map_or(Ok(()), |(file, _)| Err(moved(file)))
    }

    /// Tells what the last look has found.
    pub(super) fn told(&self) -> Result<(), StoreError> {
        match self.files.first() {
            Some((file, _)) if self.absent.load(Ordering::Relaxed) => Err(moved(file)),
            Some(_) | None => Ok(()),
        }
    }
}

fn identity(file: &Path) -> std::io::Result<Identity> {
    fs::metadata(file).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn moved(file: &Path) -> StoreError {
    let (file, process) = (file.display(), std::process::id());
    StoreError::Moved(
        format!(
            "{file} is not what was opened under this name: move back what was moved; of what was removed, copy the database \
             and the segments from /proc/{process}/fd before the router ends, which it does within a minute, and put them in \
             their place before the next start"
        )
        .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_a_file_that_is_removed_moved_or_replaced_is_missed_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let (database, log, aside) =
            (folder.path().join("router.db"), folder.path().join("log"), folder.path().join("aside"));
        fs::write(&database, "").unwrap();
        fs::create_dir(&log).unwrap();
        for file in [&database, &log] {
            let presence = Presence::of([database.clone(), log.clone()]);
            assert_eq!((presence.look(), presence.told()), (Ok(()), Ok(())));
            fs::rename(file, &aside).unwrap();
            assert_eq!(presence.look(), Err(moved(file)), "moved");
            fs::write(file, "").unwrap();
            assert_eq!(presence.look(), Err(moved(file)), "another in its place");
            assert!(presence.told().is_err());
            fs::remove_file(file).unwrap();
            fs::rename(&aside, file).unwrap();
            assert_eq!((presence.look(), presence.told()), (Ok(()), Ok(())), "back");
        }
    }
}
