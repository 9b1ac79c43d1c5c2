//! Notices that a configuration may have changed: files written, replaced by a rename, or reached by another link.
//!
//! Folders are watched, not files: a file that is replaced is another file, and a Kubernetes volume changes by one link
//! (`..data`) beside the files. Must not know what a file means; whether anything changed is for its reader to say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};

use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::sources::Sources;

/// Changes that follow each other this closely are one.
const SETTLED: Duration = Duration::from_millis(300);
/// Where they never end, they are looked at this often.
const LONGEST: Duration = Duration::from_secs(5);
/// Links on the way to one file; more are a circle.
const MOST_LINKS: usize = 40;

/// A watch over the files of a configuration.
pub struct Watch {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    places: Arc<Mutex<Places>>,
    stirred: mpsc::Receiver<()>,
}

/// Why files are not watched; says what an operator can do about it.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system has no watch to give.
    #[error("the limit of file watches is reached; raise {limit} (sysctl)")]
    Limit {
        /// The kernel's name of the limit.
        limit: &'static str,
    },
    /// Anything else.
    #[error("{path}: {fault}")]
    Other {
        /// What was to be watched.
        path: String,
        /// What the system said.
        fault: String,
    },
}

impl Watch {
    /// A watch over nothing yet; [`Self::renew`] says what.
    ///
    /// # Errors
    /// If the system has none to give.
    pub fn new() -> Result<Self, WatchError> {
        // One signal that waits is as good as many.
        let (stir, stirred) = mpsc::channel(1);
        let places = Arc::new(Mutex::new(Places::default()));
        let known = Arc::clone(&places);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| known.lock().unwrap_or_else(PoisonError::into_inner).concern(&event)) {
                let _ = stir.try_send(());
            }
        });
        let watcher = watcher.map_err(|fault| refused(&fault, Path::new("."), "fs.inotify.max_user_instances"))?;
        Ok(Self { watcher, folders: BTreeSet::new(), places, stirred })
    }

    /// Watches the files where they are now. To be called before they are read after a change, so that no later
    /// change goes unseen.
    ///
    /// # Errors
    /// If a folder cannot be watched; the others are.
    pub fn renew(&mut self, sources: &Sources) -> Result<(), WatchError> {
        let places = Places::of(sources);
        let folders = places.folders.clone();
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = places;
        // All anew: a folder that was removed and made again has the old name and no watch.
        for folder in std::mem::take(&mut self.folders) {
            let _ = self.watcher.unwatch(&folder);
        }
        let mut outcome = Ok(());
        for folder in folders {
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.folders.insert(folder)),
                Err(fault) => outcome = Err(refused(&fault, &folder, "fs.inotify.max_user_watches")),
            }
        }
        outcome
    }

    /// Returns once something happened to the files and nothing more does for a moment.
    pub async fn stirred(&mut self) {
        if self.stirred.recv().await.is_none() {
            return std::future::pending().await; // the watcher lives as long as we do
        }
        let begun = Instant::now();
        while begun.elapsed() < LONGEST && timeout(SETTLED, self.stirred.recv()).await.is_ok() {}
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("folders", &self.folders).finish_non_exhaustive()
    }
}

/// Says which limit was hit, if one was.
fn refused(fault: &notify::Error, path: &Path, limit: &'static str) -> WatchError {
    let reached = match &fault.kind {
        ErrorKind::MaxFilesWatch => true,
        // What inotify says where there are no more instances, or no more watches.
        ErrorKind::Io(fault) => matches!(fault.raw_os_error(), Some(24 | 28)),
        ErrorKind::Generic(_) | ErrorKind::PathNotFound | ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_) => {
            false
        }
    };
    if reached {
        return WatchError::Limit { limit };
    }
    WatchError::Other { path: path.display().to_string(), fault: fault.to_string() }
}

/// The folders to watch, and the names in them that matter.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    folders: BTreeSet<PathBuf>,
    names: BTreeSet<PathBuf>,
    /// Folders of which every `*.toml` matters.
    whole: BTreeSet<PathBuf>,
}

