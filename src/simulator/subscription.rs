//! One subscription, its options, and whether it delivers (protocol sheet sections 6.2, 6.8 and 11).

use jiff::{SignedDuration, Timestamp};
use minidom::Element;

use super::names::DATA;
use super::node::Node;
use crate::domain::moment::Moment;
use crate::domain::{BareJid, Jid};

/// A subscription as the service holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Short name of the service, e.g. `active-calls`.
    pub service: String,
    /// Node subscribed to.
    pub node: String,
    /// The JID as it subscribed.
    pub jid: Jid,
    /// Given at the request, shown only by listing.
    pub subid: String,
    /// Whether it has been decided on.
    pub state: State,
    /// As last set; absent: everything is delivered.
    pub options: Option<Options>,
    /// How often the options were set after the subscribe.
    pub renewals: u64,
    collection: bool,
}

impl Subscription {
    pub(super) fn new(service: &str, node: &str, jid: Jid, subid: String) -> Self {
        Self {
            service: service.to_owned(),
            node: node.to_owned(),
            jid,
            subid,
            state: State::Pending,
            options: None,
            renewals: 0,
            collection: Node::parse(node).is_collection(),
        }
    }

    /// Another one just like it.
    pub(super) fn doubled(&self, subid: String) -> Self {
        Self { subid, ..self.clone() }
    }

    pub(super) fn belongs_to(&self, jid: &BareJid) -> bool {
        self.jid.to_bare() == *jid
    }

    /// Whether an event goes to it now. An expired one stays `subscribed` and is silent.
    pub fn delivers(&self, now: Moment) -> bool {
        match (self.state, &self.options) {
            (State::Pending, _) => false,
            (State::Subscribed, None) => true,
            (State::Subscribed, Some(options)) => options.deliver(self.collection, now),
        }
    }
}

/// Whether a subscription has been decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked for.
    Pending,
    /// Approved.
    Subscribed,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Subscribed => "subscribed",
        }
    }
}

/// Subscription options as submitted; names the service does not know are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `pubsub#subscription_type`.
    pub kind: Option<String>,
    /// `pubsub#subscription_depth`.
    pub depth: Option<String>,
    /// `pubsub#expire`.
    pub expire: Expire,
}

/// When a subscription stops delivering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expire {
    /// Not given.
    #[default]
    Never,
    /// At this time.
    At(Timestamp),
    /// The text was no date-time: it never delivers, and nobody is told.
    Unparsable,
}

impl Options {
    /// Reads a submitted data form; `None` if it has no field at all.
    pub(super) fn from_form(form: &Element) -> Option<Self> {
        let value = |name: &str| {
            let field = form.children().find(|field| field.is("field", DATA) && field.attr("var") == Some(name))?;
            Some(field.get_child("value", DATA)?.text())
        };
        form.children().next()?;
        let expire = value("pubsub#expire").map_or(Expire::Never, |text| date_time(&text));
        Some(Self { kind: value("pubsub#subscription_type"), depth: value("pubsub#subscription_depth"), expire })
    }

    /// The same, if the date was meant by a clock that is `ahead` of ours.
    pub(super) fn meant_by(mut self, ahead: SignedDuration) -> Self {
        if let Expire::At(end) = &mut self.expire {
            *end = end.saturating_sub(ahead).unwrap_or(*end);
        }
        self
    }

    fn deliver(&self, collection: bool, now: Moment) -> bool {
        let alive = match self.expire {
            Expire::Never => true,
            Expire::At(end) => now.utc() < end,
            Expire::Unparsable => false,
        };
        let deep = !collection || self.depth.as_deref() == Some("all");
        alive && deep && self.kind.as_deref() != Some("nodes")
    }
}

fn date_time(text: &str) -> Expire {
    let plain = text.as_bytes().get(10) == Some(&b'T') && !text.contains('[');
    match text.parse() {
        Ok(end) if plain => Expire::At(end),
        Ok(_) | Err(_) => Expire::Unparsable,
    }
}

/// Makes subscription ids of the form seen: `hex(megaseconds) hex(seconds) hex(microseconds)`, unique.
#[derive(Debug, Default)]
pub(super) struct Subids {
    last: i64,
}

impl Subids {
    pub(super) fn next(&mut self, now: Moment) -> String {
        self.last = now.utc().as_microsecond().max(self.last + 1);
        let (seconds, micros) = (self.last / 1_000_000, self.last % 1_000_000);
        format!("{:X}{:X}{micros:X}", seconds / 1_000_000, seconds % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn options(expire: &str, depth: &str) -> Options {
        let xml = format!(
            "<x xmlns='{DATA}' type='submit'><field var='pubsub#subscription_depth'><value>{depth}</value></field>\
             <field var='pubsub#expire'><value>{expire}</value></field></x>"
        );
        Options::from_form(&xml.parse().unwrap()).unwrap()
    }

    fn at(utc: &str) -> Moment {
        Moment::virtual_at(Duration::ZERO, utc.parse().unwrap())
    }

    #[test]
    fn delivery_ends_with_the_lease() {
        let options = options("2010-11-02T12:00:00.0000000Z", "all");
        assert!(options.deliver(true, at("2010-11-02T11:59:59Z")));
        assert!(!options.deliver(true, at("2010-11-02T12:00:00Z")));
    }

    #[test]
    fn a_date_that_is_none_never_delivers() {
        for text in ["Tue Nov 02 2010", "2010-11-02", "", "2010-11-02 12:00:00Z", "presence"] {
            assert_eq!(options(text, "all").expire, Expire::Unparsable, "{text:?}");
        }
    }

    #[test]
    fn a_collection_needs_the_depth_all_and_a_leaf_does_not() {
        let options = options("2030-01-01T00:00:00Z", "1");
        assert!(!options.deliver(true, at("2026-01-01T00:00:00Z")));
        assert!(options.deliver(false, at("2026-01-01T00:00:00Z")));
    }

    #[test]
    fn a_subid_looks_like_those_in_the_documents_and_is_unique() {
        let mut subids = Subids::default();
        let now = at("2010-11-02T19:11:57.605240Z");
        assert_eq!(subids.next(now), "508B107D93C38");
        assert_eq!(subids.next(now), "508B107D93C39");
    }
}
