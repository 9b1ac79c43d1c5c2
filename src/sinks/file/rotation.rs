//! When a file is set aside for a new one, under which name, and which of those set aside are removed.
//!
//! Must not know what is written.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind};

/// Files of one second that are told apart.
const TWINS: u32 = 10_000;

/// When a file is set aside. The default is: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Before it would become larger than so many bytes.
    pub bytes: Option<u64>,
    /// Once it is so old, with the next event.
    pub every: Option<Duration>,
    /// How many that were set aside are kept; absent: all.
    pub keep: Option<u32>,
}

/// After how many bytes.
pub(super) const BYTES: Key = Key {
    name: "rotate_bytes",
    kind: Kind::Bytes { min: 1 },
    absent: Absent::Fine,
    help: "Before the file grows beyond this it is renamed to PATH.TIME and a new one begun; without it, never.",
};
/// After how long.
pub(super) const EVERY: Key = Key {
    name: "rotate_every",
    kind: Kind::Duration { min: Duration::from_secs(1) },
    absent: Absent::Fine,
    help: "With the first event after the file is so old it is renamed to PATH.TIME and a new one begun; without it, never.",
};
/// How many are kept.
pub(super) const KEEP: Key = Key {
    name: "keep",
    kind: Kind::Whole { min: 1, max: 1_000_000 },
    absent: Absent::Fine,
    help: "How many renamed files are kept; the oldest are removed. Without it, all.",
};

impl Rotation {
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self { bytes: section.bytes(BYTES.name), every: section.duration(EVERY.name), keep: section.whole(KEEP.name) }
    }

    /// Whether a file of `metadata` is to be set aside before `more` bytes are written to it. An empty one never is: a
    /// batch that is too large for any file goes into one of its own, whole.
    pub(super) fn is_due(&self, metadata: &Metadata, more: usize, now: Timestamp) -> bool {
        let size = metadata.len();
        if size == 0 || !metadata.is_file() {
            return false;
        }
        let too_large = self.bytes.is_some_and(|most| size.saturating_add(more as u64) > most);
        too_large || self.every.is_some_and(|every| began(metadata).is_some_and(|began| is_over(began, every, now)))
    }

    /// Renames `path` and removes what is too many. Says the new name.
    ///
    /// # Errors
    /// If it could not be renamed; nothing has changed then.
    pub(super) fn set_aside(&self, path: &Path, now: Timestamp) -> io::Result<PathBuf> {
        let aside = free_name(path, now)?;
        fs::rename(path, &aside)?;
        if let Some(keep) = self.keep {
            // One too many is no reason to fail: the next rotation tries again.
            let _ = remove_oldest(path, keep as usize, &aside);
        }
        Ok(aside)
    }
}

/// When the file was made; where the file system does not know that, when it was last written.
fn began(metadata: &Metadata) -> Option<Timestamp> {
    Timestamp::try_from(metadata.created().or_else(|_| metadata.modified()).ok()?).ok()
}

fn is_over(began: Timestamp, every: Duration, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(began)).is_ok_and(|age| age >= every)
}

/// `PATH.TIME`, and a number behind it where there is one of that second already.
fn free_name(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let names = (0..TWINS).map(|twin| {
        let mut name = path.as_os_str().to_owned();
        name.push(if twin == 0 { format!(".{time}") } else { format!(".{time}-{twin:04}") });
        PathBuf::from(name)
    });
    for name in names {
        if !name.try_exists()? {
            return Ok(name);
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many rotated files of one second"))
}

/// Removes the oldest of the files set aside but `keep`. Only names made by [`free_name`] count. Those of
/// the same second as `newest` stay: a name that became free would be taken again, out of order.
fn remove_oldest(path: &Path, keep: usize, newest: &Path) -> io::Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut aside = Vec::<OsString>::new();
    for entry in fs::read_dir(folder)? {
        let other = entry?.file_name();
        if is_aside(name, &other) {
            aside.push(other);
        }
    }
    aside.sort();
    let surplus = aside.len().saturating_sub(keep);
    let newest = newest.file_name().map(OsStr::as_encoded_bytes).unwrap_or_default();
    let second = newest.split_at_checked(name.len() + 17).map_or(newest, |(second, _)| second);
    for oldest in aside[..surplus].iter().filter(|oldest| !oldest.as_encoded_bytes().starts_with(second)) {
        fs::remove_file(folder.join(oldest))?;
    }
    Ok(())
}

/// Whether `other` is a name that the file `name` was set aside under.
fn is_aside(name: &OsStr, other: &OsStr) -> bool {
    let (name, other) = (name.as_encoded_bytes(), other.as_encoded_bytes());
    let Some(time) = other.strip_prefix(name).and_then(|rest| rest.strip_prefix(b".")) else { return false };
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    match time {
        [day @ .., b'T', _, _, _, _, _, _, b'Z'] if day.len() == 8 => digits(day) && digits(&time[9..15]),
        [when @ .., b'-', one, two, three, four] if when.len() == 16 => {
            digits(&[*one, *two, *three, *four]) && when[15] == b'Z' && digits(&when[..8]) && digits(&when[9..15])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_are_removed_and_nothing_that_only_looks_alike() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        for other in
            ["events.jsonl.1", "events.jsonl.20261123T1015Z", "events.jsonl.20261123T101530Z.gz", "events.jsonlx"]
        {
            fs::write(folder.path().join(other), "").unwrap();
        }
        let rotation = Rotation { keep: Some(3), ..Rotation::default() };
        for (second, content) in [(30, "a"), (31, "b"), (31, "c"), (32, "d")] {
            fs::write(&path, content).unwrap();
            let now = format!("2026-11-23T10:15:{second}Z").parse().unwrap();
            assert_eq!(fs::read_to_string(rotation.set_aside(&path, now).unwrap()).unwrap(), content);
        }
        let expected = [
            "events.jsonl.1",
            "events.jsonl.20261123T101530Z.gz",
            "events.jsonl.20261123T101531Z",
            "events.jsonl.20261123T101531Z-0001",
            "events.jsonl.20261123T101532Z",
            "events.jsonl.20261123T1015Z",
            "events.jsonlx",
        ];
        assert_eq!(names(folder.path()), expected);
    }

    #[test]
    fn a_file_is_due_by_size_or_age_unless_it_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::write(&path, "").unwrap();
        let rotation = Rotation { bytes: Some(10), every: Some(Duration::from_hours(1)), keep: None };
        let made = began(&path.metadata().unwrap()).unwrap();
        let later = made + Duration::from_hours(2);
        assert!(!rotation.is_due(&path.metadata().unwrap(), 100, later), "it is empty");
        fs::write(&path, "12345").unwrap();
        let metadata = path.metadata().unwrap();
        assert!(!rotation.is_due(&metadata, 5, made));
        assert!(rotation.is_due(&metadata, 6, made));
        assert!(rotation.is_due(&metadata, 1, later));
        assert!(!Rotation::default().is_due(&metadata, usize::MAX, later));
        assert!(!rotation.is_due(&fs::metadata("/dev/null").unwrap(), 100, later));
    }
}
