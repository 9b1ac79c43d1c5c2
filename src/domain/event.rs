//! The published event: CloudEvents 1.0 in structured form (interface section 3).
//!
//! The field order here is the order in the JSON. Every key of `data` stands in every event of its kind; what is
//! absent is `null`.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::identity::Token;
use super::service::ServiceKind;
use super::status::GapReason;

pub use leg::{EndReason, Purpose};

mod leg;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub enum EventType {
    /// An outgoing call was placed.
    #[serde(rename = "com.onsip.call.created")]
    CallCreated,
    /// A phone is being rung.
    #[serde(rename = "com.onsip.call.requested")]
    CallRequested,
    /// The leg was answered.
    #[serde(rename = "com.onsip.call.confirmed")]
    CallConfirmed,
    /// The leg is over.
    #[serde(rename = "com.onsip.call.ended")]
    CallEnded,
    /// A phone registered or renewed its registration.
    #[serde(rename = "com.onsip.registration.updated")]
    RegistrationUpdated,
    /// A phone's registration is gone.
    #[serde(rename = "com.onsip.registration.removed")]
    RegistrationRemoved,
    /// An item of any other service.
    #[serde(rename = "com.onsip.item.published")]
    ItemPublished,
    /// An item of any other service is gone.
    #[serde(rename = "com.onsip.item.retracted")]
    ItemRetracted,
    /// A window in which events of an account may have been missed.
    #[serde(rename = "com.onsip.gap")]
    Gap,
    /// Nothing: the router made it to see whether a sink takes events.
    #[serde(rename = "com.onsip.canary")]
    Canary,
}

impl EventType {
    /// Every type, in the order of the interface page.
    pub const ALL: [Self; 10] = [
        Self::CallCreated,
        Self::CallRequested,
        Self::CallConfirmed,
        Self::CallEnded,
        Self::RegistrationUpdated,
        Self::RegistrationRemoved,
        Self::ItemPublished,
        Self::ItemRetracted,
        Self::Gap,
        Self::Canary,
    ];

    /// The `type` attribute.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallCreated => "com.onsip.call.created",
            Self::CallRequested => "com.onsip.call.requested",
            Self::CallConfirmed => "com.onsip.call.confirmed",
            Self::CallEnded => "com.onsip.call.ended",
            Self::RegistrationUpdated => "com.onsip.registration.updated",
            Self::RegistrationRemoved => "com.onsip.registration.removed",
            Self::ItemPublished => "com.onsip.item.published",
            Self::ItemRetracted => "com.onsip.item.retracted",
            Self::Gap => "com.onsip.gap",
            Self::Canary => "com.onsip.canary",
        }
    }

    /// The kind of service it comes from; none for what the router says by itself.
    #[must_use]
    pub fn service_kind(self) -> Option<ServiceKind> {
        match self {
            Self::CallCreated | Self::CallRequested | Self::CallConfirmed | Self::CallEnded => Some(ServiceKind::Calls),
            Self::RegistrationUpdated | Self::RegistrationRemoved => Some(ServiceKind::Registrations),
            Self::ItemPublished | Self::ItemRetracted => Some(ServiceKind::Items),
            Self::Gap | Self::Canary => None,
        }
    }
}

/// One event as every sink receives it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Event {
    /// Always `1.0`.
    pub specversion: SpecVersion,
    /// The same for the same event however often and by whichever way it is seen.
    #[schemars(with = "String")]
    pub id: Token,
    /// `xmpp:<service jid>?;node=<leaf node>`.
    pub source: String,
    /// What happened.
    pub r#type: EventType,
    /// The publish-time where it parses, else the time of receipt. RFC 3339, UTC.
    #[serde(serialize_with = "instant")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The leg: an opaque, stable token per service, node and item.
    pub subject: String,
    /// Always `application/json`.
    pub datacontenttype: DataContentType,
    /// Names the schema of `data`.
    pub dataschema: DataSchema,
    /// Position within the call in order of emission, zero-padded: string order is order.
    pub sequence: String,
    /// The call (or what stands for it): events with the same key are delivered in order.
    pub partitionkey: String,
    /// What the service said, normalised.
    pub data: EventData,
}

