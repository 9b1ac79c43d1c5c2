//! An event as an MQTT message, in both content modes of CloudEvents. Must not know any connection.

use rumqttc::{Publish, PublishProperties, QoS};

use super::super::envelope::Envelope;
use super::super::mode::Mode;
use super::super::template::{Template, word};
use super::super::{Failure, Parcel};
use super::Options;

/// The longest text that the protocol carries, in bytes.
const LONGEST: usize = 65_535;
/// Says that the payload is UTF-8 text.
const TEXT: u8 = 1;

/// The message for `parcel`.
pub(super) fn of(parcel: &Parcel, options: &Options) -> Result<Publish, Failure> {
    let topic = options.topic.render(parcel, word)?;
    let mut properties = PublishProperties { payload_format_indicator: Some(TEXT), ..PublishProperties::default() };
    let body = match options.mode {
        Mode::Structured => {
            properties.content_type = Some("application/cloudevents+json".to_owned());
            parcel.body.to_string()
        }
        Mode::Binary => {
            let envelope = Envelope::of(parcel)?;
            properties.content_type = Some(envelope.content_type().to_owned());
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            properties.user_properties = envelope.attributes().into_iter().map(owned).collect();
            envelope.data().to_owned()
        }
    };
    // The library would cut off the upper bits of a length that does not fit.
    let texts = properties.user_properties.iter().map(|(_, value)| value).chain(&properties.content_type);
    if let Some(long) = texts.chain([&topic]).map(String::len).find(|length| *length > LONGEST) {
        return Err(Failure::Reject {
            reason: format!("one of its attributes has {long} bytes, MQTT takes {LONGEST}"),
        });
    }
    Ok(Publish::new(topic, QoS::AtLeastOnce, body, Some(properties)))
}

/// What is wrong with a topic as a setting.
pub(super) fn check_topic(text: &str) -> Result<(), String> {
    let shape = text.parse::<Template>()?.shape("x");
    if shape.contains(|c: char| c.is_control() || matches!(c, '#' | '+')) {
        return Err("must not hold control characters or the wildcards `#` and `+`".to_owned());
    }
    if shape.starts_with('$') {
        return Err("must not begin with `$`: such topics belong to the broker".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_no_wildcards_and_is_not_the_brokers_own() {
        for good in ["onsip", "onsip/{data.account}/{type}", "/{type}", "a b"] {
            assert_eq!(check_topic(good), Ok(()), "{good}");
        }
        for bad in ["", "a/#", "+/a", "$SYS/a", "a\0", "{typ}"] {
            assert!(check_topic(bad).is_err(), "{bad}");
        }
    }
}
