//! One call event on its way, step by step: what each step is given is prepared, so that only the step itself is measured.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use jiff::Timestamp;
use onsip_router::domain::event::Event;
use onsip_router::domain::service::Service;
use onsip_router::protocol::admission::Reception;
use onsip_router::protocol::hearing::Hearing;
use onsip_router::protocol::legs::{Legs, Sighting, Verdict, Wanted};
use onsip_router::protocol::notification::Notification;
use onsip_router::routing::Routes;
use onsip_router::routing::rule::Rule;
use onsip_router::xmpp::messages;

/// Messages that are read at once: as many as one read of a busy stream brings.
pub const MESSAGES: usize = 16;

/// A step, with its name.
type Step = (&'static str, fn(&Stage));

/// All that only compute.
pub const STEPS: [Step; 4] = [
    ("parse", Stage::parse),
    ("normalise", Stage::normalise),
    ("route", Stage::route),
    ("serialise", Stage::serialise),
];

/// Everything the steps work on.
pub struct Stage {
    wire: Vec<u8>,
    hearing: Hearing,
    reception: Reception,
    notes: Vec<Notification>,
    events: Vec<Event>,
    routes: Routes,
}

impl Stage {
    pub fn set() -> Self {
        let service = Service::new("active-calls", "xmpp.example.com").unwrap();
        let own: xmpp_parsers::jid::FullJid = "front@example.com/router".parse().unwrap();
        let hearing = Hearing::new(own.clone(), Arc::new([service.clone()]));
        let (account, domain) = ("front".parse().unwrap(), "example.com".into());
        let reception = Reception { account, domain, own, services: vec![service], subids: Vec::new() };
        let wire = wire();
        let notes = messages(&wire, &hearing).unwrap();
        assert_eq!(notes.len(), MESSAGES, "what is measured is real");
        let rule = Rule::compile("data.direction == \"inbound\" && data.to_aor.startsWith(\"sip:\")").unwrap();
        let routes = Routes::new([("log".parse().unwrap(), None), ("crm".parse().unwrap(), Some(rule))]);
        let mut stage = Self { wire, hearing, reception, notes, events: Vec::new(), routes };
        stage.events = stage.judge();
        assert_eq!(stage.events.len(), MESSAGES, "what is measured is real");
        stage
    }

    /// From the bytes of the wire to messages.
    fn parse(&self) {
        black_box(messages(black_box(&self.wire), &self.hearing).unwrap());
    }

    /// From messages to events with stable ids, and what is remembered of their legs.
    fn normalise(&self) {
        black_box(self.judge());
    }

    /// To the sinks that get the events, one of which has a rule.
    fn route(&self) {
        for event in &self.events {
            black_box(self.routes.of(|| serde_json::to_value(black_box(event)).unwrap()));
        }
    }

    /// To the text that all sinks get.
    fn serialise(&self) {
        for event in &self.events {
            black_box(serde_json::to_string(black_box(event)).unwrap());
        }
    }

    fn judge(&self) -> Vec<Event> {
        let sightings = self.notes.iter().flat_map(|note| {
            let service = self.reception.admit(note).unwrap();
            let received = Timestamp::from_microsecond(1_790_000_000_123_456).unwrap();
            let reception = &self.reception;
            note.parts.iter().map(move |part| Sighting { reception, service, note, part, received })
        });
        let (mut wanted, mut legs, mut events) = (Wanted::default(), Legs::default(), Vec::new());
        for sighting in sightings {
            let names = wanted.add(sighting);
            if let Verdict::New(new) = legs.see(sighting, names) {
                events.extend(new);
            }
        }
        black_box((wanted, legs.changes()));
        events
    }
}

/// A stream of call events, as the service writes them (protocol sheet section 8.1).
fn wire() -> Vec<u8> {
    let mut wire = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' from='example.com' id='1' version='1.0' \
        xmlns:stream='http://etherx.jabber.org/streams'>"
        .to_owned();
    for n in 0..MESSAGES {
        write!(
            wire,
            "<message from='pubsub.active-calls.xmpp.example.com' to='front@example.com/router'>\
            <event xmlns='http://jabber.org/protocol/pubsub#event'><items node='/example.com/front'>\
            <item id='MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw{n:04}'>\
            <active-call xmlns='onsip:active-calls' publish-time='2026-09-21T14:13:20.{n:06}Z'>\
            <dialog-state>requested</dialog-state><uac-aor/><call-id>89ab-cdef-{n:04}@192.0.2.17</call-id>\
            <from-uri>sip:+12125550{n:03}@carrier.example.net</from-uri><to-uri>sip:front@example.com</to-uri>\
            <to-aor>sip:front@example.com</to-aor><from-tag>a1b2c3d4e5f6</from-tag><to-tag/>\
            <branch>z9hG4bK-524287-1---0123456789abcdef</branch><call-setup-id/>\
            <from-display>Ann &amp; Bob</from-display><to-display>Front desk</to-display></active-call></item>\
            </items></event><headers xmlns='http://jabber.org/protocol/shim'>\
            <header name='Collection'>/me/front@example.com</header></headers></message>"
        )
        .unwrap();
    }
    wire.into_bytes()
}
