//! Records one after the other, as they lie in a segment.
//!
//! Must not know what becomes of an invalid one.

use std::io;

use super::record::{self, HEADER, Header, Seed};
use crate::disk::File;

/// Bytes that are read at once, where a record is not larger.
const CHUNK: usize = 64 * 1024;

/// Reads the records of one segment from a position on.
#[derive(Debug)]
pub(super) struct Records<'a> {
    file: &'a dyn File,
    seed: Seed,
    /// Where the next record begins.
    position: u64,
    /// Where the last one ends at the latest.
    limit: u64,
    /// Bytes that were read; from the byte `used` on they are not handed out yet.
    buffer: Vec<u8>,
    used: usize,
}

/// The next thing in a segment.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// A record, where it begins and what its body is.
    Record(Header, u64, &'a [u8]),
    /// No valid record.
    Invalid,
    /// Nothing: the limit is reached.
    End,
}

impl<'a> Records<'a> {
    pub(super) fn new(file: &'a dyn File, seed: Seed, position: u64, limit: u64) -> Self {
        Self { file, seed, position, limit, buffer: Vec::new(), used: 0 }
    }

    /// Returns where the next record begins, or should.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        if self.position >= self.limit {
            return Ok(Next::End);
        }
        if !self.fill(HEADER)? {
            return Ok(Next::Invalid);
        }
        let Ok(length) = record::body_length(&self.buffer[self.used..]) else { return Ok(Next::Invalid) };
        let size = record::size(length);
        if !self.fill(size)? {
            return Ok(Next::Invalid);
        }
        let bytes = &self.buffer[self.used..self.used + size];
        let Ok((header, body)) = record::read(bytes, self.seed) else { return Ok(Next::Invalid) };
        let position = self.position;
        self.position += size as u64;
        self.used += size;
        Ok(Next::Record(header, position, body))
    }

    /// Has at least `needed` bytes in the buffer; false if there are not so many.
    fn fill(&mut self, needed: usize) -> io::Result<bool> {
        let held = self.buffer.len() - self.used;
        if held >= needed {
            return Ok(true);
        }
        self.buffer.drain(..self.used);
        self.used = 0;
        let left = usize::try_from(self.limit - self.position).unwrap_or(usize::MAX);
        self.buffer.resize(needed.max(CHUNK).min(left).max(held), 0);
        let read = self.file.read_at(&mut self.buffer[held..], self.position + held as u64)?;
        self.buffer.truncate(held + read);
        Ok(self.buffer.len() >= needed)
    }
}
