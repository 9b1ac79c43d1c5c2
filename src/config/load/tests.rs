use std::fs;
use std::time::Duration;

use super::*;
use crate::config::LogFormat;
use crate::xmpp::options::Tls;

mod garbage;
mod layers;
mod places;
mod schema;

/// What every case builds on; without a problem.
const BASE: &str = r#"
    [accounts.a]
    jid = "a@acme.onsip.com"
    password = "hunter2"
    [sinks.out]
    type = "stdout"
"#;

const NO_ENV: [(&str, &str); 0] = [];

fn load<const N: usize>(files: &[&str], env: [(&str, &str); N]) -> Result<Config, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let write = |(index, text): (usize, &&str)| {
        let path = folder.path().join(format!("{index}.toml"));
        fs::write(&path, text).unwrap();
        path
    };
    let paths: Vec<_> = files.iter().enumerate().map(write).collect();
    Config::load(&paths, env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())))
}

fn good(text: &str) -> Config {
    load(&[BASE, text], NO_ENV).unwrap_or_else(|problems| unreachable!("{text}: {problems}"))
}

/// The problems of `text` over [`BASE`], one per line.
fn bad(text: &str) -> String {
    let problems = load(&[BASE, text], NO_ENV).map(drop).unwrap_err();
    assert!(!problems.to_string().contains("hunter2"), "{problems}");
    without_places(&problems)
}

fn without_places(problems: &Problems) -> String {
    let lines = problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message));
    lines.collect::<Vec<_>>().join("\n")
}

fn assert_each(cases: &[(&str, &str)]) {
    for (text, problem) in cases {
        assert_eq!(bad(text), *problem, "{text}");
    }
}

#[test]
fn the_defaults_are_those_of_the_interface() {
    let config = good("");
    assert_eq!((config.instance.as_str(), config.watch_config), ("onsip-router", true));
    assert_eq!((config.xmpp.host, config.xmpp.port, config.xmpp.tls), (None, 5222, Tls::Starttls));
    assert_eq!((config.xmpp.ca_file, config.xmpp.tls_name), (None, None));
    assert_eq!(config.xmpp.concurrent_logins, 50);
    assert_eq!(config.xmpp.request_timeout, Duration::from_secs(20));
    assert_eq!(config.xmpp.ping_interval, Duration::from_secs(30));
    assert_eq!(config.onsip.services_domain, "xmpp.onsip.com");
    assert_eq!(config.onsip.auth.as_str(), "commands.auth.xmpp.onsip.com");
    assert!(config.onsip.authorize);
    assert_eq!(config.onsip.subscription_lease, Duration::from_hours(2));
    assert_eq!(config.onsip.approval_timeout, Duration::from_secs(30));
    assert_eq!(config.onsip.probe_interval, Duration::from_mins(5));
    assert!(!config.onsip.unsubscribe_on_stop);
    assert_eq!(config.store.url, "sqlite://onsip-router.db");
    assert_eq!((config.http.listen.to_string().as_str(), config.http.token), ("127.0.0.1:9464", None));
    assert_eq!((config.log.format, config.log.level), (LogFormat::Text, tracing::Level::INFO));
    assert_eq!(config.log.repeat_after, Duration::from_secs(10));
    let account = &config.accounts["a"];
    assert_eq!((account.resource.as_str(), account.sip_address.as_str()), ("onsip-router", "a@acme.onsip.com"));
    assert_eq!((account.auth_for_all, account.enabled), (false, true));
    let [(service, nodes)] = account.subscribe.as_slice() else { unreachable!("{:?}", account.subscribe) };
    assert_eq!(service.jid().as_str(), "pubsub.active-calls.xmpp.onsip.com");
    assert_eq!(nodes.as_slice(), ["/me/a@acme.onsip.com".into()]);
    assert_eq!(config.sinks["out"].when, None);
}

#[test]
fn the_default_instance_is_the_resource_of_accounts_without_one() {
    let config = good("instance = 'blue'\n[accounts.b]\njid = 'b@x.org'\npassword = 1\nresource = 'green'");
    assert_eq!(config.accounts["a"].resource, "blue");
    assert_eq!(config.accounts["b"].resource, "green");
}

