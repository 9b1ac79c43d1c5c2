//! Appending: one record after the other, each on the disk before it is answered for.
//!
//! This is the whole of the writing side, without a thread and without a clock, so that tests can drive it on a simulated
//! disk. Must not know who asks.

use std::io;
use std::sync::Arc;

use super::entry::Group;
use super::error::LogError;
use super::record::{self, Kind, Seed};
use super::segment::{self, Index};
use super::shared::{Segment, Shared, Written};
use super::{Offset, Options, SPARE};
use crate::disk::{File, Folder};

/// Bytes of a segment that only retention may take while the next one is not reserved.
const FOR_RETENTION: u64 = 4 * record::size(8) as u64;

/// The one who may append.
#[derive(Debug)]
pub struct Appender {
    folder: Arc<dyn Folder>,
    options: Options,
    shared: Arc<Shared>,
    /// The segment that is written; none after it was sealed, until the next one is begun.
    active: Option<Active>,
    /// The file that is reserved for the next segment, and its bytes.
    spare: Option<(Arc<dyn File>, u64)>,
    /// Segments that were given up and could not be removed yet.
    leftovers: Vec<String>,
    /// Why nothing is appended any more.
    dead: Option<LogError>,
    /// Where records are put together.
    record: Vec<u8>,
}

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) file: Arc<dyn File>,
    pub(super) seed: Seed,
    /// Where the next record goes.
    pub(super) position: u64,
    /// The bytes that are reserved for it on the disk.
    pub(super) capacity: u64,
}

impl Appender {
    pub(super) fn new(folder: Arc<dyn Folder>, options: Options, shared: Arc<Shared>, active: Option<Active>) -> Self {
        Self { folder, options, shared, active, spare: None, leftovers: Vec::new(), dead: None, record: Vec::new() }
    }

    /// Appends a group and returns the offset of its first event, or of the event that comes next if it has none. By then it
    /// is on the disk.
    ///
    /// `committed` is in microseconds since 1970, UTC.
    ///
    /// # Errors
    /// After [`LogError::Full`] and [`LogError::Refused`] the log is as it was. After [`LogError::Dead`] nothing can be
    /// appended any more.
    pub fn append(&mut self, group: Group, committed: i64) -> Result<Offset, LogError> {
        let mut record = std::mem::take(&mut self.record);
        let written = self.append_group(&mut record, &group, committed);
        self.record = record;
        let written = self.note(written)?;
        self.shared.wrote(written, group);
        Ok(written.header.first)
    }

    /// Gives up the events before `kept`, as far as whole segments hold no others: these are removed.
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub fn retain(&mut self, kept: Offset, committed: i64) -> Result<(), LogError> {
        let Some(oldest) = self.shared.oldest_to_keep(kept) else { return Ok(()) };
        let mut record = std::mem::take(&mut self.record);
        let written = self.append_retention(&mut record, oldest, committed);
        self.record = record;
        let written = self.note(written)?;
        self.shared.wrote(written, Group::default());
        // Only now, when the next start knows of it, may they be missing. One that is left is removed later, or then.
        self.leftovers.extend(self.shared.retain(oldest));
        self.leftovers.retain(|segment| self.folder.remove(segment).is_err());
        Ok(())
    }

    /// Remembers what is final.
    fn note<T>(&mut self, outcome: Result<T, LogError>) -> Result<T, LogError> {
        if let Err(fault @ LogError::Dead(_)) = &outcome {
            self.dead = Some(fault.clone());
        }
        outcome
    }

    fn append_group(&mut self, record: &mut Vec<u8>, group: &Group, committed: i64) -> Result<Written, LogError> {
        let count = group.entries.len();
        group.encode(record).map_err(|_| LogError::Refused(count))?;
        let events = u32::try_from(count).map_err(|_| LogError::Refused(count))?;
        let consumers = group.entries.iter().map(|entry| entry.consumers.len()).sum();
        self.write(record, (Kind::Group, events, committed), consumers)
    }

    fn append_retention(&mut self, record: &mut Vec<u8>, oldest: u64, committed: i64) -> Result<Written, LogError> {
        record.clear();
        record.resize(record::HEADER, 0);
        record.extend_from_slice(&oldest.to_le_bytes());
        self.write(record, (Kind::Retention, 0, committed), 0)
    }

