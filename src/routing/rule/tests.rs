use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::seed::properties;

mod meaning;
mod samples;

fn event() -> Json {
    json!({
        "specversion": "1.0",
        "type": "com.onsip.call.requested",
        "subject": "0123",
        "data": {
            "account": "front-desk",
            "direction": "inbound",
            "to_aor": "front@acme.onsip.com",
            "from_uri": null,
            "subids": ["a", "b"],
            "ring_seconds": 4.5,
            "replayed": false,
        },
    })
}

fn answer(text: &str) -> Result<bool, RuleFault> {
    Rule::compile(text).unwrap_or_else(|fault| unreachable!("{text}: {fault}")).matches(&event())
}

#[test]
fn attributes_and_data_are_the_variables() {
    for text in [
        r#"type == "com.onsip.call.requested""#,
        r#"type.startsWith("com.onsip.call.") && data.direction == "inbound""#,
        "data.from_uri == null",
        r#"data["account"] in ["front-desk", "back-office"]"#,
        r#""b" in data.subids && data.subids.exists(s, s == "a") && size(data.subids) == 2"#,
        r#"data.subids.all(data, data != "c")"#,
        "size(data.subids) < 2.5 && size(data.subids) + 1 == 3",
        "data.ring_seconds > 4 && data.ring_seconds < 4.6",
        "!data.replayed",
        r#"data.to_aor.matches("^front@")"#,
        "has(data.account) && !has(data.payload)",
        r#"has(data.payload) ? data.payload == "" : true"#,
        r#"int("5") == 5 && type(data) == map"#,
        "[1, 2].map(x, x * 2) == [2, 4]",
        "type ==\n  'com.onsip.call.requested' // a remark",
        "true",
    ] {
        assert_eq!(answer(text), Ok(true), "{text}");
    }
    assert_eq!(answer("type == 'com.onsip.call.ended'"), Ok(false));
}

#[test]
fn an_attribute_the_event_lacks_is_null() {
    assert_eq!(answer("time == null"), Ok(true));
}

#[test]
fn an_answer_that_is_no_boolean_is_a_fault() {
    assert_eq!(answer("dyn(data.account)"), Err(RuleFault::NotBoolean("string".to_owned())));
    assert_eq!(answer("true ? dyn(null) : true"), Err(RuleFault::NotBoolean("null".to_owned())));
}

#[test]
fn an_expression_that_cannot_be_evaluated_is_a_fault() {
    for (text, why) in [
        ("data.talk_seconds > 5", "the event has no `talk_seconds`"),
        ("data.from_uri > 'a'", "`>` cannot be applied to null and string"),
        ("1 / 0 == 1", "division by zero"),
        ("data.subids[5] == 'a'", "Index out of bounds: Int(5)"),
        ("data.from_uri.startsWith('a')", "`startsWith` cannot be applied to null and string"),
        ("dyn(data.account) + 5 == 1", "`add` cannot be applied to string and int"),
        ("dyn(data.account) < 5", "`<` cannot be applied to string and int"),
        ("[dyn(1)].exists(n, n.contains('a'))", "`contains` cannot be applied to int and string"),
    ] {
        assert_eq!(answer(text), Err(RuleFault::Evaluation(why.to_owned())), "{text}");
    }
}

#[test]
fn a_syntax_fault_names_line_and_column() {
    let place = |text: &str| match Rule::compile(text) {
        Err(RuleError::Syntax { line, column, .. }) => (line, column),
        other => unreachable!("{text}: {other:?}"),
    };
    assert_eq!(place("type == == 'a'"), (1, 9));
    assert_eq!(place("true &&\n  type = 'a'"), (2, 8));
    assert_eq!(place("'äö' == == 'a'"), (1, 9));
    assert_eq!(place("type =="), (1, 8));
    assert_eq!(place(""), (1, 1));
}

#[test]
fn a_rule_that_would_exhaust_the_stack_is_refused() {
    for piece in ["(", "[", "{", "!", "-", "a.", "1+", "a?", "true||", "f(", "[0][", "data[", "1?2:", "data.a.b("] {
        for times in [10, 100, RULE_BYTES / piece.len(), 100_000] {
            let _ = Rule::compile(&piece.repeat(times));
        }
    }
    assert_eq!(Rule::compile(&format!("dyn(data){}", ".a".repeat(RULE_DEPTH))), Err(RuleError::TooLarge));
    assert_eq!(Rule::compile(&format!("'{}'", " ".repeat(RULE_BYTES))), Err(RuleError::TooLarge));
}

