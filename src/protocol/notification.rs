//! A message from a PubSub service, read into its parts (protocol sheet sections 7 and 8).
//!
//! Any order of children, any number of items and retracts, headers before or after or without their wrapper. A part
//! that cannot be read is counted and never costs its neighbours. Whether the message may be believed is decided by
//! [`super::admission`], not here. How it is read, tag by tag: [`Reading`].

use std::sync::Arc;

use jiff::Timestamp;
use minidom::Element;
use xmpp_parsers::jid::Jid;

use super::hearing::Hearing;
use super::stanza::Tag;
use crate::domain::event::{CallFields, DialogState, RegistrationFields};
use crate::domain::limits::{MESSAGE_OUTPUT_BYTES, SHOWN_OUTPUT_BYTES};
use crate::domain::name::{AccountName, ItemId, NodeName, Subid};
use crate::domain::service::ServiceKind;

mod fields;
mod reading;

pub use reading::{Reading, Wanted};

/// Bytes of an event, and of what is remembered of it, besides the texts that the service chose.
const EVENT_BYTES: usize = 1024;

/// One message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notification {
    /// Who sent it, if that is a JID.
    pub from: Option<Jid>,
    /// Whom it is addressed to, if that is a JID.
    pub to: Option<Jid>,
    /// SHIM `Collection`: the collection through which it came.
    pub collection: Option<NodeName>,
    /// SHIM `SubID`s: present only where several subscriptions matched.
    pub subids: Vec<Subid>,
    /// Whether it carries a delay stamp (XEP-0203 or jabber:x:delay).
    pub delayed: bool,
    /// Where it is the answer to a request for items (see [`super::resync`]): when that was sent.
    pub asked: Option<Timestamp>,
    /// What it says, in its order.
    pub parts: Vec<Part>,
    /// How many parts could not be read.
    pub malformed: u64,
    /// How many parts and headers were left out because they exceed a limit of [`crate::domain::limits`].
    pub oversize: u64,
}

/// One thing a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// An item was published or published anew.
    Item {
        /// The leaf.
        node: NodeName,
        /// The item.
        item: ItemId,
        /// The publish-time as written.
        published: Option<String>,
        /// What it holds.
        content: Content,
    },
    /// An item is gone.
    Retract {
        /// The leaf.
        node: NodeName,
        /// The item.
        item: ItemId,
    },
    /// All items of a node are gone: purged or deleted.
    Purge {
        /// The leaf.
        node: NodeName,
    },
    /// Nothing else is at a leaf: the answer to a request for items was whole.
    Rest {
        /// The leaf.
        node: NodeName,
        /// The items it has.
        present: Vec<ItemId>,
        /// If given, it holds only for what this account told of.
        told_by: Option<AccountName>,
    },
    /// A subscription changed its state.
    Subscription(Change),
}

/// A changed subscription; every attribute may be missing (protocol sheet section 6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The node.
    pub node: Option<NodeName>,
    /// Who holds the subscription.
    pub jid: Option<String>,
    /// Its id.
    pub subid: Option<Subid>,
    /// `subscribed`, `none` or `pending`.
    pub state: String,
}

/// What an item holds, by kind of service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A leg of a call in one of its states.
    Call(DialogState, Arc<CallFields>),
    /// A registration.
    Registration(RegistrationFields),
    /// Anything else: the XML text of the item's child.
    Other(Option<String>),
}

impl Part {
    /// Returns about how many bytes the queue takes for this part, in a message whose headers take so many `headers`.
    #[must_use]
    pub fn output(&self, headers: usize) -> usize {
        // A node stands three times in an event, once of them with each byte escaped at worst.
        let event = |node: &NodeName, item: &ItemId, content: usize| {
            EVENT_BYTES + 5 * node.as_str().len() + 2 * item.as_str().len() + content + headers
        };
        match self {
            Self::Item { node, item, content, .. } => event(node, item, content.output()),
            Self::Retract { node, item } => event(node, item, 0),
            // Nobody knows how many legs it ends; a few, as a rule.
            Self::Purge { .. } | Self::Rest { .. } => 4 * EVENT_BYTES,
            Self::Subscription(_) => 0,
        }
    }
}

impl Content {
    fn output(&self) -> usize {
        fn length(text: Option<&String>) -> usize {
            text.map_or(0, String::len)
        }
        match self {
            Self::Call(_, fields) => 2 * fields.texts().into_iter().flatten().map(str::len).sum::<usize>(),
            Self::Registration(RegistrationFields { contact, received, device, expires, time }) => {
                [contact, received, device, expires, time].map(|field| length(field.as_ref())).iter().sum()
            }
            // The quotation marks of its attributes are escaped.
            Self::Other(payload) => length(payload.as_ref()) * 5 / 4,
        }
    }
}

impl Notification {
    /// Returns how many bytes its headers take in each of its events.
    #[must_use]
    pub fn headers(&self) -> usize {
        let subids: usize = self.subids.iter().map(|subid| subid.as_str().len() + 4).sum();
        self.collection.as_ref().map_or(0, |collection| 2 * collection.as_str().len()) + subids
    }

    /// Returns about how many bytes the queue takes for all of it.
    #[must_use]
    pub fn output(&self) -> usize {
        let headers = self.headers();
        self.parts.iter().map(|part| part.output(headers)).sum()
    }

    /// Leaves out the last parts as long as what comes out of all of them is more than a message may cost.
    pub(super) fn cut(&mut self) {
        if self.parts.len() < 2 {
            return; // each part is bounded by itself
        }
        let most = if self.asked.is_some() { SHOWN_OUTPUT_BYTES } else { MESSAGE_OUTPUT_BYTES };
        let (headers, mut output) = (self.headers(), 0);
        let kept = self.parts.iter().take_while(|part| {
            output += part.output(headers);
            output <= most
        });
        let kept = kept.count();
        self.oversize += (self.parts.len() - kept) as u64;
        self.parts.truncate(kept);
    }

    /// Begins to read a message, of which only the start tag is there. From a stranger no parts are read, and none of
    /// an error, which only returns what somebody sent.
    pub fn begin(message: &impl Tag, hearing: &Hearing) -> Reading {
        let jid = |name| message.attribute(name).and_then(|text| hearing.jid(text));
        Self::begin_from(jid("from"), jid("to"), message, |from| hearing.kind_of(from))
    }

    /// Reads a message. `kind_of` tells what the sender's items are.
    pub fn read(message: &Element, kind_of: impl Fn(&Jid) -> Option<ServiceKind>) -> Self {
        let jid = |name| message.attr(name).and_then(|text| Jid::new(text).ok());
        let mut reading = Self::begin_from(jid("from"), jid("to"), message, kind_of);
        reading.walk(message);
        reading.finish()
    }

    fn begin_from(
        from: Option<Jid>,
        to: Option<Jid>,
        message: &impl Tag,
        kind_of: impl Fn(&Jid) -> Option<ServiceKind>,
    ) -> Reading {
        let kind = from.as_ref().and_then(kind_of);
        let note = Self { from, to, ..Self::default() };
        match kind {
            Some(_) if message.attribute("type") == Some("error") => Reading::of(Self { malformed: 1, ..note }, None),
            kind => Reading::of(note, kind),
        }
    }

    /// Reads an `item` or a `retract` of a leaf.
    pub(super) fn read_item(&mut self, leaf: &NodeName, element: &Element, kind: ServiceKind) {
        let mut reading = Reading::of_items(std::mem::take(self), leaf.clone(), kind);
        reading.show(element);
        *self = reading.so_far();
    }
}

#[cfg(test)]
mod tests;
