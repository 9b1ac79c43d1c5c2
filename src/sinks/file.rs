//! `type = "file"`: one line of JSON per event, appended to a file.
//!
//! An event is acknowledged once its line is whole and on the disk. Must not know what an event says.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::line::{self, Lines};
use super::{Batch, Sink};
use crate::domain::moment::Moment;
use crate::settings::problem::{self, Problems};
use crate::settings::section::Section;
use crate::settings::target::{self, Target, folder_of};
use crate::settings::{Absent, Key, Kind, Text};
use rotation::Rotation;

pub mod rotation;

/// Events written with one call and made safe with one more; whatever their number, the disk takes its time.
const BATCH: usize = 1024;

/// Permissions of a file unless others are configured.
const PRIVATE: u32 = 0o600;

/// The options of a `file` sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file; made if absent, never truncated.
    pub path: PathBuf,
    /// When it is set aside for a new one.
    pub rotation: Rotation,
    /// When what is written is made safe.
    pub fsync: Fsync,
    /// Permissions of a file that is made; one that is there keeps its own.
    pub permissions: u32,
}

/// When what is written to a file is made safe from a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before it is acknowledged.
    Always,
    /// When the system likes: what was acknowledged survives a crash of this process, not one of the machine.
    Never,
}

impl Options {
    /// What the sink does, in one line.
    pub const HELP: &'static str = "Appends one line of JSON per event to a file.";

    /// The keys of the sink.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "path",
            kind: Kind::Text(Text::ANY),
            absent: Absent::Refused,
            help: "The file; made if absent, never truncated.",
        },
        Key {
            name: "fsync",
            kind: Kind::OneOf(&["always", "never"]),
            absent: Absent::Default("always"),
            help: "always: an event is delivered once it is on the disk. never: once it is written; a power cut may lose it.",
        },
        Key {
            name: "permissions",
            kind: Kind::OneOf(&["0600", "0640", "0644", "0660"]),
            absent: Absent::Default("0600"),
            help: "Who may read and change the file, if it is made: events hold names and numbers of callers. A file that is there keeps its permissions.",
        },
        rotation::BYTES,
        rotation::EVERY,
        rotation::KEEP,
    ];

    /// The file at `path`, never set aside, and with every event on the disk before it counts.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, rotation: Rotation::default(), fsync: Fsync::Always, permissions: PRIVATE }
    }

    /// Reads the settings of the sink at `path`.
    pub fn read(section: &Section<'_>, _path: &problem::Path, _problems: &mut Problems) -> Option<Self> {
        let fsync = match section.get::<String>("fsync")?.as_str() {
            "never" => Fsync::Never,
            _ => Fsync::Always,
        };
        let permissions = u32::from_str_radix(&section.get::<String>("permissions")?, 8).ok()?;
        Some(Self { path: section.get("path")?, rotation: Rotation::read(section), fsync, permissions })
    }

    /// The folder of the file, if it is not there.
    #[must_use]
    pub fn absent_folder(&self) -> Option<&Path> {
        Some(folder_of(&self.path)).filter(|_| !target::has_folder(&self.path))
    }

    /// Returns the secrets that go to a peer: there are none.
    #[expect(clippy::unused_self, reason = "as of every sink")]
    pub(super) fn confidential(&self) -> Vec<String> {
        Vec::new()
    }

    /// The sink these options describe.
    #[must_use]
    pub fn open(&self) -> AppendedFile {
        AppendedFile::new(self)
    }
}

/// Finds sinks that would write to one file: their lines would mix, and what one sets aside the other goes on writing to.
pub fn distinct<'a>(sinks: impl Iterator<Item = (&'a str, &'a Options)>, problems: &mut Problems) {
    let mut seen = BTreeMap::new();
    for (name, options) in sinks {
        let Some(file) = Target::of(&options.path) else { continue };
        if let Some(first) = seen.insert(file, name) {
            let path = problem::Path::default().join("sinks").join(name).join("path");
            problems.add(path, format_args!("is the same file as that of sinks.{first}; give one of them another"));
        }
    }
}