    /// Completes the record, writes it and has it on the disk.
    fn write(
        &mut self,
        record: &mut Vec<u8>,
        (kind, events, committed): (Kind, u32, i64),
        consumers: usize,
    ) -> Result<Written, LogError> {
        if let Some(fault) = &self.dead {
            return Err(fault.clone());
        }
        let size = record::size(record.len() - record::HEADER) as u64;
        self.make_room(size, consumers, kind, events)?;
        let Some(active) = &mut self.active else { return Err(LogError::Full) };
        let header = record::Header { kind, first: self.shared.next(), events, committed };
        record::complete(record, active.seed, header);
        active.file.write_at(record, active.position).map_err(|fault| LogError::of(&fault))?;
        active.file.sync().map_err(|fault| LogError::dead(&fault))?;
        let from = active.position;
        active.position += size;
        Ok(Written { header, from, to: active.position })
    }

    /// Has an active segment with room for a record of `size` bytes.
    ///
    /// On a full disk there must be room left for what frees some. So events may take the first half of a segment as they
    /// like, and all of it only while the next segment is reserved; changes without events leave room for retention; and a
    /// segment is sealed only once the next one is reserved.
    fn make_room(&mut self, size: u64, consumers: usize, kind: Kind, events: u32) -> Result<(), LogError> {
        let least = segment::HEADER as u64 + size + self.shared.seal_room(consumers);
        let Some(active) = &self.active else { return self.begin_segment(least) };
        let limit = active.capacity.saturating_sub(self.shared.seal_room(consumers));
        let end = active.position + size;
        let is_careless = match kind {
            Kind::Group if events > 0 => end > active.capacity / 2,
            Kind::Group => end + FOR_RETENTION > limit,
            Kind::Retention | Kind::Index => false,
        };
        if end > limit {
            self.reserve(least.max(self.options.segment_bytes))?;
            self.seal_segment()?;
            return self.begin_segment(least);
        }
        if is_careless { self.reserve(self.options.segment_bytes) } else { Ok(()) }
    }

    /// Seals the active segment. From then on it is never written again.
    fn seal_segment(&mut self) -> Result<(), LogError> {
        let Some(Active { file, seed, position, .. }) = &self.active else { return Ok(()) };
        let end = self.shared.seal(|index| segment::seal(index, *seed, *position));
        let end = end.map_err(|fault| LogError::dead(&fault))?;
        file.write_at(&end, *position).map_err(|fault| LogError::of(&fault))?;
        file.truncate(position + end.len() as u64)
            .and_then(|()| file.sync())
            .map_err(|fault| LogError::dead(&fault))?;
        self.active = None;
        Ok(())
    }

    /// Has at least `bytes` of the disk reserved for the next segment.
    fn reserve(&mut self, bytes: u64) -> Result<(), LogError> {
        if self.spare.as_ref().is_some_and(|(_, reserved)| *reserved >= bytes) {
            return Ok(());
        }
        let usual = self.spare.take().map(|(_, reserved)| reserved);
        if usual.is_some() {
            self.folder.remove(SPARE).map_err(|fault| LogError::dead(&fault))?;
        }
        let created = self.folder.create(SPARE, bytes);
        if let (Err(_), Some(usual)) = (&created, usual) {
            self.spare = self.folder.create(SPARE, usual).ok().map(|file| (file, usual));
        }
        self.spare = Some((created.map_err(|fault| LogError::of(&fault))?, bytes));
        Ok(())
    }

    /// Makes the reserved file the active segment. It has no name of a segment before its header is on the disk.
    fn begin_segment(&mut self, least: u64) -> Result<(), LogError> {
        let header = self.shared.next_segment(self.options.store);
        self.reserve(least.max(self.options.segment_bytes))?;
        let Some((file, capacity)) = self.spare.clone() else { return Err(LogError::Full) };
        let (bytes, seed) = header.write();
        let name = segment::name(header.number);
        file.write_at(&bytes, 0).map_err(|fault| LogError::of(&fault))?;
        let named = || -> io::Result<()> {
            file.sync()?;
            self.folder.rename(SPARE, &name)?;
            self.folder.sync()
        };
        named().map_err(|fault| LogError::dead(&fault))?;
        self.spare = None;
        self.shared.began(Segment { name, file: Arc::clone(&file), seed, header }, Index::new(header));
        self.active = Some(Active { file, seed, position: segment::HEADER as u64, capacity });
        Ok(())
    }
}
