//! Rules, templates and names that match nothing: refused where that can be known, counted and told where it cannot.

use crate::support::condition::SOON;
use crate::support::program;
use crate::support::stage::*;

#[tokio::test]
async fn f2_what_would_get_nothing_for_ever_is_refused_with_key_line_column_and_what_is_meant() {
    let valid = program::configuration(1, &["anna@acme.test"]);
    let checked = async |sink: &str| {
        let folder = program::folder(&format!("{valid}\n[sinks.more]\n{sink}\n"));
        let said = program::run(folder.path(), &["check", "--config", "config.toml"]).await;
        (said.code, said.stdout)
    };
    let file = |when: &str| format!("type = 'file'\npath = 'more.jsonl'\nwhen = '''{when}'''");
    let nats = |subject: &str| format!("type = 'nats'\nurl = 'nats://127.0.0.1'\nsubject = '{subject}'");
    for (sink, said) in [
        (
            file("data.acount == 'a'"),
            "when: line 1, column 6: unknown field `acount` of `data`; the nearest known one is `account`",
        ),
        (
            file("true &&\ndata.talktime > 60"),
            "when: line 2, column 6: unknown field `talktime` of `data`; known here: `talk_seconds`",
        ),
        (file("type == 'com.onsip.calls.ended'"), "when: line 1, column 9: unknown value \"com.onsip.calls.ended\""),
        (file("data.talk_seconds > \"60\""), "when: line 1, column 19: `>` between unlike types"),
        (file("data.talk_seconds"), "when: line 1, column 5: a rule is true or false"),
        (nats("calls.{data.acount}"), "subject: line 1, column 8: {data.acount}: unknown field `acount`"),
    ] {
        let (code, stdout) = checked(&sink).await;
        assert_eq!(code, Some(78), "{sink}: {stdout}");
        let line = format!("sinks.more.{said}");
        assert!(stdout.starts_with(&line) && stdout.contains("(config.toml, line "), "{sink}: {stdout}");
    }
    for sink in [file("data.talk_seconds > 60"), nats("calls.{data.account}")] {
        let (code, stdout) = checked(&sink).await;
        assert_eq!(code, Some(0), "{sink}: {stdout}");
    }
}

#[tokio::test]
async fn f2_what_rules_say_is_counted_for_every_sink_from_the_start_and_why_one_has_no_answer_is_told() {
    let (onsip, anna) = service_with_anna().await;
    let file = |name: &str, when: &str| format!("type = \"file\"\npath = \"{name}.jsonl\"\nwhen = '{when}'");
    let daemon = Setup::of(&onsip)
        .account("front-desk", &anna)
        .sink("rings", &file("rings", r#"type == "com.onsip.call.requested""#))
        .sink("long", &file("long", "data.talk_seconds > 3600"))
        .start_active(1)
        .await;
    let answers = async |sink: &str| {
        let mut counts = Vec::new();
        for answer in ["matched", "skipped", "errors"] {
            counts.push(daemon.count(&format!("sink_rule_{answer}_total"), &[("sink", sink)]).await);
        }
        counts
    };
    for sink in ["log", "rings", "long"] {
        assert_eq!(answers(sink).await, [0, 0, 0], "{sink}");
    }
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.answer(&mut call, 0);
    onsip.hang_up(&mut call);
    daemon.until_calls(3).await;
    daemon.until_exactly("sink_rule_matched_total", &[("sink", "log")], 3).await;
    assert_eq!(answers("log").await, [3, 0, 0], "a sink without a rule gets every event");
    assert_eq!(answers("rings").await, [1, 2, 0]);
    assert_eq!(answers("long").await, [0, 1, 2], "talk_seconds is null until the end");
    let line = daemon.until_logged("a rule has no answer for an event", SOON).await;
    for part in ["sinks.long.when", "com.onsip.call.requested", "cannot be applied to null and int"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
