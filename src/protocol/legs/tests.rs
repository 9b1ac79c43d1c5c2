//! The leg table with a store in memory that recalls exactly what is wanted, as the real one does.

use std::collections::HashMap;
use std::time::Duration;

use xmpp_parsers::jid::FullJid;

use super::*;
use crate::domain::event::{CallFields, DialogState, Direction, RegistrationFields};

mod calls;
mod ends;
mod foreign;
mod identity;
mod interleaving;
mod items;

const NODE: &str = "/acme.test/ann";
/// An account of another domain, whose server calls it as one of ours all the same.
const STRANGER: &str = "stranger";

/// A second of an hour on the first of January.
fn utc(second: i64) -> Timestamp {
    let noon: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    noon + jiff::SignedDuration::from_secs(second)
}

fn reception(account: &str) -> Reception {
    let service = |name| Service::new(name, "xmpp.test").unwrap();
    Reception {
        account: account.parse().unwrap(),
        domain: if account == STRANGER { "evil.test" } else { "acme.test" }.into(),
        own: FullJid::new(&format!("{account}@acme.test/router")).unwrap(),
        services: vec![service("active-calls"), service("user-agents"), service("voicemail")],
        subids: Vec::new(),
    }
}

/// One part, published at a second of the hour unless told otherwise.
fn item(id: &str, published: Option<i64>, content: Content) -> Part {
    let published = published.map(|second| utc(second).to_string());
    Part::Item { node: NODE.into(), item: id.into(), published, content }
}

/// A leg of the call C1.
fn leg(id: &str, published: i64, state: DialogState) -> Part {
    item(id, Some(published), Content::Call(state, fields("C1").into()))
}

fn fields(call_id: &str) -> CallFields {
    CallFields { call_id: Some(call_id.into()), from_tag: Some("F".into()), ..CallFields::default() }
}

fn retract(id: &str) -> Part {
    Part::Retract { node: NODE.into(), item: id.into() }
}

fn requested(id: &str, at: i64) -> Part {
    leg(id, at, DialogState::Requested)
}

fn confirmed(id: &str, at: i64) -> Part {
    leg(id, at, DialogState::Confirmed)
}

fn created(id: &str, at: i64) -> Part {
    leg(id, at, DialogState::Created)
}

/// What outlives a batch.
#[derive(Default)]
struct Store {
    events: HashSet<Token>,
    legs: HashMap<Token, Arc<Leg>>,
    calls: HashMap<Token, Call>,
    duplicates: usize,
    /// Ends that were ignored.
    foreign: u64,
    /// Domains without an account any more.
    removed: Vec<&'static str>,
}

impl Store {
    /// One message with one part, received by one account.
    fn see(&mut self, received: i64, part: Part) -> Vec<Event> {
        self.batch(&[(
            "front",
            "active-calls",
            received,
            Notification { parts: vec![part], ..Notification::default() },
        )])
    }

    /// The only event of one part.
    fn one(&mut self, received: i64, part: Part) -> Event {
        let mut events = self.see(received, part);
        assert_eq!(events.len(), 1);
        events.remove(0)
    }

    fn see_from(&mut self, service: &str, received: i64, part: Part) -> Vec<Event> {
        self.batch(&[("front", service, received, Notification { parts: vec![part], ..Notification::default() })])
    }

    /// Messages of one commit: account, service, second of receipt, message.
    fn batch(&mut self, messages: &[(&str, &str, i64, Notification)]) -> Vec<Event> {
        let receptions: Vec<_> = messages.iter().map(|(account, ..)| reception(account)).collect();
        let sightings: Vec<_> = messages
            .iter()
            .zip(&receptions)
            .flat_map(|((_, service, received, note), reception)| {
                let service = reception.services.iter().find(|known| known.name() == *service).unwrap();
                let received = utc(*received);
                note.parts.iter().map(move |part| Sighting { reception, service, note, part, received })
            })
            .collect();
        let mut wanted = Wanted::default();
        let named: Vec<_> = sightings.into_iter().map(|sighting| (sighting, wanted.add(sighting))).collect();
        let mut legs = self.recall(wanted);
        let mut events = Vec::new();
        for (sighting, names) in named {
            match legs.see(sighting, names) {
                Verdict::New(new) | Verdict::Partly(new) => events.extend(new),
                Verdict::Duplicate(_) => self.duplicates += 1,
            }
            self.foreign += legs.take_foreign();
        }
        self.keep(&events, legs);
        events
    }

    fn keep(&mut self, events: &[Event], legs: Legs) {
        let (legs, calls) = legs.changes();
        self.events.extend(events.iter().map(|event| event.id.clone()));
        self.legs.extend(legs.into_iter().map(|leg| (leg.token.clone(), leg)));
        self.calls.extend(calls.into_iter().map(|call| (call.partition.clone(), call)));
    }

    fn recall(&self, wanted: Wanted) -> Legs {
        let events = wanted.events.into_iter().filter(|id| self.events.contains(id)).collect();
        let on_nodes = self
            .legs
            .values()
            .filter(|leg| leg.ended.is_none() && wanted.nodes.contains(&(leg.service.clone(), leg.node.clone())));
        let known = wanted.legs.iter().filter_map(|token| self.legs.get(token)).chain(on_nodes).cloned();
        let (legs, past): (Vec<Arc<Leg>>, Vec<Arc<Leg>>) = known.partition(|leg| leg.ended.is_none());
        let past = past.iter().filter_map(|leg| Some((leg.token.clone(), EndedLeg::of(leg, leg.ended?)))).collect();
        let partitions = wanted.calls.iter().chain(legs.iter().map(|leg| &leg.partition));
        let calls = partitions.filter_map(|partition| self.calls.get(partition)).cloned().collect();
        let configured = ["acme.test", "evil.test"].into_iter().filter(|domain| !self.removed.contains(domain));
        Legs::recalled(events, legs, past, calls, Arc::new(configured.map(Into::into).collect()))
    }
}

fn data(event: &Event) -> serde_json::Value {
    serde_json::to_value(event).unwrap()["data"].clone()
}
