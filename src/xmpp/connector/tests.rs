use std::net::Ipv4Addr;

use super::*;
use crate::dial::tests::{Swallowing, saying};
use crate::xmpp::srv::tests::{name_server, resolv_conf};

const HELLO: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' version='1.0' from='acme.test' id='1'><stream:features/>";
/// Longer than anything here takes, also on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn options(host: Option<&str>, tls: Mode) -> Options {
    Options {
        host: host.map(str::to_owned),
        port: 5333,
        tls,
        ca_file: None,
        tls_name: None,
        concurrent_logins: 1,
        request_timeout: SOON,
        ping_interval: SOON,
    }
}

fn loopback(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// A connector to whom these SRV records (priority, port, target) are told, on plain streams.
async fn looking_up(records: &[(u16, u16, &str)], patience: Duration) -> (Connector, tempfile::NamedTempFile) {
    let records = records.iter().map(|(priority, port, target)| (*priority, 1, *port, (*target).to_owned()));
    let file = resolv_conf("nameserver 127.0.0.1\n");
    let resolver = Resolver::of(file.path().to_owned(), Some(name_server(records.collect()).await));
    let options = Options { request_timeout: patience, ..options(None, Mode::Off) };
    (Connector::with(options, resolver).unwrap(), file)
}

async fn opened(connector: &Connector, instead: Option<&str>) -> Result<(), String> {
    let opened = timeout(SOON, connector.open("acme.test", instead, &|| {})).await.expect("every address is tried");
    opened.map(drop).map_err(|failure| failure.why())
}

#[tokio::test]
async fn a_configured_host_is_used_and_only_without_one_the_domain_is_looked_up() {
    let named = Connector::new(options(Some("127.0.0.9"), Mode::Off)).unwrap();
    let target = |host: &str, port| Target { host: host.to_owned(), port };
    assert_eq!(named.targets("acme.test").await.unwrap().0, [[target("127.0.0.9", 5333)]]);
    let (looking, _file) = looking_up(&[], SOON).await;
    assert_eq!(looking.targets("acme.test").await.unwrap().0, [[target("acme.test", 5222)]]);
    assert_eq!(looking.targets("127.0.0.1").await.unwrap().0, [[target("127.0.0.1", 5222)]]);
    assert_eq!(looking.targets("münchen.test").await.unwrap().0, [[target("xn--mnchen-3ya.test", 5222)]], "b8");
}

/// The name of a target that is an address is looked up as that address.
#[tokio::test]
async fn b1_targets_of_a_lower_priority_are_tried_where_those_of_a_higher_one_do_not_answer() {
    let swallowing = Swallowing::at(loopback(2), 0).await;
    let silent = saying(loopback(3), 0, "").await.port();
    let good = saying(loopback(1), 0, HELLO).await.port();
    let records = [(1, swallowing.address.port(), "127.0.0.2."), (2, silent, "127.0.0.3."), (3, good, "127.0.0.1.")];
    let (connector, _file) = looking_up(&records, Duration::from_secs(6)).await;
    assert_eq!(opened(&connector, None).await, Ok(()));
}

#[tokio::test]
async fn b1_targets_of_one_priority_are_tried_one_beside_the_other() {
    let swallowing = Swallowing::at(loopback(2), 0).await;
    let good = saying(loopback(1), 0, HELLO).await.port();
    let records = [(1, swallowing.address.port(), "127.0.0.2."), (1, good, "127.0.0.1.")];
    let (connector, _file) = looking_up(&records, SOON).await;
    for _ in 0..4 {
        assert_eq!(opened(&connector, None).await, Ok(()));
    }
}

#[tokio::test]
async fn d7_srv_target_of_a_dot_is_told_and_the_domain_is_not_tried() {
    let (connector, _file) = looking_up(&[(0, 0, ".")], SOON).await;
    let why = opened(&connector, None).await.unwrap_err();
    assert!(why.contains("says that it has no XMPP service"), "{why}");
}

#[tokio::test]
async fn b3_without_a_resolver_it_is_said_what_is_missing_and_the_next_try_reads_it_again() {
    let file = resolv_conf("");
    let good = saying(loopback(1), 0, HELLO).await.port();
    let port = name_server(vec![(1, 1, good, "127.0.0.1.".to_owned())]).await;
    let resolver = Resolver::of(file.path().to_owned(), Some(port));
    let connector = Connector::with(options(None, Mode::Off), resolver).unwrap();
    let why = opened(&connector, None).await.unwrap_err();
    assert!(why.contains(&file.path().display().to_string()), "{why}");
    std::fs::write(file.path(), "nameserver 127.0.0.1\n").unwrap();
    assert_eq!(opened(&connector, None).await, Ok(()));
}

#[tokio::test]
async fn c3_without_tls_only_literals_of_this_machine_are_followed() {
    let good = saying(loopback(1), 0, HELLO).await;
    let connector = Connector::new(options(Some("127.0.0.1"), Mode::Off)).unwrap();
    assert_eq!(opened(&connector, Some(&good.to_string())).await, Ok(()));
    for other in ["localhost", "10.0.0.1", "1.1.1.1:5222", "b.test", "0.0.0.0", "[::ffff:127.0.0.1]"] {
        let why = opened(&connector, Some(other)).await.unwrap_err();
        assert!(why.contains("without TLS"), "{other}: {why}");
    }
}

#[tokio::test]
async fn c3_what_a_name_leads_to_decides_whether_a_redirect_is_followed() {
    let listening = saying(loopback(1), 0, "").await.port();
    let connector = Connector::new(options(Some("192.168.77.1"), Mode::Starttls)).unwrap();
    for other in ["localhost", "127.0.0.1", "[::1]", "169.254.169.254", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let why = opened(&connector, Some(&format!("{other}:{listening}"))).await.unwrap_err();
        assert!(why.contains("not followed"), "{other}: {why}");
    }
    let (connector, _file) = looking_up(&[(1, 1, "1.1.1.1.")], SOON).await;
    let private = ["10.0.0.1:1".parse().unwrap(), "1.1.1.1:1".parse().unwrap()];
    assert!(connector.vet("acme.test", &private).await.is_err(), "one of the wrong kind spoils the other");
    assert!(connector.vet("acme.test", &private[1..]).await.is_ok());
    let own = Connector::new(options(Some("10.0.0.7"), Mode::Starttls)).unwrap();
    assert!(own.vet("acme.test", &private).await.is_ok(), "a server in a private network may name another there");
}

#[tokio::test]
async fn c10_a_redirect_that_is_no_host_is_malformed() {
    let connector = Connector::new(options(Some("127.0.0.1"), Mode::Off)).unwrap();
    for bad in ["a\0b", "a b", "b.test:0", ""] {
        let outcome = connector.open("acme.test", Some(bad), &|| {}).await;
        assert!(matches!(outcome, Err(Failure::Protocol(_))), "{bad:?}");
    }
}
