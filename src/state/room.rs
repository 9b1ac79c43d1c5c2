//! How much room the database takes, and how much there is.

use std::path::Path;
use std::{fs, io};

use super::place::journal_of;

/// Bytes of the state and of the disk it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What the state takes.
    pub used: u64,
    /// What is free for it.
    pub free: u64,
    /// What the disk has as a whole.
    pub size: u64,
}

/// Looks at the disk, which may block.
pub(super) fn measure(database: &Path) -> io::Result<Room> {
    let journal = fs::metadata(journal_of(database)).map_or(0, |file| file.len());
    let disk = rustix::fs::statvfs(database)?;
    Ok(Room {
        used: fs::metadata(database)?.len() + journal,
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        size: disk.f_blocks.saturating_mul(disk.f_frsize),
    })
}
