//! The queue of each sink: what is owed to it, in order, and how its deliveries ended.
//!
//! What is in memory is read at once; where the disk has to be read, that is done on a thread that may block. Must not know
//! how events are delivered.

use std::sync::Arc;

use jiff::Timestamp;

use super::consumer::{Consumer, Picked, Progress, ReadFault, Reader, counted};
use super::consumers::{Line, Tail};
use super::error::StoreError;
use super::{Bounds, Depth, Owed, Pick, Settlement, Shed, Store, offset, position, timestamp};
use crate::domain::limits::REASON_BYTES;
use crate::domain::name::SinkName;
use crate::log::{Offset, Read};
use crate::state::NewDead;

/// Events that are shed at once.
const SHED: usize = 256;
/// Events that are looked for in one step of a purge.
const PURGED: usize = 1024;

impl Store {
    /// Returns what is owed to `sink` beyond the position `after` (0: from the beginning), in queue order.
    pub async fn due(&self, sink: &SinkName, after: i64, limit: usize) -> Result<Vec<Owed>, StoreError> {
        self.pick(sink, &Pick { after, until: i64::MAX, without: Vec::new(), first_below: None, limit }).await
    }

    /// Returns what is owed to `sink` and asked for by `pick`, in queue order.
    pub async fn pick(&self, sink: &SinkName, pick: &Pick) -> Result<Vec<Owed>, StoreError> {
        let Some(line) = self.shared.consumers.of(sink) else { return Ok(Vec::new()) };
        if line.counts().events == 0 {
            return Ok(Vec::new());
        }
        let wanted = pick.clone();
        let picked = self.read(&line, move |consumer, log| consumer.pick(&wanted, log)).await?;
        self.owed(picked)
    }

    /// Returns what was read and is owed to `sink` of these calls (partition keys), in queue order.
    pub async fn of_calls(&self, sink: &SinkName, calls: &[Arc<str>], limit: usize) -> Result<Vec<Owed>, StoreError> {
        let Some(line) = self.shared.consumers.of(sink) else { return Ok(Vec::new()) };
        let calls = calls.to_vec();
        let picked = self.read(&line, move |consumer, log| consumer.of_calls(&calls, limit, log)).await?;
        self.owed(picked)
    }

