//! Which files a configuration was read from, and whether they still hold the same.
//!
//! Must not know how a change is noticed, nor keep what a file holds: only its digest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use config::{Value, ValueKind};
use sha2::{Digest, Sha256};

use super::places::Places;
use super::section::{scalar, table, type_of};
use super::{Key, Kind, files, layer};
use crate::domain::limits::CONFIGURATION_FILE;

/// The files and folders of a configuration, and the files it names: those its secrets are in, and those that connections are
/// made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    given: Vec<PathBuf>,
    named: BTreeSet<PathBuf>,
    places: Places,
}

/// What all files of some [`Sources`] held at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<(PathBuf, Result<[u8; 32], io::ErrorKind>)>);

impl Fingerprint {
    /// Whether this is `other`, perhaps with further files behind it.
    #[must_use]
    pub fn continues(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl Sources {
    /// The given paths, or the local file where there are none.
    pub fn given(paths: &[PathBuf]) -> Self {
        let given = if paths.is_empty() { vec![PathBuf::from(files::LOCAL)] } else { paths.to_vec() };
        Self { given, ..Self::default() }
    }

    /// The given paths and the files that `merged`, a whole configuration with these keys, names.
    pub fn of(paths: &[PathBuf], keys: &'static [Key], merged: &Value) -> Self {
        let mut sources = Self { places: Places::of(merged), ..Self::given(paths) };
        collect_secrets(merged, &mut sources.named);
        collect_files(merged, keys, &mut sources.named);
        sources
    }

    /// The files and folders given by the operator.
    pub fn paths(&self) -> &[PathBuf] {
        &self.given
    }

    /// Where each key was written.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Every file there is now, the given ones also if they are not there.
    pub fn files(&self) -> Vec<PathBuf> {
        let given = self.given.iter().flat_map(|path| files::listed(path).unwrap_or_else(|_| vec![path.clone()]));
        given.chain(self.named.iter().cloned()).collect()
    }

    /// What they hold now.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.files().into_iter().map(|file| (file.clone(), digest(&file))).collect())
    }
}

/// A pipe is not read: what it says can be heard only once, and the configuration wants to hear it.
fn digest(file: &Path) -> Result<[u8; 32], io::ErrorKind> {
    if !fs::metadata(file).map_err(|fault| fault.kind())?.is_file() {
        return Err(io::ErrorKind::Unsupported);
    }
    let bytes = files::read_bytes(file, CONFIGURATION_FILE).map_err(|fault| io::Error::from(fault).kind())?;
    Ok(Sha256::digest(bytes).into())
}

fn collect_secrets(value: &Value, found: &mut BTreeSet<PathBuf>) {
    if let ValueKind::Array(items) = &value.kind {
        return items.iter().for_each(|item| collect_secrets(item, found));
    }
    let ValueKind::Table(table) = &value.kind else { return };
    if layer::is_place(table) {
        let file = table.get("file").map(|value| &value.kind);
        found.extend(file.and_then(|kind| if let ValueKind::String(path) = kind { Some(path.into()) } else { None }));
        return;
    }
    for value in table.values() {
        collect_secrets(value, found);
    }
}

/// Adds what is written under keys of the kind [`Kind::File`].
fn collect_files(value: &Value, keys: &'static [Key], found: &mut BTreeSet<PathBuf>) {
    let Some(written) = table(value) else { return };
    for (key, value) in keys.iter().filter_map(|key| Some((key, written.get(key.name)?))) {
        let tables = || table(value).into_iter().flat_map(|tables| tables.values());
        match key.kind {
            Kind::File => found.extend(scalar(value).filter(|path| !path.is_empty()).map(PathBuf::from)),
            Kind::Section(keys) => collect_files(value, keys, found),
            Kind::Named { keys, .. } => tables().for_each(|value| collect_files(value, keys, found)),
            Kind::Typed { keys, types, .. } => tables().for_each(|value| {
                let own = table(value).and_then(|table| type_of(table, types));
                collect_files(value, keys, found);
                collect_files(value, own.map_or(&[], |own| own.keys), found);
            }),
            Kind::Text(_)
            | Kind::OneOf(_)
            | Kind::Flag
            | Kind::Whole { .. }
            | Kind::Duration { .. }
            | Kind::Bytes { .. }
            | Kind::Secret
            | Kind::Secrets
            | Kind::List(_)
            | Kind::Lists { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::layer::{Layer, merge};
    use crate::settings::{Absent, Text, Type};

    const fn file(name: &'static str) -> Key {
        Key { name, kind: Kind::File, absent: Absent::Fine, help: "" }
    }

    const SINK: Type = Type { name: "file", help: "", keys: &[file("ca_file")], lacks: None };
    const KEYS: &[Key] = &[
        Key { kind: Kind::Section(&[file("ca_file")]), ..file("xmpp") },
        Key {
            kind: Kind::Typed { what: "sink", name: Text::ANY, keys: &[file("key")], types: &[SINK] },
            ..file("sinks")
        },
    ];

    fn sources(paths: &[PathBuf], toml: &str) -> Sources {
        Sources::of(paths, KEYS, &merge(&vec![Layer::toml(toml).unwrap()]))
    }

    #[test]
    fn the_files_of_secrets_belong_to_it_and_other_paths_do_not() {
        let toml = "[accounts.a]\npassword = { file = 'pw' }\n[sinks.s]\ntype = 'file'\npath = 'x'\n\
                    secret = [{ env = 'E' }, { file = 'new' }]\n[http]\ntoken = { file = 'token' }";
        let files = sources(&["a.toml".into()], toml).files();
        assert_eq!(files, ["a.toml", "new", "pw", "token"].map(PathBuf::from));
    }

    #[test]
    fn b4_the_files_that_connections_are_made_from_belong_to_it() {
        let toml = "[xmpp]\nca_file = 'ca'\n[sinks.a]\ntype = 'file'\nca_file = 'own'\nkey = 'key'\nx = 'no'\n\
                    [sinks.b]\ntype = 'other'\nca_file = 'no'";
        let files = sources(&["a.toml".into()], toml).files();
        assert_eq!(files, ["a.toml", "ca", "key", "own"].map(PathBuf::from));
    }

    #[test]
    fn a_file_added_changed_or_removed_changes_the_fingerprint_and_rewriting_the_same_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("a.toml"), "x = 1").unwrap();
        let sources = sources(&[folder.path().to_owned()], "");
        let mut seen = vec![sources.fingerprint()];
        fs::write(file("a.toml"), "x = 1").unwrap();
        fs::write(file("unrelated"), "x").unwrap();
        assert_eq!(seen[0], sources.fingerprint());
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(file("b.toml"), "y = 1").unwrap(),
            &|| fs::write(file("b.toml"), "y = 2").unwrap(),
            &|| fs::remove_file(file("b.toml")).unwrap(),
            &|| fs::remove_dir_all(folder.path()).unwrap(),
        ];
        for change in changes {
            change();
            let now = sources.fingerprint();
            assert_ne!(seen.last(), Some(&now));
            seen.push(now);
        }
        assert_eq!(seen[0], seen[3]);
        assert!(!format!("{seen:?}").contains("x = 1"));
    }

    #[test]
    fn a_pipe_keeps_what_it_has_to_say_for_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let sources = Sources::given(&[pipe]);
        assert_eq!(sources.fingerprint(), sources.fingerprint(), "and nobody waits for a writer");
    }
}
