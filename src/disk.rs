//! The seam between the store and the operating system: the few things that the store does with files of its own.
//!
//! [`Directory`] is the real one. The tests put a simulated disk in its place, which tears writes, loses what was not
//! synced, runs full and fails. Must not know what stands in a file.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

#[cfg(test)]
pub(crate) mod simulated;

/// A folder that holds nothing but files of one kind.
pub trait Folder: Debug + Send + Sync {
    /// Returns the names of all files, in no order.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `bytes` zeros whose room on the disk is reserved. It must not exist.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>>;

    /// Opens a file to read and write it.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name, under which none may exist.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Whoever has it open can go on reading.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns once all names are on the disk as they are now.
    fn sync(&self) -> io::Result<()>;
}

/// One file of a [`Folder`].
pub trait File: Debug + Send + Sync {
    /// Returns its length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Fills `buffer` from `position` on, as far as the file goes, and returns how far that is.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `position`.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Returns once the content is on the disk as it is now. After a failure nothing that was written is to be believed,
    /// not even if a second try succeeds: the kernel may have thrown it away.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the operating system, which only its owner may read.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Opens the folder at `path`, and makes it if it is absent.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Folder for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(&self.0)?.map(name).collect()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        let path = self.0.join(name);
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let reserved = match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Not every file system can reserve room. There a full disk shows only when something is written.
            Err(Errno::OPNOTSUPP) => file.set_len(bytes),
            outcome => outcome.map_err(io::Error::from),
        };
        if let Err(fault) = reserved {
            // A file that is not as large as it should be is of no use, and on a full disk its room is needed.
            let _ = fs::remove_file(&path);
            return Err(fault);
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(self.0.join(name))?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.0)?.sync_all()
    }
}

impl File for fs::File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_all_at(bytes, position)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