impl Event {
    /// When the stanza was read.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        match &self.data {
            EventData::Call(data) => data.receipt.received_at,
            EventData::Registration(data) => data.receipt.received_at,
            EventData::Item(data) => data.receipt.received_at,
            EventData::Gap(data) => data.to,
            EventData::Canary(data) => data.sent_at,
        }
    }
}

/// The version of CloudEvents.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub enum SpecVersion {
    /// CloudEvents 1.0.
    #[serde(rename = "1.0")]
    V1,
}

/// The media type of `data`.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub enum DataContentType {
    /// JSON.
    #[serde(rename = "application/json")]
    Json,
}

/// The schema `data` follows; `onsip-router schema event` prints it.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub enum DataSchema {
    /// The first version.
    #[serde(rename = "urn:onsip-router:schema:event:1")]
    V1,
}

/// `data`, by kind of event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EventData {
    /// Of the `com.onsip.call.*` events.
    Call(Box<CallData>),
    /// Of the `com.onsip.registration.*` events.
    Registration(Box<RegistrationData>),
    /// Of the `com.onsip.item.*` events.
    Item(Box<ItemData>),
    /// Of `com.onsip.gap`.
    Gap(Box<GapData>),
    /// Of `com.onsip.canary`.
    Canary(Box<CanaryData>),
}

/// Where an event came from; the first keys of every `data`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Origin {
    /// Name of the configured account that received it.
    pub account: String,
    /// Short service name, e.g. `active-calls`.
    pub service: String,
    /// The leaf node.
    pub node: String,
    /// The subscribed collection, as the SHIM header says (XEP-0248).
    pub collection: Option<String>,
    /// The item id, opaque.
    pub item_id: String,
    /// The SubID headers, or the subscription's own where none came.
    pub subids: Vec<String>,
}

/// When an event was published and received.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Receipt {
    /// The raw publish-time.
    pub published_at: Option<String>,
    /// When the stanza was read; RFC 3339 with microseconds.
    #[serde(serialize_with = "instant")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub received_at: Timestamp,
    /// Whether the stanza carries a delay stamp or its publish-time is more than 60 s old.
    pub replayed: bool,
}

/// What the service publishes of a call (protocol sheet section 8.1). Empty elements are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
pub struct CallFields {
    /// SIP Call-ID.
    pub call_id: Option<String>,
    /// SIP From URI.
    pub from_uri: Option<String>,
    /// SIP To URI.
    pub to_uri: Option<String>,
    /// Address of record being rung.
    pub to_aor: Option<String>,
    /// SIP From tag.
    pub from_tag: Option<String>,
    /// SIP To tag.
    pub to_tag: Option<String>,
    /// SIP Via branch, one per forked leg.
    pub branch: Option<String>,
    /// Set only on calls made by a click-to-call command.
    pub call_setup_id: Option<String>,
    /// Caller-ID name of the caller.
    pub from_display: Option<String>,
    /// Caller-ID name of the callee.
    pub to_display: Option<String>,
}

impl CallFields {
    /// All fields, in their order.
    #[must_use]
    pub fn texts(&self) -> [Option<&str>; 10] {
        [
            &self.call_id,
            &self.from_uri,
            &self.to_uri,
            &self.to_aor,
            &self.from_tag,
            &self.to_tag,
            &self.branch,
            &self.call_setup_id,
            &self.from_display,
            &self.to_display,
        ]
        .map(Option::as_deref)
    }
}

/// The state a call item is published in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DialogState {
    /// The node's user is calling.
    Created,
    /// The node's user is being called.
    Requested,
    /// Answered.
    Confirmed,
}

impl DialogState {
    /// As published.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Requested => "requested",
            Self::Confirmed => "confirmed",
        }
    }
}

/// Which way a call goes, seen from the node's user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The node's user is called.
    Inbound,
    /// The node's user calls.
    Outbound,
    /// The beginning of the leg was never seen.
    #[default]
    Unknown,
}

