//! Generations: what is remembered of the past, on disk, with a look-up that is nearly always answered from memory.
//!
//! What happened since the last checkpoint is held in memory, elsewhere. Each checkpoint hands it over, and it becomes a
//! *generation*: one file that is never changed. Neighbours in age are merged into one in the background, so that there are
//! never more than [`MOST`]. A generation has three tables: the ids of events, the legs that have ended, and the calls to which
//! nothing happens any more.
//!
//! # What it promises
//!
//! * What the generations hold that a checkpoint names is found: ids and calls for [`Limits::remembered`], legs for
//!   [`Limits::ended`] after their end, and of each kind at least the newest [`Limits::most`]. Some is found for longer, since
//!   whole tables are forgotten. Of several records of one key the newest is found.
//! * What was never remembered is not found.
//! * A new key costs no read: of 100 new ids, some 97 are known to be new from the filters. For the others, and for each
//!   that is found, one block of 4 KiB is read per generation that may hold it.
//! * Memory is 12 bits per record, and a few hundred KiB while generations are merged.
//! * What a disk has damaged is found when it is read: each header, summary and block has a checksum of its own, which is
//!   valid in no other place.
//! * A folder of another store or format, or without a generation that the checkpoint names, is refused, and left as it is.
//! * Looking up never waits for the disk to write: a new list of generations takes the place of the old one at once, and who
//!   has the old one goes on with it, as the files that are removed are open.
//!
//! # What it relies on
//!
//! * One process writes. The store holds the lock.
//! * A checkpoint names the generations in the order of their age, and is on the disk as a whole or not at all.
//! * A file that was synced is on the disk, and so is the name that a synced folder shows for it.
//! * Keys are evenly spread, as parts of a hash are. Others make it slower, not wrong.
//!
//! # What is in the folder
//!
//! `0000000042.generation` is generation 42, and nothing else is there. Its parts are described where they are written: header,
//! tables and blocks in `format.rs`, filters in `filter.rs`, keys in `domain/fingerprint.rs`, values in `value.rs`.
//!
//! # How it changes
//!
//! 1. [`Generations::write`] writes a new generation, and [`Generations::merge`] one that takes the place of some; both sync
//!    the file and its name. These are drafts: nobody sees them, and after a crash their files are removed.
//! 2. [`Generations::next`] makes a list of what is there, of drafts, and without what is too old.
//! 3. The caller writes a checkpoint with the numbers of that list.
//! 4. [`Generations::adopt`] makes the list the current one, and removes the files that it does not name.
//!
//! A crash before the checkpoint leaves the old list, one after it the new one. Numbers are never given twice between starts.
//!
//! There is no clock in here, and no thread. Must not know the log, SQLite, or what an event is about.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

mod error;
mod filter;
mod format;
mod generation;
mod key;
mod merging;
mod policy;
#[cfg(test)]
mod tests;
mod value;
mod writing;

pub use crate::domain::leg::EndedLeg;
pub use error::{OpenError, Outdated, ReadError, WriteError};
pub use format::{FORMAT, Kind};
pub use key::{Fingerprint, Key, ShortFingerprint};
pub use policy::{Limits, MOST};
pub use value::PastCall;

use crate::disk::Folder;
use crate::domain::identity::StoreId;
use format::LARGEST;
use generation::{Generation, Stored};
use merging::Tables;

/// How generations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose they are.
    pub store: StoreId,
    /// How much is remembered.
    pub limits: Limits,
}

/// What is new since the last checkpoint. Of several rows of one key the last one counts.
#[derive(Clone, Debug, Default)]
pub struct New {
    /// The ids of events.
    pub ids: Vec<Key>,
    /// Legs that have ended.
    pub legs: Vec<(Key, EndedLeg)>,
    /// Calls to which nothing happens any more.
    pub calls: Vec<(Key, PastCall)>,
    /// When the oldest and the newest of the events were committed, in microseconds since 1970, UTC.
    pub times: (i64, i64),
}

/// A generation that is on the disk and that no checkpoint names yet.
#[derive(Debug)]
pub struct Draft {
    generation: Generation,
    /// The numbers of those whose place it takes.
    replaced: Vec<u64>,
    /// Whether it also holds what none of those does.
    is_new: bool,
}

/// The list of generations that a checkpoint is to name.
#[derive(Debug)]
pub struct NextList {
    /// The list that it was made of.
    base: Arc<Vec<Generation>>,
    list: Vec<Generation>,
    drafts: Vec<Arc<Stored>>,
}

