//! Tests of the rules that are refused because no event can make them right, and of those that must not be.

use super::samples::EVENTS;
use super::*;
use crate::domain::event::EventType;
use crate::routing::schema::{Kinds, Type};

/// Returns the error of a rule that is refused, without the place.
fn refused(text: &str) -> String {
    match Rule::compile(text) {
        Err(RuleError::Meaning { reason, .. }) => reason,
        other => unreachable!("{text}: {other:?}"),
    }
}

fn accepted(text: &str) -> Rule {
    Rule::compile(text).unwrap_or_else(|fault| unreachable!("{text}: {fault}"))
}

#[test]
fn f2_there_is_a_sample_of_every_type_and_the_schema_has_every_key_of_it() {
    for kind in EventType::ALL {
        assert!(EVENTS.iter().any(|event| event["type"] == kind.as_str()), "{}", kind.as_str());
    }
    let fits = |value: &Json, known: &Type| {
        let kind = match value {
            Json::Null => Kinds::NULL,
            Json::Bool(_) => Kinds::BOOL,
            Json::Number(number) if number.is_f64() => Kinds::FLOAT,
            Json::Number(_) => Kinds::INT,
            Json::String(_) => Kinds::TEXT,
            Json::Array(_) => Kinds::LIST,
            Json::Object(_) => Kinds::MAP,
        };
        let words = value.as_str().zip(known.words.as_ref());
        known.kinds.meets(kind) && words.is_none_or(|(text, words)| words.contains_key(text))
    };
    for event in EVENTS.iter() {
        for (of, known) in [(event, &*EVENT), (&event["data"], EVENT.field("data").unwrap())] {
            for (name, value) in of.as_object().unwrap() {
                assert!(known.field(name).is_some_and(|known| fits(value, known)), "{name}: {value}");
            }
        }
    }
}

#[test]
fn f2_the_rules_that_got_nothing_for_ever_are_refused_with_what_is_meant() {
    for (text, said) in [
        (
            "data.acount == 'a'",
            "line 1, column 6: unknown field `acount` of `data`; the nearest known one is `account`",
        ),
        (
            "true &&\n  data.talktime > 60",
            "line 2, column 8: unknown field `talktime` of `data`; known here: `talk_seconds`, ",
        ),
        (
            "type == 'com.onsip.calls.ended'",
            "line 1, column 9: unknown value \"com.onsip.calls.ended\": `type` is never that; \
             the nearest known one is `com.onsip.call.ended`",
        ),
        (
            "data.talk_seconds > \"60\"",
            "line 1, column 19: `>` between unlike types: `data.talk_seconds` is a number or null, \"60\" is a text; \
             write 60 without quotes",
        ),
        ("data.talk_seconds", "line 1, column 5: a rule is true or false, and `data.talk_seconds` is a number or null"),
    ] {
        let fault = Rule::compile(text).unwrap_err().to_string();
        assert!(fault.starts_with(said), "{text}: {fault}");
    }
}

#[test]
fn f2_a_name_that_nothing_has_is_refused_wherever_it_stands() {
    for (text, said) in [
        ("typ == 'a'", "unknown variable `typ`; the nearest known one is `type`"),
        ("direction == 'inbound'", "unknown variable `direction`; it is a key of `data`: write `data.direction`"),
        (
            "data.type == 'com.onsip.gap'",
            "unknown field `type` of `data`; it is an attribute of the event: write `type`",
        ),
        ("data['acount'] == 'a'", "unknown field `acount` of `data`; the nearest known one is `account`"),
        ("has(data.acount)", "unknown field `acount` of `data`; the nearest known one is `account`"),
        ("!has(data.acount) || true", "unknown field `acount` of `data`; the nearest known one is `account`"),
        ("data.?acount.orValue('') == 'a'", "unknown field `acount` of `data`; the nearest known one is `account`"),
        ("'acount' in data", "unknown value \"acount\": `data` is never that; the nearest known one is `account`"),
        (
            "data.exists(key, key == 'acount')",
            "unknown value \"acount\": `key` is never that; the nearest known one is `account`",
        ),
        (
            "['acount'].exists(key, data[key] == 'a')",
            "unknown value \"acount\": `data` is never that; the nearest known one is `account`",
        ),
        ("data.account.name == 'a'", "`data.account` is a text and has no field `name`"),
        ("data.subids.first == 'a'", "`data.subids` is a list and has no field `first`"),
        ("data.account.startWith('a')", "unknown function `startWith`; the nearest known one is `startsWith`"),
        ("lenght(data.account) > 3", "unknown function `lenght`; known here: "),
        ("data.subids.exist(s, s == 'a')", "unknown function `exist`; the nearest known one is `exists`"),
        ("data.subids.exists(i, s, s == 'a')", "`exists` is not called like this: it is `LIST.exists(NAME, …)`"),
        ("timestamp(time) > timestamp(data.to)", "unknown function `timestamp`; known here: "),
        ("data.subids.exists(s, s == t)", "unknown variable `t`; known here: "),
        (
            "data.subids.exists(subj, true) && subj == 'a'",
            "unknown variable `subj`; the nearest known one is `subject`",
        ),
    ] {
        let reason = refused(text);
        assert!(reason.starts_with(said), "{text}: {reason}");
    }
}

