//! `demo`, and `simulate` with `run`: a whole system with no set-up.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use support::condition::{SOON, until};
use support::daemon::Daemon;
use support::http;
use support::metrics::Metrics;

fn start(arguments: &[&str], output: &Path) -> Child {
    let file = File::create(output).unwrap();
    Command::new(env!("CARGO_BIN_EXE_onsip-router"))
        .args(arguments)
        .current_dir(output.parent().unwrap())
        .stdin(Stdio::null())
        .stderr(file.try_clone().unwrap())
        .stdout(file)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn read(output: &Path) -> String {
    std::fs::read_to_string(output).unwrap()
}

#[tokio::test]
async fn the_demo_shows_a_working_system_and_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("demo.log");
    let arguments = ["demo", "--accounts", "5", "--calls-per-minute", "300", "--duration", "8"];
    let mut demo = start(&arguments, &output);
    let metrics = until("the address of the metrics", SOON, async || {
        let text = read(&output);
        let line = text.lines().find_map(|line| line.strip_prefix("metrics: http://"))?;
        line.strip_suffix("/metrics").map(|address| address.parse().unwrap())
    });
    let address = metrics.await.unwrap_or_else(|error| panic!("{error}\n{}", read(&output)));
    assert!(read(&output).contains(&format!("status page: http://{address}/\n")), "{}", read(&output));
    let online = until("five active subscriptions", Duration::from_secs(7), async || {
        let scrape = Metrics::parse(&http::get(address, "/metrics", &[]).await.ok()?.body);
        (scrape.value("subscriptions", &[("state", "active")])? > 4.0).then_some(())
    });
    online.await.unwrap_or_else(|error| panic!("{error}\n{}", read(&output)));
    let page = http::get(address, "/", &[]).await.unwrap();
    assert!(page.status == 200 && page.body.contains("demo-5"), "{}", page.body);

    let status = tokio::time::timeout(Duration::from_secs(18), demo.wait()).await.expect("it ends").unwrap();
    let text = read(&output);
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(text.contains("5 of 5 accounts online"), "{text}");
    for kind in ["requested", "confirmed", "ended"] {
        assert!(text.contains(&format!("com.onsip.call.{kind}")), "{kind}: {text}");
    }
    for alarming in ["ERROR", "panicked", "WARN"] {
        assert!(!text.contains(alarming), "{text}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "it leaves nothing behind where it was started");
}

#[tokio::test]
async fn the_demo_with_faults_survives_them() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("demo.log");
    let status = start(&["demo", "--accounts", "5", "--duration", "3", "--faults"], &output).wait().await.unwrap();
    let text = read(&output);
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[tokio::test]
async fn the_configuration_that_simulate_prints_is_one_that_run_takes() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("simulated.toml");
    let arguments = ["simulate", "--listen", "127.0.0.1:0", "--accounts", "4", "--calls-per-minute", "300"];
    let mut simulate = start(&arguments, &output);
    let config =
        until("a whole configuration", SOON, async || Some(read(&output)).filter(|text| text.contains("[sinks")));
    let config = config.await.unwrap();

    let environment = [("ONSIP_ROUTER__HTTP__LISTEN", "127.0.0.1:0")];
    let mut daemon = Daemon::start(&config, &environment).await;
    daemon.until_metric("subscriptions", &[("state", "active")], SOON, |active| active > 3.0).await;
    daemon
        .until("ten lines on standard output", SOON, async || (daemon.stdout().lines().count() >= 10).then_some(()))
        .await;
    for line in daemon.stdout().lines().take(10) {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["specversion"], "1.0");
    }
    assert_eq!(daemon.terminate().await.code(), Some(0), "{}", daemon.log());

    let pid = simulate.id().unwrap().to_string();
    assert!(Command::new("sh").args(["-c", "kill -s TERM \"$1\"", "sh", &pid]).status().await.unwrap().success());
    let status = tokio::time::timeout(SOON, simulate.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(0), "{}", read(&output));
}
