//! The stream of a connection: it ends where the connection has to go, and lets one request through at a time.
//!
//! What a caller sends ahead stays in the system's buffers until the answer before is taken: read at once, a few KiB of
//! requests would become as many answers. Must not know what is asked for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::heads::Heads;
use super::{Connection, Connections};
use crate::domain::limits::HTTP_PIECE;
use crate::domain::moment::Moment;

/// The stream of a connection.
#[derive(Debug)]
pub(in crate::http) struct Watched {
    stream: TcpStream,
    connection: Arc<Connection>,
    number: u64,
    all: Arc<Connections>,
    gate: Gate,
}

/// Lets one request through at a time.
#[derive(Debug, Default)]
struct Gate {
    heads: Heads,
    /// A head was handed over. What it asks for is begun by the time something is flushed; with no answer under way then,
    /// it is done, or it was no request.
    closed: bool,
    /// Whoever reads was told to look again once after that: it may have thrown away what it read, with nothing to flush.
    looked_again: bool,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>, number: u64, all: Arc<Connections>) -> Self {
        Self { stream, connection, number, all, gate: Gate::default() }
    }

    /// Returns the connection it belongs to.
    pub(in crate::http) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Finds out whether the caller is gone, and reads nothing.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.gate.looked_again {
            self.gate.looked_again = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match ready!(self.stream.poll_peek(cx, &mut ReadBuf::new(&mut [0])))? {
            0 => Poll::Ready(Ok(())),
            _ => Poll::Pending, // what it sent meanwhile is read when the gate opens, which wakes this task
        }
    }

    fn evicted(&self, cx: &Context<'_>) -> io::Result<()> {
        self.connection.waker.register(cx.waker());
        if self.connection.state().evicted { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.evicted(cx)?;
        if self.gate.closed {
            return self.poll_gone(cx);
        }
        let window = into.remaining().min(HTTP_PIECE);
        let mut seen = ReadBuf::new(into.initialize_unfilled_to(window));
        if ready!(self.stream.poll_peek(cx, &mut seen))? == 0 {
            return Poll::Ready(Ok(()));
        }
        let (len, _) = Heads::clone(&self.gate.heads).read(seen.filled());
        let mut piece = ReadBuf::new(into.initialize_unfilled_to(len));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        let (read, ended) = self.gate.heads.read(piece.filled());
        into.advance(read);
        (self.gate.closed, self.gate.looked_again) = (ended, false);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, text: &[u8]) -> Poll<io::Result<usize>> {
        self.evicted(cx)?;
        let outcome = Pin::new(&mut self.stream).poll_write(cx, text);
        let mut state = self.connection.state();
        match outcome {
            Poll::Pending => drop(state.stalled_since.get_or_insert_with(Moment::now)),
            Poll::Ready(_) => state.stalled_since = None,
        }
        drop(state);
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.gate.closed && !self.connection.has_answers() {
            self.gate.closed = false;
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.all.open().by_number.remove(&self.number);
        self.all.metrics.http_closed();
    }
}
