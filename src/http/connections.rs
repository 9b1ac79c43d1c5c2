//! The connections to the HTTP port, and which of them has to go for another.
//!
//! * There are never more than [`Connections::new`] was told; a new one takes the place of the one that has been without a
//!   request for longest, else of the one whose reader has taken nothing for longest. So health has an answer whoever else
//!   holds connections open.
//! * No connection stays that sends no request, or takes nothing of its answer, for longer than it may.
//! * No connection costs more than one answer at a time, as [`watched`] sees to; [`super::room`] counts what these hold.
//!
//! Must not know what is asked for.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use futures::task::AtomicWaker;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::domain::limits::{HTTP_HEAD, HTTP_PIECE, HTTP_STALL, HTTP_STALL_PRESSED, HTTP_TAKEN_PRESSED};
use crate::domain::moment::Moment;
use crate::metrics::Metrics;
pub(super) use watched::Watched;

mod heads;
mod watched;

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
    /// Since when the reader takes nothing, while there is something to take, or the answer waits for room.
    stalled_since: Option<Moment>,
    /// The room its answer takes, in bytes, and since when.
    held: Option<(usize, Moment)>,
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
        Watched::new(stream, connection, number, Arc::clone(self))
    }

    /// An answer on a connection of its own.
    #[cfg(test)]
    pub(super) fn answering(&self) -> Answering {
        self.place(Moment::now()).0.begin()
    }

    fn place(&self, now: Moment) -> (Arc<Connection>, u64) {
        let state = State { answers: 0, idle_since: now, stalled_since: None, held: None, evicted: false };
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

    /// Lets those go whose answers are not taken while others wait for the `wanted` bytes of room they hold.
    pub(super) fn press(&self, wanted: usize, now: Moment) {
        let mut open = self.open();
        let slow = |(number, connection): (&u64, &Arc<Connection>)| {
            let state = connection.state();
            let (held, since) = state.held?;
            let stalled = state.stalled_since.is_some_and(|since| now.since(since) >= HTTP_STALL_PRESSED);
            let lasting = now.since(since) >= HTTP_TAKEN_PRESSED;
            (stalled || lasting).then_some((now.since(since), *number, held))
        };
        let mut slow: Vec<_> = open.by_number.iter().filter_map(slow).collect();
        slow.sort_unstable();
        let mut freed = 0;
        for (_, number, held) in slow.into_iter().rev() {
            if freed >= wanted {
                break;
            }
            freed += held;
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
        Answering { connection: Arc::clone(self), held: None }
    }

    fn has_answers(&self) -> bool {
        self.state().answers > 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is under way.
#[derive(Debug)]
pub(super) struct Answering {
    connection: Arc<Connection>,
    held: Option<OwnedSemaphorePermit>,
}

impl Answering {
    /// Waits for the room that `permit` stands for, as one whose place another connection may take.
    pub(super) async fn waiting<T>(&self, permit: impl Future<Output = T>) -> T {
        self.connection.state().stalled_since = Some(Moment::now());
        let permit = permit.await;
        self.connection.state().stalled_since = None;
        permit
    }

    /// Holds this room until the answer is taken.
    pub(super) fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.connection.state().held = Some((permit.num_permits(), Moment::now()));
        self.held = Some(permit);
    }

    /// The same body, under way until it is read to its end or given up.
    pub(super) fn with(self, body: impl MessageBody + 'static) -> BoxBody {
        BoxBody::new(Body { whole: BoxBody::new(body), rest: Bytes::new(), _answering: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.connection.state();
        state.answers -= 1;
        state.held = None;
        state.idle_since = Moment::now();
    }
}

/// A body that is handed over in pieces: whoever writes it copies them, and would hold a large one twice.
struct Body {
    whole: BoxBody,
    rest: Bytes,
    _answering: Answering,
}

impl MessageBody for Body {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.whole.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.whole).poll_next(cx)) {
                Some(Ok(piece)) => self.rest = piece,
                end => return Poll::Ready(end),
            }
        }
        let piece = self.rest.len().min(HTTP_PIECE);
        Poll::Ready(Some(Ok(self.rest.split_to(piece))))
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
    fn c7_where_room_is_wanted_those_go_first_that_hold_it_for_longest_and_do_not_take_it() {
        let all = connections(9);
        let places: Vec<_> = (0..5).map(|_| all.place(at(0))).collect();
        let _answers: Vec<_> = places.iter().map(|(connection, _)| connection.begin()).collect();
        for (number, (held, stalled)) in
            [(0, Some(9)), (2, Some(9)), (1, None), (5, Some(5)), (6, Some(3))].into_iter().enumerate()
        {
            let mut state = places[number].0.state();
            state.held = (held > 0).then(|| (100, at(held)));
            state.stalled_since = stalled.map(at);
        }
        let evicted = || [0, 1, 2, 3, 4].map(|number: usize| is_evicted(&places[number]));
        all.press(150, at(9));
        assert_eq!(evicted(), [false, false, false, true, true]);
        all.press(150, at(9));
        assert_eq!(evicted(), [false, false, false, true, true], "those that are read stay");
        all.press(1, at(11));
        assert_eq!(evicted(), [false, false, true, true, true], "but not for ever");
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
