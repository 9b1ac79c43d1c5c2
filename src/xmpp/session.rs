//! The session loop: one task that owns a stream from log-in to its end.
//!
//! Reads in batches and writes what it is given, both through bounded channels; a full inbox stops the reading, which
//! is the back-pressure.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use minidom::Element;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_xmpp::xmlstream::ReadError;
use xmpp_parsers::jid::{BareJid, FullJid};

use super::connector::Connector;
use super::failure::is_cut_off;
use super::frame::Frame;
use super::login::{Credential, Stream, login};
use crate::domain::moment::Moment;
use crate::protocol::link::{Failure, Loss};
use crate::protocol::stanza::{self, StreamError};

/// Stanzas handed over at once at most; also how long a busy stream may keep its thread.
const MOST_AT_ONCE: usize = 64;
/// Stanzas that wait to be written.
const OUTBOX: usize = 64;
/// Batches that wait to be looked at.
const INBOX: usize = 1;
/// Messages of all accounts together that may be read and not yet on the disk: a stanza costs some ten times its bytes.
pub const MESSAGES_IN_HAND: usize = 2048;
/// How long a stream gets to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a session tells.
#[derive(Debug)]
pub enum Event {
    /// It is up, bound to this full JID.
    Up(FullJid),
    /// It did not come up.
    Failed(Failure),
    /// What arrived, in order, when it was read, and the room its messages take until they are on the disk.
    Received(Vec<Element>, Moment, Option<OwnedSemaphorePermit>),
    /// This many stanzas were over the cap and thrown away.
    Oversize(u64),
    /// It is over.
    Down(Loss),
}

/// Both ends of a running session. Dropping the outbox ends it in good order; aborting the task ends it at once.
#[derive(Debug)]
pub struct Session {
    /// Stanzas to send.
    pub outbox: mpsc::Sender<Element>,
    /// What it tells; ends with `Failed` or `Down`.
    pub events: mpsc::Receiver<Event>,
    /// The task.
    pub task: tokio::task::JoinHandle<()>,
}

/// What all sessions share.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// A permit per log-in under way.
    pub logins: Arc<Semaphore>,
    /// A permit per message that is read and not yet on the disk.
    pub messages: Arc<Semaphore>,
}

impl Bounds {
    /// For `concurrent_logins` log-ins at once.
    #[must_use]
    pub fn new(concurrent_logins: usize) -> Self {
        let messages = Arc::new(Semaphore::new(MESSAGES_IN_HAND));
        Self { logins: Arc::new(Semaphore::new(concurrent_logins)), messages }
    }

    /// How many messages are read and not yet on the disk.
    #[must_use]
    pub fn in_hand(&self) -> usize {
        MESSAGES_IN_HAND.saturating_sub(self.messages.available_permits())
    }
}

/// Starts a session on the current thread's runtime. With the others it keeps to `bounds`.
#[must_use]
pub fn start(connector: Connector, credential: Credential, instead: Option<String>, bounds: Bounds) -> Session {
    let (outbox, outgoing) = mpsc::channel(OUTBOX);
    let (inbox, events) = mpsc::channel(INBOX);
    let task = tokio::spawn(async move {
        let up = {
            let _permit = bounds.logins.acquire().await;
            let patience = connector.options().request_timeout;
            timeout(patience, login(&connector, &credential, instead.as_deref())).await
        };
        let end = match up {
            Ok(Ok((stream, own))) => {
                let server = BareJid::from_parts(None, credential.jid.domain());
                if inbox.send(Event::Up(own)).await.is_err() {
                    return;
                }
                Event::Down(run(stream, server, outgoing, &inbox, &bounds.messages).await)
            }
            Ok(Err(failure)) => Event::Failed(failure),
            Err(_) => Event::Failed(Failure::Timeout),
        };
        // Nobody listening any more is no loss: the account is gone.
        let _ = inbox.send(end).await;
    });
    Session { outbox, events, task }
}

async fn run(
    mut stream: Stream,
    server: BareJid,
    mut outgoing: mpsc::Receiver<Element>,
    inbox: &mpsc::Sender<Event>,
    messages: &Arc<Semaphore>,
) -> Loss {
    let mut pings = 0u64;
    loop {
        let read = tokio::select! {
            stanza = outgoing.recv() => match stanza {
                Some(stanza) => {
                    if let Err(loss) = write(&mut stream, stanza, &mut outgoing).await {
                        return loss;
                    }
                    continue;
                }
                None => return close(stream).await,
            },
            read = stream.next() => read,
        };
        if matches!(read, Some(Err(ReadError::SoftTimeout))) {
            pings += 1;
            let ping = stanza::service_ping(&format!("ping-{pings}"), &server);
            if stream.send(&ping).await.is_err() {
                return Loss::Network("connection lost".to_owned());
            }
            continue;
        }
        let mut batch = Batch::default();
        let mut end = batch.add(read);
        while end.is_none()
            && batch.take_room(messages)
            && batch.read < MOST_AT_ONCE
            && let Some(read) = stream.next().now_or_never()
        {
            if matches!(read, Some(Err(ReadError::SoftTimeout))) {
                break;
            }
            end = batch.add(read);
        }
        batch.wait_for_room(messages).await;
        let heard = batch.pass_on(inbox).await;
        match (end, heard) {
            (Some(loss), _) => return loss,
            (None, false) => return close(stream).await,
            (None, true) => tokio::task::yield_now().await,
        }
    }
}

