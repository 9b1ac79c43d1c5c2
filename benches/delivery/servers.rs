//! A NATS server with `JetStream` and a Redis server of the benchmark's own.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// A sink whose peer refuses every connection: nobody can listen on this port unasked.
pub const DEAD: &str = "[sinks.dead]\ntype = \"redis\"\nurl = \"redis://127.0.0.1:1\"\n";

/// Dropping it ends the servers.
pub struct Servers {
    nats: u16,
    redis: u16,
    _running: [Child; 2],
    _folder: TempDir,
}

impl Servers {
    /// Starts both. Redis writes each command to its log before it answers, and to the disk each second: its default.
    ///
    /// # Errors
    /// The name of the program that is not installed.
    pub async fn start() -> Result<Self, &'static str> {
        let folder = tempfile::tempdir().unwrap();
        let (nats, redis) = (free_port(), free_port());
        let data = folder.path().display().to_string();
        let running = [
            launch("nats-server", &["-a", "127.0.0.1", "-p", &nats.to_string(), "-js", "-sd", &data])?,
            launch(
                "redis-server",
                &[
                    "--bind",
                    "127.0.0.1",
                    "--port",
                    &redis.to_string(),
                    "--save",
                    "",
                    "--appendonly",
                    "yes",
                    "--dir",
                    &data,
                ],
            )?,
        ];
        for port in [nats, redis] {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(Self { nats, redis, _running: running, _folder: folder })
    }

    /// The sections of the two sinks. `stream` keeps measurements apart.
    pub fn sinks(&self, stream: &str) -> String {
        let Self { nats, redis, .. } = self;
        format!(
            "[sinks.bus]\ntype = \"nats\"\nurl = \"nats://127.0.0.1:{nats}\"\nstream = \"{stream}\"\n\
             subject = \"{stream}.{{data.account}}.{{type}}\"\n\
             [sinks.stream]\ntype = \"redis\"\nurl = \"redis://127.0.0.1:{redis}\"\nstream = \"{stream}\"\n"
        )
    }
}

fn launch(program: &'static str, arguments: &[&str]) -> Result<Child, &'static str> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match command.spawn() {
        Ok(child) => Ok(child),
        Err(fault) if fault.kind() == ErrorKind::NotFound => Err(program),
        Err(fault) => panic!("{program}: {fault}"),
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
