//! One POST in the making: content type, attributes and body by the HTTP binding of CloudEvents 1.0.
//!
//! Must not know signatures or connections.

use std::fmt::Write as _;
use std::str::FromStr;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::sinks::envelope::Envelope;
use crate::sinks::mode::Mode;
use crate::sinks::{Failure, Parcel};

/// What one POST carries.
#[derive(Debug)]
pub(super) struct Message {
    /// The same however often it is posted.
    pub(super) id: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// One event by itself.
    pub(super) fn one(parcel: &Parcel, mode: Mode) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        let body = match mode {
            Mode::Structured => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"));
                &parcel.body
            }
            Mode::Binary => {
                let envelope = Envelope::of(parcel)?;
                headers.insert(CONTENT_TYPE, value(envelope.content_type())?);
                for (name, text) in envelope.attributes() {
                    let name = HeaderName::from_str(&format!("ce-{name}")).map_err(|fault| unfit(&fault))?;
                    headers.insert(name, value(&encoded(text))?);
                }
                envelope.data()
            }
        };
        Ok(Self { id: parcel.id.to_string(), headers, body: body.as_bytes().to_vec() })
    }

    /// Several events as one JSON array. Its id is made from theirs.
    pub(super) fn many<'a>(parcels: impl Iterator<Item = &'a Parcel>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents-batch+json"));
        let mut ids = Sha256::new();
        let mut body = Vec::new();
        for parcel in parcels {
            body.push(if body.is_empty() { b'[' } else { b',' });
            body.extend_from_slice(parcel.body.as_bytes());
            ids.update(parcel.id.as_bytes());
            ids.update(b"\n");
        }
        body.push(b']');
        let mut id = "batch-".to_owned();
        for byte in &ids.finalize()[..16] {
            let _ = write!(id, "{byte:02x}");
        }
        Self { id, headers, body }
    }
}

/// As a header value wants it (HTTP binding, section 3.1.3.2): blanks, quotes, percent signs and all beyond printable
/// ASCII as `%XX`.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' => {
                let _ = write!(encoded, "%{byte:02X}");
            }
            b'!'..=b'~' => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// A header value, or the reason why the event can never be sent.
pub(super) fn value(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|fault| unfit(&fault))
}

fn unfit(fault: &dyn std::fmt::Display) -> Failure {
    Failure::Reject { reason: format!("an attribute of the event fits into no header: {fault}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(id: &str) -> Parcel {
        Parcel { id: id.into(), partition: "p".into(), body: format!(r#"{{"id":"{id}"}}"#).into() }
    }

    #[test]
    fn attributes_are_encoded_as_the_binding_says() {
        assert_eq!(encoded("Euro € \u{1F600}"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(encoded("100% \"~\"\\\r\n"), "100%25%20%22~%22\\%0D%0A");
    }

    #[test]
    fn several_events_are_one_array_with_an_id_that_is_theirs() {
        let [a, b] = [parcel("a"), parcel("b")];
        let both = Message::many([&a, &b].into_iter());
        assert_eq!(both.body, br#"[{"id":"a"},{"id":"b"}]"#);
        assert_eq!(both.id, Message::many([&a, &b].into_iter()).id);
        assert_ne!(both.id, Message::many([&b, &a].into_iter()).id);
        assert_ne!(both.id, Message::many([&parcel("ab")].into_iter()).id);
        assert_eq!(Message::many([&a].into_iter()).body, br#"[{"id":"a"}]"#);
    }

    #[test]
    fn what_is_no_event_cannot_be_taken_apart() {
        assert!(matches!(Message::one(&parcel("a"), Mode::Binary), Err(Failure::Reject { .. })));
        assert_eq!(Message::one(&parcel("a"), Mode::Structured).unwrap().body, br#"{"id":"a"}"#);
    }
}
