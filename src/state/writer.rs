//! The one writer: whatever is waiting goes into one transaction, and everyone is answered after its commit.
//!
//! It has a thread of its own, so that nobody else's turn comes between two of its statements. After a fault that is final
//! it ends, and leaves the fault to all who ask later. Must not know who asks, nor what the tables hold.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use futures::future::LocalBoxFuture;
use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use super::error::StateError;
use super::lock::Lock;
use super::presence::Presence;
use super::stamp;

/// Operations that may wait; further callers wait for a place.
pub(super) const WAITING: usize = 1024;
/// Operations in one transaction.
const GROUP: usize = 256;

/// What comes to the writer.
pub(super) enum Message {
    /// Something to be done.
    Operation(Box<dyn Operation>),
    /// Finish what waits, then end.
    Close(oneshot::Sender<Result<(), StateError>>),
}

/// What one caller wants done.
pub(super) trait Operation: Send {
    /// Whether it is done by itself and outside of any transaction.
    fn is_alone(&self) -> bool;

    /// Does it. It is done once more if the transaction was refused because of another one.
    fn carry_out<'a>(
        &'a mut self,
        connection: &'a mut SqliteConnection,
    ) -> LocalBoxFuture<'a, Result<(), StateError>>;

    /// Tells the caller.
    fn answer(self: Box<Self>, outcome: Result<(), StateError>);
}

/// An operation, and who waits for what comes of it.
pub(super) struct Request<W, T> {
    work: W,
    is_alone: bool,
    done: Option<T>,
    caller: oneshot::Sender<Result<T, StateError>>,
}

impl<W, T> Request<W, T> {
    /// Of what `work` does, by itself or together with others.
    pub(super) fn new(work: W, is_alone: bool) -> (Self, oneshot::Receiver<Result<T, StateError>>) {
        let (caller, answered) = oneshot::channel();
        (Self { work, is_alone, done: None, caller }, answered)
    }
}

impl<W, T> Operation for Request<W, T>
where
    W: AsyncFn(&mut SqliteConnection) -> Result<T, StateError> + Send,
    T: Send,
{
    fn is_alone(&self) -> bool {
        self.is_alone
    }

    fn carry_out<'a>(
        &'a mut self,
        connection: &'a mut SqliteConnection,
    ) -> LocalBoxFuture<'a, Result<(), StateError>> {
        Box::pin(async move {
            self.done = Some((self.work)(connection).await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, outcome: Result<(), StateError>) {
        let Self { done, caller, .. } = *self;
        // A caller who has gone away needs no answer.
        let _ = caller.send(outcome.and_then(|()| done.ok_or_else(StateError::gone)));
    }
}

/// Owns the connection that writes, and the database with it.
pub(super) struct Writer {
    pub(super) connection: SqliteConnection,
    pub(super) readers: SqlitePool,
    pub(super) lock: Option<Lock>,
    pub(super) presence: Presence,
    pub(super) inbox: mpsc::Receiver<Message>,
    /// Where it leaves what it ends with, if nobody asked it to.
    pub(super) fault: Arc<OnceLock<StateError>>,
}

impl Writer {
    /// Writes until it is told to close, or nobody can ask any more, or the state has failed for good.
    pub(super) async fn run(mut self) {
        let mut messages = Vec::with_capacity(GROUP);
        let mut farewells = Vec::new();
        while self.inbox.recv_many(&mut messages, GROUP).await > 0 {
            let mut group = Vec::new();
            for message in messages.drain(..) {
                match message {
                    Message::Close(caller) => {
                        self.inbox.close();
                        farewells.push(caller);
                    }
                    Message::Operation(operation) if operation.is_alone() => {
                        // What was asked for before it is done before it.
                        if self.write(std::mem::take(&mut group)).await.is_break()
                            || self.write_alone(operation).await.is_break()
                        {
                            return;
                        }
                    }
                    Message::Operation(operation) => group.push(operation),
                }
            }
            if self.write(group).await.is_break() {
                return;
            }
        }
        self.close(farewells).await;
    }

    /// Carries out a group and answers it. Breaks off where nobody knows what of it is on the disk.
    async fn write(&mut self, mut group: Vec<Box<dyn Operation>>) -> ControlFlow<()> {
        if group.is_empty() {
            return ControlFlow::Continue(());
        }
        match self.together(&mut group).await {
            Err(fault) if fault.is_its_own() && group.len() > 1 => {
                for mut operation in group {
                    let outcome = self.together(std::slice::from_mut(&mut operation)).await;
                    self.answer([operation], &outcome)?;
                }
                ControlFlow::Continue(())
            }
            outcome => self.answer(group, &outcome),
        }
    }

    async fn write_alone(&mut self, mut operation: Box<dyn Operation>) -> ControlFlow<()> {
        let outcome = match self.presence.look() {
            Ok(()) => operation.carry_out(&mut self.connection).await,
            Err(fault) => Err(fault),
        };
        self.answer([operation], &outcome)
    }

    fn answer(
        &self,
        operations: impl IntoIterator<Item = Box<dyn Operation>>,
        outcome: &Result<(), StateError>,
    ) -> ControlFlow<()> {
        let fault = outcome.as_ref().err().filter(|fault| fault.is_final());
        if let Some(fault) = fault {
            // Before anybody hears of it, so that nobody who asks again finds it otherwise.
            let _ = self.fault.set(fault.clone());
        }
        for operation in operations {
            operation.answer(outcome.clone());
        }
        // What of it is on the disk only the next start can tell.
        if fault.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Carries out all of `operations` in one transaction, or none.
    async fn together(&mut self, operations: &mut [Box<dyn Operation>]) -> Result<(), StateError> {
        self.presence.look()?;
        let outcome = self.attempt(operations).await;
        if outcome.is_err() {
            // SQLite may have rolled back by itself; then there is nothing to undo and this fails, as it should.
            let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
        }
        outcome
    }

    async fn attempt(&mut self, operations: &mut [Box<dyn Operation>]) -> Result<(), StateError> {
        stamp::begin(&mut self.connection).await?;
        for operation in operations {
            operation.carry_out(&mut self.connection).await?;
        }
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        Ok(())
    }

    async fn close(self, farewells: Vec<oneshot::Sender<Result<(), StateError>>>) {
        let there = self.presence.look();
        self.readers.close().await;
        let closed = self.connection.close().await.map_err(StateError::from);
        // Only now: it holds the file open for as long as SQLite has locks on it.
        drop(self.lock);
        let outcome = there.and(closed);
        for farewell in farewells {
            let _ = farewell.send(outcome.clone());
        }
    }
}
