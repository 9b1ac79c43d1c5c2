//! The table: every metric of the daemon, once, with its name, kind, labels and help.
//!
//! A unit is the last word of a name before `_total`. Must not know who counts.

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result,
};

use super::family::{AccountCounter, AccountGauge, Family, Kind};
use super::label::Label;

/// One metric as declared.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name, without the prefix.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Labels, in order.
    pub labels: &'static [Label],
    /// Upper edges of a histogram's buckets, in its unit.
    pub edges: &'static [f64],
    /// What it says.
    pub help: &'static str,
}

impl Row {
    /// The names of its labels.
    pub fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|label| label.name()).collect()
    }

    /// Whether its series depend on what is configured.
    pub fn depends_on_names(&self) -> bool {
        self.labels.iter().any(|label| label.is_configured())
    }

    /// What it is measured in, as its name ends; counts have no unit.
    pub fn unit(&self) -> &'static str {
        match self.name.trim_end_matches("_total") {
            name if name.ends_with("_timestamp_seconds") => "Unix time, seconds",
            name if name.ends_with("_seconds") => "seconds",
            name if name.ends_with("_bytes") => "bytes",
            _ => "",
        }
    }

    /// The name it is exported under.
    pub fn full_name(&self) -> String {
        format!("{}_{}", super::NAMESPACE, self.name)
    }
}

macro_rules! table {
    ($($field:ident: $family:ty = $name:literal [$($label:ident),*] $(in $edges:ident)?, $help:literal;)+) => {
        /// Every metric of the daemon that is its own; those of the process come beside them.
        pub const TABLE: &[Row] = &[$(Row {
            name: $name,
            kind: <$family as Family>::KIND,
            labels: &[$(Label::$label),*],
            edges: table!(@edges $($edges)?),
            help: $help,
        },)+];

        /// One field per row of [`TABLE`].
        #[derive(Debug)]
        pub struct Families {
            $(#[doc = $help] pub $field: $family,)+
        }

        impl Families {
            /// Makes and registers all of them; fails on a name that is bad or there twice.
            pub fn register(registry: &Registry) -> Result<Self> {
                let mut rows = TABLE.iter();
                let families = Self { $($field: <$family>::build(row(&mut rows)?)?,)+ };
                $(families.$field.register(registry)?;)+
                Ok(families)
            }

            /// Shows (or hides) the series `of` names for each row.
            pub fn each(&self, show: bool, of: impl Fn(&Row) -> Vec<Vec<String>>) {
                let mut rows = TABLE.iter();
                $(if let Some(row) = rows.next() {
                    set(&self.$field, show, &of(row));
                })+
            }
        }
    };
    (@edges) => { &[] };
    (@edges $edges:ident) => { $edges };
}

fn row<'a>(rows: &mut impl Iterator<Item = &'a Row>) -> Result<&'a Row> {
    rows.next().ok_or_else(|| prometheus::Error::Msg("the table is shorter than its fields".to_owned()))
}

fn set<F: Family>(family: &F, show: bool, series: &[Vec<String>]) {
    for values in series {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        if show { family.show(&values) } else { family.hide(&values) }
    }
}

/// 0.5 ms to 2.5 s: a group commit on good and on bad disks.
const COMMIT: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Events of one group: one, to all that may be in hand.
const GROUP: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// 1 ms to 10 min: a local file, and a peer that was away.
const DELIVERY: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// 10 ms to 1 h: live events, and what was kept back for us.
const PUBLISH: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

