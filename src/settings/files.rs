//! Which files are read, in which order, and how each file is read that the operator names.
//!
//! Only regular files are read, up to a bound, and never with a wait: a pipe or a device has no end to rely on.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::layer::Layer;
use super::problem::Problems;
use crate::domain::limits::CONFIGURATION_FILE;

/// Read where no path is given, if it is there.
pub const LOCAL: &str = "config/local.toml";

/// The layers of the given files and folders, in order; of `./config/local.toml`, if there are none.
pub fn layers(paths: &[PathBuf], problems: &mut Problems) -> Vec<Layer> {
    let local = [PathBuf::from(LOCAL)];
    let paths = match paths {
        [] if local[0].exists() => &local,
        paths => paths,
    };
    paths
        .iter()
        .flat_map(|path| files(path, problems))
        .collect::<Vec<_>>()
        .iter()
        .filter_map(|path| read(path, problems))
        .collect()
}

/// The file itself, or every `*.toml` of a folder by name, without hidden ones.
fn files(path: &Path, problems: &mut Problems) -> Vec<PathBuf> {
    match listed(path) {
        Ok(files) => {
            if files.is_empty() {
                problems.add(path.display(), "holds no *.toml file");
            }
            files
        }
        Err(fault) => {
            problems.add(path.display(), Unreadable::of(fault.kind()));
            Vec::new()
        }
    }
}

/// As [`files`], without a judgement.
pub(super) fn listed(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let listed = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    let wanted = |path: &PathBuf| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        path.extension().is_some_and(|extension| extension == "toml") && !hidden && !path.is_dir()
    };
    let mut files: Vec<_> = listed.into_iter().filter(wanted).collect();
    files.sort();
    Ok(files)
}

fn read(path: &Path, problems: &mut Problems) -> Option<Layer> {
    let text = read_text(path, CONFIGURATION_FILE).map_err(|fault| fault.to_string());
    text.and_then(|text| Layer::of_file(&text, &path.display().to_string()))
        .map_err(|message| problems.add(path.display(), message))
        .ok()
}

/// Why a file was not read. The words follow its name, and repeat nothing of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It may not be read, or the disk fails.
    #[error("cannot be read: {}", reason(*.0))]
    Io(io::ErrorKind),
    /// It is not there.
    #[error("does not exist")]
    Absent,
    /// It is a folder, a pipe, a device or a socket.
    #[error("is no regular file")]
    NotAFile,
    /// It is larger than any such file can be.
    #[error("is larger than {} KiB", .0 >> 10)]
    TooLarge(u64),
    /// It is not UTF-8.
    #[error("is not UTF-8 text")]
    NotText,
}

impl Unreadable {
    fn of(kind: io::ErrorKind) -> Self {
        if kind == io::ErrorKind::NotFound { Self::Absent } else { Self::Io(kind) }
    }

    /// The same as a sentence about `path`.
    #[must_use]
    pub fn about(self, path: &Path) -> String {
        let shown = path.display();
        match self {
            Self::Io(kind) => format!("cannot read {shown}: {}", reason(kind)),
            Self::Absent => format!("cannot read {shown}: {}", reason(io::ErrorKind::NotFound)),
            Self::NotAFile | Self::TooLarge(_) | Self::NotText => format!("{shown} {self}"),
        }
    }
}

impl From<Unreadable> for io::Error {
    fn from(fault: Unreadable) -> Self {
        let kind = match fault {
            Unreadable::Io(kind) => kind,
            Unreadable::Absent => io::ErrorKind::NotFound,
            Unreadable::NotAFile | Unreadable::TooLarge(_) | Unreadable::NotText => io::ErrorKind::InvalidData,
        };
        Self::new(kind, fault)
    }
}

/// What kept a file from being read, in the words of people.
fn reason(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::NotADirectory => "no such file, a part of its path is no folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        kind => kind.to_string(),
    }
}

/// A file as it was read.
#[derive(Clone)]
pub struct Content {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Who may do what with it: the permission bits.
    pub mode: u32,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[content]")
    }
}

/// Reads a whole regular file of at most `most` bytes.
///
/// # Errors
/// If it is something else, larger, or cannot be read.
pub fn read_content(path: &Path, most: u64) -> Result<Content, Unreadable> {
    let failed = |fault: io::Error| Unreadable::of(fault.kind());
    // Asked before it is opened, since to open a device can already do something; and after, since it may be another then.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Unreadable::NotAFile);
    }
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Unreadable::NotAFile);
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(Unreadable::TooLarge(most));
    }
    Ok(Content { bytes, mode: metadata.permissions().mode() & 0o7777 })
}

/// Reads what a regular file of at most `most` bytes holds.
///
/// # Errors
/// As [`read_content`].
pub fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>, Unreadable> {
    read_content(path, most).map(|content| content.bytes)
}

/// Reads a regular file of at most `most` bytes as text, without the mark that some editors begin a file with.
///
/// # Errors
/// As [`read_content`], or if it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> Result<String, Unreadable> {
    as_text(read_bytes(path, most)?)
}

/// The text of a file, without a byte order mark.
///
/// # Errors
/// If it is not UTF-8.
pub fn as_text(bytes: Vec<u8>) -> Result<String, Unreadable> {
    let text = String::from_utf8(bytes).map_err(|_| Unreadable::NotText)?;
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Ok(rest.to_owned()),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    #[test]
    fn c13_only_a_regular_file_is_read_and_nobody_waits_for_a_writer() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("x.toml");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), Path::new("/dev/zero"), Path::new("/dev/null"), folder.path()] {
            assert_eq!(read_bytes(path, 10).err(), Some(Unreadable::NotAFile), "{}", path.display());
        }
        let mut problems = Problems::default();
        assert!(layers(&[folder.path().to_owned()], &mut problems).is_empty());
        assert_eq!(problems.to_string(), format!("{}: is no regular file", pipe.display()));
    }

    #[test]
    fn c13_what_is_larger_than_it_can_be_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read_bytes(&path, CONFIGURATION_FILE).err(), Some(Unreadable::TooLarge(CONFIGURATION_FILE)));
        fs::write(&path, "1234567890").unwrap();
        assert_eq!(read_bytes(&path, 9).err(), Some(Unreadable::TooLarge(9)));
        assert_eq!(read_bytes(&path, 10).unwrap(), b"1234567890");
    }

    #[test]
    fn d4_a_byte_order_mark_is_no_part_of_a_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        fs::write(&path, "\u{feff}[a]\u{feff}").unwrap();
        assert_eq!(read_text(&path, 100).unwrap(), "[a]\u{feff}");
        fs::write(&path, b"\xff\xfea\0").unwrap();
        assert_eq!(read_text(&path, 100), Err(Unreadable::NotText));
    }

    #[test]
    fn d14_a_missing_file_is_called_so() {
        let fault = read_bytes(Path::new("/no/such/file"), 1).unwrap_err();
        assert_eq!(fault.about(Path::new("/no/such/file")), "cannot read /no/such/file: no such file");
    }
}
