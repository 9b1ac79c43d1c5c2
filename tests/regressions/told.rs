//! What operators are told of sinks and their queues: F3, F5, F9, F10 and F11.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use onsip_router::domain::BareJid;
use onsip_router::simulator::Simulator;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::support::condition::{self, SOON};
use crate::support::daemon::Daemon;
use crate::support::port;
use crate::support::program::{self, Said};
use crate::support::receiver::{Answer, Received, Receiver, status};
use crate::support::stage::*;

const TOKEN: &str = "token-of-ours";
/// Somebody else who calls.
const OTHER: &str = "sip:+12125550199@carrier.test";

fn webhook(receiver: &Receiver) -> String {
    format!("type = \"webhook\"\nurl = \"http://{}/\"\ntoken = \"{TOKEN}\"", receiver.address())
}

/// Answers as is set, where `concerns` says so, and else with 200.
fn set_to(
    first: u16,
    body: &'static str,
    concerns: impl Fn(&Received) -> bool + Send + Sync + 'static,
) -> (Receiver, Arc<AtomicU16>) {
    let answer = Arc::new(AtomicU16::new(first));
    let said = Arc::clone(&answer);
    let receiver = Receiver::start(move |post| {
        let code = if concerns(post) { said.load(Ordering::SeqCst) } else { 200 };
        Answer { body: body.to_owned(), ..status(code) }
    });
    (receiver, answer)
}

fn is_of(caller: &str) -> impl Fn(&Received) -> bool + use<> {
    let caller = caller.to_owned();
    move |post| String::from_utf8_lossy(&post.body).contains(&caller)
}

fn calls_come(onsip: &Simulator, jid: &BareJid, caller: &str, count: usize) {
    for _ in 0..count {
        let mut call = onsip.call_in(jid.as_str(), caller, 1);
        onsip.hang_up(&mut call);
    }
}

/// What the API says of the sink `crm`, as soon as it is as wished.
async fn until_shown(daemon: &Daemon, what: &str, wish: impl Fn(&Value) -> bool) -> Value {
    daemon
        .until(what, SOON, async || {
            let Value::Array(sinks) = daemon.json("/api/v1/sinks").await else { return None };
            sinks.into_iter().find(|sink| sink["name"] == "crm").filter(&wish)
        })
        .await
}

/// The line about the sink `crm` on the screen of `status` that begins so.
async fn screen(daemon: &Daemon, beginning: &str) -> String {
    let url = format!("http://{}", daemon.listen());
    let said = program::run(daemon.folder(), &["status", "--url", &url]).await;
    said.stdout.lines().find(|line| line.starts_with(beginning)).unwrap_or_else(|| panic!("{said:#?}")).to_owned()
}

async fn queue(daemon: &Daemon, arguments: &[&str]) -> Said {
    let mut whole = vec!["queue", arguments[0], "--config", "config.toml"];
    whole.extend(&arguments[1..]);
    let said = program::run(daemon.folder(), &whole).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    said
}

#[tokio::test]
async fn f3_a_sink_that_is_back_says_once_what_was_late_and_nothing_of_it_waits() {
    let (receiver, answer) = set_to(500, "", |_| true);
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("crm", &webhook(&receiver));
    let daemon = setup.section("[log]\nrepeat_after = \"0s\"").start_active(1).await;
    calls_come(&onsip, &anna, CALLER, 12);
    daemon.until_calls(24).await;
    until_shown(&daemon, "an outage", |crm| crm["up"] == false && crm["retry_at"].is_string()).await;
    daemon.until_settled_for("log").await;
    answer.store(200, Ordering::SeqCst);
    let line = daemon.until_logged("caught up: ", SOON).await;
    let ids: BTreeSet<_> = receiver.received().iter().map(|post| post.header("webhook-id").to_owned()).collect();
    assert!(line.contains(&format!("caught up: {} events, oldest ", ids.len())), "{line}");
    assert!(line.contains(" late") && line.contains("sink=crm") && !line.contains("held_calls"), "{line}");
    until_shown(&daemon, "nothing held", |crm| {
        crm["queued"] == 0 && crm["held"] == 0 && crm["held_retry_at"].is_null()
    })
    .await;
    calls_come(&onsip, &anna, CALLER, 1);
    daemon.until_calls(26).await;
    daemon.until_settled().await;
    assert_eq!(daemon.log().matches("caught up: ").count(), 1, "{}", daemon.log());
}

