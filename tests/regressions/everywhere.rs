//! Every place where an operator reads tells the same, and the truth, whatever happens to sinks, the store and the process.
//!
//! The places are the log, the page, the API, the metrics, `status` on the screen and as JSON, and the events; [`crate::places`]
//! reads and [`crate::agreement`] compares them. The situations, here and for accounts in [`crate::coverage`]:
//!
//! 1. a sink refuses everything with 500, 2. with 401, 3. with 400; 4. it rests, having said 410; 5. one call is held;
//! 6. it hangs; 7. it has caught up; 8. its full queue stops receiving, and has room again; 9. it dropped what was too much,
//!    10. what was too old; 11. it was removed and is owed events, or only has dead letters;
//! 12. dead letters, 13. owed again and 14. purged by an operator, 15. as owed events are;
//! 16. the store is full, and has room again; 17. a stop while deliveries are under way; 18. kill -9 and a start;
//! 19. a subscription is denied at the start, 20. and later; 21. it waits for approval; 22. its lease was lost, 23. it was
//!     revoked; 24. an address is not granted; 25. a first start and 26. a later one without service; a refused password put
//!     right 27. by reload, 28. by restart, 29. by its file; 30. an account that is refused for good; 31. a disabled one and
//!     32. a changed one; 33. a lost connection, 34. a conflict, 35. an authorization that lapsed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use onsip_router::domain::BareJid;
use onsip_router::simulator::Simulator;
use serde_json::Value;

use crate::places::{self, Told, account_everywhere, sink_everywhere};
use crate::support::condition::SOON;
use crate::support::daemon::Daemon;
use crate::support::disk::Disk;
use crate::support::program;
use crate::support::receiver::{Answer, Receiver, status};
use crate::support::stage::*;

/// Somebody else who calls.
const OTHER: &str = "sip:+12125550199@carrier.test";

/// The service, an account, a daemon that is connected, and a webhook that answers as is set to posts about one caller.
struct Stage {
    onsip: Simulator,
    anna: BareJid,
    setup: Setup,
    daemon: Daemon,
    receiver: Receiver,
    answer: Arc<AtomicU16>,
}

impl Stage {
    /// The webhook answers `code` to posts that tell of `caller`, and 200 to others; `lines` are further lines of its sink.
    async fn with(code: u16, caller: &str, lines: &str) -> Self {
        let answer = Arc::new(AtomicU16::new(code));
        let (said, caller) = (Arc::clone(&answer), caller.to_owned());
        let receiver = Receiver::start(move |post| {
            let concerned = String::from_utf8_lossy(&post.body).contains(&caller);
            status(if concerned { said.load(Ordering::SeqCst) } else { 200 })
        });
        let (onsip, anna) = service_with_anna().await;
        let sink = format!("type = \"webhook\"\nurl = \"http://{}/\"\n{lines}", receiver.address());
        let setup = without_sink(&onsip, &anna).sink("crm", &sink);
        let daemon = setup.start_active(1).await;
        Self { onsip, anna, setup, daemon, receiver, answer }
    }

    /// Calls come and end; each is two events, and all are in the file.
    async fn calls(&self, caller: &str, count: usize) {
        let before = calls(self.daemon.events(EVENTS)).len();
        for _ in 0..count {
            let mut call = self.onsip.call_in(self.anna.as_str(), caller, 1);
            self.onsip.hang_up(&mut call);
        }
        self.daemon.until_calls(before + 2 * count).await;
        self.daemon.until_settled_for("log").await;
    }

    fn answers(&self, code: u16) {
        self.answer.store(code, Ordering::SeqCst);
    }

    /// Everything agrees about the sink once it is so.
    async fn crm(&self, what: &str, wish: impl Fn(&Value) -> bool) -> Told {
        sink_everywhere(&self.daemon, "crm", what, wish).await
    }

    /// The bytes of the newest events, as they are in the file.
    fn bytes(&self, events: usize) -> u64 {
        let text = std::fs::read_to_string(self.daemon.folder().join(EVENTS)).unwrap();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len() - events..].iter().map(|line| line.len() as u64).sum()
    }

    async fn queue(&self, arguments: &[&str]) {
        let whole = [&["queue", arguments[0], "--config", "config.toml", "--sink", "crm"], &arguments[1..]].concat();
        let said = program::run(self.daemon.folder(), &whole).await;
        assert_eq!(said.code, Some(0), "{said:#?}");
    }
}

