//! How the metrics are counted: one method per thing that happens, so that nobody writes a label by hand.
//!
//! Must not know what any of it means.

use std::time::Duration;

use jiff::Timestamp;

use super::Metrics;
use crate::domain::event::{EndReason, EventType};
use crate::domain::status::{
    ActorKind, ConnectOutcome, DeliveryOutcome, DisconnectReason, DropReason, GapReason, ProbeOutcome, QueueAction,
    RejectReason, ReloadOutcome, RenewalOutcome, ResumptionOutcome, ResyncOutcome, StoreFault,
};

impl Metrics {
    /// An attempt to connect and log in ended so.
    pub fn connected(&self, outcome: ConnectOutcome) {
        self.connects.with_label_values(&[outcome.as_str()]).inc();
    }

    /// A connection ended.
    pub fn disconnected(&self, reason: DisconnectReason) {
        self.disconnects.with_label_values(&[reason.as_str()]).inc();
    }

    /// A session that was lost, or would be, was resumed or not.
    pub fn resumption(&self, outcome: ResumptionOutcome) {
        self.resumptions.with_label_values(&[outcome.as_str()]).inc();
    }

    /// The server did not answer a request in time.
    pub fn request_timed_out(&self) {
        self.requests_timed_out.inc();
    }

    /// A stanza was not sent because the queue for sending was full.
    pub fn outbound_stanza_dropped(&self) {
        self.outbound_stanzas_dropped.inc();
    }

    /// A renewal ended so.
    pub fn renewal(&self, service: &str, outcome: RenewalOutcome) {
        self.subscription_renewals.with_label_values(&[service, outcome.as_str()]).inc();
    }

    /// The items of a node were asked for, and this came of it.
    pub fn resync(&self, service: &str, outcome: ResyncOutcome) {
        self.subscription_resyncs.with_label_values(&[service, outcome.as_str()]).inc();
    }

    /// An active subscription was looked up.
    pub fn probe(&self, service: &str, outcome: ProbeOutcome) {
        self.subscription_probes.with_label_values(&[service, outcome.as_str()]).inc();
    }

    /// A subscription was found at the server and taken over.
    pub fn subscription_reused(&self, service: &str) {
        self.subscriptions_reused.with_label_values(&[service]).inc();
    }

    /// A subscription was made.
    pub fn subscription_created(&self, service: &str) {
        self.subscriptions_created.with_label_values(&[service]).inc();
    }

    /// A subscription was cancelled at the server.
    pub fn subscription_removed(&self, service: &str) {
        self.subscriptions_removed.with_label_values(&[service]).inc();
    }

    /// An event was read.
    pub fn event_received(&self, service: &str, kind: EventType) {
        self.events_received.with_label_values(&[service, kind.as_str()]).inc();
    }

    /// `n` notifications or items were not accepted.
    pub fn rejected(&self, reason: RejectReason, n: u64) {
        self.events_rejected.with_label_values(&[reason.as_str()]).inc_by(n);
    }

    /// An event had been seen before.
    pub fn duplicate(&self, service: &str) {
        self.events_duplicate.with_label_values(&[service]).inc();
    }

    /// An event was received this long after its publish-time.
    pub fn publish_delay(&self, service: &str, delay: Duration) {
        self.event_publish_delay.with_label_values(&[service]).observe(delay.as_secs_f64());
    }

    /// An event was committed this long after its receipt.
    pub fn commit_time(&self, time: Duration) {
        self.event_commit.observe(time.as_secs_f64());
    }

    /// An event was acknowledged this long after its receipt.
    pub fn delivery_time(&self, sink: &str, time: Duration) {
        self.event_delivery.with_label_values(&[sink]).observe(time.as_secs_f64());
    }

    /// `n` deliveries ended so.
    pub fn delivery(&self, sink: &str, outcome: DeliveryOutcome, n: u64) {
        self.sink_deliveries.with_label_values(&[sink, outcome.as_str()]).inc_by(n);
    }

    /// A canary was acknowledged at `at`, this long after it was made.
    pub fn canary(&self, sink: &str, time: Duration, at: Timestamp) {
        self.sink_canary.with_label_values(&[sink]).observe(time.as_secs_f64());
        self.sink_canary_last_success_timestamp.with_label_values(&[sink]).set(at.as_duration().as_secs_f64());
    }

    /// Canaries are made for a sink this often; zero: never.
    pub fn canary_interval(&self, sink: &str, every: Duration) {
        self.sink_canary_interval.with_label_values(&[sink]).set(every.as_secs_f64());
    }

    /// `n` events were dropped for a sink.
    pub fn dropped(&self, sink: &str, reason: DropReason, n: u64) {
        self.sink_dropped.with_label_values(&[sink, reason.as_str()]).inc_by(n);
    }

    /// An operator did this to `n` events of the queue of a sink.
    pub fn operator(&self, sink: &str, action: QueueAction, n: u64) {
        self.sink_operator_events.with_label_values(&[sink, action.as_str()]).inc_by(n);
    }

