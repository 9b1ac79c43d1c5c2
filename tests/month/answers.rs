//! The service's answers as stanzas, in the shapes it is known to send (protocol sheet sections 4 and 6).

use std::rc::Rc;

use jiff::Timestamp;
use minidom::Element;
use onsip_router::protocol::requests::{NoAnswer, Reply};
use onsip_router::protocol::stanza::Refusal;
use xso::exports::rxml::NcName;

use super::account::Setting;
use super::service::{Answer, Service, Shelf};
use super::{START, Time};

const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const TIME: &str = "urn:xmpp:time";
const DATA: &str = "jabber:x:data";

/// Answers that are always the same.
pub struct Stock {
    done: Rc<Reply>,
    pending: Rc<Reply>,
    no_items: Rc<Reply>,
}

impl Stock {
    pub fn new() -> Self {
        let pending = tag("subscription", PUBSUB, &[("subscription", "pending")], Vec::new());
        Self {
            done: Rc::new(result(Vec::new())),
            pending: Rc::new(result(vec![pubsub(pending)])),
            no_items: Rc::new(result(vec![tag("pubsub", PUBSUB, &[], Vec::new())])),
        }
    }

    pub fn write(&self, answer: Answer, setting: &Setting, service: &mut Service) -> Rc<Reply> {
        match answer {
            Answer::Done => Rc::clone(&self.done),
            Answer::Pending => Rc::clone(&self.pending),
            Answer::Granted(until) => granted(until, setting, &mut service.grant_written),
            Answer::Time(now) => Rc::new(time(now)),
            Answer::NoItems => Rc::clone(&self.no_items),
            Answer::Entries(node) => entries(&mut service.shelves[node], setting),
            Answer::No(condition, specific) => Rc::new(refusal(condition, specific, None)),
            Answer::Moved(node) => Rc::new(refusal("redirect", "", Some(setting.target(node)))),
        }
    }
}

fn refusal(condition: &str, specific: &str, target: Option<String>) -> Reply {
    let specific = Some(specific.to_owned()).filter(|specific| !specific.is_empty());
    let wait = matches!(condition, "resource-constraint" | "policy-violation");
    Err(NoAnswer::Refused(Refusal { condition: condition.to_owned(), specific, wait, target }))
}

/// XEP-0202.
fn time(now: Time) -> Reply {
    let utc = Timestamp::from_microsecond(START * 1_000_000 + now.cast_signed()).unwrap();
    let utc = Element::builder("utc", TIME).append(utc.to_string()).build();
    result(vec![tag("time", TIME, &[], vec![utc])])
}

/// Written once per account; only the time in it changes, as soon as nobody reads it any more.
fn granted(until: Time, setting: &Setting, written: &mut Option<Rc<Reply>>) -> Rc<Reply> {
    let second = START + i64::try_from(until / 1_000_000).unwrap();
    let expires = Timestamp::from_second(second).unwrap().to_string();
    let known = written.as_mut().and_then(Rc::get_mut).and_then(|reply| reply.as_mut().ok());
    if let Some(time) = known.and_then(time_in) {
        *time = expires;
    } else {
        *written = Some(Rc::new(grant(&expires, setting)));
    }
    written.clone().unwrap()
}

fn time_in(reply: &mut Element) -> Option<&mut String> {
    let first = reply.children_mut().next()?.children_mut().next()?.children_mut().next()?;
    first.children_mut().next()?.texts_mut().next()
}

fn grant(expires: &str, setting: &Setting) -> Reply {
    let own = setting.own().to_bare().to_string();
    let field = |var: &str, text: &str| {
        let value = Element::builder("value", DATA).append(text).build();
        tag("field", DATA, &[("var", var)], vec![value])
    };
    let fields = vec![field("expires", expires), field("sip", &own), field("sip", "desk@acme.test")];
    let form = tag("x", DATA, &[("type", "result")], fields);
    let attributes = [("node", "authorize-plain"), ("status", "completed")];
    result(vec![tag("command", "http://jabber.org/protocol/commands", &attributes, vec![form])])
}

fn entries(board: &mut Shelf, setting: &Setting) -> Rc<Reply> {
    if let Some(written) = &board.written {
        return Rc::clone(written);
    }
    let foreign = setting.own().to_bare().with_resource_str("desk").unwrap().to_string();
    let lines = board.entries.iter().map(|entry| {
        let jid = if entry.own { setting.own().as_str() } else { &foreign };
        let state = if entry.approved { "subscribed" } else { "pending" };
        let subid = format!("{:X}", entry.subid);
        tag("subscription", PUBSUB, &[("subscription", state), ("subid", &subid), ("jid", jid)], Vec::new())
    });
    let written = Rc::new(result(vec![pubsub(tag("subscriptions", PUBSUB, &[], lines.collect()))]));
    board.written = Some(Rc::clone(&written));
    written
}

fn pubsub(child: Element) -> Element {
    tag("pubsub", PUBSUB, &[], vec![child])
}

#[expect(clippy::unnecessary_wraps, reason = "a reply is a result")]
fn result(children: Vec<Element>) -> Reply {
    Ok(tag("iq", "jabber:client", &[("type", "result")], children))
}

fn tag(name: &str, namespace: &str, attributes: &[(&str, &str)], children: Vec<Element>) -> Element {
    let element = Element::builder(name, namespace);
    let with = |element: minidom::ElementBuilder, (name, value): &(&str, &str)| {
        element.attr(NcName::try_from(*name).unwrap(), *value)
    };
    attributes.iter().fold(element, with).append_all(children).build()
}