/// Without a webhook; no line of the log is held back.
fn without_sink(onsip: &Simulator, anna: &BareJid) -> Setup {
    Setup::of(onsip).account("front-desk", anna).section("[log]\nrepeat_after = \"0s\"")
}

/// A webhook that never answers.
fn silent() -> Receiver {
    Receiver::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), |_| std::future::pending::<Answer>())
}

/// Returns the row's numbers of the queue: queued, held, dead, dropped for being too much and too old.
fn counts(row: &Value) -> [u64; 5] {
    let dropped = &row["dropped"];
    [&row["queued"], &row["held"], &row["dead"], &dropped["full"], &dropped["age"]].map(|n| n.as_u64().unwrap())
}

fn is_down(row: &Value) -> bool {
    row["state"] == "down" && row["retry_at"].is_string()
}

/// The newest failure says so.
fn fails_with(row: &Value, why: &str) -> bool {
    row["last_error"].as_str().is_some_and(|error| error.contains(why))
}

#[tokio::test]
async fn a_sink_that_refuses_everything_is_down_everywhere() {
    for code in [500, 401, 400] {
        let stage = Stage::with(code, "", "").await;
        stage.calls(CALLER, 6).await;
        let told = stage.crm("a sink that is down", |crm| is_down(crm) && fails_with(crm, &code.to_string())).await;
        assert_eq!(counts(&told.row)[0], 12, "{code}: {:#}", told.row);
        assert_eq!(counts(&told.row)[2..], [0; 3], "nothing is given up: {:#}", told.row);
        assert_eq!(told.row["bytes"], stage.bytes(12), "{code}");
        assert_eq!(told.line("the sink takes nothing").field("why"), told.row["last_error"]);
        let tried = told.places.metric("sink_deliveries_total", &[("sink", "crm"), ("outcome", "retried")]);
        let posts = f64::from(u32::try_from(stage.receiver.received().len()).unwrap());
        assert!(tried >= 1.0 && tried <= posts, "{code}: {tried} of {posts} are counted");
    }
}

#[tokio::test]
async fn a_sink_that_rests_does_so_everywhere() {
    let stage = Stage::with(410, "", "").await;
    stage.calls(CALLER, 2).await;
    let told = stage.crm("a sink that rests", |crm| crm["state"] == "resting").await;
    assert_eq!(counts(&told.row), [4, 0, 0, 0, 0], "{:#}", told.row);
    assert_eq!(told.line("the sink wants no more events").field("retry_at"), told.row["next_try"]);
    // An operator who mends it says so by a reload.
    stage.answers(200);
    stage.setup.reload(&stage.daemon).await;
    let told = stage.crm("a sink that has caught up", |crm| crm["state"] == "up" && crm["queued"] == 0).await;
    assert_eq!(counts(&told.row), [0; 5]);
}

#[tokio::test]
async fn a_call_that_is_held_is_so_everywhere() {
    let stage = Stage::with(500, CALLER, "").await;
    stage.calls(CALLER, 1).await;
    stage.calls(OTHER, 1).await;
    let told = stage.crm("a held call", |crm| crm["held"] == 1 && crm["queued"] == 2).await;
    assert_eq!(counts(&told.row), [2, 1, 0, 0, 0]);
    assert!(told.row["retry_at"].is_null() && told.row["next_try"].is_string(), "{:#}", told.row);
    let all = calls(stage.daemon.events(EVENTS));
    let oldest = all.iter().find(|event| event.to_string().contains(CALLER)).unwrap();
    assert_eq!(told.row["oldest"], oldest["data"]["received_at"], "the oldest is the first of the held call");
}

#[tokio::test]
async fn a_sink_that_hangs_is_down_everywhere() {
    let (onsip, anna) = service_with_anna().await;
    let receiver = silent();
    let sink = format!("type = \"webhook\"\nurl = \"http://{}/\"\ntimeout = \"200ms\"", receiver.address());
    let daemon = without_sink(&onsip, &anna).sink("crm", &sink).start_active(1).await;
    for _ in 0..5 {
        onsip.call_in(anna.as_str(), CALLER, 1);
    }
    daemon.until_calls(5).await;
    let told = sink_everywhere(&daemon, "crm", "a sink that is down", |crm| is_down(crm) && crm["queued"] == 5).await;
    assert_eq!(told.line("the sink takes nothing").field("why"), told.row["last_error"]);
    assert!(fails_with(&told.row, "no answer"), "{:#}", told.row);
}

