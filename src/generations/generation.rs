//! One generation: its file, and what of it is held in memory. It never changes.
//!
//! Must not know which others there are.

use std::sync::Arc;

use super::error::{OpenError, ReadError};
use super::filter::{self, Filter};
use super::format::{self, BLOCK, HEADER, Header, HeaderFault, Kind, LARGEST, SUM, Seed, TableHeader};
use super::key::{KEY, Key};
use super::policy::{Size, TableSize};
use crate::disk::{File, Folder};
use crate::domain::identity::StoreId;

/// Bytes of a summary that are read at once.
const AT_ONCE: usize = 1024 * 1024;

/// A generation, and which of its tables still count. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) stored: Arc<Stored>,
    /// What is held in memory of each table that counts and is not empty, one for each of [`Kind::ALL`].
    pub(super) summaries: [Option<Arc<Summary>>; Kind::COUNT],
}

/// The file of a generation.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
    pub(super) seed: Seed,
    pub(super) header: Header,
}

/// What is held in memory of a table.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) filter: Filter,
    /// The first key of each block of records.
    pub(super) firsts: Vec<Key>,
}

impl Generation {
    pub(super) fn number(&self) -> u64 {
        self.stored.header.number
    }

    /// Returns what the header says of a table, if it counts and is not empty.
    pub(super) fn table(&self, kind: Kind) -> Option<&TableHeader> {
        self.summaries[kind as usize].as_ref().map(|_| &self.stored.header.tables[kind as usize])
    }

    /// Forgets the tables that do not count any more.
    pub(super) fn keep(&mut self, counts: [bool; Kind::COUNT]) {
        self.summaries.iter_mut().zip(counts).filter(|(_, counts)| !counts).for_each(|(table, _)| *table = None);
    }

    /// Whether none of its tables counts.
    pub(super) fn is_over(&self) -> bool {
        self.summaries.iter().all(Option::is_none)
    }

    /// Returns its size, for the policy.
    pub(super) fn size(&self) -> Size {
        let mut size = Size { bytes: self.stored.header.length, ..Size::default() };
        for (kind, stored) in Kind::ALL.into_iter().zip(&self.stored.header.tables) {
            let Some(table) = self.table(kind) else {
                size.wasted += kind.room(stored.count);
                continue;
            };
            size.records += table.count;
            size.largest = size.largest.max(table.count);
            if kind != Kind::Leg {
                let (oldest, newest) = size.times.unwrap_or((table.oldest, table.newest));
                size.times = Some((oldest.min(table.oldest), newest.max(table.newest)));
            }
        }
        size
    }

    pub(super) fn may_hold_at_first_sight(&self, kind: Kind, key: &Key) -> bool {
        self.summaries[kind as usize].as_ref().is_some_and(|summary| summary.filter.may_hold_at_first_sight(key))
    }

    pub(super) fn may_hold(&self, kind: Kind, key: &Key) -> bool {
        self.summaries[kind as usize].as_ref().is_some_and(|summary| summary.filter.may_hold(key))
    }

