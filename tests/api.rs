//! `/api/v1`: what its description promises is what is answered, for a board with some of everything on it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use onsip_router::board::{AccountStatus, Board, SinkStatus, SubscriptionStatus};
use onsip_router::domain::event::EventType;
use onsip_router::domain::moment::Moment;
use onsip_router::domain::status::{AccountState, GapReason, SinkState, SubscriptionState};
use onsip_router::feed::Feed;
use onsip_router::http::api::openapi;
use onsip_router::http::options::Options;
use onsip_router::http::{PATHS, Server, listen};
use onsip_router::metrics::Metrics;
use onsip_router::metrics::history::STEP;
use onsip_router::protocol::coverage::Blind;
use serde_json::{Value, json};

use support::http::{self, Response};
use support::stage::{self, CALLER};

struct Daemon {
    server: Server,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
}

fn daemon() -> Daemon {
    let options =
        Options { listen: "127.0.0.1:0".parse().unwrap(), token: None, allowed_hosts: Vec::new(), mask_numbers: false };
    let listener = listen(&options).unwrap();
    let board = Arc::new(Board::default());
    let metrics = Arc::new(Metrics::new("1.2.3", "abc", ["front"], ["active-calls"], ["log"]).unwrap());
    let server = listener.serve(Arc::clone(&board), Arc::clone(&metrics), Feed::default()).unwrap();
    Daemon { server, board, metrics }
}

impl Daemon {
    /// Four accounts in different states, a subscription each, and two sinks.
    fn furnish(&self) {
        let now = Timestamp::UNIX_EPOCH;
        let rows = [
            ("back", AccountState::Online, SubscriptionState::Active),
            ("desk", AccountState::Refused, SubscriptionState::Lost),
            ("front", AccountState::Online, SubscriptionState::Denied),
            ("spare", AccountState::Disabled, SubscriptionState::Pending),
        ];
        let mut view = self.board.view();
        for (name, state, subscribed) in rows {
            let blind =
                (state == AccountState::Refused).then_some(Blind { since: now, reason: GapReason::Authorization });
            let jid = Some(format!("{name}@acme.test/onsip-router"));
            let clock_ahead_seconds = Some(-0.5);
            let status = AccountStatus { blind, jid, clock_ahead_seconds, ..AccountStatus::new(state, now) };
            view.accounts.insert(name.parse().unwrap(), status);
            let lease_until = Some(now);
            let status = SubscriptionStatus {
                state: subscribed,
                since: now,
                why: None,
                subid: Some("s1".into()),
                lease_until,
                renewed: None,
            };
            let key =
                (name.parse().unwrap(), "active-calls".to_owned(), format!("/me/{name}@acme.test").as_str().into());
            view.subscriptions.insert(key, status);
        }
        view.sinks.insert("log".parse().unwrap(), SinkStatus::new("file"));
        let crm =
            SinkStatus { state: SinkState::Down, queued: 7, dead: 2, oldest: Some(now), ..SinkStatus::new("webhook") };
        view.sinks.insert("crm".parse().unwrap(), crm);
        view.store_open = true;
    }

    async fn get(&self, path: &str) -> Response {
        http::get(self.server.addr(), path, &["Accept: application/json"]).await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        serde_json::from_str(&response.body).unwrap()
    }

    async fn names(&self, path: &str) -> Vec<String> {
        let rows = self.json(path).await;
        let name = |row: &Value| row.get("name").unwrap_or(&row["account"]).as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(name).collect()
    }
}

/// The schema of what `path` answers with `status`, able to look up the parts it names.
fn schema(path: &str, status: u16) -> jsonschema::Validator {
    let description = openapi::description();
    let pointer = format!(
        "/paths/{}/get/responses/{status}/content/application~1json/schema",
        path.replace('~', "~0").replace('/', "~1")
    );
    let mut schema = description.pointer(&pointer).unwrap_or_else(|| panic!("no {pointer}")).clone();
    schema["components"] = description["components"].clone();
    jsonschema::validator_for(&schema).unwrap()
}

