//! A disk in memory that behaves as badly as a disk may, and the same way for the same seed.
//!
//! After a crash, writes that were not synced may be there, or not, or any part of them; synced ones are there. A change
//! of a name is there once the folder was synced; of those that were not, the first few are. A failed sync throws away what
//! was written. After a crash every operation fails until [`SimulatedDisk::restart`].

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{File, Folder};

const SECTOR: usize = 512;

/// The disk; clones are the same one.
#[derive(Clone, Debug)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: StdRng,
    names: BTreeMap<String, usize>,
    names_on_disk: BTreeMap<String, usize>,
    renamings: Vec<Renaming>,
    contents: Vec<Content>,
    /// Bytes of all files together that there is room for.
    room: u64,
    /// Operations until it crashes.
    crash_in: Option<u64>,
    /// Syncs until one fails.
    sync_fails_in: Option<u64>,
    crashed: bool,
    lie: Option<Lie>,
}

/// A fault of a disk, or of code that uses it wrongly, planted to see that the tests find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A file is not synced.
    File,
    /// The folder is not synced.
    Folder,
    /// A synced file loses its last sector in a crash.
    Sector,
    /// A write goes to a place eight bytes off.
    Place,
    /// A failed sync is said to have succeeded.
    FailedSync,
    /// A truncated file keeps its length.
    Truncate,
    /// Reading leaves out the last byte.
    Read,
    /// A sync leaves out the second half of what was written last.
    Half,
    /// The newest segment is gone after a crash.
    Gone,
    /// A renamed file has lost its content in a crash.
    Renamed,
}

#[derive(Clone, Debug)]
enum Renaming {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// As the process sees it.
    seen: Vec<u8>,
    on_disk: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug)]
struct Opened(SimulatedDisk, usize);

impl SimulatedDisk {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: StdRng::seed_from_u64(seed),
            names: BTreeMap::new(),
            names_on_disk: BTreeMap::new(),
            renamings: Vec::new(),
            contents: Vec::new(),
            room: u64::MAX,
            crash_in: None,
            sync_fails_in: None,
            crashed: false,
            lie: None,
        })))
    }

    pub fn folder(&self) -> Arc<dyn Folder> {
        Arc::new(self.clone())
    }

    pub fn lie(&self, lie: Lie) {
        self.state().lie = Some(lie);
    }

    /// Has the machine fail in the operation after `operations` others.
    pub fn crash_in(&self, operations: u64) {
        self.state().crash_in = Some(operations);
    }

    /// Has the sync after `syncs` others fail.
    pub fn fail_sync_in(&self, syncs: u64) {
        self.state().sync_fails_in = Some(syncs);
    }

    /// Leaves room for `bytes` more.
    pub fn leave_room(&self, bytes: u64) {
        let mut state = self.state();
        state.room = state.used().saturating_add(bytes);
    }

    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// Changes a bit of a file, as disks do.
    pub fn flip(&self, name: &str, byte: usize, bit: u8) {
        let state = &mut *self.state();
        let content = &mut state.contents[state.names[name]];
        content.seen[byte] ^= 1 << bit;
        content.on_disk[byte] ^= 1 << bit;
    }

    /// Returns the content of a file.
    pub fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.contents[state.names[name]].seen.clone()
    }

    /// Puts a file there, or another one in its place.
    pub fn put(&self, name: &str, content: Vec<u8>) {
        let state = &mut *self.state();
        state.contents.push(Content { seen: content.clone(), on_disk: content, pending: Vec::new() });
        let number = state.contents.len() - 1;
        state.names.insert(name.to_owned(), number);
        state.names_on_disk.insert(name.to_owned(), number);
    }

    /// Takes a file away.
    pub fn take(&self, name: &str) {
        let state = &mut *self.state();
        state.names.remove(name);
        state.names_on_disk.remove(name);
    }

    /// Crashes, if it has not yet, and comes back with what is on the disk.
    pub fn restart(&self) {
        let state = &mut *self.state();
        let State { rng, names_on_disk, renamings, contents, lie, .. } = state;
        let kept = rng.random_range(0..=renamings.len());
        for renaming in renamings.drain(..).take(kept) {
            renaming.apply(names_on_disk);
        }
        for content in contents.iter_mut() {
            for change in std::mem::take(&mut content.pending) {
                change.half_done(rng).into_iter().for_each(|change| change.apply(&mut content.on_disk));
            }
            if *lie == Some(Lie::Sector) {
                let end = content.on_disk.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                content.on_disk[end / SECTOR * SECTOR..].fill(0);
            }
            content.seen.clone_from(&content.on_disk);
        }
        if *lie == Some(Lie::Gone) {
            let newest = names_on_disk.keys().rfind(|name| name.ends_with(".segment")).cloned();
            newest.map(|name| names_on_disk.remove(&name));
        }
        state.names.clone_from(names_on_disk);
        (state.crash_in, state.sync_fails_in, state.crashed, state.room) = (None, None, false, u64::MAX);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|number| self.contents[*number].seen.len() as u64).sum()
    }

    /// Fails if the machine has crashed. True: it crashes in this operation.
    fn operation(&mut self) -> io::Result<bool> {
        if self.crashed {
            return Err(io::Error::other("the machine has crashed"));
        }
        self.crashed = self.crash_in == Some(0);
        self.crash_in = self.crash_in.map(|left| left.saturating_sub(1));
        Ok(self.crashed)
    }

    fn rename(&mut self, renaming: Renaming) -> io::Result<()> {
        let crashes = self.operation()?;
        renaming.clone().apply(&mut self.names);
        self.renamings.push(renaming);
        if crashes { Err(io::Error::other("the machine crashes")) } else { Ok(()) }
    }

    fn change(&mut self, number: usize, change: Change) -> io::Result<()> {
        let crashes = self.operation()?;
        let content = &mut self.contents[number];
        change.clone().apply(&mut content.seen);
        content.pending.push(change);
        if crashes { Err(io::Error::other("the machine crashes")) } else { Ok(()) }
    }
}

