//! A topic, subject, routing key or name that differs from event to event: text with `{field}`s in it.
//!
//! A field is an attribute of the event (`type`) or a path into its data (`data.account`). Must not know any protocol:
//! the caller says how a value is escaped.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::{Failure, Parcel};
use crate::routing::schema::{EVENT, Kinds};
use crate::settings::Text;
use crate::settings::check::unknown;

/// What stands for a field that is absent, null or empty.
const NONE: &str = "none";
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
            let field = pointer(name).map_err(|fault| {
                let begin = text.len() - rest.len() + literal.len() + 1;
                let column = text.get(..begin).unwrap_or_default().chars().count() + 1;
                format!("line 1, column {column}: {{{name}}}: {fault}")
            });
            pieces.push(Piece::Field(field?));
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

/// The JSON pointer to a field, if an event of some type has it.
fn pointer(name: &str) -> Result<String, String> {
    let (mut of, mut pointer) = (&*EVENT, String::new());
    let mut path = Vec::new();
    for part in name.split('.') {
        let items = of.items.as_deref().filter(|_| part.parse::<u32>().is_ok());
        let others = of.fields.as_ref().and_then(|fields| fields.others.as_ref()).filter(|_| !part.is_empty());
        of = match of.field(part).or(others).or(items) {
            Some(known) => known,
            None if of.kinds.meets(Kinds::MAP) && of.fields.is_some() => {
                return Err(unknown(&format!("field `{part}`"), part, of.names()));
            }
            // What is not known can have any field.
            None if of.kinds == Kinds::ANY && !part.is_empty() => of,
            None => return Err(format!("`{}` is {} and has no field `{part}`", path.join("."), of.kinds)),
        };
        path.push(part);
        pointer = format!("{pointer}/{}", part.replace('~', "~0").replace('/', "~1"));
    }
    if path == ["data"] {
        return Err("is all that is in the event; name one field of it, such as `data.account`".to_owned());
    }
    Ok(pointer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> String {
        let body = r#"{"type":"com.onsip.call.ended","data":{"account":"front desk","answered":true,"purpose":null,"node":""}}"#;
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
        assert_eq!(render("{data.purpose}.{data.sink}.{data.node}.{time}"), "none.none.none.none");
    }

    #[test]
    fn f2_a_field_that_no_event_has_is_refused_with_its_column_and_what_is_meant() {
        for (text, why) in [
            (
                "calls.{data.acount}",
                "line 1, column 8: {data.acount}: unknown field `acount`; the nearest known one is `account`",
            ),
            (
                "é{type}.{data.talk_second}",
                "line 1, column 10: {data.talk_second}: unknown field `talk_second`; the nearest",
            ),
            (
                "{data.account.name}",
                "line 1, column 2: {data.account.name}: `data.account` is a text and has no field `name`",
            ),
            (
                "{data.subids.first}",
                "line 1, column 2: {data.subids.first}: `data.subids` is a list and has no field `first`",
            ),
            ("{type.x}", "line 1, column 2: {type.x}: `type` is a text and has no field `x`"),
            ("{data}", "line 1, column 2: {data}: is all that is in the event; name one field"),
        ] {
            let said = text.parse::<Template>().unwrap_err();
            assert!(said.starts_with(why), "{text}: {said}");
        }
        for text in
            ["{data.payload}", "{data.reason}", "{data.subids.0}", "{data.subids}", "{partitionkey}", "{data.sink}"]
        {
            assert!(text.parse::<Template>().is_ok(), "{text}");
        }
    }

    #[test]
    fn a_template_that_is_none_says_why() {
        for (text, why) in [
            ("", "must not be empty"),
            ("a{b", "has a `{` without its `}`"),
            ("a}b", "has a `}` without its `{`"),
            ("{typ}", "line 1, column 2: {typ}: unknown field `typ`; the nearest known one is `type`"),
            ("{data.}", "line 1, column 2: {data.}: unknown field ``"),
        ] {
            let said = text.parse::<Template>().unwrap_err();
            assert!(said.starts_with(why), "{text}: {said}");
        }
    }
}
