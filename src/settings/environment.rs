//! The layer that comes from environment variables: `ONSIP_ROUTER__SECTION__KEY`.

use std::collections::BTreeMap;

use config::{Map, Value};

use super::layer::Layer;
use super::problem::Problems;
use super::{Environment, Key, Kind};

/// What the names of these variables begin with.
pub const PREFIX: &str = "ONSIP_ROUTER__";

/// No key lies deeper; a longer name would only build a deep tree of unknown keys.
const DEEPEST: usize = 8;

/// Reads the variables that begin with [`PREFIX`]. Parts are divided by two underscores and lower-cased. In a name that
/// the operator chose, which has no underscores, one stands for a dash: shells cannot export `FRONT-DESK`.
pub fn layer(keys: &'static [Key], environment: &Environment, problems: &mut Problems) -> Layer {
    let mut settings: BTreeMap<Vec<String>, (&str, &str)> = BTreeMap::new();
    for (variable, value) in environment {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        let mut path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        if path.len() > DEEPEST || path.iter().any(String::is_empty) {
            problems.add(variable, "is no key; parts are divided by two underscores");
            continue;
        }
        dash(keys, &mut path);
        if let Some((earlier, _)) = settings.insert(path, (variable, value)) {
            problems.add(variable, format_args!("sets the same key as {earlier}"));
        }
    }
    let mut root = Map::new();
    for (path, (variable, value)) in &settings {
        // The map is sorted: what a path is part of stands directly before it.
        if (1..path.len()).any(|len| settings.contains_key(&path[..len])) {
            problems.add(variable, "sets a key within one that another variable sets");
            continue;
        }
        insert(&mut root, path, variable, value);
    }
    Layer::of(root)
}

fn dash(keys: &'static [Key], path: &mut [String]) {
    let [first, rest @ ..] = path else { return };
    let Some(key) = keys.iter().find(|key| key.name == first) else { return };
    match (key.kind, rest) {
        (Kind::Section(keys), rest) => dash(keys, rest),
        (Kind::Named { keys, .. } | Kind::Typed { keys, .. }, [name, rest @ ..]) => {
            *name = name.replace('_', "-");
            dash(keys, rest);
        }
        (Kind::Lists { .. }, [name, ..]) => *name = name.replace('_', "-"),
        _ => {}
    }
}

fn insert(table: &mut Map<String, Value>, path: &[String], variable: &str, value: &str) {
    let origin = format!("environment, {variable}");
    match path {
        [] => {}
        [last] => drop(table.insert(last.clone(), Value::new(Some(&origin), value))),
        [first, rest @ ..] => {
            let empty = || Value::new(Some(&origin), Map::<String, Value>::new());
            let below = table.entry(first.clone()).or_insert_with(empty);
            if let config::ValueKind::Table(below) = &mut below.kind {
                insert(below, rest, variable, value);
            }
        }
    }
}
