//! The layer that comes from environment variables: `ONSIP_ROUTER__SECTION__KEY`.

use std::collections::BTreeMap;

use config::{Map, Value};

use super::check::nearest;
use super::layer::Layer;
use super::problem::Problems;
use super::{Environment, Key, Kind, Type};

/// What the names of these variables begin with.
pub const PREFIX: &str = "ONSIP_ROUTER__";

/// The beginning of the names of all variables that may be meant for the program.
const OURS: &str = "ONSIP_ROUTER_";

/// Where commands find the token of a daemon.
pub const TOKEN: &str = "ONSIP_ROUTER_TOKEN";

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

/// Warns of variables that look as if they set something, and do not: one underscore is easily written for two.
pub fn warn_of_others(keys: &'static [Key], environment: &Environment, problems: &mut Problems) {
    for (variable, value) in environment {
        let Some(rest) = variable.strip_prefix(OURS).filter(|rest| !rest.is_empty()) else { continue };
        if variable.starts_with(PREFIX) || variable == TOKEN || is_kubernetes(rest, value) {
            continue;
        }
        match spelt(keys, rest) {
            Some(meant) => problems.warn(variable, format_args!("sets nothing; is {PREFIX}{meant} meant?")),
            None => problems.warn(
                variable,
                format_args!(
                    "sets nothing; variables that set a key begin with {PREFIX} and divide its parts by two underscores"
                ),
            ),
        }
    }
}

/// Whether Kubernetes sets such a variable in each pod beside a service that is called `onsip-router`, or begins so.
fn is_kubernetes(rest: &str, value: &str) -> bool {
    let parts: Vec<_> = rest.split('_').collect();
    let number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let of_port = |parts: &[&str]| match parts {
        ["PORT"] => value.contains("://"),
        ["PORT", port, "TCP" | "UDP" | "SCTP"] | ["PORT", port, "TCP" | "UDP" | "SCTP", "PROTO" | "PORT" | "ADDR"] => {
            number(port)
        }
        _ => false,
    };
    let of_service = |parts: &[&str]| matches!(parts, ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..]);
    (0..parts.len()).any(|from| of_service(&parts[from..]) || of_port(&parts[from..]))
}

/// The rest of the name of the variable that `rest`, whose parts are divided anyhow, stands for, if one is near.
fn spelt(keys: &'static [Key], rest: &str) -> Option<String> {
    let words: Vec<_> = rest.split('_').filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    let path = meant(keys, &words, exact).or_else(|| meant(keys, &words, nearest))?;
    Some(path.join("__").to_uppercase())
}

/// Finds a name among the known ones.
type Find = for<'a> fn(&str, &[&'a str]) -> Option<&'a str>;

fn exact<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known.iter().copied().find(|known| *known == name)
}

/// The path of a key that these words stand for.
fn meant(keys: &'static [Key], words: &[String], find: Find) -> Option<Vec<String>> {
    let names: Vec<_> = keys.iter().map(|key| key.name).collect();
    // As many words as a name has: the longest name goes first, so that `tls_ca` is not `tls`.
    for taken in (1..=words.len()).rev() {
        let (written, rest) = words.split_at(taken);
        let Some(name) = find(&written.join("_"), &names) else { continue };
        let Some(key) = keys.iter().find(|key| key.name == name) else { continue };
        let below = match (key.kind, rest) {
            (Kind::Section(keys), [_, ..]) => meant(keys, rest, find),
            (Kind::Named { keys, .. }, [_, _, ..]) => named(keys, &[], rest, find),
            (Kind::Typed { keys, types, .. }, [_, _, ..]) => named(keys, types, rest, find),
            (Kind::Section(_) | Kind::Named { .. } | Kind::Typed { .. }, _) => None,
            (Kind::Lists { .. }, [_, ..]) => Some(vec![rest.join("_")]),
            (Kind::Secret | Kind::Secrets, [place]) if matches!(place.as_str(), "env" | "file") => Some(rest.to_vec()),
            (_, []) => Some(Vec::new()),
            (_, [_, ..]) => None,
        };
        if let Some(below) = below {
            return Some([vec![name.to_owned()], below].concat());
        }
    }
    None
}

/// The same below a name that the operator chose, which may be several words: as few as leave a key.
fn named(keys: &'static [Key], types: &'static [Type], words: &[String], find: Find) -> Option<Vec<String>> {
    (1..words.len()).find_map(|taken| {
        let (name, rest) = words.split_at(taken);
        let is_type = !types.is_empty() && *rest == ["type"];
        let mut tables = std::iter::once(keys).chain(types.iter().map(|one| one.keys));
        let below = if is_type { Some(rest.to_vec()) } else { tables.find_map(|keys| meant(keys, rest, find)) };
        Some([vec![name.join("_")], below?].concat())
    })
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