    /// Returns the record of `key`, if there is one. It is `width` bytes of the result.
    pub(super) fn find(&self, kind: Kind, key: &Key) -> Result<Option<[u8; LARGEST]>, ReadError> {
        let Some(summary) = &self.summaries[kind as usize] else { return Ok(None) };
        if !summary.filter.may_hold(key) {
            return Ok(None);
        }
        let after = summary.firsts.partition_point(|first| first <= key);
        let Some(block) = after.checked_sub(1) else { return Ok(None) };
        let mut buffer = [0; BLOCK];
        let records = self.stored.block(kind, block as u64, &mut buffer)?;
        let width = kind.width();
        let (mut from, mut to) = (0, records.len() / width);
        while from < to {
            let middle = usize::midpoint(from, to);
            let record = &records[middle * width..][..width];
            match record[..KEY].cmp(&key.0) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => {
                    let mut found = [0; LARGEST];
                    found[..width].copy_from_slice(record);
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Reads all records of the tables that count, to see whether they are there as they were written.
    pub(super) fn check(&self) -> Result<(), ReadError> {
        for kind in Kind::ALL {
            let blocks = self.table(kind).map_or(0, |table| kind.blocks(table.count));
            (0..blocks).try_for_each(|block| self.stored.block(kind, block, &mut [0; BLOCK]).map(drop))?;
        }
        Ok(())
    }
}

impl Stored {
    /// Opens the file of a generation and reads its header.
    pub(super) fn open(folder: &dyn Folder, store: StoreId, name: String) -> Result<Self, OpenError> {
        let mut bytes = [0; HEADER];
        let read = folder.open(&name).and_then(|file| Ok((file.read_at(&mut bytes, 0)?, file.length()?, file)));
        let (read, length, file) = match read {
            Ok(read) => read,
            Err(fault) => return Err(OpenError::Io { name, fault }),
        };
        let header = match Header::read(&bytes[..read]) {
            Ok(header) => header,
            Err(HeaderFault::Invalid) => return Err(OpenError::Header(name)),
            Err(HeaderFault::Format(found)) => return Err(OpenError::Format { name, found }),
        };
        if header.store != store {
            return Err(OpenError::Foreign { name, found: header.store, expected: store });
        }
        if format::name(header.number) != name {
            return Err(OpenError::Renamed { name, number: header.number });
        }
        if header.length != length {
            return Err(OpenError::Length { name, found: length, expected: header.length });
        }
        Ok(Self { name, file, seed: header.seed(), header })
    }

    /// Returns the sizes of its tables, for the policy.
    pub(super) fn table_sizes(&self) -> [TableSize; Kind::COUNT] {
        self.header.tables.map(|table| TableSize { count: table.count, newest: table.newest })
    }

    /// Reads one block and returns its records.
    pub(super) fn block<'a>(&self, kind: Kind, block: u64, buffer: &'a mut [u8; BLOCK]) -> Result<&'a [u8], ReadError> {
        let table = &self.header.tables[kind as usize];
        let position = table.records + block * BLOCK as u64;
        let records = table.count.saturating_sub(block * kind.per_block()).min(kind.per_block());
        let length = usize::try_from(records).unwrap_or_default() * kind.width();
        self.read(&mut buffer[..length + SUM], position)?;
        let (records, sum) = buffer[..length + SUM].split_at(length);
        if self.seed.of_block(position, records) != sum {
            return Err(self.damaged(position));
        }
        Ok(records)
    }

    /// Reads the summary of a table.
    pub(super) fn summary(&self, kind: Kind) -> Result<Summary, ReadError> {
        let table = &self.header.tables[kind as usize];
        let length = kind.summary(table.count);
        if table.summary.checked_add(length).is_none_or(|end| end > self.header.length) {
            return Err(self.damaged(table.summary));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        for (part, position) in bytes.chunks_mut(AT_ONCE).zip((table.summary..).step_by(AT_ONCE)) {
            self.read(part, position)?;
        }
        let mut sum = self.seed.begin();
        sum.update(&bytes);
        if sum.finalize() != table.sum {
            return Err(self.damaged(table.summary));
        }
        let filter = usize::try_from(filter::blocks(table.count)).unwrap_or_default() * filter::BLOCK;
        let (filter, firsts) = bytes.split_at(filter);
        Ok(Summary { filter: Filter::read(filter), firsts: firsts.chunks_exact(KEY).map(Key::of_record).collect() })
    }

    fn read(&self, buffer: &mut [u8], position: u64) -> Result<(), ReadError> {
        match self.file.read_at(buffer, position) {
            Ok(read) if read == buffer.len() => Ok(()),
            Ok(read) => Err(self.damaged(position + read as u64)),
            Err(fault) => Err(ReadError::Io { name: self.name.clone(), fault }),
        }
    }

    fn damaged(&self, position: u64) -> ReadError {
        ReadError::Damaged { name: self.name.clone(), position }
    }
}

impl Summary {
    /// Returns the bytes of memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.filter.bytes() + (self.firsts.len() * KEY) as u64
    }
}
