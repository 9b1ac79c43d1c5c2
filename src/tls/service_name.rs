//! Certificates that carry a domain as the name of a service: SRV-ID (RFC 4985) and XMPP address (RFC 6120 section
//! 13.7.1.4), which the usual verifier does not know.
//!
//! * The chain is always verified by the library; only the comparison of names is done here.
//! * Name constraints say nothing of these names as far as the library reads them. So what is below a constrained
//!   authority is not believed in them.
//!
//! Must not know any protocol that runs over TLS.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::{Any, FromDer, Tag};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::asn1_rs::{Oid, oid};

use crate::domain::host;

/// `id-on-dnsSRV` (RFC 4985 section 2).
const SRV_NAME: Oid<'static> = oid!(1.3.6.1.5.5.7.8.7);
/// `id-on-xmppAddr` (RFC 6120 section 13.7.1.4).
const XMPP_ADDRESS: Oid<'static> = oid!(1.3.6.1.5.5.7.8.5);

/// The usual verifier, and what it does not know.
#[derive(Debug)]
pub(super) struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    /// Those authorities that are bound to no names.
    unconstrained: RootCertStore,
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    services: &'static [&'static str],
}

impl Verifier {
    pub(super) fn new(
        usual: Arc<WebPkiServerVerifier>,
        roots: &RootCertStore,
        provider: &CryptoProvider,
        services: &'static [&'static str],
    ) -> Self {
        let roots = roots.roots.iter().filter(|anchor| anchor.name_constraints.is_none()).cloned().collect();
        let algorithms = provider.signature_verification_algorithms.all;
        Self { usual, unconstrained: RootCertStore { roots }, algorithms, services }
    }

    /// Whether the chain is good and the certificate carries `domain` as the name of a service.
    fn carries(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        domain: &str,
        now: UnixTime,
    ) -> Result<bool, Error> {
        let carried = names(certificate).is_some_and(|names| {
            names.iter().any(|name| match name {
                Name::Service(name) => self.services.iter().any(|service| is_service(name, service, domain)),
                Name::Address(name) => host::ascii(name).is_some_and(|name| name == domain),
            })
        });
        if !carried || !intermediates.iter().all(is_unconstrained) {
            return Ok(false);
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        let (roots, algorithms) = (&self.unconstrained, self.algorithms);
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        Ok(true)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usual = self.usual.verify_server_cert(certificate, intermediates, name, ocsp, now);
        match (&usual, name) {
            (
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )),
                ServerName::DnsName(domain),
            ) => {
                let domain = host::ascii(domain.as_ref());
                match domain.map(|domain| self.carries(certificate, intermediates, &domain, now)) {
                    Some(Ok(true)) => Ok(ServerCertVerified::assertion()),
                    Some(Ok(false) | Err(_)) | None => usual,
                }
            }
            _ => usual,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Whether `name` is `service` at `domain`, which is in A-labels. There are no wildcards in these names.
fn is_service(name: &str, service: &str, domain: &str) -> bool {
    let at = name.get(..service.len()).filter(|start| start.eq_ignore_ascii_case(service));
    let rest = at.and_then(|_| name[service.len()..].strip_prefix('.'));
    rest.and_then(host::ascii).is_some_and(|rest| rest == domain)
}

/// A name in a certificate that is for a service.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    Service(String),
    Address(String),
}

fn names(certificate: &CertificateDer<'_>) -> Option<Vec<Name>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let read = |name: &GeneralName<'_>| match name {
        GeneralName::OtherName(kind, value) if *kind == SRV_NAME => text(value).map(Name::Service),
        GeneralName::OtherName(kind, value) if *kind == XMPP_ADDRESS => text(value).map(Name::Address),
        _ => None,
    };
    Some(names.value.general_names.iter().filter_map(read).collect())
}

