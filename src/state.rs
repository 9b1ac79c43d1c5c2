//! The state: what changes seldom and is looked up by key. What changes with every event is in the log.
//!
//! # What it promises
//!
//! * What was answered with `Ok` is on the disk. What was not answered is there as a whole or not at all.
//! * No statement runs for an event: there is no operation for that.
//! * After a failed sync, or where the thread that writes is gone, nothing is written or believed any more: every caller
//!   gets [`StateError::Dead`], which is never a clean stop. What is on the disk then only the next start can tell.
//! * On a full disk nothing is half written, and all works again once there is room.
//! * A file that is damaged, another program's, of another version, or beside a journal that is not its own is refused, and
//!   left as it is.
//! * A leg, call, consumer or dead letter that is not what was written is told, and never handed out as if it were.
//!
//! # What it relies on
//!
//! * One process owns it ([`State::open`]). Others may read it beside, and ask the owner for something
//!   ([`State::ask`]); they write nothing else.
//! * To do an operation again that may have happened does no harm: all of them say how something is, not how it changes.
//!
//! # What is in it
//!
//! | part | written | module |
//! |---|---|---|
//! | the checkpoint: offset, clock, live legs and calls, coverage, consumers, generations | every 200,000 events or so, in one transaction | `checkpoint.rs` |
//! | the heartbeat of covered accounts | every few seconds | `coverage.rs` |
//! | the subscription ledger | with each subscription and renewal | `ledger.rs` |
//! | dead letters | before they are acknowledged in the log | `dead.rs` |
//! | commands of operators, and their results | now and then | `command.rs` |
//!
//! The log holds the changes after the checkpoint. [`State::load`] reads all of it once, at the start.
//!
//! Today it is one SQLite database with a rollback journal (`sqlite.rs`): writes are rare, nothing is cut off silently, and
//! a copy is one file. `place.rs` names the files, `opening.rs` says how it is opened, `journal.rs` what happens after a
//! crash, `writer.rs` how it is written. Must not know XMPP, sinks, or how the log lies on the disk.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::name::{AccountName, NodeName};

mod backup;
mod checkpoint;
mod checksum;
mod command;
mod coverage;
mod dead;
mod error;
mod faults;
mod journal;
mod ledger;
mod loading;
mod lock;
#[cfg(test)]
pub(crate) mod model;
mod opening;
mod place;
mod presence;
mod refusal;
mod repair;
mod room;
mod rows;
mod sqlite;
mod stamp;
#[cfg(test)]
mod tests;
mod writer;

pub use checkpoint::{Checkpoint, Clock, ConsumerState, Loaded};
pub use command::{Answer, Command};
pub use coverage::Coverage;
pub use dead::{DeadBounds, DeadCount, DeadLetter, NewDead};
pub use error::StateError;
pub use ledger::LedgerEntry;
pub use place::files;
pub use refusal::OpenError;
pub use repair::Repaired;
pub use room::Room;
pub use sqlite::Sqlite;

/// The state, open. Clones are the same one.
#[derive(Clone, Debug)]
pub enum State {
    /// One SQLite database on a disk of this machine.
    Sqlite(Arc<Sqlite>),
    /// A model in memory, which fails as the test says.
    #[cfg(test)]
    Model(Arc<model::Model>),
}

/// Has each implementation do it in its own way.
macro_rules! each {
    ($state:expr, $one:ident => $call:expr) => {
        match $state {
            State::Sqlite($one) => $call,
            #[cfg(test)]
            State::Model($one) => $call,
        }
    };
}

impl State {
    /// The bound of [`State::waiting`]; further callers wait for a place.
    pub const WAITING: usize = Sqlite::WAITING;

    /// Opens the state at `path` and owns it until [`State::close`] or the end of the process. If it is absent, it is made
    /// where `create` says so: a log whose state is gone must not be given a new one.
    ///
    /// # Errors
    /// If it cannot be opened. No file was changed then.
    pub async fn open(path: &Path, create: bool) -> Result<Self, OpenError> {
        Ok(Self::Sqlite(Sqlite::open(path, create).await?.into()))
    }

    /// Opens an existing state for a command of the operator, also while a router owns it. It can be read, and its owner can
    /// be asked for something; anything else gets [`StateError::Fenced`]. Keeps no router from starting.
    ///
    /// # Errors
    /// If it cannot be opened. Nothing is made, and nothing migrated.
    pub async fn beside(path: &Path) -> Result<Self, OpenError> {
        Ok(Self::Sqlite(Sqlite::beside(path).await?.into()))
    }