/// What there is, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Generations.
    pub generations: usize,
    /// Remembered ids.
    pub ids: u64,
    /// Remembered legs that have ended.
    pub legs: u64,
    /// Remembered calls.
    pub calls: u64,
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// Bytes of the filters and block keys that are held in memory.
    pub memory_bytes: u64,
    /// When the oldest remembered id was committed, in microseconds since 1970, UTC.
    pub ids_since: Option<i64>,
    /// Files that are of no use any more and could not be removed yet.
    pub leftovers: usize,
}

/// All generations. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Generations(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: Arc<dyn Folder>,
    options: Options,
    /// The number that the next generation gets.
    number: AtomicU64,
    /// The oldest generation first.
    list: RwLock<Arc<Vec<Generation>>>,
    leftovers: Mutex<Vec<String>>,
}

impl Generations {
    /// Opens the generations that a checkpoint names, the oldest first, and removes those that it does not name: a crash left
    /// them. `now` is in microseconds since 1970, UTC.
    ///
    /// # Errors
    /// If the folder holds anything that is not what this program left there, or not all of it. Nothing is changed then.
    pub fn open(folder: Arc<dyn Folder>, options: Options, named: &[u64], now: i64) -> Result<Self, OpenError> {
        let files = folder.names().map_err(|fault| OpenError::Io { name: ".".to_owned(), fault })?;
        let mut numbers = BTreeSet::new();
        for name in files {
            let Some(number) = format::number_of(&name) else { return Err(OpenError::Unknown(name)) };
            numbers.insert(number);
        }
        let next = numbers.iter().chain(named).max().map_or(1, |last| last + 1);
        let stored = |number: u64| Stored::open(&*folder, options.store, format::name(number));
        let mut leftovers = Vec::new();
        for number in numbers.iter().filter(|number| !named.contains(number)) {
            match stored(*number) {
                Ok(_) | Err(OpenError::Header(_) | OpenError::Length { .. }) => leftovers.push(format::name(*number)),
                Err(fault) => return Err(fault),
            }
        }
        let mut all = Vec::with_capacity(named.len());
        for number in named {
            if !numbers.contains(number) {
                return Err(OpenError::Missing(format::name(*number)));
            }
            all.push(stored(*number)?);
        }
        let sizes: Vec<_> = all.iter().map(Stored::table_sizes).collect();
        let mut list = Vec::with_capacity(all.len());
        for (stored, counts) in all.into_iter().zip(policy::counting(&sizes, &options.limits, now)) {
            let mut summaries = [None, None, None];
            for ((summary, kind), _) in summaries.iter_mut().zip(Kind::ALL).zip(counts).filter(|(_, counts)| *counts) {
                *summary = Some(Arc::new(stored.summary(kind)?));
            }
            list.push(Generation { stored: Arc::new(stored), summaries });
        }

        // They are ours, and whole: only now may anything be changed.
        for name in leftovers {
            folder.remove(&name).map_err(|fault| OpenError::Io { name, fault })?;
        }
        let (number, list) = (AtomicU64::new(next), RwLock::new(Arc::new(list)));
        Ok(Self(Arc::new(Shared { folder, options, number, list, leftovers: Mutex::default() })))
    }

    /// Makes one that remembers nothing, for those who only read the log.
    #[must_use]
    pub fn none(folder: Arc<dyn Folder>, store: StoreId) -> Self {
        let options = Options { store, limits: Limits::default() };
        let (number, list) = (AtomicU64::new(1), RwLock::default());
        Self(Arc::new(Shared { folder, options, number, list, leftovers: Mutex::default() }))
    }

    /// Whether `key` may be remembered. If not, it certainly is not. Nothing is read from the disk.
    #[must_use]
    pub fn may_hold(&self, kind: Kind, key: &Key) -> bool {
        candidates(&self.list(), kind, key).any(|generation| generation.may_hold(kind, key))
    }

    /// Whether the event with this id is remembered.
    ///
    /// # Errors
    /// If a block is damaged, or the system refuses to read it.
    pub fn find_id(&self, id: &Key) -> Result<bool, ReadError> {
        Ok(self.find(Kind::Id, id)?.is_some())
    }

    /// Returns what is remembered of a leg that has ended.
    ///
    /// # Errors
    /// If a block is damaged, or the system refuses to read it.
    pub fn find_leg(&self, leg: &Key) -> Result<Option<EndedLeg>, ReadError> {
        Ok(self.find(Kind::Leg, leg)?.map(|record| value::leg_of_record(&record)))
    }

