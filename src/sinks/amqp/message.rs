//! An event as an AMQP message, in both content modes of CloudEvents. Must not know any connection.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::super::envelope::Envelope;
use super::super::mode::Mode;
use super::super::template::word;
use super::super::{Failure, Parcel};
use super::Options;

/// The longest name, key or id that the protocol carries, in bytes.
const LONGEST: usize = 255;
/// The delivery mode of a message that outlives a restart of the broker.
const PERSISTENT: u8 = 2;

/// What is published.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: &'a str,
}

impl<'a> Message<'a> {
    /// The message for `parcel`.
    pub(super) fn of(parcel: &'a Parcel, options: &Options) -> Result<Self, Failure> {
        let routing_key = short("routing key", options.routing_key.render(parcel, word)?)?;
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(short("id", parcel.id.to_string())?);
        let (properties, body) = match options.mode {
            Mode::Structured => (properties.with_content_type("application/cloudevents+json".into()), &*parcel.body),
            Mode::Binary => {
                let envelope = Envelope::of(parcel)?;
                let mut headers = FieldTable::default();
                for (name, value) in envelope.attributes() {
                    headers.insert(format!("cloudEvents:{name}").into(), AMQPValue::LongString(value.into()));
                }
                let kind = short("content type", envelope.content_type().to_owned())?;
                (properties.with_content_type(kind).with_headers(headers), envelope.data())
            }
        };
        Ok(Self { routing_key, properties, body })
    }
}

fn short(what: &str, text: String) -> Result<ShortString, Failure> {
    let length = text.len();
    ShortString::try_new(text)
        .map_err(|_| Failure::Reject { reason: format!("its {what} would be {length} bytes long") })
}

/// What is wrong with the name of an exchange.
pub(super) fn check_exchange(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > LONGEST || text.contains(char::is_control) {
        return Err(format!("must have 1 to {LONGEST} bytes, without control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_the_protocol_is_rejected_and_not_cut() {
        assert!(short("id", "x".repeat(255)).is_ok());
        let reason = "its id would be 256 bytes long".to_owned();
        assert_eq!(short("id", "x".repeat(256)), Err(Failure::Reject { reason }));
        assert!(check_exchange("amq.topic").is_ok());
        assert!(check_exchange("").is_err() && check_exchange(&"x".repeat(256)).is_err());
    }
}
