//! A receiver of webhooks in a process of its own, which can be frozen and killed.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use standardwebhooks::Webhook as Verifier;
use tempfile::TempDir;

use super::parcels::parcels;
use super::peer::{Machine, Peer, Server, free_address, id, options};
use crate::support::receiver::{Answer, Received, Receiver, status};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const WRONG_KEY: &str = "whsec_b3BlbiBzZXNhbWUsIHNhaWQgdGhlIHRoaWVm";
/// It takes no larger event.
const LARGEST: usize = 256 * 1024;
/// Where a receiver listens, and where it keeps what it got: set for a process that is one.
const ADDRESS: &str = "RECEIVER_ADDRESS";
const FILE: &str = "RECEIVER_FILE";

/// This test program once more, as a receiver.
pub struct Webhook {
    server: Server,
    folder: TempDir,
}

impl Webhook {
    fn settings_with(&self, key: &str) -> String {
        format!("type = 'webhook'\nurl = 'http://{}/hooks'\nsecret = '{key}'", self.server.address())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("events.jsonl")
    }
}

impl Peer for Webhook {
    type Machine = Server;

    async fn start() -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let program = std::env::current_exe().unwrap();
        let environment =
            [(ADDRESS, address.to_string()), (FILE, folder.path().join("events.jsonl").display().to_string())];
        let arguments = ["--exact", "receiver::what_it_answered_for_is_there_after_a_kill"].map(str::to_owned);
        let server = Server::start(program.to_str().unwrap(), &arguments, &environment, folder.path(), address).await;
        Self { server, folder }
    }

    fn settings(&self) -> String {
        self.settings_with(KEY)
    }

    fn wrong_settings(&self) -> Option<(String, &'static str)> {
        Some((self.settings_with(WRONG_KEY), WRONG_KEY))
    }

    async fn events(&mut self) -> Vec<Value> {
        let text = fs::read_to_string(self.file()).unwrap();
        // A line that was cut off by a kill is none that was answered for.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn too_many_bytes(&self) -> Option<usize> {
        Some(LARGEST)
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Takes what is signed well, and answers once it is in the file.
async fn receive(address: SocketAddr, path: &Path) {
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    file.write_all(b"\n").unwrap();
    let file = Arc::new(Mutex::new(file));
    let _receiver = Receiver::start_at(address, move |received| {
        let answer = keep(&received, &file);
        async move { answer }
    });
    std::future::pending::<()>().await;
}

fn keep(received: &Received, file: &Mutex<File>) -> Answer {
    if received.body.len() > LARGEST {
        return status(413);
    }
    if Verifier::new(KEY).unwrap().verify(&received.body, &received.headers).is_err() {
        return Answer {
            body: format!("not signed by {KEY}: {}", received.header("webhook-signature")),
            ..status(401)
        };
    }
    let mut file = file.lock().unwrap();
    file.write_all(&[&received.body[..], b"\n"].concat()).unwrap();
    // No fsync: what is written outlives the process, and it is only the process that gets killed.
    status(204)
}

#[tokio::test]
async fn what_it_answered_for_is_there_after_a_kill() {
    if let (Ok(address), Ok(path)) = (std::env::var(ADDRESS), std::env::var(FILE)) {
        return receive(address.parse().unwrap(), Path::new(&path)).await;
    }
    let mut peer = Webhook::start().await;
    let parcels = parcels(0, 3);
    assert_eq!(options(&peer.settings()).open().deliver(&parcels).await, [Ok(()), Ok(()), Ok(())]);
    peer.server().kill().await;
    peer.server().start_again().await;
    let mut held: Vec<_> = peer.events().await.iter().map(|event| id(event).to_owned()).collect();
    held.sort();
    assert_eq!(held, parcels.iter().map(|parcel| parcel.id.to_string()).collect::<Vec<_>>());
}
