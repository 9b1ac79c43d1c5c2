//! The consumers of the log: one for each sink that was ever owed anything.
//!
//! Each is locked by itself, and what is counted when events are committed has a lock of its own: a sink that reads from the
//! disk holds up neither commits nor other sinks. Must not know how events are delivered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::changes::NewConsumer;
use super::consumer::{Consumer, LOST, Progress, ReadFault, Reader, Standing, counted};
use crate::domain::name::SinkName;
use crate::log::{ConsumerNumber, Entry, Log, Offset, Read, ReadError};

/// A consumer, and what is known of it without asking it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: ConsumerNumber,
    pub(super) name: SinkName,
    pub(super) consumer: Arc<tokio::sync::Mutex<Consumer>>,
    counts: Mutex<Counts>,
    /// What the next group of the log shall say of it.
    outbox: Mutex<Progress>,
    dead: AtomicU64,
}

/// What a consumer is owed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) events: u64,
    /// Bytes of their JSON.
    pub(super) bytes: u64,
    /// Owed events before this offset are counted.
    pub(super) upto: Offset,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    fn new(number: ConsumerNumber, name: SinkName, consumer: Consumer, counts: Counts) -> Self {
        let consumer = Arc::new(tokio::sync::Mutex::new(consumer));
        let (counts, outbox) = (Mutex::new(counts), Mutex::default());
        Self { number, name, consumer, counts, outbox, dead: AtomicU64::new(0) }
    }

    pub(super) fn counts(&self) -> Counts {
        *lock(&self.counts)
    }

    pub(super) fn dead(&self) -> u64 {
        self.dead.load(Ordering::Relaxed)
    }

    pub(super) fn set_dead(&self, letters: u64) {
        self.dead.store(letters, Ordering::Relaxed);
    }

    /// Events are done, or failed: the next group of the log shall say so.
    pub(super) fn note(&self, progress: Progress) {
        {
            let mut counts = lock(&self.counts);
            let bytes: u64 = progress.done.iter().map(|(_, bytes)| counted(*bytes)).sum();
            counts.events = counts.events.saturating_sub(progress.done.len() as u64);
            counts.bytes = counts.bytes.saturating_sub(bytes);
        }
        lock(&self.outbox).extend(progress);
    }

    /// Counts anew what is owed, for which nobody may use the consumer meanwhile: of events that cannot be read any more nobody
    /// knows how many were counted.
    pub(super) fn recount(&self, consumer: &Consumer, log: &dyn Reader) -> Result<(), ReadFault> {
        let before = self.counts();
        let (events, bytes) = consumer.count(before.upto, log)?;
        let mut counts = lock(&self.counts);
        // What was committed since then is counted already.
        counts.events = counts.events.saturating_sub(before.events) + events;
        counts.bytes = counts.bytes.saturating_sub(before.bytes) + bytes;
        Ok(())
    }

    /// Nothing that was counted is owed: then nobody asks the consumer to read on, and it has to move on by itself.
    pub(super) fn move_on(&self, consumer: &mut Consumer) {
        let counts = self.counts();
        if counts.events == 0 && consumer.floor() < counts.upto {
            consumer.skip(counts.upto);
        }
    }

    /// What is to be written down of it, for which nobody may use the consumer meanwhile.
    pub(super) fn standing(&self, consumer: &mut Consumer) -> Standing {
        self.move_on(consumer);
        let counts = lock(&self.counts);
        Standing { owed: counts.events, bytes: counts.bytes, counted: counts.upto.0, ..consumer.standing() }
    }
}

/// All consumers. While the router runs only the committer adds any.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    by_number: RwLock<BTreeMap<ConsumerNumber, Arc<Line>>>,
}

/// The events of one group for each consumer: how many, and how many bytes.
pub(super) type Shares = BTreeMap<ConsumerNumber, (u64, u64)>;

/// Returns whom events are for.
pub(super) fn shares<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Shares {
    let mut shares = Shares::new();
    for entry in entries {
        for consumer in &entry.consumers {
            let (events, bytes) = shares.entry(*consumer).or_default();
            (*events, *bytes) = (*events + 1, *bytes + entry.body.len() as u64);
        }
    }
    shares
}

