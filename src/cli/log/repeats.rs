//! Which lines are written at once, and which are held back because the same was said a moment ago.
//!
//! Of what is held back the newest is written once the time is up, with the number of those before it: so the last word
//! about a thing is always the truth. Must not know what a line says.

use std::collections::HashMap;
use std::time::Duration;

use super::line::Line;
use crate::domain::moment::Moment;

/// Things remembered at once; of more, every line is written. A few per account of a large fleet.
const MOST: usize = 1 << 16;

/// What was said a moment ago.
#[derive(Debug)]
pub(super) struct Repeats {
    interval: Duration,
    said: HashMap<u64, Said>,
}

#[derive(Debug)]
struct Said {
    at: Moment,
    held: Option<Box<Line>>,
}

impl Repeats {
    /// Holds back what repeats within `interval`.
    pub(super) fn within(interval: Duration) -> Self {
        Self { interval, said: HashMap::new() }
    }

    /// A line about `subject`; given back if it is to be written now.
    pub(super) fn hear(&mut self, subject: u64, line: Line, now: Moment) -> Option<Line> {
        if self.interval.is_zero() {
            return Some(line);
        }
        if let Some(said) = self.said.get_mut(&subject) {
            let line = match said.held.take() {
                Some(earlier) => line.replacing(&earlier),
                None => line,
            };
            if now.since(said.at) < self.interval {
                said.held = Some(Box::new(line));
                return None;
            }
            said.at = now;
            return Some(line);
        }
        if self.said.len() < MOST {
            self.said.insert(subject, Said { at: now, held: None });
        }
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
            said.held.take().map(|line| due.push(*line)).is_some()
        });
        in_order(due)
    }

    /// All that is held back.
    pub(super) fn rest(&mut self) -> Vec<Line> {
        in_order(self.said.drain().filter_map(|(_, said)| said.held).map(|line| *line).collect())
    }
}

fn in_order(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort_by_key(Line::time);
    lines
}