#[test]
fn a_written_list_of_nodes_is_the_whole_list() {
    let config = good("[accounts.a.subscribe]\nuser-agents = ['/me/x', '/y']");
    let subscribe = &config.accounts["a"].subscribe;
    assert_eq!(subscribe.len(), 1);
    assert_eq!((subscribe[0].0.name(), subscribe[0].1.len()), ("user-agents", 2));
}

#[test]
fn an_unknown_key_is_reported_with_the_nearest_known_one() {
    assert_each(&[
        ("[xmpp]\nhots = 'a'", "xmpp.hots: unknown key; the nearest known one is `host`"),
        ("[acounts.b]\njid = 1", "acounts: unknown key; the nearest known one is `accounts`"),
        ("[accounts.a]\npasword = 'hunter2'", "accounts.a.pasword: unknown key; the nearest known one is `password`"),
        ("[sinks.out]\ntime_out = '1s'", "sinks.out.time_out: unknown key; the nearest known one is `timeout`"),
        (
            "\"a.b\" = 1",
            "\"a.b\": unknown key; known here: `instance`, `watch_config`, `xmpp`, `onsip`, `accounts`, `store`, `sinks`, `http`, `metrics`, `log`, `otel`",
        ),
    ]);
}

#[test]
fn a_missing_key_is_reported_under_its_own_path() {
    assert_each(&[
        ("[accounts.b]", "accounts.b.jid: is missing\naccounts.b.password: is missing"),
        ("[sinks.f]\ntype = 'file'", "sinks.f.path: is missing"),
    ]);
    let untyped = bad("[sinks.f]");
    assert!(untyped.starts_with("sinks.f.type: is missing; it is \"amqp\", "), "{untyped}");
    assert!(sinks::TYPES.iter().all(|one| untyped.contains(&format!("{:?}", one.name))), "{untyped}");
    let none = load(&[], [("ONSIP_ROUTER__LOG__LEVEL", "info")]).map(drop).unwrap_err().to_string();
    assert_eq!(none, "accounts: no account is configured\nsinks: no sink is configured");
    let empty = load(&["[accounts]\n[sinks]"], NO_ENV).map(drop).unwrap_err();
    assert_eq!(without_places(&empty), none);
}

#[test]
fn a_setting_of_the_wrong_type_is_refused() {
    assert_each(&[
        ("instance = 5", "instance: must be a string"),
        ("xmpp = 5", "xmpp: must be a table"),
        ("accounts = []", "accounts: must be a table"),
        ("accounts.a = 5", "accounts.a: must be a table"),
        ("sinks.out = 5", "sinks.out: must be a table"),
        ("sinks.out.type = []", "sinks.out.type: must be a string"),
        ("sinks.out.type = 'stdot'", "sinks.out.type: unknown type; the nearest known one is `stdout`"),
        ("onsip.authorize = 'yes'", "onsip.authorize: must be true or false"),
        ("xmpp.tls = 'on'", "xmpp.tls: must be \"starttls\", \"direct\" or \"off\""),
        ("log.level = 'loud'", "log.level: must be \"trace\", \"debug\", \"info\", \"warn\" or \"error\""),
        ("log.format = 1", "log.format: must be \"text\" or \"json\""),
        ("accounts.a.subscribe = 5", "accounts.a.subscribe: must be a table"),
        ("accounts.a.subscribe.x = 5", "accounts.a.subscribe.x: must be a list of strings"),
    ]);
}

#[test]
fn a_number_keeps_to_its_bounds() {
    for port in ["0", "65536", "-1", "'x'", "1.5", "[]"] {
        assert_eq!(bad(&format!("xmpp.port = {port}")), "xmpp.port: must be a whole number from 1 to 65535");
    }
    for number in ["0", "-3", "1.0"] {
        let problem = "xmpp.concurrent_logins: must be a whole number from 1 to 1000000";
        assert_eq!(bad(&format!("xmpp.concurrent_logins = {number}")), problem);
    }
    assert_eq!(good("xmpp.port = 5_223").xmpp.port, 5223);
}

