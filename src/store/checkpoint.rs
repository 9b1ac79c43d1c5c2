//! Checkpoints: what the log has changed goes into the state and into a generation, so that a start need not read the log from
//! its beginning, and segments that nobody needs can go.
//!
//! 1. What is remembered, and how each consumer stands, is taken as it is: at least as of one offset.
//! 2. What is past becomes a generation; some are merged. Both are files that nobody knows yet.
//! 3. One transaction of the state names the offset, the generations and the rest.
//! 4. The generations are adopted, and the log gives up the segments before what is needed.
//!
//! Whatever of it fails, all stays as it was, and the next checkpoint does it anew. Must not know how any of it is stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Store;
use super::committer::Work;
use super::consumer::Standing;
use super::consumers::Line;
use super::error::StoreError;
use super::remembered::Taken;
use crate::generations::{Draft, WriteError};
use crate::log::{Extent, Offset};
use crate::state::{Checkpoint, Clock, ConsumerState};

/// Ids, legs and calls that are past before there is a checkpoint.
const PAST: usize = 400_000;
/// Bytes of the log before there is a checkpoint.
const BYTES: u64 = 256 * 1024 * 1024;
/// The number of the format in which consumers are written down.
const FORMAT: u8 = 1;

/// Writes how a consumer stands.
fn encode(standing: &Standing) -> Vec<u8> {
    postcard::to_extend(standing, vec![FORMAT]).unwrap_or_default()
}

/// Reads how a consumer stood.
pub(super) fn decode(name: &str, body: &[u8]) -> Result<Standing, StoreError> {
    let unreadable = |why: &dyn std::fmt::Display| StoreError::Corrupt(format!("consumer {name}: {why}").into());
    match body.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|error| unreadable(&error)),
        Some((format, _)) => Err(unreadable(&format!(
            "it has format {format}, and this program reads format {FORMAT}; run the version that wrote it"
        ))),
        None => Err(unreadable(&"it is empty")),
    }
}

impl Store {
    /// Writes down what changed since the last checkpoint, if that is much.
    ///
    /// # Errors
    /// If it cannot be written. Nothing is lost by that.
    pub async fn keep_up(&self) -> Result<(), StoreError> {
        if self.shared.consumers.have_progress() {
            self.work(Work::Flush).await?;
        }
        let since = *self.checkpointed.lock().await;
        let bytes: u64 = self.shared.log.extents().iter().filter(|one| one.end > since).map(|one| one.bytes).sum();
        // Were the one record damaged that tells of a new consumer, nobody would know whom the events are for.
        let is_new = self.shared.consumers.next_number().0 > self.consumers_written.load(Ordering::Relaxed).max(1);
        if is_new || self.shared.remembered.young() >= PAST || bytes >= BYTES + self.segment_bytes {
            self.checkpoint().await?;
        }
        self.retain().await
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// If it cannot be written. Nothing is lost by that.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        self.alive()?;
        self.write_down().await
    }

    /// Writes a checkpoint, also after the committer has ended.
    pub(super) async fn write_down(&self) -> Result<(), StoreError> {
        let mut since = self.checkpointed.lock().await;
        let taken = self.shared.remembered.take();
        let (upto, consumers) = (taken.upto, self.shared.consumers.next_number());
        match self.write_checkpoint(&taken).await {
            Ok(()) => {
                self.shared.remembered.written();
                self.consumers_written.store(consumers.0, Ordering::Relaxed);
                *since = upto;
                Ok(())
            }
            Err(fault) => {
                self.shared.remembered.not_written(taken);
                Err(fault)
            }
        }
    }

