//! What one wake-up of a session brings: stanzas, the room their messages take, and what is said of the stream itself.

use std::sync::Arc;

use minidom::{Element, Node};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Event, MOST_AT_ONCE, Received};
use crate::domain::limits::{ELEMENT_BYTES, LARGE_ROOM, LARGE_UNITS, ROOM, ROOM_UNIT_BYTES};
use crate::domain::moment::Moment;
use crate::protocol::acknowledgement::{Acknowledgement, Due};
use crate::protocol::link::Loss;
use crate::protocol::notification::Notification;
use crate::protocol::stanza::{self, StreamError};
use crate::xmpp::stream::{Frame, Take};

/// Bytes of a small message.
const SMALL: usize = 512;
/// Bytes that are read also where there is no room: most of what comes needs none.
const LITTLE: usize = 1024;

/// Room for what all accounts have read and is not yet on the disk, in units of [`ROOM_UNIT_BYTES`] of the events that come
/// out of it. Large messages share a part of their own: whatever they wait for, usual ones do not.
#[derive(Clone, Debug)]
pub struct Messages {
    usual: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Default for Messages {
    fn default() -> Self {
        Self { usual: Arc::new(Semaphore::new(ROOM - LARGE_ROOM)), large: Arc::new(Semaphore::new(LARGE_ROOM)) }
    }
}

impl Messages {
    /// Returns how many units are taken.
    pub(super) fn in_hand(&self) -> usize {
        ROOM.saturating_sub(self.usual.available_permits() + self.large.available_permits())
    }
}

/// The room of a batch: taken until this is dropped.
#[derive(Debug, Default)]
pub struct Room {
    usual: Option<OwnedSemaphorePermit>,
    large: Option<OwnedSemaphorePermit>,
}

/// Returns how many units of room the events of `note` take; never more than there are.
fn units(note: &Notification) -> u32 {
    let units = note.output().div_ceil(ROOM_UNIT_BYTES).clamp(1, LARGE_ROOM);
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// Returns about how many bytes the tree of `element` takes.
fn bytes(element: &Element) -> usize {
    let own = size_of::<Element>() + element.name().len() + element.ns().len();
    let nodes = element.nodes().map(|node| match node {
        Node::Element(child) => bytes(child),
        Node::Text(text) => text.len(),
    });
    own + nodes.sum::<usize>()
}

/// What one wake-up brought.
#[derive(Default)]
pub(super) struct Batch {
    received: Vec<Received>,
    oversize: u64,
    /// How many frames.
    pub(super) read: usize,
    /// Units of room that its usual messages need.
    messages: u32,
    /// Units that a large one needs; there is one at most, and it is the last.
    large: u32,
    room: Room,
    /// How many stanzas the peer is to be told we handled, if it asked.
    pub(super) answer: Option<u32>,
    /// The end of the session, if that is what one of them was.
    pub(super) end: Option<Loss>,
}

/// A batch that takes from a stream, with what it takes besides.
pub(super) struct Taking<'a> {
    batch: &'a mut Batch,
    counters: &'a mut Acknowledgement,
    messages: &'a Messages,
}

impl Take for Taking<'_> {
    /// No more than there is room for, as if all of it were small messages: what is read beyond that must be kept, by each
    /// of a thousand accounts that wait.
    fn appetite(&self) -> usize {
        let ahead = self.batch.held().saturating_sub(self.batch.messages) as usize;
        (SMALL * (ahead + self.messages.usual.available_permits())).max(LITTLE)
    }

    fn take(&mut self, frame: Frame) -> bool {
        self.batch.add(frame, self.counters, self.messages)
    }
}