#[tokio::test]
async fn f3_the_next_try_of_what_is_held_is_shown() {
    let (receiver, _) = set_to(500, "", is_of(CALLER));
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("crm", &webhook(&receiver));
    let daemon = setup.start_active(1).await;
    calls_come(&onsip, &anna, CALLER, 1);
    calls_come(&onsip, &anna, OTHER, 1);
    // While it is just being tried, there is no next try.
    let waits = |crm: &Value| crm["held"] == 1 && crm["queued"] == 2 && crm["held_retry_at"].is_string();
    let held = until_shown(&daemon, "a held call", waits).await;
    assert!(held["retry_at"].is_null(), "{held}");
    let next = screen(&daemon, "crm: 1 call held, next try ").await;
    assert!(next.ends_with('Z'), "{next}");
    let page = daemon.get("/", &["Accept: text/html"]).await.body;
    assert!(page.contains("Held calls") && page.contains("Next try"), "{page}");
    assert!(daemon.until_logged("a delivery failed", SOON).await.contains(" next_try="));
}

#[tokio::test]
async fn f5_a_sink_that_is_removed_while_it_is_owed_events_is_told_of_and_shown() {
    let (receiver, answer) = set_to(500, "", |_| true);
    let (onsip, anna) = service_with_anna().await;
    let without = Setup::of(&onsip).account("front-desk", &anna);
    let with = without.clone().sink("crm", &webhook(&receiver));
    let mut daemon = with.start_active(1).await;
    calls_come(&onsip, &anna, CALLER, 10);
    daemon.until_calls(20).await;
    daemon.until_settled_for("log").await;
    without.reload(&daemon).await;
    for run in 0..2 {
        let line = daemon.until_logged("a sink that is not configured is owed events", SOON).await;
        let owed = queue(&daemon, &["list"]).await.row(&["crm"])[2].clone();
        assert!(
            line.contains(" WARN ") && line.contains("sink=crm") && line.contains(&format!("owed={owed} ")),
            "{line}"
        );
        for way in ["configure it again under its name", "`queue list --sink crm`", "`queue purge --sink crm --all`"] {
            assert!(line.contains(way), "{line}");
        }
        let shown = until_shown(&daemon, "a sink that is not configured", |crm| crm["configured"] == false).await;
        assert_eq!((shown["queued"].to_string(), &shown["up"]), (owed.clone(), &false.into()), "{shown}");
        let cells = program::split(&screen(&daemon, "crm ").await);
        assert_eq!((cells[2].as_str(), &cells[3]), ("not configured", &owed), "{cells:?}");
        assert!(daemon.get("/", &["Accept: text/html"]).await.body.contains("not configured"));
        let metrics = daemon.metrics().await;
        assert_eq!(metrics.value("sink_queue_events", &[("sink", "crm")]), None);
        assert_eq!(metrics.value("unconfigured_sink_events", &[]), owed.parse().ok());
        assert_eq!(daemon.json("/api/v1/summary").await["sinks"]["total"], 1);
        if run == 0 {
            daemon.terminate().await;
            daemon.start_again().await;
        }
    }
    answer.store(200, Ordering::SeqCst);
    with.reload(&daemon).await;
    until_shown(&daemon, "the sink at work again", |crm| {
        crm["configured"] == true && crm["up"] == true && crm["queued"] == 0
    })
    .await;
    without.reload(&daemon).await;
    daemon.until_logged("configuration: 1 stopped", SOON).await;
    daemon
        .until("nothing shown of what is owed nothing", SOON, async || {
            daemon.json("/api/v1/sinks").await.as_array().is_some_and(|sinks| sinks.len() == 1).then_some(())
        })
        .await;
    assert_eq!(daemon.metric("unconfigured_sink_events", &[]).await.to_string(), "0");
}

#[tokio::test]
async fn f9_a_dead_letter_says_what_the_peer_said_and_no_secret() {
    const SAID: &str =
        "{\"error\":\"un\u{200b}known\u{202e} field\u{1b}[31m data.subject\",\"sent\":\"Bearer token-of-ours\"}";
    let (receiver, _) = set_to(400, SAID, is_of(CALLER));
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("crm", &webhook(&receiver));
    let daemon = setup.start_active(1).await;
    calls_come(&onsip, &anna, CALLER, 1);
    daemon.until_count("sink_deliveries_total", &[("sink", "crm"), ("outcome", "retried")], 1).await;
    calls_come(&onsip, &anna, OTHER, 1);
    daemon.until_metric("sink_dead_events", &[("sink", "crm")], SOON, |dead| dead > 1.5).await;
    let listed = queue(&daemon, &["list", "--sink", "crm"]).await;
    let told = r#"400 Bad Request: {"error":"unknown field [31m data.subject","sent":"Bearer [secret]"}"#;
    assert!(listed.stdout.contains(told), "{listed:#?}");
    assert!(daemon.until_logged("kept as dead letters", SOON).await.contains("unknown field"));
    assert!(!listed.stdout.contains(TOKEN) && !daemon.log().contains(TOKEN));
}