/// What one wake-up brought.
#[derive(Default)]
struct Batch {
    elements: Vec<Element>,
    oversize: u64,
    read: usize,
    messages: u32,
    room: Option<OwnedSemaphorePermit>,
}

impl Batch {
    /// Adds what was read; returns the end of the session, if that is what it was.
    fn add(&mut self, read: Option<Result<Frame, ReadError>>) -> Option<Loss> {
        self.read += 1;
        match read {
            Some(Ok(Frame::Whole(element))) => {
                if let Some(error) = stanza::stream_error(&element) {
                    return Some(loss(error));
                }
                self.messages += u32::from(element.name() == "message");
                self.elements.push(element);
            }
            Some(Ok(Frame::Oversize)) => self.oversize += 1,
            Some(Err(ReadError::SoftTimeout)) => {}
            Some(Err(ReadError::ParseError(_))) => return Some(Loss::Protocol("bad stream element".to_owned())),
            Some(Err(ReadError::HardError(fault))) => {
                return Some(match fault.kind() {
                    std::io::ErrorKind::TimedOut => Loss::Timeout,
                    std::io::ErrorKind::InvalidData if is_cut_off(&fault) => {
                        Loss::Network("the server closed the connection".to_owned())
                    }
                    std::io::ErrorKind::InvalidData => Loss::Protocol("bad XML".to_owned()),
                    kind => Loss::Network(format!("connection lost: {kind}")),
                });
            }
            Some(Err(ReadError::StreamFooterReceived)) => {
                return Some(Loss::Network("the server closed the stream".to_owned()));
            }
            None => return Some(Loss::Network("the server closed the connection".to_owned())),
        }
        None
    }

    /// Takes room for the messages read so far; false if there is none now, and the batch should not grow.
    fn take_room(&mut self, messages: &Arc<Semaphore>) -> bool {
        let missing = self.missing();
        if missing > 0 {
            match Arc::clone(messages).try_acquire_many_owned(missing) {
                Ok(room) => self.add_room(room),
                Err(_) => return false,
            }
        }
        true
    }

    /// The same, however long it takes.
    async fn wait_for_room(&mut self, messages: &Arc<Semaphore>) {
        let missing = self.missing();
        if missing > 0
            && let Ok(room) = Arc::clone(messages).acquire_many_owned(missing).await
        {
            self.add_room(room);
        }
    }

    fn missing(&self) -> u32 {
        let taken = self.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        self.messages.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    fn add_room(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.room {
            Some(room) => room.merge(more),
            None => self.room = Some(more),
        }
    }

    /// Hands over what there is; false if nobody listens any more.
    async fn pass_on(self, inbox: &mpsc::Sender<Event>) -> bool {
        let now = Moment::now();
        if self.oversize > 0 && inbox.send(Event::Oversize(self.oversize)).await.is_err() {
            return false;
        }
        self.elements.is_empty() || inbox.send(Event::Received(self.elements, now, self.room)).await.is_ok()
    }
}

fn loss(error: StreamError) -> Loss {
    match error {
        StreamError::Conflict => Loss::Conflict,
        StreamError::SeeOtherHost(host) => Loss::Redirected(host),
        StreamError::Throttled(condition) => Loss::Throttled(condition),
        StreamError::Other(condition) => Loss::StreamError(condition),
    }
}

/// Writes one stanza and those already waiting behind it, with one flush.
async fn write(stream: &mut Stream, first: Element, more: &mut mpsc::Receiver<Element>) -> Result<(), Loss> {
    let lost = |fault: std::io::Error| Loss::Network(format!("connection lost: {}", fault.kind()));
    stream.feed(&first).await.map_err(lost)?;
    while let Ok(stanza) = more.try_recv() {
        stream.feed(&stanza).await.map_err(lost)?;
    }
    SinkExt::<&Element>::flush(stream).await.map_err(lost)
}

async fn close(mut stream: Stream) -> Loss {
    let farewell = async {
        let sent = SinkExt::<&Element>::flush(&mut stream).await.is_ok() && stream.shutdown().await.is_ok();
        while sent && !matches!(stream.next().await, None | Some(Err(_))) {}
    };
    let _ = timeout(GOODBYE, farewell).await;
    Loss::Stopped
}
