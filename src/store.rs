//! What outlives the process: the subscription ledger, the legs, and the delivery queue, in one SQLite database.
//!
//! One writer puts whatever waits into one transaction (`synchronous = FULL`) and answers after its commit; a few
//! read-only connections read beside it. One process owns the database.
//!
//! What is new is in memory and on the disk as it was committed: events in packs (`window.rs`), and what is remembered in
//! the journal (`memory.rs`). The owner decides from memory, and the database only writes that down. What lasts, fails or is
//! asked for singly becomes rows. Must not know XMPP, actors or sinks' insides.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use jiff::Timestamp;
use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot};

use crate::domain::identity::Token;
use crate::domain::leg::{Call, Leg};
use crate::domain::name::{AccountName, NodeName, SinkName, Subid};

mod checksum;
mod coverage;
mod dead;
mod delivery;
mod error;
mod faults;
mod inspection;
mod journal;
mod key;
mod ledger;
mod lock;
mod log;
mod memory;
mod opening;
pub mod options;
mod packing;
mod picking;
mod posting;
mod presence;
mod pruning;
mod queue;
mod recall;
mod repair;
mod room;
mod rows;
mod settling;
mod shedding;
mod sieve;
#[cfg(test)]
mod tests;
mod time;
mod transaction;
mod window;
mod writer;

pub use delivery::{Beside, Bounds, CommitEvent, DeadLetter, Depth, Owed, Pick, Settlement, Shed};
pub use error::{OpenError, StoreError};
pub use inspection::{Found, Part, Standing, Wanted};
pub use repair::{RepairError, Repaired};
pub use room::Room;

use ledger::LedgerKey;
use lock::{Lock, Watch};
use memory::Memory;
use opening::Opened;
use options::Options;
use presence::Presence;
use time::Time;
use transaction::Scribe;
use window::Window;
use writer::{Operation, WAITING, Work, Writer, Written};

/// Steps of one shrinking, 1 MiB each, so that it ends also where room becomes free as fast as it is given back.
const SHRINKING: usize = 4096;

/// The database, open. Clones share it.
///
/// What was answered with `Ok` is on the disk, and every later read sees it.
#[derive(Clone, Debug)]
pub struct Store {
    writer: mpsc::Sender<Operation>,
    readers: SqlitePool,
    memory: Arc<Memory>,
    window: Arc<Window>,
    ownership: Arc<Ownership>,
    time: Arc<Time>,
    presence: Arc<Presence>,
    path: Arc<Path>,
}

/// Whether we own the database, and what the owner has seen of those who change it beside us.
#[derive(Debug)]
struct Ownership {
    ours: bool,
    /// Whether nothing may be written at all.
    reads: bool,
    watch: Watch,
    touched: Mutex<Option<SystemTime>>,
    /// Whether somebody asked to close it: who finds it gone without that has found a fault.
    closing: AtomicBool,
    /// What the writer ended with, if it was not asked to.
    fault: Arc<OnceLock<StoreError>>,
}

impl Store {
    /// The bound of [`Store::waiting`]; further callers wait for a place.
    pub const WAITING: usize = WAITING;

    /// Opens the database, makes it if it is absent, and owns it until [`Store::close`] or the end of the process.
    pub async fn open(options: &Options) -> Result<Self, OpenError> {
        let mut opened = opening::open(options).await?;
        match journal::remember(&mut opened.writer).await {
            Ok(memory) => Self::begin(opened, memory).await,
            Err(fault) => Err(OpenError::Corrupt { path: opened.path, detail: fault.to_string() }),
        }
    }

    /// Opens an existing database for a command of the operator, also while a router owns it. Makes nothing, migrates
    /// nothing, and keeps no router from starting.
    pub async fn beside(options: &Options) -> Result<Self, OpenError> {
        Self::begin(opening::beside(options).await?, Memory::default()).await
    }

