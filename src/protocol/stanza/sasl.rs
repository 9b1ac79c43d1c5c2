//! The elements of a log-in (RFC 6120 section 6.4).

use minidom::Element;

use super::{WithAttribute, ns};

/// What the server said in a SASL exchange; data is base64 text.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Something to answer.
    Answer(String),
    /// We are who we say; the server may prove the same.
    Success(String),
    /// The condition of a failure.
    Failure(String),
    /// Something else.
    Other,
}

/// The begin of an exchange, with the base64 text of the first response.
#[must_use]
pub fn sasl_auth(mechanism: &'static str, initial: &str) -> Element {
    let initial = if initial.is_empty() { "=" } else { initial };
    Element::builder("auth", ns::SASL).with("mechanism", mechanism).append(initial).build()
}

/// The answer to a challenge, with its base64 text.
#[must_use]
pub fn sasl_response(data: &str) -> Element {
    Element::builder("response", ns::SASL).append(data).build()
}

/// Reads what the server said.
#[must_use]
pub fn challenge(element: &Element) -> Challenge {
    let data = || element.text().trim().trim_start_matches('=').to_owned();
    if !element.has_ns(ns::SASL) {
        return Challenge::Other;
    }
    match element.name() {
        "challenge" => Challenge::Answer(data()),
        "success" => Challenge::Success(data()),
        "failure" => {
            let condition = element.children().find(|child| child.has_ns(ns::SASL) && child.name() != "text");
            Challenge::Failure(condition.map_or("undefined-condition", Element::name).to_owned())
        }
        _ => Challenge::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Challenge {
        challenge(&xml.replacen('>', &format!(" xmlns='{}'>", ns::SASL), 1).parse().unwrap())
    }

    #[test]
    fn the_three_things_a_server_says_are_told_apart() {
        assert_eq!(read("<challenge>cj1h</challenge>"), Challenge::Answer("cj1h".into()));
        assert_eq!(read("<success>dj1h</success>"), Challenge::Success("dj1h".into()));
        assert_eq!(read("<success>=</success>"), Challenge::Success(String::new()));
        assert_eq!(
            read("<failure><text>x</text><not-authorized/></failure>"),
            Challenge::Failure("not-authorized".into())
        );
        assert_eq!(read("<surprise></surprise>"), Challenge::Other);
        assert_eq!(challenge(&"<success xmlns='x'/>".parse().unwrap()), Challenge::Other);
    }

    #[test]
    fn an_empty_first_response_is_an_equals_sign() {
        assert_eq!(sasl_auth("PLAIN", "").text(), "=");
    }
}
