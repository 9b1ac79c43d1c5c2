//! Paths that are to be written to: which file each means, however it is spelt, and whether a file can be there at all.
//!
//! Must not know what is written.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FsWord, PROC_SUPER_MAGIC, statfs};
use rustix::io::Errno;

/// The number of the file system `sysfs` (statfs(2)).
const SYSFS: FsWord = 0x6265_6572;
/// Links that lead to links, as many as the system follows.
const LINKS: usize = 40;

/// One file: the same for two paths only if who writes to one changes what the other names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A file that is there, by its device and its number: it may have several names.
    There(u64, u64),
    /// One that is yet to be made.
    Absent(PathBuf),
}

impl Target {
    /// Returns what `path` names; none where that is no regular file, such as a pipe: several may write to that.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        if let Ok(metadata) = path.metadata() {
            return metadata.is_file().then(|| Self::There(metadata.dev(), metadata.ino()));
        }
        let mut path = path.to_owned();
        for _ in 0..LINKS {
            let Ok(further) = path.read_link() else { break };
            path = folder_of(&path).join(further);
        }
        let folder = folder_of(&path);
        let folder = folder.canonicalize().or_else(|_| std::path::absolute(folder)).ok()?;
        Some(Self::Absent(folder.join(path.file_name()?)))
    }
}

/// Returns the folder that holds `path`.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns why nothing can be appended at `path`, as the end of a sentence about it; none if it can, or if only its folder is
/// not there. Who may write there is not asked: this may be another user than the one who will.
#[must_use]
pub fn unfit(path: &Path) -> Option<String> {
    if path.as_os_str().is_empty() {
        return Some("names no file".to_owned());
    }
    match path.metadata() {
        Ok(metadata) => unfit_there(path, &metadata),
        Err(fault) if fault.kind() == ErrorKind::NotFound => {
            if path.as_os_str().as_bytes().ends_with(b"/") || path.file_name().is_none() {
                return Some("is a folder; name a file in it".to_owned());
            }
            is_of_the_system(folder_of(path)).then(|| OF_THE_SYSTEM.to_owned())
        }
        Err(fault) if fault.kind() == ErrorKind::PermissionDenied => None,
        Err(fault) => Some(reason(&fault)),
    }
}

const OF_THE_SYSTEM: &str = "is where the system shows itself, and no place for files";

fn unfit_there(path: &Path, metadata: &Metadata) -> Option<String> {
    let kind = metadata.file_type();
    let why = if kind.is_dir() {
        "is a folder; name a file in it"
    } else if kind.is_socket() {
        "is a socket, and no file"
    } else if kind.is_block_device() {
        "is a disk, and no file"
    } else if kind.is_file() && is_of_the_system(path) {
        OF_THE_SYSTEM
    } else {
        return None;
    };
    Some(why.to_owned())
}

fn is_of_the_system(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| [PROC_SUPER_MAGIC, SYSFS].contains(&found.f_type))
}

fn reason(fault: &io::Error) -> String {
    match fault.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::LOOP) => "is a link that leads in a circle".to_owned(),
        Some(Errno::NOTDIR) => "leads through something that is no folder".to_owned(),
        Some(Errno::NAMETOOLONG) => "is too long for a path".to_owned(),
        _ => format!("cannot be reached: {fault}"),
    }
}

/// Whether there is a folder to make the file of `path` in; links are followed.
#[must_use]
pub fn has_folder(path: &Path) -> bool {
    fs::metadata(folder_of(path)).is_ok_and(|folder| folder.is_dir())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn d18_two_paths_mean_one_file_however_they_are_spelt_linked_or_yet_to_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("there"), "").unwrap();
        fs::hard_link(at("there"), at("hard")).unwrap();
        fs::create_dir(at("sub")).unwrap();
        symlink("there", at("soft")).unwrap();
        symlink("../yet", at("sub/dangling")).unwrap();
        symlink("sub/dangling", at("twice")).unwrap();
        for (one, other) in
            [("there", "hard"), ("soft", "hard"), ("sub/../there", "there"), ("yet", "sub/dangling"), ("yet", "twice")]
        {
            assert_eq!(Target::of(&at(one)), Target::of(&at(other)), "{one} and {other}");
            assert!(Target::of(&at(one)).is_some());
        }
        assert_ne!(Target::of(&at("there")), Target::of(&at("yet")));
        assert_ne!(Target::of(&at("yet")), Target::of(&at("sub/yet")));
        assert_eq!(Target::of(Path::new("/dev/null")), None);
    }

    #[test]
    fn d18_what_no_file_can_be_made_of_is_told_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        symlink("one", at("other")).unwrap();
        symlink("other", at("one")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let long = at(&"x".repeat(300));
        for (path, why) in [
            (folder.path().to_owned(), "folder"),
            (at("new/"), "folder"),
            (PathBuf::new(), "no file"),
            (at("one"), "circle"),
            (at("file/new"), "no folder"),
            (at("socket"), "socket"),
            (long, "too long"),
            ("/proc/x".into(), "system"),
            ("/proc/self/mem".into(), "system"),
            ("/sys/x".into(), "system"),
        ] {
            let told = unfit(&path).unwrap_or_default();
            assert!(told.contains(why), "{}: {told:?}", path.display());
        }
        for path in [at("new"), at("file"), at("nowhere/new"), "/dev/null".into(), "/dev/stdout".into()] {
            assert_eq!(unfit(&path), None, "{}", path.display());
        }
    }
}
