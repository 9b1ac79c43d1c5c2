//! What an operator sees of the queue: the sinks that hold anything, dead letters, and single events.
//!
//! Must not know who asks, or change anything.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::{Store, offset, position, timestamp};
use crate::domain::identity::Token;
use crate::domain::name::SinkName;
use crate::log::{Offset, Read};
use crate::state::DeadLetter;

/// Dead letters that are looked at in one step.
const STEP: usize = 256;

/// Which event is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one at this position.
    Position(i64),
    /// The newest with this id.
    Id(String),
}

/// A part of what the queue of a sink holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What is yet to be delivered.
    Owed,
    /// What was given up.
    Dead,
}

/// An event of the queue, and what became of it so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Position in the queue.
    pub position: i64,
    /// The event's id.
    pub id: Token,
    /// Its partition key.
    pub partition: String,
    /// When the stanza was read.
    pub received: Timestamp,
    /// The event as JSON, or what is left of it.
    pub body: Arc<str>,
    /// Whether all that is what was once written.
    pub intact: bool,
    /// The sinks that do not have it, by name.
    pub standings: Vec<(SinkName, Standing)>,
}

/// An event as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its position.
    pub position: i64,
    /// Its id.
    pub id: Token,
    /// Its partition key.
    pub partition: Token,
    /// The event as JSON, without a line break.
    pub body: Arc<str>,
}

/// How a sink stands to an event it does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is still to get it.
    Owed {
        /// Tries so far.
        attempts: u32,
        /// When the first of them failed.
        failing_since: Option<Timestamp>,
    },
    /// It was given up.
    Dead {
        /// Tries, all failed.
        attempts: u32,
        /// When.
        died: Timestamp,
        /// Why.
        reason: String,
    },
}

