//! What is told of one event on its way: a line at debug level, and its trace.
//!
//! Where nobody wants either, that costs two look-ups per event. Must not know what else is told of it.

use jiff::Timestamp;
use tracing::{Level, debug, enabled};

use crate::domain::canary::Canary;
use crate::domain::event::{Event, EventData, EventType};
use crate::domain::identity::Token;
use crate::domain::moment::Moment;
use crate::domain::name::SinkName;
use crate::otel::{Step, StepKind, Traces};
use crate::sinks::Failure;
use crate::store::Owed;

/// An event whose way somebody follows.
pub(super) struct Trail {
    id: Token,
    kind: EventType,
    account: String,
    /// Where it comes from; of a gap, nowhere in particular.
    origin: Option<(String, String)>,
    received: Timestamp,
}

impl Trail {
    /// Of this event, if anybody wants to know.
    pub(super) fn of(traces: &Traces, event: &Event) -> Option<Self> {
        if !traces.want(&event.id) && !enabled!(Level::DEBUG) {
            return None;
        }
        let (account, origin) = match &event.data {
            EventData::Call(data) => (&data.origin.account, Some(&data.origin)),
            EventData::Registration(data) => (&data.origin.account, Some(&data.origin)),
            EventData::Item(data) => (&data.origin.account, Some(&data.origin)),
            EventData::Gap(data) => (&data.account, None),
            EventData::Canary(_) => return None, // it comes from nowhere
        };
        Some(Self {
            id: event.id.clone(),
            kind: event.r#type,
            account: account.clone(),
            origin: origin.map(|origin| (origin.service.clone(), origin.node.clone())),
            received: event.received_at(),
        })
    }

    /// Whether it comes from the same node as `other`: that is told once of events that come together.
    pub(super) fn is_of_the_node_of(&self, other: &Self) -> bool {
        self.account == other.account && self.origin == other.origin
    }

    /// It is on the disk; the commit began at `begun`. Its node is shown in the log if that `tells_node`.
    pub(super) fn committed(self, traces: &Traces, begun: Option<Moment>, now: Timestamp, tells_node: bool) {
        let Self { id, kind, account, origin, received } = self;
        let (service, node) = origin.unzip();
        let shown = node.as_deref().filter(|_| tells_node);
        debug!(account, service, node = shown, event_id = %id, r#type = kind.as_str(), "event committed");
        if !traces.want(&id) {
            return;
        }
        let about = [("onsip.service", service), ("onsip.node", node)];
        let mut details = vec![("cloudevents.event_type", kind.as_str().to_owned()), ("onsip.account", account)];
        details.extend(about.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let step = |kind, from, details| Step { event: &id, kind, from, to: now, details, fault: None };
        traces.tell(&step(StepKind::Receive, received, details));
        if let Some(begun) = begun {
            traces.tell(&step(StepKind::Commit, begun.utc(), Vec::new()));
        }
    }
}

/// A sink was handed an event and answered.
pub(super) fn answered(
    traces: &Traces,
    sink: &SinkName,
    owed: &Owed,
    answer: &Result<(), Failure>,
    (begun, now): (Moment, Moment),
) {
    let attempt = owed.attempts + 1;
    match answer {
        Ok(()) => debug!(%sink, event_id = %owed.id, attempt, "event delivered"),
        Err(why) => debug!(%sink, event_id = %owed.id, attempt, %why, "event not delivered"),
    }
    if traces.want(&owed.id) && !Canary::is_one(&owed.partition) {
        traces.tell(&Step {
            event: &owed.id,
            kind: StepKind::Deliver,
            from: begun.utc(),
            to: now.utc(),
            details: vec![("onsip.sink", sink.to_string()), ("onsip.attempt", attempt.to_string())],
            fault: answer.as_ref().err().map(ToString::to_string),
        });
    }
}
