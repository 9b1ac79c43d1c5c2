//! Where problems are said to be, and what is worth a second look.

use super::*;

fn problems<const N: usize>(files: &[&str], env: [(&str, &str); N]) -> Vec<String> {
    let problems = load(files, env).map(drop).unwrap_err();
    let shown = |problem: &crate::settings::problem::Problem| {
        let place = problem.place.as_deref().unwrap_or("nowhere");
        format!("{}: {}", problem.path, place.rsplit('/').next().unwrap_or(place))
    };
    problems.iter().map(shown).collect()
}

#[test]
fn f8_every_problem_names_the_file_and_line_or_the_variable_it_comes_from() {
    let files = [
        BASE,
        "[accounts.b]\n\npassword = 'hunter2'\n[xmpp]\nport = 5222\n[sinks.c]\ntype = 'nats'\nurl = 'x'",
        "# a remark\n[xmpp]\nport = 0\nprot = 1\n[sinks.out]\nwhen = '''\n  data.acount == 'a' '''\n[sinks.c]\nsubject = '{typ}'",
    ];
    let env = [
        ("ONSIP_ROUTER__XMPP__PING_INTERVAL", "soon"),
        ("ONSIP_ROUTER__ACCOUNTS__C_D__JID", "c@acme.test"),
        ("ONSIP_ROUTER__SINKS__OUT__TIMEOUT", "1"),
        ("ONSIP_ROUTER__HTTP__LISTEN", "0.0.0.0:1"),
    ];
    assert_eq!(
        problems(&files, env),
        [
            "accounts.b.jid: 1.toml, line 1",
            "accounts.c-d.password: environment, ONSIP_ROUTER__ACCOUNTS__C_D__JID",
            "http.token: environment, ONSIP_ROUTER__HTTP__LISTEN",
            "sinks.c.subject: 2.toml, line 9",
            "sinks.out.timeout: environment, ONSIP_ROUTER__SINKS__OUT__TIMEOUT",
            "sinks.out.when: 2.toml, line 6",
            "xmpp.ping_interval: environment, ONSIP_ROUTER__XMPP__PING_INTERVAL",
            "xmpp.port: 2.toml, line 3",
            "xmpp.prot: 2.toml, line 4",
        ]
    );
    let said = load(&[BASE, "[xmpp]\nport = 0"], NO_ENV).map(drop).unwrap_err().to_string();
    assert!(said.starts_with("xmpp.port: must be ") && said.ends_with("/1.toml, line 2)"), "{said}");
}

#[test]
fn f8_a_problem_of_two_keys_and_one_of_the_defaults_are_where_the_named_key_is() {
    let twin = "[accounts.b]\njid = 'a@acme.onsip.com'\npassword = 'x'";
    assert_eq!(problems(&[BASE, twin], NO_ENV), ["accounts.b.jid: 1.toml, line 2"]);
    assert_eq!(problems(&["[accounts.a]\njid = 'a@b.c'\npassword = 'x'"], NO_ENV), ["sinks: nowhere"]);
}

#[test]
fn f2_a_service_is_refused_if_it_is_near_to_a_known_one_and_else_only_remarked_on() {
    let own = "active-calls = ['/me/a@acme.onsip.com']";
    for (service, meant) in [
        ("active-call", "active-calls"),
        ("Active-Calls", "active-calls"),
        ("activecalls", "active-calls"),
        ("user-agent", "user-agents"),
        ("voice-mail", "voicemail"),
        ("directory", "directories"),
    ] {
        let said = bad(&format!("[accounts.a.subscribe]\n{own}\n{service} = ['n']"));
        let wanted = format!("accounts.a.subscribe.{service}: unknown service; the nearest known one is `{meant}`");
        assert!(said.contains(&wanted), "{said}");
    }
    let notes = |services: &str| {
        let config = good(&format!("[accounts.a.subscribe]\n{own}\n{services}"));
        assert!(config.warnings.is_empty());
        config.notes.iter().map(|note| note.path.clone()).collect::<Vec<_>>()
    };
    assert_eq!(notes("user-agents = ['n']\nvoicemail = ['n']\ndirectories = ['n']"), [""; 0]);
    assert_eq!(
        notes("queues = ['n']\nparking = ['m']"),
        ["accounts.a.subscribe.parking", "accounts.a.subscribe.queues"]
    );
}

#[test]
fn f2_an_account_whose_list_leaves_the_default_out_is_remarked_on() {
    let notes = |text: &str| {
        let notes = good(text).notes;
        notes.iter().map(|note| format!("{}: {}", note.path, note.message)).collect::<Vec<_>>()
    };
    let told = "accounts.a.subscribe: is the whole list, and leaves out what is subscribed to without it: add \
                active-calls = [\"/me/a@acme.onsip.com\"] if its calls are wanted";
    assert_eq!(notes(""), [""; 0]);
    assert_eq!(notes("accounts.a.subscribe.active-calls = ['/x', '/me/a@acme.onsip.com']"), [""; 0]);
    assert_eq!(notes("accounts.a.subscribe.user-agents = ['/me/a@acme.onsip.com']"), [told]);
    assert_eq!(notes("accounts.a.subscribe.active-calls = ['/x']"), [told]);
}

#[test]
fn f2_two_sinks_may_not_share_a_file_however_its_path_is_spelt() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(path("sub")).unwrap();
    fs::write(path("there"), "").unwrap();
    std::os::unix::fs::symlink(path("there"), path("link")).unwrap();
    std::os::unix::fs::symlink(path("sub"), path("other")).unwrap();
    let two = |one: &str, other: &str| {
        format!("[sinks.x]\ntype = 'file'\npath = '{}'\n[sinks.y]\ntype = 'file'\npath = '{}'", path(one), path(other))
    };
    for (one, other) in [
        ("new", "new"),
        ("new", "./new"),
        ("new", "sub/../new"),
        ("there", "link"),
        ("sub/new", "other/new"),
        ("sub//new", "sub/./new"),
        ("absent/new", "absent/./new"),
    ] {
        let said = bad(&two(one, other));
        assert_eq!(
            said, "sinks.y.path: is the same file as that of sinks.x; give one of them another",
            "{one} {other}"
        );
    }
    for (one, other) in [("new", "there"), ("sub/new", "new"), ("new", "new2")] {
        good(&two(one, other));
    }
    let null = "[sinks.x]\ntype = 'file'\npath = '/dev/null'\n[sinks.y]\ntype = 'file'\npath = '/dev/null'";
    good(null);
}
