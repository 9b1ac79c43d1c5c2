//! The session loop: one task that owns a stream from log-in to its end.
//!
//! Reads in batches and writes what it is given, both through bounded channels; a full inbox stops the reading, which
//! is the back-pressure.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use minidom::Element;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use xmpp_parsers::jid::{BareJid, FullJid};

use super::connector::Connector;
use super::login::{Beginning, Credential, login};
use super::stream::{ReadError, Stream};
use super::turns::Logins;
use crate::domain::limits::OUTBOX_BYTES;
use crate::domain::moment::Moment;
use crate::domain::service::Service;
use crate::metrics::Metrics;
use crate::protocol::acknowledgement::{Acknowledgement, Resumption};
use crate::protocol::hearing::Hearing;
use crate::protocol::link::{Failure, Loss};
use crate::protocol::logins::Urgency;
use crate::protocol::notification::Notification;
use crate::protocol::sasl::Mechanisms;
use crate::protocol::stanza;
use batch::Batch;
pub use batch::{Messages, Room};
pub use outbox::Outbox;
use outbox::{Outgoings, Overflow, outbox};
pub use pulse::Pulse;

mod batch;
mod outbox;
mod pulse;

/// Frames handed over at once at most; also how long a busy stream may keep its thread.
const MOST_AT_ONCE: usize = 64;
/// Units of room that are kept while a stream that had to wait for it is read on.
const ROOM_AHEAD: u32 = 32;
/// Batches that wait to be looked at.
const INBOX: usize = 1;
/// How long a stream gets to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a session tells.
#[derive(Debug)]
pub enum Event {
    /// It is up, bound to this full JID.
    Up(FullJid),
    /// The one of this full JID that was lost goes on.
    Resumed(FullJid),
    /// Known before it came up or did not: these log-in mechanisms the server offers and refuses.
    MechanismsRefused(Mechanisms),
    /// It did not come up.
    Failed {
        /// Why.
        failure: Failure,
        /// Whether the lost session is over: the server was asked to resume it and did not.
        unresumed: bool,
    },
    /// What arrived, in order, when it was read, the room its messages take until they are on the disk, and what
    /// [`Session::handled`] is to be told once all of it is dealt with.
    Received(Vec<Received>, Moment, Room, u32),
    /// This many stanzas were over the cap and thrown away.
    Oversize(u64),
    /// The server acknowledges too little: should the session be lost, it cannot be resumed.
    Unresumable,
    /// It is over, when the server was heard last, and what it takes to resume it if that is possible.
    Down(Loss, Moment, Option<Box<Resumption>>),
}

/// One thing that arrived.
#[derive(Debug)]
pub enum Received {
    /// A message.
    Note(Notification),
    /// Any other element.
    Element(Element),
}

/// How a session is to begin.
#[derive(Debug)]
pub enum Plan {
    /// Anew, without stream management.
    Plain,
    /// Anew, with stream management where the server has it (XEP-0198).
    Managed,
    /// Where a lost one ended; where that cannot be, as [`Self::Managed`].
    Resume(Box<Resumption>),
}

/// Both ends of a running session. Dropping the outbox ends it in good order; aborting the task ends it at once.
#[derive(Debug)]
pub struct Session {
    /// Stanzas to send.
    // A channel of tokio has room for 32 from the first one on: what goes through those of an account is small.
    pub outbox: Outbox,
    /// What it tells; ends with `Failed` or `Down`.
    pub events: mpsc::Receiver<Box<Event>>,
    /// As far as which stanza everything is dealt with; the server is told nothing else.
    pub handled: watch::Sender<Option<u32>>,
    /// The services whose messages are read. A change counts for what comes after the stanzas that are sent after it.
    pub services: watch::Sender<Arc<[Service]>>,
    /// When the server was heard last.
    pub pulse: Arc<Pulse>,
    /// The task.
    pub task: tokio::task::JoinHandle<()>,
}

/// What all sessions share.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The log-ins under way and waiting.
    pub logins: Logins,
    /// Room for what is read and not yet on the disk.
    pub messages: Messages,
}

