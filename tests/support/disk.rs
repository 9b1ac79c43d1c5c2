//! A small disk that can be filled up.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A small disk, taken away in the end.
pub struct Disk(tempfile::TempDir);

impl Disk {
    /// Needs the right to mount, as in a container's own namespace.
    pub fn mount() -> Self {
        let folder = tempfile::tempdir().expect("a small disk");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(folder.path())
            .status()
            .expect("a small disk");
        assert!(mounted.success(), "a small disk cannot be mounted: run this test as root");
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn fill(&self) {
        let mut size = 1 << 20;
        let mut n = 0;
        while size > 0 {
            n += 1;
            let file = self.path().join(format!("ballast-{n}"));
            if fs::write(&file, vec![1; size]).is_err() {
                size /= 2;
            }
        }
    }

    pub fn make_room(&self) {
        for entry in fs::read_dir(self.path()).expect("a small disk") {
            let path = entry.expect("a small disk").path();
            if path.file_name().expect("a small disk").to_string_lossy().starts_with("ballast") {
                fs::remove_file(path).expect("a small disk");
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
