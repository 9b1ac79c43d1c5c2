//! The state that the appender and the readers share: the segments, how far they are written, and the newest events.
//!
//! Everything in it is on the disk. Must not know how that got there.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::{Group, Read};
use super::error::ReadError;
use super::record::{self, Kind, Seed};
use super::records::{Next, Records};
use super::segment::{self, Header, Index};
use super::{Offset, StoreId};
use crate::disk::File;

/// A file of the log.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
    pub(super) seed: Seed,
    pub(super) header: Header,
}

/// A segment, and what is known of its records.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) segment: Segment,
    pub(super) index: Index,
    /// Where its records end.
    pub(super) end: u64,
}

/// A record that is on the disk: its header, where it begins, and where it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) header: record::Header,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// The log as it is on the disk.
#[derive(Debug)]
pub(super) struct Shared {
    /// Bytes of JSON that are held in memory at most, beyond the newest group.
    tail_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Oldest first; none where nothing was ever appended.
    segments: VecDeque<Known>,
    next: Offset,
    /// The newest events, oldest first, up to the one before `next`.
    tail: VecDeque<Arc<Read>>,
    /// Bytes of their JSON.
    held: usize,
}

impl Shared {
    pub(super) fn new(tail_bytes: usize, segments: VecDeque<Known>, next: Offset) -> Self {
        let state = State { segments, next, tail: VecDeque::new(), held: 0 };
        Self { tail_bytes, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the offset of the event that comes next.
    pub(super) fn next(&self) -> Offset {
        self.state().next
    }

    /// Returns the offset of the oldest event that is left, or of the one that comes next.
    pub(super) fn first(&self) -> Offset {
        let state = self.state();
        state.segments.front().map_or(state.next, |oldest| oldest.segment.header.first)
    }

    /// Returns the header of the segment that comes next.
    pub(super) fn next_segment(&self, store: StoreId) -> Header {
        let state = self.state();
        let number = |known: Option<&Known>| known.map(|known| known.segment.header.number);
        let next = number(state.segments.back()).map_or(1, |newest| newest + 1);
        Header { store, number: next, first: state.next, oldest: number(state.segments.front()).unwrap_or(next) }
    }

    /// Returns the number of segments.
    pub(super) fn segments(&self) -> usize {
        self.state().segments.len()
    }

    /// A segment was begun.
    pub(super) fn began(&self, segment: Segment, index: Index) {
        self.state().segments.push_back(Known { segment, index, end: segment::HEADER as u64 });
    }

    /// A record of the newest segment is on the disk; `group` is what it holds.
    pub(super) fn wrote(&self, Written { header, from, to }: Written, group: Group) {
        let state = &mut *self.state();
        if let Some(newest) = state.segments.back_mut() {
            newest.index.add(header, from);
            newest.index.add_events(&group);
            newest.end = to;
        }
        let entries = (header.first.0..).map(Offset).zip(group.entries);
        for (offset, entry) in entries {
            state.held += entry.body.len();
            state.tail.push_back(Arc::new(Read { offset, committed: header.committed, entry }));
            state.next = offset.next();
        }
        while state.held > self.tail_bytes
            && let Some(oldest) = state.tail.pop_front()
        {
            state.held -= oldest.entry.body.len();
        }
    }

    /// Returns the bytes that sealing the newest segment takes at most, after one more record that names `consumers`.
    pub(super) fn seal_room(&self, consumers: usize) -> u64 {
        self.state().segments.back().map_or(0, |newest| newest.index.room(consumers))
    }

    /// Returns what `seal` makes of the index of the newest segment.
    pub(super) fn seal<T>(&self, seal: impl FnOnce(&Index) -> T) -> T {
        let state = self.state();
        seal(state.segments.back().map_or(&Index::default(), |newest| &newest.index))
    }

    /// Returns the number of the oldest segment to keep, if those before it hold only events before `kept` and there is one.
    /// The newest segment is always kept.
    pub(super) fn oldest_to_keep(&self, kept: Offset) -> Option<u64> {
        let state = self.state();
        let before = state.segments.iter().take_while(|known| known.index.end <= kept).count();
        let before = before.min(state.segments.len().saturating_sub(1));
        (before > 0).then(|| state.segments[before].segment.header.number)
    }

    /// Forgets the segments before the one with the number `oldest`, and returns their names.
    pub(super) fn retain(&self, oldest: u64) -> Vec<String> {
        let state = &mut *self.state();
        let before = state.segments.partition_point(|known| known.segment.header.number < oldest);
        if let Some(newest) = state.segments.back_mut() {
            newest.index.oldest = oldest;
        }
        state.segments.drain(..before).map(|known| known.segment.name).collect()
    }

    /// Returns where the records are that hold the events from `from` on: segments, each with a position and its end.
    pub(super) fn sources(&self, from: Offset) -> Vec<(Segment, u64, u64)> {
        let state = self.state();
        let from_there = state.segments.iter().skip_while(|known| known.index.end < from);
        let place = |known: &Known| known.index.place(from).map_or(segment::HEADER as u64, |place| place.position);
        from_there.map(|known| (known.segment.clone(), place(known), known.end)).collect()
    }

    /// Returns events from `from` on, or from the first that is left, with about `bytes` bytes of JSON: at least one, unless
    /// there is none.
    pub(super) fn read(&self, from: Offset, bytes: usize) -> Result<Vec<Arc<Read>>, ReadError> {
        let (mut from, mut found) = (from, Vec::new());
        while found.is_empty() {
            let (segment, position, limit) = {
                let state = self.state();
                let first = state.segments.front().map_or(state.next, |oldest| oldest.segment.header.first);
                from = from.max(first);
                if from >= state.next {
                    break;
                }
                if state.tail.front().is_some_and(|oldest| oldest.offset <= from) {
                    let skipped = state.tail.partition_point(|read| read.offset < from);
                    let mut sum = 0;
                    let fits = |read: &&Arc<Read>| {
                        let first = sum == 0;
                        sum += read.entry.body.len().max(1);
                        first || sum <= bytes
                    };
                    return Ok(state.tail.range(skipped..).take_while(fits).cloned().collect());
                }
                let at = state.segments.partition_point(|known| known.segment.header.first <= from).saturating_sub(1);
                let Some(Known { segment, index, end }) = state.segments.get(at) else { break };
                let position = index.place(from).map_or(segment::HEADER as u64, |place| place.position);
                (segment.clone(), position, *end)
            };
            let next = read_segment(&segment, (position, limit), from, bytes, &mut found)?;
            if next == from {
                // There should have been some, as the index says.
                return Err(ReadError::Damaged { name: segment.name, position: limit });
            }
            from = next;
        }
        Ok(found)
    }
}

/// Puts the events of a segment from `from` on into `found`, with about `bytes` bytes of JSON. Returns where to go on.
fn read_segment(
    segment: &Segment,
    (position, limit): (u64, u64),
    from: Offset,
    bytes: usize,
    found: &mut Vec<Arc<Read>>,
) -> Result<Offset, ReadError> {
    let (mut next, mut sum) = (from, 0);
    let goes_on = groups(segment, (position, limit), |header, group| {
        let entries = (header.first.0..).map(Offset).zip(group.entries);
        for (offset, entry) in entries.skip_while(|(offset, _)| *offset < from) {
            if sum > 0 && sum + entry.body.len() > bytes {
                return ControlFlow::Break(());
            }
            sum += entry.body.len().max(1);
            next = offset.next();
            found.push(Arc::new(Read { offset, committed: header.committed, entry }));
        }
        ControlFlow::Continue(())
    });
    goes_on.map(|_| next)
}

/// Shows all groups of a segment between two positions, in order, until `visit` has seen enough.
pub(super) fn groups(
    segment: &Segment,
    (position, limit): (u64, u64),
    mut visit: impl FnMut(record::Header, Group) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ReadError> {
    let damaged = |position| ReadError::Damaged { name: segment.name.clone(), position };
    let mut records = Records::new(&*segment.file, segment.seed, position, limit);
    loop {
        let at = records.position();
        match records.next().map_err(|fault| ReadError::Io { name: segment.name.clone(), fault })? {
            Next::Record(header, _, body) if header.kind == Kind::Group => {
                let group = Group::decode(body).map_err(|_| damaged(at))?;
                if visit(header, group).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Next::Record(..) => {}
            Next::Invalid => return Err(damaged(at)),
            Next::End => return Ok(ControlFlow::Continue(())),
        }
    }
}
