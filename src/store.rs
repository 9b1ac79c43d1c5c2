//! What outlives the process: every event until all sinks have it, what is remembered between events, and the subscription
//! ledger.
//!
//! # How it works
//!
//! * Every event lies once, in the order of its commit, in the **event log** ([`crate::log`]): files that are only appended
//!   to. Whatever waits to be committed goes into one record, which is written and synced as a whole (`committer.rs`); then
//!   everyone is answered. The record also says what it changes besides: legs, calls, coverage, and what sinks are through
//!   with (`changes.rs`).
//! * Each sink has a **consumer** (`consumer.rs`): which events it is through with, as ranges of offsets. All others for it
//!   are owed. It reads them from the log by itself, the newest from memory; a sick one costs the others nothing.
//! * What is **remembered** (`remembered.rs`) is made of the records and of nothing else: the legs and calls that live are in
//!   memory, the ids, legs and calls of the past in generations ([`crate::generations`]).
//! * The **state** ([`crate::state`]) is a small database: the ledger, dead letters, and a **checkpoint** (`checkpoint.rs`)
//!   of all that the log has changed up to an offset. A start reads it, and then the records after it (`opening.rs`).
//! * **Retention** removes whole segments: those that every consumer is through with, that the checkpoint has seen, and that
//!   are older than `store.keep` or more than `store.keep_bytes`.
//!
//! What was answered with `Ok` is on the disk, but for acknowledgements: these are written down within a second, and after a
//! crash what they were for is delivered again. One process owns the store. Must not know XMPP, actors or sinks' insides.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use jiff::Timestamp;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::domain::identity::Token;
use crate::domain::leg::{Call, EndedLeg, Leg};
use crate::domain::name::{AccountName, NodeName};
use crate::log::Offset;
use crate::metrics::Metrics;
use crate::state::State;

mod changes;
mod checkpoint;
mod committer;
mod consumer;
mod consumers;
mod delivery;
mod error;
mod inspection;
mod opening;
mod operator;
pub mod options;
mod presence;
mod queue;
mod remembered;
mod repair;
#[cfg(test)]
mod tests;
mod time;

pub use crate::state::{Coverage, DeadLetter, LedgerEntry, Room};
pub use delivery::{Bounds, CommitEvent, Depth, Done, Owed, Pick, Settlement, Shed};
pub use error::{OpenError, StoreError};
pub use inspection::{Found, Kept, Part, Standing, Wanted};
pub use repair::{RepairError, Repaired};

use committer::{Operation, Shared, WAITING, Work};
use opening::Place;
use options::Options;

/// The store, open. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    state: State,
    shared: Arc<Shared>,
    committer: mpsc::Sender<Operation>,
    access: Access,
    place: Arc<Place>,
    closing: Arc<AtomicBool>,
    /// The last checkpoint has seen all events before this offset. Locked while one is written.
    checkpointed: Arc<Mutex<Offset>>,
    /// Consumers with a lower number than this one are in the last checkpoint.
    consumers_written: Arc<AtomicU32>,
    segment_bytes: u64,
    /// How long, in microseconds, and up to how many bytes events are kept that nobody is owed.
    keep: (i64, u64),
}

/// What a process may do with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Everything: it owns the store.
    Owner,
    /// Read it, and ask the owner for something.
    Beside,
}

impl Store {
    /// The bound of [`Store::waiting`]; further callers wait for a place.
    pub const WAITING: usize = WAITING;

    /// Opens the store, makes it if it is absent, and owns it until [`Store::close`] or the end of the process.
    pub async fn open(options: &Options) -> Result<Self, OpenError> {
        opening::open(options).await
    }

    /// Opens an existing store for a command of the operator, also while a router owns it: as it is now. Makes nothing, and
    /// keeps no router from starting. What changes the store is asked of its owner, if there is one.
    pub async fn beside(options: &Options) -> Result<Self, OpenError> {
        opening::beside(options).await
    }

    /// Opens an existing store for a command of the operator that changes it: as its owner, or beside a router that is.
    pub async fn for_operator(options: &Options) -> Result<Self, OpenError> {
        opening::for_operator(options).await
    }

    fn new(
        state: State,
        shared: Arc<Shared>,
        committer: mpsc::Sender<Operation>,
        access: Access,
        place: &Place,
        options: &Options,
    ) -> Self {
        let keep = i64::try_from(options.keep.as_micros()).unwrap_or(i64::MAX);
        Self {
            state,
            shared,
            committer,
            access,
            place: Arc::new(place.clone()),
            closing: Arc::default(),
            checkpointed: Arc::default(),
            consumers_written: Arc::default(),
            segment_bytes: opening::segment_bytes(options),
            keep: (keep, options.keep_bytes),
        }
    }

