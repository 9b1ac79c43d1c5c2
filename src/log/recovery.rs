//! Recovery: what is in the folder becomes a log again, or it is said why it cannot.
//!
//! 1. Every file has to be a segment by its name, or the spare, which is thrown away.
//! 2. The header of every segment has to be whole, of this store and format, and to have the number of its name.
//! 3. The records of the newest segment are read, unless it is sealed. Where the first invalid one is, the log ends. As a
//!    record is synced before the next one is written, only the last one can be torn by a crash: if a valid record follows,
//!    the log was damaged, and is not opened. What is torn is cut off.
//! 4. Segments that were given up before the crash are removed. The others have to be numbered without a break, each sealed
//!    and beginning where the one before it ends.
//!
//! The records of sealed segments are checked when they are read. Until all that is done, nothing in the folder is changed.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::appender::{Active, Appender};
use super::entry::Group;
use super::error::OpenError;
use super::record::{self, Kind};
use super::records::{Next, Records};
use super::segment::{self, Header, HeaderFault, Index};
use super::shared::{Known, Segment, Shared};
use super::{Log, Offset, Options, SPARE};
use crate::disk::{File, Folder};

/// A record that a crash left in part, and that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub name: String,
    /// Where it was cut.
    pub position: u64,
}

/// Opens the log in `folder`, and makes it if there is none.
///
/// # Errors
/// If the folder holds anything that is not what this program left there. Nothing is changed then.
pub fn open(folder: Arc<dyn Folder>, options: Options) -> Result<(Appender, Log, Option<Torn>), OpenError> {
    let (mut segments, has_spare) = headers(&*folder, &options)?;
    let newest = segments.pop().map(Newest::find).transpose()?;
    let oldest = newest.as_ref().map_or(1, |newest| newest.known.index.oldest);
    let mut leftovers: Vec<_> =
        segments.iter().filter(|one| one.header.number < oldest).map(|one| one.name.clone()).collect();
    let mut known = VecDeque::with_capacity(segments.len() + 1);
    for segment in segments.into_iter().skip(leftovers.len()) {
        let Some((index, end)) = sealed(&segment)? else { return Err(OpenError::Unsealed(segment.name)) };
        known.push_back(Known { segment, index, end });
    }
    let (newest, rest) = newest.map_or((None, None), |Newest { known, rest }| (Some(known), rest));
    known.extend(newest);
    let next = follow(&known, oldest)?;
    if next < options.seen {
        return Err(OpenError::Short { next, seen: options.seen });
    }

    // It is our log, and whole: only now may anything be changed.
    leftovers.extend(has_spare.then(|| SPARE.to_owned()));
    for name in leftovers {
        folder.remove(&name).map_err(|fault| OpenError::Io { name, fault })?;
    }
    let mut active = None;
    let mut torn = None;
    if let (Some(rest), Some(Known { segment, end, .. })) = (rest, known.back()) {
        let io = |fault| OpenError::Io { name: segment.name.clone(), fault };
        if let Some(upto) = rest.torn {
            wipe(&*segment.file, *end, upto).map_err(io)?;
            torn = Some(Torn { name: segment.name.clone(), position: *end });
        }
        active = Some(Active {
            file: Arc::clone(&segment.file),
            seed: segment.seed,
            position: *end,
            capacity: segment.file.length().map_err(io)?,
        });
    }
    let shared = Arc::new(Shared::new(options.tail_bytes, known, next));
    Ok((Appender::new(folder, options, Arc::clone(&shared), active), Log(shared), torn))
}

const HEADER: u64 = segment::HEADER as u64;
/// Bytes that are looked at, or overwritten, at once.
const AT_ONCE: usize = 1024 * 1024;

/// Reads the headers of all segments and returns them by their numbers, and whether there is a spare.
fn headers(folder: &dyn Folder, options: &Options) -> Result<(Vec<Segment>, bool), OpenError> {
    let names = folder.names().map_err(|fault| OpenError::Io { name: ".".to_owned(), fault })?;
    let (mut segments, mut has_spare) = (Vec::with_capacity(names.len()), false);
    for name in names {
        if name == SPARE {
            has_spare = true;
            continue;
        }
        let Some(number) = segment::number_of(&name) else { return Err(OpenError::Unknown(name)) };
        let (file, bytes) = match first_bytes(folder, &name) {
            Ok(read) => read,
            Err(fault) => return Err(OpenError::Io { name, fault }),
        };
        let (header, seed) = match Header::read(&bytes) {
            Ok(read) => read,
            Err(HeaderFault::Invalid) => return Err(OpenError::Header(name)),
            Err(HeaderFault::Format(found)) => return Err(OpenError::Format { name, found }),
        };
        if header.store != options.store {
            return Err(OpenError::Foreign { name, found: header.store, expected: options.store });
        }
        if header.number != number {
            return Err(OpenError::Renamed { name, number: header.number });
        }
        segments.push(Segment { name, file, seed, header });
    }
    segments.sort_unstable_by_key(|segment| segment.header.number);
    Ok((segments, has_spare))
}

