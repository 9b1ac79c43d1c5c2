//! One section, read: settings by name, after [`check`](super::check) has looked at all of them.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use config::{Map, Value, ValueKind};

use super::problem::{Path, Problems};
use super::{Absent, Environment, Key, Kind, TYPE, Type, bytes, duration, secret};
use crate::domain::secret::Secret;

/// The settings of one table, and the keys it may have.
///
/// A setting that is not as its key wants it reads as absent: `check` has reported it.
#[derive(Clone, Copy)]
pub struct Section<'a> {
    table: Option<&'a Map<String, Value>>,
    keys: &'static [Key],
    typed: Option<&'static Type>,
    environment: &'a Environment,
}

/// One of the tables an operator named.
pub struct Named<'a> {
    /// Its name as written.
    pub name: &'a str,
    /// Its path.
    pub path: Path,
    /// Its settings.
    pub section: Section<'a>,
}

impl<'a> Section<'a> {
    /// The whole configuration.
    pub fn root(keys: &'static [Key], value: &'a Value, environment: &'a Environment) -> Self {
        Self { table: table(value), keys, typed: None, environment }
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        let more = self.typed.map_or(&[][..], |one| one.keys);
        self.keys.iter().chain(more).find(|key| key.name == name)
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.table?.get(name)
    }

    /// The text of a scalar or of its default.
    fn text(&self, name: &str) -> Option<String> {
        match (self.value(name), self.key(name)?.absent) {
            (Some(value), _) => scalar(value),
            (None, Absent::Default(text)) => Some(text.to_owned()),
            (None, Absent::Refused | Absent::Fine) => None,
        }
    }

    /// The value of `type`, in a table that has one.
    pub fn kind(&self) -> Option<&'static str> {
        self.typed.map(|one| one.name)
    }

    /// Whether the key is written.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// A scalar that can be read from its text.
    pub fn get<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// A whole number.
    pub fn whole<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        whole(&self.text(name)?)?.try_into().ok()
    }

    /// A duration.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        duration::parse(&self.text(name)?).ok()
    }

    /// A size in bytes.
    pub fn bytes(&self, name: &str) -> Option<u64> {
        bytes::parse(&self.text(name)?).ok()
    }

    /// A secret, fetched from where it is; a problem at `path` if it is not there.
    pub fn secret(&self, name: &str, path: &Path, problems: &mut Problems) -> Option<Secret> {
        let place = secret::place(self.value(name)?).ok()?;
        self.fetch(place, &path.join(name), problems)
    }

    /// One secret or a list of them, each fetched from where it is; a problem at `path` if one is not there.
    pub fn secrets(&self, name: &str, path: &Path, problems: &mut Problems) -> Option<Vec<Secret>> {
        let places = secret::places(self.value(name)?).ok()?;
        places.into_iter().map(|place| self.fetch(place, &path.join(name), problems)).collect()
    }

    fn fetch(&self, place: secret::Place, path: &Path, problems: &mut Problems) -> Option<Secret> {
        match place.fetch(self.environment) {
            Ok((secret, loose)) => {
                for message in loose {
                        problems.warn(path, message);
                    }
                Some(secret)
            }
            Err(message) => {
                problems.add(path, message);
                None
            }
        }
    }

    /// A list of texts. A single text is a list of one.
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        items(self.value(name)?)
    }

    /// A table of lists. A single text is a list of one.
    pub fn lists(&self, name: &str) -> Option<BTreeMap<String, Vec<String>>> {
        let lists = table(self.value(name)?)?;
        Some(lists.iter().map(|(name, list)| (name.clone(), items(list).unwrap_or_default())).collect())
    }

    /// A section in this one.
    #[must_use]
    pub fn section(&self, name: &str) -> Self {
        let keys = if let Some(Kind::Section(keys)) = self.key(name).map(|key| key.kind) { keys } else { &[] };
        Self { table: self.value(name).and_then(table), keys, typed: None, environment: self.environment }
    }

    /// The tables an operator named, in the order of their names.
    pub fn named(&self, name: &str) -> Vec<Named<'a>> {
        let Some(tables) = self.value(name).and_then(table) else { return Vec::new() };
        let mut named: Vec<_> = tables
            .iter()
            .filter_map(|(own, value)| {
                let table = table(value)?;
                let (keys, typed) = match self.key(name)?.kind {
                    Kind::Named { keys, .. } => (keys, None),
                    Kind::Typed { keys, types, .. } => (keys, Some(type_of(table, types)?)),
                    Kind::Text(_)
                    | Kind::File
                    | Kind::OneOf(_)
                    | Kind::Flag
                    | Kind::Whole { .. }
                    | Kind::Duration { .. }
                    | Kind::Bytes { .. }
                    | Kind::Secret
                    | Kind::Secrets
                    | Kind::List(_)
                    | Kind::Lists { .. }
                    | Kind::Section(_) => return None,
                };
                let section = Self { table: Some(table), keys, typed, environment: self.environment };
                Some(Named { name: own, path: Path::default().join(name).join(own), section })
            })
            .collect();
        named.sort_by_key(|named| named.name);
        named
    }
}

/// Which of the types a table says it is.
pub(super) fn type_of(table: &Map<String, Value>, types: &'static [Type]) -> Option<&'static Type> {
    let name = scalar(table.get(TYPE)?)?;
    types.iter().find(|one| one.name == name)
}

pub(super) fn table(value: &Value) -> Option<&Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// The text of a scalar: from the environment every value comes as text, so text and value must mean the same.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::String(text) => Some(text.clone()),
        ValueKind::I64(number) => Some(number.to_string()),
        ValueKind::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

pub(super) fn whole(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The texts of a list; a single text is a list of one, since the environment knows no lists.
pub(super) fn items(value: &Value) -> Option<Vec<String>> {
    match &value.kind {
        ValueKind::String(text) => Some(vec![text.clone()]),
        ValueKind::Array(items) => items
            .iter()
            .map(|item| match &item.kind {
                ValueKind::String(text) => Some(text.clone()),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}
