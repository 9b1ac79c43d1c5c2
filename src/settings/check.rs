//! Looks at every setting, one by one: is the key known, is it there, is it what it should be?

use std::time::Duration;

use config::{Map, Value, ValueKind};

use super::problem::{Path, Problems};
use super::section::{items, scalar, table, type_of, whole};
use super::{Absent, Key, Kind, TYPE, Text, Type, bytes, duration, secret};

/// Checks a whole configuration.
pub fn check(keys: &'static [Key], root: &Value, problems: &mut Problems) {
    if let Some(root) = table(root) {
        section(root, &[keys], &Path::default(), problems);
    }
}

fn section(table: &Map<String, Value>, keys: &[&'static [Key]], path: &Path, problems: &mut Problems) {
    for key in keys.iter().copied().flatten() {
        match (table.get(key.name), key.absent) {
            (Some(value), _) => setting(key, value, &path.join(key.name), problems),
            (None, Absent::Refused) => problems.add(path.join(key.name), missing(key)),
            (None, Absent::Default(_) | Absent::Fine) => {}
        }
    }
    let known = || keys.iter().copied().flatten().map(|key| key.name);
    for name in table.keys().filter(|name| known().all(|known| known != name.as_str())) {
        problems.add(path.join(name), unknown("key", name, known()));
    }
}

fn missing(key: &Key) -> String {
    match key.kind {
        Kind::Named { what, .. } | Kind::Typed { what, .. } => format!("no {what} is configured"),
        _ => "is missing".to_owned(),
    }
}

/// How alike two names must be for one to be meant by the other.
const NEAR: f64 = 0.75;

/// Says that `name` is unknown, and which known name is meant, if one is near; else which there are, of many those that
/// are most like it.
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    match nearest(name, &known) {
        Some(nearest) => format!("unknown {what}; the nearest known one is `{nearest}`"),
        None if known.is_empty() => format!("unknown {what}; none is known here"),
        None => {
            let more = known.len().saturating_sub(MOST_NAMED);
            let mut known = known;
            if more > 0 {
                let likeness = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), known);
                known.sort_by(|one, other| likeness(other).total_cmp(&likeness(one)));
            }
            let named: Vec<_> = known.iter().take(MOST_NAMED).map(|name| format!("`{name}`")).collect();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("unknown {what}; known here: {}{more}", named.join(", "))
        }
    }
}

/// How many known names are told.
const MOST_NAMED: usize = 20;

/// The name that is near to `name`, if one is: most of its letters in their order, or its beginning.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for known in known {
        // Jaro-Winkler alone finds likeness where a few letters are the same; a mistyped name is also few changes away.
        let changes = strsim::normalized_damerau_levenshtein(&name, known);
        let likeness = strsim::jaro_winkler(&name, known);
        // Ties go to the first.
        if likeness >= NEAR && changes >= 0.5 && best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, known));
        }
    }
    best.map(|(_, known)| known)
}

fn setting(key: &Key, value: &Value, path: &Path, problems: &mut Problems) {
    let fault = match key.kind {
        Kind::Text(form) => text(value, form),
        Kind::File => text(value, Text::ANY),
        Kind::OneOf(words) => one_of(value, words),
        Kind::Flag => flag(value),
        Kind::Whole { min, max } => number(value, min, max),
        Kind::Duration { min } => span(value, min),
        Kind::Bytes { min } => size(value, min),
        Kind::Secret => secret::place(value).map(drop),
        Kind::Secrets => secret::places(value).map(drop),
        Kind::List(item) => {
            list(value, item, path, problems);
            return;
        }
        Kind::Lists { name, item } => return lists(value, name, item, path, problems),
        Kind::Section(keys) => return sub(value, &[keys], path, problems),
        Kind::Named { what, name, keys } => {
            return named(value, what, name, path, problems, |value, path, problems| {
                sub(value, &[keys], path, problems);
            });
        }
        Kind::Typed { what, name, keys, types } => {
            return named(value, what, name, path, problems, |value, path, problems| {
                typed(value, keys, types, path, problems);
            });
        }
    };
    if let Err(message) = fault {
        problems.add(path, message);
    }
}

