//! A consumer: which events of the log one sink has still to get.
//!
//! An offset is *done* once the sink has the event, or was given up for it, or the event is for others. What is not done is
//! *owed*. Everything before the *floor* is done; beyond it, done offsets are kept as ranges, as those that a QUIC endpoint
//! acknowledges. An event that was read and is owed is *pending*: the sink has it in hand, it failed, or its call is held.
//! What was not read yet takes no memory, however much it is.
//!
//! So a sick sink costs nobody but itself: it reads older offsets on its own, and the others never look at what it has left.
//!
//! Pure but for the reading, which the caller brings. Must not know sinks, time, or how anything is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use rangemap::RangeSet;
use serde::{Deserialize, Serialize};

use super::delivery::Pick;
use crate::domain::identity::Token;
use crate::log::{ConsumerNumber, Offset, Read, ReadError};

/// Pending events of one consumer at most: some 40 MB. Beyond that it reads on only as they become fewer.
pub const PENDING: usize = 262_144;
/// Bytes of JSON that are read at once at most.
const BYTES: usize = 256 * 1024;
/// Bytes of an event's JSON, mostly.
const USUAL: usize = 1280;
/// In place of the bytes of an event that the log cannot read any more. Whether it was owed, and counted as such, nobody knows.
pub const LOST: u32 = u32::MAX;
/// Entries of one call that are looked at to find out whether an earlier one is owed.
const STEPS: usize = 64;

/// Reads events from an offset on, in order, at least one unless there is none.
pub trait Reader {
    /// Returns events from `from` on with about `bytes` bytes of JSON.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read(&self, from: Offset, bytes: usize) -> Result<Vec<Arc<Read>>, ReadFault>;
}

/// Why events cannot be read.
#[derive(Debug)]
pub enum ReadFault {
    /// They are on the disk, and only what is in memory was to be read.
    OnDisk,
    /// The log cannot be read.
    Log(ReadError),
}

/// An event that was read and is owed.
#[derive(Clone, Debug)]
struct Pending {
    call: Token,
    bytes: u32,
    received: i64,
    failures: Option<Failures>,
}

/// How often a delivery failed, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// Tries so far.
    pub attempts: u32,
    /// When the first of them failed: microseconds since 1970, UTC.
    pub since: i64,
}

/// An event that is owed, as it is read.
#[derive(Clone, Debug)]
pub struct Picked {
    /// The event.
    pub read: Arc<Read>,
    /// How deliveries of it failed, if any did.
    pub failures: Option<Failures>,
}

/// What of a consumer goes into the log or the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What is done, in order and apart from each other; the first range begins at 0.
    pub done: Vec<Range<u64>>,
    /// Offsets that are owed and were tried.
    pub failing: Vec<(u64, Failures)>,
    /// Events that are owed.
    pub owed: u64,
    /// Bytes of their JSON.
    pub bytes: u64,
    /// Owed events before this offset are counted.
    pub counted: u64,
}

/// What a consumer is through with, or failed with, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Done offsets, each with the bytes of its JSON, or [`LOST`].
    pub done: Vec<(u64, u32)>,
    /// Offsets that were tried and stay owed.
    pub failed: Vec<(u64, Failures)>,
}

impl Progress {
    /// Returns whether there is any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.done.is_empty() && self.failed.is_empty()
    }

    /// Takes its beginning away, which is of at most `events` events that are done and as many that failed.
    #[must_use]
    pub fn take(&mut self, events: usize) -> Self {
        let done = self.done.split_off(self.done.len().min(events));
        let failed = self.failed.split_off(self.failed.len().min(events));
        Self { done: std::mem::replace(&mut self.done, done), failed: std::mem::replace(&mut self.failed, failed) }
    }

    /// Adds what came after it.
    pub fn extend(&mut self, later: Self) {
        self.done.extend(later.done);
        self.failed.extend(later.failed);
    }
}

/// Returns the bytes of an event that count.
#[must_use]
pub fn counted(bytes: u32) -> u64 {
    if bytes == LOST { 0 } else { bytes.into() }
}

/// The state of one consumer.
#[derive(Debug)]
pub struct Consumer {
    number: ConsumerNumber,
    done: RangeSet<u64>,
    pending: BTreeMap<Offset, Pending>,
    /// The pending events of each call.
    calls: HashMap<Token, BTreeSet<Offset>>,
    /// Failures of events that were not read yet since the start.
    unread: BTreeMap<Offset, Failures>,
    /// Whether it has met events that the log cannot read any more since it was last asked for that.
    met_lost: bool,
}

