//! How much room the database takes, and how much there is.

use std::path::Path;
use std::{fs, io};

use super::log;

/// Bytes of the database and of the disk it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What the database takes, with the log that is written first.
    pub used: u64,
    /// What is free for it.
    pub free: u64,
    /// What the disk has as a whole.
    pub size: u64,
}

/// Looks at the disk, which may block.
pub(super) fn measure(database: &Path) -> io::Result<Room> {
    let log = fs::metadata(log::of(database)).map_or(0, |file| file.len());
    let disk = rustix::fs::statvfs(database)?;
    Ok(Room {
        used: fs::metadata(database)?.len() + log,
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        size: disk.f_blocks.saturating_mul(disk.f_frsize),
    })
}