impl Store {
    /// The sinks that are owed anything or have dead letters, configured or not, by name.
    pub async fn holding(&self) -> Result<Vec<SinkName>, StoreError> {
        let lines = self.shared.consumers.all();
        let holding = lines.iter().filter(|line| line.counts().events > 0 || line.dead() > 0);
        let mut names: Vec<SinkName> = holding.map(|line| line.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    /// Returns how many dead letters of each consumer there are.
    pub(super) async fn count_dead(&self) -> Result<(), StoreError> {
        let counts = self.state.dead_counts().await?;
        for line in self.shared.consumers.all() {
            line.set_dead(counts.get(&line.number.0).map_or(0, |count| count.letters));
        }
        Ok(())
    }

    /// The dead letters of `sink` beyond the position `after` (0: from the beginning), in queue order.
    pub async fn dead(&self, sink: &SinkName, after: i64, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let Some(line) = self.shared.consumers.of(sink) else { return Ok(Vec::new()) };
        let mut letters = self.state.dead(line.number.0, offset(after).0, limit).await?;
        self.shared.time.dead(&mut letters);
        Ok(letters)
    }

    /// The newest dead letters of `sink`, the newest first.
    pub async fn latest_dead(&self, sink: &SinkName, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let Some(line) = self.shared.consumers.of(sink) else { return Ok(Vec::new()) };
        let mut letters = self.state.latest_dead(line.number.0, limit).await?;
        self.shared.time.dead(&mut letters);
        Ok(letters)
    }

    /// An event that is owed or dead, if there is one.
    pub async fn find(&self, wanted: &Wanted) -> Result<Option<Found>, StoreError> {
        let read = match wanted {
            Wanted::Position(position) => self.event(offset(*position)).await?,
            Wanted::Id(id) => self.newest_with(Token::from(id.as_str())).await?,
        };
        let mut found = match (&read, wanted) {
            (Some(read), _) => Some(Found {
                position: position(read.offset),
                id: read.entry.id.clone(),
                partition: read.entry.partition.as_str().to_owned(),
                received: timestamp(read.entry.received)?,
                body: Arc::clone(&read.entry.body),
                intact: read.intact,
                standings: self.owed_by(read).await?,
            }),
            (None, _) => None,
        };
        let at = read.map(|read| read.offset);
        let mut dead = BTreeMap::new();
        for (sink, letter) in self.letters(wanted, at).await? {
            dead.insert((sink, letter.offset), letter);
        }
        for ((sink, _), letter) in dead {
            let DeadLetter { offset, attempts, received, died, reason, id, partition, body, intact } = letter;
            let found = found.get_or_insert_with(|| Found {
                position: position(Offset(offset)),
                id,
                partition: partition.as_str().to_owned(),
                received,
                body,
                intact,
                standings: Vec::new(),
            });
            if found.position == position(Offset(offset)) {
                found.standings.push((sink, Standing::Dead { attempts, died, reason }));
            }
        }
        if let Some(found) = &mut found {
            found.standings.sort_by(|(one, _), (other, _)| one.cmp(other));
            self.shared.time.found(found);
        }
        Ok(found.filter(|found| !found.standings.is_empty()))
    }

    /// Returns events of the log beyond the position `after`, whether anybody is owed them or not, in order: as many as have
    /// about `bytes` bytes, and at least one, unless there is none.
    pub async fn kept(&self, after: i64, bytes: usize) -> Result<Vec<Kept>, StoreError> {
        let (log, from) = (self.shared.log.clone(), offset(after).next());
        let read = tokio::task::spawn_blocking(move || log.read(from, bytes)).await.map_err(|_| StoreError::Gone)??;
        let kept = read.into_iter().map(|read| Kept {
            position: position(read.offset),
            id: read.entry.id.clone(),
            partition: read.entry.partition.clone(),
            body: Arc::clone(&read.entry.body),
        });
        Ok(kept.collect())
    }

    /// Returns which sinks are owed an event.
    async fn owed_by(&self, read: &Read) -> Result<Vec<(SinkName, Standing)>, StoreError> {
        let mut standings = Vec::new();
        for line in self.shared.consumers.all() {
            let consumer = line.consumer.lock().await;
            if !read.entry.consumers.contains(&line.number) || consumer.is_done(read.offset) {
                continue;
            }
            let failures = consumer.known_failures(read.offset);
            standings.push((
                line.name.clone(),
                Standing::Owed {
                    attempts: failures.map_or(0, |failures| failures.attempts),
                    failing_since: failures.map(|failures| timestamp(failures.since)).transpose()?,
                },
            ));
        }
        Ok(standings)
    }

    /// Looks through the whole log for the newest event with an id: only operators ask for that.
    async fn newest_with(&self, id: Token) -> Result<Option<Arc<Read>>, StoreError> {
        let log = self.shared.log.clone();
        let found = tokio::task::spawn_blocking(move || {
            let mut found = None;
            let replayed = log.replay(log.first(), |first, committed, group| {
                for (offset, entry) in (first.0..).map(Offset).zip(group.entries) {
                    if entry.id == id {
                        found = Some(Arc::new(Read { offset, committed, entry, intact: true }));
                    }
                }
                ControlFlow::Continue(())
            });
            replayed.map(|_| found)
        });
        Ok(found.await.map_err(|_| StoreError::Gone)??)
    }

    /// Returns the dead letters that are meant: those at a position, or with an id.
    async fn letters(&self, wanted: &Wanted, at: Option<Offset>) -> Result<Vec<(SinkName, DeadLetter)>, StoreError> {
        let mut found = Vec::new();
        for line in self.shared.consumers.all().into_iter().filter(|line| line.dead() > 0) {
            let at = match wanted {
                Wanted::Position(position) => Some(offset(*position)),
                Wanted::Id(_) => at,
            };
            let letters = match at {
                Some(at) => self.state.dead_at(line.number.0, &[at.0]).await?,
                None => Vec::new(),
            };
            found.extend(letters.into_iter().map(|letter| (line.name.clone(), letter)));
            let Wanted::Id(id) = wanted else { continue };
            let mut after = 0;
            loop {
                let letters = self.state.dead(line.number.0, after, STEP).await?;
                let Some(last) = letters.last() else { break };
                after = last.offset;
                let with_id = letters.into_iter().filter(|letter| letter.id.as_str() == id);
                found.extend(with_id.map(|letter| (line.name.clone(), letter)));
            }
        }
        Ok(found)
    }
}