#[tokio::test]
async fn f10_what_an_operator_does_to_the_queue_is_told_and_counted_by_the_running_daemon() {
    let (receiver, answer) = set_to(400, "", is_of(CALLER));
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("crm", &webhook(&receiver));
    let daemon = setup.start_active(1).await;
    calls_come(&onsip, &anna, CALLER, 1);
    daemon.until_count("sink_deliveries_total", &[("sink", "crm"), ("outcome", "retried")], 1).await;
    calls_come(&onsip, &anna, OTHER, 1);
    let dead =
        async |wish: fn(f64) -> bool| daemon.until_metric("sink_dead_events", &[("sink", "crm")], SOON, wish).await;
    dead(|dead| dead > 1.5).await;
    daemon.until_settled().await;

    answer.store(200, Ordering::SeqCst);
    let listed = queue(&daemon, &["list", "--sink", "crm", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let position = listed["dead_letters"][0]["position"].to_string();
    queue(&daemon, &["retry", "--sink", "crm", &position]).await;
    let line = daemon.until_logged("`queue retry`", SOON).await;
    assert!(line.contains("sink=crm") && line.contains("events=1"), "{line}");
    let counted = async |action: &str, count: u64| {
        daemon.until_exactly("sink_operator_events_total", &[("sink", "crm"), ("action", action)], count).await;
    };
    counted("retried", 1).await;
    assert_eq!(daemon.json("/api/v1/summary").await["totals"]["revived"], 1);
    let url = format!("http://{}", daemon.listen());
    let screen = program::run(daemon.folder(), &["status", "--url", &url]).await;
    assert!(screen.stdout.contains("2 given up (1 owed again by an operator)"), "{screen:#?}");
    dead(|dead| (0.5..1.5).contains(&dead)).await;

    queue(&daemon, &["purge", "--sink", "crm", "--dead", "--yes"]).await;
    let line = daemon.until_logged("dead letters are gone", SOON).await;
    assert!(line.contains("sink=crm") && line.contains("events=1") && line.contains("`queue purge`"), "{line}");
    counted("purged_dead", 1).await;
    dead(|dead| dead < 0.5).await;

    answer.store(500, Ordering::SeqCst);
    calls_come(&onsip, &anna, CALLER, 1);
    until_shown(&daemon, "two owed events", |crm| crm["queued"] == 2 && crm["held"] == 1).await;
    queue(&daemon, &["purge", "--sink", "crm", "--all", "--yes"]).await;
    let line = daemon.until_logged("owed events are gone", SOON).await;
    assert!(line.contains("sink=crm") && line.contains("events=2"), "{line}");
    counted("purged", 2).await;
    until_shown(&daemon, "nothing owed or held", |crm| crm["queued"] == 0 && crm["held"] == 0).await;
    counted("retried", 1).await;
    counted("purged_dead", 1).await;
}

/// A nats-server with a stream, at `address`.
async fn nats(folder: &std::path::Path, address: SocketAddr) -> Child {
    let file = folder.join("nats.conf");
    let text = format!("listen: \"{address}\"\njetstream {{ store_dir: \"{}\" }}\n", folder.join("nats").display());
    fs::write(&file, text).unwrap();
    let mut command = Command::new("nats-server");
    command.arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().expect("nats-server is installed");
    let up = async || tokio::net::TcpStream::connect(address).await.ok();
    condition::until("nats-server", SOON, up).await.unwrap();
    child
}

#[tokio::test]
async fn f11_a_server_that_goes_away_is_told_of_in_our_words_with_the_name_of_its_sink() {
    let (folder, address) = (tempfile::tempdir().unwrap(), port::free());
    let mut server = nats(folder.path(), address).await;
    let (onsip, anna) = service_with_anna().await;
    let sink = format!("type = \"nats\"\nurl = \"nats://{address}\"\nstream = \"ONSIP\"");
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("bus", &sink);
    let daemon = setup.start_active(1).await;
    calls_come(&onsip, &anna, CALLER, 2);
    daemon.until_count("sink_deliveries_total", &[("sink", "bus"), ("outcome", "delivered")], 4).await;
    server.kill().await.unwrap();
    calls_come(&onsip, &anna, CALLER, 6);
    until_down(&daemon).await;
    let told = daemon.log();
    for line in told.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")) {
        assert!(!line.contains("async_nats"), "{line}");
    }
    let failed = daemon.until_logged("a delivery failed", SOON).await;
    assert!(failed.contains("sink=bus") && failed.contains("why="), "{failed}");
    let _server = nats(folder.path(), address).await;
    let line = daemon.until_logged("caught up: ", SOON).await;
    assert!(line.contains("sink=bus"), "{line}");
}

async fn until_down(daemon: &Daemon) {
    daemon.until_metric("sink_up", &[("sink", "bus")], SOON, |up| up < 0.5).await;
    daemon.until_logged("the sink takes nothing", SOON).await;
}
