//! Whether what the router is to write can be where the configuration says, and destroys nothing that the router itself needs.
//!
//! This is about the machine and not about the text, so that a configuration can be read where it does not run.

use std::path::Path;

use super::Config;
use crate::settings::problem::{self, Problems};
use crate::settings::sources::Sources;
use crate::settings::target::{self, Target};
use crate::sinks;

impl Config {
    /// Returns what would be destroyed, or cannot be written, of what came from `sources`.
    #[must_use]
    pub fn destinations(&self, sources: &Sources) -> Problems {
        let mut problems = Problems::default();
        let mut taken: Vec<(Target, String)> = Vec::new();
        let read = sources.files().into_iter();
        taken.extend(read.filter_map(|file| {
            let what = format!("{}, which the configuration is read from", file.display());
            Some((Target::of(&file)?, what))
        }));
        let at = problem::Path::default();
        if let Some(database) = self.store.path() {
            look(database, at.join("store").join("url"), &taken, &mut problems);
            let shown = database.display();
            if database.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
                problems.add(at.join("store").join("url"), format_args!("{shown} is no regular file"));
            }
            if !target::has_folder(database) {
                let folder = target::folder_of(database).display();
                problems.add(at.join("store").join("url"), format_args!("the folder {folder} does not exist"));
            }
            let files = self.store.files().into_iter();
            taken.extend(
                files.filter_map(|file| Some((Target::of(&file)?, format!("the database {shown} (store.url)")))),
            );
        }
        for (name, sink) in &self.sinks {
            if let sinks::Options::File(options) = &sink.options {
                look(&options.path, at.join("sinks").join(name.as_str()).join("path"), &taken, &mut problems);
            }
        }
        problems.located(sources.places()).sorted()
    }
}

/// Whether `path`, the value of `key`, can be written, and is none of what is `taken`.
fn look(path: &Path, key: problem::Path, taken: &[(Target, String)], problems: &mut Problems) {
    let shown = path.display();
    if let Some(why) = target::unfit(path) {
        return problems.add(key, format_args!("{shown} {why}"));
    }
    let Some(target) = Target::of(path) else { return };
    if let Some((_, what)) = taken.iter().find(|(other, _)| *other == target) {
        problems.add(key, format_args!("{shown} is the same file as {what}; name another"));
    }
}
