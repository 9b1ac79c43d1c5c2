//! What a round does with a store that refuses, fails or is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::board::Board;
use crate::domain::FullJid;
use crate::domain::service::Service;
use crate::domain::status::StoreFault;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::protocol::notification::{Notification, Part};
use crate::store::{Store, options};

const WITHIN: Duration = Duration::from_secs(30);

struct Stage {
    house: House,
    routes: Routes,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("router.db").display());
        let store = Store::open(&options::Options::at(url)).await.unwrap();
        let sink: SinkName = "log".parse().unwrap();
        let metrics = Metrics::new("0", "0", ["one"], ["active-calls"], [&sink]).unwrap();
        let house = House::new(store, Arc::new(metrics), Arc::new(Board::default()), Feed::default());
        Self { house, routes: Routes::new([(sink, None)]), _folder: folder }
    }

    /// Commits `batches` round by round; what each was answered, or nothing if it never will be.
    async fn commit(&self, batches: Vec<Batch>) -> Vec<Option<bool>> {
        let mut line = Line::default();
        let mut answers = Vec::new();
        for batch in batches {
            let (asker, answer) = oneshot::channel();
            line.add(batch, asker);
            answers.push(answer);
        }
        while line.len() > 0 {
            match timeout(WITHIN, round(&self.house, &self.routes, &Arc::default(), line.take()))
                .await
                .expect("it ends")
            {
                Some(done) => line.done(done.reached),
                None => line.give_up(),
            }
        }
        answers.into_iter().map(|mut answer| answer.try_recv().ok()).collect()
    }

    /// The bodies of all that is owed.
    async fn owed(&self) -> Vec<String> {
        let owed = self.house.store.due(&"log".parse().unwrap(), 0, 100_000).await.unwrap();
        owed.iter().map(|owed| owed.body.to_string()).collect()
    }

    fn counted(&self, series: &str) -> u64 {
        let text = self.house.metrics.render(&self.house.board.view());
        let line = text.lines().find(|line| line.starts_with(&format!("onsip_router_{series} "))).expect(series);
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}

/// A message to an account that retracts these items.
fn batch(account: &str, items: impl IntoIterator<Item = String>) -> Batch {
    let own = FullJid::new("a@acme.test/router").unwrap();
    let service = Service::new("active-calls", "xmpp.test").unwrap();
    let retract = |item: String| Part::Retract { node: "/acme.test/a".into(), item: item.into() };
    let note = Notification {
        from: Some(service.jid().clone().into()),
        to: Some(own.clone().into()),
        parts: items.into_iter().map(retract).collect(),
        ..Notification::default()
    };
    let (account, domain) = (account.parse().unwrap(), "acme.test".into());
    let reception = Reception { account, domain, own, services: vec![service], subids: Vec::new() };
    Batch::Deliver(Deliver { reception: reception.into(), notes: [note].into(), received: Moment::now() })
}

fn items(name: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |n| format!("{name}-{n}-"))
}

#[actix::test]
async fn c1_what_the_store_can_never_take_is_left_out_and_nothing_else_is() {
    let stage = Stage::set().await;
    stage.house.store.refuse("poison-7-").await;
    let batches =
        vec![batch("one", items("one", 30)), batch("two", items("poison", 20)), batch("three", items("three", 3))];
    assert_eq!(stage.commit(batches).await, [Some(true); 3]);
    let owed = stage.owed().await;
    assert_eq!(owed.len(), 30 + 19 + 3);
    assert!(!owed.iter().any(|body| body.contains("poison-7-")));
    for (name, count) in [("one", 30), ("poison", 20), ("three", 3)] {
        let found = |item: &String| owed.iter().any(|body| body.contains(item.as_str()));
        assert!(items(name, count).filter(|item| item != "poison-7-").all(|item| found(&item)), "{name}");
    }
    assert_eq!(stage.counted("events_rejected_total{reason=\"refused\"}"), 1);
    assert_eq!(stage.house.board.view().store_fault, None);
}

