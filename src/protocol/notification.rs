//! A message from a PubSub service, read into its parts (protocol sheet sections 7 and 8).
//!
//! Any order of children, any number of items and retracts, headers before or after or without their wrapper. A part
//! that cannot be read is counted and never costs its neighbours. Whether the message may be believed is decided by
//! [`super::admission`], not here.

use std::sync::Arc;

use jiff::Timestamp;
use minidom::Element;
use xmpp_parsers::jid::Jid;

use super::stanza::ns;
use crate::domain::event::{CallFields, DialogState, RegistrationFields};
use crate::domain::name::{AccountName, ItemId, NodeName, Subid};
use crate::domain::service::ServiceKind;

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
#[expect(clippy::large_enum_variant, reason = "nearly every part is an item")]
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
    /// Reads a message. `kind_of` tells what the sender's items are; from a stranger no parts are read, and none of an
    /// error, which only returns what somebody sent.
    pub fn read(message: &Element, kind_of: impl Fn(&Jid) -> Option<ServiceKind>) -> Self {
        let jid = |name: &'static str| message.attr(name).and_then(|text| Jid::new(text).ok());
        let mut this = Self { from: jid("from"), to: jid("to"), ..Self::default() };
        let Some(kind) = this.from.as_ref().and_then(kind_of) else { return this };
        if message.attr("type") == Some("error") {
            this.malformed = 1;
            return this;
        }
        for child in message.children() {
            if child.is("event", ns::PUBSUB_EVENT) {
                child.children().for_each(|element| this.read_part(element, kind));
            } else if child.is("headers", ns::SHIM) {
                child.children().for_each(|header| this.read_header(header));
            } else if child.is("header", ns::SHIM) {
                this.read_header(child);
            } else if child.is("delay", ns::DELAY) || child.is("x", ns::OLD_DELAY) {
                this.delayed = true;
            }
        }
        if this.parts.is_empty() && this.malformed == 0 && !message.has_child("event", ns::PUBSUB_EVENT) {
            this.malformed = 1;
        }
        this
    }

    fn read_header(&mut self, header: &Element) {
        let text = header.text();
        match (header.attr("name"), text.trim()) {
            (_, "") => {}
            (Some("Collection"), text) => self.collection = Some(text.into()),
            (Some("SubID"), text) => self.subids.push(text.into()),
            (Some(_) | None, _) => {}
        }
    }

    fn read_part(&mut self, element: &Element, kind: ServiceKind) {
        let node = || element.attr("node").filter(|node| !node.is_empty()).map(NodeName::from);
        match (element.name(), node()) {
            ("items", Some(node)) => element.children().for_each(|child| self.read_item(&node, child, kind)),
            ("purge" | "delete", Some(node)) => self.parts.push(Part::Purge { node }),
            ("items" | "purge" | "delete", None) => self.malformed += 1,
            // Without a state it is a lease warning (`expiry`), and the lease is renewed long before.
            ("subscription", node) => self.parts.extend(element.attr("subscription").map(|state| {
                Part::Subscription(Change {
                    node,
                    jid: element.attr("jid").map(str::to_owned),
                    subid: element.attr("subid").filter(|id| !id.is_empty()).map(Subid::from),
                    state: state.to_owned(),
                })
            })),
            _ => {} // configuration, collection and whatever comes after them: legal, and of no use here
        }
    }

    /// Reads an `item` or a `retract` of a leaf.
    pub(super) fn read_item(&mut self, node: &NodeName, element: &Element, kind: ServiceKind) {
        let Some(item) = element.attr("id").filter(|id| !id.is_empty()).map(ItemId::from) else {
            self.malformed += 1;
            return;
        };
        let node = node.clone();
        match element.name() {
            "retract" => self.parts.push(Part::Retract { node, item }),
            "item" => match content(element, kind) {
                Some((published, content)) => self.parts.push(Part::Item { node, item, published, content }),
                None => self.malformed += 1,
            },
            _ => self.malformed += 1,
        }
    }
}

fn content(item: &Element, kind: ServiceKind) -> Option<(Option<String>, Content)> {
    let payload = |name, ns| item.children().find(|child| child.is(name, ns));
    let published =
        |payload: &Element| payload.attr("publish-time").filter(|text| !text.trim().is_empty()).map(str::to_owned);
    match kind {
        ServiceKind::Calls => {
            let payload = payload("active-call", "onsip:active-calls")?;
            Some((published(payload), call(payload)?))
        }
        ServiceKind::Registrations => {
            let payload = payload("user-agent", "onsip:user-agents")?;
            Some((published(payload), Content::Registration(registration(payload))))
        }
        ServiceKind::Items => {
            let payload = item.children().next();
            Some((payload.and_then(published), Content::Other(payload.map(String::from))))
        }
    }
}

fn call(payload: &Element) -> Option<Content> {
    let state = match text(payload, "dialog-state")?.trim() {
        "created" => DialogState::Created,
        "requested" => DialogState::Requested,
        "confirmed" => DialogState::Confirmed,
        _ => return None,
    };
    let fields = CallFields {
        call_id: text(payload, "call-id"),
        from_uri: text(payload, "from-uri"),
        to_uri: text(payload, "to-uri"),
        to_aor: text(payload, "to-aor"),
        from_tag: text(payload, "from-tag"),
        to_tag: text(payload, "to-tag"),
        branch: text(payload, "branch"),
        call_setup_id: text(payload, "call-setup-id"),
        from_display: text(payload, "from-display"),
        to_display: text(payload, "to-display"),
    };
    Some(Content::Call(state, fields.into()))
}

fn registration(payload: &Element) -> RegistrationFields {
    RegistrationFields {
        contact: text(payload, "contact"),
        received: text(payload, "received"),
        device: text(payload, "device"),
        expires: text(payload, "expires"),
        time: text(payload, "time"),
    }
}

/// The text of a child; blank counts as absent.
fn text(payload: &Element, name: &str) -> Option<String> {
    let child = payload.children().find(|child| child.name() == name)?;
    Some(child.text()).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests;
