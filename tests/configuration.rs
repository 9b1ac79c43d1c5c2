//! The program as an operator meets it before a daemon runs: `check`, `schema`, `--help`, exit codes.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failure")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const VALID: &str = r#"
    [accounts.front-desk]
    jid = "front@acme.onsip.com"
    password = { env = "FRONT_DESK_PASSWORD" }

    [sinks.all]
    type = "stdout"

    [sinks.ringing]
    type = "file"
    path = "ringing.jsonl"
    when = 'type == "com.onsip.call.requested"'

    [sinks.long]
    type = "file"
    path = "long.jsonl"
    when = 'data.talk_seconds > 60'
"#;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn program(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onsip-router"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim_end()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap().trim_end()
}

const PASSWORD: [(&str, &str); 1] = [("FRONT_DESK_PASSWORD", "hunter2")];

#[test]
fn check_of_a_valid_configuration_says_so_and_exits_0() {
    let folder = folder(&[("a.toml", VALID)]);
    let output = program(folder.path(), &["check", "--config", "a.toml"], &PASSWORD);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), "ok: 1 account (1 enabled), 3 sinks"));
    assert_eq!(stderr(&output), "");
}

#[test]
fn check_prints_every_problem_on_a_line_of_its_own_and_exits_78() {
    let broken = "[xmpp]\nprot = 1\n[accounts.b]\njid = 'b'\npassword = ['hunter2']\n[http]\nlisten = '0.0.0.0:1'";
    let folder = folder(&[("a.toml", VALID), ("b.toml", broken)]);
    let output = program(folder.path(), &["check", "--config", "a.toml", "--config", "b.toml"], &[]);
    assert_eq!(output.status.code(), Some(78));
    let expected = [
        "accounts.b.jid: needs a local part, such as front@acme.onsip.com (b.toml, line 4)",
        "accounts.b.password: must be a string, { env = \"NAME\" } or { file = \"PATH\" } (b.toml, line 5)",
        "accounts.front-desk.password: the environment variable FRONT_DESK_PASSWORD is not set (a.toml, line 4)",
        "http.token: is missing; it is needed where `listen` is not a loopback address (b.toml, line 6)",
        "xmpp.prot: unknown key; the nearest known one is `port` (b.toml, line 2)",
    ];
    assert_eq!(stdout(&output).lines().collect::<Vec<_>>(), expected);
    assert_eq!(stderr(&output), "");
}

#[test]
fn run_prints_the_same_problems_on_standard_error_and_exits_78() {
    let folder = folder(&[("a.toml", VALID)]);
    let output = program(folder.path(), &["run", "--config", "a.toml"], &[]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(78), ""));
    let problem =
        "accounts.front-desk.password: the environment variable FRONT_DESK_PASSWORD is not set (a.toml, line 4)";
    assert_eq!(stderr(&output), problem);
}

#[test]
fn without_a_path_the_local_file_is_read_if_it_is_there() {
    let there = folder(&[("config/local.toml", VALID)]);
    assert_eq!(program(there.path(), &["check"], &PASSWORD).status.code(), Some(0));
    let output = program(folder(&[]).path(), &["check"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(stdout(&output), "accounts: no account is configured\nsinks: no sink is configured");
}

#[test]
fn a_given_path_is_read_instead_of_the_local_file() {
    let folder = folder(&[("config/local.toml", "nonsense"), ("etc/a.toml", VALID), ("etc/b.toml", "xmpp.port = 1")]);
    assert_eq!(program(folder.path(), &["check", "--config", "etc"], &PASSWORD).status.code(), Some(0));
    let output = program(folder.path(), &["check", "--config", "nowhere"], &PASSWORD);
    assert_eq!((output.status.code(), stdout(&output)), (Some(78), "nowhere: does not exist"));
}

#[test]
fn the_environment_alone_can_configure_it() {
    let environment = [
        ("ONSIP_ROUTER__ACCOUNTS__FRONT_DESK__JID", "front@acme.onsip.com"),
        ("ONSIP_ROUTER__ACCOUNTS__FRONT_DESK__PASSWORD", "0042"),
        ("ONSIP_ROUTER__SINKS__OUT__TYPE", "stdout"),
        ("ONSIP_ROUTER__XMPP__CONCURRENT_LOGINS", "7"),
    ];
    let output = program(folder(&[]).path(), &["check"], &environment);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), "ok: 1 account (1 enabled), 1 sink"));
}

