//! Stream management of one stream (XEP-0198): what was received and dealt with, what was sent and not acknowledged.
//!
//! A stanza counts as handled only once nothing of it can be lost here any more; the server keeps the others and sends
//! them again after a resumption. Counters wrap at 2^32. Must not know how stanzas travel.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use minidom::Element;
use xmpp_parsers::jid::FullJid;

use super::stanza::{self, Management};
use crate::domain::limits::UNACKNOWLEDGED_BYTES;

/// Stanzas that wait for their acknowledgement at most; with more the stream cannot be resumed.
pub const MOST_UNACKNOWLEDGED: usize = 128;
/// While a question is open the server is asked again when so many were sent since.
const ASK_AFTER: u32 = 8;
/// How long a lost stream is tried to be resumed at most, whatever the server grants.
const LONGEST_PATIENCE: Duration = Duration::from_mins(5);

/// The counters of one stream.
#[derive(Clone)]
pub struct Acknowledgement {
    phase: Phase,
    received: u32,
    handled: u32,
    /// The server asked when so many were received, and waits until they are handled.
    owed: Option<u32>,
    sent: u32,
    acknowledged: u32,
    /// What was sent when we asked last.
    asked: u32,
    /// Whether that was not answered yet.
    open: bool,
    /// The stanzas themselves, while they may have to be sent again.
    unacknowledged: VecDeque<Element>,
    /// How many bytes they take, about.
    bytes: usize,
    overflowed: bool,
}

#[derive(Clone)]
enum Phase {
    /// The server does not count, and neither do we.
    Off,
    /// It was asked to: ours count already, its own from its answer on (XEP-0198 section 3).
    Asked,
    /// Both count.
    On {
        /// By which the stream can be resumed, if it can.
        id: Option<String>,
        patience: Duration,
    },
}

/// What a message about the stream asks of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Say that so many are handled.
    Answer(u32),
    /// End the stream: the server acknowledged more than was sent.
    TooHigh,
}

impl Acknowledgement {
    /// Of a stream that is not managed.
    #[must_use]
    pub fn off() -> Self {
        Self {
            phase: Phase::Off,
            received: 0,
            handled: 0,
            owed: None,
            sent: 0,
            acknowledged: 0,
            asked: 0,
            open: false,
            unacknowledged: VecDeque::new(),
            bytes: 0,
            overflowed: false,
        }
    }

    /// Of a stream whose management was asked for just now.
    #[must_use]
    pub fn asked_for() -> Self {
        Self { phase: Phase::Asked, ..Self::off() }
    }

