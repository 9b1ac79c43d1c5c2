//! The reading of a message, tag by tag: the one truth of what a notification says, whoever holds the XML.
//!
//! Nothing is read deeper than a field of an item's payload, so that the nesting needs no stack: a place is enough.

use minidom::{Element, Node};

use super::fields::Fields;
use super::{Change, Content, Notification, Part};
use crate::domain::limits::{
    CHANGES, FIELD_BYTES, JID_BYTES, NAME_BYTES, PARTS, PAYLOAD_BYTES, PUBLISH_TIME_BYTES, SHOWN_PARTS, SUBID_BYTES,
    SUBIDS,
};
use crate::domain::name::{ItemId, NodeName, Subid};
use crate::domain::service::ServiceKind;
use crate::protocol::stanza::{Tag, ns};

/// What the reading wants of an element whose start tag it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Its content: show tags and text, and tell its end.
    Content,
    /// The element itself: hand it over whole, and tell no end.
    Whole,
    /// Nothing: pass over it with all that is inside, and tell no end.
    Nothing,
}

/// A message that is being read.
#[derive(Debug)]
pub struct Reading {
    note: Notification,
    /// What the items are; of a message that is not to be read, nothing.
    kind: Option<ServiceKind>,
    place: Place,
    /// Whether an `event` was seen, be there anything in it or not.
    event: bool,
    header: Option<Header>,
    leaf: NodeName,
    item: Item,
    /// Text of the header or the field at hand.
    text: String,
    /// Changed subscriptions so far.
    changes: usize,
}

/// Which element we are in.
#[derive(Clone, Copy, Debug)]
enum Place {
    Message,
    Headers,
    Header {
        /// Whether it stands among `headers`.
        wrapped: bool,
    },
    Event,
    Items,
    Item,
    Payload,
    Field(usize),
}

/// The SHIM headers that mean something (XEP-0060 section 7.1.2.1, XEP-0248 section 4.1).
#[derive(Clone, Copy, Debug)]
enum Header {
    Collection,
    Subid,
}

/// The item at hand.
#[derive(Debug, Default)]
struct Item {
    id: Option<ItemId>,
    /// Whether its payload was seen: only the first one counts.
    paid: bool,
    published: Option<String>,
    fields: Fields,
    content: Option<Content>,
    /// Whether anything of it exceeds a limit.
    oversize: bool,
}

impl Reading {
    /// Of a message whose sender's items are of this kind; of any other, nothing is read but what `note` has already.
    pub(super) fn of(note: Notification, kind: Option<ServiceKind>) -> Self {
        Self {
            note,
            kind,
            place: Place::Message,
            event: false,
            header: None,
            leaf: NodeName::from(""),
            item: Item::default(),
            text: String::new(),
            changes: 0,
        }
    }

    /// Of the items of a leaf, to be added to `note`.
    pub(super) fn of_items(note: Notification, leaf: NodeName, kind: ServiceKind) -> Self {
        Self { place: Place::Items, leaf, ..Self::of(note, Some(kind)) }
    }

    /// An element begins inside the one whose content is shown.
    pub fn start(&mut self, tag: &impl Tag) -> Wanted {
        let Some(kind) = self.kind else { return Wanted::Nothing };
        match self.place {
            Place::Message => self.child(tag),
            Place::Headers => self.header(tag, true),
            Place::Event => self.part(tag),
            Place::Items => self.entry(tag),
            Place::Item => self.payload(tag, kind),
            Place::Payload => match self.item.fields.open(tag.name()) {
                Some(field) => self.enter(Place::Field(field)),
                None => Wanted::Nothing,
            },
            Place::Header { .. } | Place::Field(_) => Wanted::Nothing,
        }
    }

    /// Text of the element whose content is shown, or a piece of it.
    pub fn text(&mut self, text: &str) {
        match self.place {
            Place::Header { .. } | Place::Field(_) => self.text.push_str(text),
            Place::Message | Place::Headers | Place::Event | Place::Items | Place::Item | Place::Payload => {}
        }
    }

