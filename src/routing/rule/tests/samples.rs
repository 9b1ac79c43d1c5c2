//! An event of every type.

use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::domain::canary::Canary;
use crate::domain::event::{
    CallData, CallFields, DataContentType, DataSchema, DialogState, Direction, EndReason, Event, EventData, EventType,
    GapData, ItemData, Origin, Outcome, Purpose, Receipt, RegistrationData, RegistrationFields, SpecVersion,
};
use crate::domain::identity::Token;
use crate::domain::moment::Moment;
use crate::domain::status::GapReason;

/// An event of each type, a call's end once with and once without what may be absent.
pub static EVENTS: LazyLock<Vec<Json>> = LazyLock::new(|| {
    let origin = |service: &str| Origin {
        account: "front-desk".to_owned(),
        service: service.to_owned(),
        node: "/acme.test/front".to_owned(),
        collection: None,
        item_id: "1".to_owned(),
        subids: vec!["a".to_owned(), "b".to_owned()],
    };
    let at: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let receipt = || Receipt { published_at: None, received_at: at, replayed: false };
    let event = |kind: EventType, data: EventData| Event {
        specversion: SpecVersion::V1,
        id: Token::of(["1"]),
        source: "xmpp:pubsub.active-calls.xmpp.onsip.com?;node=x".to_owned(),
        r#type: kind,
        time: at,
        subject: "leg".to_owned(),
        datacontenttype: DataContentType::Json,
        dataschema: DataSchema::V1,
        sequence: "1".to_owned(),
        partitionkey: "call".to_owned(),
        data,
    };
    let call = |kind, state, outcome| {
        let fields = CallFields { to_aor: Some("front@acme.test".to_owned()), ..CallFields::default() };
        let data = CallData {
            origin: origin("active-calls"),
            dialog_state: state,
            call: fields.into(),
            direction: Direction::Inbound,
            purpose: Some(Purpose::Call),
            receipt: receipt(),
            outcome,
        };
        event(kind, EventData::Call(Box::new(data)))
    };
    let ended = Outcome {
        answered: Some(true),
        answered_elsewhere: Some(false),
        ring_seconds: Some(4.5),
        talk_seconds: Some(61.0),
        end_reason: Some(EndReason::Retracted),
    };
    let registration = |kind| {
        let data = RegistrationData {
            origin: origin("user-agents"),
            registration: RegistrationFields { device: Some("phone".to_owned()), ..RegistrationFields::default() },
            receipt: receipt(),
        };
        event(kind, EventData::Registration(Box::new(data)))
    };
    let item = |kind, payload| {
        event(kind, EventData::Item(Box::new(ItemData { origin: origin("voicemail"), payload, receipt: receipt() })))
    };
    let gap = GapData {
        account: "front-desk".to_owned(),
        services: vec!["active-calls".to_owned()],
        from: at,
        to: at,
        reason: GapReason::Restart,
    };
    let every = std::time::Duration::from_mins(1);
    let now = Moment::virtual_at(every, at);
    let canary = Canary::new("crm".parse().unwrap(), every, now).next(false, now).unwrap();
    let events = [
        call(EventType::CallCreated, Some(DialogState::Created), Outcome::default()),
        call(EventType::CallRequested, Some(DialogState::Requested), Outcome::default()),
        call(EventType::CallConfirmed, Some(DialogState::Confirmed), Outcome::default()),
        call(EventType::CallEnded, None, ended),
        call(EventType::CallEnded, None, Outcome { end_reason: Some(EndReason::Gap), ..Outcome::default() }),
        registration(EventType::RegistrationUpdated),
        registration(EventType::RegistrationRemoved),
        item(EventType::ItemPublished, Some("<a xmlns='x'>text</a>".to_owned())),
        item(EventType::ItemRetracted, None),
        event(EventType::Gap, EventData::Gap(Box::new(gap))),
        canary,
    ];
    events.iter().map(|event| serde_json::to_value(event).unwrap()).collect()
});
