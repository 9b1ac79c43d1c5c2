//! From a sighting and its leg to the published event.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Sighting;
use crate::domain::event::{
    DataContentType, DataSchema, DialogState, EndReason, Event, EventData, EventType, Origin, Receipt, SpecVersion,
};
use crate::domain::identity::Token;
use crate::domain::leg::Leg;
use crate::domain::name::{ItemId, NodeName};
use crate::domain::service::Service;
use crate::protocol::notification::{Content, Part};

/// A publish-time older than this makes an event a replay.
const REPLAY_AGE: Duration = Duration::from_mins(1);

/// How a leg comes to its end.
pub(super) struct Ending<'a> {
    pub(super) service: &'a Service,
    pub(super) origin: Origin,
    pub(super) receipt: Receipt,
    pub(super) reason: EndReason,
    /// Whether the message that tells of the end also tells that another leg of the call was answered.
    pub(super) answered_beside: bool,
}

/// The end of `leg` that a message tells of.
pub(super) fn ending<'a>(sighting: Sighting<'a>, leg: &Leg, reason: EndReason) -> Ending<'a> {
    Ending {
        service: sighting.service,
        origin: origin(sighting, &leg.node, &leg.item),
        receipt: receipt(sighting, None, None),
        reason,
        answered_beside: answered_beside(sighting, leg),
    }
}

/// Whether a message tells that another leg of the call of `leg` was answered. A service may tell the ends of the phones that
/// lost before it tells who won, in one message.
fn answered_beside(sighting: Sighting<'_>, leg: &Leg) -> bool {
    leg.call.call_id.is_some()
        && sighting.note.parts.iter().any(|part| match part {
            Part::Item { node, item, content: Content::Call(DialogState::Confirmed, call), .. } => {
                (&call.call_id, &call.from_tag) == (&leg.call.call_id, &leg.call.from_tag)
                    && (node, item) != (&leg.node, &leg.item)
            }
            _ => false,
        })
}

pub(super) fn origin(sighting: Sighting<'_>, node: &NodeName, item: &ItemId) -> Origin {
    let Sighting { reception, service, note, .. } = sighting;
    let subids = if note.subids.is_empty() {
        reception.subid(service, node, note.collection.as_ref()).into_iter().map(ToString::to_string).collect()
    } else {
        note.subids.iter().map(ToString::to_string).collect()
    };
    Origin {
        account: reception.account.to_string(),
        service: service.name().to_owned(),
        node: node.to_string(),
        collection: note.collection.as_ref().map(ToString::to_string),
        item_id: item.to_string(),
        subids,
    }
}

/// The publish-time, if it can be read and written: two broken ones stand in the service's own samples.
pub(super) fn publish_time(text: &str) -> Option<Timestamp> {
    text.trim().parse().ok().filter(|time: &Timestamp| *time >= Timestamp::UNIX_EPOCH)
}

pub(super) fn receipt(sighting: Sighting<'_>, published: Option<&str>, published_at: Option<Timestamp>) -> Receipt {
    let old = published_at.is_some_and(|at| {
        sighting.received.duration_since(at) > SignedDuration::try_from(REPLAY_AGE).unwrap_or(SignedDuration::MAX)
    });
    Receipt {
        published_at: published.map(str::to_owned),
        received_at: sighting.received,
        replayed: sighting.note.delayed || old,
    }
}

pub(super) fn envelope(
    service: &Service,
    leg: &Leg,
    id: Token,
    kind: EventType,
    time: Timestamp,
    sequence: u64,
    data: EventData,
) -> Event {
    Event {
        specversion: SpecVersion::V1,
        id,
        source: format!("xmpp:{}?;node={}", service.jid(), query_escaped(leg.node.as_str())),
        r#type: kind,
        time,
        subject: leg.token.to_string(),
        datacontenttype: DataContentType::Json,
        dataschema: DataSchema::V1,
        sequence: format!("{sequence:010}"),
        partitionkey: leg.partition.to_string(),
        data,
    }
}

/// Percent-encodes what may not stand in the query of a URI (RFC 3986 section 3.4), and nothing else.
fn query_escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