    async fn write_checkpoint(&self, taken: &Taken) -> Result<(), StoreError> {
        let mut consumers = Vec::new();
        for line in self.shared.consumers.all() {
            consumers.push(state_of(&line).await);
        }
        let (shared, past) = (Arc::clone(&self.shared), Arc::clone(&taken.past));
        let now = self.shared.time.now();
        let drafts = tokio::task::spawn_blocking(move || -> Result<Vec<Draft>, WriteError> {
            let generations = shared.remembered.generations();
            let mut drafts = match generations.merge(now) {
                // It can wait until there is room.
                Err(WriteError::Full(_)) => Vec::new(),
                merged => Vec::from_iter(merged?),
            };
            if let Some(new) = past.generation() {
                match generations.write(new) {
                    Ok(draft) => drafts.push(draft),
                    Err(fault) => {
                        generations.discard(generations.next(drafts, now));
                        return Err(fault);
                    }
                }
            }
            Ok(drafts)
        });
        let drafts = drafts.await.map_err(|_| StoreError::Gone)??;
        let generations = self.shared.remembered.generations();
        let next = generations.next(drafts, now);
        let clock = self.shared.time.clock();
        let checkpoint = Checkpoint {
            offset: taken.upto.0,
            clock: Clock { behind: clock.0, newest: clock.1 },
            legs: taken.legs.clone(),
            ended_legs: taken.ended_legs.clone(),
            calls: taken.calls.clone(),
            ended_calls: taken.ended_calls.clone(),
            coverage: taken.coverage.clone(),
            consumers,
            removed: Vec::new(),
            generations: next.numbers(),
        };
        self.state.checkpoint(checkpoint).await?;
        self.shared.time.written(clock);
        generations.adopt(next).map_err(|fault| StoreError::Corrupt(fault.to_string().into()))
    }

    /// Gives up the segments that nobody needs.
    async fn retain(&self) -> Result<(), StoreError> {
        let mut needed = *self.checkpointed.lock().await;
        for line in self.shared.consumers.all() {
            let mut consumer = line.consumer.lock().await;
            line.move_on(&mut consumer);
            needed = needed.min(consumer.floor());
        }
        let extents = self.shared.log.extents();
        let kept = kept(&extents, needed, self.keep.0, self.keep.1, self.shared.time.now());
        if extents.iter().any(|extent| extent.end <= kept && extent.end < self.shared.log.next()) {
            self.work(Work::Retain(kept)).await?;
        }
        Ok(())
    }
}

async fn state_of(line: &Line) -> ConsumerState {
    let mut consumer = line.consumer.lock().await;
    let body = encode(&line.standing(&mut consumer));
    ConsumerState { number: line.number.0, name: line.name.as_str().to_owned(), body }
}

/// Returns the first event that is kept: one that is `needed`, or younger than `keep` (microseconds) at `now` and among the
/// newest `bytes`.
fn kept(extents: &[Extent], needed: Offset, keep: i64, bytes: u64, now: i64) -> Offset {
    let mut sum = 0;
    let too_many = extents.iter().rev().find(|extent| {
        sum += extent.bytes;
        sum > bytes
    });
    let beyond = too_many.map_or(Offset(0), |extent| extent.end);
    let old = extents.iter().take_while(|extent| extent.newest.is_none_or(|newest| newest < now.saturating_sub(keep)));
    let old = old.last().map_or(Offset(0), |extent| extent.end);
    needed.min(beyond.max(old))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(of: &[(u64, u64, u64, i64)]) -> Vec<Extent> {
        let extent = |(first, end, bytes, newest): &(u64, u64, u64, i64)| Extent {
            name: String::new(),
            first: Offset(*first),
            end: Offset(*end),
            bytes: *bytes,
            newest: Some(*newest),
            shares: Vec::new(),
        };
        of.iter().map(extent).collect()
    }

    #[test]
    fn a_segment_is_kept_while_it_is_needed_or_young_and_there_is_room() {
        let three = extents(&[(1, 10, 100, 10), (10, 20, 100, 20), (20, 30, 100, 30)]);
        let table = [
            // needed, keep, bytes, now: kept
            (30, 100, 1000, 40, 0),
            (30, 25, 1000, 40, 10),
            (30, 0, 1000, 40, 30),
            (15, 0, 1000, 40, 15),
            (30, 100, 250, 40, 10),
            (30, 100, 100, 40, 20),
            (5, 100, 100, 40, 5),
            (30, 100, 0, 40, 30),
        ];
        for (needed, keep, bytes, now, first) in table {
            assert_eq!(kept(&three, Offset(needed), keep, bytes, now), Offset(first), "{needed} {keep} {bytes}");
        }
        assert_eq!(kept(&[], Offset(1), 0, 0, 5), Offset(0));
    }
}
