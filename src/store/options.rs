//! Where the state lives: the `[store]` section.

use std::path::{Path, PathBuf};

use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind, Text};

/// The `[store]` section, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `sqlite://NAME` relative to the working directory, `sqlite:///PATH` absolute.
    pub url: String,
}

impl Options {
    /// The keys of the section.
    pub const KEYS: &'static [Key] = &[Key {
        name: "url",
        kind: Kind::Text(Text { check: url, pattern: Some("^sqlite://[^?]+$") }),
        absent: Absent::Default("sqlite://onsip-router.db"),
        help: "State and delivery queue: sqlite://NAME is relative, sqlite:///PATH absolute.",
    }];

    /// Returns the file of the database.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.url.strip_prefix("sqlite://").filter(|name| !name.is_empty()).map(Path::new)
    }

    /// Returns all files that are the database's alone: itself, and those beside it, through a link as well.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let Some(named) = self.path() else { return Vec::new() };
        let real = named.canonicalize().ok().filter(|real| real != named);
        let beside = |path: &Path| {
            ["", "-wal", "-shm", "-journal", "-wal.damaged", ".lock"].map(|suffix| {
                let mut name = path.as_os_str().to_owned();
                name.push(suffix);
                PathBuf::from(name)
            })
        };
        [Some(named.to_owned()), real].into_iter().flatten().flat_map(|path| beside(&path)).collect()
    }

    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Option<Self> {
        Some(Self { url: section.get("url")? })
    }
}

fn url(text: &str) -> Result<(), String> {
    match text.strip_prefix("sqlite://") {
        None | Some("" | "/") => Err("must be sqlite://NAME or sqlite:///PATH".to_owned()),
        Some(path) if path.starts_with('?') => Err("names no file".to_owned()),
        Some(path) if path.contains('?') => Err("takes no options: leave out the `?` and what follows it".to_owned()),
        Some(":memory:") => Err("names no file: what is only in memory is lost at the end".to_owned()),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_an_url_with_options_is_refused_and_makes_no_file_of_that_name() {
        for good in ["sqlite://router.db", "sqlite:///var/lib/router.db", "sqlite://a#b.db"] {
            assert_eq!(url(good), Ok(()), "{good}");
        }
        for bad in ["sqlite://x.db?mode=rwc", "sqlite:///x.db?", "sqlite://?", "sqlite://", "sqlite://:memory:", "x.db"]
        {
            assert!(url(bad).is_err(), "{bad}");
        }
        assert!(url("sqlite://x.db?mode=rwc").unwrap_err().contains('?'));
    }
}
