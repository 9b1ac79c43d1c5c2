//! The one writer: whatever is waiting goes into one transaction, and everyone is answered after its commit.
//!
//! Must not know who asks, nor what the tables hold.

use std::fs::File;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use super::error::StoreError;
use super::ledger::{self, LedgerKey};
use super::memory::{Added, Memory, Slice};
use super::recent::Recent;
use super::{
    Bounds, Commit, CommitEvent, LedgerEntry, Settlement, Shed, coverage, dead, journal, pruning, queue, settling,
    shedding,
};
use crate::domain::moment::Moment;
use crate::domain::name::SinkName;

/// Operations that may wait; further callers wait for a place.
pub(super) const WAITING: usize = 1024;
/// Operations in one transaction.
const GROUP: usize = 256;

/// Folds the log into the file and empties it.
const FOLD: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// What there is to write.
#[derive(Debug)]
pub(super) enum Work {
    Commit(Commit),
    Settle(SinkName, Vec<(i64, Settlement)>),
    WriteLedger(LedgerEntry),
    ForgetLedger(LedgerKey),
    ExtendCoverage(Timestamp),
    /// Put some of what was committed from the journal into its tables.
    Post,
    Prune(Timestamp),
    Revive(SinkName, Vec<i64>),
    Discard(SinkName, Vec<i64>),
    Shed(SinkName, Bounds),
    /// Give a little of the room that is free inside the file back to the disk.
    Shrink,
    /// Fold the log into the file and empty it; alone, outside of any transaction.
    Fold,
    /// Finish what waits, then end.
    Close,
    #[cfg(test)]
    MaxPages(i64),
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Of a commit: for each event, whether it is new.
    pub(super) new: Vec<bool>,
    /// Of a commit: the position of its first event. The others follow, one by one, whether they are new or not.
    pub(super) first: i64,
    /// Of a posting or a pruning: whether there may be more.
    pub(super) more: bool,
    /// Of an operator's work: how many rows it changed.
    pub(super) changed: u64,
    /// Of a shedding: what went.
    pub(super) shed: Shed,
}

impl Work {
    /// What is done alone and outside of any transaction: its statement.
    fn alone(&self) -> Option<sqlx::AssertSqlSafe<String>> {
        match self {
            Self::Fold => Some(sqlx::AssertSqlSafe(FOLD.to_owned())),
            #[cfg(test)]
            Self::MaxPages(pages) => Some(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"))),
            _ => None,
        }
    }
}

impl Written {
    /// Those of the commit's `events` that stay in the queue, with their positions.
    fn kept(&self, events: Vec<CommitEvent>) -> impl Iterator<Item = (i64, CommitEvent)> {
        let kept = (self.first..).zip(events).zip(&self.new);
        kept.filter(|((_, event), new)| **new && !event.owed.is_empty()).map(|(kept, _)| kept)
    }
}

/// One caller's wish.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Result<Written, StoreError>>,
}

/// Owns the connection that writes, and the database with it.
pub(super) struct Writer {
    pub(super) connection: SqliteConnection,
    pub(super) readers: SqlitePool,
    pub(super) recent: Arc<Recent>,
    pub(super) memory: Arc<Memory>,
    pub(super) inbox: mpsc::Receiver<Operation>,
    pub(super) lock: Option<File>,
}

