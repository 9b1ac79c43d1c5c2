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

/// Says that `name` is unknown, and which known name is nearest to it.
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    // Jaro-Winkler favours a common beginning, which is how people mistype; ties go to the first.
    let nearest = known.map(|known| (strsim::jaro_winkler(&name.to_lowercase(), known), known));
    let nearest = nearest.fold(None, |best: Option<(f64, &str)>, next| match best {
        Some(best) if best.0 >= next.0 => Some(best),
        _ => Some(next),
    });
    match nearest {
        Some((_, nearest)) => format!("unknown {what}; the nearest known one is `{nearest}`"),
        None => format!("unknown {what}; none is known here"),
    }
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
        let Some(items) = items(list) else {
            problems.add(&path, "must be a list of strings");
            continue;
        };
        if items.is_empty() {
            problems.add(&path, "must not be an empty list");
        }
        for (index, text) in items.iter().enumerate() {
            if let Err(message) = (item.check)(text) {
                problems.add(&path, format_args!("entry {}: {message}", index + 1));
            }
            if items.iter().take(index).any(|earlier| earlier == text) {
                problems.add(&path, format_args!("entry {} stands there twice", index + 1));
            }
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