/// The text in the value of an `otherName`: an `IA5String` or `UTF8String`, perhaps still within its explicit tag.
fn text(value: &[u8]) -> Option<String> {
    let (_, any) = Any::from_der(value).ok()?;
    let inner = if any.tag().0 == 0 { Any::from_der(any.data).ok()?.1 } else { any };
    let is_text = matches!(inner.tag(), Tag::Ia5String | Tag::Utf8String);
    std::str::from_utf8(inner.data).ok().filter(|_| is_text).map(str::to_owned)
}

fn is_unconstrained(certificate: &CertificateDer<'_>) -> bool {
    let parsed = X509Certificate::from_der(certificate);
    parsed.is_ok_and(|(_, certificate)| matches!(certificate.name_constraints(), Ok(None)))
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, GeneralSubtree, IsCa, KeyPair, NameConstraints,
        OtherNameValue, SanType,
    };

    use super::*;
    use crate::tls::client_of_service;

    const SRV: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 8, 7];
    const ADDRESS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 8, 5];

    /// Whether a certificate that carries these names counts for `domain`.
    fn counts(names: &[(&[u64], &str)], domain: &str, constraints: Option<NameConstraints>) -> bool {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.name_constraints = constraints;
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names
            .iter()
            .map(|(kind, name)| SanType::OtherName((kind.to_vec(), OtherNameValue::Utf8String((*name).to_owned()))))
            .chain([SanType::DnsName(Ia5String::try_from("host.other.test").unwrap())])
            .collect();
        let certificate = params.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let (roots, provider) = (Arc::new(roots), super::super::provider());
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let verifier = Verifier::new(usual.build().unwrap(), &roots, &provider, &["_xmpp-client"]);
        let name = ServerName::try_from(domain).unwrap();
        verifier.verify_server_cert(certificate.der(), &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn d10_certificate_with_srv_id_only_counts_for_that_domain_and_service() {
        let srv = |name| counts(&[(SRV, name)], "acme.test", None);
        assert!(srv("_xmpp-client.acme.test") && srv("_XMPP-Client.ACME.test") && srv("_xmpp-client.acme.test."));
        for other in
            ["_xmpp-server.acme.test", "acme.test", "_xmpp-client.b.test", "_xmpp-client.*.test", "_xmpp-client", ""]
        {
            assert!(!srv(other), "{other}");
        }
        assert!(counts(&[(SRV, "_xmpp-client.xn--mnchen-3ya.test")], "xn--mnchen-3ya.test", None));
        assert!(counts(&[(ADDRESS, "m\u{fc}nchen.test")], "xn--mnchen-3ya.test", None));
        assert!(counts(&[(ADDRESS, "acme.test")], "acme.test", None));
        assert!(!counts(&[(ADDRESS, "a@acme.test")], "acme.test", None));
        assert!(counts(&[], "host.other.test", None), "the usual names count as ever");
        assert!(!counts(&[], "acme.test", None));
    }

    #[test]
    fn d10_srv_id_below_an_authority_that_is_bound_to_names_is_not_believed() {
        let bound = NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("other.test".to_owned())],
            excluded_subtrees: Vec::new(),
        };
        assert!(!counts(&[(SRV, "_xmpp-client.acme.test")], "acme.test", Some(bound)));
    }

    #[test]
    fn d10_srv_id_is_read_from_an_ia5_string_too() {
        // [0] EXPLICIT IA5String "_a", and the string alone.
        assert_eq!(text(&[0xa0, 4, 0x16, 2, b'_', b'a']).as_deref(), Some("_a"));
        assert_eq!(text(&[0x16, 2, b'_', b'a']).as_deref(), Some("_a"));
        for bad in [&[] as &[u8], &[0xa0], &[0xa0, 4, 0x16], &[2, 1, 1], &[0xa0, 0]] {
            assert_eq!(text(bad), None);
        }
    }

    #[test]
    fn a_client_of_a_service_can_be_made() {
        assert!(client_of_service(None, &["_xmpp-client"]).is_ok());
    }
}
