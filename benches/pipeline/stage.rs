//! The simulated service with its accounts, in this process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{Account, Options, Simulator, Switchboard, Tls};
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;

/// Nothing takes longer, or it has failed.
const BOUND: Duration = Duration::from_mins(5);
/// Between two looks at the service.
const GLANCE: Duration = Duration::from_millis(2);
/// What the accounts are below.
const DOMAIN: &str = "example.onsip.test";
/// Of every account; nothing secret is at stake.
const PASSWORD: &str = "secret";

pub struct Service {
    pub onsip: Simulator,
    pub accounts: Vec<Account>,
    /// The file with the certificate, if it asks for TLS.
    pub certificate: Option<PathBuf>,
    _folder: TempDir,
}

impl Service {
    pub async fn start(count: u32, tls: bool) -> Self {
        let folder = TempDir::with_prefix("onsip-pipeline-").unwrap();
        let accounts: Vec<_> = (1..=count).map(account).collect();
        let mut options = Options { accounts: accounts.clone(), ..Options::default() };
        let mut certificate = None;
        if tls {
            let key = rcgen::generate_simple_self_signed([DOMAIN.to_owned()]).unwrap();
            let path = folder.path().join("service.pem");
            std::fs::write(&path, key.cert.pem()).unwrap();
            let secret = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
            let config = rustls::ServerConfig::builder().with_no_client_auth();
            let config = config.with_single_cert(vec![key.cert.der().clone()], secret).unwrap();
            options.tls = Tls::Starttls(Arc::new(config));
            certificate = Some(path);
        }
        let onsip = Simulator::start(options).await.unwrap();
        Self { onsip, accounts, certificate, _folder: folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.onsip.addr()
    }

    pub fn services_domain(&self) -> &str {
        self.onsip.services_domain()
    }

    /// Waits until every account has a session that gets its events.
    pub async fn until_live(&self) {
        let all = async {
            for account in &self.accounts {
                while !self.onsip.look(|board| is_live(board, account)) {
                    tokio::time::sleep(GLANCE).await;
                }
            }
        };
        if tokio::time::timeout(BOUND, all).await.is_err() {
            let now = Moment::now();
            let live = self.onsip.look(|board| board.delivering(now));
            panic!("only {live} of {} accounts are subscribed after {BOUND:?}", self.accounts.len());
        }
    }
}

/// One account, as every contestant knows it.
pub fn account(number: u32) -> Account {
    Account::new(&format!("user{number}@{DOMAIN}"), PASSWORD).unwrap()
}

fn is_live(board: &Switchboard, account: &Account) -> bool {
    let node = format!("/me/{}", account.jid);
    let now = Moment::now();
    board.priorities(&account.jid).iter().any(Option::is_some)
        && board.subscriptions(&account.jid, Some(&node)).iter().any(|entry| entry.delivers(now))
}