    /// The store could not write or read.
    pub fn store_fault(&self, fault: StoreFault) {
        self.store_faults.with_label_values(&[fault.as_str()]).inc();
    }

    /// Events of a service may have been missed.
    pub fn gap(&self, service: &str, reason: GapReason) {
        self.gaps.with_label_values(&[service, reason.as_str()]).inc();
    }

    /// The rule of a sink was true, was false, or had no answer for so many events.
    pub fn rule_answers(&self, sink: &str, matched: u64, skipped: u64, errors: u64) {
        for (family, n) in
            [(&self.sink_rule_matched, matched), (&self.sink_rule_skipped, skipped), (&self.sink_rule_errors, errors)]
        {
            if n > 0 {
                family.with_label_values(&[sink]).inc_by(n);
            }
        }
    }

    /// A leg of a call ended.
    pub fn leg_ended(&self, reason: EndReason) {
        self.legs_ended.with_label_values(&[reason.as_str()]).inc();
    }

    /// How many legs of calls are live.
    pub fn legs_live(&self, live: u64) {
        self.legs_live.set(i64::try_from(live).unwrap_or(i64::MAX));
    }

    /// A reload was applied, or failed and changed nothing.
    pub fn config_reload(&self, applied: bool) {
        let outcome = if applied { ReloadOutcome::Applied } else { ReloadOutcome::Failed };
        self.config_reloads.with_label_values(&[outcome.as_str()]).inc();
    }

    /// A client began to watch the live feed.
    pub fn feed_opened(&self) {
        self.feed_clients.inc();
    }

    /// A client watches the live feed no longer.
    pub fn feed_closed(&self) {
        self.feed_clients.dec();
    }

    /// A client of the live feed was turned away.
    pub fn feed_refused(&self) {
        self.feed_clients_refused.inc();
    }

    /// A client of the live feed was too slow for `n` events.
    pub fn feed_lost(&self, n: u64) {
        self.feed_events_lost.inc_by(n);
    }

    /// A connection to the HTTP port was accepted.
    pub fn http_opened(&self) {
        self.http_connections.inc();
    }

    /// A connection to the HTTP port is gone.
    pub fn http_closed(&self) {
        self.http_connections.dec();
    }

    /// A connection to the HTTP port was closed by us before its end.
    pub fn http_evicted(&self) {
        self.http_connections_evicted.inc();
    }

    /// A request to the HTTP port was turned away, for there was no room for its answer.
    pub fn http_refused(&self) {
        self.http_answers_refused.inc();
    }

    /// `n` lines of the log were dropped.
    pub fn log_lines_dropped(&self, n: u64) {
        self.log_lines_dropped.inc_by(n);
    }

    /// An actor was rebuilt.
    pub fn actor_restarted(&self, actor: ActorKind) {
        self.actor_restarts.with_label_values(&[actor.as_str()]).inc();
    }

    /// How much room the database takes, and how much its disk has left of what, all in bytes.
    pub fn store_room(&self, used: u64, free: u64, size: u64) {
        self.store_size_bytes.set(bytes(used));
        self.store_disk_free_bytes.set(bytes(free));
        self.store_disk_size_bytes.set(bytes(size));
    }

    /// How many operations wait for the committer.
    pub fn store_load(&self, waiting: usize) {
        self.store_operations_waiting.set(gauge(waiting));
    }

    /// How large the event log is: bytes, segments, and the time of the newest group in the oldest of them; and how much is
    /// remembered that is in no checkpoint yet.
    pub fn log_size(&self, bytes: u64, segments: usize, oldest: Option<Timestamp>, unwritten: usize) {
        self.log_size_bytes.set(self::bytes(bytes));
        self.log_segments.set(gauge(segments));
        self.log_oldest_timestamp.set(oldest.map_or(0.0, |oldest| oldest.as_duration().as_secs_f64()));
        self.store_unwritten_past.set(gauge(unwritten));
    }

    /// A group of the event log is on the disk.
    pub fn log_appended(&self, time: Duration, events: usize) {
        self.log_append.observe(time.as_secs_f64());
        self.log_group_events.observe(events as f64);
    }

    /// How many events a sink has read from the log and not done with.
    pub fn pending(&self, sink: &str, events: usize) {
        self.sink_pending_events.with_label_values(&[sink]).set(gauge(events));
    }

    /// How many batches wait for the router.
    pub fn router_batches(&self, waiting: usize) {
        self.router_batches_waiting.set(gauge(waiting));
    }

    /// How many log-ins are under way, how many wait for their turn, and how many slots were taken over since the last call.
    pub fn logins(&self, under_way: usize, waiting: usize, taken_over: usize) {
        self.logins_under_way.set(gauge(under_way));
        self.logins_waiting.set(gauge(waiting));
        self.logins_taken_over.inc_by(taken_over as u64);
    }

    /// How many messages are read and not yet on the disk.
    pub fn messages_held(&self, messages: usize) {
        self.messages_in_hand.set(gauge(messages));
    }
}

fn gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn bytes(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