/// `data` of call events.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CallData {
    /// Where it came from.
    #[serde(flatten)]
    pub origin: Origin,
    /// The published state; `null` on ended.
    pub dialog_state: Option<DialogState>,
    /// As published; on ended: remembered from the leg.
    #[serde(flatten)]
    pub call: Arc<CallFields>,
    /// Seen from the node's user.
    pub direction: Direction,
    /// What the leg is for; `null` where nothing was ever published of it.
    pub purpose: Option<Purpose>,
    /// When.
    #[serde(flatten)]
    pub receipt: Receipt,
    /// How the leg went; all `null` before its end.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a leg went (on `com.onsip.call.ended` only).
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Outcome {
    /// Whether this leg was answered.
    pub answered: Option<bool>,
    /// Whether this leg was not answered and another leg of the same call had been by then. A leg may end before the
    /// service tells who answered, so `false` does not mean that nobody did.
    pub answered_elsewhere: Option<bool>,
    /// Seconds from the first event to the answer, or to the end if never answered and the end was seen.
    pub ring_seconds: Option<f64>,
    /// Seconds from the answer to the end; `null` where the end was not seen (`gap`, `stale`).
    pub talk_seconds: Option<f64>,
    /// Why it is over.
    pub end_reason: Option<EndReason>,
}

/// What the service publishes of a registration (protocol sheet section 8.4). Empty elements are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
pub struct RegistrationFields {
    /// Registered Contact.
    pub contact: Option<String>,
    /// Source address seen by the registrar.
    pub received: Option<String>,
    /// User-Agent of the phone.
    pub device: Option<String>,
    /// When the registration ends.
    pub expires: Option<String>,
    /// As published.
    pub time: Option<String>,
}

/// `data` of registration events.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RegistrationData {
    /// Where it came from.
    #[serde(flatten)]
    pub origin: Origin,
    /// As published; `null` on removed.
    #[serde(flatten)]
    pub registration: RegistrationFields,
    /// When.
    #[serde(flatten)]
    pub receipt: Receipt,
}

/// `data` of item events.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ItemData {
    /// Where it came from.
    #[serde(flatten)]
    pub origin: Origin,
    /// The XML text of the item's child; `null` on retracted.
    pub payload: Option<String>,
    /// When.
    #[serde(flatten)]
    pub receipt: Receipt,
}

/// `data` of gap events.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct GapData {
    /// The account whose events may have been missed.
    pub account: String,
    /// Short names of its services.
    pub services: Vec<String>,
    /// The last moment at which events could arrive.
    #[serde(serialize_with = "instant")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub from: Timestamp,
    /// The moment from which they can again.
    #[serde(serialize_with = "instant")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub to: Timestamp,
    /// Why they could not.
    pub reason: GapReason,
}

/// `data` of canaries; they are no account's.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CanaryData {
    /// The sink it was made for, the only one that gets it.
    pub sink: String,
    /// When it was made.
    #[serde(serialize_with = "instant")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub sent_at: Timestamp,
    /// Seconds until the next one, if this one is acknowledged by then.
    pub interval_seconds: f64,
}

/// RFC 3339 in UTC with exactly six fraction digits.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    let time = time.to_zoned(TimeZone::UTC).datetime();
    // What formats any format takes ten times as long, and this is done three times for each event.
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut write = |at: std::ops::Range<usize>, mut number: u32| {
        for digit in text[at].iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
    };
    write(0..4, time.year().unsigned_abs().into());
    write(5..7, time.month().unsigned_abs().into());
    write(8..10, time.day().unsigned_abs().into());
    write(11..13, time.hour().unsigned_abs().into());
    write(14..16, time.minute().unsigned_abs().into());
    write(17..19, time.second().unsigned_abs().into());
    write(20..26, time.subsec_nanosecond().unsigned_abs() / 1000);
    String::from_utf8_lossy(&text).into_owned()
}

fn instant<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_written_as_it_is_named() {
        for kind in EventType::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn a_time_always_has_microseconds() {
        assert_eq!(rfc3339("2026-01-01T00:00:00Z".parse().unwrap()), "2026-01-01T00:00:00.000000Z");
        for micros in [0, 1, 999_999, 951_827_696_123_456, 1_790_000_000_000_001, 253_402_207_199_999_999] {
            let time = Timestamp::from_microsecond(micros).unwrap();
            assert_eq!(rfc3339(time), time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
        }
    }
}