    /// Returns what of `recall` is known.
    pub async fn recall(&self, recall: Recall) -> Result<Recalled, StoreError> {
        // What is known there may be known nowhere else.
        self.shared.presence.told()?;
        let (mut recalled, sought) = self.shared.remembered.recall(&recall);
        if !sought.is_empty() {
            let shared = Arc::clone(&self.shared);
            let found = tokio::task::spawn_blocking(move || {
                sought.find(shared.remembered.generations(), &mut recalled).map(|()| recalled)
            });
            recalled = found.await.map_err(|_| StoreError::Gone)??;
        }
        self.shared.time.recalled(&mut recalled);
        Ok(recalled)
    }

    /// Returns live legs of a service (short name) untouched since `ringing`, or since `answered` where they were answered; the
    /// oldest first, at most `limit`.
    pub async fn stale(
        &self,
        service: &str,
        ringing: Timestamp,
        answered: Timestamp,
        limit: u32,
    ) -> Result<Vec<Leg>, StoreError> {
        let [ringing, answered] = [ringing, answered].map(|limit| self.shared.time.inside(limit));
        if self.shared.time.is_unsettled() {
            return Ok(Vec::new());
        }
        let (shared, service) = (Arc::clone(&self.shared), service.to_owned());
        let stale =
            tokio::task::spawn_blocking(move || shared.remembered.stale(&service, ringing, answered, limit as usize));
        let stale = stale.await.map_err(|_| StoreError::Gone)?;
        let mut legs: Vec<Leg> = stale.into_iter().map(Arc::unwrap_or_clone).collect();
        self.shared.time.legs(&mut legs);
        Ok(legs)
    }

    /// Returns how many legs of a service (short name) are live.
    pub async fn live(&self, service: &str) -> Result<u64, StoreError> {
        let (shared, service) = (Arc::clone(&self.shared), service.to_owned());
        tokio::task::spawn_blocking(move || shared.remembered.live(&service)).await.map_err(|_| StoreError::Gone)
    }

    /// Writes `commit` and says of each of its events whether it is new. One that is not is owed to nobody.
    pub async fn commit(&self, mut commit: Commit) -> Result<Vec<bool>, StoreError> {
        self.shared.time.commit(&mut commit);
        self.work(Work::Commit(commit)).await
    }

    /// Returns the whole subscription ledger.
    pub async fn ledger(&self) -> Result<Vec<LedgerEntry>, StoreError> {
        Ok(self.state.ledger().await?)
    }

    /// Returns one account's part of the subscription ledger.
    pub async fn ledger_of(&self, account: &AccountName) -> Result<Vec<LedgerEntry>, StoreError> {
        Ok(self.state.ledger_of(account).await?)
    }

    /// Writes a line of the ledger over the one of the same account, service, node and JID.
    pub async fn write_ledger(&self, entry: LedgerEntry) -> Result<(), StoreError> {
        Ok(self.state.write_ledger(entry).await?)
    }

    /// Removes a line of the ledger.
    pub async fn forget_ledger(
        &self,
        account: &AccountName,
        service: &str,
        node: &NodeName,
        jid: &str,
    ) -> Result<(), StoreError> {
        Ok(self.state.forget_ledger(account, service, node, jid).await?)
    }

    /// Returns until when each account's events could arrive.
    pub async fn coverage(&self) -> Result<Vec<Coverage>, StoreError> {
        Ok(self.shared.remembered.coverage())
    }

    /// Says until when the events of accounts that are covered could arrive, as the clock reads at `now`.
    pub async fn extend_coverage(
        &self,
        delivered: Vec<(AccountName, Timestamp)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.shared.remembered.hear(&delivered.iter().cloned().collect(), Some(now));
        Ok(self.state.hear(delivered, now).await?)
    }

    /// Has it measured how groups are written.
    pub fn observe(&self, metrics: &Arc<Metrics>) {
        let _ = self.shared.metrics.set(Arc::clone(metrics));
    }

    /// Measures how large the log is.
    pub fn measure(&self) {
        let Some(metrics) = self.shared.metrics.get() else { return };
        let extents = self.shared.log.extents();
        let bytes = extents.iter().map(|extent| extent.bytes).sum();
        let oldest = extents.first().and_then(|extent| timestamp(extent.newest?).ok());
        metrics.log_size(bytes, extents.len(), oldest, self.shared.remembered.young());
    }

