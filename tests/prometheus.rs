//! Boards, rules and alerts against a real Prometheus that scrapes a daemon with traffic and faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "prometheus/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use onsip_router::simulator::{Simulator, Traffic};
use serde_json::Value;
use server::{Prometheus, promtool};
use support::daemon::Daemon;
use support::receiver::{Answer, Received, Receiver, status};
use support::stage::{Setup, account, service};

/// An account that works.
const ACCOUNT: &str = "user-1";
/// Expressions that have no data in this test, and why that is as it should be.
const EMPTY: [(&str, &str); 3] = [
    ("offset 1w", "nothing was a week ago"),
    ("increase1h[1d:1h]", "what is recorded since a moment has no value yet at a full hour"),
    (":increase1d", "nor has what is recorded of that"),
];
const RINGING: &[u8] = b"com.onsip.call.requested";
/// Once everything is scraped each second, what takes longer than a few of them is wrong.
const SCRAPED: Duration = Duration::from_secs(90);

/// A daemon with five accounts, of which two are refused, and with a sink that works, one that is away and one that refuses.
struct Scene {
    _onsip: Simulator,
    _receivers: [Receiver; 2],
    daemon: Daemon,
}

impl Scene {
    async fn set() -> Self {
        let onsip = service().await;
        let receivers = [Receiver::start(|_| status(503)), Receiver::start(refuses_ringing)];
        let webhook = |receiver: &Receiver| {
            format!("type = \"webhook\"\nurl = \"http://{}/\"\ncanary = \"1s\"", receiver.address())
        };
        let jids: Vec<_> = (1..=5).map(|n| account(&onsip, &format!("user{n}@acme.test"))).collect();
        let setup = Setup::of(&onsip).onsip("probe_interval = \"2s\"\nsubscription_lease = \"20s\"");
        let setup = setup.sink("away", &webhook(&receivers[0])).sink("wrong", &webhook(&receivers[1]));
        let setup = setup.account_with("locked-out", &jids[0], "password = \"a wrong one\"");
        let setup = setup.account_with("locked-out-too", &jids[4], "password = \"another wrong one\"");
        let seeing = jids[1..4].iter().enumerate();
        let setup = seeing.fold(setup, |setup, (n, jid)| setup.account(&format!("user-{}", n + 1), jid));
        let daemon = setup.start_active(3).await;
        let addresses = jids[1..4].iter().map(ToString::to_string).collect();
        let mut traffic = Traffic::new(addresses, 600.0);
        traffic.ring = (Duration::from_millis(100), Duration::from_secs(1));
        traffic.talk = (Duration::from_millis(100), Duration::from_secs(1));
        onsip.run_traffic(traffic);
        daemon.until_count("sink_deliveries_total", &[("sink", "wrong"), ("outcome", "dead")], 1).await;
        daemon.until_count("legs_ended_total", &[("reason", "retracted")], 1).await;
        Self { _onsip: onsip, _receivers: receivers, daemon }
    }
}

/// Takes every event but those of one type.
fn refuses_ringing(received: &Received) -> Answer {
    let rings = received.body.windows(RINGING.len()).any(|part| part == RINGING);
    status(if rings { 400 } else { 204 })
}

#[tokio::test]
async fn rules_and_configuration_are_sound_and_every_alert_passes_its_tests() {
    for arguments in [
        &["check", "config", "prometheus.yml"][..],
        &["check", "rules", "rules.yml", "alerts.yml"],
        &["test", "rules", "alerts_test.yml", "silence_test.yml"],
    ] {
        let said = promtool(arguments, "").await;
        assert!(said.status.success(), "{arguments:?}: {said:#?}");
    }
}

#[actix_rt::test]
async fn promtool_has_nothing_to_say_about_a_scrape() {
    let scene = Scene::set().await;
    let scrape = scene.daemon.get("/metrics", &[]).await.body;
    let said = promtool(&["check", "metrics"], &scrape).await;
    assert!(said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(), "{said:#?}");
}

