//! The connections: one task each, one lock around the [`Switchboard`], bounded queues in between.
//!
//! Must not decide anything.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::Tls;
use super::blast::{self, Burst};
use super::reader::{StreamReader, Unreadable};
use super::switchboard::{Next, Order, SessionId, Switchboard};
use crate::domain::moment::Moment;

/// Orders written at once.
const BATCH: usize = 64;

/// A peer that takes nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a dead link takes to hear of the end.
const LATE: Duration = Duration::from_secs(5);
/// How long the peer may take to close after us.
const LINGER: Duration = Duration::from_secs(1);

/// State shared by the connections and the hands of a test.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    earlier: Notify,
    open: watch::Sender<bool>,
    queue: usize,
    most_connections: usize,
}

struct State {
    board: Switchboard,
    lines: HashMap<SessionId, Line>,
}

pub(super) struct Line {
    orders: mpsc::Sender<Order>,
    pub(super) bursts: mpsc::Sender<Burst>,
    task: Option<AbortHandle>,
}

impl Line {
    fn cut(self) {
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

impl Shared {
    pub(super) fn new(board: Switchboard, queue: usize, most_connections: usize) -> Self {
        Self {
            state: Mutex::new(State { board, lines: HashMap::new() }),
            changed: watch::Sender::new(()),
            earlier: Notify::new(),
            open: watch::Sender::new(true),
            queue,
            most_connections,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the service.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Switchboard) -> R) -> R {
        look(&self.state().board)
    }

    /// Takes something from an open connection.
    pub(super) fn line<R>(&self, id: SessionId, take: impl FnOnce(&Line) -> R) -> Option<R> {
        self.state().lines.get(&id).map(take)
    }

    /// Sees every change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Lets something happen to the service, and passes its orders on.
    pub(super) fn act<R>(&self, act: impl FnOnce(&mut Switchboard, Moment) -> R) -> R {
        let mut state = self.state();
        let before = state.board.due();
        let now = Moment::now();
        let result = act(&mut state.board, now);
        state.board.hand_on(now);
        state.pass_on(now);
        let after = state.board.due();
        drop(state);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.earlier.notify_one();
        }
        self.changed.send_replace(());
        result
    }

    /// Drops every connection, and lets nobody connect for a time.
    pub(super) async fn restart(&self, down_for: Duration) {
        if down_for.is_zero() {
            return self.drop_all();
        }
        self.go_down();
        tokio::time::sleep(down_for).await;
        self.come_up();
    }

    /// Drops every connection and lets nobody connect.
    pub(super) fn go_down(&self) {
        self.open.send_replace(false);
        self.drop_all();
    }

    /// Lets clients connect again.
    pub(super) fn come_up(&self) {
        self.open.send_replace(true);
    }

    /// Drops every connection and forgets every session.
    pub(super) fn drop_all(&self) {
        let mut state = self.state();
        std::mem::take(&mut state.lines).into_values().for_each(Line::cut);
        state.board.forget_sessions();
        state.board.hand_on(Moment::now());
        drop(state);
        self.changed.send_replace(());
    }

    fn join(self: &Arc<Self>, tcp: TcpStream, tls: &Tls) {
        let _ = tcp.set_nodelay(true);
        let mut state = self.state();
        if !*self.open.borrow() || state.lines.len() >= self.most_connections {
            return;
        }
        let id = state.board.connected(matches!(tls, Tls::Direct(_)), Moment::now());
        let (orders, queue) = mpsc::channel(self.queue);
        let (bursts, waiting) = mpsc::channel(blast::WAITING);
        state.lines.insert(id, Line { orders, bursts, task: None });
        drop(state); // a runtime that is ending drops the new task at once, which takes the lock
        let task = tokio::spawn(serve(
            Membership { shared: self.clone(), id },
            tcp,
            Inbox { orders: queue, bursts: waiting },
            tls.clone(),
        ));
        match self.state().lines.get_mut(&id) {
            Some(line) => line.task = Some(task.abort_handle()),
            None => task.abort(),
        }
        self.changed.send_replace(());
    }
}

impl State {
    fn pass_on(&mut self, now: Moment) {
        for (id, order) in self.board.orders() {
            if order == Order::Cut {
                if let Some(line) = self.lines.remove(&id) {
                    line.cut();
                }
                continue;
            }
            match self.lines.get(&id).map(|line| line.orders.try_send(order)) {
                None | Some(Ok(()) | Err(TrySendError::Closed(_))) => {}
                Some(Err(TrySendError::Full(_))) => {
                    self.lines.remove(&id).into_iter().for_each(Line::cut);
                    self.board.observed.overflows += 1;
                    self.board.disconnected(id, now);
                }
            }
        }
    }
}

/// Accepts connections while `open`, and listens again at the same address, which is `reserved`, when it opens once more.
pub(super) async fn accept(shared: Arc<Shared>, reserved: TcpSocket, listener: TcpListener, tls: Tls) {
    let mut open = shared.open.subscribe();
    let Ok(address) = reserved.local_addr() else { return };
    let mut listener = Some(listener);
    loop {
        if !*open.borrow_and_update() {
            listener = None;
            if open.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(bound) = &listener else {
            listener = rebind(address).await;
            continue;
        };
        tokio::select! {
            accepted = bound.accept() => match accepted {
                Ok((tcp, _)) => shared.join(tcp, &tls),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await, // out of descriptors: let some close
            },
            changed = open.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

async fn rebind(address: SocketAddr) -> Option<TcpListener> {
    let bound = TcpListener::bind(address).await.ok();
    if bound.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bound
}

/// Does what is due, when it is due.
pub(super) async fn keep_time(shared: Arc<Shared>) {
    loop {
        let wait = shared.look(Switchboard::due).map(|due| Moment::now().until(due));
        let due = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => shared.act(Switchboard::tick),
            () = shared.earlier.notified() => {}
        }
    }
}

/// A connection's place in the service, given up however its task ends.
struct Membership {
    shared: Arc<Shared>,
    id: SessionId,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shared.state().lines.remove(&self.id);
        self.shared.act(|board, now| board.disconnected(self.id, now));
    }
}

/// What a connection is given to write.
struct Inbox {
    orders: mpsc::Receiver<Order>,
    bursts: mpsc::Receiver<Burst>,
}

enum Ending {
    Over,
    StartTls,
}

async fn serve(member: Membership, mut tcp: TcpStream, mut inbox: Inbox, tls: Tls) {
    match tls {
        Tls::Off => drop(talk(&member, &mut tcp, &mut inbox).await),
        Tls::Starttls(config) => {
            if let Ok(Ending::StartTls) = talk(&member, &mut tcp, &mut inbox).await
                && let Ok(mut secured) = TlsAcceptor::from(config).accept(tcp).await
            {
                drop(talk(&member, &mut secured, &mut inbox).await);
            }
        }
        Tls::Direct(config) => {
            if let Ok(mut secured) = TlsAcceptor::from(config).accept(tcp).await {
                drop(talk(&member, &mut secured, &mut inbox).await);
            }
        }
    }
}

async fn talk<S>(member: &Membership, stream: &mut S, inbox: &mut Inbox) -> io::Result<Ending>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut reader = StreamReader::new();
    let mut bytes = vec![0; 2048];
    let mut batch = Vec::new();
    let mut burst: Option<Burst> = None;
    loop {
        tokio::select! {
            next = inbox.bursts.recv(), if burst.is_none() => burst = next,
            () = std::future::ready(()), if burst.is_some() => match burst.as_mut().and_then(Iterator::next) {
                Some(bytes) => put(stream, &bytes).await?,
                None => burst = None,
            },
            count = inbox.orders.recv_many(&mut batch, BATCH) => {
                if count == 0 || write(stream, &mut batch).await? {
                    stream.shutdown().await?;
                    linger(stream, &mut bytes).await;
                    return Ok(Ending::Over);
                }
            }
            count = stream.read(&mut bytes) => {
                let count = count?;
                if count == 0 {
                    // A dead link hears late that the other side has closed.
                    if member.shared.act(|board, _| board.is_dead(member.id)) {
                        tokio::time::sleep(LATE).await;
                    }
                    return Ok(Ending::Over);
                }
                if read(member, &mut reader, &bytes[..count]) == Next::StartTls {
                    while let Ok(order) = inbox.orders.try_recv() {
                        batch.push(order);
                    }
                    write(stream, &mut batch).await?;
                    return Ok(Ending::StartTls);
                }
            }
        }
    }
}

fn read(member: &Membership, reader: &mut StreamReader, mut bytes: &[u8]) -> Next {
    loop {
        match reader.read(&mut bytes) {
            Ok(None) => return Next::Go,
            Ok(Some(incoming)) => match member.shared.act(|board, now| board.receive(member.id, incoming, now)) {
                Next::Go => {}
                Next::Restart => *reader = StreamReader::new(),
                Next::StartTls => return Next::StartTls,
            },
            Err(fault) => {
                let condition = match fault {
                    Unreadable::BadXml => "not-well-formed",
                    Unreadable::TooLarge => "policy-violation",
                };
                member.shared.act(|board, _| board.stream_error(member.id, condition, ""));
                return Next::Go;
            }
        }
    }
}

/// Writes orders in one go; whether the last was to close.
async fn write<S: AsyncWrite + Unpin>(stream: &mut S, batch: &mut Vec<Order>) -> io::Result<bool> {
    let mut text = String::new();
    let mut close = false;
    for order in batch.drain(..) {
        match order {
            Order::Write(part) => text.push_str(&part),
            Order::Close | Order::Cut => close = true,
        }
    }
    put(stream, text.as_bytes()).await?;
    Ok(close)
}

async fn put<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    tokio::time::timeout(PATIENCE, written).await?
}

/// Waits for the other side to close, so that unread bytes do not reset the connection under our last words.
async fn linger<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut [u8]) {
    let drained = async { while matches!(stream.read(bytes).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(LINGER, drained).await;
}