fn assert_fits(path: &str, status: u16, answer: &Value) {
    let faults: Vec<_> = schema(path, status).iter_errors(answer).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{path}: {faults:#?}\n{answer:#}");
}

#[actix_rt::test]
async fn every_path_of_the_server_is_described_and_every_described_one_is_there() {
    let daemon = daemon();
    let described = daemon.json("/api/v1/openapi.json").await;
    assert_eq!(described["openapi"], "3.1.0");
    let paths: BTreeSet<&str> = described["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(paths, PATHS.iter().copied().collect());
    for path in PATHS.iter().filter(|path| **path != "/api/v1/events") {
        assert_ne!(daemon.get(path).await.status, 404, "{path}");
    }
}

#[test]
fn every_part_the_description_names_is_in_it() {
    fn parts<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| parts(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| parts(value, found)),
            _ => {}
        }
    }
    let description = openapi::description();
    let mut found = BTreeSet::new();
    parts(&description, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for part in found {
        assert!(description.pointer(part.trim_start_matches('#')).is_some(), "{part}");
    }
}

#[actix_rt::test]
async fn every_answer_is_as_described() {
    let daemon = daemon();
    daemon.furnish();
    for n in 0..3 {
        daemon.metrics.sample(Moment::now() + STEP * n);
    }
    for path in PATHS.iter().filter(|path| path.starts_with("/api/v1/") && **path != "/api/v1/events") {
        assert_fits(path, 200, &daemon.json(path).await);
    }
    assert_fits("/readyz", 200, &daemon.json("/readyz").await);
    daemon.board.view().draining = true;
    let response = daemon.get("/readyz").await;
    assert_fits("/readyz", response.status, &serde_json::from_str(&response.body).unwrap());
}

#[test]
fn a_description_that_is_not_met_is_noticed() {
    assert!(!schema("/api/v1/accounts", 200).is_valid(&json!([{"name": "front", "state": "asleep"}])));
    assert!(!schema("/api/v1/history", 200).is_valid(&json!({"step_seconds": 10})));
}

#[actix_rt::test]
async fn a_whole_list_comes_by_name_and_says_how_long_it_is() {
    let daemon = daemon();
    daemon.furnish();
    for (path, count) in [("/api/v1/accounts", 4), ("/api/v1/subscriptions", 4)] {
        let response = daemon.get(path).await;
        assert!(response.head.to_lowercase().contains(&format!("x-total-count: {count}\r\n")), "{}", response.head);
        assert_eq!(daemon.names(path).await, ["back", "desk", "front", "spare"]);
    }
    assert_eq!(daemon.names("/api/v1/sinks").await, ["crm", "log"]);
}

#[actix_rt::test]
async fn a_list_can_be_searched_sorted_and_paged() {
    let daemon = daemon();
    daemon.furnish();
    for (query, names) in [
        ("accounts?order=worst", &["desk", "back", "front", "spare"][..]),
        ("accounts?order=worst&offset=1&limit=2", &["back", "front"]),
        ("accounts?state=online,disabled&offset=2", &["spare"]),
        ("accounts?q=FRONT@", &["front"]),
        ("accounts?blind=true", &["desk"]),
        ("accounts?limit=0", &[]),
        ("subscriptions?order=worst", &["front", "desk", "spare", "back"]),
        ("subscriptions?account=back&q=/me/", &["back"]),
        ("subscriptions?blind=false", &["back"]),
    ] {
        assert_eq!(daemon.names(&format!("/api/v1/{query}")).await, names, "{query}");
    }
    let page = daemon.get("/api/v1/accounts?state=online&limit=1").await;
    assert!(page.head.to_lowercase().contains("x-total-count: 2\r\n"), "{}", page.head);
    for query in ["accounts?state=asleep", "accounts?stat=online", "subscriptions?state=online", "accounts?limit=x"] {
        assert_eq!(daemon.get(&format!("/api/v1/{query}")).await.status, 400, "{query}");
    }
}

#[actix_rt::test]
async fn the_summary_says_what_is_amiss() {
    let daemon = daemon();
    daemon.furnish();
    daemon.metrics.event_received("active-calls", EventType::CallCreated);
    let summary = daemon.json("/api/v1/summary").await;
    assert_eq!(
        (&summary["version"], &summary["commit"], &summary["ready"]),
        (&json!("1.2.3"), &json!("abc"), &json!(true))
    );
    assert_eq!(summary["accounts"]["states"]["online"], 2);
    assert_eq!((&summary["accounts"]["total"], &summary["accounts"]["blind"]), (&json!(4), &json!(1)));
    assert_eq!(
        (&summary["blind"][0]["name"], &summary["blind"][0]["reason"]),
        (&json!("desk"), &json!("authorization"))
    );
    assert_eq!(summary["subscriptions"]["states"]["denied"], 1);
    assert_eq!(
        summary["sinks"],
        json!({"total": 2, "up": 1, "unconfigured": 0, "blocking": 0, "queued": 7, "oldest": "1970-01-01T00:00:00Z", "dead": 2})
    );
    assert_eq!(
        (&summary["totals"]["received"], &summary["last_minute"]["received_per_second"]),
        (&json!(1), &Value::Null)
    );
}

#[actix_rt::test]
async fn a_daemon_counts_what_happened_and_shows_numbers_only_in_part_if_told_so() {
    let (onsip, anna) = stage::service_with_anna().await;
    let setup = stage::Setup::of(&onsip).account("front-desk", &anna).section("mask_numbers = true");
    let daemon = setup.start_active(1).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    let events = daemon.until_calls(1).await;
    daemon.until_count("sink_deliveries_total", &[("outcome", "delivered")], 1).await;
    let totals = daemon.json("/api/v1/summary").await["totals"].clone();
    assert_eq!((&totals["received"], &totals["delivered"], &totals["retried"]), (&json!(1), &json!(1), &json!(0)));

    assert_eq!(events[0]["data"]["from_uri"], CALLER, "the sink gets the number");
    let shown = first_event(daemon.listen()).await;
    assert_eq!(shown["id"], events[0]["id"]);
    assert_eq!(shown["data"]["from_uri"], "sip:+•••••••••11@carrier.test");
}

/// The newest event that is kept.
async fn first_event(server: std::net::SocketAddr) -> Value {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let mut connection = tokio::net::TcpStream::connect(server).await.unwrap();
    connection.write_all(b"GET /api/v1/events?recent=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut lines = BufReader::new(connection).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("the stream goes on");
        if let Some(event) = line.strip_prefix("data: ") {
            return serde_json::from_str(event).unwrap();
        }
    }
}
