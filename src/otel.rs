//! Traces: the way of each event from the socket to the acknowledgement of every sink, for whoever collects them with
//! OpenTelemetry (OTLP over HTTP, the cargo feature `otel`).
//!
//! An event's id is the id of its trace: what is told of it later, also after a restart, joins the same trace although
//! nothing was handed on. Where nobody collects, asking whether an event is wanted is all there is to do. Must not know
//! who tells.

use jiff::Timestamp;

use crate::domain::identity::Token;
use options::Options;

#[cfg(feature = "otel")]
mod export;
pub mod options;

/// What there is without the feature: nothing.
#[cfg(not(feature = "otel"))]
mod export {
    use super::{StartError, Step};

    pub(super) enum Exporter {}

    impl Exporter {
        pub(super) fn start(_: &str, _: &str) -> Result<Self, StartError> {
            Err(StartError(super::options::WITHOUT.to_owned()))
        }

        pub(super) fn export(&self, _: &Step<'_>) {
            match *self {}
        }

        pub(super) fn stop(&self) -> std::future::Ready<()> {
            match *self {}
        }
    }
}

/// The traces cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

/// The traces of this process.
#[derive(Default)]
pub struct Traces(Option<Running>);

struct Running {
    exporter: export::Exporter,
    one_in: u64,
}

/// One step on the way of an event.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// The event.
    pub event: &'a Token,
    /// Which step.
    pub kind: StepKind,
    /// When it began.
    pub from: Timestamp,
    /// When it was over.
    pub to: Timestamp,
    /// What else is known, by the name of the attribute.
    pub details: Vec<(&'static str, String)>,
    /// Why it failed, if it did. Free of secrets.
    pub fault: Option<String>,
}

/// Which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// From the socket until it is on the disk; the others belong to it.
    Receive,
    /// The commit.
    Commit,
    /// One try to deliver it to one sink.
    Deliver,
}

impl Traces {
    /// Starts to export, if `options` say where to. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// If the means to do so cannot be made.
    pub fn start(options: &Options, instance: &str) -> Result<Self, StartError> {
        let Some(endpoint) = &options.endpoint else { return Ok(Self::default()) };
        let exporter = export::Exporter::start(endpoint, instance)?;
        Ok(Self(Some(Running { exporter, one_in: options.one_in })))
    }

    /// Whether this event's way is to be told: the same answer at every step.
    #[must_use]
    pub fn want(&self, event: &Token) -> bool {
        self.0.as_ref().is_some_and(|running| picked(event, running.one_in))
    }

    /// Tells a step; what comes faster than it can be exported is left out.
    pub fn tell(&self, step: &Step<'_>) {
        if let Some(running) = &self.0 {
            running.exporter.export(step);
        }
    }

    /// Exports what waits, and no more after that.
    pub async fn stop(&self) {
        if let Some(running) = &self.0 {
            running.exporter.stop().await;
        }
    }
}

/// Ids are digests, so any part of one is as good as dice.
fn picked(event: &Token, one_in: u64) -> bool {
    let digits = event.as_str().get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    digits.is_some_and(|number| number % one_in.max(1) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> impl Iterator<Item = Token> {
        (0..10_000).map(|n: u32| Token::of([n.to_string().as_str()]))
    }

    #[test]
    fn one_in_so_many_is_picked_and_all_where_that_is_one() {
        assert!(events().all(|event| picked(&event, 1)));
        let picked = events().filter(|event| picked(event, 10)).count();
        assert!((800..1200).contains(&picked), "{picked}");
    }

    #[test]
    fn where_nobody_collects_nothing_is_wanted() {
        assert!(!events().any(|event| Traces::default().want(&event)));
    }
}
