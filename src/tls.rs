//! TLS of every outgoing connection: system roots plus an operator's own, and one crypto provider for the whole tree.
//!
//! Must not know who connects to what.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

mod service_name;
use crate::domain::limits::CONFIGURATION_FILE;
use crate::settings::files;

/// A certificate to show to the server, and its key: PEM files.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The certificate, with those between it and its authority.
    pub certificate: &'a Path,
    /// Its private key.
    pub key: &'a Path,
}

/// A client that trusts the system's certificate authorities and those of `ca_file`, and shows `identity` if asked.
///
/// # Errors
/// If a file cannot be read or holds something else.
pub fn client(ca_file: Option<&Path>, identity: Option<Identity<'_>>) -> io::Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots(ca_file)?);
    match identity {
        None => Ok(config.with_no_client_auth()),
        Some(Identity { certificate, key }) => {
            let key = files::read_bytes(key, CONFIGURATION_FILE)?;
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(io::Error::other)?;
            config.with_client_auth_cert(certificates(certificate)?, key).map_err(io::Error::other)
        }
    }
}

/// A client that trusts the same, of servers whose certificates may also carry their domain as the name of a service: as
/// an SRV-ID for one of `services`, e.g. `_xmpp-client`, or as an XMPP address (RFC 6120 section 13.7.1.2).
///
/// # Errors
/// As [`client`].
pub fn client_of_service(ca_file: Option<&Path>, services: &'static [&'static str]) -> io::Result<ClientConfig> {
    let (roots, provider) = (Arc::new(roots(ca_file)?), provider());
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
    let usual = usual.build().map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous() // it asks the usual one, and where only the name is not found, looks for it in the other forms
        .with_custom_certificate_verifier(Arc::new(service_name::Verifier::new(usual, &roots, &provider, services)));
    Ok(config.with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(ca_file: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(io::Error::other)?;
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = files::read_bytes(path, CONFIGURATION_FILE)?;
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(io::Error::other)
}

/// What is wrong with a PEM file of certificate authorities, as a sentence for the operator.
///
/// # Errors
/// That sentence.
pub fn check_authorities(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let pem = files::read_bytes(path, CONFIGURATION_FILE).map_err(|fault| format!("{shown}: {fault}"))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|_| format!("{shown} is no well-formed PEM file"))?;
    match RootCertStore::empty().add_parsable_certificates(certificates) {
        (0, 0) => Err(format!("{shown} holds no PEM certificate")),
        (_, 0) => Ok(()),
        (_, bad) => Err(format!("{shown} holds {bad} certificates that cannot be read")),
    }
}
