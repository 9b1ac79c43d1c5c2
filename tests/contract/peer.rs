//! A real server that a sink delivers to.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use onsip_router::config::Config;
use onsip_router::sinks::Options;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::support::{condition, port};

/// How long a server may take to start: some take ten seconds of a whole core.
const START: Duration = Duration::from_mins(2);

/// What a peer runs on.
pub trait Machine {
    /// Ends it at once.
    async fn kill(&mut self);

    /// Starts it again after [`Self::kill`], with the same data.
    async fn start_again(&mut self);

    /// Stops it in its tracks: connections stay, nothing is answered.
    fn freeze(&self);

    /// Undoes [`Self::freeze`].
    fn thaw(&self);
}

/// A server of one kind, with a folder, a port and data of its own. Dropping it kills it.
pub trait Peer: Sized {
    /// What it runs on.
    type Machine: Machine;

    /// Starts it and makes what the sink needs there.
    async fn start() -> Self;

    /// The keys of a `[sinks.NAME]` section that delivers to it, `type` included, as TOML.
    fn settings(&self) -> String;

    /// The same with another secret than the one it wants; absent where the protocol has none.
    fn wrong_settings(&self) -> Option<(String, &'static str)>;

    /// The events it holds, in the order of their arrival, as the structured JSON they began as (also where the
    /// protocol carried attributes as headers); those from before a kill too.
    async fn events(&mut self) -> Vec<Value>;

    /// More bytes than it takes in one event; absent where there is no limit.
    fn too_many_bytes(&self) -> Option<usize>;

    /// What it runs on.
    fn server(&mut self) -> &mut Self::Machine;

    /// Starts the server again, and whoever must be there to see what it gets.
    async fn start_again(&mut self) {
        self.server().start_again().await;
    }
}

/// The process of a peer.
pub struct Server {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: std::path::PathBuf,
    address: SocketAddr,
    process: Child,
    /// Its id, also once it has ended.
    pid: u32,
}

impl Server {
    /// Starts `program` in `folder` and waits until it accepts connections at `address`.
    pub async fn start(
        program: &str,
        arguments: &[String],
        environment: &[(&str, String)],
        folder: &Path,
        address: SocketAddr,
    ) -> Self {
        let environment: Vec<_> = environment.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let process = launch(program, arguments, &environment, folder);
        let server = Self {
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            environment,
            folder: folder.to_owned(),
            address,
            pid: process.id().expect("it runs"),
            process,
        };
        server.until_up().await;
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(Some(_)))
    }

    async fn until_up(&self) {
        let up = async || TcpStream::connect(self.address).await.ok();
        if let Err(error) = condition::until(&format!("{} to answer", self.program), START, up).await {
            let log = fs::read_to_string(self.folder.join("output.log")).unwrap_or_default();
            panic!("{error}\n{log}");
        }
    }
}

/// A process, with all it started.
impl Machine for Server {
    async fn kill(&mut self) {
        // What stands still starts no other process while we look who belongs to it.
        self.freeze();
        let family = family(self.pid);
        signal("KILL", &family);
        self.process.wait().await.expect("it ends");
        let gone = async || family.iter().all(|pid| kin(*pid).is_none()).then_some(());
        condition::until(&format!("{} to be gone", self.program), START, gone).await.unwrap();
    }

    async fn start_again(&mut self) {
        self.process = launch(&self.program, &self.arguments, &self.environment, &self.folder);
        self.pid = self.process.id().expect("it runs");
        self.until_up().await;
    }

    fn freeze(&self) {
        signal("STOP", &family(self.pid));
    }

    fn thaw(&self) {
        signal("CONT", &family(self.pid));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and left others behind; by then its id may be somebody else's.
        let family = family(self.pid);
        signal("KILL", if self.has_ended() { &family[1..] } else { &family });
    }
}

/// A process and all that belong to it, itself first: those that descend from it, for some servers give each child a
/// group of its own, and those of its group, for some children outlive their parents.
fn family(first: u32) -> Vec<u32> {
    let all: Vec<u32> = fs::read_dir("/proc")
        .expect("a list of processes")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let kin: Vec<_> = all.iter().filter_map(|pid| Some((*pid, kin(*pid)?))).collect();
    let mut family = vec![first];
    let mut at = 0;
    while let Some(one) = family.get(at).copied() {
        for (pid, (parent, group)) in &kin {
            if (*parent == one || *group == first) && !family.contains(pid) {
                family.push(*pid);
            }
        }
        at += 1;
    }
    family
}

/// The parent and the group of a process that has not ended.
fn kin(pid: u32) -> Option<(u32, u32)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut rest = line.rsplit_once(')')?.1.split_whitespace();
    let alive = rest.next().is_some_and(|state| !matches!(state, "Z" | "X"));
    let numbers = (rest.next()?.parse().ok()?, rest.next()?.parse().ok()?);
    alive.then_some(numbers)
}

/// To each of them, the parent first; some may be gone by then.
fn signal(name: &str, family: &[u32]) {
    let pids = family.iter().map(u32::to_string);
    let _ = std::process::Command::new("kill").args(["-s", name, "--"]).args(pids).stderr(Stdio::null()).status();
}

fn launch(program: &str, arguments: &[String], environment: &[(String, String)], folder: &Path) -> Child {
    let output = || fs::File::options().create(true).append(true).open(folder.join("output.log")).expect("a file");
    Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .current_dir(folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output())
        .stderr(output())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|fault| panic!("{program}: {fault}; start these tests through tests/run"))
}

/// An address that a server finds free again after it was killed.
pub fn free_address() -> SocketAddr {
    port::free()
}

/// The options that a configuration with this sink section has.
pub fn options(settings: &str) -> Options {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
    let whole = format!(
        "[accounts.a]\njid = \"a@acme.test\"\npassword = \"x\"\n[sinks.peer]\n{settings}\n[store]\nurl = \"sqlite://x.db\"\n"
    );
    file.write_all(whole.as_bytes()).expect("it is written");
    let mut config = Config::load(&[file.path().to_owned()], std::env::vars())
        .unwrap_or_else(|problems| panic!("{problems}\n{settings}"));
    config.sinks.pop_first().expect("the sink").1.options
}

/// The id of an event as a peer holds it.
pub fn id(event: &Value) -> &str {
    event["id"].as_str().expect("an event has an id")
}
