//! What one wake-up of a session brings: stanzas, the room their messages take, and what is said of the stream itself.

use std::sync::Arc;

use minidom::Element;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_xmpp::xmlstream::ReadError;

use super::{Event, Frame};
use crate::domain::moment::Moment;
use crate::protocol::acknowledgement::{Acknowledgement, Due};
use crate::protocol::link::Loss;
use crate::protocol::stanza::{self, StreamError};
use crate::xmpp::failure::is_cut_off;

/// What one wake-up brought.
#[derive(Default)]
pub(super) struct Batch {
    elements: Vec<Element>,
    oversize: u64,
    pub(super) read: usize,
    messages: u32,
    room: Option<OwnedSemaphorePermit>,
    /// How many stanzas the peer is to be told we handled, if it asked.
    pub(super) answer: Option<u32>,
    /// Whether the peer said anything at all.
    pub(super) heard: bool,
}

impl Batch {
    /// Adds what was read; returns the end of the session, if that is what it was.
    pub(super) fn add(
        &mut self,
        read: Option<Result<Frame, ReadError>>,
        counters: &mut Acknowledgement,
    ) -> Option<Loss> {
        self.read += 1;
        self.heard |= matches!(read, Some(Ok(_)));
        match read {
            Some(Ok(Frame::Whole(element))) => {
                if let Some(error) = stanza::stream_error(&element) {
                    return Some(loss(error));
                }
                if let Some(said) = stanza::management(&element) {
                    return self.note(counters.hear(&said));
                }
                if stanza::is_stanza(&element.ns(), element.name()) {
                    counters.receive();
                }
                self.messages += u32::from(element.name() == "message");
                self.elements.push(element);
            }
            Some(Ok(Frame::Oversize { stanza })) => {
                self.oversize += 1;
                if stanza {
                    counters.receive();
                }
            }
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
                return Some(Loss::Closed);
            }
            None => return Some(Loss::Network("the server closed the connection".to_owned())),
        }
        None
    }

    fn note(&mut self, due: Due) -> Option<Loss> {
        match due {
            Due::Nothing => None,
            Due::Answer(handled) => {
                self.answer = Some(handled);
                None
            }
            Due::TooHigh => Some(Loss::Protocol("the server acknowledged more than was sent".to_owned())),
        }
    }

    /// Takes room for the messages read so far; false if there is none now, and the batch should not grow.
    pub(super) fn take_room(&mut self, messages: &Arc<Semaphore>) -> bool {
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
    pub(super) async fn wait_for_room(&mut self, messages: &Arc<Semaphore>) {
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

    /// Hands over what there is, which was read as far as the `upto`th stanza; false if nobody listens any more.
    pub(super) async fn pass_on(self, inbox: &mpsc::Sender<Event>, upto: u32) -> bool {
        let Self { elements, oversize, room, .. } = self;
        if elements.is_empty() && oversize == 0 {
            return true;
        }
        let now = Moment::now();
        if oversize > 0 && inbox.send(Event::Oversize(oversize)).await.is_err() {
            return false;
        }
        inbox.send(Event::Received(elements, now, room, upto)).await.is_ok()
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