    /// Opens an existing state as its owner, as it stands, to see what is wrong with it and repair that.
    ///
    /// # Errors
    /// If it cannot be opened at all.
    pub async fn owned(path: &Path) -> Result<Self, OpenError> {
        Ok(Self::Sqlite(Sqlite::owned(path).await?.into()))
    }

    /// Returns whether a process owns the state at `path`.
    #[must_use]
    pub fn has_owner(path: &Path) -> bool {
        opening::has_owner(path)
    }

    /// Reads all that is known. What is damaged is left out, and named.
    ///
    /// # Errors
    /// If it cannot be read, or the line that says which store it is and up to which offset it goes is damaged.
    pub async fn load(&self) -> Result<Loaded, StateError> {
        each!(self, state => state.load().await)
    }

    /// Writes what has changed since the checkpoint before, all or nothing.
    ///
    /// # Errors
    /// [`StateError::Refused`] if its offset is before that of the one before.
    pub async fn checkpoint(&self, checkpoint: Checkpoint) -> Result<(), StateError> {
        each!(self, state => state.checkpoint(checkpoint).await)
    }

    /// Says until when the events of accounts that are covered could arrive, as the clock reads at `now`. That of an account
    /// does not go back, unless it lies ahead of `now`: then the clock was set back.
    pub async fn hear(&self, heard: Vec<(AccountName, Timestamp)>, now: Timestamp) -> Result<(), StateError> {
        each!(self, state => state.hear(heard, now).await)
    }

    /// Returns the whole subscription ledger.
    pub async fn ledger(&self) -> Result<Vec<LedgerEntry>, StateError> {
        each!(self, state => state.ledger(None).await)
    }

    /// Returns one account's part of the subscription ledger.
    pub async fn ledger_of(&self, account: &AccountName) -> Result<Vec<LedgerEntry>, StateError> {
        each!(self, state => state.ledger(Some(account)).await)
    }

    /// Writes a line of the ledger over the one of the same account, service, node and JID.
    pub async fn write_ledger(&self, entry: LedgerEntry) -> Result<(), StateError> {
        each!(self, state => state.write_ledger(entry).await)
    }

    /// Removes a line of the ledger, if it is there.
    pub async fn forget_ledger(
        &self,
        account: &AccountName,
        service: &str,
        node: &NodeName,
        jid: &str,
    ) -> Result<(), StateError> {
        let (service, jid) = (service.to_owned(), jid.to_owned());
        each!(self, state => state.forget_ledger(account.clone(), service, node.clone(), jid).await)
    }

    /// Keeps events that a consumer gave up, and returns how many of them are new. One that is there already stays as it is.
    pub async fn bury(&self, consumer: u32, letters: Vec<NewDead>) -> Result<u64, StateError> {
        each!(self, state => state.bury(consumer, letters).await)
    }

    /// Returns the dead letters of a consumer beyond the offset `after` (0: from the beginning), in the order of the log.
    pub async fn dead(&self, consumer: u32, after: u64, limit: usize) -> Result<Vec<DeadLetter>, StateError> {
        each!(self, state => state.dead(consumer, after, limit).await)
    }

    /// Returns the newest dead letters of a consumer, the newest first.
    pub async fn latest_dead(&self, consumer: u32, limit: usize) -> Result<Vec<DeadLetter>, StateError> {
        each!(self, state => state.latest_dead(consumer, limit).await)
    }

    /// Returns the dead letters of a consumer at these offsets, in the order of the log.
    pub async fn dead_at(&self, consumer: u32, offsets: &[u64]) -> Result<Vec<DeadLetter>, StateError> {
        each!(self, state => state.dead_at(consumer, offsets).await)
    }

    /// Returns how many dead letters a consumer has, without a look at them.
    pub async fn dead_count(&self, consumer: u32) -> Result<DeadCount, StateError> {
        each!(self, state => state.dead_count(consumer).await)
    }

    /// Returns how many dead letters there are of each consumer that has any.
    pub async fn dead_counts(&self) -> Result<BTreeMap<u32, DeadCount>, StateError> {
        each!(self, state => state.dead_counts().await)
    }