impl Consumers {
    /// Returns all of them.
    pub(super) fn all(&self) -> Vec<Arc<Line>> {
        self.by_number.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Returns the one of a sink.
    pub(super) fn of(&self, sink: &SinkName) -> Option<Arc<Line>> {
        let consumers = self.by_number.read().unwrap_or_else(PoisonError::into_inner);
        consumers.values().find(|line| line.name == *sink).cloned()
    }

    fn get(&self, number: ConsumerNumber) -> Option<Arc<Line>> {
        self.by_number.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Returns the number that the next one gets.
    pub(super) fn next_number(&self) -> ConsumerNumber {
        let consumers = self.by_number.read().unwrap_or_else(PoisonError::into_inner);
        ConsumerNumber(consumers.last_key_value().map_or(1, |(number, _)| number.0 + 1))
    }

    fn insert(&self, line: Line) {
        let mut consumers = self.by_number.write().unwrap_or_else(PoisonError::into_inner);
        consumers.entry(line.number).or_insert_with(|| Arc::new(line));
    }

    /// Adds one as a checkpoint has it.
    pub(super) fn restore(&self, number: ConsumerNumber, name: SinkName, standing: &Standing) {
        let Standing { owed: events, bytes, counted, .. } = *standing;
        let counts = Counts { events, bytes, upto: Offset(counted) };
        self.insert(Line::new(number, name, Consumer::restore(number, standing), counts));
    }

    /// Adds new ones. One that is there already stays as it is.
    pub(super) fn add(&self, new: &[NewConsumer]) {
        for NewConsumer { number, name, begin } in new {
            let counts = Counts { upto: *begin, ..Counts::default() };
            self.insert(Line::new(*number, name.clone(), Consumer::new(*number, *begin), counts));
        }
    }

    /// A group whose events end before `end` is on the disk.
    pub(super) fn owe(&self, shares: &Shares, end: Offset) {
        for (number, (events, bytes)) in shares {
            if let Some(line) = self.get(*number) {
                let mut counts = lock(&line.counts);
                *counts = Counts { events: counts.events + events, bytes: counts.bytes + bytes, upto: end };
            }
        }
    }

    /// Replays the events of a group of which nobody knows yet whether they were counted before the checkpoint.
    pub(super) fn replay(&self, first: Offset, entries: &[Entry]) {
        for (offset, entry) in (first.0..).map(Offset).zip(entries) {
            for line in entry.consumers.iter().filter_map(|number| self.get(*number)) {
                let mut counts = lock(&line.counts);
                if offset >= counts.upto {
                    let bytes = entry.body.len() as u64;
                    *counts = Counts { events: counts.events + 1, bytes: counts.bytes + bytes, upto: offset.next() };
                }
            }
        }
    }

    /// Replays what a group says of the progress of consumers.
    pub(super) fn replay_progress(&self, progress: &[(ConsumerNumber, Progress)]) {
        for (number, progress) in progress {
            let Some(line) = self.get(*number) else { continue };
            // Nobody else has it at the start.
            let Ok(mut consumer) = line.consumer.try_lock() else { continue };
            let (events, bytes) = consumer.replay(progress);
            let mut counts = lock(&line.counts);
            counts.events = counts.events.saturating_sub(events);
            counts.bytes = counts.bytes.saturating_sub(bytes);
        }
    }

    /// Replays that these events are dead letters. Of one that is owed still the log does not say so: it has to, or it would be
    /// owed again once the letter is gone.
    pub(super) fn replay_dead(&self, number: ConsumerNumber, offsets: &[u64], log: &Log) -> Result<(), ReadError> {
        let Some(line) = self.get(number) else { return Ok(()) };
        // Nobody else has it at the start.
        let Ok(mut consumer) = line.consumer.try_lock() else { return Ok(()) };
        let mut progress = Progress::default();
        for offset in offsets.iter().map(|offset| Offset(*offset)).filter(|offset| !consumer.is_done(*offset)) {
            let read = log.read(offset, 1)?;
            let read = read.first().filter(|read| read.offset == offset);
            let bytes =
                |read: &Read| if read.intact { u32::try_from(read.entry.body.len()).unwrap_or(LOST) } else { LOST };
            progress.done.extend(read.map(|read| (offset.0, bytes(read))));
        }
        consumer.replay(&progress);
        line.note(progress);
        Ok(())
    }

    /// Counts anew what is owed to those who have met events that cannot be read any more, or to all if some are `lost` that
    /// were never counted.
    pub(super) fn recount(&self, lost: bool, log: &Log) -> Result<(), ReadFault> {
        for line in self.all() {
            // Nobody else has it at the start.
            let Ok(mut consumer) = line.consumer.try_lock() else { continue };
            if lost {
                lock(&line.counts).upto = log.next();
            }
            if consumer.take_met_lost() || lost {
                line.recount(&consumer, log)?;
            }
        }
        Ok(())
    }

    /// Takes what the next group of the log shall say of them, of at most `events` events that are done and as many that
    /// failed: a record has a bound.
    pub(super) fn take_progress(&self, events: usize) -> Vec<(ConsumerNumber, Progress)> {
        let mut left = events;
        let take = |line: Arc<Line>| {
            let progress = lock(&line.outbox).take(left);
            left -= progress.done.len().max(progress.failed.len());
            (!progress.is_empty()).then_some((line.number, progress))
        };
        self.all().into_iter().filter_map(take).collect()
    }

    /// Returns whether the log has something to be told of them.
    pub(super) fn have_progress(&self) -> bool {
        self.all().iter().any(|line| !lock(&line.outbox).is_empty())
    }

    /// What was taken could not be written: it comes before what was noted since.
    pub(super) fn put_back(&self, progress: Vec<(ConsumerNumber, Progress)>) {
        for (number, mut earlier) in progress {
            if let Some(line) = self.get(number) {
                let mut outbox = lock(&line.outbox);
                earlier.extend(std::mem::take(&mut *outbox));
                *outbox = earlier;
            }
        }
    }
}

/// Reads from the disk what is not in memory.
impl Reader for Log {
    fn read(&self, from: Offset, bytes: usize) -> Result<Vec<Arc<Read>>, ReadFault> {
        Self::read(self, from, bytes).map_err(ReadFault::Log)
    }
}

/// Reads what is in memory, and nothing else.
pub(super) struct Tail<'a>(pub(super) &'a Log);

impl Reader for Tail<'_> {
    fn read(&self, from: Offset, bytes: usize) -> Result<Vec<Arc<Read>>, ReadFault> {
        self.0.read_tail(from, bytes).ok_or(ReadFault::OnDisk)
    }
}
