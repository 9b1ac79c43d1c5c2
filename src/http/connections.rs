//! The connections to the HTTP port, and which of them has to go for another.
//!
//! * There are never more than [`Connections::new`] was told; a new one takes the place of the one that has been without a
//!   request for longest, else of the one whose reader has taken nothing for longest. So health has an answer whoever else
//!   holds connections open.
//! * No connection stays that sends no request, or takes nothing of its answer, for longer than it may.
//!
//! Must not know what is asked for.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::domain::limits::{HTTP_HEAD, HTTP_STALL};
use crate::domain::moment::Moment;
use crate::metrics::Metrics;

/// How often connections are looked through.
const GLANCE: Duration = Duration::from_secs(5);

/// All of them.
#[derive(Debug)]
pub(super) struct Connections {
    open: Mutex<Open>,
    most: usize,
    /// How long one may be without a request.
    idle: Duration,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_number: HashMap<u64, Arc<Connection>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Connection {
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Debug)]
struct State {
    /// Answers under way.
    answers: usize,
    /// Since when there is none.
    idle_since: Moment,
    /// Since when the reader takes nothing, while there is something to take.
    stalled_since: Option<Moment>,
    evicted: bool,
}

impl Connections {
    /// Keeps at most `most`, each without a request for at most `idle`.
    pub(super) fn new(most: usize, idle: Duration, metrics: Arc<Metrics>) -> Self {
        Self { open: Mutex::default(), most: most.max(1), idle: idle + HTTP_HEAD, metrics }
    }

    /// Takes a new one, and lets another go where there are too many.
    pub(super) fn admit(self: &Arc<Self>, stream: TcpStream) -> Watched {
        let (connection, number) = self.place(Moment::now());
        self.metrics.http_opened();
        Watched { stream, connection, number, all: Arc::clone(self) }
    }

    fn place(&self, now: Moment) -> (Arc<Connection>, u64) {
        let state = State { answers: 0, idle_since: now, stalled_since: None, evicted: false };
        let connection = Arc::new(Connection { state: Mutex::new(state), waker: AtomicWaker::new() });
        let mut open = self.open();
        if open.by_number.len() >= self.most {
            // Where every other one is busy and read, the new one has to go.
            if let Some(number) = worst(&open, now) {
                self.evict(&mut open, number);
            } else {
                connection.state().evicted = true;
                self.metrics.http_evicted();
            }
        }
        open.next += 1;
        let number = open.next;
        if !connection.state().evicted {
            open.by_number.insert(number, Arc::clone(&connection));
        }
        (connection, number)
    }

    /// Lets those go that send nothing, or take nothing, for too long; for ever.
    pub(super) async fn look_after(self: Arc<Self>) {
        loop {
            tokio::time::sleep(GLANCE).await;
            self.look(Moment::now());
        }
    }

    fn look(&self, now: Moment) {
        let mut open = self.open();
        let over = |(number, connection): (&u64, &Arc<Connection>)| {
            let state = connection.state();
            let stalled = state.stalled_since.is_some_and(|since| now.since(since) >= HTTP_STALL);
            let idle = state.answers == 0 && now.since(state.idle_since) >= self.idle;
            (stalled || idle).then_some(*number)
        };
        let over: Vec<_> = open.by_number.iter().filter_map(over).collect();
        for number in over {
            self.evict(&mut open, number);
        }
    }

    fn evict(&self, open: &mut Open, number: u64) {
        if let Some(connection) = open.by_number.remove(&number) {
            connection.state().evicted = true;
            connection.waker.wake();
            self.metrics.http_evicted();
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which has to go first, if any can.
fn worst(open: &Open, now: Moment) -> Option<u64> {
    let ranked = open.by_number.iter().filter_map(|(number, connection)| {
        let state = connection.state();
        match (state.answers, state.stalled_since) {
            (0, _) => Some((true, now.since(state.idle_since), *number)),
            (_, Some(since)) => Some((false, now.since(since), *number)),
            (_, None) => None,
        }
    });
    ranked.max().map(|(_, _, number)| number)
}

impl Connection {
    /// An answer is under way until what this returns is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        self.state().answers += 1;
        Answering(Arc::clone(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is under way.
#[derive(Debug)]
pub(super) struct Answering(Arc<Connection>);

impl Answering {
    /// The same body, under way until it is read to its end or given up.
    pub(super) fn with(self, body: impl MessageBody + 'static) -> BoxBody {
        BoxBody::new(Body { body: BoxBody::new(body), _answering: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.answers -= 1;
        state.idle_since = Moment::now();
    }
}

struct Body {
    body: BoxBody,
    _answering: Answering,
}

impl MessageBody for Body {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// The stream of a connection.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    connection: Arc<Connection>,
    number: u64,
    all: Arc<Connections>,
}

impl Watched {
    /// What it is known by.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    fn evicted(&self, cx: &Context<'_>) -> io::Result<()> {
        self.connection.waker.register(cx.waker());
        if self.connection.state().evicted { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.evicted(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, into)
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
        Pin::new(&mut self.stream).poll_flush(cx)
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::virtual_at(Duration::from_secs(seconds), Timestamp::UNIX_EPOCH)
    }

    fn connections(most: usize) -> Connections {
        let metrics = Metrics::new("1", "c", [""; 0], [""; 0], [""; 0]).unwrap();
        Connections::new(most, Duration::from_secs(75), Arc::new(metrics))
    }

    fn is_evicted(place: &(Arc<Connection>, u64)) -> bool {
        place.0.state().evicted
    }

    #[test]
    fn c7_a_new_connection_takes_the_place_of_the_one_that_was_silent_for_longest() {
        let all = connections(3);
        let places: Vec<_> = (0..3).map(|second| all.place(at(second))).collect();
        let answering = places[0].0.begin();
        let new = all.place(at(3));
        assert_eq!([&places[0], &places[1], &places[2], &new].map(is_evicted), [false, true, false, false]);
        assert_eq!(all.metrics.http_connections_evicted.get(), 1);
        drop(answering);
    }

    #[test]
    fn c7_where_all_are_answered_the_one_that_is_not_read_goes_and_else_the_new_one() {
        let all = connections(2);
        let places: Vec<_> = (0..2).map(|second| all.place(at(second))).collect();
        let _answers: Vec<_> = places.iter().map(|(connection, _)| connection.begin()).collect();
        assert!(is_evicted(&all.place(at(3))) && places.iter().all(|place| !is_evicted(place)));
        places[1].0.state().stalled_since = Some(at(3));
        assert!(!is_evicted(&all.place(at(4))));
        assert_eq!([&places[0], &places[1]].map(is_evicted), [false, true]);
    }

    #[test]
    fn c7_who_sends_nothing_or_takes_nothing_for_too_long_goes_by_itself() {
        let all = connections(9);
        let places: Vec<_> = (0..3).map(|_| all.place(at(0))).collect();
        let _answers: Vec<_> = places[1..].iter().map(|(connection, _)| connection.begin()).collect();
        places[1].0.state().stalled_since = Some(at(70));
        all.look(at(84));
        assert!(places.iter().all(|place| !is_evicted(place)));
        all.look(at(85));
        assert_eq!([&places[0], &places[1], &places[2]].map(is_evicted), [true, false, false]);
        all.look(at(90));
        assert_eq!([&places[0], &places[1], &places[2]].map(is_evicted), [true, true, false]);
    }
}
