//! An event as a NATS message (CloudEvents binding for NATS, both content modes). Must not know any connection.

use std::fmt::Write;

use async_nats::header::{NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, HeaderValue};

use super::super::envelope::Envelope;
use super::super::mode::Mode;
use super::super::template::{Template, word};
use super::super::{Failure, Parcel};
use super::Options;

/// Longer ones do not fit into the line of 4,096 bytes that servers take, with the inbox and the sizes beside them.
const LONGEST_SUBJECT: usize = 2_048;

/// What is sent.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// The message for `parcel`.
pub(super) fn of(parcel: &Parcel, options: &Options) -> Result<Message, Failure> {
    let subject = options.subject.render(parcel, word)?;
    if subject.len() > LONGEST_SUBJECT {
        return Err(Failure::Reject { reason: format!("its subject would be {} bytes long", subject.len()) });
    }
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, value(&parcel.id)?);
    if let Some(stream) = &options.stream {
        headers.insert(NATS_EXPECTED_STREAM, value(stream)?);
    }
    let body = match options.mode {
        Mode::Structured => {
            headers.insert("Content-Type", value("application/cloudevents+json")?);
            parcel.body.to_string()
        }
        Mode::Binary => {
            let envelope = Envelope::of(parcel)?;
            for (name, text) in envelope.attributes() {
                headers.insert(format!("ce-{name}").as_str(), value(&encoded(text))?);
            }
            headers.insert("ce-datacontenttype", value(&encoded(envelope.content_type()))?);
            envelope.data().to_owned()
        }
    };
    Ok(Message { subject, headers, body })
}

/// A line break in a value would end it.
fn value(text: &str) -> Result<HeaderValue, Failure> {
    text.parse().map_err(|fault| Failure::Reject { reason: format!("{fault}") })
}

/// As the binding wants header values: blanks, quotes, per cent signs and all beyond printable ASCII percent-encoded.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// What is wrong with a subject as a setting.
pub(super) fn check_subject(text: &str) -> Result<(), String> {
    let shape = text.parse::<Template>()?.shape("x");
    if shape.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>')) {
        return Err("must not hold blanks or the wildcards `*` and `>`".to_owned());
    }
    if shape.split('.').any(str::is_empty) {
        return Err("must not begin or end with a dot, or have two in a row".to_owned());
    }
    if shape.starts_with('$') {
        return Err("must not begin with `$`: such subjects belong to the server".to_owned());
    }
    Ok(())
}

/// The subjects that `template` can make, as a pattern for a stream: a value never holds a dot.
pub(super) fn pattern(template: &Template) -> String {
    let shape = template.shape("*");
    shape.split('.').map(|token| if token.contains('*') { "*" } else { token }).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_whole_without_wildcards_and_not_the_servers_own() {
        for good in ["onsip", "onsip.{data.account}.{type}", "{type}", "a.x{type}y"] {
            assert_eq!(check_subject(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a.>", "a.*", ".a", "a.", "a..b", "$JS.API", "{typ}"] {
            assert!(check_subject(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_field_may_be_any_token_of_a_streams_subjects() {
        let pattern = |text: &str| pattern(&text.parse().unwrap());
        assert_eq!(pattern("onsip.{data.account}.{type}"), "onsip.*.*");
        assert_eq!(pattern("a.x{type}y.b"), "a.*.b");
        assert_eq!(pattern("calls"), "calls");
    }

    #[test]
    fn header_values_are_printable_ascii() {
        assert_eq!(encoded("a \"50%\" é\n☎"), "a%20%2250%25%22%20%C3%A9%0A%E2%98%8E");
        assert_eq!(encoded("xmpp:a?;node=/b"), "xmpp:a?;node=/b");
    }
}
