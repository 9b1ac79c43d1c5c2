//! Which lines are written at once, and which are held back because the same was said a moment ago.
//!
//! Of what is held back the newest is written once the time is up, with the number of those before it, or earlier: as soon
//! as something newer is written about the same account or sink. So the last word about it is always the truth: an account
//! that came on line does not wait, by the log, a few seconds later. The line carries the time of writing, so that the log
//! stays in order, and says when the first and the last of those it stands for was said. Must not know what a line says.

use std::collections::{BTreeSet, HashMap};
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
    /// The account or sink it speaks of. Its lines keep their order, whatever they say.
    pub(super) owner: Option<u64>,
    /// Whether a library says it: then a peer may have a say in the text, and no two lines need be alike.
    pub(super) foreign: bool,
}

/// What was said a moment ago.
#[derive(Debug)]
pub(super) struct Repeats {
    interval: Duration,
    said: HashMap<u64, Said>,
    /// The subjects of each owner of which a line is held back.
    held: HashMap<u64, BTreeSet<u64>>,
    /// How many of them libraries said.
    foreign: usize,
    /// Bytes of what is held back.
    bytes: usize,
}

#[derive(Debug)]
struct Said {
    at: Moment,
    held: Option<Box<Line>>,
    owner: Option<u64>,
    foreign: bool,
}

impl Repeats {
    /// Holds back what repeats within `interval`.
    pub(super) fn within(interval: Duration) -> Self {
        Self { interval, said: HashMap::new(), held: HashMap::new(), foreign: 0, bytes: 0 }
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
                if let Some(owner) = said.owner {
                    self.held.entry(owner).or_default().insert(key);
                }
                return None;
            }
            said.at = now;
            let_go(&mut self.held, said.owner, key);
            return Some(line.written(now.utc()));
        }
        self.foreign += usize::from(subject.foreign);
        // Where there is no room to tell subjects apart, one stands for many accounts.
        let owner = subject.owner.filter(|_| key == subject.exact);
        self.said.insert(key, Said { at: now, held: None, owner, foreign: subject.foreign });
        Some(line)
    }

    /// Returns the lines that are held back of the same owner, in the order they were said: they go before a newer one.
    pub(super) fn before(&mut self, owner: Option<u64>, now: Moment) -> Vec<Line> {
        let held = owner.map(|owner| self.take(owner, now)).unwrap_or_default();
        in_order(held, now)
    }

    fn take(&mut self, owner: u64, now: Moment) -> Vec<Line> {
        let mut lines = Vec::new();
        for key in self.held.remove(&owner).unwrap_or_default() {
            let Some(said) = self.said.get_mut(&key) else { continue };
            if let Some(line) = said.held.take() {
                said.at = now;
                self.bytes -= line.size();
                lines.push(*line);
            }
        }
        lines
    }

    /// Returns the lines that were held back for long enough, and all others of the same owners, in the order they were said.
    pub(super) fn due(&mut self, now: Moment) -> Vec<Line> {
        let (mut due, mut owners) = (Vec::new(), BTreeSet::new());
        self.said.retain(|key, said| {
            if now.since(said.at) < self.interval {
                return true;
            }
            said.at = now;
            if let Some(line) = said.held.take() {
                self.bytes -= line.size();
                let_go(&mut self.held, said.owner, *key);
                owners.extend(said.owner);
                due.push(*line);
                true
            } else {
                self.foreign -= usize::from(said.foreign);
                false
            }
        });
        for owner in owners {
            due.extend(self.take(owner, now));
        }
        in_order(due, now)
    }

    /// All that is held back.
    pub(super) fn rest(&mut self, now: Moment) -> Vec<Line> {
        (self.bytes, self.foreign) = (0, 0);
        self.held.clear();
        in_order(self.said.drain().filter_map(|(_, said)| said.held).map(|line| *line).collect(), now)
    }
}

/// Nothing of this subject is held back any more.
fn let_go(held: &mut HashMap<u64, BTreeSet<u64>>, owner: Option<u64>, key: u64) {
    let Some(owner) = owner else { return };
    if let Some(keys) = held.get_mut(&owner) {
        keys.remove(&key);
        if keys.is_empty() {
            held.remove(&owner);
        }
    }
}

/// In the order they were said, as they are written `now`.
fn in_order(mut lines: Vec<Line>, now: Moment) -> Vec<Line> {
    lines.sort_by_key(Line::time);
    lines.into_iter().map(|line| line.written(now.utc())).collect()
}