    /// The element that was wanted whole.
    pub fn whole(&mut self, element: &Element) {
        let payload = String::from(element);
        self.item.oversize |= payload.len() > PAYLOAD_BYTES;
        self.item.content = Some(Content::Other(Some(payload).filter(|_| !self.item.oversize)));
    }

    /// The element whose content is shown ends.
    pub fn end(&mut self) {
        self.place = match self.place {
            Place::Message | Place::Headers | Place::Event => Place::Message,
            Place::Header { wrapped } => {
                self.header_ended();
                if wrapped { Place::Headers } else { Place::Message }
            }
            Place::Items => Place::Event,
            Place::Item => {
                self.item_ended();
                Place::Items
            }
            Place::Payload => {
                let fields = std::mem::take(&mut self.item.fields);
                self.item.content = fields.content();
                Place::Item
            }
            Place::Field(field) => {
                let text = std::mem::take(&mut self.text);
                self.item.oversize |= text.len() > FIELD_BYTES;
                self.item.fields.close(field, text);
                Place::Payload
            }
        }
    }

    /// The message is over: what it said.
    #[must_use]
    pub fn finish(self) -> Notification {
        let mut note = self.note;
        if self.kind.is_some() && note.parts.is_empty() && note.malformed == 0 && !self.event {
            note.malformed = 1;
        }
        note.cut();
        note
    }

    /// What it said so far.
    pub(super) fn so_far(self) -> Notification {
        self.note
    }

    /// Reads the content of an element that was wanted.
    pub(super) fn walk(&mut self, element: &Element) {
        for node in element.nodes() {
            match node {
                Node::Text(text) => self.text(text),
                Node::Element(child) => self.show(child),
            }
        }
    }

    /// Reads an element.
    pub(super) fn show(&mut self, element: &Element) {
        match self.start(element) {
            Wanted::Content => {
                self.walk(element);
                self.end();
            }
            Wanted::Whole => self.whole(element),
            Wanted::Nothing => {}
        }
    }

    fn enter(&mut self, place: Place) -> Wanted {
        self.place = place;
        Wanted::Content
    }

    fn child(&mut self, tag: &impl Tag) -> Wanted {
        match tag.name() {
            "event" if tag.in_namespace(ns::PUBSUB_EVENT) => {
                self.event = true;
                self.enter(Place::Event)
            }
            "headers" if tag.in_namespace(ns::SHIM) => self.enter(Place::Headers),
            "header" if tag.in_namespace(ns::SHIM) => self.header(tag, false),
            "delay" if tag.in_namespace(ns::DELAY) => self.delayed(),
            "x" if tag.in_namespace(ns::OLD_DELAY) => self.delayed(),
            _ => Wanted::Nothing,
        }
    }

    fn delayed(&mut self) -> Wanted {
        self.note.delayed = true;
        Wanted::Nothing
    }

    fn header(&mut self, tag: &impl Tag, wrapped: bool) -> Wanted {
        self.header = match tag.attribute("name") {
            Some("Collection") => Some(Header::Collection),
            Some("SubID") => Some(Header::Subid),
            Some(_) | None => return Wanted::Nothing,
        };
        self.enter(Place::Header { wrapped })
    }

    fn header_ended(&mut self) {
        let text = std::mem::take(&mut self.text);
        match (self.header, text.trim()) {
            (_, "") | (None, _) => {}
            (Some(Header::Collection), text) if text.len() <= NAME_BYTES => self.note.collection = Some(text.into()),
            (Some(Header::Subid), text) if text.len() <= SUBID_BYTES && self.note.subids.len() < SUBIDS => {
                self.note.subids.push(text.into());
            }
            (Some(Header::Collection | Header::Subid), _) => self.note.oversize += 1,
        }
    }