    /// Removes dead letters and returns them, in the order of the log. Those that are damaged stay: they are neither retried
    /// nor lost.
    ///
    /// Whoever dies after that and before they are elsewhere has lost them. Read them first ([`State::dead_at`]) and remove
    /// them last ([`State::remove_dead`]) where that matters.
    pub async fn take_dead(&self, consumer: u32, offsets: &[u64]) -> Result<Vec<DeadLetter>, StateError> {
        each!(self, state => state.take_dead(consumer, offsets).await)
    }

    /// Removes dead letters for good, and returns how many there were.
    pub async fn remove_dead(&self, consumer: u32, offsets: &[u64]) -> Result<u64, StateError> {
        each!(self, state => state.remove_dead(consumer, offsets).await)
    }

    /// Removes the oldest dead letters of a consumer, by when they were given up, until they are within `bounds`. Returns how
    /// many went.
    pub async fn trim_dead(&self, consumer: u32, bounds: DeadBounds) -> Result<u64, StateError> {
        each!(self, state => state.trim_dead(consumer, bounds).await)
    }

    /// Asks the owner for something (JSON), and returns the number of that command.
    ///
    /// # Errors
    /// [`StateError::Refused`] if it is no JSON, or too many commands wait.
    pub async fn ask(&self, body: String, now: Timestamp) -> Result<u64, StateError> {
        each!(self, state => state.ask_owner(body, now).await)
    }

    /// Takes a command back, and returns whether nobody had taken it yet. Else it is, or will be, carried out.
    pub async fn withdraw(&self, command: u64) -> Result<bool, StateError> {
        each!(self, state => state.withdraw(command).await)
    }

    /// Returns what became of a command. A result can be read for an hour.
    pub async fn answer_of(&self, command: u64) -> Result<Answer, StateError> {
        each!(self, state => state.answer_of(command).await)
    }

    /// Returns a few commands to carry out, the oldest first; those that an owner before this one took and did not finish
    /// among them. One that nobody took for five minutes is not carried out any more.
    pub async fn take_commands(&self, now: Timestamp) -> Result<Vec<Command>, StateError> {
        each!(self, state => state.take_commands(now).await)
    }

    /// Says what came of a command (JSON).
    pub async fn finish(&self, command: u64, result: String, now: Timestamp) -> Result<(), StateError> {
        each!(self, state => state.finish(command, result, now).await)
    }

    /// Writes a copy of the whole state into a file that does not exist yet. Writes wait meanwhile.
    ///
    /// # Errors
    /// [`StateError::Refused`] if the file is there. If it fails, no file is left.
    pub async fn vacuum_into(&self, path: &Path) -> Result<(), StateError> {
        each!(self, state => state.vacuum_into(path).await)
    }

    /// Looks through everything and says what is wrong, one line each. Takes as long as the state is large, and the owner's
    /// writes may have to be tried again meanwhile.
    pub async fn faults(&self) -> Result<Vec<String>, StateError> {
        each!(self, state => state.faults().await)
    }

    /// Repairs what can be repaired, and says what that was.
    pub async fn repair(&self) -> Result<Repaired, StateError> {
        each!(self, state => state.repair().await)
    }

    /// Returns how many operations wait for the writer; at most [`State::WAITING`].
    #[must_use]
    pub fn waiting(&self) -> usize {
        each!(self, state => state.waiting())
    }

    /// Returns how much room the state takes, and how much there is.
    ///
    /// # Errors
    /// What the system says.
    pub async fn room(&self) -> io::Result<Room> {
        each!(self, state => state.room().await)
    }

    /// Looks whether the state is where it was opened.
    ///
    /// # Errors
    /// [`StateError::Moved`] if it is not.
    pub async fn look(&self) -> Result<(), StateError> {
        each!(self, state => state.look().await)
    }

    /// Finishes what waits and lets go of the state. Later calls get [`StateError::Closed`].
    pub async fn close(&self) -> Result<(), StateError> {
        each!(self, state => state.close().await)
    }

    /// Returns whether it was closed, or is being.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        each!(self, state => state.is_closed())
    }

    /// Returns once nobody writes any more, with the reason.
    pub async fn ended(&self) -> StateError {
        each!(self, state => state.ended().await)
    }
}

/// A time as the database holds it: microseconds since 1970, UTC.
fn timestamp(micros: i64) -> Result<Timestamp, StateError> {
    Timestamp::from_microsecond(micros).map_err(|error| StateError::unreadable("a time", &error))
}
