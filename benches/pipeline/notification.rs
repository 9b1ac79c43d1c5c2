//! What every contestant takes out of a message: an object per event, as a program would hand it on.

use minidom::Element;
use tokio_xmpp::minidom;

const EVENT: &str = "http://jabber.org/protocol/pubsub#event";
const CALLS: &str = "onsip:active-calls";
/// Stands before the leg number in an item id.
const BEFORE_NUMBER: &str = "z9hG4bK";

/// One event, with the same fields for all.
pub struct Event {
    pub node: String,
    pub item_id: String,
    pub publish_time: Option<String>,
    /// `None`: the item is retracted.
    pub state: Option<String>,
    pub call_id: Option<String>,
    pub from_uri: Option<String>,
    pub to_uri: Option<String>,
}

impl Event {
    /// The leg it is of.
    pub fn leg(&self) -> Option<u64> {
        self.item_id.rsplit_once(BEFORE_NUMBER)?.1.parse().ok()
    }

    /// How far the leg is with it.
    pub fn step(&self) -> usize {
        match self.state.as_deref() {
            None => 2,
            Some("confirmed") => 1,
            Some(_) => 0,
        }
    }
}

/// The events of a message.
pub fn events(payloads: &[Element]) -> Vec<Event> {
    let items = payloads.iter().filter(|payload| payload.is("event", EVENT)).flat_map(Element::children);
    items
        .filter(|items| items.is("items", EVENT))
        .flat_map(|items| items.children().filter_map(|entry| event(items.attr("node")?, entry)))
        .collect()
}

/// Whether a message says that a subscription has come to be.
pub fn approves(payloads: &[Element]) -> bool {
    let all = payloads.iter().flat_map(Element::children);
    all.into_iter().any(|child| child.name() == "subscription" && child.attr("subscription") == Some("subscribed"))
}

fn event(node: &str, entry: &Element) -> Option<Event> {
    let call = entry.get_child("active-call", CALLS);
    let text = |name: &str| Some(call?.get_child(name, CALLS)?.text());
    Some(Event {
        node: node.to_owned(),
        item_id: entry.attr("id")?.to_owned(),
        publish_time: call.and_then(|call| call.attr("publish-time")).map(str::to_owned),
        state: text("dialog-state"),
        call_id: text("call-id"),
        from_uri: text("from-uri"),
        to_uri: text("to-uri"),
    })
}