#[test]
fn a_duration_has_a_unit_and_is_not_nothing() {
    assert_each(&[
        ("xmpp.ping_interval = 20", "xmpp.ping_interval: needs a unit, such as \"20s\""),
        ("xmpp.ping_interval = '0s'", "xmpp.ping_interval: must be at least 1ms"),
        ("onsip.subscription_lease = '999ms'", "onsip.subscription_lease: must be at least 1s"),
        ("xmpp.request_timeout = []", "xmpp.request_timeout: must be a number with ms, s, m, h or d, such as \"20s\""),
    ]);
    for text in ["1s", "2s", "61m"] {
        assert!(load(&[BASE, &format!("onsip.subscription_lease = '{text}'")], NO_ENV).is_ok());
    }
    assert_eq!(good("onsip.subscription_lease = '1s'").onsip.subscription_lease, Duration::from_secs(1));
}

#[test]
fn names_are_lower_case_letters_digits_and_dashes() {
    let rule = "a name is 1 to 63 characters of a-z, 0-9 and -";
    for (table, rest) in [("accounts", "jid = 'b@x.org'\npassword = 1"), ("sinks", "type = 'stdout'")] {
        for name in ["Front", "front_desk", "\"\"", "\"a.b\"", &"a".repeat(64)] {
            assert_eq!(bad(&format!("[{table}.{name}]\n{rest}")), format!("{table}.{name}: {rule}"));
        }
    }
    assert_eq!(bad("[accounts.a.subscribe]\n\"x.y\" = ['n']"), format!("accounts.a.subscribe.\"x.y\": {rule}"));
}

#[test]
fn an_account_has_a_bare_jid_with_a_local_part() {
    assert_each(&[
        ("accounts.a.jid = 'acme.org'", "accounts.a.jid: needs a local part, such as front@acme.onsip.com"),
        ("accounts.a.jid = 'a@b/c'", "accounts.a.jid: must be without a resource; that is the key `resource`"),
        (
            "accounts.a.resource = ''",
            "accounts.a.resource: is no XMPP resource: resource empty despite the presence of a /",
        ),
        ("accounts.a.sip_address = 'sip:a@b'", "accounts.a.sip_address: must be without `sip:`"),
        ("accounts.a.sip_address = 'a'", "accounts.a.sip_address: must be user@domain"),
    ]);
    assert!(bad("accounts.a.jid = ''").starts_with("accounts.a.jid: is no JID: "));
    assert!(bad("instance = ''").starts_with("instance: is no XMPP resource: "));
    assert!(bad("onsip.services_domain = 'a b'").starts_with("onsip.services_domain: is no domain: "));
    for domain in ["", "a@b", "a/b"] {
        let problem = "onsip.services_domain: must be a domain";
        assert_eq!(bad(&format!("onsip.services_domain = '{domain}'")), problem);
    }
}

#[test]
fn two_enabled_accounts_may_not_share_jid_and_resource() {
    let second = "[accounts.b]\njid = 'A@ACME.onsip.com'\npassword = 1\n";
    let problem = "accounts.b.jid: has the same JID and resource as accounts.a; give one of them another `resource`";
    assert_eq!(bad(second), problem);
    assert!(load(&[BASE, second, "accounts.b.resource = 'other'"], NO_ENV).is_ok());
    assert!(load(&[BASE, second, "accounts.b.enabled = false"], NO_ENV).is_ok());
}

#[test]
fn a_configuration_may_have_every_account_disabled() {
    assert!(!good("accounts.a.enabled = false").accounts["a"].enabled);
}

#[test]
fn nodes_are_not_empty_and_stand_there_once() {
    assert_each(&[
        ("accounts.a.subscribe.x = ['']", "accounts.a.subscribe.x: entry 1: must not be empty"),
        ("accounts.a.subscribe.x = ['n', 'm', 'n']", "accounts.a.subscribe.x: entry 3 stands there twice"),
        ("accounts.a.subscribe.x = []", "accounts.a.subscribe.x: must not be an empty list"),
        ("accounts.a.subscribe.x = [1]", "accounts.a.subscribe.x: must be a list of strings"),
        (
            "[accounts.a.subscribe]",
            "accounts.a.subscribe: names no service; leave it out for the default, or say `enabled = false`",
        ),
    ]);
}

