//! Writing: tables become the file of a generation.
//!
//! Records are written first, in the order of their keys. Then they are read back, and the summaries made of them; so a
//! generation whose records did not get to where they belong is not even begun to be used. The header is written last. Until
//! a checkpoint names it, the file counts for nothing, and whatever a crash leaves of it is removed.

use std::sync::Arc;

use super::error::WriteError;
use super::filter::Builder;
use super::format::{self, BLOCK, HEADER, Header, Kind, SUM, Seed};
use super::generation::{Generation, Stored, Summary};
use super::key::Key;
use super::merging::Tables;
use super::value;
use crate::disk::{File, Folder};
use crate::domain::identity::StoreId;

/// Bytes that are written at once.
const AT_ONCE: usize = 256 * 1024;
/// Bytes after which the file is synced: what is written to the disk at a time keeps other files from being synced meanwhile.
const AT_A_TIME: u64 = 4 * 1024 * 1024;

/// Writes a generation. Once it returns, the file and its name are on the disk.
///
/// Legs that ended before `legs_since` (microseconds since 1970, UTC) are left out.
pub(super) fn write(
    folder: &dyn Folder,
    (store, number): (StoreId, u64),
    tables: [Tables; Kind::COUNT],
    legs_since: i64,
) -> Result<Generation, WriteError> {
    let name = format::name(number);
    let room: u64 = Kind::ALL.iter().zip(&tables).map(|(kind, tables)| kind.room(tables.count)).sum();
    let file = folder.create(&name, HEADER as u64 + room).map_err(|fault| WriteError::of(&name, fault))?;
    let header = Header::new(store, number);
    let written = fill(Stored { name: name.clone(), file, seed: header.seed(), header }, tables, legs_since).and_then(
        |generation| {
            folder.sync().map_err(|fault| WriteError::of(&name, fault))?;
            Ok(generation)
        },
    );
    if written.is_err() {
        // On a full disk its room is needed. If it stays, the next start removes it.
        let _ = folder.remove(&name);
    }
    written
}

fn fill(mut stored: Stored, tables: [Tables; Kind::COUNT], legs_since: i64) -> Result<Generation, WriteError> {
    let mut output = Output::new(Arc::clone(&stored.file), stored.name.clone());
    for (kind, tables) in Kind::ALL.into_iter().zip(tables) {
        write_records(&mut output, &mut stored, (kind, tables), legs_since)?;
    }
    output.flush()?;
    let mut summaries = [None, None, None];
    for (kind, summary) in Kind::ALL.into_iter().zip(&mut summaries) {
        if stored.header.tables[kind as usize].count > 0 {
            *summary = Some(Arc::new(write_summary(&mut output, &mut stored, kind)?));
        }
    }
    output.flush()?;
    stored.header.length = output.position();
    let complete = || {
        stored.file.truncate(stored.header.length)?;
        stored.file.write_at(&stored.header.write(), 0)?;
        stored.file.sync()
    };
    complete().map_err(|fault| WriteError::of(&stored.name, fault))?;
    Ok(Generation { stored: Arc::new(stored), summaries })
}

/// Writes the records of a table, and notes in the header what there are.
fn write_records(
    output: &mut Output,
    stored: &mut Stored,
    (kind, mut tables): (Kind, Tables),
    legs_since: i64,
) -> Result<(), WriteError> {
    let (seed, width) = (stored.seed, kind.width());
    let table = &mut stored.header.tables[kind as usize];
    let mut times = tables.times.filter(|_| kind != Kind::Leg);
    let mut block = Block { records: Vec::with_capacity(BLOCK), most: BLOCK - SUM - width, seed };
    while let Some(record) = tables.next()? {
        if kind == Kind::Leg {
            let ended = value::leg_of_record(&record).ended.as_microsecond();
            if ended < legs_since {
                continue;
            }
            let (oldest, newest) = times.unwrap_or((ended, ended));
            times = Some((oldest.min(ended), newest.max(ended)));
        }
        if table.count == 0 {
            output.align()?;
            table.records = output.position();
        }
        if block.records.len() > block.most {
            block.write(output)?;
            output.align()?;
        }
        block.records.extend_from_slice(&record[..width]);
        table.count += 1;
    }
    if table.count > 0 {
        block.write(output)?;
        (table.oldest, table.newest) = times.unwrap_or_default();
    }
    Ok(())
}

/// Makes the summary of a table of the records in the file, writes it, and notes in the header where it is.
fn write_summary(output: &mut Output, stored: &mut Stored, kind: Kind) -> Result<Summary, WriteError> {
    let count = stored.header.tables[kind as usize].count;
    let mut filter = Builder::new(count);
    let mut firsts = Vec::new();
    let mut buffer = [0; BLOCK];
    for block in 0..kind.blocks(count) {
        let records = stored.block(kind, block, &mut buffer)?;
        firsts.push(Key::of_record(records));
        records.chunks_exact(kind.width()).for_each(|record| filter.add(&Key::of_record(record)));
    }
    let summary = Summary { filter: filter.finish(), firsts };
    let position = output.position();
    let mut sum = stored.seed.begin();
    let mut put = |bytes: &[u8]| {
        sum.update(bytes);
        output.put(bytes)
    };
    summary.filter.write().try_for_each(|bytes| put(&bytes))?;
    summary.firsts.iter().try_for_each(|key| put(&key.0))?;
    let table = &mut stored.header.tables[kind as usize];
    (table.summary, table.sum) = (position, sum.finalize());
    Ok(summary)
}

/// A block of records that is put together.
struct Block {
    records: Vec<u8>,
    /// With more bytes than these there is no room for one more record.
    most: usize,
    seed: Seed,
}

impl Block {
    fn write(&mut self, output: &mut Output) -> Result<(), WriteError> {
        let sum = self.seed.of_block(output.position(), &self.records);
        output.put(&self.records)?;
        output.put(&sum)?;
        self.records.clear();
        Ok(())
    }
}

/// The file, written from one end to the other.
struct Output {
    file: Arc<dyn File>,
    name: String,
    /// Where the bytes go that wait.
    position: u64,
    waiting: Vec<u8>,
    /// Bytes that were written and not synced.
    unsynced: u64,
}

impl Output {
    fn new(file: Arc<dyn File>, name: String) -> Self {
        Self { file, name, position: HEADER as u64, waiting: Vec::new(), unsynced: 0 }
    }

    /// Returns where the next byte goes.
    fn position(&self) -> u64 {
        self.position + self.waiting.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= AT_ONCE { self.flush() } else { Ok(()) }
    }

    /// Has the next byte go to where a block may begin.
    fn align(&mut self) -> Result<(), WriteError> {
        let position = self.position();
        let missing = position.next_multiple_of(BLOCK as u64) - position;
        self.put(&[0; BLOCK][..usize::try_from(missing).unwrap_or_default()])
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        let (position, bytes) = (self.position, self.waiting.len() as u64);
        self.file.write_at(&self.waiting, position).map_err(|fault| WriteError::of(&self.name, fault))?;
        self.waiting.clear();
        self.position += bytes;
        self.unsynced += bytes;
        if self.unsynced >= AT_A_TIME {
            self.file.sync().map_err(|fault| WriteError::of(&self.name, fault))?;
            self.unsynced = 0;
        }
        Ok(())
    }
}