    /// Opens an existing database only to look at how much each sink is owed, and at dead letters, also while a router owns
    /// it. Writes nothing. Anything else asked of it gets [`StoreError::Closed`].
    pub async fn to_read(options: &Options) -> Result<Self, OpenError> {
        let (path, readers) = opening::to_read(options).await?;
        let time = async { Time::of(&mut *readers.acquire().await?, false).await }.await;
        let time = time.map_err(|fault| OpenError::of(path.clone(), fault))?;
        let (writer, _) = mpsc::channel(1);
        let ownership = Ownership {
            ours: false,
            reads: true,
            watch: Lock::watch_of(&path),
            touched: Mutex::default(),
            closing: AtomicBool::new(true),
            fault: Arc::default(),
        };
        let (memory, window, presence) = Default::default();
        let (ownership, time, path) = (ownership.into(), time.into(), path.into());
        Ok(Self { writer, readers, memory, window, ownership, time, presence, path })
    }

    /// The writer has a thread of its own: between two of its statements it must not wait for anybody's turn.
    async fn begin(opened: Opened, memory: Memory) -> Result<Self, OpenError> {
        let Opened { path, writer: connection, readers, lock } = opened;
        let (ours, watch) = (lock.is_ours(), lock.watch());
        let touched = Mutex::new(watch.touched());
        let fault = Arc::new(OnceLock::new());
        let closing = AtomicBool::new(false);
        let ownership = Ownership { ours, reads: false, touched, watch, closing, fault: Arc::clone(&fault) };
        let scribe = match Scribe::new(connection, lock, memory).await {
            Ok(scribe) => scribe.watching(if ours { Presence::of(&path) } else { Presence::default() }),
            Err(fault) => return Err(OpenError::of(path, fault)),
        };
        let (writer, inbox) = mpsc::channel(WAITING);
        let (memory, window) = (Arc::clone(&scribe.memory), Arc::clone(&scribe.window));
        let (time, presence) = (Arc::clone(&scribe.time), Arc::clone(&scribe.presence));
        let writing = Writer { scribe, readers: readers.clone(), inbox, fault }.run();
        let begun = tokio::runtime::Builder::new_current_thread().enable_time().build().and_then(|runtime| {
            std::thread::Builder::new().name("store".to_owned()).spawn(move || runtime.block_on(writing))
        });
        match begun {
            Ok(_) => {
                let (ownership, path) = (ownership.into(), path.into());
                Ok(Self { writer, readers, memory, window, ownership, time, presence, path })
            }
            Err(fault) => Err(OpenError::Io { path, detail: fault.to_string() }),
        }
    }

