//! `type = "stdout"`: one line of JSON per event on standard output.
//!
//! Writes to the descriptor itself, so that a reader who is slow blocks this sink and nobody's `println!`.
//! Must not know about files, or what an event says.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::line::{self, Lines};
use super::{Batch, Sink};
use crate::settings::Key;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;

/// The options of a `stdout` sink: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {}

impl Options {
    /// What the sink does, in one line.
    pub const HELP: &'static str = "Prints one line of JSON per event on standard output.";

    /// The keys of the sink.
    pub const KEYS: &'static [Key] = &[];

    /// Reads the settings of the sink at `path`.
    pub fn read(_section: &Section<'_>, _path: &Path, _problems: &mut Problems) -> Option<Self> {
        Some(Self {})
    }

    /// Returns the secrets that go to a peer: there are none.
    #[expect(clippy::unused_self, reason = "as of every sink")]
    pub(super) fn confidential(&self) -> Vec<String> {
        Vec::new()
    }

    /// The sink these options describe.
    #[must_use]
    pub fn open(&self) -> Stdout {
        Stdout::new(self)
    }
}

/// Standard output, or a pipe in its place.
#[derive(Debug)]
pub struct Stdout {
    out: Arc<Mutex<Out>>,
}

#[derive(Debug, Default)]
struct Out {
    descriptor: Option<File>,
    /// The end of a line that was cut off: it goes out first, so that every line is whole.
    rest: Vec<u8>,
}

impl Stdout {
    /// The standard output of this process.
    #[must_use]
    pub fn new(_options: &Options) -> Self {
        Self { out: Arc::default() }
    }

    /// Any other descriptor in its place.
    #[must_use]
    pub fn onto(descriptor: OwnedFd) -> Self {
        let out = Out { descriptor: Some(descriptor.into()), rest: Vec::new() };
        Self { out: Arc::new(Mutex::new(out)) }
    }
}

impl Out {
    fn descriptor(&mut self) -> io::Result<&mut File> {
        match &mut self.descriptor {
            Some(descriptor) => Ok(descriptor),
            vacant @ None => Ok(vacant.insert(io::stdout().as_fd().try_clone_to_owned()?.into())),
        }
    }

    /// Writes all that is left to write, and says how many of `lines` are out whole.
    fn write(&mut self, lines: &Lines) -> (usize, io::Result<()>) {
        let mut text = std::mem::take(&mut self.rest);
        let earlier = text.len();
        text.extend_from_slice(&lines.text);
        let (written, outcome) = match self.descriptor() {
            Ok(descriptor) => line::write(descriptor, &text),
            Err(error) => (0, Err(error)),
        };
        let Some(of_lines) = written.checked_sub(earlier) else {
            self.rest = text[written..earlier].to_vec();
            return (0, outcome);
        };
        let whole = lines.whole(of_lines);
        if of_lines > lines.bytes(whole) {
            self.rest = lines.text[of_lines..lines.bytes(whole + 1)].to_vec();
        }
        (whole, outcome)
    }
}

#[async_trait]
impl Sink for Stdout {
    fn stays(&self) -> bool {
        true
    }

    async fn hand_over(&mut self, batch: &Batch) {
        let places = batch.begin_together(0..batch.parcels().len());
        // A batch whose caller gave up waiting may still be under way.
        let Ok(out) = self.out.clone().try_lock_owned() else {
            return line::answer(batch, 0, "standard output: an earlier write has not come back");
        };
        let terminal = out.descriptor.as_ref().map_or_else(|| io::stdout().is_terminal(), File::is_terminal);
        let lines = if terminal { Lines::on_terminal(batch.parcels()) } else { Lines::of(batch.parcels()) };
        let write = move |mut out: OwnedMutexGuard<Out>| out.write(&lines);
        match tokio::task::spawn_blocking(move || write(out)).await {
            Ok((_, Ok(()))) => batch.answer_together(places, &Ok(())),
            Ok((whole, Err(error))) => line::answer(batch, whole, &format!("standard output: {error}")),
            Err(stopped) => line::answer(batch, 0, &format!("standard output: {stopped}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};

    use super::*;
    use crate::sinks::{Failure, Parcel};

    fn parcels(bodies: &[&str]) -> Vec<Parcel> {
        let parcel = |body: &&str| Parcel { id: "i".into(), partition: "p".into(), body: (*body).into() };
        bodies.iter().map(parcel).collect()
    }

    #[tokio::test]
    async fn a_closed_reader_is_a_retry_and_not_a_crash() {
        let (reader, writer) = io::pipe().unwrap();
        let mut sink = Stdout::onto(writer.into());
        drop(reader);
        let answers = sink.deliver(&parcels(&["{}", "{}"])).await;
        assert!(matches!(&answers[..], [Err(Failure::Retry { .. }), Err(Failure::Retry { .. })]), "{answers:?}");
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_holds_up_no_one_else() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let mut sink = Stdout::onto(writer.try_clone().unwrap().into());
        let long = "x".repeat(1 << 20);
        let first = tokio::time::timeout(std::time::Duration::from_millis(50), sink.deliver(&parcels(&[&long]))).await;
        assert!(first.is_err(), "the pipe is full");
        let answers = sink.deliver(&parcels(&["{}"])).await;
        assert!(matches!(&answers[..], [Err(Failure::Retry { .. })]), "{answers:?}");
        let mut text = vec![0; long.len() + 1];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(text.last(), Some(&b'\n'));
        writer.write_all(b"").unwrap();
    }

    #[test]
    fn a_line_that_was_cut_off_is_finished_before_the_next() {
        let mut file = tempfile::tempfile().unwrap();
        let mut out = Out { descriptor: Some(file.try_clone().unwrap()), rest: b"-end\n".to_vec() };
        let lines = Lines::of(&parcels(&["a", "b"]));
        let (whole, outcome) = out.write(&lines);
        assert!(outcome.is_ok() && whole == 2 && out.rest.is_empty());
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "-end\na\nb\n");
    }

    #[test]
    fn nothing_of_a_line_gets_lost_on_a_full_disk() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut out = Out { descriptor: Some(full), rest: b"-end\n".to_vec() };
        let (whole, outcome) = out.write(&Lines::of(&parcels(&["a"])));
        assert_eq!((whole, outcome.unwrap_err().kind()), (0, io::ErrorKind::StorageFull));
        assert_eq!(out.rest, b"-end\n");
    }
}