/// A file that only grows.
#[derive(Debug)]
pub struct AppendedFile {
    appender: Arc<Mutex<Appender>>,
    path: Arc<Path>,
    reopen: bool,
}

impl AppendedFile {
    /// The file of `options`; opened at the first delivery.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let path: Arc<Path> = options.path.as_path().into();
        let Options { rotation, fsync, permissions, .. } = *options;
        let appender = Appender { path: path.clone(), rotation, fsync, permissions, file: None };
        Self { appender: Arc::new(Mutex::new(appender)), path, reopen: false }
    }
}

#[async_trait]
impl Sink for AppendedFile {
    fn stays(&self) -> bool {
        true
    }

    async fn hand_over(&mut self, batch: &Batch) {
        let places = batch.begin_together(0..batch.parcels().len());
        let failed = |whole, reason: &dyn std::fmt::Display| {
            line::answer(batch, whole, &format!("{}: {reason}", self.path.display()));
        };
        // A batch whose caller gave up waiting may still be under way on a disk that hangs.
        let Ok(mut appender) = self.appender.clone().try_lock_owned() else {
            return failed(0, &"an earlier write has not come back");
        };
        if std::mem::take(&mut self.reopen) {
            appender.file = None;
        }
        let lines = Lines::of(batch.parcels());
        match tokio::task::spawn_blocking(move || appender.append(&lines)).await {
            Ok((_, Ok(()))) => batch.answer_together(places, &Ok(())),
            Ok((whole, Err(error))) => failed(whole, &error),
            Err(stopped) => failed(0, &stopped),
        }
    }

    async fn reopen(&mut self) {
        self.reopen = true;
    }

    fn batch(&self) -> usize {
        BATCH
    }
}

/// The file while it is open.
#[derive(Debug)]
struct Appender {
    path: Arc<Path>,
    rotation: Rotation,
    fsync: Fsync,
    permissions: u32,
    file: Option<File>,
}

impl Appender {
    /// Appends `lines` and says how many of them are safe on the disk.
    fn append(&mut self, lines: &Lines) -> (usize, io::Result<()>) {
        let file = match self.current().and_then(|file| self.rotated(file, lines.text.len())) {
            Ok(file) => file,
            Err(error) => return (0, Err(error)),
        };
        let outcome = append(&file, lines, self.fsync);
        if outcome.1.is_ok() {
            self.file = Some(file);
        }
        outcome
    }

    /// The open file, if it still is what the path names; else the path opened anew. Left closed until the batch is
    /// written, so that a fault is followed by a fresh look at the file.
    fn current(&mut self) -> io::Result<File> {
        match self.file.take() {
            Some(file) if same(&file.metadata()?, &self.path)? => Ok(file),
            _ => open(&self.path, self.permissions),
        }
    }

    /// `file`, or a new one in its place where it is time for that before `more` bytes are written. Whole batches go into
    /// either, so no line is cut in two.
    fn rotated(&self, file: File, more: usize) -> io::Result<File> {
        let now = Moment::now().utc();
        if !self.rotation.is_due(&file.metadata()?, more, now) {
            return Ok(file);
        }
        self.rotation.set_aside(&self.path, now)?;
        open(&self.path, self.permissions)
    }
}

