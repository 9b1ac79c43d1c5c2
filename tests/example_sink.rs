//! The sink that the README shows: it is word for word the file beside this one, stands here as it would in `src/sinks/`,
//! and keeps what a sink promises.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "example_sink/tcp.rs"]
mod tcp;

use std::sync::{Arc, Mutex};

use onsip_router::settings;
use onsip_router::settings::check::check;
use onsip_router::settings::layer::{Layer, merge};
use onsip_router::settings::problem::Problems;
use onsip_router::settings::section::{Named, Section};
use onsip_router::settings::{Absent, Environment, Key, Kind, Text, Type};
use onsip_router::sinks::{Batch, Failure, Parcel, Sink};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// What `sinks.rs` makes of its row `"tcp" => Tcp(tcp)`.
const TYPES: &[Type] = &[Type { name: "tcp", help: tcp::Options::HELP, keys: tcp::Options::KEYS, lacks: None }];
const SINKS: Kind = Kind::Typed { what: "sink", name: Text::ANY, keys: &[], types: TYPES };
const KEYS: &[Key] = &[Key { name: "sinks", kind: SINKS, absent: Absent::Refused, help: "" }];

fn read(settings: &str) -> Result<tcp::Options, String> {
    let (merged, environment) = (merge(&vec![Layer::toml(settings).unwrap()]), Environment::new());
    let mut problems = Problems::default();
    check(KEYS, &merged, &mut problems);
    let root = Section::root(KEYS, &merged, &environment);
    let Named { section, path, .. } = root.named("sinks").pop().unwrap();
    let options = tcp::Options::read(&section, &path, &mut problems);
    options.filter(|_| problems.is_empty()).ok_or(problems.to_string())
}

fn parcel(id: &str) -> Parcel {
    Parcel { id: id.into(), partition: "call".into(), body: id.into() }
}

/// A peer that keeps what it takes, refuses `bad` and, once, hangs up at `last`.
struct Peer {
    address: String,
    got: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, got) = (listener.local_addr().unwrap().to_string(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&got);
        tokio::spawn(async move {
            let mut hung_up = false;
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let mut event = String::new();
                while stream.read_line(&mut event).await.unwrap() > 0 {
                    let event = std::mem::take(&mut event);
                    if event == "last\n" && !std::mem::replace(&mut hung_up, true) {
                        break;
                    }
                    let answer = if event == "bad\n" { "no such call\n" } else { "ok\n" };
                    if answer == "ok\n" {
                        kept.lock().unwrap().push(event.trim_end().to_owned());
                    }
                    stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Self { address, got }
    }

    fn sink(&self) -> tcp::Options {
        read(&format!("[sinks.peer]\ntype = \"tcp\"\npeer = \"{}\"", self.address)).unwrap().open()
    }
}

#[test]
fn the_readme_shows_the_file_that_is_tested_here() {
    let (readme, file) = (include_str!("../README.md"), include_str!("example_sink/tcp.rs"));
    assert!(readme.contains(&format!("```rust\n{file}```\n")), "copy tests/example_sink/tcp.rs into README.md");
}

#[test]
fn its_keys_are_checked() {
    assert_eq!(read("[sinks.peer]\ntype = \"tcp\"").unwrap_err(), "sinks.peer.peer: is missing");
    let unknown = read("[sinks.peer]\ntype = \"tcp\"\npeer = \"a:1\"\npear = 1").unwrap_err();
    assert_eq!(unknown, "sinks.peer.pear: unknown key; the nearest known one is `peer`");
}

#[tokio::test]
async fn what_is_acknowledged_is_at_the_peer_and_what_is_refused_holds_up_its_call() {
    let peer = Peer::start().await;
    let mut sink = peer.sink();
    let refused = Err(Failure::Reject { reason: "no such call".to_owned() });
    let waits = Err(Failure::Retry { reason: "no such call".to_owned(), after: None });
    assert_eq!(sink.deliver(&["a", "bad", "b"].map(parcel)).await, [Ok(()), refused, waits]);
    assert_eq!(sink.deliver(&[parcel("c")]).await, [Ok(())]);
    assert_eq!(*peer.got.lock().unwrap(), ["a", "c"]);
}

#[tokio::test]
async fn after_a_lost_connection_nothing_overtakes_and_the_next_delivery_makes_it_anew() {
    let peer = Peer::start().await;
    let mut sink = peer.sink();
    let answers = sink.deliver(&["a", "last", "b"].map(parcel)).await;
    let [Ok(()), lost @ Err(Failure::Retry { reason, after: None }), held_up] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert!(!reason.is_empty() && lost == held_up, "{answers:?}");
    assert_eq!(sink.deliver(&["last", "b"].map(parcel)).await, [Ok(()), Ok(())]);
    assert_eq!(*peer.got.lock().unwrap(), ["a", "last", "b"]);
}
