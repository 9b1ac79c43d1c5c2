//! Where each key was written: in which line of which file, or in which environment variable.
//!
//! Must not know what a key is for.

use std::collections::BTreeMap;

use config::Value;

use super::problem::Path;
use super::section::table;

/// Where each key of a configuration was written, by its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<String, String>);

impl Places {
    /// Reads off all layers as one where each of its keys came from.
    pub fn of(merged: &Value) -> Self {
        let mut places = Self::default();
        places.collect(merged, &Path::default());
        places
    }

    fn collect(&mut self, value: &Value, path: &Path) {
        for (key, value) in table(value).into_iter().flatten() {
            let path = path.join(key);
            if let Some(origin) = value.origin() {
                self.0.insert(path.to_string(), origin.to_owned());
            }
            self.collect(value, &path);
        }
    }

    /// Where the key at `path` was written; where it was not, the table it is missing from.
    #[must_use]
    pub fn of_key(&self, path: &str) -> Option<&str> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::layer::{Layer, merge};

    #[test]
    fn f8_a_key_is_where_it_was_written_last_and_a_missing_one_where_its_table_is() {
        let first = "[a.x]\none = 1\ntwo = 2\n[b]\nlist = [\n  'n']\n\"c.d\" = { e = 1 }";
        let layers = [("1.toml", first), ("2.toml", "\n[a.x]\n# a remark\none = 2")];
        let layers = layers.map(|(file, text)| Layer::of_file(text, file).unwrap());
        let places = Places::of(&merge(&layers.into()));
        for (path, place) in [
            ("a.x.one", Some("2.toml, line 4")),
            ("a.x.two", Some("1.toml, line 3")),
            ("a.x.three", Some("2.toml, line 2")),
            ("a.x", Some("2.toml, line 2")),
            ("b.list", Some("1.toml, line 5")),
            ("b.\"c.d\".e", Some("1.toml, line 7")),
            ("b.\"c.d\".f.g", Some("1.toml, line 7")),
            ("c", None),
            ("c.d", None),
        ] {
            assert_eq!(places.of_key(path), place, "{path}");
        }
    }
}
