//! The folder of a store, seen from outside: how large it is, and what a kill leaves of it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The bytes of a file, or of all files in a folder; 0 if there is none.
pub fn size(path: &Path) -> u64 {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => fs::read_dir(path).unwrap().map(|file| size(&file.unwrap().path())).sum(),
        Ok(found) => found.len(),
        Err(_) => 0,
    }
}

/// The folder as a kill leaves it, in another place.
pub fn killed(folder: &Path) -> TempDir {
    let elsewhere = tempfile::tempdir().unwrap();
    copy(folder, elsewhere.path());
    elsewhere
}

/// Copies a folder into another one that is there.
pub fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&file.path(), &to);
        } else {
            fs::copy(file.path(), to).unwrap();
        }
    }
}

/// All files in a folder and in those that lie in it, in the order of their names.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if file.is_dir() {
            all.extend(files(&file));
        } else {
            all.push(file);
        }
    }
    all.sort();
    all
}
