//! Rules: any text is refused or compiled, and a compiled rule answers for any event or says why not; neither panics,
//! overflows the stack or goes on for ever.

use std::sync::LazyLock;

use onsip_router::routing::rule::Rule;
use serde_json::{Value, json};

/// Events of every shape: a call, a gap, one with everything a peer could put into it, and one that is empty.
static EVENTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let long = "x".repeat(4096);
    vec![
        json!({
            "specversion": "1.0", "id": "0a", "source": "onsip:anna@acme.test", "type": "com.onsip.call.confirmed",
            "time": "2026-01-01T00:00:00Z", "subject": "/acme.test/anna", "sequence": "0000000007", "partitionkey": "c",
            "data": {
                "account": "front-desk", "service": "active-calls", "node": "/acme.test/anna", "item_id": "i",
                "call_id": "c", "direction": "inbound", "from_uri": "sip:+12125550111@carrier.test", "talk_seconds": 61,
                "subids": ["s1", "s2"], "replayed": false, "from_display": null,
            },
        }),
        json!({
            "type": "com.onsip.gap", "subject": "front-desk",
            "data": { "account": "front-desk", "services": ["active-calls"], "reason": "restart" },
        }),
        json!({
            "type": "com.onsip.item.published",
            "data": { "payload": long, "subids": vec!["s"; 100], "deep": [[[[{ "a": [1, -1, 1.5, null, true] }]]]], "": "" },
        }),
        json!({}),
    ]
});

/// Pieces of rules.
pub const WORDS: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\"",
    "'''",
    ".",
    ",",
    ":",
    "?",
    "==",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "<",
    " in ",
    "\n",
    "//",
    "\\",
    "\0",
    "é",
    "9223372036854775807",
    "1e400",
    "0xffu",
    "b'\\xff'",
    "r'\\d'",
    "data",
    "data.subids",
    "type",
    "x",
    ".map(x, x + x)",
    ".all(x, ",
    ".exists_one(y, ",
    ".filter(z, ",
    "has(",
    ".matches('(a|b)*{9999}')",
    "size(",
    "int(",
    "true",
    "null",
    "timestamp('2026-01-01T00:00:00Z')",
    "duration('1h')",
    "dyn(",
    "google.protobuf.Any{",
];

pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(rule) = Rule::compile(&text) else { return };
    for event in EVENTS.iter() {
        let _ = rule.matches(event);
    }
}
