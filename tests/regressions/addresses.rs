//! Names, addresses, certificates and the files they are read from.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use onsip_router::domain::BareJid;
use onsip_router::simulator::{Options, Request, Simulator, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, OtherNameValue, SanType};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::condition::SOON;
use crate::support::stage::*;

/// An authority of our own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate with these names and its key.
    fn certify(&self, names: Vec<SanType>) -> Arc<CertifiedKey> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = rustls::crypto::ring::default_provider();
        Arc::new(CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider).unwrap())
    }

    /// Replaces `file` as careful programs do.
    fn write(&self, file: &Path) {
        fs::write(file.with_extension("new"), self.0.pem()).unwrap();
        fs::rename(file.with_extension("new"), file).unwrap();
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// The certificate a server shows now.
#[derive(Clone, Debug)]
struct Shown(Arc<Mutex<Arc<CertifiedKey>>>);

impl Shown {
    fn new(certified: Arc<CertifiedKey>) -> Self {
        Self(Arc::new(Mutex::new(certified)))
    }

    fn change(&self, certified: Arc<CertifiedKey>) {
        *self.0.lock().unwrap() = certified;
    }

    fn server(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_cert_resolver(Arc::new(self.clone())))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap()))
    }
}

async fn encrypted(shown: &Shown) -> Simulator {
    Simulator::start(Options { tls: Tls::Starttls(shown.server()), ..Options::default() }).await.unwrap()
}

fn trusting(onsip: &Simulator, ca_file: &Path) -> Setup {
    Setup::of(onsip).xmpp("tls = \"starttls\"").xmpp(&format!("ca_file = \"{}\"", ca_file.display()))
}

#[tokio::test]
async fn b4_a_renewed_authority_counts_for_the_next_connection_without_a_signal() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let shown = Shown::new(old.certify(vec![dns("acme.test")]));
    let onsip = encrypted(&shown).await;
    let jids: [BareJid; 2] = ["anna", "bert"].map(|name| account(&onsip, &format!("{name}@acme.test")));
    let folder = TempDir::new().unwrap();
    let ca_file = folder.path().join("ca.pem");
    old.write(&ca_file);
    let setup = trusting(&onsip, &ca_file).watched().account("anna", &jids[0]).account("bert", &jids[1]);
    let daemon = setup.start_active(2).await;
    new.write(&ca_file);
    daemon.until_count("config_reloads_total", &[("outcome", "applied")], 1).await;
    shown.change(new.certify(vec![dns("acme.test")]));
    onsip.cut(&jids[0]);
    until_observed(&onsip, &daemon, "another log-in", SOON, |seen| seen.count(&jids[0], Request::Login) == 2).await;
    daemon.until_active(2).await;
    assert_eq!(asked(&onsip, &jids[1], Request::Login), 1, "who was not cut off kept the connection");
    // A file that is no good changes nothing, and is named.
    fs::write(&ca_file, "nothing").unwrap();
    daemon.until_count("config_reloads_total", &[("outcome", "failed")], 1).await;
    daemon.until_logged("xmpp.ca_file", SOON).await;
    onsip.cut(&jids[1]);
    until_observed(&onsip, &daemon, "another log-in", SOON, |seen| seen.count(&jids[1], Request::Login) == 2).await;
}

#[tokio::test]
async fn b4_an_authority_that_comes_late_ends_the_refusals_of_a_webhook() {
    let (wrong, right) = (Authority::new("wrong"), Authority::new("right"));
    let acceptor = TlsAcceptor::from(Shown::new(right.certify(vec![dns("localhost")])).server());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
            tokio::spawn(async move {
                // A POST is small and comes whole, its head and its body each with one write.
                let mut bytes = [0; 16 * 1024];
                while tls.read(&mut bytes).await.is_ok_and(|length| length > 0) {
                    if bytes.windows(4).any(|end| end == b"\r\n\r\n") {
                        let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                        let _ = tls.write_all(answer).await;
                    }
                }
            });
        }
    });
    let (onsip, anna) = service_with_anna().await;
    let folder = TempDir::new().unwrap();
    let ca_file = folder.path().join("ca.pem");
    wrong.write(&ca_file);
    let sink = format!("type = \"webhook\"\nurl = \"https://localhost:{port}/\"\nca_file = \"{}\"", ca_file.display());
    let daemon = Setup::of(&onsip).watched().account("anna", &anna).sink("crm", &sink).start_active(1).await;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    let crm = ("sink", "crm");
    daemon.until_count("sink_deliveries_total", &[crm, ("outcome", "retried")], 1).await;
    right.write(&ca_file);
    daemon.until_count("sink_deliveries_total", &[crm, ("outcome", "delivered")], 2).await;
    assert_eq!(asked(&onsip, &anna, Request::Login), 1);
}

