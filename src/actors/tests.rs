//! Actors that panic: each is rebuilt from configuration and ledger, and its neighbours do not notice.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;
use xmpp_parsers::jid::BareJid;

use super::House;
use super::connection::Connection;
use super::fleet::{Apply, Fleet, Role, Shutdown};
use super::router::Router;
use super::sink::SinkActor;
use super::subscription::Subscription;
use crate::board::Board;
use crate::config::Config;
use crate::domain::event::EventType;
use crate::domain::status::{AccountState, ActorKind};
use crate::feed::{Feed, Told};
use crate::metrics::Metrics;
use crate::simulator::{self, Login, Request, Simulator};
use crate::store::Store;

/// Panic.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub(super) struct Panic;

/// Have the actor of this role panic; for a connection, also its first subscription instead of itself.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Startle {
    pub(super) role: Role,
    pub(super) its_subscription: bool,
}

macro_rules! can_panic {
    ($($actor:ty),+) => {
        $(impl Handler<Panic> for $actor {
            type Result = ();
            fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
                panic!("asked to");
            }
        })+
    };
}

can_panic!(Connection, Router, SinkActor, Subscription);

const WITHIN: Duration = Duration::from_mins(1);

/// Looks again and again until there is something.
async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WITHIN, found).await.expect(what)
}

struct Stage {
    onsip: Simulator,
    house: Arc<House>,
    fleet: Addr<Fleet>,
    feed: Receiver<Arc<Told>>,
    accounts: [BareJid; 2],
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(|_| {}).await
    }

    async fn set_with(behave: impl FnOnce(&mut simulator::Behaviour)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let accounts = [1, 2].map(|n| simulator::Account::numbered(n).unwrap());
        let options = simulator::Options { accounts: accounts.to_vec(), ..simulator::Options::default() };
        let onsip = Simulator::start(options).await.unwrap();
        onsip.behave_all(behave);
        let file = folder.path().join("router.toml");
        std::fs::write(&file, simulator::configuration(onsip.addr(), onsip.services_domain(), &accounts)).unwrap();
        let path = folder.path().display().to_string();
        let environment = [
            ("ONSIP_ROUTER__SINKS__CONSOLE__TYPE".to_owned(), "file".to_owned()),
            ("ONSIP_ROUTER__SINKS__CONSOLE__PATH".to_owned(), format!("{path}/events.jsonl")),
            ("ONSIP_ROUTER__STORE__URL".to_owned(), format!("sqlite://{path}/router.db")),
        ];
        let config = Config::load(&[file], environment.into_iter()).unwrap();
        let store = Store::open(&config.store).await.unwrap();
        let metrics = Metrics::new("0", "0", config.accounts.keys(), ["active-calls"], config.sinks.keys()).unwrap();
        let house = Arc::new(House::new(store, Arc::new(metrics), Arc::new(Board::default()), Feed::default()));
        let fleet = Fleet::new(Arc::clone(&house)).start();
        let feed = house.feed.watch();
        fleet.send(Apply(config)).await.unwrap().unwrap();
        let stage = Self { onsip, house, fleet, feed, accounts: accounts.map(|account| account.jid), _folder: folder };
        for account in &stage.accounts {
            assert!(stage.onsip.until_subscribed(account, &format!("/me/{account}"), WITHIN).await);
        }
        stage
    }

    async fn startle(&self, role: Role, its_subscription: bool) {
        self.fleet.send(Startle { role, its_subscription }).await.unwrap();
    }

    async fn call_arrives(&mut self, account: usize) {
        self.onsip.call_in(self.accounts[account].as_str(), "sip:+12125550111@carrier.test", 1);
        let arrives = async { while self.feed.recv().await.unwrap().kind != EventType::CallRequested {} };
        timeout(WITHIN, arrives).await.expect("the event arrives");
    }

    fn logins(&self) -> [u64; 2] {
        [0, 1].map(|n| self.onsip.observed().count(&self.accounts[n], Request::Login))
    }

    fn restarts(&self, kind: ActorKind) -> bool {
        let text = self.house.metrics.render(&self.house.board.view());
        text.contains(&format!("actor_restarts_total{{actor=\"{kind}\"}} 1"))
    }

    async fn end(self) {
        self.fleet.send(Shutdown { covered: crate::domain::moment::Moment::now() }).await.unwrap();
        self.house.store.close().await.unwrap();
    }
}

