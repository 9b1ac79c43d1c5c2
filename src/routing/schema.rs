//! The schema of events for rules and templates: the names and types of their attributes and of the keys of `data`.
//!
//! All of it is read off the JSON Schema of [`Event`], so that a rule and a template know every key and every constant
//! as soon as the event has it. `data` differs by type of event: here it has the keys of all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::BitOr;
use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::domain::event::Event;

/// The type of an event as a whole: its attributes, and `data`.
pub static EVENT: LazyLock<Type> =
    LazyLock::new(|| Type::of_schema(&serde_json::to_value(schemars::schema_for!(Event)).unwrap_or_default()));

/// How many `$ref`s are followed within one another: a schema that refers to itself is not read for ever.
const DEEPEST: usize = 32;

/// A set of the kinds of value there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// Nothing at all: what an empty list holds.
    pub const NONE: Self = Self(0);
    /// `null`.
    pub const NULL: Self = Self(1);
    /// True or false.
    pub const BOOL: Self = Self(1 << 1);
    /// A whole number.
    pub const INT: Self = Self(1 << 2);
    /// A whole number that is written with a `u`.
    pub const UINT: Self = Self(1 << 3);
    /// A number with a fraction.
    pub const FLOAT: Self = Self(1 << 4);
    /// A text.
    pub const TEXT: Self = Self(1 << 5);
    /// Bytes.
    pub const BYTES: Self = Self(1 << 6);
    /// A list.
    pub const LIST: Self = Self(1 << 7);
    /// A map.
    pub const MAP: Self = Self(1 << 8);
    /// The type of a value, or an optional value.
    pub const OTHER: Self = Self(1 << 9);
    /// Any number.
    pub const NUMBER: Self = Self(Self::INT.0 | Self::UINT.0 | Self::FLOAT.0);
    /// Anything.
    pub const ANY: Self = Self((1 << 10) - 1);

    /// Keeps what is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Keeps what is in this one alone.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether something is in both.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The set, with every kind of number if it has one: numbers of all kinds are compared with each other.
    #[must_use]
    pub const fn with_all_numbers(self) -> Self {
        if self.meets(Self::NUMBER) { Self(self.0 | Self::NUMBER.0) } else { self }
    }
}

impl BitOr for Kinds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Names these types in an error: `a text or null`.
impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.meets(Self::FLOAT) { "a number" } else { "a whole number" };
        let names = [
            (Self::BOOL, "true or false"),
            (Self::NUMBER, whole),
            (Self::TEXT, "a text"),
            (Self::BYTES, "bytes"),
            (Self::LIST, "a list"),
            (Self::MAP, "a map"),
            (Self::OTHER, "a type or an optional value"),
            (Self::NULL, "null"),
        ];
        let own: Vec<_> = names.iter().filter(|(kind, _)| self.meets(*kind)).map(|(_, name)| *name).collect();
        match &own[..] {
            [] => f.write_str("nothing"),
            all if all.len() == names.len() => f.write_str("anything"),
            [one] => f.write_str(one),
            [first @ .., last] => write!(f, "{} or {last}", first.join(", ")),
        }
    }
}

/// Describes the types a value can have, as far as they are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// Of which kinds.
    pub kinds: Kinds,
    /// If a text, the only ones it can be.
    pub words: Option<Words>,
    /// If a list, what is in it.
    pub items: Option<Box<Self>>,
    /// If a map, what is in it.
    pub fields: Option<Box<Fields>>,
}

/// Texts, each with the expression of a rule that writes it; without one it is a constant of the schema.
pub type Words = BTreeMap<String, Option<u64>>;

/// Describes the fields of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    /// What its keys can be.
    pub keys: Type,
    /// The fields that are known by name.
    pub named: BTreeMap<String, Type>,
    /// What any other field is; absent where there is no other.
    pub others: Option<Type>,
}

impl Type {
    /// It can be anything.
    pub const ANY: Self = Self::of(Kinds::ANY);

    /// Any value of these kinds.
    #[must_use]
    pub const fn of(kinds: Kinds) -> Self {
        Self { kinds, words: None, items: None, fields: None }
    }

