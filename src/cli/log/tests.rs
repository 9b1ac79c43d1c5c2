use std::sync::PoisonError;

use jiff::Timestamp;
use tracing::subscriber::with_default;
use tracing::{debug, error, info, warn};

use super::*;
use crate::domain::limits::{LOG_FOREIGN_SUBJECTS, LOG_HELD, LOG_SUBJECTS};

/// A line, and what it says about what, if it can repeat.
type Heard = (Line, Option<Subject>);

/// Hears what is logged.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Heard>>>);

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Line::of(event, at(0).utc());
        let subject = subject(event, &line);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((line, subject));
    }
}

fn heard(say: impl FnOnce()) -> Vec<Heard> {
    let ear = Ear::default();
    with_default(tracing_subscriber::registry().with(ear.clone()), say);
    std::mem::take(&mut *ear.0.lock().unwrap())
}

fn one(say: impl FnOnce()) -> Line {
    heard(say).remove(0).0
}

fn at(seconds: u64) -> Moment {
    let utc: Timestamp = "2026-11-26T15:00:00Z".parse().unwrap();
    Moment::virtual_at(Duration::from_secs(seconds), utc + Duration::from_secs(seconds))
}

/// One of our own lines about a thing.
fn about(thing: u64) -> Subject {
    Subject { exact: thing, wide: u64::MAX, owner: None, foreign: false }
}

#[test]
fn a_line_of_text_is_time_level_message_and_fields() {
    let why = "no answer, \"none\"\u{1b}[2J\n";
    let line = one(|| warn!(account = %"front-desk", why, tries = 3, up = false, "account waits"));
    let expected = "2026-11-26T15:00:00.000000Z  WARN account waits account=front-desk why=\"no answer, \\\"none\\\"\\u{1b}[2J\\n\" tries=3 up=false";
    assert_eq!(line.text(false), expected);
}

#[test]
fn a_line_of_json_has_the_fields_beside_the_message() {
    let none: Option<&str> = None;
    let line = one(|| error!(target: "onsip_router::x", sink = "crm", events = 2_u64, late = 0.5, none, "dropped"));
    let expected = r#"{"timestamp":"2026-11-26T15:00:00.000000Z","level":"ERROR","message":"dropped","sink":"crm","events":2,"late":0.5,"target":"onsip_router::x"}"#;
    assert_eq!(line.json(), expected);
}

#[test]
fn a_library_is_named_and_we_are_not() {
    let line = one(|| warn!(target: "sqlx::query", "slow"));
    assert!(line.text(false).ends_with(" WARN sqlx::query: slow"), "{}", line.text(false));
}

#[test]
fn colours_change_nothing_but_the_colour() {
    let line = one(|| info!(account = "a", "account online"));
    let coloured = line.text(true);
    assert!(coloured.contains("\u{1b}[32m INFO\u{1b}[0m"), "{coloured:?}");
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), line.text(false));
}

#[test]
fn a_repeat_says_the_same_about_the_same() {
    let says = |account: &str, node: &str, why: &str| warn!(account, node, why, "subscription lost");
    let lines = heard(|| {
        says("a", "/me", "one");
        says("a", "/me", "another");
        says("a", "/you", "one");
        says("b", "/me", "one");
        warn!(account = "a", node = "/me", "subscription denied");
    });
    let subjects: Vec<_> = lines.into_iter().map(|(_, subject)| subject.unwrap()).collect();
    assert_eq!(subjects[0], subjects[1]);
    for (index, subject) in subjects.iter().enumerate().skip(1) {
        assert_eq!(subjects.iter().rposition(|other| other == subject), Some(index));
    }
}

#[test]
fn details_and_news_about_nothing_in_particular_never_repeat() {
    let lines = heard(|| {
        debug!(account = "a", "connected");
        info!("configuration taken over");
        info!(account = "a", "account online");
        warn!("old rows could not be pruned");
    });
    let repeating: Vec<_> = lines.iter().map(|(_, subject)| subject.is_some()).collect();
    assert_eq!(repeating, [false, false, true, true]);
}