#[actix::test]
async fn a_connection_that_panics_is_rebuilt_and_its_neighbour_does_not_notice() {
    let mut stage = Stage::set().await;
    stage.startle(Role::Connection("demo-1".parse().unwrap()), false).await;
    let (first, own) = (stage.accounts[0].clone(), format!("/me/{}", stage.accounts[0]));
    let renewed = stage.onsip.until(WITHIN, |onsip| onsip.observed().count(&first, Request::Options) == 1).await;
    assert!(renewed, "the rebuilt actor finds its subscription and renews it");
    assert_eq!(stage.onsip.subscriptions(&first, &own).len(), 1);
    assert_eq!(stage.logins(), [2, 1]);
    assert!(stage.restarts(ActorKind::Connection));
    stage.call_arrives(0).await;
    stage.call_arrives(1).await;
    stage.end().await;
}

#[actix::test]
async fn a_subscription_that_panics_is_rebuilt_on_the_same_connection() {
    let mut stage = Stage::set().await;
    stage.startle(Role::Connection("demo-1".parse().unwrap()), true).await;
    let first = stage.accounts[0].clone();
    assert!(stage.onsip.until(WITHIN, |onsip| onsip.observed().count(&first, Request::Options) == 1).await);
    assert_eq!(stage.logins(), [1, 1]);
    assert!(stage.restarts(ActorKind::Subscription));
    stage.call_arrives(0).await;
    stage.end().await;
}

#[actix::test]
async fn what_a_subscription_asks_while_the_connection_is_lost_is_sent_when_it_is_resumed() {
    let mut stage = Stage::set_with(|behaviour| behaviour.resumable_for = Some(Duration::from_mins(1))).await;
    let (name, first) = ("demo-1".parse().unwrap(), stage.accounts[0].clone());
    stage.onsip.cut(&first);
    let lost = async || (stage.house.board.view().accounts[&name].state != AccountState::Online).then_some(());
    until("the loss is noticed", lost).await;
    stage.startle(Role::Connection(name), true).await;
    assert!(stage.onsip.until(WITHIN, |onsip| onsip.observed().resumed == 1).await);
    assert!(stage.onsip.until(WITHIN, |onsip| onsip.observed().count(&first, Request::Options) == 1).await);
    let observed = stage.onsip.observed();
    assert_eq!((observed.count(&first, Request::Bind), observed.count(&first, Request::Subscribe)), (1, 1));
    assert!(stage.restarts(ActorKind::Subscription));
    stage.call_arrives(0).await;
    stage.end().await;
}

#[actix::test]
async fn a_router_that_panics_is_rebuilt_and_no_account_notices() {
    let mut stage = Stage::set().await;
    stage.call_arrives(0).await;
    stage.startle(Role::Router, false).await;
    stage.call_arrives(0).await;
    stage.call_arrives(1).await;
    assert_eq!(stage.logins(), [1, 1]);
    assert!(stage.restarts(ActorKind::Router));
    stage.end().await;
}

#[actix::test]
async fn a_sink_that_panics_is_rebuilt_and_delivers_what_is_owed() {
    let mut stage = Stage::set().await;
    stage.startle(Role::Sink("console".parse().unwrap()), false).await;
    stage.call_arrives(0).await;
    stage.call_arrives(1).await;
    let sink = "console".parse().unwrap();
    let delivered = async || (stage.house.store.depth(&sink).await.unwrap().events == 0).then_some(());
    until("the queue runs empty", delivered).await;
    assert!(stage.restarts(ActorKind::Sink));
    stage.end().await;
}

#[actix::test]
async fn f1_a_connection_that_panics_leaves_no_coverage_open_that_it_does_not_have() {
    let stage = Stage::set().await;
    let name = "demo-1".parse().unwrap();
    let written = async |open| {
        let row = async || {
            let coverage = stage.house.store.coverage().await.unwrap();
            coverage.into_iter().find(|row| row.account == name && row.open == open)
        };
        until("coverage is written down", row).await
    };
    let before = written(true).await;
    stage.onsip.behave(&stage.accounts[0], |behaviour| behaviour.login = Login::Fail("temporary-auth-failure"));
    stage.startle(Role::Connection(name.clone()), false).await;
    let after = written(false).await;
    assert!(after.until >= before.until && after.reason.as_deref() == Some("restart"), "{after:?}");
    stage.end().await;
}