    /// Returns what is remembered of a call.
    ///
    /// # Errors
    /// If a block is damaged, or the system refuses to read it.
    pub fn find_call(&self, call: &Key) -> Result<Option<PastCall>, ReadError> {
        Ok(self.find(Kind::Call, call)?.map(|record| PastCall::of_record(&record)))
    }

    /// Reads everything that counts, to see whether it is there as it was written.
    ///
    /// # Errors
    /// If a block is damaged, or the system refuses to read it.
    pub fn check(&self) -> Result<(), ReadError> {
        self.list().iter().try_for_each(Generation::check)
    }

    /// Reads all of the generations that a checkpoint names, and returns what is wrong with which. Nothing is changed.
    #[must_use]
    pub fn damage(folder: &dyn Folder, store: StoreId, named: &[u64]) -> Vec<(u64, OpenError)> {
        let look = |number: u64| -> Result<(), OpenError> {
            let stored = Stored::open(folder, store, format::name(number))?;
            let mut summaries = [None, None, None];
            let held = Kind::ALL.into_iter().filter(|kind| stored.header.tables[*kind as usize].count > 0);
            for kind in held {
                summaries[kind as usize] = Some(Arc::new(stored.summary(kind)?));
            }
            Ok(Generation { stored: Arc::new(stored), summaries }.check()?)
        };
        named.iter().filter_map(|number| Some((*number, look(*number).err()?))).collect()
    }

    /// Returns the name of the file of a generation.
    #[must_use]
    pub fn name(number: u64) -> String {
        format::name(number)
    }

    /// Writes a new generation. If there are already as many as may be, it takes the place of the newest one, with what
    /// that holds.
    ///
    /// # Errors
    /// If it cannot be written. All is then as it was before.
    pub fn write(&self, new: New) -> Result<Draft, WriteError> {
        let list = self.list();
        let newest = list.last().filter(|_| list.len() >= MOST);
        let [mut ids, mut legs, mut calls] = Kind::ALL.map(Tables::new);
        ids.add_rows(new.ids.into_iter().map(|key| (key, [])).collect(), new.times);
        legs.add_rows(new.legs.into_iter().map(|(key, leg)| (key, value::write_leg(&leg))).collect(), new.times);
        calls.add_rows(new.calls.into_iter().map(|(key, call)| (key, call.write())).collect(), new.times);
        let (generation, replaced) = self.draft([ids, legs, calls], newest.into_iter(), new.times.1)?;
        Ok(Draft { generation, replaced, is_new: true })
    }

    /// Merges neighbours, if there are any that should be merged, into a generation that takes their place. What is too old
    /// is left out. `now` is in microseconds since 1970, UTC.
    ///
    /// Only one merge may be under way at a time.
    ///
    /// # Errors
    /// If one cannot be read, or the new one cannot be written. All is then as it was before.
    pub fn merge(&self, now: i64) -> Result<Option<Draft>, WriteError> {
        let mut list = Vec::clone(&self.list());
        if list.len() >= MOST {
            // What is written meanwhile takes the place of the newest one. In both it would be counted twice.
            list.pop();
        }
        self.forget(&mut list, now);
        let sizes: Vec<_> = list.iter().map(Generation::size).collect();
        let Some(merged) = policy::to_merge(&sizes, &self.0.options.limits) else { return Ok(None) };
        let (generation, replaced) = self.draft(Kind::ALL.map(Tables::new), list[merged].iter().rev(), now)?;
        Ok(Some(Draft { generation, replaced, is_new: false }))
    }

    /// Makes the list of the generations that are there, of drafts, and without what is too old. `now` is in microseconds
    /// since 1970, UTC.
    #[must_use]
    pub fn next(&self, drafts: Vec<Draft>, now: i64) -> NextList {
        let base = self.list();
        let mut list = Vec::clone(&base);
        let mut files = Vec::with_capacity(drafts.len());
        for Draft { generation, replaced, is_new } in drafts {
            files.push(Arc::clone(&generation.stored));
            let is_replaced = |one: &Generation| replaced.contains(&one.number());
            // Some of them may have been forgotten meanwhile, or merged. If all were, so is what a merge holds.
            match list.iter().position(is_replaced) {
                Some(at) => {
                    list[at] = generation;
                    list.retain(|one| !is_replaced(one));
                }
                None if is_new => list.push(generation),
                None => {}
            }
        }
        self.forget(&mut list, now);
        NextList { base, list, drafts: files }
    }

