//! The JSON Schema (2020-12) of a table of keys. It describes the whole configuration, after all layers.

use serde_json::{Map, Value, json};

use super::{Absent, Key, Kind, TYPE, Text, Type, bytes, duration};

/// The schema of a configuration with these keys.
pub fn schema(title: &str, keys: &'static [Key]) -> Value {
    let mut root = Map::new();
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!(title));
    root.extend(object(keys));
    root.insert(
        "$defs".to_owned(),
        json!({
            "bytes": {
                "description": "A number with B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as \"64MiB\".",
                "type": "string",
                "pattern": bytes::PATTERN,
            },
            "duration": {
                "description": "A number with ms, s, m, h or d, such as \"20s\".",
                "type": "string",
                "pattern": duration::PATTERN,
            },
            "secret": {
                "description": "The secret itself, the environment variable or the file that holds it. One line break at the end of the file is not part of it.",
                "oneOf": [
                    { "type": ["string", "number", "boolean"], "minLength": 1 },
                    place("env"),
                    place("file"),
                ],
            },
        }),
    );
    Value::Object(root)
}

fn place(key: &str) -> Value {
    json!({
        "type": "object",
        "properties": { key: { "type": "string", "minLength": 1 } },
        "required": [key],
        "additionalProperties": false,
    })
}

fn object(keys: &[Key]) -> Map<String, Value> {
    let properties: Map<_, _> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<_> =
        keys.iter().filter(|key| matches!(key.absent, Absent::Refused)).map(|key| key.name).collect();
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        object.insert("required".to_owned(), json!(required));
    }
    object.insert("additionalProperties".to_owned(), json!(false));
    object
}

fn property(key: &Key) -> Value {
    let mut property = kind(key.kind);
    property.insert("description".to_owned(), json!(key.help));
    if let Absent::Default(text) = key.absent {
        property.insert("default".to_owned(), default(key.kind, text));
    }
    Value::Object(property)
}

/// A default as the file would have it.
fn default(kind: Kind, text: &str) -> Value {
    let plain = matches!(kind, Kind::Flag | Kind::Whole { .. });
    let parsed = if plain { serde_json::from_str(text).ok() } else { None };
    parsed.unwrap_or_else(|| json!(text))
}

fn kind(kind: Kind) -> Map<String, Value> {
    let schema = match kind {
        Kind::Text(form) => text(form),
        Kind::File => text(Text::ANY),
        Kind::OneOf(words) => json!({ "type": "string", "enum": words }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Duration { .. } => json!({ "$ref": "#/$defs/duration" }),
        Kind::Bytes { .. } => json!({ "$ref": "#/$defs/bytes" }),
        Kind::Secret => json!({ "$ref": "#/$defs/secret" }),
        Kind::Secrets => json!({ "anyOf": [
            { "$ref": "#/$defs/secret" },
            { "type": "array", "items": { "$ref": "#/$defs/secret" }, "minItems": 1 },
        ] }),
        Kind::List(item) => json!({ "type": "array", "items": text(item), "minItems": 1, "uniqueItems": true }),
        Kind::Lists { name, item } => json!({
            "type": "object",
            "propertyNames": text(name),
            "additionalProperties": { "type": "array", "items": text(item), "minItems": 1, "uniqueItems": true },
        }),
        Kind::Section(keys) => Value::Object(object(keys)),
        Kind::Named { name, keys, .. } => json!({
            "type": "object",
            "propertyNames": text(name),
            "additionalProperties": object(keys),
            "minProperties": 1,
        }),
        Kind::Typed { name, keys, types, .. } => json!({
            "type": "object",
            "propertyNames": text(name),
            "additionalProperties": { "oneOf": built(types).map(|one| typed(keys, one)).collect::<Vec<_>>() },
            "minProperties": 1,
        }),
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// The types that this build has.
fn built(types: &[Type]) -> impl Iterator<Item = &Type> {
    types.iter().filter(|one| one.lacks.is_none())
}

fn typed(keys: &[Key], one: &Type) -> Value {
    let mut schema = object(&[keys, one.keys].concat());
    let tag = json!({ "const": one.name, "description": one.help });
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert(TYPE.to_owned(), tag);
    }
    match schema.get_mut("required") {
        Some(Value::Array(required)) => required.push(json!(TYPE)),
        _ => drop(schema.insert("required".to_owned(), json!([TYPE]))),
    }
    Value::Object(schema)
}

fn text(form: Text) -> Value {
    match form.pattern {
        Some(pattern) => json!({ "type": "string", "pattern": pattern }),
        None => json!({ "type": "string" }),
    }
}