#[tokio::test]
async fn b8_a_domain_is_the_same_in_a_labels_and_in_u_labels() {
    let authority = Authority::new("ours");
    let folder = TempDir::new().unwrap();
    let ca_file = folder.path().join("ca.pem");
    authority.write(&ca_file);
    for written in ["anna@münchen.test", "anna@xn--mnchen-3ya.test", "anna@MÜNCHEN.test"] {
        // The certificate has the A-label, and the service knows the account by the U-label of the stream header.
        let onsip = encrypted(&Shown::new(authority.certify(vec![dns("xn--mnchen-3ya.test")]))).await;
        let anna = account(&onsip, "anna@münchen.test");
        let setup = trusting(&onsip, &ca_file).account("anna", &anna);
        let daemon = crate::support::daemon::Daemon::start(&setup.toml().replace(anna.as_str(), written), &[]).await;
        daemon.until_active(1).await;
        let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
        daemon.until_calls(2).await;
    }
}

#[tokio::test]
async fn d10_certificate_with_srv_id_only_is_good_for_its_domain_and_no_other() {
    let authority = Authority::new("ours");
    let folder = TempDir::new().unwrap();
    let ca_file = folder.path().join("ca.pem");
    authority.write(&ca_file);
    let srv = |name: &str| {
        let kind = vec![1, 3, 6, 1, 5, 5, 7, 8, 7];
        authority.certify(vec![SanType::OtherName((kind, OtherNameValue::Utf8String(name.to_owned())))])
    };
    let shown = Shown::new(srv("_xmpp-client.other.test"));
    let onsip = encrypted(&shown).await;
    let anna = account(&onsip, "anna@acme.test");
    let daemon = trusting(&onsip, &ca_file).account("anna", &anna).start().await;
    daemon.until_count("connects_total", &[("outcome", "tls")], 1).await;
    assert_eq!(asked(&onsip, &anna, Request::Login), 0);
    shown.change(srv("_xmpp-client.acme.test"));
    daemon.until_active(1).await;
}

#[tokio::test]
async fn c3_without_tls_a_name_is_not_followed_though_it_leads_to_this_machine() {
    let (onsip, anna) = service_with_anna().await;
    let elsewhere = service().await;
    account(&elsewhere, anna.as_str());
    onsip.send_elsewhere(Some(&format!("localhost:{}", elsewhere.addr().port())));
    let daemon = Setup::of(&onsip).account("anna", &anna).start().await;
    daemon.until_count("connects_total", &[("outcome", "protocol")], 2).await;
    let why = daemon.json("/api/v1/accounts").await[0]["why"].to_string();
    assert!(why.contains("without TLS"), "{why}");
    assert_eq!(elsewhere.observed().connections_ever, 0);
    onsip.send_elsewhere(None);
    daemon.until_active(1).await;
    assert_eq!(elsewhere.observed().connections_ever, 0);
}

#[tokio::test]
async fn c10_a_redirect_to_what_is_no_host_is_a_fault_of_the_protocol() {
    let (onsip, anna, daemon) = running().await;
    onsip.see_other_host(&anna, "no host\u{7f}");
    daemon.until_count("disconnects_total", &[("reason", "protocol")], 1).await;
    daemon.until_logged("see-other-host names no host", SOON).await;
    daemon.until_active(1).await;
    assert_eq!(daemon.count("connects_total", &[("outcome", "network")]).await, 0);
}

#[tokio::test]
async fn c10_a_redirect_to_a_node_that_xml_cannot_carry_costs_the_subscription_and_not_the_connection() {
    let (onsip, anna) = service_with_anna().await;
    onsip.redirect(&node(&anna), "/bad%01node");
    let daemon = Setup::of(&onsip).account("anna", &anna).start().await;
    daemon.until_subscriptions("denied", 1).await;
    assert_eq!(asked(&onsip, &anna, Request::Login), 1);
    assert_eq!(daemon.count("disconnects_total", &[]).await, 0);
}
