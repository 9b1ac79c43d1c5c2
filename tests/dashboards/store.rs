//! The database, its disk, and the process.

use super::board::Board;
use super::panel::Panel;

pub fn board() -> Board {
    Board {
        name: "store",
        title: "store and process",
        says: "Whether events can be committed and how fast, the disk, the process, restarts, and what a scrape costs.",
        chosen: None,
        rows: vec![("Store", store()), ("Disk", disk()), ("Process", process())],
    }
}

const WRITABLE: &[(&str, &str, &str)] = &[("0", "not writable", "red"), ("1", "writable", "green")];

fn store() -> Vec<Panel> {
    vec![
        Panel::words(
            "Writable",
            "Whether events can be committed. While they cannot, nothing is received.",
            &[("min by (instance) (onsip_router_store_writable{$here})", "{{instance}}")],
            WRITABLE,
        )
        .runbook("OnsipRouterStoreNotWritable"),
        Panel::lines(
            "Commit",
            "Receipt to durable commit: the window in which a crash loses an event that the server does not send again.",
            "s",
            &[
                (
                    "histogram_quantile(0.5, sum by (le) (rate(onsip_router_event_commit_seconds_bucket{$here}[$rate])))",
                    "p50",
                ),
                (
                    "histogram_quantile(0.99, sum by (le) (rate(onsip_router_event_commit_seconds_bucket{$here}[$rate])))",
                    "p99",
                ),
            ],
        ),
        Panel::lines(
            "Faults",
            "Times the store could not write or read, by what kept it.",
            "short",
            &[("sum by (kind) (increase(onsip_router_store_faults_total{$here}[$rate]))", "{{kind}}")],
        )
        .runbook("OnsipRouterStoreNotWritable"),
        Panel::lines(
            "Waiting for the disk",
            "Operations that wait for the store's writer, batches that wait for the router, and messages read and not on the \
             disk yet. All are bounded; at the bound reading stops.",
            "short",
            &[
                ("sum by (instance) (onsip_router_store_operations_waiting{$here})", "operations {{instance}}"),
                ("sum by (instance) (onsip_router_router_batches_waiting{$here})", "batches {{instance}}"),
                ("sum by (instance) (onsip_router_messages_in_hand{$here})", "messages {{instance}}"),
            ],
        ),
        Panel::lines(
            "Kept in memory",
            "Ids, ended legs and past calls until the next checkpoint, and events that sinks have read and are not through \
             with. All of them are on the disk as well.",
            "short",
            &[
                ("sum by (instance) (onsip_router_store_unwritten_past{$here})", "past {{instance}}"),
                ("sum by (instance) (onsip_router_sink_pending_events{$here})", "pending {{instance}}"),
            ],
        ),
    ]
}

fn disk() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Free",
            "Share of the disk that is free for the database.",
            "percentunit",
            &[(
                "min by (instance) (onsip_router_store_disk_free_bytes{$here} / onsip_router_store_disk_size_bytes{$here})",
                "{{instance}}",
            )],
        )
        .red_below(0.1)
        .runbook("OnsipRouterDiskNearFull"),
        Panel::lines(
            "Free bytes",
            "Bytes of the disk that are free for the database.",
            "bytes",
            &[("min by (instance) (onsip_router_store_disk_free_bytes{$here})", "{{instance}}")],
        )
        .runbook("OnsipRouterDiskNearFull"),
        Panel::lines(
            "Database",
            "Bytes the database takes, with the log that is written first. Most of it is what sinks have not acknowledged.",
            "bytes",
            &[("max by (instance) (onsip_router_store_size_bytes{$here})", "{{instance}}")],
        ),
    ]
}

fn process() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Memory",
            "Resident memory.",
            "bytes",
            &[("process_resident_memory_bytes{$here} and on (job, instance) onsip_router_build_info", "{{instance}}")],
        ),
        Panel::lines(
            "Processor",
            "Cores in use.",
            "short",
            &[(
                "rate(process_cpu_seconds_total{$here}[$rate]) and on (job, instance) onsip_router_build_info",
                "{{instance}}",
            )],
        ),
        Panel::lines(
            "Open files",
            "Share of the limit. Each account needs one.",
            "percentunit",
            &[(
                "process_open_fds{$here} / process_max_fds{$here} and on (job, instance) onsip_router_build_info",
                "{{instance}}",
            )],
        )
        .red_from(0.9),
        Panel::lines(
            "Actors rebuilt",
            "Parts of the router that died and were rebuilt, by kind. Usually none; the log says why.",
            "short",
            &[("sum by (actor) (increase(onsip_router_actor_restarts_total{$here}[$rate]))", "{{actor}}")],
        ),
        Panel::lines(
            "Reloads",
            "Reloads of the configuration, by how they ended. One that failed changed nothing.",
            "short",
            &[("sum by (outcome) (increase(onsip_router_config_reloads_total{$here}[$rate]))", "{{outcome}}")],
        ),
        Panel::lines(
            "Scrape",
            "How long it takes to scrape the router, as Prometheus sees it.",
            "s",
            &[("scrape_duration_seconds{$here} and on (job, instance) onsip_router_build_info", "{{instance}}")],
        )
        .runbook("OnsipRouterAbsent"),
        Panel::lines(
            "Live feed",
            "Clients that watch the live feed, those turned away because there were enough, and events that slow ones missed.",
            "short",
            &[
                ("sum by (instance) (onsip_router_feed_clients{$here})", "watching {{instance}}"),
                (
                    "sum by (instance) (increase(onsip_router_feed_clients_refused_total{$here}[$rate]))",
                    "turned away {{instance}}",
                ),
                (
                    "sum by (instance) (increase(onsip_router_feed_events_lost_total{$here}[$rate]))",
                    "events missed {{instance}}",
                ),
            ],
        ),
        Panel::table(
            "Builds",
            "What runs where.",
            "none",
            "onsip_router_build_info{$here}",
            &[("instance", "Instance"), ("version", "Version"), ("commit", "Commit")],
        ),
        Panel::lines(
            "Running for",
            "Time since the start of the process.",
            "s",
            &[(
                "time() - process_start_time_seconds{$here} and on (job, instance) onsip_router_build_info",
                "{{instance}}",
            )],
        ),
    ]
}
