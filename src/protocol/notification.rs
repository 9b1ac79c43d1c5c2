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
use crate::domain::name::{AccountName, ItemId, NodeName, Subid};
use crate::domain::service::ServiceKind;

mod fields;
mod reading;

pub use reading::{Reading, Wanted};

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

impl Notification {
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