#[tokio::test]
async fn a_sink_that_has_caught_up_is_up_everywhere() {
    let stage = Stage::with(500, "", "").await;
    stage.calls(CALLER, 6).await;
    stage.crm("a sink that is down", is_down).await;
    stage.answers(200);
    let told = stage.crm("a sink that is up", |crm| crm["state"] == "up" && crm["queued"] == 0).await;
    assert_eq!((counts(&told.row), &told.row["next_try"]), ([0; 5], &Value::Null));
    stage.daemon.until_logged("caught up: ", SOON).await;
    assert_eq!(told.row["bytes"], 0);
    let delivered = told.places.metric("sink_deliveries_total", &[("sink", "crm"), ("outcome", "delivered")]);
    assert!((delivered - 12.0).abs() < 0.5, "{delivered}");
}

#[tokio::test]
async fn a_full_queue_that_stops_receiving_does_so_everywhere() {
    let stage = Stage::with(500, "", "max_queue = \"4KiB\"\nwhen_full = \"block\"").await;
    for _ in 0..10 {
        stage.onsip.call_in(stage.anna.as_str(), CALLER, 1);
    }
    let told = stage.crm("a queue that blocks", |crm| crm["blocking"] == true && is_down(crm)).await;
    assert!(told.row["bytes"].as_u64() >= Some(4096), "{:#}", told.row);
    let reason = "the queue of sink crm is full and receiving stops for it";
    assert_eq!(told.places.summary()["reasons"], serde_json::json!([reason]));
    told.line("its queue is full");
    stage.answers(200);
    let told = stage.crm("a queue with room", |crm| crm["blocking"] == false && crm["queued"] == 0).await;
    assert_eq!(told.places.summary()["ready"], true);
    told.line("its queue has room again");
}

#[tokio::test]
async fn what_a_sink_dropped_is_told_everywhere_with_its_reason() {
    let stage = Stage::with(500, "", "max_queue = \"4KiB\"").await;
    stage.calls(CALLER, 10).await;
    let all = |crm: &Value| counts(crm)[0] + counts(crm)[3] == 20;
    let told = stage.crm("what was too much", |crm| all(crm) && counts(crm)[3] > 0 && is_down(crm)).await;
    let [queued, _, _, full, age] = counts(&told.row);
    assert!(queued > 0 && age == 0 && told.row["bytes"] == stage.bytes(queued.try_into().unwrap()), "{:#}", told.row);
    assert_eq!(told.places.summary()["totals"]["dropped"], full);
    let told: u64 = lines(&told, "dropped: ").map(|n| n.parse::<u64>().unwrap()).sum();
    assert_eq!(told, full, "the log");

    let stage = Stage::with(500, "", "max_age = \"2s\"").await;
    stage.calls(CALLER, 2).await;
    let told = stage.crm("what was too old", |crm| counts(crm)[4] == 4).await;
    assert_eq!(counts(&told.row), [0, told.row["held"].as_u64().unwrap(), 0, 0, 4]);
}

/// The numbers of events in the lines that begin so.
fn lines<'a>(told: &'a Told, beginning: &'static str) -> impl Iterator<Item = &'a str> {
    told.places.log.iter().filter(move |line| line.message.starts_with(beginning)).map(|line| line.field("events"))
}

