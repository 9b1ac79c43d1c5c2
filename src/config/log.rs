//! The `[log]` section, from the settings.

use super::{Log, LogFormat};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind};

impl Log {
    /// The keys of the section.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "format",
            kind: Kind::OneOf(&["text", "json"]),
            absent: Absent::Default("text"),
            help: "How a log line looks.",
        },
        Key {
            name: "level",
            kind: Kind::OneOf(&["trace", "debug", "info", "warn", "error"]),
            absent: Absent::Default("info"),
            help: "The least severe level that is written.",
        },
    ];

    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Option<Self> {
        let format = match section.get::<String>("format")?.as_str() {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        };
        Some(Self { format, level: section.get("level")? })
    }
}