    /// One text.
    #[must_use]
    pub fn word(text: &str, place: Option<u64>) -> Self {
        Self { words: Some([(text.to_owned(), place)].into()), ..Self::of(Kinds::TEXT) }
    }

    /// A list of these.
    #[must_use]
    pub fn list(items: Self) -> Self {
        Self { items: Some(Box::new(items)), ..Self::of(Kinds::LIST) }
    }

    /// A map with these fields.
    #[must_use]
    pub fn map(fields: Fields) -> Self {
        Self { fields: Some(Box::new(fields)), ..Self::of(Kinds::MAP) }
    }

    /// The field of this name, if it is one of those known by name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.fields.as_ref()?.named.get(name)
    }

    /// The names of the fields that are known by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().flat_map(|fields| fields.named.keys().map(String::as_str))
    }

    /// Joins two: a value of the result is one or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let both = |kind| (self.kinds.meets(kind), other.kinds.meets(kind));
        let words = either(both(Kinds::TEXT), self.words, other.words, |mut one, other| {
            for (word, place) in other {
                one.entry(word).and_modify(|known| *known = known.and(place)).or_insert(place);
            }
            one
        });
        let items = either(both(Kinds::LIST), self.items, other.items, |one, other| Box::new(one.or(*other)));
        let fields = either(both(Kinds::MAP), self.fields, other.fields, |one, other| Box::new(one.or(*other)));
        Self { kinds: self.kinds | other.kinds, words, items, fields }
    }

    /// The type that a JSON Schema describes.
    fn of_schema(schema: &Json) -> Self {
        read(schema, &schema["$defs"], 0)
    }
}

impl Fields {
    fn or(mut self, other: Self) -> Self {
        for (name, field) in other.named {
            let field = match self.named.remove(&name) {
                Some(known) => known.or(field),
                None => field,
            };
            self.named.insert(name, field);
        }
        let others = match (self.others, other.others) {
            (Some(one), Some(other)) => Some(one.or(other)),
            (one, other) => one.or(other),
        };
        Self { keys: self.keys.or(other.keys), named: self.named, others }
    }

    /// Returns the type of a field whose name is not known.
    #[must_use]
    pub fn any(&self) -> Type {
        self.named.values().chain(&self.others).cloned().reduce(Type::or).unwrap_or(Type::ANY)
    }
}

/// Joins what is known of one kind of value, which may be among those of one or of both types.
fn either<T>(has: (bool, bool), one: Option<T>, other: Option<T>, both: impl Fn(T, T) -> T) -> Option<T> {
    match has {
        (true, true) => Some(both(one?, other?)),
        (true, false) => one,
        (false, _) => other,
    }
}

fn read(schema: &Json, definitions: &Json, depth: usize) -> Type {
    if depth > DEEPEST {
        return Type::ANY;
    }
    let read = |schema: &Json| read(schema, definitions, depth + 1);
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return read(&definitions[name]);
    }
    if let Some(constant) = schema.get("const") {
        return constant_of(constant);
    }
    if let Some(constants) = schema["enum"].as_array() {
        return any_of(constants.iter().map(constant_of));
    }
    if let Some(choices) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        return any_of(choices.iter().map(read));
    }
    let of_kind = |kind: &Json| match kind.as_str() {
        Some("null") => Type::of(Kinds::NULL),
        Some("boolean") => Type::of(Kinds::BOOL),
        Some("integer") => Type::of(Kinds::INT),
        // An event has 5.0 there, not 5.
        Some("number") => Type::of(Kinds::FLOAT),
        Some("string") => Type::of(Kinds::TEXT),
        Some("array") => Type::list(schema.get("items").map_or(Type::ANY, read)),
        Some("object") => object(schema, read),
        Some(_) | None => Type::ANY,
    };
    match &schema["type"] {
        Json::Array(kinds) => any_of(kinds.iter().map(of_kind)),
        kind => of_kind(kind),
    }
}

fn any_of(types: impl Iterator<Item = Type>) -> Type {
    types.reduce(Type::or).unwrap_or(Type::ANY)
}

