//! Peers of sinks that send what nobody asked for, for ever, beside a sink that is well.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use onsip_router::domain::BareJid;
use onsip_router::simulator::Simulator;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::condition::SOON;
use crate::support::daemon::Daemon;
use crate::support::stage::*;

/// Bytes that a flood ends after: enough to be seen in the memory of a daemon that keeps them.
const FLOOD: usize = 400 << 20;
/// The greeting of a NATS server.
const INFO: &str = "INFO {\"server_id\":\"x\",\"server_name\":\"x\",\"version\":\"2.10.0\",\"proto\":1,\"host\":\"127.0.0.1\",\
                    \"port\":4222,\"headers\":true,\"max_payload\":1048576,\"jetstream\":true}\r\n";

/// A hostile peer.
#[derive(Clone, Debug)]
struct Peer {
    /// Said as soon as somebody connects.
    greeting: &'static str,
    /// The request it waits for before it goes on; any other one is answered with a sign of life.
    until: &'static [u8],
    /// Said then.
    beginning: Vec<u8>,
    /// Said again and again after that.
    flood: Vec<u8>,
}

impl Peer {
    fn new(until: &'static [u8], beginning: impl Into<Vec<u8>>, flood: impl AsRef<[u8]>) -> Self {
        let flood = flood.as_ref().repeat(64 * 1024 / flood.as_ref().len());
        Self { greeting: "", until, beginning: beginning.into(), flood }
    }

    fn nats(beginning: &str, flood: &str) -> Self {
        Self { greeting: INFO, ..Self::new(b"SUB ", beginning, flood) }
    }

    async fn talk(&self, mut tcp: TcpStream, floods: &AtomicU64) -> std::io::Result<()> {
        tcp.write_all(self.greeting.as_bytes()).await?;
        let mut said = Vec::new();
        while !self.until.is_empty() && !said.windows(self.until.len()).any(|part| part == self.until) {
            if tcp.read_buf(&mut said).await? == 0 {
                return Ok(());
            }
            if said.ends_with(b"PING\r\n") {
                tcp.write_all(b"PONG\r\n").await?;
            }
        }
        floods.fetch_add(1, Ordering::SeqCst);
        tcp.write_all(&self.beginning).await?;
        let mut sent = 0;
        while sent < FLOOD {
            tcp.write_all(&self.flood).await?;
            sent += self.flood.len();
        }
        while tcp.read_buf(&mut said).await? > 0 {
            said.clear();
        }
        Ok(())
    }

    /// Listens, and counts the floods that have begun.
    async fn start(self) -> (u16, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let floods = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&floods);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (peer, floods) = (self.clone(), Arc::clone(&counted));
                tokio::spawn(async move { peer.talk(tcp, &floods).await });
            }
        });
        (port, floods)
    }
}

fn ring(onsip: &Simulator, jid: &BareJid) {
    let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
}

/// The most memory the daemon has ever had, in bytes.
fn peak(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Writes the section of a sink whose peer listens at a port.
type Section = fn(u16) -> String;

/// Delivers events beside sinks with these peers until each has flooded and failed, and beyond.
async fn beside(peers: Vec<(Peer, Section)>) {
    let (onsip, anna) = service_with_anna().await;
    let mut setup = Setup::of(&onsip).account("front-desk", &anna);
    let mut floods = Vec::new();
    for (place, (peer, section)) in peers.into_iter().enumerate() {
        let (port, begun) = peer.start().await;
        let name = format!("bad-{place}");
        setup = setup.sink(&name, &format!("{}\ntimeout = \"4s\"", section(port)));
        floods.push((name, begun));
    }
    let daemon = setup.start_active(1).await;
    let before = peak(&daemon);
    let mut rung = 0;
    for (name, begun) in &floods {
        daemon
            .until(&format!("a flood of {name}"), SOON, async || {
                ring(&onsip, &anna);
                rung += 2;
                daemon.until_calls(rung).await;
                let failed = daemon.count("sink_deliveries_total", &[("sink", name), ("outcome", "retried")]).await;
                (begun.load(Ordering::SeqCst) > 0 && failed > 0).then_some(())
            })
            .await;
    }
    for _ in 0..5 {
        ring(&onsip, &anna);
        rung += 2;
        daemon.until_calls(rung).await;
    }
    let grown = peak(&daemon) - before;
    assert!(grown < 200_000_000, "{grown} bytes more");
    let metrics = daemon.metrics().await;
    let log = ("sink", "log");
    let all = metrics.value("event_delivery_seconds_count", &[log]).unwrap();
    let within = metrics.value("event_delivery_seconds_bucket", &[log, ("le", "1")]).unwrap();
    let shares: Vec<_> = metrics.named("event_delivery_seconds_bucket").collect();
    assert!(all - within < 0.5, "{all} events, {within} of them within a second\n{shares:?}\n{}", daemon.log());
}

fn postgres(port: u16) -> String {
    format!(
        "type = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"d\"\nuser = \"u\"\npassword = \"p4ssw0rd\"\n\
         tls = \"off\""
    )
}

fn nats(port: u16) -> String {
    format!("type = \"nats\"\nurl = \"nats://127.0.0.1:{port}\"\nsubject = \"a\"")
}

fn redis(port: u16) -> String {
    format!("type = \"redis\"\nurl = \"redis://127.0.0.1:{port}\"\nstream = \"s\"")
}

fn webhook(port: u16) -> String {
    format!("type = \"webhook\"\nurl = \"http://127.0.0.1:{port}/\"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_a_postgres_peer_without_end_costs_neither_memory_nor_the_other_sinks() {
    let asked: &[u8] = b"user\0";
    let message =
        |kind: u8, body: &[u8]| [&[kind][..], &(u32::try_from(body.len()).unwrap() + 4).to_be_bytes(), body].concat();
    let huge = [&b"E"[..], &i32::MAX.to_be_bytes()].concat();
    let settings: Vec<u8> = (0..3_000).flat_map(|n| message(b'S', format!("k{n}\0v\0").as_bytes())).collect();
    let welcome = message(b'R', &[0; 4]);
    beside(vec![
        (Peer::new(asked, huge, "x"), postgres),
        (Peer::new(asked, "", message(b'N', b"SNOTICE\0Mx\0\0")), postgres),
        (Peer { flood: settings, ..Peer::new(asked, welcome, "x") }, postgres),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_a_nats_peer_without_end_costs_neither_memory_nor_the_other_sinks() {
    beside(vec![
        (Peer::new(b"", "INFO {\"a\":\"", "x"), nats),
        (Peer::nats("MSG _INBOX.x 1 10737418240\r\n", "x"), nats),
        (Peer::nats("", "PING\r\n"), nats),
        (Peer::nats("", "-ERR 'no'\r\n"), nats),
        (Peer::nats("", INFO), nats),
        (Peer::nats("", "MSG _INBOX.x 1 10\r\n0123456789\r\n"), nats),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_a_redis_peer_without_end_costs_neither_memory_nor_the_other_sinks() {
    beside(vec![
        (Peer::new(b"\r\n", "$10737418240\r\n", "x"), redis),
        (Peer::new(b"\r\n", "-", "x"), redis),
        (Peer::new(b"\r\n", "*2147483647\r\n", ":1\r\n"), redis),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_a_webhook_without_end_costs_neither_memory_nor_the_other_sinks() {
    let asked: &[u8] = b"\r\n\r\n";
    beside(vec![
        (Peer::new(asked, "", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"), webhook),
        (Peer::new(asked, "HTTP/1.1 500 No\r\n", "x: y\r\n"), webhook),
    ])
    .await;
}
