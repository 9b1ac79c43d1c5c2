//! Merging: several sorted tables become one, of which no more is held in memory than a block of each.
//!
//! Must not know where the result goes.

use std::sync::Arc;

use super::error::ReadError;
use super::format::{BLOCK, Kind, LARGEST};
use super::generation::{Generation, Stored};
use super::key::{KEY, Key};

/// The tables of which one is to be made.
#[derive(Debug)]
pub(super) struct Tables {
    kind: Kind,
    /// The newest one first: of two records of one key it has the one that counts.
    sources: Vec<Source>,
    /// Records of all of them.
    pub(super) count: u64,
    /// Times of the oldest and of the newest record; those of legs lie in the records.
    pub(super) times: Option<(i64, i64)>,
}

/// Records in the order of their keys.
#[derive(Debug)]
struct Source {
    records: Vec<u8>,
    /// Where the record is that comes next.
    at: usize,
    rest: Option<Rest>,
}

/// Blocks of a file that were not read yet.
#[derive(Debug)]
struct Rest {
    stored: Arc<Stored>,
    next: u64,
    end: u64,
}

impl Tables {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, sources: Vec::new(), count: 0, times: None }
    }

    /// Adds rows that are in memory. Of several rows of one key the last one counts.
    pub(super) fn add_rows<const N: usize>(&mut self, mut rows: Vec<(Key, [u8; N])>, times: (i64, i64)) {
        rows.sort_by_key(|(key, _)| *key);
        let mut records = Vec::with_capacity(rows.len() * self.kind.width());
        let mut count = 0;
        for (at, (key, value)) in rows.iter().enumerate() {
            if rows.get(at + 1).is_none_or(|(next, _)| next != key) {
                records.extend_from_slice(&key.0);
                records.extend_from_slice(value);
                count += 1;
            }
        }
        self.add(Source { records, at: 0, rest: None }, count, times);
    }

    /// Adds the table of a generation that is older than all that were added before, if it counts.
    pub(super) fn add_table(&mut self, generation: &Generation) -> Result<(), ReadError> {
        let Some(table) = generation.table(self.kind) else { return Ok(()) };
        let rest = Rest { stored: Arc::clone(&generation.stored), next: 0, end: self.kind.blocks(table.count) };
        let mut source = Source { records: Vec::new(), at: 0, rest: Some(rest) };
        source.refill(self.kind)?;
        self.add(source, table.count, (table.oldest, table.newest));
        Ok(())
    }

    fn add(&mut self, source: Source, count: u64, (oldest, newest): (i64, i64)) {
        if count > 0 {
            let (first, last) = self.times.unwrap_or((oldest, newest));
            self.times = Some((first.min(oldest), last.max(newest)));
            self.sources.push(source);
            self.count += count;
        }
    }

    /// Returns the next record. The key of each is greater than that of the one before.
    pub(super) fn next(&mut self) -> Result<Option<[u8; LARGEST]>, ReadError> {
        let width = self.kind.width();
        let mut least: Option<&[u8]> = None;
        for source in &self.sources {
            if let Some(record) = source.record(width)
                && least.is_none_or(|least| record[..KEY] < least[..KEY])
            {
                least = Some(record);
            }
        }
        let Some(least) = least else { return Ok(None) };
        let mut record = [0; LARGEST];
        record[..width].copy_from_slice(least);
        for source in &mut self.sources {
            if source.record(width).is_some_and(|other| other[..KEY] == record[..KEY]) {
                source.at += width;
                source.refill(self.kind)?;
            }
        }
        Ok(Some(record))
    }
}

impl Source {
    fn record(&self, width: usize) -> Option<&[u8]> {
        self.records.get(self.at..self.at + width)
    }

    /// Reads the next block once all records were taken.
    fn refill(&mut self, kind: Kind) -> Result<(), ReadError> {
        if let Some(rest) = &mut self.rest
            && self.at == self.records.len()
            && rest.next < rest.end
        {
            self.records.clear();
            self.records.extend_from_slice(rest.stored.block(kind, rest.next, &mut [0; BLOCK])?);
            self.at = 0;
            rest.next += 1;
        }
        Ok(())
    }
}
