use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::seed::properties;

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
            "count": 3,
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
        "data.ring_seconds > 4 && data.ring_seconds < 4.6",
        "data.count == 3 && data.count < 4.0 && data.count + 1 == 4",
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
    assert_eq!(answer("data.account"), Err(RuleFault::NotBoolean("string".to_owned())));
    assert_eq!(answer("null"), Err(RuleFault::NotBoolean("null".to_owned())));
}

#[test]
fn an_expression_that_cannot_be_evaluated_is_a_fault() {
    for text in ["data.nonsense == 1", "data.from_uri > 5", "1 / 0 == 1", "data.account.matches('[')", "nosuch(data)"] {
        assert!(matches!(answer(text), Err(RuleFault::Evaluation(_))), "{text}: {:?}", answer(text));
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
fn an_unknown_variable_is_found_with_its_place_and_the_nearest_known_one() {
    let fault = |text: &str| Rule::compile(text).map(drop).map_err(|fault| fault.to_string());
    let unknown = |line, column, name, nearest| {
        let place = format!("line {line}, column {column}");
        Err(format!("{place}: unknown variable `{name}`; the nearest known one is `{nearest}`"))
    };
    assert_eq!(fault("typ == 'a'"), unknown(1, 1, "typ", "type"));
    assert_eq!(fault("'ä' == type ||\n dta.direction == 'a'"), unknown(2, 2, "dta", "data"));
    assert_eq!(fault("data.subids.exists(s, s == t)"), unknown(1, 28, "t", "type"));
    assert_eq!(fault("data.subids.exists(s, true) && s == 'a'"), unknown(1, 32, "s", "source"));
    assert_eq!(fault("direction == 'inbound'"), unknown(1, 1, "direction", "specversion"));
}

#[test]
fn a_rule_that_would_exhaust_the_stack_is_refused() {
    for piece in ["(", "[", "{", "!", "-", "a.", "1+", "a?", "true||", "f(", "[0][", "data[", "1?2:", "data.a.b("] {
        for times in [10, 100, RULE_BYTES / piece.len(), 100_000] {
            let _ = Rule::compile(&piece.repeat(times));
        }
    }
    assert_eq!(Rule::compile(&format!("data{}", ".a".repeat(RULE_DEPTH))), Err(RuleError::TooLarge));
    assert_eq!(Rule::compile(&format!("'{}'", " ".repeat(RULE_BYTES))), Err(RuleError::TooLarge));
}

#[test]
fn a_rule_whose_loops_would_keep_events_waiting_is_refused() {
    let list = format!("[{}]", ["1"; 100].join(","));
    let loops = |range: &str, times: usize| {
        let before: String = (0..times).map(|n| format!("{range}.all(v{n}, ")).collect();
        format!("{before}v0 == 1{}", ")".repeat(times))
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
        ("!data.a || ", ""),
        ("1 + ", ""),
        ("data.a(", ")"),
        ("data.a ? true : ", ""),
        ("-", ""),
        ("[data.a].all(s, ", ")"),
        ("has(data.a) && ", ""),
        ("{1: ", "}[1]"),
        ("", ".a"),
        ("", "[0]"),
    ] {
        let mut compiled = 0;
        let longest = (RULE_BYTES - 20) / (before.len() + after.len());
        for times in (1..=26).chain([100, longest]) {
            let text = format!("{}{}{}", before.repeat(times), "data.replayed", after.repeat(times));
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
    let event = serde_json::json!({ "type": "t", "data": { "a": 1, "b": null, "c": { "d": [2] } } });
    for (rule, answer) in [
        ("data.a == 1 && data.c.d[0] == 2", Some(true)),
        ("data['a'] == 1", Some(true)),
        ("has(data.a) && !has(data.z) && has(data.b)", Some(true)),
        ("data.b == null", Some(true)),
        ("data.z == 1", None),
        ("data['z'] == 1", None),
        ("size(data) == 3 && data.a == 1", Some(true)),
        ("data.all(key, key != 'z')", Some(true)),
        ("['a'].exists(data, data == 'a')", Some(true)),
        ("'c' in data && data.c.d.size() == 1", Some(true)),
    ] {
        let rule = Rule::compile(rule).unwrap();
        assert_eq!(rule.matches(&event).ok(), answer, "{rule:?}");
    }
}