    fn part(&mut self, tag: &impl Tag) -> Wanted {
        let named = |name| tag.attribute(name).filter(|text| !text.is_empty());
        let exceeds = |name, most| tag.attribute(name).is_some_and(|text| text.len() > most);
        if matches!(tag.name(), "items" | "purge" | "delete" | "subscription") && exceeds("node", NAME_BYTES) {
            self.note.oversize += 1;
            return Wanted::Nothing;
        }
        match (tag.name(), named("node").map(NodeName::from)) {
            ("items", Some(leaf)) => {
                self.leaf = leaf;
                return self.enter(Place::Items);
            }
            ("purge" | "delete", Some(node)) => self.add(Part::Purge { node }),
            ("items" | "purge" | "delete", None) => self.note.malformed += 1,
            ("subscription", node) => {
                // Without a state it is a lease warning (`expiry`), and the lease is renewed long before.
                if exceeds("jid", JID_BYTES) || exceeds("subid", SUBID_BYTES) || exceeds("subscription", SUBID_BYTES) {
                    self.note.oversize += 1;
                } else if let Some(state) = tag.attribute("subscription") {
                    self.changes += 1;
                    if self.changes > CHANGES {
                        self.note.oversize += 1;
                        return Wanted::Nothing;
                    }
                    let jid = tag.attribute("jid").map(str::to_owned);
                    let (subid, state) = (named("subid").map(Subid::from), state.to_owned());
                    self.add(Part::Subscription(Change { node, jid, subid, state }));
                }
            }
            _ => {} // configuration, collection and whatever comes after them: legal, and of no use here
        }
        Wanted::Nothing
    }

    /// An `item` or a `retract` of a leaf.
    fn entry(&mut self, tag: &impl Tag) -> Wanted {
        let id = tag.attribute("id").filter(|id| !id.is_empty());
        if id.is_some_and(|id| id.len() > NAME_BYTES) {
            self.note.oversize += 1;
            return Wanted::Nothing;
        }
        match (tag.name(), id.map(ItemId::from)) {
            ("retract", Some(item)) => self.add(Part::Retract { node: self.leaf.clone(), item }),
            ("item", Some(id)) => {
                self.item = Item { id: Some(id), ..Item::default() };
                return self.enter(Place::Item);
            }
            _ => self.note.malformed += 1,
        }
        Wanted::Nothing
    }

    fn payload(&mut self, tag: &impl Tag, kind: ServiceKind) -> Wanted {
        let is_it = match kind {
            ServiceKind::Calls => tag.is_named("active-call", "onsip:active-calls"),
            ServiceKind::Registrations => tag.is_named("user-agent", "onsip:user-agents"),
            ServiceKind::Items => true,
        };
        if !is_it || self.item.paid {
            return Wanted::Nothing;
        }
        self.item.paid = true;
        let published = tag.attribute("publish-time").filter(|text| !text.trim().is_empty());
        if published.is_some_and(|text| text.len() > PUBLISH_TIME_BYTES) {
            self.item.oversize = true;
            return Wanted::Nothing;
        }
        self.item.published = published.map(str::to_owned);
        match Fields::of(kind) {
            Some(fields) => {
                self.item.fields = fields;
                self.enter(Place::Payload)
            }
            None => Wanted::Whole,
        }
    }

    fn item_ended(&mut self) {
        let Item { id, paid, published, content, oversize, .. } = std::mem::take(&mut self.item);
        if oversize {
            self.note.oversize += 1;
            return;
        }
        let content = match self.kind {
            Some(ServiceKind::Items) if !paid => Some(Content::Other(None)),
            Some(ServiceKind::Calls | ServiceKind::Registrations | ServiceKind::Items) | None => content,
        };
        match id.zip(content) {
            Some((item, content)) => {
                self.add(Part::Item { node: self.leaf.clone(), item, published, content });
            }
            None => self.note.malformed += 1,
        }
    }

    fn add(&mut self, part: Part) {
        let most = if self.note.asked.is_some() { SHOWN_PARTS } else { PARTS };
        if self.note.parts.len() >= most {
            self.note.oversize += 1;
            return;
        }
        if self.note.parts.is_empty() {
            self.note.parts.reserve_exact(1); // as a rule there is no second one, and a part is large
        }
        self.note.parts.push(part);
    }
}