    /// Returns how many operations wait to be written; at most [`Store::WAITING`].
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.committer.max_capacity() - self.committer.capacity()
    }

    /// Returns how much room it takes, and how much there is.
    ///
    /// # Errors
    /// What the system says.
    pub async fn room(&self) -> io::Result<Room> {
        let mut room = self.state.room().await?;
        room.used += self.shared.log.extents().iter().map(|extent| extent.bytes).sum::<u64>();
        room.used += self.shared.remembered.generations().counts().disk_bytes;
        Ok(room)
    }

    /// Looks whether the files of the store are where they were opened.
    pub async fn look(&self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.presence.look()).await.unwrap_or(Ok(()))?;
        Ok(self.state.look().await?)
    }

    /// Finishes what waits, writes a checkpoint and lets go of the store. Later calls get [`StoreError::Closed`].
    pub async fn close(&self) -> Result<(), StoreError> {
        if self.access == Access::Beside {
            return Ok(self.state.close().await?);
        }
        if self.committer.is_closed() {
            return Err(self.gone());
        }
        self.closing.store(true, Ordering::Relaxed);
        let written = match self.work(Work::Close).await {
            Ok(_) => self.write_down().await,
            Err(fault) => Err(fault),
        };
        let written = match written {
            // The log has all of it: the next start reads a little more.
            Err(StoreError::Full(_)) => Ok(()),
            outcome => outcome,
        };
        let state = self.state.close().await.map_err(StoreError::from);
        written.and(state)
    }

    /// Returns whether it was closed, or is being.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Returns why nobody writes any more.
    fn gone(&self) -> StoreError {
        match self.shared.fault.get() {
            Some(fault) => fault.clone(),
            None if self.is_closed() || self.access == Access::Beside => StoreError::Closed,
            None => StoreError::Gone,
        }
    }

    /// Fails where nothing can be written any more: what is only in memory then is believed by nobody.
    fn alive(&self) -> Result<(), StoreError> {
        if self.committer.is_closed() { Err(self.gone()) } else { self.shared.presence.told() }
    }

    /// Returns once nobody writes any more, with the reason.
    pub async fn ended(&self) -> StoreError {
        tokio::select! {
            () = self.committer.closed() => self.gone(),
            fault = self.state.ended() => if self.is_closed() { StoreError::Closed } else { fault.into() },
        }
    }

    /// From now on every group fails like this, or goes as it may.
    #[cfg(test)]
    pub(crate) async fn fail_with(&self, fault: Option<StoreError>) {
        let _ = self.work(Work::Fail(fault)).await;
    }

    /// From now on every group is refused that holds an event with this text.
    #[cfg(test)]
    pub(crate) async fn refuse(&self, text: &'static str) {
        let _ = self.work(Work::Refuse(text)).await;
    }

    /// Has the thread that writes panic.
    #[cfg(test)]
    pub(crate) async fn startle(&self) {
        let _ = self.work(Work::Panic).await;
    }

    async fn work(&self, work: Work) -> Result<Vec<bool>, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.committer.send(Operation { work, answer }).await.map_err(|_| self.gone())?;
        answered.await.map_err(|_| self.gone())?
    }
}

/// A time as it is written down: microseconds since 1970, UTC.
fn timestamp(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|error| error::unreadable("time", &error))
}

/// The position of an event in the queue is its offset in the log.
fn position(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

fn offset(position: i64) -> Offset {
    Offset(u64::try_from(position).unwrap_or_default())
}

/// What the router asks the store before it decides about a batch.
#[derive(Clone, Debug, Default)]
pub struct Recall {
    /// Event ids (of first or repeated sight) to look for.
    pub events: Vec<Token>,
    /// Legs by token.
    pub legs: Vec<Token>,
    /// Leaf nodes (short service name, node) whose live legs are all wanted: for purges.
    pub nodes: Vec<(String, NodeName)>,
    /// Calls by partition.
    pub calls: Vec<Token>,
    /// Accounts whose coverage is wanted.
    pub coverage: Vec<AccountName>,
}

/// The answer to a [`Recall`]: what of it is known.
#[derive(Clone, Debug, Default)]
pub struct Recalled {
    /// Those of the asked event ids that were committed before.
    pub events: Vec<Token>,
    /// The live legs; also those of the asked nodes, and each leg once.
    pub legs: Vec<Arc<Leg>>,
    /// The legs that have ended lately.
    pub ended: Vec<(Token, EndedLeg)>,
    /// The calls; also those of all legs in `legs`.
    pub calls: Vec<Call>,
    /// The coverage of those of the asked accounts that ever were covered.
    pub coverage: Vec<Coverage>,
}

/// One durable step: events with what each sink is owed, and the memory that goes with them, all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// In the order of emission.
    pub events: Vec<CommitEvent>,
    /// Legs to write, the newest state of each.
    pub legs: Vec<Arc<Leg>>,
    /// Calls to write.
    pub calls: Vec<Call>,
    /// Coverage to write, at most one line per account.
    pub coverage: Vec<Coverage>,
}