#[actix_rt::test]
async fn every_expression_of_boards_rules_and_alerts_has_data() {
    let mut scene = Scene::set().await;
    let prometheus = Prometheus::start(scene.daemon.listen()).await;

    let mut without_data = [of_boards(), of_rules(&prometheus.rules().await)].concat();
    without_data.retain(|(_, expression)| !EMPTY.iter().any(|(part, _)| expression.contains(part)));
    let found = support::condition::until("data", SCRAPED, async || {
        let mut still = Vec::new();
        for (place, expression) in &without_data {
            if !prometheus.has_data(expression).await {
                still.push((place.clone(), expression.clone()));
            }
        }
        without_data = still;
        without_data.is_empty().then_some(())
    });
    let found = found.await;
    assert!(found.is_ok(), "{without_data:#?}");

    let rules = prometheus.rules().await;
    for rule in &rules {
        assert_eq!((rule["health"].as_str(), rule["lastError"].as_str()), (Some("ok"), None), "{rule:#}");
    }
    // Some of it is wrong here, and said to be; what is well raises no alert.
    let raised = until_raised(&prometheus, &["OnsipRouterManyAccountsBlind", "OnsipRouterDeadLetters"]).await;
    for name in ["OnsipRouterAbsent", "OnsipRouterStoreNotWritable", "OnsipRouterEventsSilent"] {
        assert!(!raised.contains(name), "{raised:?}");
    }
    scene.daemon.kill9().await;
    until_raised(&prometheus, &["OnsipRouterAbsent"]).await;
}

/// Waits until these alerts are pending or firing, and returns all that are.
async fn until_raised(prometheus: &Prometheus, wanted: &[&str]) -> BTreeSet<String> {
    let what = format!("{wanted:?}");
    let raised = support::condition::until(&what, SCRAPED, async || {
        let rules = prometheus.rules().await;
        let raised = rules.iter().filter(|rule| rule["type"] == "alerting" && rule["state"] != "inactive");
        let raised: BTreeSet<_> = raised.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect();
        wanted.iter().all(|name| raised.contains(*name)).then_some(raised)
    });
    raised.await.unwrap()
}

/// Every metric and every recorded series an expression names.
fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.contains("onsip_router_")).map(str::to_owned).collect()
}

/// What is recorded, and whatever an alert is made of: an alert itself has nothing to say while all is well.
fn of_rules(rules: &[Value]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for rule in rules {
        let (name, query) = (rule["name"].as_str().unwrap(), rule["query"].as_str().unwrap());
        if rule["type"] == "recording" {
            all.push((name.to_owned(), query.to_owned()));
        }
        let parts = names(query).into_iter().map(|part| format!("{{__name__=\"{part}\"}}"));
        all.extend(parts.map(|part| (name.to_owned(), part)));
    }
    assert!(all.len() > 20, "{all:#?}");
    all
}

/// What every panel and every variable asks for, with where that is, as Grafana would fill it in.
fn of_boards() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/grafana/boards");
    let mut all = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let board: Value = serde_json::from_str(&std::fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                all.push((format!("{}, {}", board["title"], panel["title"]), filled_in(&text(&target["expr"]))));
            }
        }
        let variables = board["templating"]["list"].as_array().unwrap().iter();
        for variable in variables.filter(|variable| variable["type"] == "query") {
            let query = text(&variable["definition"]);
            let inner = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
            let (metric, label) = inner.rsplit_once(", ").unwrap();
            all.push((format!("{}, ${label}", board["title"]), filled_in(&format!("count by ({label}) ({metric})"))));
        }
    }
    assert!(all.len() > 60, "{all:#?}");
    all
}

fn filled_in(expression: &str) -> String {
    let filled = expression.replace("$__rate_interval", "10s").replace("$account", ACCOUNT);
    let filled = filled.replace("$instance", ".*").replace("$sink", ".*");
    assert!(!filled.contains('$'), "{filled}");
    filled
}