impl Consumer {
    /// Makes one that is owed what comes from `begin` on.
    #[must_use]
    pub fn new(number: ConsumerNumber, begin: Offset) -> Self {
        let mut done = RangeSet::new();
        done.insert(0..begin.0.max(1));
        let (pending, calls, unread) = (BTreeMap::new(), HashMap::new(), BTreeMap::new());
        Self { number, done, pending, calls, unread, met_lost: false }
    }

    /// Makes it as it was written down.
    #[must_use]
    pub fn restore(number: ConsumerNumber, standing: &Standing) -> Self {
        let mut consumer = Self::new(number, Offset(1));
        standing.done.iter().filter(|range| !range.is_empty()).for_each(|range| consumer.done.insert(range.clone()));
        consumer.unread = standing.failing.iter().map(|(offset, failures)| (Offset(*offset), *failures)).collect();
        consumer
    }

    /// Returns what is to be written down; how much is owed, others know.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let pending = self.pending.iter().filter_map(|(offset, pending)| Some((offset.0, pending.failures?)));
        let mut failing: Vec<_> = pending.collect();
        failing.extend(self.unread.iter().map(|(offset, failures)| (offset.0, *failures)));
        Standing { done: self.done.iter().cloned().collect(), failing, ..Standing::default() }
    }

    /// Returns the offset before which everything is done.
    #[must_use]
    pub fn floor(&self) -> Offset {
        Offset(self.done.first().map_or(1, |range| range.end))
    }

    /// Returns whether an offset is done.
    #[must_use]
    pub fn is_done(&self, offset: Offset) -> bool {
        self.done.contains(&offset.0)
    }

    /// Returns how many events are pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns the failures of an owed event, if any are known.
    #[must_use]
    pub fn known_failures(&self, offset: Offset) -> Option<Failures> {
        self.failures_of(offset).flatten().or_else(|| self.unread.get(&offset).copied())
    }

    /// Returns the failures of a pending event, or nothing where it is not pending.
    #[must_use]
    #[expect(clippy::option_option, reason = "one that never failed is pending, too")]
    pub fn failures_of(&self, offset: Offset) -> Option<Option<Failures>> {
        self.pending.get(&offset).map(|pending| pending.failures)
    }

    /// Returns whether it has met events that the log cannot read any more since it was last asked: then it has to be counted
    /// anew what is owed.
    pub fn take_met_lost(&mut self) -> bool {
        std::mem::take(&mut self.met_lost)
    }

    /// Counts the events that are owed before `upto`, and the bytes of their JSON: reads all of them.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn count(&self, upto: Offset, log: &dyn Reader) -> Result<(u64, u64), ReadFault> {
        let (mut from, mut owed) = (self.floor(), (0, 0));
        while from < upto {
            let read = log.read(from, BYTES)?;
            let Some(last) = read.last() else { break };
            from = last.offset.next();
            for read in read.iter().filter(|read| read.offset < upto && !self.is_done(read.offset)) {
                if read.entry.consumers.contains(&self.number) {
                    owed = (owed.0 + 1, owed.1 + read.entry.body.len() as u64);
                }
            }
        }
        Ok(owed)
    }

    /// Replays what was written down of its progress. Returns the events and bytes that are owed no more.
    pub fn replay(&mut self, progress: &Progress) -> (u64, u64) {
        let mut less = (0, 0);
        for (offset, bytes) in &progress.done {
            if !self.is_done(Offset(*offset)) {
                if *bytes == LOST {
                    self.met_lost = true;
                } else {
                    less = (less.0 + 1, less.1 + u64::from(*bytes));
                }
                self.finish(Offset(*offset));
            }
        }
        for (offset, failures) in &progress.failed {
            if !self.is_done(Offset(*offset)) {
                self.unread.insert(Offset(*offset), *failures);
            }
        }
        less
    }

    /// An owed event is done. Returns the bytes of its JSON, or [`LOST`]; nothing where it is not pending.
    pub fn acknowledge(&mut self, offset: Offset) -> Option<u32> {
        let bytes = self.pending.get(&offset)?.bytes;
        self.finish(offset);
        Some(bytes)
    }

    /// A delivery failed at `now`, and the event stays owed. Returns all its failures; nothing where it is not pending.
    pub fn fail(&mut self, offset: Offset, now: i64) -> Option<Failures> {
        let pending = self.pending.get_mut(&offset)?;
        let before = pending.failures.unwrap_or(Failures { attempts: 0, since: now });
        let failures = Failures { attempts: before.attempts.saturating_add(1), ..before };
        pending.failures = Some(failures);
        Some(failures)
    }

    fn finish(&mut self, offset: Offset) {
        self.done.insert(offset.0..offset.0 + 1);
        self.unread.remove(&offset);
        if let Some(Pending { call, .. }) = self.pending.remove(&offset) {
            self.forget(offset, &call);
        }
    }

    /// An event of a call is pending no more.
    fn forget(&mut self, offset: Offset, call: &Token) {
        if let Some(others) = self.calls.get_mut(call) {
            others.remove(&offset);
            if others.is_empty() {
                self.calls.remove(call);
            }
        }
    }

    /// Takes an event that was read into its state: it is pending if it is owed, and else done.
    fn note(&mut self, read: &Read) {
        let Read { offset, entry, .. } = read;
        if !entry.consumers.contains(&self.number) {
            return self.finish(*offset);
        }
        if self.is_done(*offset) || self.pending.contains_key(offset) {
            return;
        }
        let failures = self.unread.remove(offset);
        self.met_lost |= !read.intact;
        let bytes = if read.intact { u32::try_from(entry.body.len()).unwrap_or(LOST) } else { LOST };
        let pending = Pending { call: entry.partition.clone(), bytes, received: entry.received, failures };
        self.calls.entry(pending.call.clone()).or_default().insert(*offset);
        self.pending.insert(*offset, pending);
    }

    /// Returns the next span from `from` on, and before `until`, of which nothing is done or pending, or the pending event that
    /// comes before it.
    fn next(&self, from: u64, until: u64) -> Option<Next<'_>> {
        let gap = if from < until { self.done.gaps(&(from..until)).next()? } else { return None };
        match self.pending.range(Offset(gap.start)..Offset(gap.end)).next() {
            Some((offset, pending)) if offset.0 == gap.start => Some(Next::Pending(*offset, &pending.call)),
            Some((offset, _)) => Some(Next::Unread(gap.start..offset.0)),
            None => Some(Next::Unread(gap)),
        }
    }

    /// Returns what is owed and asked for, in order.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn pick(&mut self, pick: &Pick, log: &dyn Reader) -> Result<Vec<Picked>, ReadFault> {
        let offset = |position: i64| u64::try_from(position).unwrap_or_default();
        let (mut from, until) = (offset(pick.after).saturating_add(1), offset(pick.until).saturating_add(1));
        let below = pick.first_below.map(|below| Offset(offset(below)));
        let without: BTreeSet<&str> = pick.without.iter().map(|call| &**call).collect();
        let mut picked: Vec<Picked> = Vec::new();
        let mut ahead = Ahead::for_events(pick.limit);
        while picked.len() < pick.limit
            && let Some(next) = self.next(from, until)
        {
            let span = match next {
                Next::Pending(at, call) if without.contains(call.as_str()) || self.has_pending(call, at, below) => {
                    from = at.0 + 1;
                    continue;
                }
                Next::Pending(at, _) => at.0..at.0 + 1,
                Next::Unread(_) if self.pending.len() >= PENDING => break,
                Next::Unread(span) => span,
            };
            let Some(read) = self.look_at(&mut ahead, span, log)? else { break };
            let Some(read) = read else { continue };
            from = read.offset.0 + 1;
            let Some(Pending { call, failures, .. }) = self.pending.get(&read.offset) else { continue };
            if !without.contains(call.as_str()) && !self.waits_for_earlier(&read, below, log)? {
                picked.push(Picked { failures: *failures, read });
            }
        }
        Ok(picked)
    }

    /// Reads the first event of a span and takes it into the state. Returns it, or nothing inside where the span begins with
    /// events that are there no more, or nothing at all where the log ends.
    #[expect(clippy::option_option, reason = "an end is not a hole")]
    fn look_at(
        &mut self,
        ahead: &mut Ahead,
        span: Range<u64>,
        log: &dyn Reader,
    ) -> Result<Option<Option<Arc<Read>>>, ReadFault> {
        let Some(first) = ahead.first(log, span.start)? else { return Ok(None) };
        if first > span.start {
            // Nobody was owed any of them.
            self.done.insert(span.start..first.min(span.end));
            return Ok(Some(None));
        }
        let read = ahead.0.pop_front();
        if let Some(read) = &read {
            self.note(read);
        }
        Ok(Some(read))
    }

    /// Returns pending events of `calls`, in order.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn of_calls(&self, calls: &[Arc<str>], limit: usize, log: &dyn Reader) -> Result<Vec<Picked>, ReadFault> {
        let offsets = calls.iter().filter_map(|call| self.calls.get(&Token::from(&**call))).flatten();
        let offsets: BTreeSet<Offset> = offsets.copied().collect();
        let mut ahead = Ahead::for_events(1);
        let mut picked = Vec::new();
        for offset in offsets.into_iter().take(limit) {
            ahead.first(log, offset.0)?;
            let read = ahead.0.pop_front().filter(|read| read.offset == offset);
            let failures = self.pending.get(&offset).and_then(|pending| pending.failures);
            picked.extend(read.map(|read| Picked { read, failures }));
        }
        Ok(picked)
    }

    /// Returns the oldest events that are owed, up to `limit`, each with the bytes of its JSON and when it was received.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn oldest(&mut self, limit: usize, log: &dyn Reader) -> Result<Vec<(Offset, u32, i64)>, ReadFault> {
        let mut ahead = Ahead::for_events(limit);
        let (mut from, mut oldest) = (0, Vec::new());
        while oldest.len() < limit
            && let Some(next) = self.next(from, u64::MAX)
        {
            match next {
                Next::Pending(offset, _) => {
                    let Pending { bytes, received, .. } = &self.pending[&offset];
                    oldest.push((offset, *bytes, *received));
                    from = offset.0 + 1;
                }
                Next::Unread(_) if self.pending.len() >= PENDING + limit => break,
                Next::Unread(span) => {
                    if self.look_at(&mut ahead, span, log)?.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(oldest)
    }

    /// Nothing before `offset` is owed.
    pub fn skip(&mut self, offset: Offset) {
        self.done.insert(0..offset.0.max(1));
        let later = self.pending.split_off(&offset);
        for (offset, Pending { call, .. }) in std::mem::replace(&mut self.pending, later) {
            self.forget(offset, &call);
        }
        self.unread = self.unread.split_off(&offset);
    }

    /// Returns whether an event of `call` before `at`, and before `below`, is pending.
    fn has_pending(&self, call: &Token, at: Offset, below: Option<Offset>) -> bool {
        let first = self.calls.get(call).and_then(BTreeSet::first);
        first.is_some_and(|first| *first < at && below.is_some_and(|below| *first < below))
    }

    /// Returns whether an event of the same call that lies before `below` is owed.
    ///
    /// Each entry names the one before it of its call, whoever that is for. So they are gone through backwards, to one that
    /// is owed and lies before `below`, or to one that this consumer has, before which it has all.
    fn waits_for_earlier(&self, read: &Read, below: Option<Offset>, log: &dyn Reader) -> Result<bool, ReadFault> {
        let Some(below) = below else { return Ok(false) };
        if self.has_pending(&read.entry.partition, read.offset, Some(below)) {
            return Ok(true);
        }
        let mut previous = read.entry.previous;
        for _ in 0..STEPS {
            let Some(offset) = previous.filter(|offset| *offset >= self.floor()) else { return Ok(false) };
            let Some(found) = log.read(offset, 1)?.into_iter().next().filter(|found| found.offset == offset) else {
                return Ok(false);
            };
            if found.entry.consumers.contains(&self.number) {
                match self.is_done(offset) {
                    true => return Ok(false),
                    false if offset < below => return Ok(true),
                    false => {}
                }
            }
            previous = found.entry.previous;
        }
        Ok(true)
    }
}

/// What comes next.
enum Next<'a> {
    /// A pending event, and its call.
    Pending(Offset, &'a Token),
    /// A span of which nothing is known.
    Unread(Range<u64>),
}

/// Events that were read and not looked at yet, and how many bytes are read at once.
struct Ahead(VecDeque<Arc<Read>>, usize);

impl Ahead {
    fn for_events(events: usize) -> Self {
        Self(VecDeque::new(), events.saturating_mul(USUAL).min(BYTES))
    }

    /// Has the first event from `from` on in front, and returns its offset; none where the log ends.
    fn first(&mut self, log: &dyn Reader, from: u64) -> Result<Option<u64>, ReadFault> {
        while self.0.front().is_some_and(|read| read.offset.0 < from) {
            self.0.pop_front();
        }
        if self.0.front().is_none_or(|read| read.offset.0 > from) {
            self.0 = log.read(Offset(from), self.1)?.into();
        }
        Ok(self.0.front().map(|read| read.offset.0))
    }
}

#[cfg(test)]
mod tests;