#[actix::test]
async fn c2_a_large_message_is_committed_in_bounded_pieces_and_whole() {
    let stage = Stage::set().await;
    let long = "x".repeat(900);
    let batches = vec![batch("large", items(&long, 400)), batch("small", items("small", 1))];
    assert_eq!(stage.commit(batches).await, [Some(true), Some(true)]);
    let owed = stage.owed().await;
    assert_eq!(owed.len(), 401);
    let small = owed.iter().position(|body| body.contains("small-0-")).unwrap();
    assert!(small < 40, "it waited for {small} events of somebody else");
}

#[actix::test]
async fn c2_a_purge_of_many_legs_ends_them_all_some_at_a_time() {
    let stage = Stage::set().await;
    let fields = crate::domain::event::CallFields::default();
    let content =
        crate::protocol::notification::Content::Call(crate::domain::event::DialogState::Requested, fields.into());
    let mut published = batch("one", []);
    let Batch::Deliver(deliver) = &mut published else { return };
    let item = |item: String| Part::Item {
        node: "/acme.test/a".into(),
        item: item.into(),
        published: None,
        content: content.clone(),
    };
    let notes: Vec<_> = items("leg", 300)
        .map(|name| Notification { parts: vec![item(name)], ..deliver.notes[0].clone() })
        .chain([Notification { parts: vec![Part::Purge { node: "/acme.test/a".into() }], ..deliver.notes[0].clone() }])
        .collect();
    deliver.notes = notes.into();
    assert_eq!(stage.commit(vec![published]).await, [Some(true)]);
    let owed = stage.owed().await;
    assert_eq!(owed.iter().filter(|body| body.contains("com.onsip.call.ended")).count(), 300);
    assert_eq!(owed.len(), 600);
}

#[actix::test]
async fn a7_a_writer_that_is_gone_is_no_clean_stop() {
    let stage = Stage::set().await;
    assert_eq!(stage.commit(vec![batch("one", items("one", 1))]).await, [Some(true)]);
    stage.house.store.startle().await;
    let failed = timeout(WITHIN, stage.house.failed()).await.expect("it is told unasked");
    assert_eq!(failed, StoreError::Gone);
    assert_eq!(stage.commit(vec![batch("two", items("two", 1))]).await, [None], "nothing is acknowledged");
    assert_eq!(stage.house.board.view().store_fault, Some(StoreFault::Gone));
    assert!(stage.counted("store_faults_total{kind=\"gone\"}") > 0);
    assert!(stage.house.is_over() && stage.house.store.close().await == Err(StoreError::Gone));
}

#[actix::test]
async fn a7_after_a_sync_that_failed_nothing_is_written_or_acknowledged() {
    let stage = Stage::set().await;
    let fault = StoreError::Sync("disk I/O error".into());
    stage.house.store.fail_with(Some(fault.clone())).await;
    assert_eq!(stage.commit(vec![batch("one", items("one", 1))]).await, [None]);
    assert_eq!(timeout(WITHIN, stage.house.failed()).await.expect("it is told"), fault);
    assert_eq!(stage.house.board.view().store_fault, Some(StoreFault::Sync));
    assert_eq!(stage.commit(vec![batch("one", items("one", 1))]).await, [None]);
    assert!(stage.owed().await.is_empty());
}

#[actix::test]
async fn a7_a_store_that_is_closed_acknowledges_nothing_and_has_not_failed() {
    let stage = Stage::set().await;
    stage.house.store.close().await.unwrap();
    assert_eq!(stage.commit(vec![batch("one", items("one", 1))]).await, [None]);
    assert!(stage.house.is_over() && stage.house.failed.borrow().is_none());
}

#[actix::test]
async fn a7_a_full_disk_heals_by_itself() {
    let stage = Stage::set().await;
    stage.house.store.fail_with(Some(StoreError::Full("no space".into()))).await;
    let committed = stage.commit(vec![batch("one", items("one", 1))]);
    let heals = async {
        while stage.house.board.view().store_fault != Some(StoreFault::Full) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stage.house.store.fail_with(None).await;
    };
    let (committed, ()) = tokio::join!(committed, heals);
    assert_eq!(committed, [Some(true)]);
    assert_eq!(stage.house.board.view().store_fault, None);
    assert!(!stage.house.is_over());
}
