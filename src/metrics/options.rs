//! Which series are exported: the `[metrics]` section.

use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind};

/// The `[metrics]` section, validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether accounts have series of their own.
    pub per_account: bool,
    /// How many have at most; the first by name.
    pub max_accounts: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { per_account: true, max_accounts: 10_000 }
    }
}

impl Options {
    /// The keys of the section.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "per_account",
            kind: Kind::Flag,
            absent: Absent::Default("true"),
            help: "Whether each account has series of its own.",
        },
        Key {
            name: "max_accounts",
            kind: Kind::Whole { min: 1, max: 1_000_000 },
            absent: Absent::Default("10000"),
            help: "How many accounts have series of their own at most, the first by name; \
                   accounts_without_series counts the others.",
        },
    ];

    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Option<Self> {
        Some(Self { per_account: section.get("per_account")?, max_accounts: section.get("max_accounts")? })
    }
}
