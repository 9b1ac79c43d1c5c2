//! The router's own fleet with real sinks; only the accounts are missing, in whose place events are committed.

use std::io::Write;
use std::sync::Arc;

use actix::Actor;
use onsip_router::actors::House;
use onsip_router::actors::fleet::{Apply, Fleet, Shutdown};
use onsip_router::board::Board;
use onsip_router::config::Config;
use onsip_router::domain::name::SinkName;
use onsip_router::feed::Feed;
use onsip_router::metrics::Metrics;
use onsip_router::store::Store;

use super::queue::{self, AHEAD, until_at_most};
use super::{Figure, Watch};

/// The healthy sinks, by name.
pub const HEALTHY: [&str; 3] = ["log", "bus", "stream"];

/// How many a second are accepted and acknowledged by all of [`HEALTHY`], with the sinks of this configuration.
pub async fn rate(sinks: &str, count: usize) -> Figure {
    let folder = tempfile::tempdir().unwrap();
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let url = queue::options(folder.path()).url;
    let path = folder.path().join("events.jsonl");
    let whole = format!(
        "[accounts.a]\njid = \"a@acme.test\"\npassword = \"x\"\nenabled = false\n[store]\nurl = \"{url}\"\n\
         [sinks.log]\ntype = \"file\"\npath = \"{}\"\n{sinks}",
        path.display()
    );
    file.write_all(whole.as_bytes()).unwrap();
    let config = Config::load(&[file.path().to_owned()], std::iter::empty()).unwrap_or_else(|fault| panic!("{fault}"));
    let names: Vec<SinkName> = config.sinks.keys().cloned().collect();
    let store = Store::open(&config.store).await.unwrap();
    let metrics = Metrics::new("bench", "bench", ["a"], ["active-calls"], names.iter().map(SinkName::as_str)).unwrap();
    let house = Arc::new(House::new(store.clone(), Arc::new(metrics), Arc::new(Board::default()), Feed::default()));
    let fleet = Fleet::new(house).start();
    fleet.send(Apply(config)).await.unwrap().unwrap();

    let healthy = HEALTHY.map(|name| name.parse().unwrap());
    // The connections are made before the clock starts.
    queue::commit(&store, queue::commits("first", 256, &names), async || ()).await;
    until_at_most(&store, &healthy, 0).await;
    let commits = queue::commits("rest", count, &names);
    let (count, start) = (commits.iter().map(|commit| commit.events.len()).sum(), Watch::start());
    queue::commit(&store, commits, async || until_at_most(&store, &healthy, AHEAD).await).await;
    until_at_most(&store, &healthy, 0).await;
    let rate = start.stop(count);
    fleet.send(Shutdown { covered: onsip_router::domain::moment::Moment::now() }).await.unwrap();
    store.close().await.unwrap();
    let lines = std::fs::read_to_string(path).unwrap().lines().count();
    assert_eq!(lines, count + 256, "every event is in the file once");
    rate
}