    /// Makes rows of all packs, for those who look at single events.
    async fn unpack(&self) -> Result<(), StoreError> {
        match self.write(Work::Unpack).await {
            // Whoever looks on from beside a full disk sees what there is room for.
            Err(StoreError::Full(_)) if !self.ownership.ours => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// The newest part of the queue, where we own it; after an operator changed something, as it is then. Else there are
    /// only rows.
    async fn window(&self) -> Result<Option<&Window>, StoreError> {
        let Ownership { ours, reads, watch, touched, .. } = &*self.ownership;
        if *reads {
            return Ok(None);
        }
        let now = watch.touched();
        let before = std::mem::replace(&mut *touched.lock().unwrap_or_else(PoisonError::into_inner), now);
        if !ours || before != now {
            self.unpack().await?;
        }
        Ok(ours.then_some(&*self.window))
    }

    /// What of `recall` is known.
    pub async fn recall(&self, recall: Recall) -> Result<Recalled, StoreError> {
        // What is known there may be known nowhere else.
        self.presence.told()?;
        let mut recalled = recall::recall(&self.readers, &self.memory, &recall).await?;
        self.time.recalled(&mut recalled);
        Ok(recalled)
    }

    /// Live legs of a service (short name) untouched since `ringing`, or since `answered` where they were answered; the
    /// oldest first, at most `limit`.
    pub async fn stale(
        &self,
        service: &str,
        ringing: Timestamp,
        answered: Timestamp,
        limit: u32,
    ) -> Result<Vec<Leg>, StoreError> {
        self.post().await?;
        let [ringing, answered] = [ringing, answered].map(|limit| self.time.inside(limit));
        if self.time.is_unsettled() {
            return Ok(Vec::new());
        }
        let mut legs = recall::stale(&self.readers, service, ringing, answered, limit.into()).await?;
        self.time.legs(&mut legs);
        Ok(legs)
    }

    /// How many legs of a service (short name) are live.
    pub async fn live(&self, service: &str) -> Result<u64, StoreError> {
        self.post().await?;
        recall::live(&self.readers, service).await
    }

    /// Writes `commit` and says of each of its events whether it is new. One that is not is owed to nobody.
    pub async fn commit(&self, mut commit: Commit) -> Result<Vec<bool>, StoreError> {
        self.time.commit(&mut commit);
        self.window.room().await;
        Ok(self.write(Work::Commit(commit)).await?.new)
    }

    /// What is owed to `sink` beyond the position `after` (0: from the beginning), in queue order.
    pub async fn due(&self, sink: &SinkName, after: i64, limit: usize) -> Result<Vec<Owed>, StoreError> {
        self.pick(sink, &Pick { after, until: i64::MAX, without: Vec::new(), first_below: None, limit }).await
    }

    /// What is owed to `sink` and asked for by `pick`, in queue order.
    pub async fn pick(&self, sink: &SinkName, pick: &Pick) -> Result<Vec<Owed>, StoreError> {
        let mut owed = picking::pick(self, sink, pick).await?;
        self.time.owed(&mut owed);
        Ok(owed)
    }

    /// What is owed to `sink` of these calls (partition keys), in queue order.
    pub async fn of_calls(&self, sink: &SinkName, calls: &[Arc<str>], limit: usize) -> Result<Vec<Owed>, StoreError> {
        let mut owed = picking::of_calls(self, sink, calls, limit).await?;
        self.time.owed(&mut owed);
        Ok(owed)
    }

    /// The newest position owed to `sink`, if anything is.
    pub async fn newest(&self, sink: &SinkName) -> Result<Option<i64>, StoreError> {
        picking::newest(self, sink).await
    }

    /// Takes the oldest events from `sink`, a few hundred at most, while it is beyond `bounds`. They are lost to it.
    pub async fn shed(&self, sink: &SinkName, bounds: Bounds) -> Result<Shed, StoreError> {
        let received = self.time.inside(bounds.received);
        let received = if self.time.is_unsettled() { Timestamp::MIN } else { received };
        Ok(self.write(Work::Shed(sink.clone(), Bounds { received, ..bounds })).await?.shed)
    }

    /// Remembers how deliveries to `sink` ended. A position that is not owed is left alone.
    pub async fn settle(&self, sink: &SinkName, settlements: Vec<(i64, Settlement)>) -> Result<(), StoreError> {
        if settlements.is_empty() {
            return Ok(());
        }
        self.write(Work::Settle(sink.clone(), settlements)).await.map(drop)
    }

    /// How much is owed to `sink`, at a cost that does not grow with it.
    pub async fn depth(&self, sink: &SinkName) -> Result<Depth, StoreError> {
        Ok(self.time.depth(picking::depth(self, sink).await?))
    }

    /// The sinks that are owed anything, configured or not.
    pub async fn sinks(&self) -> Result<Vec<SinkName>, StoreError> {
        queue::sinks(&self.readers).await
    }

    /// Returns what operators did to the queues since this was last asked; nothing where we do not own the database.
    pub async fn done_beside(&self) -> Result<BTreeMap<SinkName, Beside>, StoreError> {
        self.window().await?;
        Ok(self.window.take_beside())
    }

    /// The dead letters of `sink` beyond the position `after` (0: from the beginning), in queue order.
    pub async fn dead(&self, sink: &SinkName, after: i64, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let mut letters = dead::list(&self.readers, sink, after, limit).await?;
        self.time.dead(&mut letters);
        Ok(letters)
    }

    /// Makes dead letters owed again at their old positions, as if never tried. Says how many there were.
    pub async fn revive(&self, sink: &SinkName, positions: Vec<i64>) -> Result<u64, StoreError> {
        Ok(self.write(Work::Revive(sink.clone(), positions)).await?.changed)
    }

    /// Takes events from `sink` for good, owed or dead. Says how many there were.
    pub async fn discard(&self, sink: &SinkName, positions: Vec<i64>) -> Result<u64, StoreError> {
        Ok(self.write(Work::Discard(sink.clone(), positions)).await?.changed)
    }

    /// Looks through everything and says what is wrong, one line each; takes as long as the database is large.
    pub async fn faults(&self) -> Result<Vec<String>, StoreError> {
        self.unpack().await?;
        faults::look(&self.readers).await
    }

    /// The whole subscription ledger.
    pub async fn ledger(&self) -> Result<Vec<LedgerEntry>, StoreError> {
        ledger::read(&self.readers, None).await
    }

    /// One account's part of the subscription ledger.
    pub async fn ledger_of(&self, account: &AccountName) -> Result<Vec<LedgerEntry>, StoreError> {
        ledger::read(&self.readers, Some(account)).await
    }

    /// Writes a line of the ledger over the one of the same account, service, node and JID.
    pub async fn write_ledger(&self, entry: LedgerEntry) -> Result<(), StoreError> {
        self.write(Work::WriteLedger(entry)).await.map(drop)
    }

    /// Removes a line of the ledger.
    pub async fn forget_ledger(
        &self,
        account: &AccountName,
        service: &str,
        node: &NodeName,
        jid: &str,
    ) -> Result<(), StoreError> {
        let key = LedgerKey {
            account: account.clone(),
            service: service.to_owned(),
            node: node.as_str().to_owned(),
            jid: jid.to_owned(),
        };
        self.write(Work::ForgetLedger(key)).await.map(drop)
    }

    /// Returns until when each account's events could arrive.
    pub async fn coverage(&self) -> Result<Vec<Coverage>, StoreError> {
        coverage::all(&self.readers).await
    }

    /// Says until when the events of accounts that are covered could arrive, as the clock reads at `now`.
    pub async fn extend_coverage(
        &self,
        delivered: Vec<(AccountName, Timestamp)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(Work::ExtendCoverage(delivered, now)).await.map(drop)
    }

    /// Forgets what is too old at `now`: event ids and untouched calls after 7 days, ended legs after 24 h.
    pub async fn prune(&self, now: Timestamp) -> Result<(), StoreError> {
        self.post().await?;
        let now = self.time.inside(now);
        if self.time.is_unsettled() {
            return Ok(());
        }
        while self.write(Work::Prune(now)).await?.more {}
        Ok(())
    }

    /// Reads which keys there are, unless that is known, so that nobody looks for what is new. Takes a second for some
    /// million of them; meanwhile everybody looks.
    pub async fn learn_keys(&self) -> Result<(), StoreError> {
        if self.ownership.ours && self.memory.knows_too_little() {
            recall::learn(&self.readers, &self.memory).await?;
        }
        Ok(())
    }

    /// Puts what is in the journal into its tables, in small steps.
    async fn post(&self) -> Result<(), StoreError> {
        while self.write(Work::Post).await?.more {}
        Ok(())
    }

    /// Gives room that is free inside the database back to the disk, and empties the log. In small steps, between which
    /// others write.
    pub async fn shrink(&self) -> Result<(), StoreError> {
        for _ in 0..SHRINKING {
            if !self.write(Work::Shrink).await?.more {
                break;
            }
        }
        self.write(Work::Fold).await.map(drop)
    }

    /// Operations that wait for the writer; at most [`Store::WAITING`].
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.writer.max_capacity() - self.writer.capacity()
    }

    /// Events kept in packs, and changes kept in the journal.
    #[must_use]
    pub fn kept(&self) -> (usize, usize) {
        (self.window.len(), self.memory.len())
    }

    /// How much room it takes, and how much there is.
    ///
    /// # Errors
    /// What the system says.
    pub async fn room(&self) -> io::Result<Room> {
        let path = Arc::clone(&self.path);
        tokio::task::spawn_blocking(move || room::measure(&path)).await?
    }

    /// Looks whether the files of the database are where they were opened.
    pub async fn look(&self) -> Result<(), StoreError> {
        let presence = Arc::clone(&self.presence);
        tokio::task::spawn_blocking(move || presence.look()).await.unwrap_or(Ok(()))
    }

    /// Finishes what waits, folds the log into the database and lets go of it. Later calls get [`StoreError::Closed`].
    pub async fn close(&self) -> Result<(), StoreError> {
        if self.writer.is_closed() {
            return Err(self.gone());
        }
        self.ownership.closing.store(true, Ordering::Relaxed);
        self.write(Work::Close).await.map(drop)
    }

    /// Whether it was closed, or is being.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ownership.closing.load(Ordering::Relaxed)
    }

