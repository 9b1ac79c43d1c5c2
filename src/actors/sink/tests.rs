//! The actor with a scripted sink and a real queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use jiff::SignedDuration;

use super::*;
use crate::board::Board;
use crate::config::{Delivery, WhenFull};
use crate::domain::identity::Token;
use crate::domain::leg::Call;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::sinks::{Batch, Failure, Options, Sink, file};
use crate::store::{Commit, CommitEvent, Store, options};

const WITHIN: Duration = Duration::from_secs(30);

/// What the peer does, and what it got.
#[derive(Default)]
struct Peer {
    got: Vec<String>,
    tried: Vec<String>,
    down: bool,
    gone: bool,
    poison: BTreeSet<String>,
    indigestible: BTreeSet<String>,
}

struct Scripted(Arc<Mutex<Peer>>);

#[async_trait]
impl Sink for Scripted {
    async fn hand_over(&mut self, batch: &Batch) {
        let mut peer = self.0.lock().unwrap();
        for (place, parcel) in batch.one_by_one() {
            let (id, call) = (parcel.body.to_string(), parcel.partition.to_string());
            peer.tried.push(id.clone());
            let answer = if peer.gone {
                Err(Failure::Pause { reason: "410 Gone".to_owned() })
            } else if peer.indigestible.contains(&id) {
                Err(Failure::Reject { reason: "422".to_owned() })
            } else if peer.down || peer.poison.contains(&call) {
                Err(Failure::Retry { reason: "503".to_owned(), after: None })
            } else {
                peer.got.push(id);
                Ok(())
            };
            batch.answer(place, answer);
        }
    }
}

/// A sink whose deliveries never end.
struct Hanging;

#[async_trait]
impl Sink for Hanging {
    async fn hand_over(&mut self, _: &Batch) {
        std::future::pending::<()>().await;
    }
}

struct Stage {
    house: Arc<House>,
    peer: Arc<Mutex<Peer>>,
    actor: Addr<SinkActor>,
    folder: tempfile::TempDir,
}

fn name() -> SinkName {
    "crm".parse().unwrap()
}

