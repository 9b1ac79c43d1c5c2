//! Repair: what is damaged is moved away, and a log is left that opens.
//!
//! In place of damaged records come zeros that say which events were there, so that no offset changes. An index that is
//! damaged is made anew of the records. What stands behind the last valid record of the newest segment is left alone: opening
//! cuts it off. A header that is damaged cannot be made anew. Must not know where damaged bytes go.

use std::io;
use std::ops::ControlFlow;

use super::damage::{self, Found, Lost, Span};
use super::error::OpenError;
use super::record::{self, BODY_BYTES, HEADER, Kind};
use super::recovery::{self, Newest};
use super::segment;
use super::shared::Segment;
use super::{Offset, Options};
use crate::disk::Folder;

/// Repairs the log in `folder` and says what it did, one line each. `aside` keeps damaged bytes of a segment on the disk, and
/// says where.
///
/// # Errors
/// If the system refuses, or the folder is not that of this log. What was repaired until then is complete.
pub fn repair(
    folder: &dyn Folder,
    options: Options,
    aside: &mut dyn FnMut(&str, &[u8]) -> io::Result<String>,
) -> Result<Vec<String>, OpenError> {
    let (segments, _) = recovery::headers(folder, &options)?;
    let following: Vec<Option<Offset>> =
        segments.iter().skip(1).map(|next| Some(next.header.first)).chain([None]).collect();
    let mut done = Vec::new();
    for (segment, following) in segments.into_iter().zip(following) {
        let name = segment.name.clone();
        repair_segment(segment, following, aside, &mut done).map_err(|fault| match fault {
            Fault::Io(fault) => OpenError::Io { name, fault },
            Fault::Log(fault) => fault,
        })?;
    }
    Ok(done)
}

/// Why a segment could not be repaired.
enum Fault {
    Io(io::Error),
    Log(OpenError),
}

impl From<io::Error> for Fault {
    fn from(fault: io::Error) -> Self {
        Self::Io(fault)
    }
}

/// Repairs one segment, of which `following` comes next, unless it is the newest.
fn repair_segment(
    segment: Segment,
    following: Option<Offset>,
    aside: &mut dyn FnMut(&str, &[u8]) -> io::Result<String>,
    done: &mut Vec<String>,
) -> Result<(), Fault> {
    let sealed = recovery::sealed(&segment).map_err(Fault::Log)?;
    let (limit, end, committed) = match &sealed {
        Some((index, end)) => (*end, Some(index.end), index.newest()),
        None => (segment.file.length()?, following, None),
    };
    let (position, next) = (segment::HEADER as u64, segment.header.first);
    let span = Span { segment: segment.clone(), position, next, limit, end, committed };
    let mut damaged = Vec::new();
    let looked = damage::look(&span, |found| {
        if let Found::Lost(lost @ Lost { moved: false, .. }) = found {
            damaged.push(lost);
        }
        ControlFlow::Continue(())
    });
    looked.map(drop).map_err(|fault| Fault::Io(io::Error::other(fault.to_string())))?;
    // What follows the last record of a segment that is not sealed is no record.
    let rest = damaged.pop_if(|lost| sealed.is_none() && lost.bytes.1 == limit);
    for lost in &damaged {
        let place = move_away(&segment, lost.bytes, aside)?;
        fill(&segment, lost)?;
        done.push(format!("{lost}; these were moved to {place}"));
    }
    if let (None, Some(following)) = (sealed, following) {
        let name = segment.name.clone();
        if let Some(lost) = &rest {
            move_away(&segment, lost.bytes, aside)?;
        }
        seal_anew(segment, following, rest)?;
        done.push(format!("{name}: its index was made anew"));
    }
    Ok(())
}

/// Keeps bytes of a segment elsewhere.
fn move_away(
    segment: &Segment,
    (from, upto): (u64, u64),
    aside: &mut dyn FnMut(&str, &[u8]) -> io::Result<String>,
) -> io::Result<String> {
    let mut bytes = vec![0; usize::try_from(upto - from).map_err(io::Error::other)?];
    let read = segment.file.read_at(&mut bytes, from)?;
    aside(&segment.name, &bytes[..read])
}

/// Writes over damaged bytes that they are lost.
fn fill(segment: &Segment, lost: &Lost) -> io::Result<()> {
    let (mut position, upto) = lost.bytes;
    let (mut first, mut events) = (lost.first, lost.events);
    while position < upto {
        let left = usize::try_from(upto - position).map_err(io::Error::other)?;
        let size = if left <= HEADER + BODY_BYTES { left } else { BODY_BYTES };
        let Some(body) = size.checked_sub(HEADER) else {
            return Err(io::Error::other(format!("{lost}, which is less than a record")));
        };
        let mut bytes = vec![0; HEADER + body];
        let count = u32::try_from(events).map_err(io::Error::other)?;
        let header = record::Header { kind: Kind::Lost, first, events: count, committed: lost.committed };
        record::complete(&mut bytes, segment.seed, header);
        segment.file.write_at(&bytes, position)?;
        position += bytes.len() as u64;
        (first, events) = (lost.end(), 0);
    }
    segment.file.sync()
}

/// Gives a segment, all records of which can be read, an index of them.
fn seal_anew(segment: Segment, following: Offset, rest: Option<Lost>) -> Result<(), Fault> {
    let Newest { known, .. } = Newest::find(segment).map_err(Fault::Log)?;
    let (segment, mut index, mut end) = (known.segment, known.index, known.end);
    if index.end < following {
        let events = following.0 - index.end.0;
        let committed = rest.map_or(index.committed, |rest| rest.committed);
        let bytes = (end, end + HEADER as u64);
        let lost = Lost { name: segment.name.clone(), bytes, first: index.end, events, committed, moved: true };
        fill(&segment, &lost)?;
        let events = u32::try_from(events).map_err(io::Error::other)?;
        index.add(record::Header { kind: Kind::Lost, first: lost.first, events, committed }, end);
        end = bytes.1;
    }
    let sealed = segment::seal(&index, segment.seed, end).map_err(io::Error::other)?;
    segment.file.write_at(&sealed, end)?;
    segment.file.truncate(end + sealed.len() as u64)?;
    Ok(segment.file.sync()?)
}