fn sub(value: &Value, keys: &[&'static [Key]], path: &Path, problems: &mut Problems) {
    match table(value) {
        Some(table) => section(table, keys, path, problems),
        None => problems.add(path, NO_TABLE),
    }
}

fn named(
    value: &Value,
    what: &str,
    name: Text,
    path: &Path,
    problems: &mut Problems,
    each: impl Fn(&Value, &Path, &mut Problems),
) {
    let Some(tables) = table(value) else { return problems.add(path, NO_TABLE) };
    if tables.is_empty() {
        problems.add(path, format_args!("no {what} is configured"));
    }
    for (own, value) in tables {
        let path = path.join(own);
        if let Err(message) = (name.check)(own) {
            problems.add(&path, message);
        }
        each(value, &path, problems);
    }
}

fn typed(value: &Value, keys: &'static [Key], types: &'static [Type], path: &Path, problems: &mut Problems) {
    let Some(table) = table(value) else { return problems.add(path, NO_TABLE) };
    let own = type_of(table, types);
    match (table.get(TYPE).map(scalar), own) {
        (_, Some(Type { lacks: Some(feature), .. })) => {
            problems.add(
                path.join(TYPE),
                format_args!("this build lacks the feature `{feature}`; build it with `--features {feature}`"),
            );
        }
        (_, Some(own)) => {
            let mut rest = table.clone();
            rest.remove(TYPE);
            section(&rest, &[keys, own.keys], path, problems);
        }
        (None, None) => problems.add(path.join(TYPE), format_args!("is missing; it is {}", words(types))),
        (Some(None), None) => problems.add(path.join(TYPE), NO_TEXT),
        // Which keys there may be is not known then: the rest is not looked at.
        (Some(Some(name)), None) => {
            problems.add(path.join(TYPE), unknown("type", &name, types.iter().map(|one| one.name)));
        }
    }
}

fn words(types: &[Type]) -> String {
    either(&types.iter().map(|one| one.name).collect::<Vec<_>>())
}

/// `"a", "b" or "c"`
fn either(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

const NO_TABLE: &str = "must be a table";
const NO_TEXT: &str = "must be a string";

fn text(value: &Value, form: Text) -> Result<(), String> {
    match &value.kind {
        ValueKind::String(text) => (form.check)(text),
        _ => Err(NO_TEXT.to_owned()),
    }
}

fn one_of(value: &Value, words: &[&str]) -> Result<(), String> {
    match &value.kind {
        ValueKind::String(text) if words.contains(&text.as_str()) => Ok(()),
        _ => Err(format!("must be {}", either(words))),
    }
}

fn flag(value: &Value) -> Result<(), String> {
    match scalar(value).as_deref() {
        Some("true" | "false") => Ok(()),
        _ => Err("must be true or false".to_owned()),
    }
}

fn number(value: &Value, min: u64, max: u64) -> Result<(), String> {
    match scalar(value).and_then(|text| whole(&text)) {
        Some(number) if (min..=max).contains(&number) => Ok(()),
        _ => Err(format!("must be a whole number from {min} to {max}")),
    }
}

fn span(value: &Value, min: Duration) -> Result<(), String> {
    match scalar(value).map(|text| duration::parse(&text)) {
        Some(Ok(span)) if span < min => Err(format!("must be at least {min:?}")),
        Some(outcome) => outcome.map(drop),
        None => duration::parse("").map(drop),
    }
}

fn size(value: &Value, min: u64) -> Result<(), String> {
    match scalar(value).map(|text| bytes::parse(&text)) {
        Some(Ok(size)) if size < min => Err(format!("must be at least {min} bytes")),
        Some(outcome) => outcome.map(drop),
        None => bytes::parse("").map(drop),
    }
}

fn lists(value: &Value, name: Text, item: Text, path: &Path, problems: &mut Problems) {
    let Some(lists) = table(value) else { return problems.add(path, NO_TABLE) };
    for (own, list) in lists {
        let path = path.join(own);
        if let Err(message) = (name.check)(own) {
            problems.add(&path, message);
        }
        self::list(list, item, &path, problems);
    }
}

fn list(value: &Value, item: Text, path: &Path, problems: &mut Problems) {
    let Some(items) = items(value) else { return problems.add(path, "must be a list of strings") };
    if items.is_empty() {
        problems.add(path, "must not be an empty list");
    }
    for (index, text) in items.iter().enumerate() {
        if let Err(message) = (item.check)(text) {
            problems.add(path, format_args!("entry {}: {message}", index + 1));
        }
        if items.iter().take(index).any(|earlier| earlier == text) {
            problems.add(path, format_args!("entry {} stands there twice", index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::layer::{Layer, merge};

    const fn type_of(name: &'static str, lacks: Option<&'static str>) -> Type {
        Type { name, help: "", keys: &[], lacks }
    }

    #[test]
    fn d13_a_name_is_suggested_only_if_it_is_near() {
        let types = ["amqp", "file", "kafka", "mqtt", "nats", "postgres", "redis", "stdout", "webhook"];
        for (written, meant) in [
            ("stdot", "stdout"),
            ("web-hook", "webhook"),
            ("Webhook", "webhook"),
            ("postgresql", "postgres"),
            ("filr", "file"),
        ] {
            assert_eq!(nearest(written, &types), Some(meant), "{written}");
        }
        for strange in ["mysql", "http", "sqlite", "s3", "x", ""] {
            assert_eq!(nearest(strange, &types), None, "{strange}");
        }
        let keys = ["when", "timeout", "max_queue", "max_age", "when_full", "backlog_rate", "canary"];
        assert_eq!(nearest("path", &keys), None);
        assert_eq!(nearest("time_out", &keys), Some("timeout"));
        let message = unknown("type", "mysql", types.into_iter());
        assert!(
            message.starts_with("unknown type; known here: `amqp`, `file`") && message.ends_with("`webhook`"),
            "{message}"
        );
    }

    const TYPES: &[Type] = &[type_of("there", None), type_of("absent", Some("extra"))];
    const THINGS: Kind = Kind::Typed { what: "thing", name: Text::ANY, keys: &[], types: TYPES };
    const KEYS: &[Key] = &[Key { name: "things", kind: THINGS, absent: Absent::Fine, help: "" }];

    #[test]
    fn a_type_that_the_build_lacks_is_told_by_its_feature_and_its_keys_are_not_looked_at() {
        let written = |kind: &str| Layer::toml(&format!("[things.a]\ntype = '{kind}'\nx = 1")).unwrap();
        let problems = |kind: &str| {
            let mut problems = Problems::default();
            check(KEYS, &merge(&vec![written(kind)]), &mut problems);
            problems.to_string()
        };
        let lacks = "things.a.type: this build lacks the feature `extra`; build it with `--features extra`";
        assert_eq!(problems("absent"), lacks);
        assert_eq!(problems("there"), "things.a.x: unknown key; none is known here");
    }
}