impl Places {
    fn of(sources: &Sources) -> Self {
        let mut places = Self::default();
        for path in sources.paths() {
            if path.is_dir() {
                let path = absolute(path);
                places.folders.insert(path.clone());
                places.whole.insert(path);
            }
            places.lead_to(path);
        }
        sources.files().iter().for_each(|file| places.lead_to(file));
        places
    }

    /// Adds every name on the way to `path`, links and their targets included.
    fn lead_to(&mut self, path: &Path) {
        let mut open = vec![absolute(path)];
        let mut links = 0;
        while let Some(path) = open.pop() {
            self.names.insert(path.clone());
            self.add_folder_of(&path);
            for name in path.ancestors() {
                let (Ok(target), Some(folder)) = (fs::read_link(name), name.parent()) else { continue };
                links += 1;
                if links > MOST_LINKS {
                    return;
                }
                self.names.insert(name.to_owned());
                self.add_folder_of(name);
                let rest = path.strip_prefix(name).unwrap_or(Path::new(""));
                let target = folder.join(target);
                open.push(if rest.as_os_str().is_empty() { target } else { target.join(rest) });
            }
        }
    }

    /// The folder of `path`; where it is missing, the nearest there is, which will see it appear.
    fn add_folder_of(&mut self, path: &Path) {
        for folder in path.ancestors().skip(1) {
            self.names.insert(folder.to_owned());
            if folder.is_dir() {
                self.folders.insert(folder.to_owned());
                return;
            }
        }
    }

    /// Whether an event tells of one of our names. That a file was read does not matter: we do that ourselves.
    fn concern(&self, event: &Event) -> bool {
        let read = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
        event.need_rescan() || (!read && event.paths.iter().any(|path| self.concerns(path)))
    }