table! {
    build_info: IntGaugeVec = "build_info" [Version, Commit],
        "Always 1; the labels say which build runs.";

    ready: IntGauge = "ready" [],
        "1 while `/readyz` says that the daemon does its work, else 0.";

    accounts: IntGaugeVec = "accounts" [AccountState],
        "Accounts by state.";
    accounts_blind: IntGauge = "accounts_blind" [],
        "Enabled accounts whose events cannot arrive now.";
    accounts_blind_oldest_timestamp: Gauge = "accounts_blind_oldest_timestamp_seconds" [],
        "Unix time since which the account that is blind for longest is; 0 while none is.";
    accounts_without_series: IntGauge = "accounts_without_series" [],
        "Accounts without series of their own, as the configuration has it.";
    account_covered: AccountGauge = "account_covered" [Account],
        "1 while the account's events can arrive: authorized, and every subscription that is not denied delivers; else 0.";
    clock_offset: Gauge = "clock_offset_seconds" [],
        "Largest difference between the service's clock and ours that an account has seen; 0 before the first.";
    account_blind_since_timestamp: AccountGauge = "account_blind_since_timestamp_seconds" [Account],
        "Unix time since which the account's events cannot arrive; 0 while they can, and where it is disabled.";
    account_events: AccountCounter = "account_events_total" [Account],
        "Events received for the account since it was started, duplicates included.";
    account_lease_until_timestamp: AccountGauge = "account_lease_until_timestamp_seconds" [Account],
        "Unix time at which the first lease of the account's active subscriptions ends; 0 where none has one.";
    account_online: AccountGauge = "account_online" [Account],
        "1 while the account is connected and authorized, else 0.";
    account_authorized_until_timestamp: AccountGauge = "account_authorized_until_timestamp_seconds" [Account],
        "Unix time at which the account's authorization ends; 0 while it is not authorized.";
    account_last_event_timestamp: AccountGauge = "account_last_event_timestamp_seconds" [Account],
        "Unix time of the account's newest event; 0 before the first.";
    connects: IntCounterVec = "connects_total" [ConnectOutcome],
        "Attempts to connect and log in, by how they ended.";
    disconnects: IntCounterVec = "disconnects_total" [DisconnectReason],
        "Connections that ended, by reason.";
    resumptions: IntCounterVec = "resumptions_total" [ResumptionOutcome],
        "Lost sessions that could be resumed, by whether they were.";
    requests_timed_out: IntCounter = "requests_timed_out_total" [],
        "Requests the server did not answer in time.";
    outbound_stanzas_dropped: IntCounter = "outbound_stanzas_dropped_total" [],
        "Stanzas not sent because a connection's queue for sending was full, which ends it, or because they would be too long.";

    subscriptions: IntGaugeVec = "subscriptions" [Service, SubscriptionState],
        "Subscriptions by service and state.";
    subscription_oldest_renewal_timestamp: GaugeVec = "subscription_oldest_renewal_timestamp_seconds" [Service],
        "Unix time of the renewal longest ago among the service's active subscriptions; 0 where there is none.";
    subscription_renewal_due_timestamp: GaugeVec = "subscription_renewal_due_timestamp_seconds" [Service],
        "Unix time by which the first of the service's active subscriptions must be renewed, at 75 % of its lease; 0 where none has one.";
    subscription_renewals: IntCounterVec = "subscription_renewals_total" [Service, RenewalOutcome],
        "Renewals of subscriptions, by how they ended.";
    subscription_resyncs: IntCounterVec = "subscription_resyncs_total" [Service, ResyncOutcome],
        "Times the items of a subscribed node were asked for after a gap, by what came of it.";
    subscription_probes: IntCounterVec = "subscription_probes_total" [Service, ProbeOutcome],
        "Looks at the service whether an active subscription is still there, by what was seen.";
    subscriptions_reused: IntCounterVec = "subscriptions_reused_total" [Service],
        "Subscriptions found at the server and taken over.";
    subscriptions_created: IntCounterVec = "subscriptions_created_total" [Service],
        "Subscriptions made.";
    subscriptions_removed: IntCounterVec = "subscriptions_removed_total" [Service],
        "Subscriptions cancelled at the server.";

    events_received: IntCounterVec = "events_received_total" [Service, EventType],
        "Events read from notifications, duplicates included.";
    events_rejected: IntCounterVec = "events_rejected_total" [RejectReason],
        "Notifications and items that were not accepted as events, by reason.";
    events_duplicate: IntCounterVec = "events_duplicate_total" [Service],
        "Events that had been seen before and were not delivered again.";
    event_publish_delay: HistogramVec = "event_publish_delay_seconds" [Service] in PUBLISH,
        "Time from an event's publish-time to its receipt.";
    event_commit: Histogram = "event_commit_seconds" [] in COMMIT,
        "Time from an event's receipt to its durable commit.";
    event_delivery: HistogramVec = "event_delivery_seconds" [Sink] in DELIVERY,
        "Time from an event's receipt to the sink's acknowledgement.";
    gaps: IntCounterVec = "gaps_total" [Service, GapReason],
        "Windows in which events may have been missed, by reason.";
    legs_live: IntGauge = "legs_live" [],
        "Legs of calls whose end was not seen yet; counted every now and then.";
    legs_ended: IntCounterVec = "legs_ended_total" [EndReason],
        "Legs of calls that ended, by reason.";

    sink_rule_matched: IntCounterVec = "sink_rule_matched_total" [Sink],
        "Events the sink's rule is true for; without a rule all of them.";
    sink_rule_skipped: IntCounterVec = "sink_rule_skipped_total" [Sink],
        "Events the sink does not get because its rule is false for them.";
    sink_rule_errors: IntCounterVec = "sink_rule_errors_total" [Sink],
        "Events the sink does not get because its rule has no answer for them, e.g. orders a null or asks for a key that events of that type lack; the log says why.";
    sink_deliveries: IntCounterVec = "sink_deliveries_total" [Sink, DeliveryOutcome],
        "Deliveries tried, by how they ended.";
    sink_queue_events: IntGaugeVec = "sink_queue_events" [Sink],
        "Events the sink has not acknowledged yet.";
    sink_queue_oldest_timestamp: GaugeVec = "sink_queue_oldest_timestamp_seconds" [Sink],
        "Unix time of receipt of the oldest event not acknowledged yet; 0 while there is none.";
    sink_dead_events: IntGaugeVec = "sink_dead_events" [Sink],
        "Events given up and kept as dead letters.";
    sink_dropped: IntCounterVec = "sink_dropped_total" [Sink, DropReason],
        "Events dropped for a sink because its queue was full or they were too old, by reason.";
    sink_operator_events: IntCounterVec = "sink_operator_events_total" [Sink, QueueAction],
        "Events of the sink's queue that an operator changed beside the running daemon, by what was done to them.";
    unconfigured_sink_events: IntGauge = "unconfigured_sink_events" [],
        "Events owed to sinks that are not configured any more.";
    unconfigured_sink_dead_events: IntGauge = "unconfigured_sink_dead_events" [],
        "Dead letters of sinks that are not configured any more.";
    sink_queue_bytes: IntGaugeVec = "sink_queue_bytes" [Sink],
        "Bytes of the events the sink has not acknowledged yet.";
    sink_held_calls: IntGaugeVec = "sink_held_calls" [Sink],
        "Calls that failed on their own and wait for their next try.";
    sink_pending_events: IntGaugeVec = "sink_pending_events" [Sink],
        "Events owed to the sink that were read from the log: in hand, failed, or of a held call. At 262,144 it reads no further \
        until there are fewer.";
    sink_blocking: IntGaugeVec = "sink_blocking" [Sink],
        "1 while the sink's queue is full and receiving stops for it, else 0.";
    sink_up: IntGaugeVec = "sink_up" [Sink],
        "1 until a delivery fails, then 0 until one succeeds.";
    sink_canary: HistogramVec = "sink_canary_seconds" [Sink] in DELIVERY,
        "Time from the making of a canary to the sink's acknowledgement.";
    sink_canary_last_success_timestamp: GaugeVec = "sink_canary_last_success_timestamp_seconds" [Sink],
        "Unix time of the last canary the sink has acknowledged; 0 before the first.";
    sink_canary_interval: GaugeVec = "sink_canary_interval_seconds" [Sink],
        "Time between two canaries of the sink; 0 where none are made.";

    store_writable: IntGauge = "store_writable" [],
        "1 while events can be committed and deliveries be settled, else 0.";
    store_faults: IntCounterVec = "store_faults_total" [StoreFault],
        "Times the store could not write or read, by what kept it.";
    store_size_bytes: IntGauge = "store_size_bytes" [],
        "Bytes the database takes on the disk; measured every now and then, as those of the disk are.";
    store_disk_free_bytes: IntGauge = "store_disk_free_bytes" [],
        "Bytes that are free for the database on its disk.";
    store_disk_size_bytes: IntGauge = "store_disk_size_bytes" [],
        "Bytes of the disk the database is on.";
    store_operations_waiting: IntGauge = "store_operations_waiting" [],
        "Operations waiting for the store's writer.";
    store_unwritten_past: IntGauge = "store_unwritten_past" [],
        "Remembered ids, ended legs and past calls that are in memory and in the log until the next checkpoint; there is one \
        once there are 400,000.";
    log_size_bytes: IntGauge = "log_size_bytes" [],
        "Bytes of the event log's segments.";
    log_segments: IntGauge = "log_segments" [],
        "Segments of the event log.";
    log_oldest_timestamp: Gauge = "log_oldest_timestamp_seconds" [],
        "Unix time of the newest group in the oldest segment of the event log; 0 while there is none.";
    log_append: Histogram = "log_append_seconds" [] in COMMIT,
        "Time to write one group to the event log and sync it.";
    log_group_events: Histogram = "log_group_events" [] in GROUP,
        "Events in one group of the event log.";
    router_batches_waiting: IntGauge = "router_batches_waiting" [],
        "Batches of events waiting for the router.";
    logins_under_way: IntGauge = "logins_under_way" [],
        "Attempts to log in that have begun and not ended, those included that the server keeps waiting.";
    logins_waiting: IntGauge = "logins_waiting" [],
        "Attempts to log in that wait for their turn.";
    logins_taken_over: IntCounter = "logins_taken_over_total" [],
        "Attempts to log in that lost their turn to another: the server answered nobody for a second, or the other one had lost its \
        session. They go on, so that there are for a moment more attempts at once than `xmpp.concurrent_logins`.";
    messages_in_hand: IntGauge = "messages_in_hand" [],
        "Room taken by messages that are read and not yet on the disk, over all accounts, in units of 2 KiB of the events that \
        come out of them; a usual message takes one, and there are 2,048.";
    actor_restarts: IntCounterVec = "actor_restarts_total" [ActorKind],
        "Actors that had to be rebuilt, by kind.";
    feed_clients: IntGauge = "feed_clients" [],
        "Clients that watch the live feed.";
    feed_clients_refused: IntCounter = "feed_clients_refused_total" [],
        "Clients of the live feed turned away because there were as many as there may be.";
    feed_events_lost: IntCounter = "feed_events_lost_total" [],
        "Events that clients of the live feed did not get because they read too slowly.";
    http_connections: IntGauge = "http_connections" [],
        "Connections to the HTTP port.";
    http_connections_evicted: IntCounter = "http_connections_evicted_total" [],
        "Connections to the HTTP port closed to make room for others, or because nobody read the answer.";
    http_answers_refused: IntCounter = "http_answers_refused_total" [],
        "Requests to the HTTP port answered 503 because the answers under way left no room for theirs.";
    log_lines_dropped: IntCounter = "log_lines_dropped_total" [],
        "Lines of the log that were dropped because standard error is not read as fast as it is written to.";
    config_reloads: IntCounterVec = "config_reloads_total" [ReloadOutcome],
        "Reloads of the configuration, by how they ended.";
}
