//! What one commit saw: told to metrics, board, logs and the live feed only once it is on the disk.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::rounds::Place;
use super::units::Rejected;
use crate::actors::House;
use crate::actors::trail::Trail;
use crate::domain::event::{EndReason, Event, EventData, EventType};
use crate::domain::moment::Moment;
use crate::domain::name::{AccountName, SinkName};
use crate::domain::status::RejectReason;
use crate::feed::Told;
use crate::metrics::Metrics;
use crate::otel::Traces;
use crate::protocol::coverage::Gap;
use crate::protocol::legs::Sighting;
use crate::routing::rule::RuleFault;
use crate::routing::{Routed, Routes};
use crate::store::CommitEvent;

/// What one commit saw.
#[derive(Default)]
pub(super) struct Tally {
    rejected: Vec<(AccountName, RejectReason, u64)>,
    duplicates: Vec<(String, EventType)>,
    /// For whom events arrived, how many and the last when, whether or not another account had got them before.
    arrived: Vec<(AccountName, u64, Timestamp)>,
    ended: Vec<EndReason>,
    emitted: Vec<Emitted>,
    gaps: Vec<Gap>,
    told: Vec<Told>,
    rules: Rules,
    traces: Arc<Traces>,
    trails: Vec<Trail>,
    page: Vec<u8>,
    /// When the commit began.
    begun: Option<Moment>,
}

/// Counts the answers of the sinks' rules: for each sink how many events it gets, does not get, and was not decided on.
#[derive(Default)]
struct Rules {
    answers: Vec<(SinkName, [u64; 3])>,
    undecided: Vec<(SinkName, EventType, RuleFault)>,
}

impl Rules {
    fn note(&mut self, kind: EventType, routed: Routed) -> Vec<SinkName> {
        for sink in &routed.sinks {
            self.count(sink, 0);
        }
        for sink in &routed.skipped {
            self.count(sink, 1);
        }
        for (sink, fault) in routed.undecided {
            self.count(&sink, 2);
            // One of each type is told: there may be as many as events.
            if !self.undecided.iter().any(|(known, told, _)| *known == sink && *told == kind) {
                self.undecided.push((sink, kind, fault));
            }
        }
        routed.sinks
    }

    fn count(&mut self, sink: &SinkName, place: usize) {
        if let Some((_, counts)) = self.answers.iter_mut().find(|(known, _)| known == sink) {
            counts[place] += 1;
        } else {
            let mut counts = [0; 3];
            counts[place] = 1;
            self.answers.push((sink.clone(), counts));
        }
    }

    fn tell(self, metrics: &Metrics) {
        for (sink, [matched, skipped, errors]) in self.answers {
            metrics.rule_answers(sink.as_str(), matched, skipped, errors);
        }
        for (sink, kind, fault) in self.undecided {
            let (key, kind) = (format!("sinks.{sink}.when"), kind.as_str());
            tracing::info!(
                %sink, key, kind, %fault,
                "a rule has no answer for an event, so the sink does not get it; if it should, let the rule ask \
                 with `has()` or `!= null` first"
            );
        }
    }
}

struct Emitted {
    service: String,
    kind: EventType,
    published: Option<Timestamp>,
    received: Timestamp,
}

impl Tally {
    /// An empty one.
    pub(super) fn of(traces: &Arc<Traces>) -> Self {
        Self { traces: Arc::clone(traces), ..Self::default() }
    }

    /// The commit begins.
    pub(super) fn commits(&mut self, begun: Moment) {
        self.begun = Some(begun);
    }

    /// Notes what was no event of the messages that were reached.
    pub(super) fn reject(&mut self, rejected: Vec<Rejected>, reached: &[Option<Place>]) {
        let was_reached = |rejected: &Rejected| {
            let (piece, begin) = rejected.at;
            let ends = reached.get(piece).copied().flatten();
            ends.is_none_or(|end| begin < end)
        };
        let reached = rejected.into_iter().filter(was_reached);
        self.rejected.extend(reached.map(|Rejected { account, reason, n, .. }| (account, reason, n)));
    }

    /// Ends that were ignored, because the account is of a domain that never told of the leg.
    pub(super) fn foreign(&mut self, account: &AccountName, n: u64) {
        if n > 0 {
            self.rejected.push((account.clone(), RejectReason::ForeignLeg, n));
        }
    }

