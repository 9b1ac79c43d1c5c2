//! A Prosody of its own for each test, which kills it and starts it again as it likes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::support::condition::{self, SOON};
use crate::support::port;

/// The domain of the accounts, and the one below which the services are.
pub const DOMAIN: &str = "example.test";
/// The name its certificate carries.
pub const TLS_NAME: &str = "xmpp.example.test";
/// Who may publish on every node.
pub const PUBLISHER: &str = "publisher";
/// The password of every account.
pub const PASSWORD: &str = "not-a-secret";

/// The service of calls.
pub const PUBSUB: &str = "pubsub.active-calls.example.test";
const CONFIGURATION: &str = include_str!("prosody.cfg.lua");

/// The server. Dropping it kills it.
pub struct Server {
    folder: TempDir,
    address: SocketAddr,
    process: Child,
}

impl Server {
    /// Starts it with `count` accounts, `user1` and so on.
    pub async fn start(count: u16) -> Self {
        let folder = TempDir::with_prefix("prosody-").expect("a temporary folder");
        let address = port::free();
        certify(folder.path());
        register(folder.path(), count);
        let shown = folder.path().display().to_string();
        let configuration = CONFIGURATION
            .replace("@LOG@", "@FOLDER@/prosody.log")
            .replace("@FOLDER@", &shown)
            .replace("@PORT@", &address.port().to_string());
        fs::write(folder.path().join("prosody.cfg.lua"), configuration).expect("the configuration is written");
        let process = launch(folder.path());
        let server = Self { folder, address, process };
        server.until_up().await;
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority that signed its certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Ends it at once.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("it ends");
    }

    /// Starts it again after [`Self::kill`], with the same data.
    pub async fn start_again(&mut self) {
        self.process = launch(self.folder.path());
        self.until_up().await;
    }

    /// The most connections at once that had not authenticated yet. The server handles one thing after the other and
    /// logs in that order.
    pub fn most_handshakes(&self) -> usize {
        let (mut now, mut most) = (BTreeSet::new(), 0);
        let log = self.log();
        for line in log.lines() {
            let Some((prefix, said)) = line.split_once('\t') else { continue };
            let session = prefix.rsplit(' ').next();
            if said.contains("Client connected") {
                now.insert(session);
            } else if said.contains("Authenticated as ") || said.contains("Client disconnected") {
                now.remove(&session);
            }
            most = most.max(now.len());
        }
        most
    }

    /// How many log-ins there were.
    pub fn logins(&self) -> usize {
        self.log().matches("\tAuthenticated as ").count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("prosody.log")).unwrap_or_default()
    }

    async fn until_up(&self) {
        let up = async || TcpStream::connect(self.address).await.ok();
        if let Err(error) = condition::until("Prosody to answer", SOON, up).await {
            panic!("{error}\n{}", self.log());
        }
    }
}

fn launch(folder: &Path) -> Child {
    let output = || fs::File::options().create(true).append(true).open(folder.join("output.log")).expect("a file");
    Command::new("prosody")
        .arg("--config")
        .arg(folder.join("prosody.cfg.lua"))
        .arg("-F")
        .stdin(Stdio::null())
        .stdout(output())
        .stderr(output())
        .kill_on_drop(true)
        .spawn()
        .expect("Prosody is installed: start these tests through tests/run")
}

/// An authority, and a certificate by it.
fn certify(folder: &Path) {
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certified = authority.self_signed(&authority_key).expect("an authority");
    fs::write(folder.join("authority.pem"), certified.pem()).expect("the authority is written");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new([TLS_NAME.to_owned()]).expect("a name");
    let certificate = certificate.signed_by(&key, &Issuer::new(authority, authority_key)).expect("a certificate");
    fs::write(folder.join("certificate.pem"), certificate.pem()).expect("the certificate is written");
    fs::write(folder.join("key.pem"), key.serialize_pem()).expect("the key is written");
}

/// Accounts and their nodes as the server keeps them itself: one file each.
fn register(folder: &Path, count: u16) {
    let store = |host: &str, name: &str| {
        let store = folder.join("data").join(encoded(host)).join(name);
        fs::create_dir_all(&store).expect("a folder of the server's");
        store
    };
    let (accounts, nodes) = (store(DOMAIN, "accounts"), store(PUBSUB, "pubsub_nodes"));
    let account = format!("return {{ password = \"{PASSWORD}\" }}\n");
    fs::write(accounts.join(format!("{PUBLISHER}.dat")), &account).expect("an account");
    for number in 1..=count {
        fs::write(accounts.join(format!("user{number}.dat")), &account).expect("an account");
        let name = format!("/me/user{number}@{DOMAIN}");
        let node = format!("return {{ name = \"{name}\", config = {{}}, affiliations = {{}}, subscribers = {{}} }}\n");
        fs::write(nodes.join(format!("{}.dat", encoded(&name))), node).expect("a node");
    }
}

/// A name as the server writes it in a path.
fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => text.push(byte.into()),
            _ => drop(write!(text, "%{byte:02x}")),
        }
    }
    text
}
