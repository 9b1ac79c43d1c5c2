//! Whether the write-ahead log of a database is whole. SQLite takes its first bad frame for the end of it, so that damage
//! in its midst would cost every commit behind it without a word.
//!
//! The format is that of <https://www.sqlite.org/fileformat2.html>, section 4. Must not know what is in a page.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

const HEADER: usize = 32;
const FRAME: usize = 24;
/// The last bit says in which order the bytes of a checksum's words are.
const MAGIC: u32 = 0x377f_0682;

/// The state of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    /// What was committed can be read. Absent and empty logs are whole, and so is one whose last commit was not finished.
    Whole,
    /// The last commit cannot be read: it was never finished, or it is damaged. The two cannot be told apart.
    LastCommitBroken,
    /// It is damaged, and so many commits behind that would be lost.
    Damaged {
        /// The commits in question, the damaged one among them if there is one.
        commits: usize,
    },
}

/// Where the log of the database at `path` is.
pub(super) fn of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Reads the whole log of the database at `path`.
pub(super) fn examine(path: &Path) -> io::Result<Log> {
    let log = match File::open(of(path)) {
        Ok(log) => log,
        Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(Log::Whole),
        Err(fault) => return Err(fault),
    };
    let mut header = [0; 18];
    File::open(path)?.read_exact(&mut header)?;
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => usize::from(size),
    };
    read(BufReader::with_capacity(1 << 20, log), page)
}

/// Reads a log of pages of this size.
fn read(mut log: impl Read, page: usize) -> io::Result<Log> {
    let mut header = [0; HEADER];
    if !whole(&mut log, &mut header)? {
        return Ok(Log::Whole);
    }
    let mut sums = Sums { big: word(&header, 0) & 1 == 1, ..Sums::default() };
    sums.add(&header[..24]);
    let stated = (word(&header, 24), word(&header, 28));
    let header_sound = word(&header, 0) & !1 == MAGIC && (sums.one, sums.two) == stated;
    (sums.one, sums.two) = stated;
    let mut frame = vec![0; FRAME + page];
    let (mut sound, mut commits, mut behind) = (header_sound, 0, false);
    while whole(&mut log, &mut frame)? {
        sums.add(&frame[..8]);
        sums.add(&frame[FRAME..]);
        let fits = (sums.one, sums.two) == (word(&frame, 16), word(&frame, 20));
        let salted = frame[8..16] == header[16..24];
        sound &= fits && salted;
        // What is left over from before the log was begun anew has other salts, and does not fit.
        if !sound && (fits || salted) {
            behind = commits > 0;
            commits += usize::from(word(&frame, 4) != 0);
        }
    }
    Ok(match commits {
        0 => Log::Whole,
        1 if header_sound && !behind => Log::LastCommitBroken,
        _ => Log::Damaged { commits },
    })
}

/// Fills `part`, or says that the log ends within it.
fn whole(log: &mut impl Read, part: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(part) {
        Ok(()) => Ok(true),
        Err(fault) if fault.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(fault) => Err(fault),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// The running checksum of a log.
#[derive(Clone, Copy, Default)]
struct Sums {
    one: u32,
    two: u32,
    big: bool,
}

impl Sums {
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            let (mut first, mut second) = (word(pair, 0), word(pair, 4));
            if !self.big {
                (first, second) = (first.swap_bytes(), second.swap_bytes());
            }
            self.one = self.one.wrapping_add(first).wrapping_add(self.two);
            self.two = self.two.wrapping_add(second).wrapping_add(self.one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 512;

    /// A log of frames, each with or without a commit.
    fn log(commits: &[bool]) -> Vec<u8> {
        let mut sums = Sums { big: true, ..Sums::default() };
        let mut bytes = Vec::new();
        for word in [MAGIC | 1, 3_007_000, 512, 0, 0xdead_beef, 0x1234_5678] {
            bytes.extend_from_slice(&u32::to_be_bytes(word));
        }
        sums.add(&bytes);
        bytes.extend([sums.one, sums.two].map(u32::to_be_bytes).concat());
        for (n, commit) in commits.iter().enumerate() {
            let head = [u32::try_from(n).unwrap() + 1, u32::from(*commit) * 9].map(u32::to_be_bytes).concat();
            let page = vec![u8::try_from(n).unwrap(); PAGE];
            sums.add(&head);
            sums.add(&page);
            bytes.extend(head);
            bytes.extend([0xdead_beef_u32, 0x1234_5678].map(u32::to_be_bytes).concat());
            bytes.extend([sums.one, sums.two].map(u32::to_be_bytes).concat());
            bytes.extend(page);
        }
        bytes
    }

    const COMMITS: [bool; 6] = [false, true, true, false, true, false];

    #[test]
    fn a_log_is_whole_wherever_its_end_was_torn_off() {
        let log = log(&COMMITS);
        for end in 0..=log.len() {
            assert_eq!(read(&log[..end], PAGE).unwrap(), Log::Whole, "{end}");
        }
    }

    #[test]
    fn a_flipped_bit_in_the_midst_is_told_wherever_it_is() {
        let log = log(&COMMITS);
        let frame = FRAME + PAGE;
        let last_commit = HEADER + 3 * frame..HEADER + 5 * frame;
        for at in 0..log.len() {
            for bit in [0, 3, 7] {
                let mut log = log.clone();
                log[at] ^= 1 << bit;
                let state = read(log.as_slice(), PAGE).unwrap();
                if at < last_commit.start {
                    assert!(matches!(state, Log::Damaged { .. }), "byte {at}, bit {bit}: {state:?}");
                } else if last_commit.contains(&at) {
                    assert_ne!(state, Log::Whole, "byte {at}, bit {bit}");
                } else {
                    assert!(!matches!(state, Log::Damaged { .. }), "byte {at}, bit {bit}: it was not finished");
                }
            }
        }
    }

    #[test]
    fn what_is_left_over_from_an_earlier_log_is_no_damage() {
        let mut old = log(&[true; 8]);
        let new = log(&[true, false]);
        for salt in [8, 12] {
            for frame in 0..8 {
                old[HEADER + frame * (FRAME + PAGE) + salt] ^= 0x55;
            }
        }
        old[..new.len()].copy_from_slice(&new);
        assert_eq!(read(old.as_slice(), PAGE).unwrap(), Log::Whole);
    }
}
