//! The attributes and the data of an event apart, for protocols that carry attributes as headers (the binary mode of
//! the CloudEvents bindings).
//!
//! Must not know any protocol.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Failure, Parcel};

/// One event, taken apart.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    datacontenttype: Cow<'a, str>,
    #[serde(borrow)]
    dataschema: Cow<'a, str>,
    #[serde(borrow)]
    sequence: Cow<'a, str>,
    #[serde(borrow)]
    partitionkey: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl<'a> Envelope<'a> {
    /// Takes `parcel` apart. What is no event of ours can never be delivered.
    pub(super) fn of(parcel: &'a Parcel) -> Result<Self, Failure> {
        serde_json::from_str(&parcel.body)
            .map_err(|fault| Failure::Reject { reason: format!("the queue holds no event: {fault}") })
    }

    /// The type of the event.
    pub(super) fn kind(&self) -> &str {
        &self.r#type
    }

    /// The type of `data`: what a protocol calls content type.
    pub(super) fn content_type(&self) -> &str {
        &self.datacontenttype
    }

    /// All attributes but `datacontenttype`, by name.
    pub(super) fn attributes(&self) -> [(&'static str, &str); 9] {
        [
            ("specversion", &self.specversion),
            ("id", &self.id),
            ("source", &self.source),
            ("type", &self.r#type),
            ("time", &self.time),
            ("subject", &self.subject),
            ("dataschema", &self.dataschema),
            ("sequence", &self.sequence),
            ("partitionkey", &self.partitionkey),
        ]
    }

    /// `data` as JSON.
    pub(super) fn data(&self) -> &'a str {
        self.data.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(body: &str) -> Parcel {
        Parcel { id: "1".into(), partition: "p".into(), body: body.into() }
    }

    #[test]
    fn attributes_and_data_are_told_apart_and_the_data_stays_as_it_was() {
        let body = r#"{"specversion":"1.0","id":"1","source":"s\"","type":"t","time":"2026-01-01T00:00:00Z","subject":"x",
            "datacontenttype":"application/json","dataschema":"d","sequence":"0000000001","partitionkey":"p",
            "data":{"b":1.0, "a":null}}"#;
        let parcel = parcel(body);
        let envelope = Envelope::of(&parcel).unwrap();
        assert_eq!(envelope.data(), r#"{"b":1.0, "a":null}"#);
        assert_eq!(envelope.content_type(), "application/json");
        assert_eq!(envelope.attributes()[2], ("source", "s\""));
        assert!(envelope.attributes().iter().all(|(_, value)| !value.is_empty()));
    }

    #[test]
    fn what_is_no_event_is_rejected_for_good() {
        assert!(matches!(Envelope::of(&parcel("{}")), Err(Failure::Reject { .. })));
    }
}