#[test]
fn the_first_is_written_at_once_and_the_newest_of_the_rest_when_the_time_is_up() {
    let mut repeats = Repeats::within(Duration::from_secs(10));
    let line = |why: &str, events: u64| one(|| warn!(sink = "crm", why, events, "a delivery failed"));
    assert!(repeats.hear(about(1), line("first", 1), at(0)).is_some());
    assert!(repeats.hear(about(1), line("second", 20), at(3)).is_none());
    assert!(repeats.hear(about(1), line("third", 300), at(9)).is_none());
    assert!(repeats.hear(about(2), line("of another", 1), at(9)).is_some());
    assert_eq!(repeats.due(at(9)), []);
    let due = repeats.due(at(10));
    assert_eq!(due.len(), 1);
    let text = due[0].text(false);
    assert!(text.starts_with("2026-11-26T15:00:10.000000Z  WARN a delivery failed"), "{text}");
    let times = "first_at=2026-11-26T15:00:00.000000Z last_at=2026-11-26T15:00:00.000000Z";
    assert!(text.ends_with(&format!("sink=crm why=third events=320 suppressed=1 {times}")), "{text}");
    assert!(repeats.hear(about(1), line("fourth", 1), at(11)).is_none(), "one was written a second ago");
    assert_eq!(repeats.due(at(20)).len(), 1);
}

#[test]
fn after_a_quiet_time_a_line_is_written_at_once_again() {
    let mut repeats = Repeats::within(Duration::from_secs(10));
    let line = || one(|| warn!(sink = "crm", "a delivery failed"));
    assert!(repeats.hear(about(1), line(), at(0)).is_some());
    assert!(repeats.hear(about(1), line(), at(10)).is_some());
    assert!(repeats.hear(about(1), line(), at(11)).is_none());
    let late = repeats.hear(about(1), line(), at(25)).unwrap().text(false);
    assert!(late.contains("suppressed=1 first_at="), "nobody had looked meanwhile: {late}");
    assert_eq!((repeats.due(at(60)), repeats.rest(at(60))), (Vec::new(), Vec::new()));
}

#[test]
fn at_the_end_all_that_is_held_back_is_written() {
    let mut repeats = Repeats::within(Duration::from_secs(10));
    let line = || one(|| warn!("a delivery failed"));
    assert!(repeats.hear(about(1), line(), at(0)).is_some());
    assert!(repeats.hear(about(1), line(), at(1)).is_none());
    assert_eq!(repeats.rest(at(2)).len(), 1);
}

#[test]
fn without_an_interval_every_line_is_written() {
    let mut repeats = Repeats::within(Duration::ZERO);
    let line = || one(|| warn!("a delivery failed"));
    assert!((0..3).all(|_| repeats.hear(about(1), line(), at(0)).is_some()));
}

#[test]
fn more_things_than_can_be_told_apart_are_repeats_of_each_other_and_take_no_room() {
    let mut repeats = Repeats::within(Duration::from_secs(10));
    let line = one(|| warn!("a delivery failed"));
    let written = (0..100_000).filter(|thing| repeats.hear(about(*thing), line.clone(), at(0)).is_some()).count();
    assert_eq!(written, LOG_SUBJECTS + 1);
    assert!(repeats.hear(about(0), line, at(1)).is_none());
    assert_eq!(repeats.due(at(10)).len(), 2);
}

#[test]
fn what_a_peer_has_a_library_say_in_ever_new_words_is_held_back_too() {
    let mut repeats = Repeats::within(Duration::from_secs(10));
    let lines = heard(|| {
        for word in 0..10_000 {
            tracing::warn!(target: "library", "strange answer {word}");
        }
        tracing::warn!(target: "another", "hello");
    });
    let written = lines.into_iter().filter_map(|(line, about)| repeats.hear(about.unwrap(), line, at(0)));
    let written: Vec<_> = written.map(|line| line.text(false)).collect();
    assert_eq!(written.len(), LOG_FOREIGN_SUBJECTS + 2);
    assert!(written.last().unwrap().ends_with("another: hello"));
    let due = repeats.due(at(10));
    assert_eq!(due.len(), 1);
    assert!(due[0].text(false).contains("strange answer 9999 suppressed="));
}

#[test]
fn what_is_held_back_is_bounded_in_bytes() {
    let mut repeats = Repeats::within(Duration::from_secs(10));
    let long = "x".repeat(100_000);
    let line = one(|| warn!(why = long, "a delivery failed"));
    let hear =
        |repeats: &mut Repeats| (0..100).filter(|n| repeats.hear(about(*n), line.clone(), at(0)).is_none()).count();
    assert_eq!(hear(&mut repeats), 0);
    assert_eq!(hear(&mut repeats), LOG_HELD / line.size());
    assert_eq!(repeats.due(at(10)).len(), LOG_HELD / line.size());
    assert_eq!(hear(&mut repeats), LOG_HELD / line.size(), "what was written leaves room");
}

/// A line that was said `seconds` after the beginning.
fn said(seconds: u64) -> Line {
    let mut line = one(|| warn!(sink = "crm", "a delivery failed"));
    line.time = at(seconds).utc();
    line
}

