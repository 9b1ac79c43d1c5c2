//! An event as a Kafka record (CloudEvents binding for Kafka, both content modes). Must not know any connection.

use std::borrow::Cow;

use rdkafka::message::{Header, OwnedHeaders};

use super::super::envelope::Envelope;
use super::super::mode::Mode;
use super::super::template::Template;
use super::super::{Failure, Parcel};
use super::Options;

/// The longest name of a topic, in bytes.
const LONGEST: usize = 249;

/// What is written.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) topic: String,
    /// Records with the same key stay in one partition of the topic.
    pub(super) key: &'a str,
    pub(super) headers: OwnedHeaders,
    pub(super) body: &'a str,
}

impl<'a> Message<'a> {
    /// The record for `parcel`.
    pub(super) fn of(parcel: &'a Parcel, options: &Options) -> Result<Self, Failure> {
        let topic = options.topic.render(parcel, word)?;
        if topic.len() > LONGEST {
            return Err(Failure::Reject { reason: format!("its topic would be {} bytes long", topic.len()) });
        }
        let (headers, body) = match options.mode {
            Mode::Structured => (
                with(OwnedHeaders::new(), "content-type", "application/cloudevents+json; charset=UTF-8"),
                &*parcel.body,
            ),
            Mode::Binary => {
                let envelope = Envelope::of(parcel)?;
                let headers = with(OwnedHeaders::new(), "content-type", envelope.content_type());
                let attributes = envelope.attributes().into_iter();
                let headers = attributes.fold(headers, |all, (name, value)| with(all, &format!("ce_{name}"), value));
                (headers, envelope.data())
            }
        };
        Ok(Self { topic, key: &parcel.partition, headers, body })
    }
}

fn with(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// Whatever a topic cannot have, and dots, as `_`.
fn word(value: &str) -> Cow<'_, str> {
    if value.chars().all(plain) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.chars().map(|c| if plain(c) { c } else { '_' }).collect())
}

/// What is wrong with a topic as a setting.
pub(super) fn check_topic(text: &str) -> Result<(), String> {
    let shape = text.parse::<Template>()?.shape("x");
    if !shape.chars().all(|c| plain(c) || c == '.') || shape.len() > LONGEST {
        return Err(format!("must be made of letters, digits, ., - and _, {LONGEST} of them at most"));
    }
    if matches!(shape.as_str(), "." | "..") {
        return Err("must not be made of dots alone".to_owned());
    }
    if shape.starts_with("__") {
        return Err("must not begin with `__`: such topics belong to the brokers".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_one_that_kafka_can_have_and_not_the_brokers_own() {
        for good in ["onsip-events", "onsip.{data.account}.{type}", "{type}", "A_b.c-1"] {
            assert_eq!(check_topic(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a/b", "é", ".", "..", "__consumer_offsets", "{typ}", &"x".repeat(250)] {
            assert!(check_topic(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_field_cannot_make_a_topic_that_kafka_does_not_have() {
        assert_eq!(word("front-desk"), "front-desk");
        assert_eq!(word("com.onsip é/*"), "com_onsip____");
    }
}