    /// Has `work` read from memory, or where that does not do, from the disk on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        line: &Arc<Line>,
        work: impl Fn(&mut Consumer, &dyn Reader) -> Result<T, ReadFault> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.is_closed() {
            return Err(StoreError::Closed);
        }
        self.shared.presence.told()?;
        let mut consumer = Arc::clone(&line.consumer).lock_owned().await;
        match work(&mut consumer, &Tail(&self.shared.log)) {
            Err(ReadFault::OnDisk) => {}
            outcome => return outcome.map_err(StoreError::from),
        }
        let (log, line) = (self.shared.log.clone(), Arc::clone(line));
        let read = tokio::task::spawn_blocking(move || {
            let mut done = work(&mut consumer, &log)?;
            if consumer.take_met_lost() {
                tracing::error!(
                    sink = %line.name,
                    "events cannot be read any more: they are damaged in the log, and become dead letters; see `queue check`"
                );
                line.recount(&consumer, &log)?;
                // What was read is pending, and how much that is may be a part of the answer.
                done = work(&mut consumer, &log)?;
            }
            Ok(done)
        });
        read.await.map_err(|_| StoreError::Gone)?.map_err(|fault: ReadFault| fault.into())
    }

    fn owed(&self, picked: Vec<Picked>) -> Result<Vec<Owed>, StoreError> {
        let mut owed = Vec::with_capacity(picked.len());
        for Picked { read, failures } in picked {
            owed.push(Owed {
                position: position(read.offset),
                id: read.entry.id.clone(),
                partition: read.entry.partition.as_str().to_owned(),
                received: timestamp(read.entry.received)?,
                attempts: failures.map_or(0, |failures| failures.attempts),
                failing_since: failures.map(|failures| timestamp(failures.since)).transpose()?,
                body: Arc::clone(&read.entry.body),
                intact: read.intact,
            });
        }
        self.shared.time.owed(&mut owed);
        Ok(owed)
    }

    /// Returns the newest position that may be owed to `sink`, if anything is.
    pub async fn newest(&self, sink: &SinkName) -> Result<Option<i64>, StoreError> {
        self.shared.presence.told()?;
        let counts = self.shared.consumers.of(sink).map(|line| line.counts()).unwrap_or_default();
        Ok((counts.events > 0).then(|| position(counts.upto) - 1))
    }

    /// Remembers how deliveries to `sink` ended. A position that is not owed, or was not read yet, is left alone.
    ///
    /// Only what is given up is on the disk then; the rest follows within a second. Who dies before that delivers it again.
    pub async fn settle(&self, sink: &SinkName, settlements: Vec<(i64, Settlement)>) -> Result<(), StoreError> {
        let Some(line) = self.shared.consumers.of(sink) else { return Ok(()) };
        self.alive()?;
        let now = self.shared.time.now();
        self.bury(&line, &settlements, now).await?;
        let mut consumer = line.consumer.lock().await;
        let mut progress = Progress::default();
        for (position, settlement) in settlements {
            let offset = offset(position);
            match settlement {
                Settlement::Delivered | Settlement::Dead { .. } => {
                    progress.done.extend(consumer.acknowledge(offset).map(|bytes| (offset.0, bytes)));
                }
                Settlement::Retried => {
                    progress.failed.extend(consumer.fail(offset, now).map(|failures| (offset.0, failures)));
                }
            }
        }
        line.note(progress);
        Ok(())
    }

    /// Keeps what was given up as dead letters: before it is acknowledged, so that nobody loses it.
    async fn bury(&self, line: &Line, settlements: &[(i64, Settlement)], now: i64) -> Result<(), StoreError> {
        let mut letters = Vec::new();
        for (position, settlement) in settlements {
            let Settlement::Dead { reason } = settlement else { continue };
            let offset = offset(*position);
            let failures = line.consumer.lock().await.failures_of(offset);
            let Some(failures) = failures else { continue };
            let Some(read) = self.event(offset).await? else { continue };
            letters.push(NewDead {
                offset: offset.0,
                attempts: failures.map_or(0, |failures| failures.attempts).saturating_add(1),
                received: timestamp(read.entry.received)?,
                died: timestamp(now)?,
                reason: reason[..reason.floor_char_boundary(REASON_BYTES)].to_owned(),
                id: read.entry.id.clone(),
                partition: read.entry.partition.clone(),
                body: Arc::clone(&read.entry.body),
            });
        }
        if !letters.is_empty() {
            let new = self.state.bury(line.number.0, letters).await?;
            line.set_dead(line.dead() + new);
        }
        Ok(())
    }

    /// Returns the event at `offset`, if the log still has it.
    pub(super) async fn event(&self, offset: Offset) -> Result<Option<Arc<Read>>, StoreError> {
        let log = self.shared.log.clone();
        let found = match log.read_tail(offset, 1) {
            Some(found) => found,
            None => {
                let read = tokio::task::spawn_blocking(move || log.read(offset, 1)).await;
                read.map_err(|_| StoreError::Gone)??
            }
        };
        Ok(found.into_iter().next().filter(|read| read.offset == offset))
    }

    /// Returns how much is owed to `sink`, at a cost that does not grow with it.
    pub async fn depth(&self, sink: &SinkName) -> Result<Depth, StoreError> {
        self.shared.presence.told()?;
        let Some(line) = self.shared.consumers.of(sink) else { return Ok(Depth::default()) };
        let counts = line.counts();
        let mut depth =
            Depth { events: counts.events, bytes: counts.bytes, oldest: None, dead: line.dead(), pending: 0 };
        if depth.events > 0 {
            let read = self.read(&line, |consumer, log| Ok((consumer.oldest(1, log)?, consumer.pending()))).await?;
            let (oldest, pending) = read;
            depth.oldest = oldest.first().map(|(.., received)| timestamp(*received)).transpose()?;
            depth.pending = pending;
        }
        Ok(self.shared.time.depth(depth))
    }

    /// Takes the oldest events from `sink`, a few hundred at most, while it is beyond `bounds`. They are lost to it.
    pub async fn shed(&self, sink: &SinkName, bounds: Bounds) -> Result<Shed, StoreError> {
        let Some(line) = self.shared.consumers.of(sink) else { return Ok(Shed::default()) };
        self.alive()?;
        let received = self.shared.time.inside(bounds.received);
        let received = if self.shared.time.is_unsettled() { Timestamp::MIN } else { received }.as_microsecond();
        let oldest = self.read(&line, |consumer, log| consumer.oldest(SHED, log)).await?;
        let mut consumer = line.consumer.lock().await;
        let (mut shed, mut progress, mut left) = (Shed::default(), Progress::default(), line.counts().bytes);
        for (offset, bytes, at) in &oldest {
            let goes = match bounds.bytes {
                Some(most) if left > most => &mut shed.full,
                _ if *at < received => &mut shed.age,
                _ => break,
            };
            if consumer.acknowledge(*offset).is_some() {
                *goes += 1;
                left = left.saturating_sub(counted(*bytes));
                progress.done.push((offset.0, *bytes));
            }
        }
        shed.more = progress.done.len() == SHED;
        line.note(progress);
        Ok(shed)
    }

    /// Takes events from `sink` for good that were read and are owed. Says how many there were.
    pub async fn discard(&self, sink: &SinkName, positions: Vec<i64>) -> Result<u64, StoreError> {
        let Some(line) = self.shared.consumers.of(sink) else { return Ok(0) };
        self.alive()?;
        let mut consumer = line.consumer.lock().await;
        let done = positions.into_iter().filter_map(|position| {
            let offset = offset(position);
            Some((offset.0, consumer.acknowledge(offset)?))
        });
        let progress = Progress { done: done.collect(), ..Progress::default() };
        let discarded = progress.done.len() as u64;
        line.note(progress);
        Ok(discarded)
    }

    /// Takes all from `sink` that is owed now. Says how many events there were.
    pub(super) async fn discard_all(&self, line: &Arc<Line>) -> Result<u64, StoreError> {
        let (end, mut discarded) = (self.shared.log.next(), 0);
        loop {
            let oldest = self.read(line, |consumer, log| consumer.oldest(PURGED, log)).await?;
            let mut consumer = line.consumer.lock().await;
            let of_before = oldest.into_iter().filter(|(offset, ..)| *offset < end);
            let done = of_before.filter_map(|(offset, ..)| Some((offset.0, consumer.acknowledge(offset)?)));
            let progress = Progress { done: done.collect(), ..Progress::default() };
            if progress.done.is_empty() {
                return Ok(discarded);
            }
            discarded += progress.done.len() as u64;
            line.note(progress);
        }
    }
}