    /// Whether the server was asked to count and has not answered.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        matches!(self.phase, Phase::Asked)
    }

    /// Whether the server answers when asked.
    #[must_use]
    pub fn is_on(&self) -> bool {
        matches!(self.phase, Phase::On { .. })
    }

    /// A stanza was read.
    pub fn receive(&mut self) {
        if self.is_on() {
            self.received = self.received.wrapping_add(1);
        }
    }

    /// How many stanzas were read: what [`Self::handle`] is told once they are dealt with.
    #[must_use]
    pub fn received(&self) -> u32 {
        self.received
    }

    /// How many stanzas were dealt with.
    #[must_use]
    pub fn handled(&self) -> u32 {
        self.handled
    }

    /// The server said something about the stream.
    pub fn hear(&mut self, said: &Management) -> Due {
        match (said, &self.phase) {
            (Management::Enabled { id, patience }, Phase::Asked) => {
                let id = id.clone().filter(|_| !self.overflowed);
                let patience = patience.map_or(LONGEST_PATIENCE, |patience| patience.min(LONGEST_PATIENCE));
                if id.is_none() {
                    self.unacknowledged = VecDeque::new();
                }
                self.phase = Phase::On { id, patience };
                Due::Nothing
            }
            (Management::Failed, Phase::Asked) => {
                *self = Self::off();
                Due::Nothing
            }
            (Management::Asks, Phase::On { .. }) => {
                self.owed = (self.handled != self.received).then_some(self.received);
                Due::Answer(self.handled)
            }
            (Management::Acknowledges(count), Phase::On { .. }) => {
                self.open = false;
                if self.acknowledge(*count) { Due::Nothing } else { Due::TooHigh }
            }
            (
                Management::Enabled { .. }
                | Management::Failed
                | Management::Asks
                | Management::Acknowledges(_)
                | Management::Resumed { .. },
                _,
            ) => Due::Nothing,
        }
    }

    /// Everything up to the `upto`th stanza is dealt with. Returns what to tell the server, if it waits for that.
    pub fn handle(&mut self, upto: u32) -> Option<u32> {
        // What is not ahead of us within what was received is an echo of an earlier stream.
        if upto.wrapping_sub(self.handled) <= self.received.wrapping_sub(self.handled) {
            self.handled = upto;
        }
        let waited_for = self.owed?;
        let missing = waited_for.wrapping_sub(self.handled);
        let caught_up = missing == 0 || missing > self.received.wrapping_sub(self.handled);
        caught_up.then(|| {
            self.owed = None;
            self.handled
        })
    }

    /// A stanza is sent. Returns false when the stream cannot be resumed any more because of it.
    pub fn send(&mut self, stanza: &Element) -> bool {
        match self.phase {
            Phase::Off => return true,
            Phase::Asked | Phase::On { .. } => self.sent = self.sent.wrapping_add(1),
        }
        if !self.keeps() {
            return true;
        }
        let bytes = self.bytes + stanza::size(stanza);
        if self.unacknowledged.len() < MOST_UNACKNOWLEDGED && bytes <= UNACKNOWLEDGED_BYTES {
            self.bytes = bytes;
            self.unacknowledged.push_back(stanza.clone());
            return true;
        }
        self.overflowed = true;
        self.bytes = 0;
        self.unacknowledged = VecDeque::new();
        if let Phase::On { id, .. } = &mut self.phase {
            *id = None;
        }
        false
    }

    /// Whether to ask the server now what it handled: soon, because what is kept takes memory, of thousands of accounts
    /// at once. Asked in silence it also shows that the link lives.
    pub fn ask(&mut self, silence: bool) -> bool {
        let unasked = self.sent.wrapping_sub(self.asked).min(self.sent.wrapping_sub(self.acknowledged));
        let due = self.is_on() && (silence || unasked >= if self.open { ASK_AFTER } else { 1 });
        if due {
            self.asked = self.sent;
            self.open = true;
        }
        due
    }

    /// What is needed to go on with the stream of `own` after its loss, if the server can.
    #[must_use]
    pub fn resumption(self, own: FullJid) -> Option<Resumption> {
        match &self.phase {
            Phase::On { id: Some(_), .. } => Some(Resumption { own, counters: self }),
            Phase::On { id: None, .. } | Phase::Asked | Phase::Off => None,
        }
    }

    /// What must be sent again: nothing of it was acknowledged.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &Element> {
        self.unacknowledged.iter()
    }

    fn keeps(&self) -> bool {
        match &self.phase {
            Phase::Asked => !self.overflowed,
            Phase::On { id, .. } => id.is_some(),
            Phase::Off => false,
        }
    }

    fn acknowledge(&mut self, count: u32) -> bool {
        let newly = count.wrapping_sub(self.acknowledged);
        if newly > self.sent.wrapping_sub(self.acknowledged) {
            return false;
        }
        self.acknowledged = count;
        let newly = usize::try_from(newly).unwrap_or(usize::MAX);
        self.unacknowledged.drain(..newly.min(self.unacknowledged.len()));
        self.bytes = self.unacknowledged.iter().map(stanza::size).sum();
        if self.unacknowledged.is_empty() {
            self.unacknowledged = VecDeque::new(); // an idle account keeps no room for what it sends once an hour
        }
        true
    }
}

/// Counts only: what was sent holds secrets.
impl fmt::Debug for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acknowledgement")
            .field("received", &self.received)
            .field("handled", &self.handled)
            .field("sent", &self.sent)
            .field("acknowledged", &self.acknowledged)
            .finish_non_exhaustive()
    }
}

/// A stream that was lost and can be resumed.
#[derive(Clone, Debug)]
pub struct Resumption {
    own: FullJid,
    counters: Acknowledgement,
}

impl Resumption {
    /// Whose stream it is.
    #[must_use]
    pub fn own(&self) -> &FullJid {
        &self.own
    }

    /// By which the server knows it.
    #[must_use]
    pub fn id(&self) -> &str {
        match &self.counters.phase {
            Phase::On { id, .. } => id.as_deref().unwrap_or_default(),
            Phase::Asked | Phase::Off => "",
        }
    }

    /// How long after the loss it is tried.
    #[must_use]
    pub fn patience(&self) -> Duration {
        match &self.counters.phase {
            Phase::On { patience, .. } => *patience,
            Phase::Asked | Phase::Off => Duration::ZERO,
        }
    }

    /// How many of the server's stanzas are dealt with.
    #[must_use]
    pub fn handled(&self) -> u32 {
        self.counters.handled
    }

    /// What was received before the loss was dealt with only after it.
    pub fn handle(&mut self, upto: u32) {
        self.counters.handle(upto);
    }

    /// The server goes on with the stream `id`, of which it handled so many: the counters of the stream from now on.
    /// `None` if it goes on with another one, or handled what was never sent.
    #[must_use]
    pub fn resumed(self, id: &str, handled: u32) -> Option<Acknowledgement> {
        let ours = self.id() == id;
        let mut counters = self.counters;
        // What was read and not dealt with comes again.
        counters.received = counters.handled;
        counters.owed = None;
        let fits = ours && counters.acknowledge(handled);
        counters.asked = counters.acknowledged;
        counters.open = false;
        fits.then_some(counters)
    }
}

#[cfg(test)]
mod tests;