#[test]
fn f2_a_constant_that_a_field_never_is_is_refused_however_it_is_compared() {
    for text in [
        "'inbond' == data.direction",
        "data.direction != 'inbond'",
        "data.direction in ['inbound', 'outbond']",
        "data.direction in {'inbond': 1}",
        "['inbound', 'outbond'].exists(word, word == data.direction)",
        "data.direction == (data.replayed ? 'inbound' : 'outbond')",
        "(data.answered == true ? data.direction : 'none') == 'inbond'",
        "data.purpose == 'Call'",
        "data.dialog_state == 'ended'",
        "data.end_reason == 'retract'",
        "data.reason == 'disconnected'",
        "data.reason in ['lease', 'leases']",
        "type in ['com.onsip.call.ended', 'com.onsip.call.end']",
        "specversion == '1.1'",
        "data['direction'] == 'in'",
        "[data.direction] == ['in']",
        "type.startsWith('com.onsip.calls.')",
        "type.endsWith('.end')",
        "type.contains('calls')",
        "type.matches('^com[.]onsip[.]calls')",
        "matches(data.direction, '^x')",
    ] {
        refused(text);
    }
    assert_eq!(
        refused("data.direction == 'sideways'"),
        "unknown value \"sideways\": `data.direction` is never that; known here: `inbound`, `outbound`, `unknown`"
    );
    assert_eq!(
        refused("data.direction.startsWith('out-')"),
        "`data.direction` never begins with \"out-\"; it is one of `inbound`, `outbound`, `unknown`"
    );
    assert_eq!(refused("data.account.matches('[')"), "\"[\" is no regular expression");
}

#[test]
fn f2_unlike_types_and_answers_that_are_not_true_or_false_are_refused() {
    for text in [
        "data.talk_seconds == '60'",
        "'60' != data.talk_seconds",
        "data.talk_seconds >= data.account",
        "data.talk_seconds == data.end_reason",
        "data.answered == 'true'",
        "data.replayed == 1",
        "data.account > 5",
        "data.account == 5",
        "time > 1700000000",
        "data.talk_seconds > null",
        "data.subids == 'a'",
        "data.subids > 1",
        "data.subids == [1]",
        "data.subids[0] == 1",
        "data.subids['a'] == 'b'",
        "data.account[0] == 'f'",
        "1 in data.subids",
        "data.account in data.account",
        "'a' in 'abc'",
        "5 in data",
        "data.subids.exists(s, s == 5)",
        "data.subids.exists_one(s, s > 5)",
        "data.subids.map(s, size(s)) == ['a']",
        "data.subids.filter(s, s)  == ['a']",
        "data.account.all(c, c == 'a')",
        "size(data.subids) == '2'",
        "size(data.talk_seconds) > 5",
        "data.talk_seconds.startsWith('6')",
        "data.account.startsWith(5)",
        "data.account.startsWith('a', 'b')",
        "startsWith(data.account, 'a')",
        "data.talk_seconds + 'a' == 'b'",
        "data.talk_seconds + 1 > 60",
        "data.account - 1 == 1",
        "-data.account == 'a'",
        "data.talk_seconds && true",
        "data.account || true",
        "!data.account",
        "data.talk_seconds ? true : false",
        "data.?account == 'a'",
        "data",
        "type",
        "1",
        "'true'",
        "null",
        "data.account",
        "data.subids.map(s, s == 'a')",
        "data.replayed ? 'yes' : 'no'",
        "has(data.account) ? data.account : data.node",
        "size(data.subids)",
        "data.talk_seconds + 1.0",
        "type(data.account)",
        "[true]",
        "{'a': true}",
    ] {
        refused(text);
    }
    let said = refused("data.ring_seconds + 1 > 60.0");
    assert!(said.ends_with("`data.ring_seconds` is a number or null, 1 is a whole number; write 1.0"), "{said}");
}