#[tokio::test]
async fn a_removed_sink_is_told_of_everywhere_as_long_as_anything_of_it_is_left() {
    let mut stage = Stage::with(400, CALLER, "").await;
    stage.calls(CALLER, 1).await;
    stage.calls(OTHER, 1).await;
    stage.crm("two dead letters", |crm| counts(crm) == [0, 0, 2, 0, 0]).await;
    stage.answers(500);
    stage.calls(CALLER, 1).await;
    stage.crm("two owed events", |crm| counts(crm)[0] == 2 && crm["held"] == 1).await;
    let bytes = stage.bytes(2);
    let without = without_sink(&stage.onsip, &stage.anna);
    without.reload(&stage.daemon).await;
    let gone = |crm: &Value| crm["state"] == "not configured";
    for _ in 0..2 {
        let told = stage.crm("a sink that is not configured", |crm| gone(crm) && counts(crm)[0] == 2).await;
        assert_eq!(counts(&told.row), [2, 0, 2, 0, 0]);
        assert_eq!(told.row["bytes"], bytes);
        assert!((told.places.metric("unconfigured_sink_dead_events", &[]) - 2.0).abs() < 0.5);
        stage.daemon.until_logged("a sink that is not configured is owed events", SOON).await;
        assert!(stage.daemon.terminate().await.success());
        stage.daemon.start_again().await;
        stage.daemon.until_active(1).await;
    }
    // What is left of it may be dead letters alone.
    stage.setup.reload(&stage.daemon).await;
    stage.answers(200);
    stage.crm("a sink at work again", |crm| crm["state"] == "up" && counts(crm) == [0, 0, 2, 0, 0]).await;
    without.reload(&stage.daemon).await;
    let told = stage.crm("dead letters of a sink that is not configured", gone).await;
    assert_eq!(counts(&told.row), [0, 0, 2, 0, 0]);
    stage.queue(&["purge", "--all", "--yes"]).await;
    let none = |places: &places::Places| places.sink("crm").is_none();
    places::until(&stage.daemon, "nothing shown of what is gone", none).await;
}

#[tokio::test]
async fn dead_letters_and_what_an_operator_does_to_a_queue_are_told_everywhere() {
    let stage = Stage::with(400, CALLER, "").await;
    stage.calls(CALLER, 1).await;
    stage.calls(OTHER, 1).await;
    let told = stage.crm("two dead letters", |crm| counts(crm) == [0, 0, 2, 0, 0]).await;
    assert!(fails_with(&told.row, "400 Bad Request"), "{:#}", told.row);
    assert_eq!(told.places.summary()["totals"]["dead"], 2);
    assert_eq!(lines(&told, "given up").map(|n| n.parse::<u64>().unwrap()).sum::<u64>(), 2);

    // Owed again, and refused again: given up as soon as another one passes.
    stage.queue(&["retry", "--all"]).await;
    let by_operator =
        |told: &Told| ["revived", "purged", "purged_dead"].map(|key| told.places.summary()["totals"][key].clone());
    let revived = |places: &places::Places| places.summary()["totals"]["revived"] == 2;
    places::until(&stage.daemon, "two events that are owed again", revived).await;
    stage.calls(OTHER, 1).await;
    let told = stage.crm("two dead letters again", |crm| counts(crm) == [0, 0, 2, 0, 0]).await;
    assert_eq!((by_operator(&told), &told.places.summary()["totals"]["dead"]), ([2, 0, 0].map(Value::from), &4.into()));

    stage.queue(&["purge", "--dead", "--yes"]).await;
    let purged = |places: &places::Places| places.summary()["totals"]["purged_dead"] == 2;
    places::until(&stage.daemon, "dead letters that are purged", purged).await;
    let told = stage.crm("no dead letters", |crm| counts(crm) == [0; 5]).await;
    assert_eq!(told.line("dead letters are gone").field("events"), "2");

    stage.answers(500);
    stage.calls(CALLER, 1).await;
    stage.crm("two owed events", |crm| counts(crm) == [2, 1, 0, 0, 0]).await;
    stage.queue(&["purge", "--all", "--yes"]).await;
    let purged = |places: &places::Places| places.summary()["totals"]["purged"] == 2;
    places::until(&stage.daemon, "events that are purged", purged).await;
    let told = stage.crm("nothing owed", |crm| counts(crm) == [0; 5]).await;
    assert_eq!(by_operator(&told), [2, 2, 2].map(Value::from));
    assert_eq!(told.line("owed events are gone").field("events"), "2");
    assert!(told.row["next_try"].is_null() && told.row["bytes"] == 0, "{:#}", told.row);
}