#[test]
fn tls_is_off_only_towards_a_literal_of_this_machine() {
    let problem = "xmpp.tls: `off` needs `host` to be an address in 127.0.0.0/8 or ::1";
    assert_eq!(bad("xmpp.tls = 'off'"), problem);
    for host in ["localhost", "10.0.0.1", "xmpp.onsip.com", "0.0.0.0"] {
        assert_eq!(bad(&format!("[xmpp]\ntls = 'off'\nhost = '{host}'")), problem, "{host}");
    }
    for host in ["127.0.0.1", "127.9.9.9", "::1"] {
        assert_eq!(good(&format!("[xmpp]\ntls = 'off'\nhost = '{host}'")).xmpp.tls, Tls::Off);
    }
    let port = "xmpp.host: must be a host name or an IP address; the port is the key `port`";
    assert_eq!(bad("xmpp.host = 'a:5222'"), port);
}

#[test]
fn a_file_of_authorities_is_there_and_holds_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let text = format!("xmpp.ca_file = '{}'", path.display());
    assert!(bad(&text).contains("xmpp.ca_file: cannot read "));
    fs::write(&path, "hello").unwrap();
    assert!(bad(&text).ends_with("holds no PEM certificate"));
    fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(bad(&text).ends_with("holds 1 certificates that cannot be read"));
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    fs::write(&path, certificate).unwrap();
    assert_eq!(good(&text).xmpp.ca_file, Some(path));
}

#[test]
fn the_listener_needs_a_token_beyond_loopback() {
    let problem = "http.token: is missing; it is needed where `listen` is not a loopback address";
    assert_eq!(bad("http.listen = '0.0.0.0:80'"), problem);
    assert_eq!(bad("http.listen = '[::]:80'"), problem);
    assert!(good("[http]\nlisten = '0.0.0.0:80'\ntoken = 'hunter2'").http.token.is_some());
    assert!(good("http.listen = '[::1]:0'").http.token.is_none());
    let address = "http.listen: must be an IP address and a port, such as 127.0.0.1:9464";
    for listen in ["localhost:80", "127.0.0.1", "9464", ""] {
        assert_eq!(bad(&format!("http.listen = '{listen}'")), address);
    }
}

#[test]
fn the_store_is_sqlite() {
    for url in ["postgres://x", "sqlite://", "sqlite:x", ""] {
        let problem = "store.url: must be sqlite://NAME or sqlite:///PATH";
        assert_eq!(bad(&format!("store.url = '{url}'")), problem, "{url}");
    }
    assert_eq!(good("store.url = 'sqlite:///var/lib/x.db'").store.url, "sqlite:///var/lib/x.db");
}

#[test]
fn a_rule_is_compiled_and_its_faults_have_a_place() {
    assert!(good("sinks.out.when = 'type == \"com.onsip.gap\"'").sinks["out"].when.is_some());
    assert!(bad("sinks.out.when = 'type = 1'").starts_with("sinks.out.when: line 1, column 6: "));
    let unknown = "sinks.out.when: line 1, column 1: unknown variable `typ`; the nearest known one is `type`";
    assert_eq!(bad("sinks.out.when = 'typ == 1'"), unknown);
    assert!(bad("sinks.out.when = ''").starts_with("sinks.out.when: "));
}

#[test]
fn a_fault_in_a_section_hides_none_elsewhere() {
    let text = "xmpp.port = 0\nhttp.listen = 'x'\naccounts.a.jid = 'x'\nsinks.out.when = '('\nsinks.f.type = 'file'";
    let problems = bad(text);
    let paths: Vec<_> = problems.lines().filter_map(|line| line.split_once(": ")).map(|(path, _)| path).collect();
    assert_eq!(paths, ["accounts.a.jid", "http.listen", "sinks.f.path", "sinks.out.when", "xmpp.port"]);
}

#[test]
fn traces_need_a_program_that_can_make_them() {
    let text = "otel.endpoint = 'http://127.0.0.1:4318'";
    if cfg!(feature = "otel") {
        assert_eq!(good(text).otel.endpoint.as_deref(), Some("http://127.0.0.1:4318"));
    } else {
        let needs = "otel.endpoint: needs a program with OpenTelemetry in it, and this one is without";
        assert!(bad(text).starts_with(needs), "{}", bad(text));
    }
    assert_eq!(good("otel.one_in = 100").otel.one_in, 100);
    assert!(bad("otel.endpoint = 'http://me:word@collector'").contains("must be without user, password and query"));
}
