//! Where events go. A sink talks to one thing and says what it acknowledged; order, retries and metrics are elsewhere.
//!
//! Must not know the queue, actors, XMPP, or any other sink.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::settings::Type;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;

mod address;
pub mod amqp;
pub mod batch;
mod censor;
mod chains;
mod credentials;
mod encryption;
mod envelope;
mod excerpt;
pub mod file;
#[cfg(feature = "kafka")]
pub mod kafka;
mod line;
mod link;
pub mod mode;
pub mod mqtt;
pub mod nats;
pub mod postgres;
pub mod redis;
mod relay;
pub mod stdout;
mod template;
mod throttle;
pub mod webhook;

/// From one row per type: the [`Options`], the keys, and how a section is read. A build without the feature of a row
/// knows the name, and says what it lacks.
macro_rules! register {
    ($($name:literal => $variant:ident($module:ident) $(if $feature:literal)?),+ $(,)?) => {
        /// What kind of sink, and its options: one variant per file of this folder.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Options {
            $(
                #[doc = concat!("`type = \"", $name, "\"`")]
                $(#[cfg(feature = $feature)])?
                $variant($module::Options),
            )+
        }

        /// Every value of `type`, and the keys that go with it.
        pub const TYPES: &[Type] = &[$(
            $(#[cfg(feature = $feature)])?
            Type { name: $name, help: $module::Options::HELP, keys: $module::Options::KEYS, lacks: None },
            $(
                #[cfg(not(feature = $feature))]
                Type { name: $name, help: "", keys: &[], lacks: Some($feature) },
            )?
        )+];

        impl Options {
            /// The value of `type`.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$variant(_) => $name,)+
                }
            }

            /// The sink these options describe. It touches nothing outside until its first delivery, and tells no secret.
            #[must_use]
            pub fn open(&self) -> Box<dyn Sink> {
                let censor = self.censor();
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$variant(options) => {
                        Box::new(Discreet { sink: options.open(), censor })
                    })+
                }
            }

            /// Knows what of it must not be shown.
            fn censor(&self) -> Censor {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$variant(options) => Censor::of(options.confidential()),)+
                }
            }

            /// Reads the section of a sink at `path`.
            pub fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<Self> {
                match section.kind()? {
                    $(
                        $(#[cfg(feature = $feature)])?
                        $name => $module::Options::read(section, path, problems).map(Self::$variant),
                    )+
                    _ => None,
                }
            }
        }
    };
}

register! {
    "amqp" => Amqp(amqp),
    "file" => File(file),
    "kafka" => Kafka(kafka) if "kafka",
    "mqtt" => Mqtt(mqtt),
    "nats" => Nats(nats),
    "postgres" => Postgres(postgres),
    "redis" => Redis(redis),
    "stdout" => Stdout(stdout),
    "webhook" => Webhook(webhook),
}

pub use batch::Batch;
use batch::Outcome;
use censor::Censor;

/// A sink whose answers are told without its secrets.
struct Discreet<S> {
    sink: S,
    censor: Censor,
}

#[async_trait]
impl<S: Sink> Sink for Discreet<S> {
    async fn hand_over(&mut self, batch: &Batch) {
        batch.censor(&self.censor);
        self.sink.hand_over(batch).await;
    }

    async fn reopen(&mut self) {
        self.sink.reopen().await;
    }

    fn stays(&self) -> bool {
        self.sink.stays()
    }

    fn batch(&self) -> usize {
        self.sink.batch()
    }
}

impl Options {
    /// Sees whether the peer can take events, and changes nothing there; `None` where the protocol has no way to ask.
    pub async fn check(&self) -> Option<Result<(), String>> {
        let Self::Postgres(options) = self else { return None };
        Some(options.check().await.map_err(|why| self.censor().clean(&why)))
    }
}

/// One event as a sink gets it.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The event's id: the idempotency key.
    pub id: Arc<str>,
    /// Events with the same key must not overtake each other.
    pub partition: Arc<str>,
    /// The event as JSON, without a line break.
    pub body: Arc<str>,
}

/// Why an event was not acknowledged; the variant is what the peer has said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// May work later; the peer may have said when. Tried again on the schedule of all sinks.
    #[error("{reason}")]
    Retry {
        /// What went wrong, free of secrets.
        reason: String,
        /// What the peer asked for.
        after: Option<Duration>,
    },
    /// The peer wants nothing more, of any event, until an operator has seen to it (HTTP 410): the sink rests for an hour,
    /// or until a reload or restart. The event stays owed.
    #[error("{reason}")]
    Pause {
        /// What went wrong, free of secrets.
        reason: String,
    },
    /// The peer refuses the event for good. Whether that is for the event or because the peer refuses everything at the
    /// moment is decided elsewhere ([`crate::retry::flow`]): it becomes a dead letter only if it is refused again after
    /// others have passed.
    #[error("{reason}")]
    Reject {
        /// What went wrong, free of secrets.
        reason: String,
    },
}

/// One destination.
///
/// A sink talks to its peer and says what came of it. When failures are tried again, how long an answer may take, and what
/// happens to the rest meanwhile is decided elsewhere.
#[async_trait]
pub trait Sink: Send {
    /// Hands over the events of `batch`, those of one partition in order, and answers for each as soon as it is known
    /// what became of it. Acknowledges only what the peer has. Asks the batch before each delivery whether it may begin
    /// it ([`Batch::begin`] and its like), and leaves alone what it may not; other partitions are free to go on after a
    /// failure, and should, since only then one bad event is told from a dead peer.
    ///
    /// The future may be dropped at any point, since a delivery without an answer for the sink's `timeout` is given up:
    /// it counts as [`Failure::Retry`], and unless the sink [stays](Self::stays) it is dropped too and opened anew. What
    /// the peer got without answering it will get again. Dropping a sink must not block.
    async fn hand_over(&mut self, batch: &Batch);

    /// Hands over `parcels` however long it takes, and returns an answer for each, in the same order. What was not tried
    /// because something before it in its partition failed is answered as [`Failure::Retry`], with the same reason.
    async fn deliver(&mut self, parcels: &[Parcel]) -> Vec<Result<(), Failure>> {
        let batch = Batch::new(parcels.to_vec(), Duration::MAX).without_haste();
        self.hand_over(&batch).await;
        batch.complete();
        let mut answers = vec![None; parcels.len()];
        for Outcome { place, answer, .. } in batch.outcomes().0 {
            answers[place] = Some(answer);
        }
        let mut held_up: HashMap<&str, String> = HashMap::new();
        let answers = parcels.iter().zip(answers).map(|(parcel, answer)| {
            let reason = held_up.get(&*parcel.partition).cloned().unwrap_or_default();
            let answer = answer.unwrap_or(Err(Failure::Retry { reason, after: None }));
            if let Err(failure) = &answer {
                held_up.entry(&parcel.partition).or_insert_with(|| failure.to_string());
            }
            answer
        });
        answers.collect()
    }

    /// Lets go of what it holds open and opens it anew at the next delivery (SIGHUP, for rotated files).
    async fn reopen(&mut self) {}

    /// Whether the sink itself outlives a delivery that took too long: where something goes on that cannot be stopped (a
    /// blocking write), a second sink beside it would only make two. It answers [`Failure::Retry`] until that is over.
    fn stays(&self) -> bool {
        false
    }

    /// How many parcels it takes at once, at most; a slow one is handed fewer.
    fn batch(&self) -> usize {
        256
    }
}

#[cfg(test)]
mod tests;
