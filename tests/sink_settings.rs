//! What may stand in the section of a sink that talks to a server, and what is said where it may not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;

use onsip_router::config::Config;
use onsip_router::sinks::Options;

/// Stands wherever a secret does.
const SECRET: &str = "hunter2";

fn load(settings: &str) -> Result<Options, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.toml");
    let whole = format!("[accounts.a]\njid = \"a@acme.test\"\npassword = \"x\"\n[sinks.peer]\n{settings}\n");
    fs::write(&path, whole).unwrap();
    let mut config = Config::load(&[path], std::iter::empty()).map_err(|problems| problems.to_string())?;
    Ok(config.sinks.pop_first().unwrap().1.options)
}

#[test]
fn a_sink_opens_without_touching_anything_and_shows_no_secret() {
    for settings in [
        "type = \"amqp\"\nurl = \"amqp://a\"",
        "type = \"amqp\"\nurl = \"amqps://a:1/calls\"\nusername = \"u\"\npassword = \"hunter2\"\nmode = \"binary\"",
        "type = \"mqtt\"\nurl = \"mqtt://a\"",
        "type = \"mqtt\"\nurl = \"mqtts://a:1\"\nclient_id = \"c\"\nusername = \"u\"\npassword = \"hunter2\"",
        "type = \"postgres\"\nhost = \"a\"\ndatabase = \"d\"\nuser = \"u\"\npassword = \"hunter2\"\ncreate = true",
        "type = \"postgres\"\nhost = \"/run/x\"\nport = 1\ndatabase = \"d\"\nuser = \"u\"\ntable = \"a.b\"",
        "type = \"nats\"\nurl = \"nats://a\"",
        "type = \"nats\"\nurl = \"tls://a:1,tls://b:2\"\nuser = \"u\"\npassword = \"hunter2\"\nmode = \"binary\"",
        "type = \"nats\"\nurl = \"a\"\ntoken = \"hunter2\"\nsubject = \"{type}\"\nstream = \"S\"",
        "type = \"redis\"\nurl = \"redis://a\"",
        "type = \"redis\"\nurl = \"rediss://a/1\"\nusername = \"u\"\npassword = \"hunter2\"\nmax_len = 0",
    ] {
        let options = load(settings).unwrap_or_else(|problems| panic!("{problems}\n{settings}"));
        assert!(!format!("{options:?}").contains(SECRET), "{options:?}");
        drop(options.open()); // outside of any runtime it could not connect
    }
}

#[cfg(feature = "kafka")]
#[test]
fn a_kafka_sink_is_described_and_what_cannot_be_of_it_is_told() {
    for settings in [
        "brokers = \"a\"",
        "brokers = \"a:1, [::1]:2\"\nusername = \"u\"\npassword = \"hunter2\"\nmechanism = \"SCRAM-SHA-512\"",
        "brokers = \"127.0.0.1\"\ntopic = \"a.{data.account}\"\nmode = \"binary\"\ncompression = \"lz4\"\ntls = \"off\"",
    ] {
        let options = load(&format!("type = \"kafka\"\n{settings}")).unwrap();
        assert!(!format!("{options:?}").contains(SECRET), "{options:?}");
        drop(options.open());
    }
    for (settings, problem) in [
        ("", "sinks.peer.brokers: is missing"),
        ("brokers = \"u:hunter2@a\"", "sinks.peer.brokers: must not hold credentials"),
        ("brokers = \"kafka://a\"", "sinks.peer.brokers: must be HOST:PORT"),
        ("brokers = \"a\"\ntopic = \"a/b\"", "sinks.peer.topic: must be made of letters"),
        ("brokers = \"a\"\nusername = \"u\"", "sinks.peer.password: is missing; `username` needs it"),
        ("brokers = \"a\"\npassword = \"hunter2\"", "sinks.peer.username: is missing; `password` needs it"),
        ("brokers = \"a\"\nmechanism = \"GSSAPI\"", "sinks.peer.mechanism: must be \"PLAIN\""),
        ("brokers = \"a\"\ntls = \"off\"\nca_file = \"/absent\"", "sinks.peer.tls: must not be `off`"),
    ] {
        let problems = load(&format!("type = \"kafka\"\n{settings}")).expect_err(settings);
        assert!(problems.lines().any(|line| line.starts_with(problem)), "{problems}\n{settings}");
        assert!(!problems.contains(SECRET), "{problems}");
    }
}

#[cfg(not(feature = "kafka"))]
#[test]
fn a_build_without_kafka_says_what_it_lacks() {
    let problems = load("type = \"kafka\"\nbrokers = \"a\"").unwrap_err();
    assert_eq!(problems, "sinks.peer.type: this build lacks the feature `kafka`; build it with `--features kafka`");
}

