//! What one wake-up of a session brings: stanzas, the room their messages take, and what is said of the stream itself.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Event, MOST_AT_ONCE, Received};
use crate::domain::moment::Moment;
use crate::protocol::acknowledgement::{Acknowledgement, Due};
use crate::protocol::link::Loss;
use crate::protocol::stanza::{self, StreamError};
use crate::xmpp::stream::{Frame, Take};

/// Bytes of a small message.
const SMALL: usize = 512;
/// Bytes that are read also where there is no room: most of what comes needs none.
const LITTLE: usize = 1024;

/// What one wake-up brought.
#[derive(Default)]
pub(super) struct Batch {
    received: Vec<Received>,
    oversize: u64,
    /// How many frames.
    pub(super) read: usize,
    messages: u32,
    room: Option<OwnedSemaphorePermit>,
    /// How many stanzas the peer is to be told we handled, if it asked.
    pub(super) answer: Option<u32>,
    /// The end of the session, if that is what one of them was.
    pub(super) end: Option<Loss>,
}

/// A batch that takes from a stream, with what it takes besides.
pub(super) struct Taking<'a> {
    batch: &'a mut Batch,
    counters: &'a mut Acknowledgement,
    messages: &'a Arc<Semaphore>,
}

impl Take for Taking<'_> {
    /// No more than there is room for, as if all of it were small messages: what is read beyond that must be kept, by each
    /// of a thousand accounts that wait.
    fn appetite(&self) -> usize {
        let ahead = self.batch.held().saturating_sub(self.batch.messages) as usize;
        (SMALL * (ahead + self.messages.available_permits())).max(LITTLE)
    }

    fn take(&mut self, frame: Frame) -> bool {
        self.batch.add(frame, self.counters, self.messages)
    }
}

impl Batch {
    /// Whoever reads may do so with this.
    pub(super) fn taking<'a>(
        &'a mut self,
        counters: &'a mut Acknowledgement,
        messages: &'a Arc<Semaphore>,
    ) -> Taking<'a> {
        Taking { batch: self, counters, messages }
    }

    /// Adds a frame; returns whether there should be more.
    fn add(&mut self, frame: Frame, counters: &mut Acknowledgement, messages: &Arc<Semaphore>) -> bool {
        self.read += 1;
        match frame {
            Frame::Note(note) => {
                counters.receive();
                self.messages += 1;
                self.received.push(Received::Note(note));
            }
            Frame::Management(said) => self.end = self.note(counters.hear(&said)),
            Frame::Element(element) => {
                self.end = stanza::stream_error(&element).map(loss);
                if stanza::is_stanza(&element) {
                    counters.receive();
                }
                if self.end.is_none() {
                    self.received.push(Received::Element(element));
                }
            }
            Frame::Oversize { stanza } => {
                self.oversize += 1;
                if stanza {
                    counters.receive();
                }
            }
        }
        self.end.is_none() && self.read < MOST_AT_ONCE && self.has_room_for_another(messages)
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

    /// Whether there is room for the messages read so far and one more, if need be by taking some. Only the first message
    /// of a batch may lack it: who waits holds none.
    fn has_room_for_another(&mut self, messages: &Arc<Semaphore>) -> bool {
        let wanted = self.messages.saturating_add(1).saturating_sub(self.held());
        if wanted > 0 {
            match Arc::clone(messages).try_acquire_many_owned(wanted) {
                Ok(room) => self.add_room(room),
                Err(_) => return false,
            }
        }
        true
    }

    /// Whether a message lacks it.
    pub(super) fn lacks_room(&self) -> bool {
        self.messages > self.held()
    }

    /// Takes it, and room for so many more `ahead`, however long that takes.
    pub(super) async fn wait_for_room(&mut self, messages: &Arc<Semaphore>, ahead: u32) {
        let wanted = self.messages.saturating_sub(self.held()) + ahead;
        if let Ok(room) = Arc::clone(messages).acquire_many_owned(wanted).await {
            self.add_room(room);
        }
    }

    /// Gives back the room that is not needed.
    pub(super) fn give_back(&mut self) {
        let held = self.messages as usize;
        if let Some(room) = &mut self.room {
            drop(room.split(room.num_permits().saturating_sub(held)));
        }
    }

    fn held(&self) -> u32 {
        let held = self.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        u32::try_from(held).unwrap_or(u32::MAX)
    }

    fn add_room(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.room {
            Some(room) => room.merge(more),
            None => self.room = Some(more),
        }
    }

    /// Hands over what there is, which was read as far as the `upto`th stanza; false if nobody listens any more.
    pub(super) async fn pass_on(self, inbox: &mpsc::Sender<Box<Event>>, at: Moment, upto: u32) -> bool {
        let Self { received, oversize, room, .. } = self;
        if oversize > 0 && inbox.send(Box::new(Event::Oversize(oversize))).await.is_err() {
            return false;
        }
        if received.is_empty() && oversize == 0 {
            return true;
        }
        inbox.send(Box::new(Event::Received(received, at, room, upto))).await.is_ok()
    }
}

fn loss(error: StreamError) -> Loss {
    match error {
        StreamError::Conflict => Loss::Conflict,
        StreamError::SeeOtherHost(host) => Loss::Redirected(host),
        StreamError::Malformed(what) => Loss::Protocol(format!("the server closed the stream: {what}")),
        StreamError::Throttled(condition) => Loss::Throttled(condition),
        StreamError::Other(condition) => Loss::StreamError(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::notification::Notification;

    #[tokio::test]
    async fn who_waits_reads_little_and_nobody_much_more_than_there_is_room_for() {
        let messages = Arc::new(Semaphore::new(40));
        let (mut batch, mut counters) = (Batch::default(), Acknowledgement::off());
        let mut appetite = |batch: &mut Batch| batch.taking(&mut counters, &messages).appetite();
        assert_eq!(appetite(&mut batch), 40 * SMALL);
        let others = Arc::clone(&messages).acquire_many_owned(40).await.unwrap();
        assert_eq!(appetite(&mut batch), LITTLE);
        drop(others);
        batch.wait_for_room(&messages, 32).await;
        let _others = Arc::clone(&messages).acquire_many_owned(8).await.unwrap();
        assert_eq!(appetite(&mut batch), 32 * SMALL);
        batch.taking(&mut Acknowledgement::off(), &messages).take(Frame::Note(Notification::default()));
        assert_eq!(appetite(&mut batch), 31 * SMALL);
    }
}
