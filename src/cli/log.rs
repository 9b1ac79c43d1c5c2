//! Where log lines go: standard error, as text or JSON, repeats held back.
//!
//! Must not know what is logged.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};
use crate::domain::moment::Moment;
use line::{Line, OWN};
use repeats::Repeats;

mod line;
mod repeats;

/// How often it is looked whether something held back is to be written.
const GLANCE: Duration = Duration::from_secs(1);

/// The fields that say what a line is about. Lines that differ in another field only are repeats of each other.
const SUBJECT: [&str; 6] = ["account", "service", "node", "sink", "actor", "problem"];

/// Logging, while it lasts. What is held back is written when this is dropped.
#[must_use]
pub struct Logging(Arc<Speaker>);

/// Starts logging. A second call changes nothing.
pub fn start(log: &Log) -> Logging {
    // Below `warn` the libraries write down whole stanzas, passwords included, whatever level we ask for.
    let filter = Targets::new().with_default(Level::WARN).with_target(OWN, log.level);
    let look = match log.format {
        LogFormat::Json => Look::Json,
        LogFormat::Text => Look::Text { coloured: AutoStream::choice(&std::io::stderr()) != ColorChoice::Never },
    };
    let speaker = Arc::new(Speaker { look, repeats: Mutex::new(Repeats::within(log.repeat_after)) });
    let lines = Lines(Arc::clone(&speaker)).with_filter(filter);
    if tracing_subscriber::registry().with(lines).try_init().is_ok() && !log.repeat_after.is_zero() {
        let speaker = Arc::clone(&speaker);
        // Without it what is held back waits for the end.
        let _ = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(GLANCE);
                speaker.catch_up(|repeats| repeats.due(Moment::now()));
            }
        });
    }
    Logging(speaker)
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.catch_up(Repeats::rest);
    }
}

#[derive(Clone, Copy)]
enum Look {
    Text { coloured: bool },
    Json,
}

struct Speaker {
    look: Look,
    repeats: Mutex<Repeats>,
}

impl Speaker {
    fn hear(&self, line: Line, subject: Option<u64>) {
        let Some(subject) = subject else { return self.say(&line) };
        // Held while it is written: lines of one subject stay in order.
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = repeats.hear(subject, line, Moment::now()) {
            self.say(&line);
        }
    }

    fn catch_up(&self, which: impl FnOnce(&mut Repeats) -> Vec<Line>) {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        for line in which(&mut repeats) {
            self.say(&line);
        }
    }

    fn say(&self, line: &Line) {
        let mut text = match self.look {
            Look::Text { coloured } => line.text(coloured),
            Look::Json => line.json(),
        };
        text.push('\n'); // one write: no line is cut in two
        // Where it fails there is nobody left to tell.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

struct Lines(Arc<Speaker>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Line::of(event, Moment::now().utc());
        let subject = subject(event, &line);
        self.0.hear(line, subject);
    }
}

/// What a line says, and about what, as far as repeats of it are to be held back. Whoever asks for details gets them all,
/// and news that are about nothing in particular are rare.
fn subject(event: &Event<'_>, line: &Line) -> Option<u64> {
    let about = || line.fields().filter(|(name, _)| SUBJECT.contains(name));
    let level = *event.metadata().level();
    if level > Level::INFO || (level == Level::INFO && about().next().is_none()) {
        return None;
    }
    let mut hash = DefaultHasher::new();
    event.metadata().callsite().hash(&mut hash);
    if !line.is_ours() {
        line.message().hash(&mut hash); // whatever comes through the `log` crate has one callsite
    }
    about().for_each(|(name, value)| (name, value.to_string()).hash(&mut hash));
    Some(hash.finish())
}

#[cfg(test)]
mod tests;