/// Whether `path` names the file of `metadata`: not after it was moved or removed.
fn same(metadata: &Metadata, path: &Path) -> io::Result<bool> {
    match path.metadata() {
        Ok(named) => Ok((named.dev(), named.ino()) == (metadata.dev(), metadata.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens `path` for appending, at the beginning of a line.
fn open(path: &Path, permissions: u32) -> io::Result<File> {
    let regular = match path.metadata() {
        Ok(metadata) => metadata.is_file(),
        Err(error) if error.kind() == ErrorKind::NotFound => return create(path, permissions),
        Err(error) => return Err(error),
    };
    // A pipe or a device has no last byte to look at.
    let file = OpenOptions::new().append(true).read(regular).open(path)?;
    if regular {
        begin_a_line(&file)?;
    }
    Ok(file)
}

fn create(path: &Path, permissions: u32) -> io::Result<File> {
    let folder = folder_of(path);
    if !folder.exists() {
        return Err(io::Error::new(ErrorKind::NotFound, format!("the folder {} does not exist", folder.display())));
    }
    let file = OpenOptions::new().create(true).append(true).read(true).mode(PRIVATE).open(path)?;
    if permissions != PRIVATE {
        // The umask takes away from the mode of a new file, but what is configured is meant.
        file.set_permissions(Permissions::from_mode(permissions))?;
    }
    begin_a_line(&file)?;
    // The new name must outlive a power cut too; not every file system can do that.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(file)
}

/// Ends a line that a crash has left half written.
fn begin_a_line(file: &File) -> io::Result<()> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(()) };
    let mut byte = [0];
    if file.read_at(&mut byte, last)? == 1 && byte != *b"\n" {
        line::write(&mut &*file, b"\n").1?;
    }
    Ok(())
}

fn append(mut file: &File, lines: &Lines, fsync: Fsync) -> (usize, io::Result<()>) {
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return (0, Err(error)),
    };
    let (written, outcome) = line::write(&mut file, &lines.text);
    let whole = lines.whole(written);
    let torn = lines.bytes(whole) < written;
    if !metadata.is_file() {
        return (whole, outcome);
    }
    if torn {
        take_back(file, metadata.len(), written, lines.bytes(whole));
    }
    let safe = match fsync {
        Fsync::Always => file.sync_data(),
        Fsync::Never => Ok(()),
    };
    match safe {
        Ok(()) => (whole, outcome),
        Err(error) => (0, Err(error)),
    }
}

/// Cuts off the half line just written, if nobody else has written since. Where that fails, the line is ended at the
/// next opening.
fn take_back(file: &File, before: u64, written: usize, whole: usize) {
    let end = |bytes: usize| before + bytes as u64;
    if file.metadata().is_ok_and(|metadata| metadata.len() == end(written)) {
        let _ = file.set_len(end(whole));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::Parcel;

    fn lines(bodies: &[&str]) -> Lines {
        let parcel = |body: &&str| Parcel { id: "i".into(), partition: "p".into(), body: (*body).into() };
        Lines::of(&bodies.iter().map(parcel).collect::<Vec<_>>())
    }

    #[test]
    fn only_the_half_line_is_taken_back_and_only_if_it_is_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, "old\none\nha").unwrap();
        let file = open(&path, PRIVATE).unwrap();
        std::fs::write(&path, "old\none\nha").unwrap();
        take_back(&file, 4, 6, lines(&["one"]).text.len());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\none\n");
        std::fs::write(&path, "old\none\nha another").unwrap();
        take_back(&file, 4, 6, 4);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\none\nha another");
    }

    #[test]
    fn c12_a_file_is_made_with_the_permissions_that_are_configured_and_keeps_those_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        for permissions in [PRIVATE, 0o640, 0o660] {
            let path = folder.path().join(permissions.to_string());
            open(&path, permissions).unwrap();
            assert_eq!(mode(&path), permissions);
            open(&path, 0o644).unwrap();
            assert_eq!(mode(&path), permissions);
        }
    }

    #[test]
    fn a_device_without_space_acknowledges_nothing() {
        let (whole, outcome) =
            append(&open(Path::new("/dev/full"), PRIVATE).unwrap(), &lines(&["a", "b"]), Fsync::Always);
        assert_eq!((whole, outcome.unwrap_err().kind()), (0, ErrorKind::StorageFull));
    }
}
