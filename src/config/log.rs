//! The `[log]` section, from the settings.

use std::time::Duration;

use super::{Log, LogFormat};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind};

impl Log {
    /// What a command for people says besides its output.
    pub fn warnings() -> Self {
        Self { format: LogFormat::Text, level: tracing::Level::WARN, repeat_after: Duration::from_secs(10) }
    }

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
        Key {
            name: "repeat_after",
            kind: Kind::Duration { min: Duration::ZERO },
            absent: Absent::Default("10s"),
            help: "A line that says the same about the same thing is held back for so long; then the newest is written, with the number of the others. 0s: every line is written.",
        },
    ];

    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Option<Self> {
        let format = match section.get::<String>("format")?.as_str() {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        };
        Some(Self { format, level: section.get("level")?, repeat_after: section.duration("repeat_after")? })
    }
}