    fn concerns(&self, path: &Path) -> bool {
        let in_whole = path.parent().is_some_and(|folder| self.whole.contains(folder));
        self.names.contains(path) || (in_whole && path.extension().is_some_and(|extension| extension == "toml"))
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_: io::Error| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Longer than anything here takes, also on a busy machine.
    const SOON: Duration = Duration::from_secs(30);

    struct Stage {
        folder: tempfile::TempDir,
        watch: Watch,
        sources: Sources,
    }

    impl Stage {
        fn new(prepare: impl FnOnce(&Path), given: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            prepare(folder.path());
            let sources = Sources::given(&[folder.path().join(given)]);
            let mut watch = Watch::new().unwrap();
            watch.renew(&sources).unwrap();
            Self { folder, watch, sources }
        }

        async fn stirs(&mut self, what: &str, act: impl FnOnce(&Path)) {
            while self.watch.stirred.try_recv().is_ok() {} // of what happened before
            let before = self.sources.fingerprint();
            act(self.folder.path());
            let settled = timeout(SOON, async {
                loop {
                    self.watch.stirred().await;
                    self.watch.renew(&self.sources).unwrap();
                    if self.sources.fingerprint() != before {
                        break;
                    }
                }
            });
            assert!(settled.await.is_ok(), "{what} went unseen: {:?}", self.watch);
        }

        /// Nothing that the system tells of `act` concerns the watch. Its own file is written last: what came before that
        /// is all there is.
        fn rests(&mut self, what: &str, act: impl FnOnce(&Path)) {
            let (tell, told) = std::sync::mpsc::channel();
            let mut system = notify::recommended_watcher(move |event: notify::Result<Event>| {
                let _ = tell.send(event.unwrap());
            })
            .unwrap();
            system.watch(self.folder.path(), RecursiveMode::NonRecursive).unwrap();
            act(self.folder.path());
            write(self.folder.path(), "the.end", "");
            let places = self.watch.places.lock().unwrap();
            loop {
                let event = told.recv_timeout(SOON).unwrap();
                if event.paths.iter().any(|path| path.ends_with("the.end")) {
                    return;
                }
                assert!(!places.concern(&event), "{what}: {event:?}");
            }
        }
    }

    fn write(folder: &Path, name: &str, text: &str) {
        fs::write(folder.join(name), text).unwrap();
    }

    fn replace(folder: &Path, name: &str, text: &str) {
        write(folder, "temporary~", text);
        fs::rename(folder.join("temporary~"), folder.join(name)).unwrap();
    }

    #[tokio::test]
    async fn a_file_is_seen_however_it_is_written() {
        let mut stage = Stage::new(|folder| write(folder, "a.toml", "1"), "a.toml");
        stage.stirs("a write", |folder| write(folder, "a.toml", "2")).await;
        stage.stirs("a rename", |folder| replace(folder, "a.toml", "3")).await;
        stage.stirs("another", |folder| replace(folder, "a.toml", "4")).await;
        stage.stirs("a removal", |folder| fs::remove_file(folder.join("a.toml")).unwrap()).await;
        stage.stirs("a new one", |folder| write(folder, "a.toml", "5")).await;
    }

    #[test]
    fn files_beside_it_and_reading_it_stir_nothing() {
        let mut stage = Stage::new(|folder| write(folder, "a.toml", "1"), "a.toml");
        stage.rests("nothing of ours changed", |folder| {
            write(folder, "events.jsonl", "x");
            write(folder, "b.toml", "x");
            fs::read(folder.join("a.toml")).unwrap();
        });
    }

    #[tokio::test]
    async fn the_files_of_a_folder_come_change_and_go() {
        let prepare = |folder: &Path| {
            fs::create_dir(folder.join("conf")).unwrap();
            write(folder, "conf/a.toml", "1");
        };
        let mut stage = Stage::new(prepare, "conf");
        stage.stirs("a new file", |folder| write(folder, "conf/b.toml", "1")).await;
        stage.stirs("its replacement", |folder| replace(folder, "conf/b.toml", "2")).await;
        stage.stirs("its end", |folder| fs::remove_file(folder.join("conf/b.toml")).unwrap()).await;
        stage.stirs("the folder's end", |folder| fs::remove_dir_all(folder.join("conf")).unwrap()).await;
        let again = |folder: &Path| prepare(folder);
        stage.stirs("the folder made again", again).await;
        stage.stirs("a change in that", |folder| write(folder, "conf/a.toml", "2")).await;
    }

    /// As Kubernetes mounts a `ConfigMap`: the file is a link over `..data`, a link that is swapped by a rename.
    #[tokio::test]
    async fn a_volume_whose_link_is_swapped_is_seen_again_and_again() {
        let version = |folder: &Path, name: &str, text: &str| {
            fs::create_dir(folder.join(name)).unwrap();
            write(folder, &format!("{name}/a.toml"), text);
            symlink(name, folder.join("..data_tmp")).unwrap();
            fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        };
        for given in ["a.toml", "."] {
            let prepare = |folder: &Path| {
                version(folder, "..1", "1");
                symlink("..data/a.toml", folder.join("a.toml")).unwrap();
            };
            let mut stage = Stage::new(prepare, given);
            stage.stirs("a swap", |folder| version(folder, "..2", "2")).await;
            stage.stirs("another", |folder| version(folder, "..3", "3")).await;
            stage.stirs("a write behind the links", |folder| write(folder, "..3/a.toml", "4")).await;
        }
    }

    #[test]
    fn a_circle_of_links_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b.toml", folder.path().join("a.toml")).unwrap();
        symlink("a.toml", folder.path().join("b.toml")).unwrap();
        let places = Places::of(&Sources::given(&[folder.path().join("a.toml")]));
        assert!(places.names.contains(&folder.path().join("b.toml")));
    }

    #[test]
    fn a_limit_of_the_system_is_named() {
        let full = notify::Error::new(ErrorKind::MaxFilesWatch);
        let said = refused(&full, Path::new("/etc"), "fs.inotify.max_user_watches").to_string();
        assert!(said.contains("fs.inotify.max_user_watches"), "{said}");
        let none = notify::Error::io(io::Error::from_raw_os_error(24));
        let said = refused(&none, Path::new("/etc"), "fs.inotify.max_user_instances").to_string();
        assert!(said.contains("fs.inotify.max_user_instances"), "{said}");
        let gone = notify::Error::new(ErrorKind::PathNotFound);
        assert!(refused(&gone, Path::new("/etc/x"), "no").to_string().contains("/etc/x"));
    }
}
