//! Where log lines go: standard error, as text or JSON, repeats held back.
//!
//! Who logs never waits for standard error: [`Writer`] takes the lines. Must not know what is logged.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::IsTerminal;
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
use crate::domain::printable;
use crate::metrics::Metrics;
use line::{Line, OWN};
use repeats::{Repeats, Subject};
use writer::Writer;

mod line;
mod repeats;
mod writer;

/// How often it is looked whether something held back is to be written.
const GLANCE: Duration = Duration::from_secs(1);

/// How long the end of the process waits for standard error to take what is left.
const FLUSH: Duration = Duration::from_millis(500);

/// The libraries that speak to peers, or callers, for us, by the beginning of what their lines are marked with. Whatever goes wrong they
/// return as well, and it is told in our words, with the name of the sink or account; a line of their own says neither.
const MUTED: [&str; 25] = [
    "actix_http",
    "amq_protocol",
    "async_global_executor",
    "async_io",
    "async_nats",
    "async_rs",
    "blocking",
    "executor_trait",
    "h2",
    "hickory_",
    "hyper",
    "lapin",
    "librdkafka",
    "rdkafka",
    "redis",
    "reqwest",
    "rumqttc",
    "rustls",
    "sqlx::postgres",
    "sqlx_postgres",
    "tcp_stream",
    "tokio_rustls",
    "tokio_xmpp",
    "tower",
    "xmpp_parsers",
];

/// The fields that say what a line is about. Lines that differ in another field only are repeats of each other.
const SUBJECT: [&str; 6] = ["account", "service", "node", "sink", "actor", "problem"];

/// The fields that name an account or a sink: lines about one keep their order.
const OWNER: [&str; 2] = ["account", "sink"];

/// Logging, while it lasts. What is held back and buffered is written when this is dropped, as far as it is read soon.
#[must_use]
pub struct Logging(Arc<Speaker>);

/// Starts logging. A second call changes nothing.
pub fn start(log: &Log) -> Logging {
    // Below `warn` the libraries write down whole stanzas, passwords included, whatever level we ask for.
    let filter = Targets::new().with_default(Level::WARN).with_target(OWN, log.level);
    let look = match log.format {
        LogFormat::Json => Look::Json { terminal: std::io::stderr().is_terminal() },
        LogFormat::Text => Look::Text { coloured: AutoStream::choice(&std::io::stderr()) != ColorChoice::Never },
    };
    let repeats = Mutex::new(Repeats::within(log.repeat_after));
    let speaker = Arc::new(Speaker { look, repeats, writer: Writer::default() });
    let lines = Lines(Arc::clone(&speaker)).with_filter(filter);
    if tracing_subscriber::registry().with(lines).try_init().is_ok() {
        let speaker = Arc::clone(&speaker);
        // Without it nothing is logged; there is no way to say so that could not block.
        let _ = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            let glance = || speaker.catch_up(Repeats::due);
            speaker.writer.run(GLANCE, glance, |dropped| speaker.shown(&Line::dropped(dropped, Moment::now().utc())));
        });
        tell_panics();
    }
    Logging(speaker)
}

/// Has panics logged as everything else is: the usual hook writes to standard error itself, and would wait there.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then_some(backtrace);
        let (thread, panic) = (std::thread::current(), panic.to_string().replace('\n', " "));
        let backtrace = backtrace.map(tracing::field::display);
        tracing::error!(thread = thread.name().unwrap_or_default(), backtrace, "{panic}");
    }));
}

impl Logging {
    /// Counts lines that had to be dropped in `metrics`.
    pub fn count_in(&self, metrics: Arc<Metrics>) {
        self.0.writer.count_in(metrics);
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.catch_up(Repeats::rest);
        self.0.writer.flush(FLUSH);
    }
}

#[derive(Clone, Copy)]
enum Look {
    Text { coloured: bool },
    Json { terminal: bool },
}

struct Speaker {
    look: Look,
    repeats: Mutex<Repeats>,
    writer: Writer,
}

impl Speaker {
    fn hear(&self, line: Line, subject: Option<Subject>) {
        let Some(subject) = subject else { return self.say(&line) };
        // Held while it is put into the buffer: lines of one subject stay in order.
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Moment::now();
        if let Some(line) = repeats.hear(subject, line, now) {
            for earlier in repeats.before(subject.owner, now) {
                self.say(&earlier);
            }
            self.say(&line);
        }
    }

    fn catch_up(&self, which: impl FnOnce(&mut Repeats, Moment) -> Vec<Line>) {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        for line in which(&mut repeats, Moment::now()) {
            self.say(&line);
        }
    }

    fn say(&self, line: &Line) {
        self.writer.write(&self.shown(line));
    }

    fn shown(&self, line: &Line) -> String {
        let mut text = match self.look {
            Look::Text { coloured } => line.text(coloured),
            Look::Json { terminal: true } => printable::on_terminal(&line.json()).into_owned(),
            Look::Json { terminal: false } => printable::in_pipe(&line.json()).into_owned(),
        };
        text.push('\n');
        text
    }
}

struct Lines(Arc<Speaker>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Line::of(event, Moment::now().utc());
        // Not in the filter: there every line of the `log` crate has the same target.
        if is_muted(line.target()) {
            return;
        }
        let subject = subject(event, &line);
        self.0.hear(line, subject);
    }
}

/// Whether a library speaks whose faults are told in our words.
fn is_muted(target: &str) -> bool {
    MUTED.iter().any(|library| target.starts_with(library))
}

/// What a line says, and about what, as far as repeats of it are to be held back. Whoever asks for details gets them all,
/// and news that are about nothing in particular are rare.
fn subject(event: &Event<'_>, line: &Line) -> Option<Subject> {
    let about = || line.fields().filter(|(name, _)| SUBJECT.contains(name));
    let level = *event.metadata().level();
    if level > Level::INFO || (level == Level::INFO && about().next().is_none()) {
        return None;
    }
    let mut hash = DefaultHasher::new();
    event.metadata().callsite().hash(&mut hash);
    if !line.is_ours() {
        // Whatever comes through the `log` crate has one callsite.
        line.target().hash(&mut hash);
        let wide = hash.finish();
        line.message().hash(&mut hash);
        return Some(Subject { exact: hash.finish(), wide, owner: None, foreign: true });
    }
    let wide = hash.finish();
    about().for_each(|(name, value)| (name, value.to_string()).hash(&mut hash));
    let owner = about().find(|(name, _)| OWNER.contains(name)).map(|(name, value)| {
        let mut hash = DefaultHasher::new();
        (name, value.to_string()).hash(&mut hash);
        hash.finish()
    });
    Some(Subject { exact: hash.finish(), wide, owner, foreign: false })
}

#[cfg(test)]
mod tests;