    /// An event that a message tells of, in the form the queue takes.
    pub(super) fn emit(&mut self, sighting: Sighting<'_>, event: &Event, routes: &Routes) -> CommitEvent {
        let received = event.received_at();
        self.arrive(&sighting.reception.account, received);
        self.emitted.push(Emitted {
            service: sighting.service.name().to_owned(),
            kind: event.r#type,
            published: Some(event.time).filter(|time| *time != received),
            received,
        });
        self.enqueue(event, routes)
    }

    /// The messages of an account stand side by side, so that it is looked up once for all of them.
    fn arrive(&mut self, account: &AccountName, received: Timestamp) {
        match self.arrived.last_mut().filter(|(last, ..)| last == account) {
            Some((_, events, last)) => (*events, *last) = (*events + 1, received),
            None => self.arrived.push((account.clone(), 1, received)),
        }
    }

    /// A gap in the form the queue takes.
    pub(super) fn tell_gap(&mut self, gap: &Gap, event: &Event, routes: &Routes) -> CommitEvent {
        self.gaps.push(gap.clone());
        self.enqueue(event, routes)
    }

    /// A copy of what was seen before. That an answer shows it once more is no second copy.
    pub(super) fn duplicate(&mut self, sighting: Sighting<'_>, kind: EventType) {
        if sighting.note.asked.is_none() {
            self.arrive(&sighting.reception.account, sighting.received);
            self.duplicates.push((sighting.service.name().to_owned(), kind));
        }
    }

    /// An event in the form the queue takes, with the sinks it is owed to.
    pub(super) fn enqueue(&mut self, event: &Event, routes: &Routes) -> CommitEvent {
        if let EventData::Call(data) = &event.data {
            self.ended.extend(data.outcome.end_reason);
        }
        let targets = routes.of(|| serde_json::to_value(event).unwrap_or_default());
        let body = self.written(event);
        let owed = self.rules.note(event.r#type, targets);
        self.told.push(Told::new(event, Arc::clone(&body)));
        self.trails.extend(Trail::of(&self.traces, event));
        CommitEvent {
            id: event.id.clone(),
            partition: event.partitionkey.clone(),
            received: event.received_at(),
            body,
            owed,
        }
    }

    /// An event as JSON. They are all written on one page, which grows to the size of the largest and no further.
    fn written(&mut self, event: &Event) -> Arc<str> {
        self.page.clear();
        let written = serde_json::to_writer(&mut self.page, event).ok();
        written.and_then(|()| std::str::from_utf8(&self.page).ok()).unwrap_or_default().into()
    }

    /// Tells it.
    pub(super) fn tell(self, house: &House) {
        let metrics = &house.metrics;
        for (account, reason, n) in self.rejected {
            metrics.rejected(reason, n);
            tracing::debug!(%account, %reason, n, "message dropped");
        }
        self.rules.tell(metrics);
        if !self.arrived.is_empty() {
            let mut view = house.board.view();
            for (account, events, received) in self.arrived {
                if let Some(status) = view.accounts.get_mut(&account) {
                    status.last_event = Some(received);
                    status.events += events;
                }
            }
        }
        for (service, kind) in self.duplicates {
            metrics.event_received(&service, kind);
            metrics.duplicate(&service);
        }
        let now = Moment::now().utc();
        for event in self.emitted {
            metrics.event_received(&event.service, event.kind);
            metrics.commit_time(span(event.received, now));
            if let Some(published) = event.published {
                metrics.publish_delay(&event.service, span(published, event.received));
            }
        }
        let mut trails = self.trails.into_iter().peekable();
        let mut tells_node = true;
        while let Some(trail) = trails.next() {
            let same = trails.peek().is_some_and(|next| next.is_of_the_node_of(&trail));
            trail.committed(&self.traces, self.begun, now, std::mem::replace(&mut tells_node, !same));
        }
        for reason in self.ended {
            metrics.leg_ended(reason);
        }
        for gap in self.gaps {
            let Gap { account, services, from, to, reason } = &gap;
            let listed = services.join(", ");
            tracing::warn!(%account, services = listed, %from, %to, %reason, "events may have been missed");
            for service in services {
                metrics.gap(service, *reason);
            }
        }
        for told in self.told {
            house.feed.tell(told);
        }
    }
}

/// Time from one to the other; none where a clock went backwards.
fn span(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}
