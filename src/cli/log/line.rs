//! One line of the log: what it says, as text and as JSON.
//!
//! Must not know where it is written, or whether.

use std::fmt::{Debug, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::cli::table::harmless;
use crate::domain::event::rfc3339;

/// The target of our own lines, and the beginning of it.
pub(super) const OWN: &str = "onsip_router";
/// The field that is a number of things: it is added up over lines that are told as one.
const COUNT: &str = "events";
/// How many lines were not written for this one.
const SUPPRESSED: &str = "suppressed";
/// When the first of the lines was said that this one stands for, and when the last.
const SAID: [&str; 2] = ["first_at", "last_at"];

/// What one line says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) time: Timestamp,
    level: Level,
    target: String,
    message: String,
    fields: Vec<(&'static str, Value)>,
    suppressed: u64,
    /// When the first of those it stands for was said, if that is not itself.
    first: Option<Timestamp>,
    /// When it was said, if it was written later.
    said: Option<Timestamp>,
}

impl Line {
    /// The line an event makes.
    pub(super) fn of(event: &Event<'_>, time: Timestamp) -> Self {
        let metadata = event.metadata();
        let mut line = Self {
            time,
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            message: String::new(),
            fields: Vec::new(),
            suppressed: 0,
            first: None,
            said: None,
        };
        event.record(&mut line);
        line
    }

    /// The line that says how many lines were dropped.
    pub(super) fn dropped(lines: u64, time: Timestamp) -> Self {
        Self {
            time,
            level: Level::WARN,
            target: OWN.to_owned(),
            message: "log lines were dropped: standard error is not read as fast as it is written to".to_owned(),
            fields: vec![("lines", lines.into())],
            suppressed: 0,
            first: None,
            said: None,
        }
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// About how much room it takes.
    pub(super) fn size(&self) -> usize {
        let text = |value: &Value| value.as_str().map_or(8, str::len);
        let fields = self.fields.iter().map(|(_, value)| size_of::<(&str, Value)>() + text(value));
        size_of::<Self>() + self.target.len() + self.message.len() + fields.sum::<usize>()
    }

    pub(super) fn time(&self) -> Timestamp {
        self.time
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.fields.iter().map(|(name, value)| (*name, value))
    }

    /// Whether we say it, and no library.
    pub(super) fn is_ours(&self) -> bool {
        self.target.starts_with(OWN)
    }

    /// Takes the place of `earlier`, which was not written.
    pub(super) fn replacing(mut self, earlier: &Self) -> Self {
        self.suppressed += earlier.suppressed + 1;
        self.first = Some(earlier.first.unwrap_or(earlier.time));
        let count = |line: &Self| line.fields().find(|(name, _)| *name == COUNT).and_then(|(_, value)| value.as_u64());
        if let (Some(mine), Some(before)) = (count(&self), count(earlier)) {
            self.put(COUNT, Value::from(mine.saturating_add(before)));
        }
        self
    }

    /// The same line, which was held back and is written at `now`.
    pub(super) fn written(self, now: Timestamp) -> Self {
        Self { said: Some(self.time), time: now, ..self }
    }

    /// What is told of the lines that were held back for this one, and of itself if it was.
    fn held_back(&self) -> Vec<(&'static str, Value)> {
        let Some(last) = self.said.filter(|said| self.first.is_some() || *said != self.time) else { return Vec::new() };
        let count = (self.suppressed > 0).then(|| (SUPPRESSED, Value::from(self.suppressed)));
        let times = [self.first.unwrap_or(last), last].map(|time| Value::from(rfc3339(time)));
        count.into_iter().chain(SAID.into_iter().zip(times)).collect()
    }

    fn put(&mut self, name: &'static str, value: Value) {
        match self.fields.iter_mut().find(|(known, _)| *known == name) {
            Some(field) => field.1 = value,
            None => self.fields.push((name, value)),
        }
    }

    fn record(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("log.target", Value::String(target)) => self.target = target,
            (name, _) if name.starts_with("log.") => {} // where in a library's source a line of the `log` crate comes from
            (name, value) => self.put(name, value),
        }
    }

    /// For people: time, level, message, fields.
    pub(super) fn text(&self, coloured: bool) -> String {
        let paint = |style: Style| if coloured { style } else { Style::new() };
        let (dim, level) = (paint(Style::new().dimmed()), paint(colour(self.level)));
        let mut text = format!("{dim}{}{dim:#} {level}{:>5}{level:#} ", rfc3339(self.time), self.level.as_str());
        if !self.is_ours() {
            let _ = write!(text, "{dim}{}:{dim:#} ", harmless(&self.target));
        }
        text.push_str(&harmless(&self.message));
        let held_back = self.held_back();
        for (name, value) in self.fields().chain(held_back.iter().map(|(name, value)| (*name, value))) {
            let _ = write!(text, " {dim}{name}={dim:#}{}", shown(value));
        }
        text
    }

    /// For programs: one object, fields beside the message.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn colour(level: Level) -> Style {
    match level {
        Level::ERROR => AnsiColor::Red.on_default().bold(),
        Level::WARN => AnsiColor::Yellow.on_default(),
        Level::INFO => AnsiColor::Green.on_default(),
        Level::DEBUG | Level::TRACE => AnsiColor::Blue.on_default(),
    }
}

/// A word as it stands, anything else in quotes: no peer can break a line, steer the terminal or invent a field.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let word = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=');
            if !text.is_empty() && text.chars().all(word) { text.clone() } else { harmless(&format!("{text:?}")) }
        }
        other => harmless(&other.to_string()),
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &rfc3339(self.time))?;
        map.serialize_entry("level", self.level.as_str())?;
        map.serialize_entry("message", &self.message)?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in self.held_back() {
            map.serialize_entry(name, &value)?;
        }
        map.serialize_entry("target", &self.target)?;
        map.end()
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }
}
