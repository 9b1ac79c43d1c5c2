//! A bound on what a sink's peer may send, below every client library.
//!
//! The libraries trust their server: they keep a message of any length until it is whole, and read on without a pause
//! while there is something to read. All sinks share one thread, so a single hostile or broken peer could take the
//! memory of the process and hold up all other sinks. This stream reads from the peer no faster than an honest one ever
//! sends:
//!
//! * [`PEER_AT_ONCE`] bytes at once, and [`PEER_RATE`] more each second. What we write earns more, because it is answered:
//!   one byte for [`BYTES_PER_ANSWER`] of ours, which is many times what an acknowledgement takes and too little for a
//!   peer that has us answer its probes. A protocol whose answers are large says so through [`Credit`].
//! * Beyond that nothing is read; the network holds the peer up, and the sink's time-out ends what comes of it.
//! * A peer that goes on after [`PEER_UNASKED`] bytes without a single byte from us is not answering anything: the
//!   connection ends. So no buffer above this stream grows any larger, whatever length a message claims to have, also
//!   on a connection on which nothing is under way.
//!
//! It lies directly on the socket, so that the bytes of TLS count too. Must not know any protocol.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::domain::limits::{PEER_AT_ONCE, PEER_RATE, PEER_UNASKED};

/// Bytes of ours that let the peer send one byte more.
const BYTES_PER_ANSWER: u64 = 4;
/// How long nothing is read where nothing may be: long enough for a piece that is worth the trouble.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes that are read with one step.
const STEP: u64 = 16 * 1024;

/// More bytes that a peer may send, granted from outside of its stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Credit(Arc<AtomicU64>);

impl Credit {
    /// Lets the peer send `bytes` more.
    pub(super) fn grant(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// How many bytes may be read now, and what that follows from.
#[derive(Debug)]
struct Allowance {
    left: u64,
    /// The time up to which `left` was refilled.
    refilled: Duration,
    /// Bytes read since we wrote last.
    unasked: u64,
}

impl Allowance {
    fn new() -> Self {
        Self { left: PEER_AT_ONCE, refilled: Duration::ZERO, unasked: 0 }
    }

    fn refill(&mut self, now: Duration) {
        let since = now.saturating_sub(self.refilled);
        let earned = u64::try_from(since.as_micros()).unwrap_or(u64::MAX).saturating_mul(PEER_RATE) / 1_000_000;
        // What comes to less than a byte is left to grow.
        if earned > 0 {
            self.refilled = now;
            self.left = self.left.max(self.left.saturating_add(earned).min(PEER_AT_ONCE));
        }
    }

    fn earn(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(bytes).min(PEER_UNASKED);
    }

    fn wrote(&mut self, bytes: u64) {
        self.unasked = 0;
        self.earn(bytes / BYTES_PER_ANSWER);
    }

    fn read(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
        self.unasked = self.unasked.saturating_add(bytes);
    }

    /// Bytes that may be read now.
    ///
    /// # Errors
    /// If the peer has sent too much for any answer.
    fn room(&self) -> io::Result<u64> {
        if self.unasked >= PEER_UNASKED {
            let reason = format!("the peer goes on sending without being asked: {} bytes so far", self.unasked);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(self.left)
    }
}

/// The stream.
#[derive(Debug)]
pub(super) struct Throttled<S> {
    stream: S,
    allowance: Allowance,
    credit: Credit,
    begun: Instant,
    /// While nothing may be read.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> Throttled<S> {
    pub(super) fn new(stream: S) -> Self {
        let credit = Credit::default();
        Self { stream, allowance: Allowance::new(), credit, begun: Instant::now(), pause: None }
    }

    /// Returns the credit, by which others let the peer send more.
    pub(super) fn credit(&self) -> Credit {
        self.credit.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Throttled<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let room = loop {
            this.allowance.refill(this.begun.elapsed());
            this.allowance.earn(this.credit.take());
            match this.allowance.room()? {
                0 => {}
                room => break room,
            }
            let pause = this.pause.get_or_insert_with(|| Box::pin(sleep(PAUSE)));
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        };
        let most = buf.remaining().min(usize::try_from(room.min(STEP)).unwrap_or(usize::MAX));
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let count = part.filled().len();
        buf.advance(count);
        this.allowance.read(u64::try_from(count).unwrap_or(u64::MAX));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Throttled<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.allowance.wrote(u64::try_from(count).unwrap_or(u64::MAX));
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[test]
    fn an_allowance_refills_by_time_up_to_what_may_come_at_once() {
        let mut allowance = Allowance::new();
        allowance.read(PEER_AT_ONCE);
        assert_eq!(allowance.room().unwrap(), 0);
        allowance.refill(Duration::from_micros(1)); // less than a byte
        assert_eq!(allowance.room().unwrap(), 0);
        allowance.refill(Duration::from_millis(500));
        assert_eq!(allowance.room().unwrap(), PEER_RATE / 2);
        allowance.refill(Duration::from_hours(5));
        assert_eq!(allowance.room().unwrap(), PEER_AT_ONCE);
    }

    #[test]
    fn what_we_write_is_answered_and_what_we_do_not_ask_for_has_an_end() {
        let mut allowance = Allowance::new();
        allowance.read(PEER_AT_ONCE);
        allowance.wrote(4_000);
        assert_eq!(allowance.room().unwrap(), 1_000);
        allowance.read(PEER_UNASKED);
        assert_eq!(allowance.room().unwrap_err().kind(), io::ErrorKind::InvalidData);
        allowance.wrote(40);
        assert_eq!(allowance.room().unwrap(), 10);
        // Probes that we answer with as many bytes do not pay for themselves.
        let mut allowance = Allowance::new();
        for _ in 0..100_000 {
            allowance.read(6);
            allowance.wrote(6);
        }
        assert_eq!(allowance.room().unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn c2_a_peer_that_never_ends_is_read_at_the_rate_and_cut_off_in_the_end() {
        let (near, mut far) = duplex(1 << 20);
        let flood = tokio::spawn(async move { while far.write_all(&[b'x'; 4096]).await.is_ok() {} });
        let (mut throttled, begun) = (Throttled::new(near), Instant::now());
        let (mut bytes, mut read) = (vec![0; 64 << 10], 0);
        let fault = loop {
            match throttled.read(&mut bytes).await {
                Ok(count) => read += u64::try_from(count).unwrap(),
                Err(fault) => break fault,
            }
        };
        assert!(fault.to_string().contains("without being asked"), "{fault}");
        assert!((PEER_UNASKED..PEER_UNASKED + STEP).contains(&read), "{read}");
        let least = Duration::from_secs((PEER_UNASKED - PEER_AT_ONCE) / PEER_RATE).saturating_sub(PAUSE);
        assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
        drop(throttled);
        flood.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_is_not_held_up() {
        let (near, mut far) = duplex(1 << 20);
        let echo = tokio::spawn(async move {
            let mut asked = vec![0; 4096];
            for _ in 0..1000 {
                far.read_exact(&mut asked).await.unwrap();
                far.write_all(&asked[..1000]).await.unwrap();
            }
        });
        let (mut throttled, begun) = (Throttled::new(near), Instant::now());
        for _ in 0..1000 {
            throttled.write_all(&[b'x'; 4096]).await.unwrap();
            throttled.read_exact(&mut [0; 1000]).await.unwrap();
        }
        echo.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO, "of virtual time");
    }
}
