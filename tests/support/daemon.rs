//! The built daemon as a process in a folder of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::condition::{self, SOON};
use super::http::{self, Response};
use super::metrics::Metrics;
use super::schema;

/// How long a stop may take, from the signal to the end (interface section 1); by the daemon's own clock, see
/// [`Daemon::assert_stopped_in_time`].
pub const STOP: Duration = Duration::from_secs(10);

const ANNOUNCEMENT: &str = "listening on http://";
const LAST_LINES: usize = 40;

/// A running `onsip-router run`, or one that ended and can be started again in the same folder. Dropping it kills
/// the process, and looks at every event that went to a file; if the test failed, the folder stays.
pub struct Daemon {
    folder: Option<TempDir>,
    env: Vec<(String, String)>,
    child: Child,
    runs: usize,
    listen: Option<SocketAddr>,
}

impl Daemon {
    /// Writes `config` into a new folder, starts the daemon there and waits until it says where it listens. The
    /// configuration should have `[http] listen = "127.0.0.1:0"`; relative paths in it are below the folder.
    pub async fn start(config: &str, env: &[(&str, &str)]) -> Self {
        let mut daemon = Self::spawn(config, env);
        daemon.find_listener().await;
        daemon
    }

    /// The same without waiting, for a daemon that is to end by itself.
    pub fn spawn(config: &str, env: &[(&str, &str)]) -> Self {
        let folder = TempDir::with_prefix("onsip-router-").expect("a temporary folder");
        fs::write(folder.path().join("config.toml"), config).expect("the configuration is written");
        let env: Vec<_> = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let child = launch(folder.path(), &env, 1);
        Self { folder: Some(folder), env, child, runs: 1, listen: None }
    }

    /// Starts it once more after it ended, with the same folder and environment.
    pub async fn start_again(&mut self) {
        self.launch_again();
        self.find_listener().await;
    }

    /// The same without waiting until it listens.
    pub fn launch_again(&mut self) {
        let ended = self.child.try_wait().expect("the state of the process");
        assert!(ended.is_some(), "the daemon still runs");
        self.runs += 1;
        self.child = launch(self.folder(), &self.env, self.runs);
    }

    /// Replaces the configuration file; the daemon reads it at [`Self::reload`] or the next start.
    pub fn rewrite_config(&self, config: &str) {
        fs::write(self.folder().join("config.toml"), config).expect("the configuration is written");
    }