#[tokio::test]
async fn a_store_without_room_is_told_everywhere() {
    let disk = Disk::mount();
    let (onsip, anna) = service_with_anna().await;
    let url = format!("sqlite://{}", disk.path().join("state.db").display());
    let setup = Setup::of(&onsip).account("front-desk", &anna).store_and_http(&url, "127.0.0.1:0");
    let daemon = setup.start_active(1).await;
    daemon.until_ready().await;
    disk.fill();
    let mut placed: Vec<_> = (0..40).map(|_| onsip.call_in(anna.as_str(), CALLER, 1)).collect();
    let fault = |fault: Value| move |places: &places::Places| places.summary()["store"]["fault"] == fault;
    let full = places::until(&daemon, "a full store", fault("full".into())).await;
    let reason = "events cannot be committed: no space is left for the database";
    assert_eq!(full.summary()["reasons"], serde_json::json!([reason]));
    assert!(full.metric("store_faults_total", &[("kind", "full")]) >= 1.0);
    daemon.until_logged("receiving stops until they can", SOON).await;
    disk.make_room();
    for call in &mut placed {
        onsip.hang_up(call);
    }
    daemon.until_calls(80).await;
    let well = places::until(&daemon, "a store with room", fault(Value::Null)).await;
    assert_eq!((&well.summary()["ready"], &well.summary()["totals"]["received"]), (&true.into(), &80.into()));
}

#[tokio::test]
async fn a_stop_with_deliveries_under_way_is_told_everywhere_and_the_gap_begins_where_they_said() {
    let (onsip, anna) = service_with_anna().await;
    let receiver = silent();
    let sink = format!("type = \"webhook\"\nurl = \"http://{}/\"\ntimeout = \"1m\"", receiver.address());
    let mut daemon = without_sink(&onsip, &anna).sink("crm", &sink).start_active(1).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.until_calls(1).await;
    daemon.until("a delivery under way", SOON, async || (receiver.received().len() == 1).then_some(())).await;
    sink_everywhere(&daemon, "crm", "an owed event", |crm| crm["queued"] == 1).await;
    daemon.signal("TERM").await;
    let closed = |account: &Value| account["state"] == "waiting";
    let told = account_everywhere(&daemon, "front-desk", "a closed connection", closed).await;
    let summary = told.places.summary();
    assert_eq!((&summary["draining"], &summary["ready"]), (&true.into(), &false.into()));
    assert_eq!(summary["reasons"], serde_json::json!(["the daemon is stopping"]));
    assert_eq!((&told.row["why"], &told.row["blind"]["reason"]), (&"the router is stopping".into(), &"restart".into()));
    assert_eq!(told.line("receiving ends").field("since"), told.row["blind"]["since"]);
    assert!(told.places.subscriptions("front-desk").all(|row| row["state"] == "lost"));
    assert_eq!(told.places.sink("crm").unwrap()["queued"], 1);
    assert!(daemon.exit(SOON).await.success(), "{}", daemon.log());
    daemon.start_again().await;
    daemon.until_active(1).await;
    let gaps =
        daemon.until("the gap", SOON, async || Some(gaps(daemon.events(EVENTS))).filter(|gaps| !gaps.is_empty()));
    let gap = gaps.await.remove(0);
    assert_eq!(
        [&gap["data"]["from"], &gap["data"]["reason"]],
        [&told.row["blind"]["since"], &told.row["blind"]["reason"]]
    );
}

#[tokio::test]
async fn after_a_kill_and_a_start_the_places_say_what_they_said_before() {
    let mut stage = Stage::with(400, CALLER, "").await;
    stage.calls(CALLER, 1).await;
    stage.calls(OTHER, 1).await;
    stage.crm("two dead letters", |crm| counts(crm) == [0, 0, 2, 0, 0]).await;
    stage.answers(500);
    stage.calls(CALLER, 6).await;
    let before = stage.crm("a sink that is down", |crm| is_down(crm) && counts(crm)[0] == 12).await.row;
    stage.daemon.kill9().await;
    stage.daemon.start_again().await;
    stage.daemon.until_active(1).await;
    let after = stage.crm("a sink that is down", |crm| is_down(crm) && counts(crm)[0] >= 12).await;
    // The gap passes, and for a moment it is the thirteenth.
    let told = stage.daemon.until("the gap", SOON, async || gaps(stage.daemon.events(EVENTS)).pop()).await;
    let whole = stage.crm("all that is owed", |crm| is_down(crm) && counts(crm)[0] == 12).await;
    for key in ["oldest", "dead", "type", "configured", "last_error"] {
        assert_eq!([&after.row[key], &whole.row[key]], [&before[key], &before[key]], "{key}");
    }
    assert_eq!(whole.row["bytes"], before["bytes"]);
    assert_eq!(told["data"]["reason"], "restart");
    let account = whole.places.account("front-desk").unwrap();
    assert!(account["blind"].is_null(), "{account:#}");
    assert_eq!(whole.places.summary()["totals"]["gaps"], 1);
}