fn first_bytes(folder: &dyn Folder, name: &str) -> io::Result<(Arc<dyn File>, Vec<u8>)> {
    let file = folder.open(name)?;
    let mut bytes = vec![0; segment::HEADER];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok((file, bytes))
}

/// Returns the index of a sealed segment, and where its records end. Nothing if it is not sealed, or not wholly: a crash may
/// have left the trailer without the index before it.
fn sealed(segment: &Segment) -> Result<Option<(Index, u64)>, OpenError> {
    let read = || -> io::Result<Option<(Index, u64)>> {
        let Some(at) = segment.file.length()?.checked_sub(segment::TRAILER as u64) else { return Ok(None) };
        let mut trailer = [0; segment::TRAILER];
        segment.file.read_at(&mut trailer, at)?;
        let Some(position) = segment::index_position(&trailer, segment.seed) else { return Ok(None) };
        let mut records = Records::new(&*segment.file, segment.seed, position, at);
        let Next::Record(record::Header { kind: Kind::Index, .. }, _, body) = records.next()? else { return Ok(None) };
        Ok(postcard::from_bytes(body).ok().map(|index| (index, position)))
    };
    read().map_err(|fault| OpenError::Io { name: segment.name.clone(), fault })
}

/// The segment that was written last.
struct Newest {
    known: Known,
    /// The bytes behind its records; none where it is sealed.
    rest: Option<Rest>,
}

/// The bytes behind the last valid record of a segment.
struct Rest {
    /// Where the last byte is that is not zero, if there is one.
    torn: Option<u64>,
}

impl Newest {
    /// Finds out where its records end.
    fn find(segment: Segment) -> Result<Self, OpenError> {
        if let Some((index, end)) = sealed(&segment)? {
            return Ok(Self { known: Known { segment, index, end }, rest: None });
        }
        let io = |fault| OpenError::Io { name: segment.name.clone(), fault };
        let damaged = |position| OpenError::Damaged { name: segment.name.clone(), position };
        let (mut index, mut end) = (Index::new(segment.header), HEADER);
        let length = segment.file.length().map_err(io)?;
        let mut records = Records::new(&*segment.file, segment.seed, HEADER, length);
        while let Next::Record(header, position, body) = records.next().map_err(io)? {
            match header.kind {
                // It was about to be sealed, which is done anew.
                Kind::Index => break,
                Kind::Group => index.add_events(&Group::decode(body).map_err(|_| damaged(position))?),
                Kind::Retention => index.oldest = u64::from_le_bytes(body.try_into().map_err(|_| damaged(position))?),
            }
            if header.first != index.end {
                return Err(damaged(position));
            }
            index.add(header, position);
            end = records.position();
        }
        match Rest::find(&segment, end, length).map_err(io)? {
            Some(rest) => Ok(Self { known: Known { segment, index, end }, rest: Some(rest) }),
            None => Err(damaged(end)),
        }
    }
}

impl Rest {
    /// Looks through everything from `end` on. Returns nothing if there is a valid record: then what is at `end` was not torn
    /// by a crash.
    fn find(segment: &Segment, end: u64, length: u64) -> io::Result<Option<Self>> {
        let (mut torn, mut position) = (None, end);
        let mut buffer = vec![0; AT_ONCE];
        loop {
            let read = segment.file.read_at(&mut buffer, position)?;
            let bytes = &buffer[..read];
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                torn = Some(position + last as u64 + 1);
                for (at, record) in bytes.chunks(record::ALIGNMENT).enumerate() {
                    let at = position + (at * record::ALIGNMENT) as u64;
                    if at > end
                        && record::may_begin(record)
                        && let Next::Record(..) = Records::new(&*segment.file, segment.seed, at, length).next()?
                    {
                        return Ok(None);
                    }
                }
            }
            position += read as u64;
            if read < buffer.len() {
                return Ok(Some(Self { torn }));
            }
        }
    }
}

/// Checks that the segments follow each other, the first of them being number `oldest`, and returns the offset of the event
/// that comes next.
fn follow(known: &VecDeque<Known>, oldest: u64) -> Result<Offset, OpenError> {
    let (mut next, mut number) = (None, oldest);
    for Known { segment, index, .. } in known {
        if segment.header.number != number {
            return Err(OpenError::Missing(segment::name(number)));
        }
        if let Some(expected) = next.filter(|expected| *expected != segment.header.first) {
            return Err(OpenError::Apart { name: segment.name.clone(), first: segment.header.first, expected });
        }
        next = Some(index.end);
        number += 1;
    }
    Ok(next.unwrap_or(Offset(1)))
}

/// Overwrites what a crash left.
fn wipe(file: &dyn File, from: u64, upto: u64) -> io::Result<()> {
    let zeros = vec![0; AT_ONCE];
    let mut position = from;
    while position < upto {
        let bytes = usize::try_from(upto - position).map_or(AT_ONCE, |left| left.min(AT_ONCE));
        file.write_at(&zeros[..bytes], position)?;
        position += bytes as u64;
    }
    file.sync()
}
