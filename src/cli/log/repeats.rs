//! Which lines are written at once, and which are held back because the same was said a moment ago.
//!
//! Of what is held back the newest is written once the time is up, with the number of those before it: so the last word
//! about a thing is always the truth. It carries the time of writing, so that the log stays in order, and says when the first
//! and the last of those it stands for was said. Must not know what a line says.

use std::collections::HashMap;
use std::time::Duration;

use super::line::Line;
use crate::domain::limits::{LOG_FOREIGN_SUBJECTS, LOG_HELD, LOG_SUBJECTS};
use crate::domain::moment::Moment;

/// What a line is about, by digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// The place in the code, and what in particular it speaks of.
    pub(super) exact: u64,
    /// The place in the code alone: the subject of all that there is no room to tell apart.
    pub(super) wide: u64,
    /// Whether a library says it: then a peer may have a say in the text, and no two lines need be alike.
    pub(super) foreign: bool,
}

/// What was said a moment ago.
#[derive(Debug)]
pub(super) struct Repeats {
    interval: Duration,
    said: HashMap<u64, Said>,
    /// How many of them libraries said.
    foreign: usize,
    /// Bytes of what is held back.
    bytes: usize,
}

#[derive(Debug)]
struct Said {
    at: Moment,
    held: Option<Box<Line>>,
    foreign: bool,
}

impl Repeats {
    /// Holds back what repeats within `interval`.
    pub(super) fn within(interval: Duration) -> Self {
        Self { interval, said: HashMap::new(), foreign: 0, bytes: 0 }
    }

    /// A line about `subject`; given back if it is to be written now.
    pub(super) fn hear(&mut self, subject: Subject, line: Line, now: Moment) -> Option<Line> {
        if self.interval.is_zero() {
            return Some(line);
        }
        let room = self.said.len() < LOG_SUBJECTS && (!subject.foreign || self.foreign < LOG_FOREIGN_SUBJECTS);
        let key = if room || self.said.contains_key(&subject.exact) { subject.exact } else { subject.wide };
        if let Some(said) = self.said.get_mut(&key) {
            let line = match said.held.take() {
                Some(earlier) => {
                    self.bytes -= earlier.size();
                    line.replacing(&earlier)
                }
                None => line,
            };
            if now.since(said.at) < self.interval && self.bytes + line.size() <= LOG_HELD {
                self.bytes += line.size();
                said.held = Some(Box::new(line));
                return None;
            }
            said.at = now;
            return Some(line.written(now.utc()));
        }
        self.foreign += usize::from(subject.foreign);
        self.said.insert(key, Said { at: now, held: None, foreign: subject.foreign });
        Some(line)
    }

    /// What was held back for long enough, in the order it was said.
    pub(super) fn due(&mut self, now: Moment) -> Vec<Line> {
        let mut due = Vec::new();
        self.said.retain(|_, said| {
            if now.since(said.at) < self.interval {
                return true;
            }
            said.at = now;
            if let Some(line) = said.held.take() {
                self.bytes -= line.size();
                due.push(*line);
                true
            } else {
                self.foreign -= usize::from(said.foreign);
                false
            }
        });
        in_order(due, now)
    }

    /// All that is held back.
    pub(super) fn rest(&mut self, now: Moment) -> Vec<Line> {
        (self.bytes, self.foreign) = (0, 0);
        in_order(self.said.drain().filter_map(|(_, said)| said.held).map(|line| *line).collect(), now)
    }
}

/// In the order they were said, as they are written `now`.
fn in_order(mut lines: Vec<Line>, now: Moment) -> Vec<Line> {
    lines.sort_by_key(Line::time);
    lines.into_iter().map(|line| line.written(now.utc())).collect()
}