#[test]
fn f2_right_rules_are_accepted() {
    for text in [
        "type == \"com.onsip.call.requested\" && data.direction == \"inbound\"",
        "data.talk_seconds > 60",
        "data.talk_seconds != null && data.talk_seconds > 60.5",
        "60 < data.talk_seconds || data.ring_seconds + data.talk_seconds >= 120.0",
        "data.talk_seconds == null || data.talk_seconds / 60.0 > 2",
        "data.answered",
        "!data.replayed",
        "has(data.answered) && data.answered == true",
        "data.answered != null && data.answered",
        "type == null",
        "data.account == null",
        "data['account'] in ['front-desk', 'back-office']",
        "data.account == 'anything at all'",
        "data.service == 'voicemail'",
        "data.subids.exists(s, s == 'a') && data.subids.all(s, s.size() > 0)",
        "data.subids == [] || data.subids == ['a']",
        "data.services.exists(service, service.startsWith('active'))",
        "'active-calls' in data.services",
        "data.subids.filter(s, s != 'a').size() == 1",
        "data.subids.map(s, s + '!').exists(s, s == 'a!')",
        "data.subids.map(s, s == 'a')[0]",
        "data.subids.exists_one(s, s == 'a')",
        "data.all(key, data[key] != 'x')",
        "data.exists(key, key.startsWith('to_') && data[key] != null)",
        "'payload' in data && data.payload.contains('<a')",
        "has(data.payload) && data.payload.matches('(?s)<a.*text')",
        "data.payload != null && data.payload.size() > 10",
        "size(data.payload) > 10",
        "has(data.payload) ? data.payload == '' : data.replayed",
        "(data.direction == 'inbound' ? data.to_aor : data.from_uri) == 'front@acme.test'",
        "(data.direction == 'inbound' ? 'in' : 'out') == 'in'",
        "data.reason in ['restart', 'disconnect']",
        "data.end_reason in ['gap', 'stale', null]",
        "type in ['com.onsip.gap', 'com.onsip.canary']",
        "type.startsWith('com.onsip.call.')",
        "type.matches('call[.](ended|confirmed)$') && type.endsWith('ed')",
        "time > '2026-01-01' && time <= data.received_at",
        "int(sequence) % 2 == 0",
        "string(data.talk_seconds) == '61'",
        "double(size(data.subids)) + 0.5 > 1",
        "type(data.account) == string && type(data) == map",
        "dyn(data.account) == 5",
        "dyn(data).acount == 'a'",
        "data.?account.orValue('') == 'front-desk'",
        "data.?talk_seconds.optMap(n, n > 60.0).orValue(false)",
        "optional.of(data.account).hasValue()",
        "{'front-desk': true}[data.account]",
        "{'a': 1, 'b': 2}.exists(k, k == data.account)",
        "[1, 'a', null].exists(x, x == data.account)",
        "['a', data.direction].exists(x, x == 'a')",
        "[].exists(x, x == 1) || [[]].exists(x, x == [1])",
        "data.direction == dyn('sideways')",
        "data.subids[0] < data.subids[1]",
        "data.answered > false",
        "b'a' + b'b' == b'ab'",
        "data.to == data.from || data.time == data.expires",
        ".type == 'com.onsip.gap'",
        "true",
        "false",
        "1 == 1u && 1.0 == 1",
        "1 in [1.0]",
    ] {
        accepted(text);
    }
}