#[test]
fn a_rule_whose_loops_would_keep_events_waiting_is_refused() {
    let list = format!("[{}]", ["1"; 100].join(","));
    let loops = |range: &str, times: usize| {
        let before: Vec<_> = (0..times).map(|n| format!("{range}.all(v{n}, ")).collect();
        format!("{}v0 == v0{}", before.concat(), ")".repeat(times))
    };
    for (range, most) in [(list.as_str(), 2), ("data.subids", 2), ("[1, 2, 3].map(x, x)", 7)] {
        let compiled = |times| Rule::compile(&loops(range, times)).map(drop);
        assert_eq!(compiled(most), Ok(()), "{range}");
        assert_eq!(compiled(most + 1), Err(RuleError::TooSlow), "{range}");
    }
    let either = format!("({list} + (true ? {list} : [])).all(a, {list}.all(b, {list}.size() == 1))");
    assert_eq!(Rule::compile(&either), Err(RuleError::TooSlow));
}

#[test]
fn the_largest_rules_are_evaluated_on_a_small_stack() {
    for (before, after) in [
        ("(", ")"),
        ("[", "][0]"),
        ("!data.replayed || ", ""),
        ("1 + ", ""),
        ("dyn(", ")"),
        ("data.replayed ? true : ", ""),
        ("-", ""),
        ("[data.account].all(s, ", ")"),
        ("has(data.account) && ", ""),
        ("{1: ", "}[1]"),
        ("", ".a"),
        ("", "[0]"),
    ] {
        let mut compiled = 0;
        let longest = (RULE_BYTES - 40) / (before.len() + after.len());
        for times in (1..=26).chain([100, longest]) {
            let text = format!("dyn({}dyn(data.replayed){}) == true", before.repeat(times), after.repeat(times));
            let work = move || Rule::compile(&text).map(|rule| rule.matches(&event()));
            let small = std::thread::Builder::new().stack_size(1 << 20);
            compiled += usize::from(small.spawn(work).unwrap().join().unwrap().is_ok());
        }
        assert!(compiled > 5, "{before} {after}: {compiled}");
    }
}

#[test]
fn rules_are_equal_by_text_and_may_go_to_any_thread() {
    fn portable<T: Send + Sync + Clone>(value: T) -> T {
        value
    }
    let rule = portable(Rule::compile("true").unwrap());
    assert_eq!(rule, Rule::compile("true").unwrap());
    assert_ne!(rule, Rule::compile("true ").unwrap());
    assert_eq!(format!("{rule:?}"), r#"Rule("true")"#);
}

properties! {
    cases: 300;

    #[test]
    fn garbage_is_refused_without_a_panic(text in ".{0,60}") {
        let _ = Rule::compile(&text);
    }

    #[test]
    fn what_looks_like_a_rule_neither_panics_when_compiled_nor_when_evaluated(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "type", "data", ".", "direction", "==", "&&", "||", "!", "(", ")", "[", "]", "{", "}", ",", "?", ":", "1",
            "-", "9223372036854775807", "1.5", "1u", "'a'", "b'\\xff'", "\"", "'", "`", "in", "exists", "has", "map", "x",
            "+", "*", "/", "%", "<", "null", "true", "r'", "\\", "//", "\n", "size", "matches", "int", "string", "@", "é",
        ]), 0..14),
        space in prop::bool::ANY,
    ) {
        if let Ok(rule) = Rule::compile(&tokens.join(if space { " " } else { "" })) {
            let _ = rule.matches(&event());
        }
    }
}

#[test]
fn a_rule_has_the_same_answer_whether_it_names_the_fields_of_data_or_asks_for_all_of_it() {
    let event = serde_json::json!({ "type": "t", "data": { "account": "a", "purpose": null, "subids": ["b"] } });
    for (rule, answer) in [
        ("data.account == 'a' && data.subids[0] == 'b'", Some(true)),
        ("data['account'] == 'a'", Some(true)),
        ("has(data.account) && !has(data.sink) && has(data.purpose)", Some(true)),
        ("data.purpose == null", Some(true)),
        ("data.sink == 'a'", None),
        ("data['sink'] == 'a'", None),
        ("size(data) == 3 && data.account == 'a'", Some(true)),
        ("data.all(key, key != 'sink')", Some(true)),
        ("['a'].exists(data, data == 'a')", Some(true)),
        ("'subids' in data && data.subids.size() == 1", Some(true)),
    ] {
        let rule = Rule::compile(rule).unwrap();
        assert_eq!(rule.matches(&event).ok(), answer, "{rule:?}");
    }
}
