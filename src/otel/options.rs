//! Where traces go: the `[otel]` section.

use reqwest::Url;

use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind, Text};

/// Why there are no traces in a program that was built without them.
pub(super) const WITHOUT: &str =
    "needs a program with OpenTelemetry in it, and this one is without: cargo build --release --features otel";

/// The `[otel]` section, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The collector; without it there are no traces.
    pub endpoint: Option<String>,
    /// One event of so many has a trace.
    pub one_in: u64,
}

impl Options {
    /// The keys of the section.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "endpoint",
            kind: Kind::Text(Text { check: url, pattern: Some("^https?://.+") }),
            absent: Absent::Fine,
            help: "Where an OpenTelemetry collector takes OTLP over HTTP, without the path: http://127.0.0.1:4318. Absent: no traces.",
        },
        Key {
            name: "one_in",
            kind: Kind::Whole { min: 1, max: 1_000_000 },
            absent: Absent::Default("1"),
            help: "One event of so many has a trace; 1: every event.",
        },
    ];

    /// Reads the section at `path`.
    pub fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<Self> {
        let endpoint = section.get("endpoint");
        if endpoint.is_some() && !cfg!(feature = "otel") {
            problems.add(path.join("endpoint"), WITHOUT);
        }
        Some(Self { endpoint, one_in: section.whole("one_in")? })
    }
}

fn url(text: &str) -> Result<(), String> {
    let Ok(url) = text.parse::<Url>() else {
        return Err("must be a URL, such as http://127.0.0.1:4318".to_owned());
    };
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    match (url.scheme(), plain) {
        ("http" | "https", true) => Ok(()),
        ("http" | "https", false) => {
            Err("must be without user, password and query: OTEL_EXPORTER_OTLP_HEADERS is for secrets".to_owned())
        }
        _ => Err("must begin with http:// or https://".to_owned()),
    }
}