#[test]
fn f2_a_fault_has_the_place_of_the_name_or_the_constant() {
    let place = |text: &str| match Rule::compile(text) {
        Err(RuleError::Meaning { line, column, .. }) => (line, column),
        other => unreachable!("{text}: {other:?}"),
    };
    assert_eq!(place("'ä' == type ||\n dta.direction == 'a'"), (1, 1), "the text is no type");
    assert_eq!(place("data.account == 'ä' ||\n dta.direction == 'a'"), (2, 2));
    assert_eq!(place("data.subids.exists(s, s == t)"), (1, 28));
    assert_eq!(place("data.account == 'acount' && data.acount == 'a'"), (1, 34));
    assert_eq!(place("has(data.acount)"), (1, 10));
    assert_eq!(place("data['acount'] == 'a'"), (1, 6));
    assert_eq!(place("data.direction in ['inbound',\n  'outbond']"), (2, 3));
    assert_eq!(place("data.account.startWith('startWith')"), (1, 14));
    assert_eq!(place("data.replayed &&\n  data.account"), (2, 7));
    assert_eq!(place("data.account.matches('[')"), (1, 22));
}

#[test]
fn f2_every_function_in_the_table_is_one_and_takes_what_it_says() {
    let sample = |kind: Kinds| match kind {
        one if one.meets(Kinds::TEXT) => "dyn('1')",
        one if one.meets(Kinds::INT) => "dyn(1)",
        _ => "optional.of(optional.of(1))",
    };
    for way in functions::FUNCTIONS {
        let args: Vec<_> = way.takes.iter().map(|kind| sample(*kind)).collect();
        let call = match &args[..] {
            [target, rest @ ..] if way.on => format!("{target}.{}({})", way.name, rest.join(", ")),
            args if way.name == "bool" => format!("bool('true') == dyn({})", args.join("")),
            args => format!("{}({})", way.name, args.join(", ")),
        };
        let rule = accepted(&format!("type({call}) == type({call})"));
        assert_eq!(rule.matches(&EVENTS[0]), Ok(true), "{call}");
    }
}

/// Whether a rule has the answer true for one of the samples.
fn true_somewhere(rule: &Program) -> bool {
    EVENTS.iter().any(|event| {
        let mut context = Context::with_env(Arc::clone(&ENV));
        for name in EVENT.names() {
            context.add_variable_from_value(name, event.get(name).map_or(Value::Null, value));
        }
        rule.execute(&context) == Ok(Value::Bool(true))
    })
}

const NAMES: &[&str] = &[
    "type",
    "time",
    "data.account",
    "data.direction",
    "data.purpose",
    "data.answered",
    "data.replayed",
    "data.talk_seconds",
    "data.ring_seconds",
    "data.end_reason",
    "data.reason",
    "data.subids",
    "data.services",
    "data.payload",
    "data['node']",
    "data.device",
    "data.subids[0]",
    "size(data.subids)",
    "data.to_aor",
];

const VALUES: &[&str] = &[
    "'com.onsip.call.ended'",
    "'com.onsip.gap'",
    "'inbound'",
    "'call'",
    "'retracted'",
    "'restart'",
    "'front-desk'",
    "true",
    "false",
    "null",
    "60",
    "4.5",
    "['a', 'b']",
    "'a'",
    "['inbound', 'outbound']",
    "[1, 2.5]",
    "'2026'",
    "data",
    "2",
];

const OPERATORS: &[&str] = &["==", "<", ">", "<=", ">=", "in"];

const SHAPES: &[&str] = &[
    "{}",
    "!({})",
    "({}) && true",
    "({}) || false",
    "true ? {} : false",
    "[1].exists(n, {})",
    "[1].all(n, {})",
    "has(data.account) && ({})",
    "[{}][0]",
    "[1].map(n, {}).exists(x, x)",
];

properties! {
    cases: 1000;

    /// Each is true for some event as it stands, without a negation that hides what is always so.
    #[test]
    fn f2_no_rule_that_is_true_for_some_event_is_refused(
        name in prop::sample::select(NAMES),
        operator in prop::sample::select(OPERATORS),
        other in prop::sample::select([NAMES, VALUES].concat()),
        swapped in prop::bool::ANY,
        shape in prop::sample::select(SHAPES),
    ) {
        let (left, right) = if swapped { (other, name) } else { (name, other) };
        let text = format!("{left} {operator} {right}");
        // That two fields are null at once makes them no more alike than they are.
        let both = if [left, right].contains(&"null") { "true" } else { &format!("{left} != null && {right} != null") };
        let bare = ENV.compile(&format!("{both} && {text}")).unwrap();
        if true_somewhere(&bare) {
            let whole = shape.replace("{}", &text);
            let compiled = Rule::compile(&whole);
            prop_assert!(compiled.is_ok(), "{whole}: {compiled:?}");
        }
    }
}