#[test]
fn f11_a_line_that_was_held_back_carries_the_time_of_writing_and_says_when_it_was_said() {
    let mut repeats = Repeats::within(Duration::from_secs(10));
    let first = repeats.hear(about(1), said(0), at(0)).unwrap();
    assert!(!first.text(false).contains("first_at"), "{}", first.text(false));
    assert!(repeats.hear(about(1), said(4), at(4)).is_none());
    let alone = repeats.due(at(10)).remove(0).text(false);
    let said_at = |second| format!("2026-11-26T15:00:{second:02}.000000Z");
    assert!(alone.starts_with(&said_at(10)), "{alone}");
    assert!(alone.ends_with(&format!("sink=crm first_at={0} last_at={0}", said_at(4))), "{alone}");
    for second in [12, 15, 17] {
        assert!(repeats.hear(about(1), said(second), at(second)).is_none());
    }
    let all = repeats.rest(at(19)).remove(0);
    assert!(all.text(false).starts_with(&said_at(19)));
    let json: serde_json::Value = serde_json::from_str(&all.json()).unwrap();
    let told = ["timestamp", "first_at", "last_at"].map(|name| json[name].as_str().unwrap().to_owned());
    assert_eq!((told, &json["suppressed"]), ([19, 12, 17].map(said_at), &2.into()));
}

#[test]
fn f11_the_lines_of_client_libraries_are_not_written_and_all_others_are() {
    let muted = [
        "async_nats::connector",
        "redis::aio::multiplexed_connection",
        "lapin::channels",
        "rumqttc::state",
        "rumqttc_v5_next::eventloop",
        "rdkafka::client",
        "librdkafka",
        "sqlx_postgres::options::pgpass",
        "sqlx::postgres::notice",
        "reqwest::connect",
        "hyper_util::client::legacy::client",
        "h2::proto",
        "hickory_resolver::hosts",
        "hickory_net::udp",
        "tokio_xmpp::stanzastream",
        "rustls::common_state",
        "rustls_platform_verifier::verification",
    ];
    for target in muted {
        assert!(is_muted(target), "{target}");
    }
    for target in [OWN, "onsip_router::sinks", "actix_server::accept", "sqlx::query", "opentelemetry_sdk", "notify"] {
        assert!(!is_muted(target), "{target}");
    }
}

/// Returns the lines that are written, second by second, of those that are `said`: seconds, account, and on line or not.
fn written(said: &[(u64, &str, bool)], seconds: u64) -> Vec<(String, bool)> {
    let mut repeats = Repeats::within(Duration::from_secs(10));
    let mut written = Vec::new();
    for second in 0..seconds {
        for (_, account, online) in said.iter().filter(|(at, ..)| *at == second) {
            let heard = heard(|| if *online { info!(account, "online") } else { warn!(account, "waits") }).remove(0);
            let (mut line, subject) = (heard.0, heard.1.unwrap());
            line.time = at(second).utc();
            if let Some(line) = repeats.hear(subject, line, at(second)) {
                written.extend(repeats.before(subject.owner, at(second)));
                written.push(line);
            }
        }
        written.extend(repeats.due(at(second)));
    }
    let told = |line: &Line| {
        let account = line.fields().find(|(name, _)| *name == "account").unwrap().1.as_str().unwrap().to_owned();
        (account, line.message() == "online")
    };
    written.iter().map(told).collect()
}

#[test]
fn f11_an_account_that_came_on_line_does_not_wait_by_the_log_a_few_seconds_later() {
    // It waits twice and comes back: the second line is held back, and goes before what is newer.
    let told = written(&[(0, "a", false), (1, "a", false), (1, "b", false), (2, "a", true)], 40);
    assert_eq!(told, [("a", false), ("b", false), ("a", false), ("a", true)].map(|(name, up)| (name.to_owned(), up)));
    // Both are held back, and what was said last is due first.
    let told = written(&[(0, "a", true), (1, "a", false), (2, "a", false), (3, "a", true)], 40);
    assert_eq!(told, [("a", true), ("a", false), ("a", false), ("a", true)].map(|(name, up)| (name.to_owned(), up)));
}

#[test]
fn f11_the_last_word_about_an_account_is_the_last_that_was_said() {
    // Every way in which five lines can follow one another, at two paces.
    for ways in 0..64_u64 {
        let pace = 1 + ways % 2 * 3;
        let said: Vec<_> = (0..5).map(|n| (n * pace, "a", ways >> (n + 1) & 1 == 1)).collect();
        let told = written(&said, 60);
        assert_eq!(told.last().unwrap().1, said[4].2, "{said:?}: {told:?}");
    }
}