impl Bounds {
    /// For `concurrent_logins` log-ins at once at each server, shown in `metrics`.
    #[must_use]
    pub fn new(concurrent_logins: usize, metrics: Option<Arc<Metrics>>) -> Self {
        Self { logins: Logins::new(concurrent_logins, metrics), messages: Messages::default() }
    }

    /// How much room is taken by what is read and not yet on the disk, in units of
    /// [`crate::domain::limits::ROOM_UNIT_BYTES`].
    #[must_use]
    pub fn in_hand(&self) -> usize {
        self.messages.in_hand()
    }
}

/// Starts a session on the current thread's runtime, in which messages of `services` are read. With the others it keeps to
/// `bounds`.
#[must_use]
pub fn start(
    connector: Connector,
    credential: Credential,
    services: Arc<[Service]>,
    instead: Option<String>,
    bounds: Bounds,
    plan: Plan,
    urgency: Urgency,
) -> Session {
    let (outbox, mut outgoing) = outbox();
    let (inbox, events) = mpsc::channel(INBOX);
    let (handled, handled_upto) = watch::channel(None);
    let (services, wanted) = watch::channel(services);
    let pulse = Arc::new(Pulse::new(Moment::now()));
    let signs = Arc::clone(&pulse);
    let task = tokio::spawn(async move {
        let domain = credential.jid.domain().as_str();
        let server = connector.options().host.as_deref().unwrap_or(domain);
        let turn = bounds.logins.turn(server, domain, urgency).await;
        // On the heap, and freed when it is done: a task is as large as the largest thing it ever waits for.
        let known = credential.refused_mechanisms;
        let mut refused = known;
        let up = Box::pin(begin(&connector, &credential, instead, plan, &mut refused, &|| turn.answered())).await;
        if up.is_ok() {
            turn.succeeded();
        } else {
            drop(turn);
        }
        if refused != known && inbox.send(Box::new(Event::MechanismsRefused(refused))).await.is_err() {
            return;
        }
        let end = match up {
            Ok((stream, up, own, counters)) => {
                if inbox.send(Box::new(up)).await.is_err() {
                    return;
                }
                let server = BareJid::from_parts(None, own.domain());
                let hearing = Hearing::new(own.clone(), Arc::clone(&wanted.borrow()));
                let (handled, pulse) = (handled_upto, signs);
                pulse.hear(Moment::now());
                let overflow = outgoing.overflow();
                let (inbox, pings) = (&inbox, 0);
                let mut talk =
                    Talk { stream, overflow, hearing, wanted, server, pings, counters, handled, pulse, inbox };
                let loss = talk.run(&mut outgoing, &bounds.messages).await;
                let heard = talk.pulse.heard();
                let resumption = talk.end(&loss, &mut outgoing).and_then(|counters| counters.resumption(own));
                Event::Down(loss, heard, resumption.map(Box::new))
            }
            Err((failure, unresumed)) => Event::Failed { failure, unresumed },
        };
        // Nobody listening any more is no loss: the account is gone.
        let _ = inbox.send(Box::new(end)).await;
    });
    Session { outbox, events, handled, services, pulse, task }
}

/// Logs in within the time there is for it. A failure says besides whether a session that was to be resumed is over: once
/// the server was asked for it, anything but success is final (XEP-0198 section 5).
async fn begin(
    connector: &Connector,
    credential: &Credential,
    instead: Option<String>,
    plan: Plan,
    refused: &mut Mechanisms,
    answered: &impl Fn(),
) -> Result<(Stream, Event, FullJid, Acknowledgement), (Failure, bool)> {
    let (managed, mut lost) = match plan {
        Plan::Plain => (false, None),
        Plan::Managed => (true, None),
        Plan::Resume(resumption) => (true, Some(*resumption)),
    };
    let resumes = lost.is_some();
    let patience = connector.options().request_timeout;
    let up = timeout(patience, login(connector, credential, instead.as_deref(), &mut lost, refused, answered)).await;
    let up = up.unwrap_or(Err(Failure::Timeout));
    let (stream, beginning) = up.map_err(|failure| (failure, resumes && lost.is_none()))?;
    Ok(match beginning {
        Beginning::Bound { own, manageable } if managed && manageable => {
            (stream, Event::Up(own.clone()), own, Acknowledgement::asked_for())
        }
        Beginning::Bound { own, .. } => (stream, Event::Up(own.clone()), own, Acknowledgement::off()),
        Beginning::Resumed(own, counters) => (stream, Event::Resumed(own.clone()), own, counters),
    })
}

