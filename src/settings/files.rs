//! Which files are read, in which order.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::layer::Layer;
use super::problem::Problems;

/// Read where no path is given, if it is there.
pub const LOCAL: &str = "config/local.toml";

/// The layers of the given files and folders, in order; of `./config/local.toml`, if there are none.
pub fn layers(paths: &[PathBuf], problems: &mut Problems) -> Vec<Layer> {
    let local = [PathBuf::from(LOCAL)];
    let paths = match paths {
        [] if local[0].exists() => &local,
        paths => paths,
    };
    paths
        .iter()
        .flat_map(|path| files(path, problems))
        .collect::<Vec<_>>()
        .iter()
        .filter_map(|path| read(path, problems))
        .collect()
}

/// The file itself, or every `*.toml` of a folder by name, without hidden ones.
fn files(path: &Path, problems: &mut Problems) -> Vec<PathBuf> {
    match listed(path) {
        Ok(files) => {
            if files.is_empty() {
                problems.add(path.display(), "holds no *.toml file");
            }
            files
        }
        Err(fault) => {
            problems.add(path.display(), format_args!("cannot be read: {}", fault.kind()));
            Vec::new()
        }
    }
}

/// As [`files`], without a judgement.
pub(super) fn listed(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let listed = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    let wanted = |path: &PathBuf| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        path.extension().is_some_and(|extension| extension == "toml") && !hidden && !path.is_dir()
    };
    let mut files: Vec<_> = listed.into_iter().filter(wanted).collect();
    files.sort();
    Ok(files)
}

fn read(path: &Path, problems: &mut Problems) -> Option<Layer> {
    let text = fs::read_to_string(path).map_err(|fault| match fault.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
        kind => format!("cannot be read: {kind}"),
    });
    text.and_then(|text| Layer::toml(&text)).map_err(|message| problems.add(path.display(), message)).ok()
}
