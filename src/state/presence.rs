//! Whether the database still is where it was opened. Who removes or moves it takes along all that is written from then on,
//! and the system says nothing.
//!
//! Must not know what is in it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::StateError;

/// The device and the number of a file there.
type Identity = (u64, u64);

/// The file of an open database.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    file: PathBuf,
    opened: Option<Identity>,
}

impl Presence {
    /// Remembers the file of the database at `path`, which is open.
    pub(super) fn of(path: &Path) -> Self {
        Self { file: path.to_owned(), opened: identity(path).ok() }
    }

    /// Looks whether it is there.
    pub(super) fn look(&self) -> Result<(), StateError> {
        let Some(opened) = self.opened else { return Ok(()) };
        let absent = match identity(&self.file) {
            Ok(found) => found != opened,
            // Any other fault says nothing of where the file is.
            Err(fault) => matches!(fault.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        };
        if absent { Err(self.moved()) } else { Ok(()) }
    }

    fn moved(&self) -> StateError {
        let (file, process) = (self.file.display(), std::process::id());
        StateError::Moved(
            format!(
                "{file} is not the file that is open: move back what was moved, with its -journal; of what was removed, copy \
                 the database from /proc/{process}/fd before the router ends, which it does within a minute, and put it in \
                 its place before the next start"
            )
            .into(),
        )
    }
}

fn identity(file: &Path) -> std::io::Result<Identity> {
    fs::metadata(file).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_removed_moved_or_replaced_is_missed_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let (database, aside) = (folder.path().join("router.db"), folder.path().join("aside"));
        fs::write(&database, "").unwrap();
        let presence = Presence::of(&database);
        assert_eq!(presence.look(), Ok(()));
        fs::rename(&database, &aside).unwrap();
        assert_eq!(presence.look(), Err(presence.moved()), "moved");
        fs::write(&database, "").unwrap();
        assert_eq!(presence.look(), Err(presence.moved()), "another in its place");
        fs::rename(&aside, &database).unwrap();
        assert_eq!(presence.look(), Ok(()), "back");
    }
}
