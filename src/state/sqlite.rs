//! The state in one SQLite database: one connection that writes, on a thread of its own, and a few that read beside it.
//!
//! What each operation does is written beside the tables it works on. Must not know what is in a table.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use super::error::StateError;
use super::opening::{self, Opened};
use super::presence::Presence;
use super::refusal::OpenError;
use super::room::{self, Room};
use super::writer::{Message, Request, WAITING, Writer};

/// The database, open.
pub struct Sqlite {
    writer: mpsc::Sender<Message>,
    readers: SqlitePool,
    is_ours: bool,
    /// Whether somebody asked to close it. Who finds the writer gone without that has found a fault.
    closing: AtomicBool,
    /// What the writer ended with, if it was not asked to.
    fault: Arc<OnceLock<StateError>>,
    presence: Presence,
    path: PathBuf,
    /// The newest command that was taken since the database was opened.
    taken: AtomicI64,
    /// What was done about a damaged journal.
    told: Option<String>,
}

impl Sqlite {
    pub(super) const WAITING: usize = WAITING;

    pub(super) async fn open(path: &Path, create: bool) -> Result<Self, OpenError> {
        Self::begin(opening::open(path, create).await?, None)
    }

    pub(super) async fn beside(path: &Path) -> Result<Self, OpenError> {
        Self::begin(opening::beside(path).await?, None)
    }

    pub(super) async fn owned(path: &Path) -> Result<Self, OpenError> {
        let (opened, told) = opening::owned(path).await?;
        Self::begin(opened, told)
    }

    fn begin(opened: Opened, told: Option<String>) -> Result<Self, OpenError> {
        let Opened { path, writer: connection, readers, lock } = opened;
        let (is_ours, presence, fault) = (lock.is_some(), Presence::of(&path), Arc::new(OnceLock::new()));
        let (writer, inbox) = mpsc::channel(WAITING);
        let writing = Writer {
            connection,
            readers: readers.clone(),
            lock,
            presence: presence.clone(),
            inbox,
            fault: Arc::clone(&fault),
        };
        let begun = tokio::runtime::Builder::new_current_thread().enable_time().build().and_then(|runtime| {
            std::thread::Builder::new().name("state".to_owned()).spawn(move || runtime.block_on(writing.run()))
        });
        match begun {
            Ok(_) => {
                let closing = AtomicBool::new(false);
                Ok(Self { writer, readers, is_ours, closing, fault, presence, path, taken: AtomicI64::new(0), told })
            }
            Err(fault) => Err(OpenError::of_file(&path, &fault)),
        }
    }

    /// The file, and what lies beside it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The newest command that was taken since the database was opened.
    pub(super) fn taken(&self) -> &AtomicI64 {
        &self.taken
    }

    /// What was done about a damaged journal when it was opened.
    pub(super) fn told(&self) -> Option<&String> {
        self.told.as_ref()
    }

    /// Does `work` in a transaction, together with whatever else waits, if the database is ours.
    pub(super) async fn write<T, W>(&self, work: W) -> Result<T, StateError>
    where
        W: AsyncFn(&mut SqliteConnection) -> Result<T, StateError> + Send + 'static,
        T: Send + 'static,
    {
        self.check_ownership()?;
        self.ask(work, false).await
    }

    /// Does `work` in a transaction, whosoever the database is. Only what others may change is changed so.
    pub(super) async fn write_beside<T, W>(&self, work: W) -> Result<T, StateError>
    where
        W: AsyncFn(&mut SqliteConnection) -> Result<T, StateError> + Send + 'static,
        T: Send + 'static,
    {
        self.ask(work, false).await
    }

    /// Does `work` by itself and outside of any transaction, if the database is ours.
    pub(super) async fn write_alone<T, W>(&self, work: W) -> Result<T, StateError>
    where
        W: AsyncFn(&mut SqliteConnection) -> Result<T, StateError> + Send + 'static,
        T: Send + 'static,
    {
        self.check_ownership()?;
        self.ask(work, true).await
    }

    async fn ask<T, W>(&self, work: W, is_alone: bool) -> Result<T, StateError>
    where
        W: AsyncFn(&mut SqliteConnection) -> Result<T, StateError> + Send + 'static,
        T: Send + 'static,
    {
        let (request, answered) = Request::new(work, is_alone);
        self.writer.send(Message::Operation(Box::new(request))).await.map_err(|_| self.gone())?;
        answered.await.map_err(|_| self.gone())?
    }

    fn check_ownership(&self) -> Result<(), StateError> {
        if self.is_ours {
            return Ok(());
        }
        Err(StateError::Fenced(format!("{} was opened beside its owner, which alone writes it", self.path.display()).into()))
    }

    /// What reads. After a fault that is final, nothing that is there is believed.
    pub(super) fn readers(&self) -> Result<&SqlitePool, StateError> {
        // The writer leaves its fault before it tells anybody, and ends after that.
        let has_ended = self.fault.get().is_some() || self.writer.is_closed();
        if has_ended { Err(self.gone()) } else { Ok(&self.readers) }
    }

    pub(super) fn waiting(&self) -> usize {
        self.writer.max_capacity() - self.writer.capacity()
    }

    pub(super) async fn room(&self) -> io::Result<Room> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || room::measure(&path)).await?
    }

    pub(super) async fn look(&self) -> Result<(), StateError> {
        let presence = self.presence.clone();
        tokio::task::spawn_blocking(move || presence.look()).await.unwrap_or(Ok(()))
    }

    pub(super) async fn close(&self) -> Result<(), StateError> {
        if self.writer.is_closed() {
            return Err(self.gone());
        }
        self.closing.store(true, Ordering::Relaxed);
        let (caller, answered) = oneshot::channel();
        self.writer.send(Message::Close(caller)).await.map_err(|_| self.gone())?;
        answered.await.map_err(|_| self.gone())?
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Why nobody writes any more.
    fn gone(&self) -> StateError {
        match self.fault.get() {
            Some(fault) => fault.clone(),
            None if self.is_closed() => StateError::Closed,
            None => StateError::gone(),
        }
    }

    pub(super) async fn ended(&self) -> StateError {
        self.writer.closed().await;
        self.gone()
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).field("is_ours", &self.is_ours).finish_non_exhaustive()
    }
}
