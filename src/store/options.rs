//! Where events and the state live, and for how long: the `[store]` section.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::opening::events_of;
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind, Text};
use crate::state;

/// The `[store]` section, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `sqlite://NAME` relative to the working directory, `sqlite:///PATH` absolute.
    pub url: String,
    /// How long after its commit an event can be found and replayed, also when nobody is owed it any more.
    pub keep: Duration,
    /// Up to how many bytes of those there are.
    pub keep_bytes: u64,
}

impl Options {
    /// The keys of the section.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "url",
            kind: Kind::Text(Text { check: url, pattern: Some("^sqlite://[^?]+$") }),
            absent: Absent::Default("sqlite://onsip-router.db"),
            help: "The state: sqlite://NAME is relative, sqlite:///PATH absolute. The event log lies beside it, in a folder of \
                its name that ends with .events.",
        },
        Key {
            name: "keep",
            kind: Kind::Duration { min: Duration::ZERO },
            absent: Absent::Default("24h"),
            help: "How long after its commit an event can be found and replayed, or until newer ones fill keep_bytes. What a \
                sink is owed stays regardless. 0s: no longer than needed.",
        },
        Key {
            name: "keep_bytes",
            kind: Kind::Bytes { min: 0 },
            absent: Absent::Default("1GiB"),
            help: "And at most so many bytes of events that no sink is owed any more.",
        },
    ];

    /// Returns a section with this address, and defaults for the rest.
    #[must_use]
    pub fn at(url: String) -> Self {
        Self { url, keep: Duration::from_hours(24), keep_bytes: 1 << 30 }
    }

    /// Returns the file of the database.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.url.strip_prefix("sqlite://").filter(|name| !name.is_empty()).map(Path::new)
    }

    /// Returns all files and folders that are the store's alone, also through a link.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let Some(named) = self.path() else { return Vec::new() };
        let mut files = state::files(named);
        let real = named.canonicalize().unwrap_or_else(|_| named.to_owned());
        files.extend([named, &real].map(events_of));
        files
    }

    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Option<Self> {
        Some(Self {
            url: section.get("url")?,
            keep: section.duration("keep")?,
            keep_bytes: section.bytes("keep_bytes")?,
        })
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
