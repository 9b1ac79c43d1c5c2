//! A Prometheus of its own for each test, with the configuration and the rules of `dashboards/`, only faster.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::support::condition::{self, SOON};
use crate::support::{http, port};

/// Where the router listens in `prometheus.yml`.
const ROUTER: &str = "127.0.0.1:9464";

/// The folder with configuration, rules and their tests.
pub fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/prometheus")
}

/// The server. Dropping it kills it.
pub struct Prometheus {
    folder: TempDir,
    address: SocketAddr,
    _process: Child,
}

impl Prometheus {
    /// Starts it against a router at `router`: it scrapes and evaluates every second.
    pub async fn start(router: SocketAddr) -> Self {
        let folder = TempDir::with_prefix("prometheus-").expect("a temporary folder");
        for file in ["prometheus.yml", "rules.yml", "alerts.yml"] {
            let text = fs::read_to_string(rules().join(file)).expect(file);
            let text = text.replace(ROUTER, &router.to_string());
            let text = text.replace("interval: 15s", "interval: 1s").replace("interval: 1m", "interval: 1s");
            fs::write(folder.path().join(file), text).expect(file);
        }
        let address = port::free();
        let log = fs::File::create(folder.path().join("output.log")).expect("a file");
        let process = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|fault| panic!("prometheus: {fault}; start these tests through tests/run"));
        let prometheus = Self { folder, address, _process: process };
        let up = async || {
            let ready = http::get(address, "/-/ready", &[]).await.ok()?;
            (ready.status == 200).then_some(())
        };
        if let Err(error) = condition::until("Prometheus to be ready", SOON, up).await {
            panic!("{error}\n{}", prometheus.log());
        }
        prometheus
    }

    /// What an expression is now: one element per series.
    pub async fn ask(&self, expression: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/query?query={}", encoded(expression))).await;
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().expect("a vector").clone()
    }

    /// Whether an expression has a value that is a number.
    pub async fn has_data(&self, expression: &str) -> bool {
        self.ask(expression).await.iter().any(|series| series["value"][1].as_str().is_some_and(|text| text != "NaN"))
    }

    /// All rules it has loaded.
    pub async fn rules(&self) -> Vec<Value> {
        let answer = self.get("/api/v1/rules").await;
        let groups = answer["data"]["groups"].as_array().expect("groups");
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
    }

    async fn get(&self, path: &str) -> Value {
        match http::get(self.address, path, &[]).await {
            Ok(response) => serde_json::from_str(&response.body).expect("JSON"),
            Err(error) => panic!("GET {path}: {error}\n{}", self.log()),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("output.log")).unwrap_or_default()
    }
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Runs promtool among the rules to its end, with `input` on its standard input.
pub async fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(rules())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|fault| panic!("promtool: {fault}; start these tests through tests/run"));
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).await.expect("it reads all");
    drop(stdin);
    child.wait_with_output().await.expect("it ends")
}