impl Writer {
    /// Writes until it is told to close, or nobody can ask any more.
    pub(super) async fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP);
        let mut farewells = Vec::new();
        while self.inbox.recv_many(&mut group, GROUP).await > 0 {
            let (closes, operations): (Vec<_>, Vec<_>) =
                group.drain(..).partition(|operation| matches!(operation.work, Work::Close));
            let (folds, operations): (Vec<_>, Vec<_>) =
                operations.into_iter().partition(|operation| matches!(operation.work, Work::Fold));
            if !closes.is_empty() {
                self.inbox.close();
                farewells.extend(closes);
            }
            let answers = self.write(&operations).await;
            for (operation, answer) in operations.into_iter().zip(answers) {
                let Operation { work, answer: asker } = operation;
                if let (Work::Commit(commit), Ok(written)) = (work, &answer) {
                    self.recent.keep(written.kept(commit.events));
                }
                // A caller who has gone away needs no answer.
                let _ = asker.send(answer);
            }
            for fold in folds {
                let folded = self.write(std::slice::from_ref(&fold)).await.pop();
                let _ = fold.answer.send(folded.unwrap_or(Ok(Written::default())));
            }
        }
        self.close(farewells).await;
    }

    async fn close(mut self, farewells: Vec<Operation>) {
        while let Some(slice) = self.memory.slice() {
            // What cannot be posted stays in the journal.
            if self.transaction(&[], Some(&slice)).await.is_err() {
                break;
            }
        }
        self.readers.close().await;
        let checkpoint = sqlx::query(FOLD).execute(&mut self.connection).await;
        let closed = self.connection.close().await;
        drop(self.lock);
        let outcome = checkpoint.and(closed).map(|()| Written::default()).map_err(StoreError::from);
        for farewell in farewells {
            let _ = farewell.answer.send(outcome.clone());
        }
    }

    /// One answer for each of `operations`.
    async fn write(&mut self, operations: &[Operation]) -> Vec<Result<Written, StoreError>> {
        let posts = self.memory.is_full() || operations.iter().any(|operation| matches!(operation.work, Work::Post));
        match self.together(operations, posts).await {
            Ok(written) => written.into_iter().map(Ok).collect(),
            Err(error) if error.is_its_own() && (operations.len() > 1 || posts) => {
                let mut answers = Vec::with_capacity(operations.len());
                for operation in operations {
                    let posts = matches!(operation.work, Work::Post);
                    let alone = self.together(std::slice::from_ref(operation), posts).await;
                    answers.push(alone.map(|mut written| written.pop().unwrap_or_default()));
                }
                answers
            }
            Err(error) => vec![Err(error); operations.len()],
        }
    }

    /// All of `operations` in one transaction, or none; with some of the journal, if it `posts`.
    async fn together(&mut self, operations: &[Operation], posts: bool) -> Result<Vec<Written>, StoreError> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        if let [Operation { work, .. }] = operations
            && let Some(statement) = work.alone()
        {
            sqlx::query(statement).execute(&mut self.connection).await?;
            return Ok(vec![Written::default()]);
        }
        let slice = if posts { self.memory.slice() } else { None };
        self.transaction(operations, slice.as_ref()).await
    }

    async fn transaction(
        &mut self,
        operations: &[Operation],
        slice: Option<&Slice>,
    ) -> Result<Vec<Written>, StoreError> {
        let row = self.memory.next();
        match transact(&mut self.connection, &self.memory, operations, slice, row).await {
            Ok((written, added)) => {
                if let Some(slice) = slice {
                    self.memory.posted(slice);
                }
                self.memory.keep(row, added);
                Ok(written)
            }
            Err(fault) => {
                // SQLite may have rolled back by itself; then there is nothing to undo and this fails, as it should.
                let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
                Err(fault)
            }
        }
    }
}

/// One transaction; what it changes of legs and calls becomes the row `row` of the journal.
async fn transact(
    connection: &mut SqliteConnection,
    memory: &Memory,
    operations: &[Operation],
    slice: Option<&Slice>,
    row: i64,
) -> Result<(Vec<Written>, Added), StoreError> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let (mut written, mut added) = (Vec::with_capacity(operations.len()), Added::default());
    for operation in operations {
        let mut one = carry_out(connection, memory, &operation.work, &mut added).await?;
        if matches!(operation.work, Work::Post) {
            one.more = slice.is_some_and(|slice| slice.more);
        }
        written.push(one);
    }
    journal::write(connection, row, &added).await?;
    if let Some(slice) = slice {
        journal::post(connection, slice).await?;
    }
    sqlx::query("COMMIT").execute(connection).await?;
    Ok((written, added))
}

async fn carry_out(
    connection: &mut SqliteConnection,
    memory: &Memory,
    work: &Work,
    added: &mut Added,
) -> Result<Written, StoreError> {
    let mut written = Written::default();
    match work {
        Work::Commit(commit) => {
            (written.first, written.new) = queue::write(connection, memory, &commit.events, &mut added.ids).await?;
            let touched = touched(commit).as_microsecond();
            added.legs.extend_from_slice(&commit.legs);
            added.calls.extend(commit.calls.iter().map(|call| (call.clone(), touched)));
            coverage::write(connection, &commit.coverage).await?;
        }
        Work::Settle(sink, settlements) => settling::settle(connection, sink, settlements).await?,
        Work::WriteLedger(entry) => ledger::write(connection, entry).await?,
        Work::ForgetLedger(key) => ledger::forget(connection, key).await?,
        Work::ExtendCoverage(now) => coverage::extend(connection, *now).await?,
        Work::Prune(now) => written.more = pruning::step(connection, *now).await?,
        Work::Revive(sink, positions) => written.changed = dead::revive(connection, sink, positions).await?,
        Work::Discard(sink, positions) => written.changed = dead::discard(connection, sink, positions).await?,
        Work::Shed(sink, bounds) => {
            written.shed = shedding::step(connection, sink, *bounds).await?;
            written.more = written.shed.more;
        }
        Work::Shrink => written.more = pruning::shrink(connection).await?,
        Work::Post | Work::Close | Work::Fold => {}
        #[cfg(test)]
        Work::MaxPages(_) => {}
    }
    Ok(written)
}

/// The newest receipt a commit knows of.
fn touched(commit: &Commit) -> Timestamp {
    let receipts = commit.events.iter().map(|event| event.received);
    receipts.chain(commit.legs.iter().map(|leg| leg.touched)).max().unwrap_or_else(|| Moment::now().utc())
}