impl Stage {
    async fn set(delivery: Delivery, before: &[(&str, &str)], hangs: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("router.db").display());
        let store = Store::open(&options::Options::at(url)).await.unwrap();
        let metrics = Metrics::new("0", "0", ["a"], ["active-calls"], ["crm"]).unwrap();
        let house = Arc::new(House::new(store, Arc::new(metrics), Arc::new(Board::default()), Feed::default()));
        commit(&house, before).await;
        let peer = Arc::new(Mutex::new(Peer::default()));
        let options = Options::File(file::Options::at(folder.path().join("events.jsonl")));
        let sink: Box<dyn Sink> = if hangs { Box::new(Hanging) } else { Box::new(Scripted(Arc::clone(&peer))) };
        let config = config::Sink { options, delivery, when: None };
        let fleet = Fleet::new(Arc::clone(&house)).start();
        let actor = SinkActor::with(Arc::clone(&house), name(), &config, sink, &fleet, 1).start();
        Self { house, peer, actor, folder }
    }

    async fn commit(&self, events: &[(&str, &str)]) {
        commit(&self.house, events).await;
        self.actor.send(Wake).await.unwrap();
    }

    fn peer<T>(&self, look: impl Fn(&mut Peer) -> T) -> T {
        look(&mut self.peer.lock().unwrap())
    }

    async fn until(&self, what: &str, mut wish: impl FnMut(&mut Peer, &SinkStatus) -> bool) {
        let seen = async {
            loop {
                let status = self.house.board.view().sinks.get(&name()).cloned();
                let status = status.unwrap_or_else(|| SinkStatus::new("file"));
                if wish(&mut self.peer.lock().unwrap(), &status) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(WITHIN, seen).await;
        assert!(seen.is_ok(), "{what}: {:?} {:?}", self.peer(|peer| peer.got.clone()), self.house.board.view().sinks);
    }

    fn text(&self) -> String {
        self.house.metrics.render(&self.house.board.view())
    }
}

async fn commit(house: &House, events: &[(&str, &str)]) {
    let event = |(id, call): &(&str, &str)| CommitEvent {
        id: Token::of([*id]),
        partition: (*call).to_owned(),
        received: Moment::now().utc(),
        body: Arc::from(*id),
        owed: vec![name()],
    };
    let call = |(_, call): &(&str, &str)| Call { partition: (*call).into(), sequence: 1, answered_by: None, newest: 0 };
    let (events, calls) = (events.iter().map(event).collect(), events.iter().map(call).collect());
    house.store.commit(Commit { events, calls, ..Commit::default() }).await.unwrap();
}

fn delivery() -> Delivery {
    Delivery {
        timeout: Duration::from_secs(10),
        max_queue: 1 << 30,
        max_age: Duration::from_hours(24),
        when_full: WhenFull::DropOldest,
        backlog_rate: 0,
        canary: None,
    }
}

#[actix::test]
async fn a_stuck_call_holds_back_no_other_and_a_rejected_event_not_its_own() {
    let stage = Stage::set(delivery(), &[], false).await;
    stage.peer(|peer| {
        peer.poison.insert("stuck".to_owned());
        peer.indigestible.insert("c1".to_owned());
    });
    stage.commit(&[("s1", "stuck"), ("c1", "c"), ("a1", "a"), ("s2", "stuck"), ("c2", "c")]).await;
    stage.commit(&[("a2", "a"), ("s3", "stuck")]).await;
    let through = ["a1", "a2", "c2"];
    stage
        .until("the others are through", |peer, status| {
            peer.got.iter().map(String::as_str).collect::<BTreeSet<_>>() == BTreeSet::from(through) && status.dead == 1
        })
        .await;
    stage.until("the stuck one is held", |_, status| status.held == 1 && status.queued == 3).await;
    stage.peer(|peer| peer.poison.clear());
    stage
        .until("the stuck one follows, in order", |peer, status| {
            peer.got.len() == 6 && peer.got[3..] == ["s1", "s2", "s3"] && status.queued == 0 && status.is_up()
        })
        .await;
    assert!(stage.text().contains("sink_dead_events{sink=\"crm\"} 1"));
}

#[actix::test]
async fn a_canary_that_is_refused_is_off_the_queue_and_no_dead_letter() {
    let stage = Stage::set(delivery(), &[], false).await;
    // At its start a sink without canaries drops those of an earlier configuration.
    stage.commit(&[("first", "first")]).await;
    stage.until("it is at work", |peer, status| peer.got == ["first"] && status.queued == 0).await;
    stage.peer(|peer| peer.indigestible.insert("c1".to_owned()));
    stage.commit(&[("c1", "canary:crm"), ("a", "a"), ("c2", "canary:crm")]).await;
    stage.until("the next is through", |peer, status| peer.got == ["first", "a", "c2"] && status.queued == 0).await;
    let text = stage.text();
    for line in ["sink_dead_events{sink=\"crm\"} 0", "sink_canary_seconds_count{sink=\"crm\"} 1"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    for (outcome, count) in [("delivered", 2), ("dead", 0)] {
        let line = format!("sink_deliveries_total{{outcome=\"{outcome}\",sink=\"crm\"}} {count}");
        assert!(text.contains(&line), "{text}");
    }
}

#[actix::test]
async fn a_dead_sink_is_probed_with_a_few_events_and_then_gets_everything_in_order() {
    let events: Vec<(String, String)> = (0..300).map(|n| (format!("{n:03}"), format!("call {}", n % 40))).collect();
    let events: Vec<(&str, &str)> = events.iter().map(|(id, call)| (id.as_str(), call.as_str())).collect();
    let stage = Stage::set(delivery(), &[], false).await;
    stage.peer(|peer| peer.down = true);
    stage.commit(&events).await;
    stage.until("it is down", |_, status| !status.is_up() && status.retry_at.is_some()).await;
    let tried = stage.peer(|peer| peer.tried.len());
    stage.until("a probe", |peer, _| peer.tried.len() > tried).await;
    assert!(stage.peer(|peer| peer.tried.len()) <= tried + 2 * crate::retry::outage::PROBE, "not hammered");
    stage.peer(|peer| peer.down = false);
    stage.until("all are through", |peer, status| peer.got.len() == 300 && status.is_up() && status.queued == 0).await;
    let mut newest = BTreeMap::new();
    for id in stage.peer(|peer| peer.got.clone()) {
        let call = id.parse::<usize>().unwrap() % 40;
        assert!(newest.insert(call, id.clone()) < Some(id), "in order within a call");
    }
}

#[actix::test]
async fn a_sink_that_hangs_is_given_up_and_opened_anew() {
    let delivery = Delivery { timeout: Duration::from_millis(100), ..delivery() };
    let stage = Stage::set(delivery, &[("a", "a"), ("b", "b")], true).await;
    let path = stage.folder.path().join("events.jsonl");
    stage.until("the failure is told", |_, status| status.last_error.is_some()).await;
    let error = stage.house.board.view().sinks[&name()].last_error.clone().unwrap();
    assert_eq!(error, "no answer within 100ms");
    stage.until("the one in its place delivers", |_, status| status.is_up() && status.queued == 0).await;
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 2);
}

#[actix::test]
async fn a_peer_that_wants_no_more_is_left_alone_until_a_reload() {
    let stage = Stage::set(delivery(), &[], false).await;
    stage.peer(|peer| peer.gone = true);
    stage.commit(&[("a", "a"), ("b", "b")]).await;
    stage.until("it rests", |_, status| status.retry_at.is_some() && !status.is_up()).await;
    let tried = stage.peer(|peer| peer.tried.len());
    stage.commit(&[("c", "c")]).await;
    stage.until("the newcomer waits too", |_, status| status.queued == 3).await;
    let retry_at = stage.house.board.view().sinks[&name()].retry_at.unwrap();
    assert!(retry_at.duration_since(Moment::now().utc()) > SignedDuration::from_mins(30), "{retry_at}");
    assert_eq!(stage.peer(|peer| peer.tried.len()), tried, "left alone");
    stage.peer(|peer| peer.gone = false);
    stage.actor.send(Reopen).await.unwrap();
    stage.until("all are through", |peer, _| peer.got.len() == 3).await;
    assert_eq!(stage.peer(|peer| BTreeSet::from_iter(peer.got.clone())).len(), 3, "each once");
}

#[actix::test]
async fn fresh_events_arrive_while_what_piled_up_drains_slowly() {
    let old: Vec<(String, String)> = (0..60).map(|n| (format!("old {n}"), format!("old call {n}"))).collect();
    let old: Vec<(&str, &str)> = old.iter().map(|(id, call)| (id.as_str(), call.as_str())).collect();
    let stage = Stage::set(Delivery { backlog_rate: 5, ..delivery() }, &old, false).await;
    stage.until("it has begun", |peer, _| !peer.got.is_empty()).await;
    stage.commit(&[("new", "new call"), ("later", "old call 59")]).await;
    stage.until("the fresh one is there", |peer, _| peer.got.iter().any(|id| id == "new")).await;
    let got = stage.peer(|peer| peer.got.clone());
    assert!(got.len() < 50, "before the backlog: {}", got.len());
    assert!(!got.contains(&"later".to_owned()), "its call has a backlog");
    stage.until("all are through", |peer, _| peer.got.len() == 62).await;
    let got = stage.peer(|peer| peer.got.clone());
    let place = |id: &str| got.iter().position(|other| other == id);
    assert!(place("old 59") < place("later"));
}

#[actix::test]
async fn what_an_operator_revives_is_delivered_unasked() {
    let stage = Stage::set(delivery(), &[], false).await;
    stage.peer(|peer| peer.indigestible.insert("a".to_owned()));
    stage.commit(&[("a", "a"), ("b", "b")]).await;
    stage.until("it is dead", |_, status| status.dead == 1).await;
    stage.until("it is told so", |_, status| status.last_error.as_deref() == Some("422")).await;
    stage.peer(|peer| peer.indigestible.clear());
    assert_eq!(stage.house.store.retry(&name(), None).await, Ok(1));
    stage.until("it arrives", |peer, status| peer.got == ["b", "a"] && status.dead == 0).await;
}