    /// Why nobody writes any more.
    fn gone(&self) -> StoreError {
        match self.ownership.fault.get() {
            Some(fault) => fault.clone(),
            None if self.is_closed() => StoreError::Closed,
            None => StoreError::Gone,
        }
    }

    /// Returns once nobody writes any more, with the reason.
    pub async fn ended(&self) -> StoreError {
        self.writer.closed().await;
        self.gone()
    }

    /// From now on every transaction fails like this, or goes as it may.
    #[cfg(test)]
    pub(crate) async fn fail_with(&self, fault: Option<StoreError>) {
        let _ = self.write(Work::Fail(fault)).await;
    }

    /// From now on every transaction is refused that holds an event with this text.
    #[cfg(test)]
    pub(crate) async fn refuse(&self, text: &'static str) {
        let _ = self.write(Work::Refuse(text)).await;
    }

    /// Has the thread that writes panic.
    #[cfg(test)]
    pub(crate) async fn startle(&self) {
        let _ = self.write(Work::Panic).await;
    }

    async fn write(&self, work: Work) -> Result<Written, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.writer.send(Operation { work, answer }).await.map_err(|_| self.gone())?;
        answered.await.map_err(|_| self.gone())?
    }
}

/// A time as the database holds it: microseconds UTC.
fn timestamp(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|error| error::unreadable("time", &error))
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
    /// The legs, live and recently ended; also the live ones of the asked nodes, and each leg once.
    pub legs: Vec<Arc<Leg>>,
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

/// Until when an account's events could reach us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The account.
    pub account: AccountName,
    /// Whether they still can, as far as was written down.
    pub open: bool,
    /// Until when they could, at least.
    pub until: Timestamp,
    /// Why they cannot any more (label values of `gaps_total`).
    pub reason: Option<String>,
}

/// One line of the subscription ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The account.
    pub account: AccountName,
    /// Short service name.
    pub service: String,
    /// The node subscribed to.
    pub node: NodeName,
    /// The full JID that holds the subscription.
    pub jid: String,
    /// Its subid, once known.
    pub subid: Option<Subid>,
    /// Its state as the machine names it (label values of `subscriptions`).
    pub state: String,
    /// End of the lease.
    pub lease_until: Option<Timestamp>,
    /// When it was last renewed or made.
    pub renewed: Option<Timestamp>,
    /// Whether this router made it, under a resource that the server had assigned in place of the one asked for.
    pub assigned: bool,
}