fn constant_of(constant: &Json) -> Type {
    match constant {
        Json::String(text) => Type::word(text, None),
        Json::Null => Type::of(Kinds::NULL),
        Json::Bool(_) => Type::of(Kinds::BOOL),
        Json::Number(_) => Type::of(Kinds::NUMBER),
        Json::Array(_) | Json::Object(_) => Type::ANY,
    }
}

fn object(schema: &Json, read: impl Fn(&Json) -> Type) -> Type {
    let properties = schema["properties"].as_object();
    let named = properties.into_iter().flatten().map(|(name, one)| (name.clone(), read(one)));
    let named: BTreeMap<_, _> = named.collect();
    // A struct lists all of its keys; a map of names that operators choose has none of its own.
    let others = match schema.get("additionalProperties") {
        Some(Json::Bool(false)) => None,
        Some(others) => Some(read(others)),
        None => named.is_empty().then_some(Type::ANY),
    };
    let words = others.is_none().then(|| named.keys().map(|name| (name.clone(), None)).collect());
    Type::map(Fields { keys: Type { words, ..Type::of(Kinds::TEXT) }, named, others })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::event::{EndReason, EventType, Purpose};
    use crate::domain::status::GapReason;

    fn data(name: &str) -> &'static Type {
        EVENT.field("data").unwrap().field(name).unwrap_or_else(|| unreachable!("{name}"))
    }

    fn words(of: &Type) -> Vec<&str> {
        of.words.iter().flat_map(|words| words.keys().map(String::as_str)).collect()
    }

    #[test]
    fn f2_names_types_and_constants_are_those_of_the_event() {
        let mut types: Vec<_> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
        types.sort_unstable();
        assert_eq!(words(EVENT.field("type").unwrap()), types);
        for reason in GapReason::ALL {
            assert!(words(data("reason")).contains(&reason.as_str()), "{reason}");
        }
        for reason in EndReason::ALL {
            assert!(words(data("end_reason")).contains(&reason.as_str()));
        }
        let purpose = serde_json::to_value(Purpose::Hold).unwrap();
        assert!(words(data("purpose")).contains(&purpose.as_str().unwrap()));
        assert_eq!(data("talk_seconds"), &Type::of(Kinds::FLOAT | Kinds::NULL));
        assert_eq!(data("account"), &Type::of(Kinds::TEXT));
        assert_eq!(data("payload"), &Type::of(Kinds::TEXT | Kinds::NULL));
        assert_eq!(data("subids"), &Type::list(Type::of(Kinds::TEXT)));
        assert_eq!(data("replayed"), &Type::of(Kinds::BOOL));
        assert_eq!(data("answered").kinds.to_string(), "true or false or null");
        assert_eq!(EVENT.field("time"), Some(&Type::of(Kinds::TEXT)));
        assert!(EVENT.field("data").unwrap().field("acount").is_none());
    }

    #[test]
    fn f2_every_form_of_schema_is_read_and_what_is_not_understood_can_be_anything() {
        let schema = json!({
            "type": "object",
            "properties": {
                "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                "free": { "type": "object" },
                "legs": { "type": "array", "items": { "$ref": "#/$defs/Leg" } },
                "level": { "enum": ["low", "high", null] },
                "strange": { "not": {} },
                "own": { "$ref": "#/$defs/Own" },
            },
            "$defs": {
                "Leg": { "type": "object", "properties": { "n": { "type": "integer" } } },
                "Own": { "$ref": "#/$defs/Own" },
            },
        });
        let read = Type::of_schema(&schema);
        let labels = read.field("labels").unwrap().fields.as_ref().unwrap();
        assert_eq!((labels.others.as_ref(), labels.keys.words.as_ref()), (Some(&Type::of(Kinds::TEXT)), None));
        assert_eq!(read.field("free").unwrap().fields.as_ref().unwrap().others, Some(Type::ANY));
        let leg = read.field("legs").unwrap().items.as_ref().unwrap();
        assert_eq!(leg.field("n"), Some(&Type::of(Kinds::INT)));
        assert_eq!(words(read.field("level").unwrap()), ["high", "low"]);
        assert_eq!(read.field("level").unwrap().kinds, Kinds::TEXT | Kinds::NULL);
        assert_eq!((read.field("strange"), read.field("own")), (Some(&Type::ANY), Some(&Type::ANY)));
    }
}
