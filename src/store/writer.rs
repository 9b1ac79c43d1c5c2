//! The one writer: whatever is waiting goes into one transaction, and everyone is answered after its commit.
//!
//! Must not know who asks, nor what the tables hold.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use sqlx::{Connection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use super::error::StoreError;
use super::ledger::LedgerKey;
use super::transaction::Scribe;
use super::{Bounds, Commit, LedgerEntry, Settlement, Shed, opening};
use crate::domain::name::{AccountName, SinkName};

/// Operations that may wait; further callers wait for a place.
pub(super) const WAITING: usize = 1024;
/// Operations in one transaction.
const GROUP: usize = 256;

/// What there is to write.
#[derive(Debug)]
pub(super) enum Work {
    Commit(Commit),
    Settle(SinkName, Vec<(i64, Settlement)>),
    WriteLedger(LedgerEntry),
    ForgetLedger(LedgerKey),
    ExtendCoverage(Vec<(AccountName, Timestamp)>, Timestamp),
    /// Make rows of all packs.
    Unpack,
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
    /// From now on every transaction fails like this, or as it may.
    #[cfg(test)]
    Fail(Option<StoreError>),
    #[cfg(test)]
    Refuse(&'static str),
    #[cfg(test)]
    Panic,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Of a commit: for each event, whether it is new.
    pub(super) new: Vec<bool>,
    /// Of a posting or a pruning: whether there may be more.
    pub(super) more: bool,
    /// Of an operator's work: how many rows it changed.
    pub(super) changed: u64,
    /// Of a shedding: what went.
    pub(super) shed: Shed,
}

impl Work {
    /// Does what is done alone and outside of any transaction, if it is that.
    async fn alone(&self, scribe: &mut Scribe) -> Option<Result<(), StoreError>> {
        #[cfg(test)]
        if let Self::MaxPages(pages) = self {
            let statement = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            let set = sqlx::query(statement).execute(&mut scribe.connection).await;
            return Some(set.map(drop).map_err(StoreError::from));
        }
        if let Self::Fold = self { Some(opening::fold(&mut scribe.connection, &scribe.lock).await) } else { None }
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
    pub(super) scribe: Scribe,
    pub(super) readers: SqlitePool,
    pub(super) inbox: mpsc::Receiver<Operation>,
    /// Where it leaves what it ends with, if nobody asked it to.
    pub(super) fault: Arc<OnceLock<StoreError>>,
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
            #[cfg(test)]
            for operation in &operations {
                self.scribe.inject(&operation.work);
            }
            // Where there is no room for rows, there is none for what comes either, and that is told.
            let _ = self.scribe.spill().await;
            let answers = self.write(&operations).await;
            let ends =
                answers.iter().find_map(|answer| answer.as_ref().err().filter(|fault| fault.is_final()).cloned());
            let ended = ends.is_some();
            if let Some(fault) = ends {
                let _ = self.fault.set(fault);
            }
            for (operation, answer) in operations.into_iter().zip(answers) {
                // A caller who has gone away needs no answer.
                let _ = operation.answer.send(answer);
            }
            if ended {
                // Nobody knows what of all that is on the disk: only a look at it can tell, which is that of the next start.
                return;
            }
            for fold in folds {
                let folded = self.write(std::slice::from_ref(&fold)).await.pop();
                let _ = fold.answer.send(folded.unwrap_or(Ok(Written::default())));
            }
        }
        self.close(farewells).await;
    }

    async fn close(mut self, farewells: Vec<Operation>) {
        let there = self.scribe.presence.look();
        if self.scribe.lock.is_ours() {
            let (answer, _) = oneshot::channel();
            // What cannot be written stays where it is, and is found there at the next start.
            let _ = self.scribe.transact(&[Operation { work: Work::Unpack, answer }], None).await;
        }
        while let Some(slice) = self.scribe.memory.slice() {
            if self.scribe.transact(&[], Some(&slice)).await.is_err() {
                break;
            }
        }
        self.readers.close().await;
        let checkpoint = sqlx::query(opening::FOLD).execute(&mut self.scribe.connection).await;
        let closed = self.scribe.connection.close().await;
        drop(self.scribe.lock);
        let closed = checkpoint.and(closed).map_err(StoreError::from);
        let outcome = there.and(closed).map(|()| Written::default());
        for farewell in farewells {
            let _ = farewell.answer.send(outcome.clone());
        }
    }

    /// One answer for each of `operations`.
    async fn write(&mut self, operations: &[Operation]) -> Vec<Result<Written, StoreError>> {
        let posts =
            self.scribe.memory.is_full() || operations.iter().any(|operation| matches!(operation.work, Work::Post));
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
            && let Some(done) = work.alone(&mut self.scribe).await
        {
            done?;
            return Ok(vec![Written::default()]);
        }
        let slice = if posts { self.scribe.memory.slice() } else { None };
        self.scribe.transact(operations, slice.as_ref()).await
    }
}
