use proptest::prelude::*;

use super::*;
use crate::seed::properties;

properties! {
    cases: 400;

    #[test]
    fn garbage_is_refused_without_a_panic(text in ".{0,80}", line in prop::sample::select(vec!["", "[xmpp]\n", "accounts."])) {
        let _ = load(&[BASE, &format!("{line}{text}")], NO_ENV);
    }

    #[test]
    fn any_value_under_any_key_is_taken_or_refused_without_a_panic(
        path in prop::sample::select(vec![
            "instance", "xmpp", "xmpp.host", "xmpp.port", "xmpp.tls", "xmpp.ca_file", "xmpp.tls_name", "xmpp.ping_interval",
            "onsip.services_domain", "accounts", "accounts.a", "accounts.a.jid", "accounts.a.password", "accounts.a.resource",
            "accounts.a.sip_address", "accounts.a.subscribe", "accounts.a.subscribe.x", "sinks", "sinks.out", "sinks.out.type",
            "sinks.out.when", "http.listen", "http.token", "store.url", "log.level", "\"a[99999999999]\"", "sinks.\"\"",
        ]),
        value in prop::sample::select(vec![
            "1", "-1", "0", "1.5", "nan", "true", "''", "'x'", "'127.0.0.1:1'", "[]", "['x']", "[[1]]", "{}", "{ env = 'X' }",
            "{ file = '/' }", "{ type = 'file' }", "1979-05-27", "99999999999999999999", "'a@b'", "'1s'", "'\u{0}'", "'é@é'",
            "{ x = { y = 1 } }", "0x1F", "\"\\u0000\"", "'/'",
        ]),
    ) {
        let _ = load(&[BASE, &format!("{path} = {value}")], NO_ENV);
    }
}
