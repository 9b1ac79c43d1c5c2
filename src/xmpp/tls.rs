//! TLS for all connections: one shared client configuration, system roots plus the operator's own.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::protocol::link::Failure;

/// Makes TLS connections.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Loads the system's certificate authorities and those of `ca_file`.
    pub(super) fn new(ca_file: Option<&Path>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            for certificate in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
                roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Does the handshake; the certificate must be valid for `name`.
    pub(super) async fn handshake(&self, tcp: TcpStream, name: &str) -> Result<TlsStream<TcpStream>, Failure> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| Failure::Tls(format!("{name} is no name a certificate can carry")))?;
        self.0.connect(server, tcp).await.map_err(|fault| failure(&fault))
    }
}

/// A fault of the handshake itself is about TLS; one of the transport below is not.
fn failure(fault: &io::Error) -> Failure {
    match fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => Failure::Tls(tls.to_string()),
        None => Failure::Network(format!("TLS handshake: {fault}")),
    }
}