#[test]
fn no_problem_ever_shows_a_secret() {
    for text in [
        "[accounts.a]\npassword = \"hunter2",
        "[accounts.a]\npassword = hunter2",
        "[accounts.a]\npassword = ['hunter2']",
        "[accounts.a]\npassword = { value = 'hunter2' }",
        "[accounts.a]\npassword = { env = ['hunter2'] }",
        "[accounts.a]\npassword = 'hunter2'\npassword = 'hunter2'",
        "[accounts.a]\npasswort = 'hunter2'",
        "[accounts]\na = 'hunter2'",
        "[http]\ntoken = 'hunter2\\q'",
        "http = 'hunter2'",
    ] {
        let folder = folder(&[("a.toml", text)]);
        for command in ["check", "run"] {
            let output = program(folder.path(), &[command, "--config", "a.toml"], &[]);
            assert_eq!(output.status.code(), Some(78), "{text}");
            assert!(!format!("{output:?}").contains("hunter2"), "{text}: {output:?}");
        }
    }
    let environment = [("ONSIP_ROUTER__ACCOUNTS__A", "hunter2"), ("ONSIP_ROUTER__TOKEN", "hunter2")];
    let output = program(folder(&[]).path(), &["check"], &environment);
    assert!(!format!("{output:?}").contains("hunter2"), "{output:?}");
}

#[test]
fn check_shows_which_sinks_an_event_would_reach_and_why() {
    let event = r#"{"type":"com.onsip.call.requested","data":{"talk_seconds":null}}"#;
    let folder = folder(&[("a.toml", VALID), ("event.json", event), ("other.json", "[1]"), ("bad.json", "{")]);
    let check = |event| program(folder.path(), &["check", "--config", "a.toml", "--event", event], &PASSWORD);
    let output = check("event.json");
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<_> = stdout(&output).lines().collect();
    assert_eq!(lines[0], "all: yes, it has no `when` and gets every event");
    assert!(
        lines[1].starts_with("long: no, `data.talk_seconds > 60` has no answer, which counts as false: "),
        "{}",
        lines[1]
    );
    assert_eq!(lines[2], "ringing: yes, `type == \"com.onsip.call.requested\"` is true");
    for (file, message) in [
        ("other.json", "other.json: is no event"),
        ("bad.json", "bad.json: is not one event in JSON"),
        ("gone.json", "gone.json: does not exist"),
    ] {
        let output = check(file);
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
        assert!(stderr(&output).starts_with(message), "{}", stderr(&output));
    }
}

#[test]
fn both_schemas_are_schemas_and_that_of_the_configuration_takes_a_valid_one() {
    let folder = folder(&[]);
    let schema = |subject| {
        let output = program(folder.path(), &["schema", subject], &[]);
        assert_eq!(output.status.code(), Some(0));
        let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        jsonschema::draft202012::new(&schema).unwrap()
    };
    let valid: toml::Table = VALID.parse().unwrap();
    assert!(schema("config").is_valid(&serde_json::to_value(valid).unwrap()));
    assert!(!schema("event").is_valid(&serde_json::json!({ "type": "com.onsip.call.ended" })));
}

#[test]
fn every_command_has_help_with_an_example_and_the_version_names_the_commit() {
    let folder = folder(&[]);
    for command in ["run", "check", "demo", "schema", "subscriptions"] {
        let output = program(folder.path(), &[command, "--help"], &[]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains(&format!("  onsip-router {command} ")), "{}", stdout(&output));
    }
    let output = program(folder.path(), &["--version"], &[]);
    let start = format!("onsip-router {} (", env!("CARGO_PKG_VERSION"));
    assert!(stdout(&output).starts_with(&start) && stdout(&output).ends_with(')'), "{}", stdout(&output));
}