    /// The working directory of the process.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("only dropped with the daemon").path()
    }

    /// The file with what the latest run logged.
    pub fn log_file(&self) -> PathBuf {
        stderr_of(self.folder(), self.runs)
    }

    /// What the latest run logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// What the latest run wrote to its standard output so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(stdout_of(self.folder(), self.runs)).unwrap_or_default()
    }

    /// Where it listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen.expect("the daemon was started with Daemon::start")
    }

    /// The process id while it runs.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the daemon runs")
    }

    /// The most memory the process ever had, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the status of the process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its most memory");
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// `GET path`, with further header lines if needed.
    pub async fn get(&self, path: &str, headers: &[&str]) -> Response {
        match http::get(self.listen(), path, headers).await {
            Ok(response) => response,
            Err(error) => self.fail(&format!("GET {path}: {error}")),
        }
    }

    /// `GET path` as JSON.
    pub async fn json(&self, path: &str) -> Value {
        let response = self.get(path, &[]).await;
        assert_eq!(response.status, 200, "GET {path}: {}", response.body);
        serde_json::from_str(&response.body).unwrap_or_else(|error| self.fail(&format!("GET {path}: {error}")))
    }

    /// Status and body of `/readyz`.
    pub async fn readyz(&self) -> (u16, String) {
        let response = self.get("/readyz", &[]).await;
        (response.status, response.body)
    }

    /// One scrape.
    pub async fn metrics(&self) -> Metrics {
        let response = self.get("/metrics", &[]).await;
        assert_eq!(response.status, 200, "GET /metrics: {}", response.body);
        Metrics::parse(&response.body)
    }

    /// The sum of the samples of `name` that carry all of `labels`; fails if there is none, as every series known in
    /// advance is there from the start.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let metrics = self.metrics().await;
        metrics.value(name, labels).unwrap_or_else(|| {
            let known: Vec<_> = metrics.named(name).collect();
            self.fail(&format!("no series {name} with {labels:?}; of that name there are {known:?}"))
        })
    }

    /// Waits until the metric fulfils `condition`, and returns its value.
    pub async fn until_metric(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        bound: Duration,
        condition: impl Fn(f64) -> bool,
    ) -> f64 {
        let mut last = None;
        let found = condition::until("the metric", bound, async || {
            last = self.metrics().await.value(name, labels);
            last.filter(|value| condition(*value))
        })
        .await;
        found.unwrap_or_else(|error| self.fail(&format!("{error} {name}{labels:?}; at last it was {last:?}")))
    }

    /// Waits until `/readyz` says 200.
    pub async fn until_ready(&self) {
        self.until("/readyz to say 200", SOON, async || (self.readyz().await.0 == 200).then_some(())).await;
    }

    /// Waits until a line of the latest run's log contains `text`, and returns that line.
    pub async fn until_logged(&self, text: &str, bound: Duration) -> String {
        self.until(&format!("{text:?} in the log"), bound, async || {
            self.log().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
        .await
    }

    /// Waits until `probe` answers; the failure text carries the end of the log.
    pub async fn until<T>(&self, what: &str, bound: Duration, probe: impl AsyncFnMut() -> Option<T>) -> T {
        condition::until(what, bound, probe).await.unwrap_or_else(|error| self.fail(&error))
    }

    /// The whole lines of a file sink so far, as JSON; `path` is relative to the folder. No file is no events.
    pub fn events(&self, path: impl AsRef<Path>) -> Vec<Value> {
        let text = fs::read_to_string(self.folder().join(path)).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| self.fail(&format!("{e} in line {line:?}"))))
            .collect()
    }

    /// Waits until the file sink holds at least `count` events, and returns them all.
    pub async fn until_events(&self, path: &str, count: usize, bound: Duration) -> Vec<Value> {
        self.until(&format!("{count} events in {path}"), bound, async || {
            Some(self.events(path)).filter(|events| events.len() >= count)
        })
        .await
    }

    /// SIGTERM, and the exit status.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM").await;
        self.exit(SOON).await
    }

    /// Checks that the latest run, which has ended, took no longer to stop than promised, by the times in its log.
    pub fn assert_stopped_in_time(&self) {
        let log = self.log();
        let told =
            |message: &str| log.lines().find(|line| line.split_whitespace().nth(2) == Some(message)).map(time_of);
        let (Some(begun), Some(ended)) = (told("stopping"), told("stopped")) else {
            self.fail("the log does not say when it stopped")
        };
        let took = ended.duration_since(begun);
        assert!(took <= STOP.try_into().expect("a short time"), "it took {took:#}: {log}");
    }

    /// The pauses the daemon said it would make: for each line of the latest run's log that contains `text` and says when
    /// to try again, how long after that line. With `repeat_after = "0s"` every one is there.
    pub fn pauses_told(&self, text: &str) -> Vec<SignedDuration> {
        let log = self.log();
        let whole = &log[..log.rfind('\n').unwrap_or(0)];
        let told = whole.lines().filter(|line| line.contains(text)).filter_map(|line| {
            let (_, at) = line.split_once("retry_at=")?;
            let at: Timestamp = at.split(' ').next()?.parse().expect("a time");
            Some(at.duration_since(time_of(line)))
        });
        told.collect()
    }

    /// SIGKILL, and gone.
    pub async fn kill9(&mut self) {
        self.signal("KILL").await;
        self.exit(SOON).await;
    }

    /// SIGHUP.
    pub async fn reload(&self) {
        self.signal("HUP").await;
    }

    /// Waits for the process to end.
    pub async fn exit(&mut self, bound: Duration) -> ExitStatus {
        match tokio::time::timeout(bound, self.child.wait()).await {
            Ok(status) => status.expect("the exit status"),
            Err(_) => self.fail(&format!("the daemon still runs after {bound:?}")),
        }
    }

    /// Sends a signal by name (`"TERM"`).
    pub async fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid]).status().await;
        let sent = sent.expect("sh runs");
        assert!(sent.success(), "no signal {name} could be sent");
    }

    /// Fails the test with the end of the daemon's log.
    pub fn fail(&self, why: &str) -> ! {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        panic!("{why}\n--- the end of {} ---\n{last}\n---", self.log_file().display());
    }

    async fn find_listener(&mut self) {
        let log_file = self.log_file();
        let child = &mut self.child;
        let found = condition::until("the daemon to say where it listens", SOON, async || {
            let log = fs::read_to_string(&log_file).unwrap_or_default();
            match announced(&log) {
                Some(address) => Some(Ok(address)),
                None => child.try_wait().expect("the state of the process").map(Err),
            }
        })
        .await;
        match found {
            Ok(Ok(address)) => self.listen = Some(address),
            Ok(Err(status)) => self.fail(&format!("the daemon ended with {status} instead of listening")),
            Err(error) => self.fail(&error),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        if std::thread::panicking() {
            eprintln!("the daemon's folder is kept: {}", folder.keep().display());
        } else if let Some(fault) = schema::fault(folder.path()) {
            panic!("an event that does not follow the published schema: {fault}");
        }
    }
}

/// When a line of the log was written, as it says itself.
fn time_of(line: &str) -> Timestamp {
    let time = line.split(' ').next().unwrap_or_default();
    time.parse().unwrap_or_else(|error| panic!("{error} in the line {line:?}"))
}

/// The address in the first whole line that announces one.
fn announced(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once(ANNOUNCEMENT)?;
    let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c)))?;
    rest[..end].trim_end_matches(['.', ':']).parse().ok()
}

fn launch(folder: &Path, env: &[(String, String)], run: usize) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsip-router"));
    // What steers the tests is nothing of the daemon's, which would warn of it.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ONSIP_ROUTER")) {
        command.env_remove(name);
    }
    command
        .args(["run", "--config", "config.toml"])
        .current_dir(folder)
        .envs(env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(File::create(stdout_of(folder, run)).expect("a file for stdout"))
        .stderr(File::create(stderr_of(folder, run)).expect("a file for stderr"))
        .kill_on_drop(true)
        .spawn()
        .expect("the daemon is started")
}

fn stdout_of(folder: &Path, run: usize) -> PathBuf {
    folder.join(format!("stdout-{run}.log"))
}

fn stderr_of(folder: &Path, run: usize) -> PathBuf {
    folder.join(format!("stderr-{run}.log"))
}