impl Renaming {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, number) => drop(names.insert(name, number)),
            Self::Rename(from, to) => {
                if let Some(number) = names.remove(&from) {
                    names.insert(to, number);
                }
            }
            Self::Remove(name) => drop(names.remove(&name)),
        }
    }
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, written) => {
                if bytes.len() < at + written.len() {
                    bytes.resize(at + written.len(), 0);
                }
                bytes[at..at + written.len()].copy_from_slice(&written);
            }
            Self::Length(length) => bytes.resize(length, 0),
        }
    }

    /// Returns the part of it that is on the disk after a crash.
    fn half_done(self, rng: &mut StdRng) -> Vec<Self> {
        let Self::Write(at, bytes) = self else { return if rng.random() { vec![self] } else { Vec::new() } };
        match rng.random_range(0..5) {
            0 => Vec::new(),
            1 => vec![Self::Write(at, bytes)],
            2 => {
                let cut = rng.random_range(0..=bytes.len());
                vec![Self::Write(at, bytes[..cut].to_vec())]
            }
            3 => {
                let cut = rng.random_range(0..=bytes.len());
                vec![Self::Write(at + cut, bytes[cut..].to_vec())]
            }
            _ => {
                // Sectors as they lie on the disk, each there or not.
                let mut sectors = Vec::new();
                let mut begin = 0;
                while begin < bytes.len() {
                    let end = ((at + begin) / SECTOR * SECTOR + SECTOR - at).min(bytes.len());
                    if rng.random() {
                        sectors.push(Self::Write(at + begin, bytes[begin..end].to_vec()));
                    }
                    begin = end;
                }
                sectors
            }
        }
    }
}

impl Folder for SimulatedDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        let state = &mut *self.state();
        if state.crashed {
            return Err(io::Error::other("the machine has crashed"));
        }
        let mut names: Vec<_> = state.names.keys().cloned().collect();
        // No folder promises an order.
        for last in (1..names.len()).rev() {
            names.swap(last, state.rng.random_range(0..=last));
        }
        Ok(names)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.used() + bytes > state.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let length = usize::try_from(bytes).unwrap();
        let content = Content { seen: vec![0; length], on_disk: Vec::new(), pending: vec![Change::Length(length)] };
        state.contents.push(content);
        let number = state.contents.len() - 1;
        state.rename(Renaming::Create(name.to_owned(), number))?;
        Ok(Arc::new(Opened(self.clone(), number)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let number = *self.state().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Opened(self.clone(), number)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        assert!(state.names.contains_key(from) && !state.names.contains_key(to), "{from} to {to}");
        if state.lie == Some(Lie::Renamed) {
            let number = state.names[from];
            state.contents[number].on_disk.clear();
        }
        state.rename(Renaming::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(Renaming::Remove(name.to_owned()))
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.state();
        if state.operation()? {
            return Err(io::Error::other("the machine crashes"));
        }
        if state.lie != Some(Lie::Folder) {
            state.renamings.drain(..).for_each(|renaming| renaming.apply(&mut state.names_on_disk));
        }
        Ok(())
    }
}

impl File for Opened {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.state().contents[self.1].seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.0.state();
        if state.crashed {
            return Err(io::Error::other("the machine has crashed"));
        }
        let bytes = state.contents[self.1].seen.get(usize::try_from(position).unwrap()..).unwrap_or_default();
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        if state.lie == Some(Lie::Read)
            && let Some(last) = buffer[..length].last_mut()
        {
            *last = 0;
        }
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.0.state();
        let mut position = usize::try_from(position).unwrap();
        let more = (position + bytes.len()).saturating_sub(state.contents[self.1].seen.len()) as u64;
        if more > 0 && state.used() + more > state.room {
            // As much as there is room for is written all the same.
            let cut = state.rng.random_range(0..=bytes.len());
            state.change(self.1, Change::Write(position, bytes[..cut].to_vec()))?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.lie == Some(Lie::Place) && state.rng.random_ratio(1, 20) {
            position += 8;
        }
        state.change(self.1, Change::Write(position, bytes.to_vec()))
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.state();
        if state.lie == Some(Lie::Truncate) {
            return Ok(());
        }
        state.change(self.1, Change::Length(usize::try_from(length).unwrap()))
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.0.state();
        if state.operation()? {
            return Err(io::Error::other("the machine crashes"));
        }
        let mut pending = std::mem::take(&mut state.contents[self.1].pending);
        let fails = state.sync_fails_in == Some(0);
        state.sync_fails_in = state.sync_fails_in.and_then(|left| left.checked_sub(1));
        if fails {
            let lies = state.lie == Some(Lie::FailedSync);
            return if lies { Ok(()) } else { Err(io::Error::other("the disk does not answer")) };
        }
        if state.lie == Some(Lie::File) && state.rng.random_ratio(1, 4) {
            state.contents[self.1].pending = pending;
            return Ok(());
        }
        let halves = state.lie == Some(Lie::Half) && state.rng.random_ratio(1, 4);
        let content = &mut state.contents[self.1];
        if halves && let Some(Change::Write(_, bytes)) = pending.last_mut() {
            bytes.truncate(bytes.len() / 2);
        }
        for change in pending {
            change.apply(&mut content.on_disk);
        }
        Ok(())
    }
}