impl Batch {
    /// Whoever reads may do so with this.
    pub(super) fn taking<'a>(&'a mut self, counters: &'a mut Acknowledgement, messages: &'a Messages) -> Taking<'a> {
        Taking { batch: self, counters, messages }
    }

    /// Adds a frame; returns whether there should be more.
    fn add(&mut self, frame: Frame, counters: &mut Acknowledgement, messages: &Messages) -> bool {
        self.read += 1;
        match frame {
            Frame::Note(note) => {
                counters.receive();
                let units = units(&note);
                self.received.push(Received::Note(note));
                if units > LARGE_UNITS {
                    self.large = units;
                    return false;
                }
                self.messages += units;
            }
            Frame::Management(said) => self.end = self.note(counters.hear(&said)),
            Frame::Element(element) => {
                self.end = stanza::stream_error(&element).map(loss);
                if stanza::is_stanza(&element) {
                    counters.receive();
                }
                if self.end.is_none() {
                    let large = bytes(&element) > ELEMENT_BYTES;
                    self.received.push(Received::Element(element));
                    if large {
                        return false;
                    }
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
    fn has_room_for_another(&mut self, messages: &Messages) -> bool {
        let wanted = self.messages.saturating_add(1).saturating_sub(self.held());
        if wanted > 0 {
            match Arc::clone(&messages.usual).try_acquire_many_owned(wanted) {
                Ok(room) => self.add_room(room),
                Err(_) => return false,
            }
        }
        true
    }

    /// Whether a message lacks it.
    pub(super) fn lacks_room(&self) -> bool {
        self.messages > self.held() || (self.large > 0 && self.room.large.is_none())
    }

    /// Whether its last message is a large one: behind that nothing is added.
    pub(super) fn ends_with_a_large_one(&self) -> bool {
        self.large > 0
    }

    /// Takes it, and room for so many more `ahead`, however long that takes.
    pub(super) async fn wait_for_room(&mut self, messages: &Messages, ahead: u32) {
        if self.large > 0 && self.room.large.is_none() {
            self.room.large = Arc::clone(&messages.large).acquire_many_owned(self.large).await.ok();
        }
        let wanted = self.messages.saturating_sub(self.held()) + ahead;
        if wanted > 0
            && let Ok(room) = Arc::clone(&messages.usual).acquire_many_owned(wanted).await
        {
            self.add_room(room);
        }
    }

    /// Gives back the room that is not needed.
    pub(super) fn give_back(&mut self) {
        let held = self.messages as usize;
        if let Some(room) = &mut self.room.usual {
            drop(room.split(room.num_permits().saturating_sub(held)));
        }
    }

    fn held(&self) -> u32 {
        let held = self.room.usual.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        u32::try_from(held).unwrap_or(u32::MAX)
    }

    fn add_room(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.room.usual {
            Some(room) => room.merge(more),
            None => self.room.usual = Some(more),
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
    use crate::protocol::notification::Part;

    #[tokio::test]
    async fn who_waits_reads_little_and_nobody_much_more_than_there_is_room_for() {
        let messages = Messages { usual: Arc::new(Semaphore::new(40)), ..Messages::default() };
        let (mut batch, mut counters) = (Batch::default(), Acknowledgement::off());
        let mut appetite = |batch: &mut Batch| batch.taking(&mut counters, &messages).appetite();
        assert_eq!(appetite(&mut batch), 40 * SMALL);
        let others = Arc::clone(&messages.usual).acquire_many_owned(40).await.unwrap();
        assert_eq!(appetite(&mut batch), LITTLE);
        drop(others);
        batch.wait_for_room(&messages, 32).await;
        let _others = Arc::clone(&messages.usual).acquire_many_owned(8).await.unwrap();
        assert_eq!(appetite(&mut batch), 32 * SMALL);
        batch.taking(&mut Acknowledgement::off(), &messages).take(Frame::Note(Notification::default()));
        assert_eq!(appetite(&mut batch), 31 * SMALL);
    }

    #[tokio::test]
    async fn c2_a_message_takes_room_for_what_comes_out_of_it_and_a_large_one_keeps_no_usual_one_waiting() {
        let messages = Messages::default();
        let retract = |node: &str| Part::Retract { node: node.into(), item: "i".into() };
        let large = || Notification { parts: vec![retract(&"n".repeat(1000)); 100], ..Notification::default() };
        let (mut first, mut counters) = (Batch::default(), Acknowledgement::off());
        assert!(!first.add(Frame::Note(large()), &mut counters, &messages), "a large message is the last of its batch");
        assert!(first.lacks_room());
        first.wait_for_room(&messages, 0).await;
        let taken = messages.in_hand() * ROOM_UNIT_BYTES;
        assert!(taken >= large().output() && taken < large().output() + ROOM_UNIT_BYTES, "{taken}");
        let mut more = Vec::new();
        while messages.large.available_permits() > 300 {
            let mut batch = Batch::default();
            batch.add(Frame::Note(large()), &mut counters, &messages);
            batch.wait_for_room(&messages, 0).await;
            more.push(batch);
        }
        let usual = Notification { parts: vec![retract("n")], ..Notification::default() };
        let mut batch = Batch::default();
        assert!(batch.add(Frame::Note(usual), &mut counters, &messages) && !batch.lacks_room());
    }
}
