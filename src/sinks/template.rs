//! A topic, subject, routing key or name that differs from event to event: text with `{field}`s in it.
//!
//! A field is an attribute of the event (`type`) or a path into its data (`data.account`). Must not know any protocol:
//! the caller says how a value is escaped.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::{Failure, Parcel};
use crate::settings::Text;
use crate::settings::check::unknown;

/// What stands for a field that is absent, null or empty.
const NONE: &str = "none";
/// The attributes a field may name.
const ATTRIBUTES: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "datacontenttype",
    "dataschema",
    "sequence",
    "partitionkey",
];
/// What a field into the data begins with.
const DATA: &str = "data.";

/// A template as a setting.
pub(super) const TEMPLATE: Text = Text { check, pattern: Some("^.") };

/// A text with fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// As a JSON pointer.
    Field(String),
}

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            pieces.push(Piece::Literal(unopened(literal)?));
            let (name, after) = after.split_once('}').ok_or("has a `{` without its `}`")?;
            pieces.push(Piece::Field(pointer(name)?));
            rest = after;
        }
        pieces.push(Piece::Literal(unopened(rest)?));
        pieces.retain(|piece| *piece != Piece::Literal(String::new()));
        Ok(Self { text: text.to_owned(), pieces })
    }
}

impl Template {
    /// The text for `parcel`. Values go through `escape`, so that none can change the shape of the whole.
    pub(super) fn render(&self, parcel: &Parcel, escape: impl Fn(&str) -> Cow<'_, str>) -> Result<String, Failure> {
        if let [Piece::Literal(text)] = &self.pieces[..] {
            return Ok(text.clone());
        }
        let event: Value = serde_json::from_str(&parcel.body)
            .map_err(|fault| Failure::Reject { reason: format!("the queue holds no event: {fault}") })?;
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Field(pointer) => {
                    let value = match event.pointer(pointer) {
                        None | Some(Value::Null) => Cow::Borrowed(NONE),
                        Some(Value::String(value)) if value.is_empty() => Cow::Borrowed(NONE),
                        Some(Value::String(value)) => escape(value),
                        Some(other) => Cow::Owned(escape(&other.to_string()).into_owned()),
                    };
                    text.push_str(&value);
                }
            }
        }
        Ok(text)
    }

    /// The text with `stand_in` for every field.
    pub(super) fn shape(&self, stand_in: &str) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Literal(literal) => literal.clone(),
            Piece::Field(_) => stand_in.to_owned(),
        };
        self.pieces.iter().map(text).collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Every character that has a meaning in subjects, topics or routing keys, and every blank, as `_`.
pub(super) fn word(value: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '@' | ':' | '~');
    if value.chars().all(plain) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.chars().map(|c| if plain(c) { c } else { '_' }).collect())
}

fn check(text: &str) -> Result<(), String> {
    text.parse::<Template>().map(drop)
}

fn unopened(literal: &str) -> Result<String, String> {
    if literal.contains('}') { Err("has a `}` without its `{`".to_owned()) } else { Ok(literal.to_owned()) }
}

fn pointer(name: &str) -> Result<String, String> {
    match name.strip_prefix(DATA) {
        Some(path) if path.split('.').all(|part| !part.is_empty()) => Ok(format!("/data/{}", path.replace('.', "/"))),
        None if ATTRIBUTES.contains(&name) => Ok(format!("/{name}")),
        Some(_) | None => {
            Err(format!("{{{name}}}: {}", unknown("field", name, ATTRIBUTES.into_iter().chain(["data.account"]))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> String {
        let body = r#"{"type":"com.onsip.call.ended","data":{"account":"front desk","answered":true,"n":null,"e":""}}"#;
        let parcel = Parcel { id: "1".into(), partition: "p".into(), body: body.into() };
        template.parse::<Template>().unwrap().render(&parcel, word).unwrap()
    }

    #[test]
    fn fields_are_filled_in_and_cannot_change_the_shape() {
        assert_eq!(render("calls"), "calls");
        assert_eq!(render("calls.{data.account}.{type}"), "calls.front_desk.com_onsip_call_ended");
        assert_eq!(render("{data.answered}/x"), "true/x");
        assert_eq!("a.{type}.{id}-b".parse::<Template>().unwrap().shape("*"), "a.*.*-b");
    }

    #[test]
    fn what_an_event_does_not_have_is_none() {
        assert_eq!(render("{data.n}.{data.absent}.{data.e}.{time}"), "none.none.none.none");
    }

    #[test]
    fn a_template_that_is_none_says_why() {
        for (text, why) in [
            ("", "must not be empty"),
            ("a{b", "has a `{` without its `}`"),
            ("a}b", "has a `}` without its `{`"),
            ("{typ}", "{typ}: unknown field; the nearest known one is `type`"),
            ("{data.}", "{data.}: unknown field"),
        ] {
            let said = text.parse::<Template>().unwrap_err();
            assert!(said.starts_with(why), "{text}: {said}");
        }
    }
}