    /// Makes a list the current one, and removes the files that it does not name. A checkpoint that names it must be on the
    /// disk.
    ///
    /// # Errors
    /// If another list was adopted since this one was made: then the checkpoint names the wrong ones, and the store must not
    /// go on.
    pub fn adopt(&self, next: NextList) -> Result<(), Outdated> {
        let NextList { base, list, drafts } = next;
        let kept: BTreeSet<_> = list.iter().map(Generation::number).collect();
        {
            let mut current = self.0.list.write().unwrap_or_else(PoisonError::into_inner);
            if !Arc::ptr_eq(&current, &base) {
                return Err(Outdated);
            }
            *current = Arc::new(list);
        }
        let all = base.iter().map(|generation| &generation.stored).chain(&drafts);
        self.remove(all.filter(|stored| !kept.contains(&stored.header.number)).map(|stored| stored.name.clone()));
        Ok(())
    }

    /// Gives up a list, and removes the files of its drafts. There must be no checkpoint that names it, and none that may.
    pub fn discard(&self, next: NextList) {
        self.remove(next.drafts.into_iter().map(|stored| stored.name.clone()));
    }

    /// Returns the numbers of the generations, the oldest first.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        self.list().iter().map(Generation::number).collect()
    }

    /// Returns what there is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let list = self.list();
        let count = |kind| list.iter().filter_map(|generation| generation.table(kind)).map(|table| table.count).sum();
        let summaries = list.iter().flat_map(|generation| generation.summaries.iter().flatten());
        Counts {
            generations: list.len(),
            ids: count(Kind::Id),
            legs: count(Kind::Leg),
            calls: count(Kind::Call),
            disk_bytes: list.iter().map(|generation| generation.stored.header.length).sum(),
            memory_bytes: summaries.map(|summary| summary.bytes()).sum(),
            ids_since: list.iter().filter_map(|generation| generation.table(Kind::Id)).map(|table| table.oldest).min(),
            leftovers: self.0.leftovers.lock().unwrap_or_else(PoisonError::into_inner).len(),
        }
    }

    fn list(&self) -> Arc<Vec<Generation>> {
        Arc::clone(&self.0.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the newest record of `key`.
    fn find(&self, kind: Kind, key: &Key) -> Result<Option<[u8; LARGEST]>, ReadError> {
        for generation in candidates(&self.list(), kind, key) {
            if let Some(record) = generation.find(kind, key)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Forgets the tables that do not count any more, and the generations that have no other.
    fn forget(&self, list: &mut Vec<Generation>, now: i64) {
        let sizes: Vec<_> = list.iter().map(|generation| generation.stored.table_sizes()).collect();
        for (generation, counts) in list.iter_mut().zip(policy::counting(&sizes, &self.0.options.limits, now)) {
            generation.keep(counts);
        }
        list.retain(|generation| !generation.is_over());
    }

    /// Writes `tables`, and those of `replaced`, the newest first, as one generation. Returns it, and the numbers of `replaced`.
    fn draft<'a>(
        &self,
        mut tables: [Tables; Kind::COUNT],
        replaced: impl Iterator<Item = &'a Generation>,
        now: i64,
    ) -> Result<(Generation, Vec<u64>), WriteError> {
        let Shared { folder, options, number, .. } = &*self.0;
        let mut numbers = Vec::new();
        for generation in replaced {
            tables.iter_mut().try_for_each(|tables| tables.add_table(generation))?;
            numbers.push(generation.number());
        }
        let identity = (options.store, number.fetch_add(1, Ordering::Relaxed));
        let generation = writing::write(&**folder, identity, tables, options.limits.since(Kind::Leg, now))?;
        Ok((generation, numbers))
    }

    /// Removes files that are of no use any more. One that is left is removed later, or at the next start.
    fn remove(&self, names: impl Iterator<Item = String>) {
        let leftovers = &mut *self.0.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
        leftovers.extend(names);
        let remove = |name: &String| self.0.folder.remove(name);
        leftovers.retain(|name| remove(name).is_err_and(|fault| fault.kind() != io::ErrorKind::NotFound));
    }
}

impl NextList {
    /// Returns the numbers that the checkpoint has to name, in this order.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        self.list.iter().map(Generation::number).collect()
    }
}

/// Returns the generations that may hold `key`, as far as is seen at first sight, the newest first.
fn candidates<'a>(list: &'a [Generation], kind: Kind, key: &Key) -> impl Iterator<Item = &'a Generation> {
    let mut seen = 0_u32;
    for generation in list {
        seen = seen << 1 | u32::from(generation.may_hold_at_first_sight(kind, key));
    }
    let newest_first = (0..).zip(list.iter().rev());
    newest_first.filter(move |(at, _)| seen.checked_shr(*at).unwrap_or(1) & 1 == 1).map(|(_, generation)| generation)
}
