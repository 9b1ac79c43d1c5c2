//! Which files a configuration was read from, and whether they still hold the same.
//!
//! Must not know how a change is noticed, nor keep what a file holds: only its digest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use config::{Value, ValueKind};
use sha2::{Digest, Sha256};

use super::{files, layer};
use crate::domain::limits::CONFIGURATION_FILE;

/// The files and folders of a configuration, and the files its secrets are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    given: Vec<PathBuf>,
    secrets: BTreeSet<PathBuf>,
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
        Self { given, secrets: BTreeSet::new() }
    }

    /// The given paths and the files that `merged`, a whole configuration, names as places of secrets.
    pub fn of(paths: &[PathBuf], merged: &Value) -> Self {
        let mut sources = Self::given(paths);
        collect_secrets(merged, &mut sources.secrets);
        sources
    }

    /// The files and folders given by the operator.
    pub fn paths(&self) -> &[PathBuf] {
        &self.given
    }

    /// Every file there is now, the given ones also if they are not there.
    pub fn files(&self) -> Vec<PathBuf> {
        let given = self.given.iter().flat_map(|path| files::listed(path).unwrap_or_else(|_| vec![path.clone()]));
        given.chain(self.secrets.iter().cloned()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::layer::{Layer, merge};

    fn sources(paths: &[PathBuf], toml: &str) -> Sources {
        Sources::of(paths, &merge(&vec![Layer::toml(toml).unwrap()]))
    }

    #[test]
    fn the_files_of_secrets_belong_to_it_and_other_paths_do_not() {
        let toml = "[accounts.a]\npassword = { file = 'pw' }\n[sinks.s]\ntype = 'file'\npath = 'x'\n\
                    secret = [{ env = 'E' }, { file = 'new' }]\n[http]\ntoken = { file = 'token' }";
        let files = sources(&["a.toml".into()], toml).files();
        assert_eq!(files, ["a.toml", "new", "pw", "token"].map(PathBuf::from));
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