#[test]
fn what_cannot_be_is_told_by_its_key_and_without_the_secret() {
    for (settings, problem) in [
        (
            "type = \"amqp\"\nurl = \"amqp://u:hunter2@a\"",
            "sinks.peer.url: must not hold credentials; they belong into the keys `username` and `password`",
        ),
        ("type = \"amqp\"\nurl = \"amqp://a?x\"", "sinks.peer.url: must be amqp://HOST:PORT/VHOST"),
        ("type = \"amqp\"\nurl = \"amqp://a\"\nexchange = \"\"", "sinks.peer.exchange: must have 1 to 255 bytes"),
        ("type = \"amqp\"\nurl = \"amqp://a\"\npassword = \"hunter2\"", "sinks.peer.username: is missing"),
        ("type = \"amqp\"\nurl = \"amqp://a\"\nrouting_key = \"{x\"", "sinks.peer.routing_key: has a `{`"),
        (
            "type = \"amqp\"\nurl = \"amqp://a\"\nclient_certificate = \"/absent\"\nclient_key = \"/absent\"",
            "sinks.peer.url: must begin with amqps://",
        ),
        (
            "type = \"mqtt\"\nurl = \"mqtt://u:hunter2@a\"",
            "sinks.peer.url: must not hold credentials; they belong into the keys `username` and `password`",
        ),
        ("type = \"mqtt\"\nurl = \"a\"", "sinks.peer.url: must be mqtt://HOST:PORT"),
        ("type = \"mqtt\"\nurl = \"mqtt://a\"\ntopic = \"a/#\"", "sinks.peer.topic: must not hold control characters"),
        ("type = \"mqtt\"\nurl = \"mqtt://a\"\nusername = \"u\"", "sinks.peer.password: is missing; `username`"),
        ("type = \"postgres\"\nhost = \"a\"\nuser = \"u\"", "sinks.peer.database: is missing"),
        (
            "type = \"postgres\"\nhost = \"postgres://u:hunter2@a/d\"\ndatabase = \"d\"\nuser = \"u\"",
            "sinks.peer.host: must be a name or an address alone; `port`, `database`, `user` and `password` are keys",
        ),
        (
            "type = \"postgres\"\nhost = \"a\"\ndatabase = \"d\"\nuser = \"u\"\ntable = \"a.b.c\"",
            "sinks.peer.table: must be TABLE or SCHEMA.TABLE",
        ),
        (
            "type = \"postgres\"\nhost = \"/run/x\"\ndatabase = \"d\"\nuser = \"u\"\ntls = \"require\"",
            "sinks.peer.tls: must be `off` for a socket",
        ),
        (
            "type = \"postgres\"\nhost = \"a\"\ndatabase = \"d\"\nuser = \"u\"\ntls = \"off\"\nca_file = \"/absent\"",
            "sinks.peer.ca_file: cannot read /absent",
        ),
        ("type = \"nats\"", "sinks.peer.url: is missing"),
        (
            "type = \"nats\"\nurl = \"nats://u:hunter2@a\"",
            "sinks.peer.url: must not hold credentials; they belong into the keys `user` and `password`, `token`, `nkey` or `credentials`",
        ),
        ("type = \"nats\"\nurl = \"http://a\"", "sinks.peer.url: must be nats://HOST:PORT"),
        (
            "type = \"nats\"\nurl = \"a\"\nsubject = \"a.>\"",
            "sinks.peer.subject: must not hold blanks or the wildcards",
        ),
        (
            "type = \"nats\"\nurl = \"a\"\nsubject = \"{typ}\"",
            "sinks.peer.subject: line 1, column 2: {typ}: unknown field",
        ),
        ("type = \"nats\"\nurl = \"a\"\nstream = \"a.b\"", "sinks.peer.stream: must be made of letters"),
        ("type = \"nats\"\nurl = \"a\"\npassword = \"hunter2\"", "sinks.peer.user: is missing; `password` needs it"),
        ("type = \"nats\"\nurl = \"a\"\nuser = \"u\"", "sinks.peer.password: is missing; `user` needs it"),
        (
            "type = \"nats\"\nurl = \"a\"\ntoken = \"hunter2\"\nnkey = \"hunter2\"",
            "sinks.peer.nkey: cannot be used together with `token`",
        ),
        ("type = \"nats\"\nurl = \"a\"\nnkey = \"hunter2\"", "sinks.peer.nkey: is no seed of a user's NKey"),
        (
            "type = \"nats\"\nurl = \"a\"\ncredentials = \"hunter2\"",
            "sinks.peer.credentials: is not the content of a .creds file",
        ),
        (
            "type = \"nats\"\nurl = \"a\"\ncredentials = { file = \"/absent\" }",
            "sinks.peer.credentials: cannot read /absent: no such file",
        ),
        ("type = \"nats\"\nurl = \"a\"\nclient_key = \"/absent\"", "sinks.peer.client_certificate: is missing"),
        (
            "type = \"redis\"\nurl = \"redis://:hunter2@a\"",
            "sinks.peer.url: must not hold credentials; they belong into the keys `username` and `password`",
        ),
        ("type = \"redis\"\nurl = \"a:6379\"", "sinks.peer.url: must be redis://HOST:PORT/DATABASE"),
        ("type = \"redis\"\nurl = \"redis://a\"\nusername = \"u\"", "sinks.peer.password: is missing; `username`"),
        ("type = \"redis\"\nurl = \"redis://a\"\nstream = \"{\"", "sinks.peer.stream: has a `{` without its `}`"),
        ("type = \"redis\"\nurl = \"rediss://a\"\nca_file = \"/absent\"", "sinks.peer.ca_file: cannot read /absent"),
        (
            "type = \"redis\"\nurl = \"redis://a\"\nclient_certificate = \"/absent\"\nclient_key = \"/absent\"",
            "sinks.peer.url: must begin with rediss://",
        ),
    ] {
        let problems = load(settings).expect_err(settings);
        assert!(problems.lines().any(|line| line.starts_with(problem)), "{problems}\n{settings}");
        assert!(!problems.contains(SECRET), "{problems}");
    }
}
