//! A simulated service in this process, and the real daemon as a process of its own against it.

use std::time::Duration;

use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{self, Account, Options, Simulator, Switchboard, Tls};
use tempfile::NamedTempFile;

use super::process;
use super::support::daemon::Daemon;

/// Nothing measured here takes longer, or it has failed.
const BOUND: Duration = Duration::from_mins(10);
/// Between two looks at the service.
const GLANCE: Duration = Duration::from_millis(10);
/// Between two scrapes, which cost something with many accounts.
const SCRAPE: Duration = Duration::from_millis(250);

pub struct Stage {
    pub onsip: Simulator,
    pub daemon: Daemon,
    pub accounts: Vec<Account>,
    pub started: Moment,
    config: String,
    _authority: Option<NamedTempFile>,
}

impl Stage {
    /// Starts a daemon for `count` accounts, of which every `wrong`th has a wrong password.
    pub async fn set(count: u32, wrong: Option<usize>) -> Self {
        Self::secured(count, wrong, None).await
    }

    /// The same, secured in this way, with the file of whom to trust.
    pub async fn secured(count: u32, wrong: Option<usize>, secured: Option<(Tls, NamedTempFile)>) -> Self {
        let (tls, authority) = secured.unzip();
        let accounts: Vec<_> = (1..=count).map(|number| Account::numbered(number).unwrap()).collect();
        let mut known = accounts.clone();
        for account in wrong.into_iter().flat_map(|wrong| (0..known.len()).step_by(wrong)).collect::<Vec<_>>() {
            known[account].password.push_str(" changed");
        }
        let onsip = Simulator::start(Options { accounts: known, tls: tls.unwrap_or_default(), ..Options::default() })
            .await
            .unwrap();
        let config = simulator::configuration(onsip.addr(), onsip.services_domain(), &accounts)
            .replace("type = \"stdout\"", "type = \"file\"\npath = \"events.jsonl\"");
        let config = match &authority {
            Some(file) => {
                let tls = format!("tls = \"starttls\"\nca_file = \"{}\"", file.path().display());
                config.replace("tls = \"off\"", &tls)
            }
            None => config,
        };
        let config = "watch_config = false\n".to_owned()
            + &config
            + "[store]\nurl = \"sqlite://router.db\"\n[http]\nlisten = \"127.0.0.1:0\"\n";
        let started = Moment::now();
        let daemon = Daemon::start(&config, &[]).await;
        Self { onsip, daemon, accounts, started, config, _authority: authority }
    }

    /// Waits until every account has a session that gets its events, and the daemon knows it.
    pub async fn until_live(&self) {
        let all = tokio::time::timeout(BOUND, async {
            for account in &self.accounts {
                while !self.onsip.look(|board| is_live(board, account)) {
                    tokio::time::sleep(GLANCE).await;
                }
            }
            while self.gauge("subscriptions", "active").await < self.accounts.len() {
                tokio::time::sleep(SCRAPE).await;
            }
        });
        if all.await.is_err() {
            self.daemon.fail("the accounts do not come to life");
        }
    }

    /// Adds a sink that takes nothing, and an event for it.
    pub async fn add_a_sink_that_hangs(&mut self) {
        let pipe = self.daemon.folder().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        self.config.push_str("[sinks.hanging]\ntype = \"file\"\npath = \"pipe\"\n");
        self.reload().await;
        let address = self.accounts[0].jid.to_string();
        let mut call = self.onsip.call_in(&address, "sip:+12125550111@carrier.test", 1);
        self.onsip.hang_up(&mut call);
        let owed = [("sink", "hanging")];
        self.daemon.until_metric("sink_queue_events", &owed, BOUND, |owed| owed > 1.5).await;
    }

    /// Gives one account in the middle another resource; how long it took until that was taken over.
    pub async fn change_one_account(&mut self) -> Duration {
        let jid = format!("jid = \"{}\"\n", self.accounts[self.accounts.len() / 2].jid);
        assert!(self.config.contains(&jid), "the configuration names its accounts otherwise");
        self.config = self.config.replace(&jid, &format!("{jid}resource = \"changed\"\n"));
        self.reload().await
    }

    async fn reload(&self) -> Duration {
        let applied =
            async || self.daemon.metrics().await.value("config_reloads_total", &[("outcome", "applied")]).unwrap();
        let before = applied().await;
        self.daemon.rewrite_config(&self.config);
        let begun = Moment::now();
        self.daemon.reload().await;
        while applied().await <= before {
            tokio::time::sleep(GLANCE).await;
        }
        Moment::now().since(begun)
    }

    /// A gauge by its state.
    pub async fn gauge(&self, name: &str, state: &str) -> usize {
        let value = self.daemon.metrics().await.value(name, &[("state", state)]).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let whole = value as usize;
        whole
    }

    /// The fewest and the most subscriptions any account has on its node.
    pub fn copies(&self) -> (usize, usize) {
        let count = |account: &Account| self.onsip.subscriptions(&account.jid, &node(account)).len();
        let counts: Vec<_> = self.accounts.iter().map(count).collect();
        (counts.iter().copied().min().unwrap_or(0), counts.iter().copied().max().unwrap_or(0))
    }

    /// Resident memory of the daemon in KiB.
    pub fn resident(&self) -> u64 {
        process::resident(self.daemon.pid())
    }

    /// Processor time of the daemon.
    pub fn processor(&self) -> Duration {
        process::processor(self.daemon.pid())
    }

    pub async fn end(mut self) {
        let status = self.daemon.terminate().await;
        assert!(status.success(), "the daemon ended with {status}");
    }
}

fn node(account: &Account) -> String {
    format!("/me/{}", account.jid)
}

fn is_live(board: &Switchboard, account: &Account) -> bool {
    let now = Moment::now();
    board.priorities(&account.jid).iter().any(Option::is_some)
        && board.subscriptions(&account.jid, Some(&node(account))).iter().any(|entry| entry.delivers(now))
}
