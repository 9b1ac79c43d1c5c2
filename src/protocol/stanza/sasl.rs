//! The elements of a log-in (RFC 6120 section 6.4).

use minidom::Element;

use super::{WithAttribute, ns};

/// The conditions of a failure (RFC 6120 section 6.5). A server may write anything of any length in their place.
const CONDITIONS: [&str; 11] = [
    "aborted",
    "account-disabled",
    "credentials-expired",
    "encryption-required",
    "incorrect-encoding",
    "invalid-authzid",
    "invalid-mechanism",
    "malformed-request",
    "mechanism-too-weak",
    "not-authorized",
    "temporary-auth-failure",
];

/// What the server said in a SASL exchange; data is base64 text, empty where there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Something to answer.
    Answer(String),
    /// We are who we say; the server may prove the same.
    Success(String),
    /// The condition of a failure.
    Failure(&'static str),
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
    let data = || match element.text().trim() {
        "=" => String::new(),
        data => data.to_owned(),
    };
    if !element.has_ns(ns::SASL) {
        return Challenge::Other;
    }
    match element.name() {
        "challenge" => Challenge::Answer(data()),
        "success" => Challenge::Success(data()),
        "failure" => {
            let named =
                |child: &Element| CONDITIONS.into_iter().find(|known| child.has_ns(ns::SASL) && child.name() == *known);
            Challenge::Failure(element.children().find_map(named).unwrap_or("undefined-condition"))
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
        assert_eq!(read("<success>\n dj1h </success>"), Challenge::Success("dj1h".into()));
        assert_eq!(read("<success>=</success>"), Challenge::Success(String::new()));
        assert_eq!(read("<failure><text>x</text><not-authorized/></failure>"), Challenge::Failure("not-authorized"));
        assert_eq!(read("<surprise></surprise>"), Challenge::Other);
        assert_eq!(challenge(&"<success xmlns='x'/>".parse().unwrap()), Challenge::Other);
    }

    #[test]
    fn c9_a_condition_that_is_none_is_not_repeated() {
        let condition = |name: &str| Element::bare(name.to_owned(), ns::SASL);
        let long = condition(&"x".repeat(250_000));
        let failure = Element::builder("failure", ns::SASL).append(long).build();
        assert_eq!(challenge(&failure), Challenge::Failure("undefined-condition"));
        let (mut failure, named) = (failure, condition("not-authorized"));
        failure.append_child(named);
        assert_eq!(challenge(&failure), Challenge::Failure("not-authorized"));
    }

    #[test]
    fn an_empty_first_response_is_an_equals_sign() {
        assert_eq!(sasl_auth("PLAIN", "").text(), "=");
    }
}
