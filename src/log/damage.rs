//! Damage: what is not there any more as it was written, and how much that is.
//!
//! Each record names its first event. So the records around a damaged one tell which events were in it, and all others are
//! read as if it were not there. Must not know who asks, or what becomes of those whom it was for.

use std::fmt;
use std::ops::ControlFlow;

use super::Offset;
use super::entry::{ConsumerNumber, Entry, Group};
use super::error::ReadError;
use super::record::{self, Kind};
use super::records::{Next, Records};
use super::shared::Segment;
use crate::domain::identity::Token;

/// Damaged events that are handed out at once.
pub(super) const AT_ONCE: usize = 1024;

/// Where records lie.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) segment: Segment,
    /// Where the first one begins.
    pub(super) position: u64,
    /// The event that it should have, or that comes after it.
    pub(super) next: Offset,
    /// Where the last one ends.
    pub(super) limit: u64,
    /// The event that comes after all of them, if that is known.
    pub(super) end: Option<Offset>,
    /// When the last one was committed, if that is known.
    pub(super) committed: Option<i64>,
}

/// What is found in a span.
#[derive(Debug)]
pub(super) enum Found {
    Group(record::Header, Group),
    Lost(Lost),
}

/// Events that are not there any more as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The segment.
    pub name: String,
    /// Where the damaged bytes begin, and where they end.
    pub bytes: (u64, u64),
    /// The first of the events.
    pub first: Offset,
    /// How many there are. There may be none: then only what a group changed besides is lost.
    pub events: u64,
    /// When they were committed, or somewhat later (microseconds since 1970, UTC).
    pub committed: i64,
    /// Whether a repair has moved the damaged bytes away.
    pub moved: bool,
}

impl Lost {
    /// Returns the event that comes after those.
    #[must_use]
    pub fn end(&self) -> Offset {
        Offset(self.first.0 + self.events)
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = self.bytes;
        write!(f, "{}: ", self.name)?;
        match self.events {
            0 => write!(f, "a record without an event before event {}", self.first)?,
            1 => write!(f, "event {}", self.first)?,
            events => write!(f, "{events} events, {} to {},", self.first, self.end().0 - 1)?,
        }
        write!(f, " cannot be read: bytes {from} to {to} are damaged")
    }
}

/// Returns what stands for an event that cannot be read.
pub(super) fn entry(offset: Offset, committed: i64, consumers: Vec<ConsumerNumber>) -> Entry {
    // Nobody has another event of its call.
    let name = Token::from(format!("damaged-{offset}"));
    Entry { id: name.clone(), partition: name, previous: None, received: committed, consumers, body: "".into() }
}

/// Shows everything in a span, in order, until `visit` has seen enough.
pub(super) fn look(span: &Span, mut visit: impl FnMut(Found) -> ControlFlow<()>) -> Result<ControlFlow<()>, ReadError> {
    let Span { segment, limit, .. } = span;
    let io = |fault| ReadError::Io { name: segment.name.clone(), fault };
    let mut records = Records::new(&*segment.file, segment.seed, span.position, *limit);
    let (mut next, mut last) = (span.next, None);
    // Where bytes that cannot be read begin.
    let mut damaged = None;
    loop {
        let at = records.position();
        let lost = |from: u64, next: Offset, upto: Offset, committed: i64| {
            let events = upto.0.saturating_sub(next.0);
            let (name, bytes) = (segment.name.clone(), (from, at));
            Found::Lost(Lost { name, bytes, first: next, events, committed, moved: false })
        };
        let (header, found) = match records.next().map_err(io)? {
            Next::Record(header, _, body) => match header.kind {
                // Its checksum is right, and still nobody can read it.
                Kind::Group => (header, Group::decode(body).ok().map(|group| Found::Group(header, group))),
                Kind::Lost | Kind::Retention | Kind::Index => (header, None),
            },
            Next::Invalid => {
                damaged.get_or_insert(at);
                records.resume().map_err(io)?;
                continue;
            }
            Next::End => {
                let upto = span.end.unwrap_or(next);
                return Ok(match damaged.or((upto > next).then_some(at)) {
                    Some(from) => visit(lost(from, next, upto, last.or(span.committed).unwrap_or_default())),
                    None => ControlFlow::Continue(()),
                });
            }
        };
        if let Some(from) = damaged.take().or((header.first > next).then_some(at))
            && visit(lost(from, next, header.first, header.committed)).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        (next, last) = (Offset(header.first.0 + u64::from(header.events)), Some(header.committed));
        let found = match (found, header.kind) {
            (Some(found), _) => found,
            (None, Kind::Retention | Kind::Index) => continue,
            (None, kind) => {
                let (bytes, moved) = ((at, records.position()), kind == Kind::Lost);
                let (first, events, committed) = (header.first, header.events.into(), header.committed);
                Found::Lost(Lost { name: segment.name.clone(), bytes, first, events, committed, moved })
            }
        };
        if visit(found).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}
