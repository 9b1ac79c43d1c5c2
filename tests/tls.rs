//! Encrypted connections: whom the router trusts, and under which name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use onsip_router::domain::BareJid;
use onsip_router::simulator::{Options, Request, Simulator, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;

use support::stage::*;

const DOMAIN: &str = "acme.test";

/// A service whose certificate carries `name`, an account on it, and the authority that vouches for it.
async fn service_named(name: &str, direct: bool) -> (Simulator, BareJid, NamedTempFile) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let tls = if direct { Tls::Direct(config) } else { Tls::Starttls(config) };
    let onsip = Simulator::start(Options { tls, ..Options::default() }).await.unwrap();
    let anna = account(&onsip, "anna@acme.test");
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.pem()).unwrap();
    (onsip, anna, file)
}

fn mode(direct: bool) -> &'static str {
    if direct { "tls = \"direct\"" } else { "tls = \"starttls\"" }
}

fn ca(file: &NamedTempFile) -> String {
    format!("ca_file = \"{}\"", file.path().display())
}

#[tokio::test]
async fn an_authority_of_our_own_is_trusted_with_an_upgrade_and_from_the_first_byte() {
    for direct in [false, true] {
        let (onsip, anna, file) = service_named(DOMAIN, direct).await;
        let setup = Setup::of(&onsip).xmpp(mode(direct)).xmpp(&ca(&file)).account("front-desk", &anna);
        let daemon = setup.start_active(1).await;
        let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
        daemon.until_calls(2).await;
    }
}

#[tokio::test]
async fn a_certificate_with_another_name_is_no_reason_to_send_a_password() {
    for direct in [false, true] {
        let (onsip, anna, file) = service_named("xmpp.onsip.test", direct).await;
        let setup = Setup::of(&onsip).xmpp(mode(direct)).xmpp(&ca(&file)).account("front-desk", &anna);
        let daemon = setup.start().await;
        daemon.until_count("connects_total", &[("outcome", "tls")], 1).await;
        daemon.until_accounts("waiting", 1).await;
        assert_eq!(asked(&onsip, &anna, Request::Login), 0);
    }
}

#[tokio::test]
async fn the_name_that_the_configuration_asks_for_is_accepted() {
    let (onsip, anna, file) = service_named("xmpp.onsip.test", false).await;
    let setup = Setup::of(&onsip).xmpp(mode(false)).xmpp(&ca(&file)).xmpp("tls_name = \"xmpp.onsip.test\"");
    setup.account("front-desk", &anna).start_active(1).await;
}

#[tokio::test]
async fn an_unknown_authority_is_not_trusted() {
    let (onsip, anna, _) = service_named(DOMAIN, false).await;
    let daemon = Setup::of(&onsip).xmpp(mode(false)).account("front-desk", &anna).start().await;
    daemon.until_count("connects_total", &[("outcome", "tls")], 1).await;
    daemon.until_accounts("waiting", 1).await;
    assert_eq!(asked(&onsip, &anna, Request::Login), 0);
    let why = daemon.json("/api/v1/accounts").await[0]["why"].to_string();
    assert!(why.contains("TLS"), "{why}");
}

#[tokio::test]
async fn a_server_that_offers_no_encryption_gets_no_password() {
    let (onsip, anna) = service_with_anna().await;
    let daemon = Setup::of(&onsip).xmpp(mode(false)).account("front-desk", &anna).start().await;
    daemon.until_count("connects_total", &[("outcome", "tls")], 1).await;
    let sent = [Request::Login, Request::Authorize].map(|request| asked(&onsip, &anna, request));
    assert_eq!(sent, [0, 0], "neither a log-in nor authorize-plain");
}