/// A session that is up.
struct Talk<'a> {
    stream: Stream,
    overflow: Overflow,
    hearing: Hearing,
    wanted: watch::Receiver<Arc<[Service]>>,
    server: BareJid,
    pings: u64,
    counters: Acknowledgement,
    handled: watch::Receiver<Option<u32>>,
    pulse: Arc<Pulse>,
    inbox: &'a mpsc::Sender<Box<Event>>,
}

impl Talk<'_> {
    async fn run(&mut self, outgoing: &mut Outgoings, messages: &Messages) -> Loss {
        if let Err(loss) = self.begin().await {
            return loss;
        }
        loop {
            if self.wanted.has_changed().unwrap_or(false) {
                self.hearing.listen_to(Arc::clone(&self.wanted.borrow_and_update()));
            }
            let mut batch = Batch::default();
            let read = tokio::select! {
                stanza = outgoing.recv() => match stanza {
                    Some(stanza) => match self.write(&stanza, outgoing).await {
                        Ok(()) => continue,
                        Err(loss) => return loss,
                    },
                    None => return self.close().await,
                },
                Ok(()) = self.handled.changed() => {
                    let due = self.catch_up();
                    match self.tell(due).await {
                        Ok(()) => continue,
                        Err(loss) => return loss,
                    }
                }
                read = self.stream.read(&self.hearing, batch.taking(&mut self.counters, messages)) => read,
            };
            let end = match read {
                Ok(()) => batch.end.take(),
                Err(ReadError::Silence) => match self.probe().await {
                    Ok(()) => continue,
                    Err(loss) => return loss,
                },
                Err(fault) => batch.end.take().or_else(|| Some(unread(&fault))),
            };
            if batch.read > 0 {
                self.pulse.hear(Moment::now());
            }
            let end = match end {
                None => self.respond(&mut batch).await.err(),
                end => end,
            };
            let end = match end {
                None if batch.lacks_room() => self.go_on(&mut batch, messages).await.err(),
                end => end,
            };
            if batch.lacks_room() {
                batch.wait_for_room(messages, 0).await;
            }
            batch.give_back();
            let listened = batch.pass_on(self.inbox, self.pulse.heard(), self.counters.received()).await;
            match (end, listened) {
                (Some(loss), _) => return loss,
                (None, false) => return self.close().await,
                (None, true) => tokio::task::yield_now().await,
            }
        }
    }

    /// Waits for room, and for some to spare: one message at a time would cost many times as much. Then reads on.
    async fn go_on(&mut self, batch: &mut Batch, messages: &Messages) -> Result<(), Loss> {
        if batch.ends_with_a_large_one() {
            batch.wait_for_room(messages, 0).await;
            return self.respond(batch).await;
        }
        batch.wait_for_room(messages, ROOM_AHEAD).await;
        let more = self.stream.read(&self.hearing, batch.taking(&mut self.counters, messages));
        match more.now_or_never() {
            None | Some(Ok(()) | Err(ReadError::Silence)) => {}
            Some(Err(fault)) => return Err(batch.end.take().unwrap_or_else(|| unread(&fault))),
        }
        match batch.end.take() {
            Some(loss) => Err(loss),
            None => self.respond(batch).await,
        }
    }

    /// Asks for stream management, or sends again what was not acknowledged before the loss. No answer is waited for: a
    /// server that gives none is as one that cannot do it.
    async fn begin(&mut self) -> Result<(), Loss> {
        if self.counters.is_on() {
            for stanza in self.counters.unacknowledged() {
                written(self.stream.feed(stanza), &self.overflow).await?;
            }
            self.ask(false).await?;
            return self.flush().await;
        }
        if self.counters.is_asked_for() {
            written(self.stream.send(&stanza::enable()), &self.overflow).await?;
        }
        Ok(())
    }

    /// Makes a silent server say something.
    async fn probe(&mut self) -> Result<(), Loss> {
        if self.counters.is_on() {
            self.ask(true).await?;
        } else {
            self.pings += 1;
            let ping = stanza::service_ping(&format!("ping-{}", self.pings), &self.server);
            self.feed(&ping).await?;
        }
        self.flush().await
    }

    /// Writes one stanza and those already waiting behind it, with one flush.
    async fn write(&mut self, first: &Element, more: &mut Outgoings) -> Result<(), Loss> {
        self.feed(first).await?;
        while let Ok(stanza) = more.try_recv() {
            self.feed(&stanza).await?;
        }
        self.ask(false).await?;
        self.flush().await
    }

    /// A stanza counts as sent before it is: whether a broken connection took it along nobody knows.
    async fn feed(&mut self, stanza: &Element) -> Result<(), Loss> {
        if !self.counters.send(stanza) {
            let _ = self.inbox.send(Box::new(Event::Unresumable)).await;
        }
        written(self.stream.feed(stanza), &self.overflow).await
    }

    async fn ask(&mut self, silence: bool) -> Result<(), Loss> {
        if self.counters.ask(silence) {
            written(self.stream.feed(&stanza::ask()), &self.overflow).await?;
        }
        Ok(())
    }

    /// Takes over what is dealt with by now; returns what to tell the server, if it waits for that.
    fn catch_up(&mut self) -> Option<u32> {
        let upto = *self.handled.borrow_and_update();
        self.counters.handle(upto?)
    }

    /// Answers the server's question, and asks our own where it is due now.
    async fn respond(&mut self, batch: &mut Batch) -> Result<(), Loss> {
        self.tell(batch.answer.take()).await?;
        if self.counters.ask(false) {
            written(self.stream.send(&stanza::ask()), &self.overflow).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, handled: Option<u32>) -> Result<(), Loss> {
        match handled {
            Some(handled) => written(self.stream.send(&stanza::acknowledge(handled)), &self.overflow).await,
            None => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<(), Loss> {
        written(self.stream.flush(), &self.overflow).await
    }

    /// Ends the stream in good order. What is not acknowledged by then the server may hand to somebody else.
    async fn close(&mut self) -> Loss {
        self.catch_up();
        let handled = self.counters.is_on().then(|| self.counters.handled());
        let farewell = async {
            let sent = self.tell(handled).await.is_ok() && self.flush().await.is_ok();
            let mut open = sent && self.stream.shutdown().await.is_ok();
            while open {
                match self.stream.next().await {
                    Ok(_) => {}
                    Err(ReadError::Closed | ReadError::CutOff) => open = false,
                    Err(_) => return,
                }
                self.pulse.hear(Moment::now()); // that it answers shows that it was there until now
            }
        };
        let _ = timeout(GOODBYE, farewell).await;
        Loss::Stopped
    }

    /// The counters, if the stream may be resumed. What was waiting to be sent then waits for that.
    fn end(mut self, loss: &Loss, outgoing: &mut Outgoings) -> Option<Acknowledgement> {
        outgoing.close();
        while let Ok(stanza) = outgoing.try_recv() {
            self.counters.send(&stanza);
        }
        loss.leaves_resumption().then_some(self.counters)
    }
}

/// Waits for something to be sent, unless too much piles up behind it.
async fn written(sent: impl Future<Output = io::Result<()>>, overflow: &Overflow) -> Result<(), Loss> {
    tokio::select! {
        sent = sent => sent.map_err(|fault| match fault.kind() {
            io::ErrorKind::TimedOut => Loss::Unread,
            kind => Loss::Network(format!("connection lost: {kind}")),
        }),
        () = overflow.happens() => Err(Loss::Network(format!(
            "the server reads too slowly: more than {} KiB would wait to be sent",
            OUTBOX_BYTES / 1024
        ))),
    }
}

fn unread(fault: &ReadError) -> Loss {
    match fault {
        ReadError::Silence | ReadError::TimedOut | ReadError::Io(io::ErrorKind::TimedOut) => Loss::Timeout,
        ReadError::Closed => Loss::Closed,
        ReadError::CutOff => Loss::Network("the server closed the connection".to_owned()),
        ReadError::NotXmpp => Loss::Protocol("bad XML".to_owned()),
        ReadError::Io(kind) => Loss::Network(format!("connection lost: {kind}")),
    }
}
