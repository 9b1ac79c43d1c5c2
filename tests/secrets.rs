//! A password is nowhere to be found, whatever goes wrong and however much is logged.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use onsip_router::domain::BareJid;
use onsip_router::simulator::{Authorize, Mechanism, Options, Request, Simulator};

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

const UNIQUE: &str = "Qz7-unheard-of&<Phrase>-93";
const FORMATS: [&str; 2] = ["text", "json"];

/// What nobody may read: the password, as XML has it, as JSON has it, and as SASL sends it.
fn needles(jid: &BareJid, password: &str) -> Vec<String> {
    let (local, bare) = (jid.node().unwrap().as_str(), jid.as_str());
    let sasl = [format!("\0{local}\0{password}"), format!("{bare}\0{local}\0{password}"), password.to_owned()];
    let encoded =
        sasl.iter().flat_map(|text| [STANDARD.encode(text), STANDARD_NO_PAD.encode(text), URL_SAFE.encode(text)]);
    let escaped = password.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let half_escaped = password.replace('&', "&amp;").replace('<', "&lt;");
    encoded
        .chain([password.to_owned(), escaped, half_escaped, format!("{password:?}").trim_matches('"').to_owned()])
        .collect()
}

async fn assert_nowhere(daemon: &Daemon, needles: &[String]) {
    let mut places = vec![("standard error".to_owned(), daemon.log().into_bytes())];
    places.push(("standard output".to_owned(), daemon.stdout().into_bytes()));
    for path in ["/metrics", "/", "/readyz", "/api/v1/accounts", "/api/v1/subscriptions", "/api/v1/sinks"] {
        let response = daemon.get(path, &[]).await;
        places.push((path.to_owned(), format!("{}\n{}", response.head, response.body).into_bytes()));
    }
    for entry in std::fs::read_dir(daemon.folder()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("state.db") || name == EVENTS {
            places.push((name, std::fs::read(entry.path()).unwrap()));
        }
    }
    assert!(places.iter().any(|(name, _)| name == "state.db-wal"), "the database is looked through");
    for (place, text) in &places {
        for needle in needles {
            let found = text.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!found, "{needle:?} stands in {place}:\n{}", String::from_utf8_lossy(text));
        }
    }
}

async fn onsip_with(mechanism: Mechanism, password: &str) -> (Simulator, BareJid) {
    let onsip = Simulator::start(Options { mechanisms: vec![mechanism], ..Options::default() }).await.unwrap();
    let anna = onsip.account("anna@acme.test", password).unwrap();
    (onsip, anna)
}

async fn start(onsip: &Simulator, anna: &BareJid, format: &str, level: &str) -> Daemon {
    let log = format!("[log]\nlevel = \"{level}\"\nformat = \"{format}\"");
    let setup = Setup::of(onsip).account_with("front-desk", anna, "password = { env = \"FRONT_DESK\" }").section(&log);
    Daemon::start(&setup.toml(), &[("FRONT_DESK", UNIQUE), ("RUST_LOG", "trace")]).await
}

#[tokio::test]
async fn not_while_all_is_well() {
    for (mechanism, format) in [Mechanism::Plain, Mechanism::ScramSha256].into_iter().zip(FORMATS) {
        let (onsip, anna) = onsip_with(mechanism, UNIQUE).await;
        let daemon = start(&onsip, &anna, format, "trace").await;
        daemon.until_active(1).await;
        let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
        daemon.until_calls(2).await;
        onsip.cut(&anna);
        daemon.until_count("connects_total", &[("outcome", "online")], 2).await;
        assert_nowhere(&daemon, &needles(&anna, UNIQUE)).await;
    }
}

#[tokio::test]
async fn not_where_the_service_echoes_it_in_an_error() {
    for (format, answer) in FORMATS.into_iter().zip([Authorize::Refuse, Authorize::Wait]) {
        let (onsip, anna) = onsip_with(Mechanism::Plain, UNIQUE).await;
        onsip.behave(&anna, |b| b.authorize = answer.clone());
        let daemon = start(&onsip, &anna, format, "trace").await;
        let state = if answer == Authorize::Refuse { "refused" } else { "waiting" };
        daemon.until_accounts(state, 1).await;
        daemon
            .until(&format!("the account being {state} in the log"), SOON, async || {
                daemon.log().contains(state).then_some(())
            })
            .await;
        assert_nowhere(&daemon, &needles(&anna, UNIQUE)).await;
    }
}

#[tokio::test]
async fn not_where_the_log_in_fails() {
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha1] {
        for format in FORMATS {
            let (onsip, anna) = onsip_with(mechanism, "another").await;
            let daemon = start(&onsip, &anna, format, "trace").await;
            daemon.until_accounts("refused", 1).await;
            assert_eq!(asked(&onsip, &anna, Request::Login), 1);
            assert_nowhere(&daemon, &needles(&anna, UNIQUE)).await;
        }
    }
}

#[tokio::test]
async fn not_where_the_stream_breaks_in_the_middle_of_what_carries_it() {
    let (onsip, anna) = onsip_with(Mechanism::Plain, UNIQUE).await;
    onsip.behave(&anna, |b| b.authorize = Authorize::Silence);
    let daemon = start(&onsip, &anna, "text", "trace").await;
    let what = "the request that carries the password";
    until_observed(&onsip, &daemon, what, SOON, |saw| saw.count(&anna, Request::Authorize) == 1).await;
    onsip.inject(
        &anna,
        &format!("<message><body>{}&nbsp;</message>", UNIQUE.replace('&', "&amp;").replace('<', "&lt;")),
    );
    daemon.until_count("disconnects_total", &[("reason", "protocol")], 1).await;
    assert_nowhere(&daemon, &needles(&anna, UNIQUE)).await;
}

#[tokio::test]
async fn not_where_the_configuration_is_wrong() {
    let (onsip, anna) = onsip_with(Mechanism::Plain, UNIQUE).await;
    let setup = Setup::of(&onsip).account_with("front-desk", &anna, &format!("password = [\"{UNIQUE}\"]"));
    let mut daemon = Daemon::spawn(&setup.toml(), &[]);
    let status = daemon.exit(SOON).await;
    assert_eq!(status.code(), Some(78), "{}", daemon.log());
    assert!(daemon.log().contains("accounts.front-desk.password"), "{}", daemon.log());
    for needle in needles(&anna, UNIQUE) {
        assert!(!daemon.log().contains(&needle), "{}", daemon.log());
    }
}

#[tokio::test]
async fn not_while_a_reload_changes_it() {
    let (onsip, anna) = onsip_with(Mechanism::Plain, UNIQUE).await;
    let with =
        |lines: &str| Setup::of(&onsip).account_with("front-desk", &anna, lines).section("[log]\nlevel = \"trace\"");
    let daemon = with(&format!("password = \"{UNIQUE}\"")).start_active(1).await;
    with(&format!("password = \"not {UNIQUE}\"")).reload(&daemon).await;
    daemon.until_count("config_reloads_total", &[("outcome", "applied")], 1).await;
    daemon.until_accounts("refused", 1).await;
    with(&format!("password = \"{UNIQUE}\"\nno_such_key = \"{UNIQUE}\"")).reload(&daemon).await;
    daemon.until_count("config_reloads_total", &[("outcome", "failed")], 1).await;
    assert_nowhere(&daemon, &needles(&anna, UNIQUE)).await;
}
