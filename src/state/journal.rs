//! Whether the journal beside a database is its own, and whole.
//!
//! SQLite writes the pages that a transaction changes into the journal first, as they were. After a crash whoever opens the
//! database next copies them back. It does so with any journal of the right name: beside a database that was put back from
//! a backup, the pages of another time would be written into it, and its end cut off. And at the first page that does not
//! fit its checksum it stops, and takes the rest for undone. So both are looked at before SQLite is let at them.
//!
//! What tells a journal's own database is its first page. Every transaction changes it before anything else (`stamp.rs`), so
//! the journal holds it as it was. The database has it either unchanged, or as this transaction left it: with the next
//! number of the change counter, and the next stamp.
//!
//! The formats are those of <https://www.sqlite.org/fileformat2.html>, sections 1.3 and 3.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use super::place::journal_of;

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// Bytes of the header of a segment, without what fills its sector.
const HEADER: usize = 28;
/// Bytes of the header of a database.
pub(super) const DATABASE_HEADER: usize = 100;

/// Places in the header of a database.
mod at {
    pub(super) const PAGE_SIZE: usize = 16;
    pub(super) const CHANGES: usize = 24;
    pub(super) const STAMP: usize = 60;
    pub(super) const APPLICATION: usize = 68;
}

/// The journal beside a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Journal {
    /// There is none, or none that SQLite would read.
    Idle,
    /// A transaction was not finished, and this will undo it.
    Own,
    /// It belongs to another database, or to another time of this one.
    Strange,
    /// It cannot undo all of what it should.
    Damaged,
}

/// Looks at the journal of the database at `path`, which has content. Only the owner may ask.
pub(super) fn examine(path: &Path) -> io::Result<Journal> {
    let journal = match File::open(journal_of(path)) {
        Ok(journal) => journal,
        Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(Journal::Idle),
        Err(fault) => return Err(fault),
    };
    let mut database = File::open(path)?;
    let mut header = [0; DATABASE_HEADER];
    database.read_exact(&mut header)?;
    judge(&mut BufReader::with_capacity(1 << 16, journal), &header)
}

/// Returns whether there is a journal that SQLite would read.
pub(super) fn is_there(path: &Path) -> bool {
    let mut first = [0];
    File::open(journal_of(path)).is_ok_and(|mut journal| journal.read_exact(&mut first).is_ok() && first != [0])
}

/// The bytes of a page, from the header of a database.
pub(super) fn page_size(header: &[u8; DATABASE_HEADER]) -> u64 {
    match u16::from_be_bytes([header[at::PAGE_SIZE], header[at::PAGE_SIZE + 1]]) {
        1 => 65_536,
        size => size.max(1).into(),
    }
}

/// The program a database belongs to, from its header.
pub(super) fn application(header: &[u8; DATABASE_HEADER]) -> u32 {
    word(header, at::APPLICATION)
}

/// Judges a journal beside a database with this header.
fn judge(journal: &mut (impl Read + Seek), database: &[u8; DATABASE_HEADER]) -> io::Result<Journal> {
    let end = journal.seek(SeekFrom::End(0))?;
    let Some(first) = segment(journal, 0)? else { return Ok(Journal::Idle) };
    // Until all of it is on the disk it begins with zeros, and the database is as it was.
    if first[0] == 0 {
        return Ok(Journal::Idle);
    }
    let [sector, page] = [20, 24].map(|at| u64::from(word(&first, at)));
    let is_size = |size: u64, least: u64| size.is_power_of_two() && (least..=65_536).contains(&size);
    if first[..8] != MAGIC || !is_size(page, 512) || !is_size(sector, 32) {
        return Ok(Journal::Damaged);
    }
    if page != page_size(database) {
        return Ok(Journal::Strange);
    }
    let mut record = vec![0; usize::try_from(page).unwrap_or(usize::MAX) + 8];
    let (mut position, mut known) = (0, false);
    // What follows the last segment was never on the disk as a whole, or is left over from an earlier transaction.
    while let Some(header) = segment(journal, position)?.filter(|header| header[..8] == MAGIC) {
        let records = match word(&header, 8) {
            u32::MAX => end.saturating_sub(sector) / record.len() as u64,
            records => records.into(),
        };
        journal.seek(SeekFrom::Start(position + sector))?;
        for _ in 0..records {
            match journal.read_exact(&mut record) {
                Ok(()) if is_sound(&record, word(&header, 12)) && word(&record, 0) <= word(&header, 16) => {}
                Ok(()) => return Ok(Journal::Damaged),
                Err(fault) if fault.kind() == ErrorKind::UnexpectedEof => return Ok(Journal::Damaged),
                Err(fault) => return Err(fault),
            }
            known |= word(&record, 0) == 1 && is_first_page_of(&record[4..], database);
        }
        position = (position + sector + records * record.len() as u64).next_multiple_of(sector);
    }
    Ok(if known { Journal::Own } else { Journal::Strange })
}

/// Reads the header of a segment, if the journal goes as far as that.
fn segment(journal: &mut (impl Read + Seek), position: u64) -> io::Result<Option<[u8; HEADER]>> {
    let mut header = [0; HEADER];
    journal.seek(SeekFrom::Start(position))?;
    match journal.read_exact(&mut header) {
        Ok(()) => Ok(Some(header)),
        Err(fault) if fault.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Whether SQLite would take a record: the number of a page, the page, and the sum of every 200th byte of it from the end.
fn is_sound(record: &[u8], nonce: u32) -> bool {
    let page = &record[4..record.len() - 4];
    let every_200th = (1..).map(|n| page.len().checked_sub(200 * n)).map_while(|at| at.filter(|at| *at > 0));
    let sum = every_200th.fold(nonce, |sum, at| sum.wrapping_add(page[at].into()));
    word(record, 0) != 0 && sum == word(record, record.len() - 4)
}

/// Whether a database has this first page, or the one that follows it.
fn is_first_page_of(page: &[u8], database: &[u8; DATABASE_HEADER]) -> bool {
    if page[..DATABASE_HEADER] == *database {
        return true;
    }
    let follows = |at, by: u32| word(database, at) == word(page, at).wrapping_add(by);
    follows(at::CHANGES, 1) && (0..=1).any(|by| follows(at::STAMP, by)) && follows(at::APPLICATION, 0)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}
