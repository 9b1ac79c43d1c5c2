//! TLS for all connections to the server: one shared client configuration.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::stream::Transport;
use crate::protocol::link::Failure;
use crate::tls;

/// Makes TLS connections.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Trusts the system's certificate authorities and those of `ca_file`.
    pub(super) fn new(ca_file: Option<&Path>) -> io::Result<Self> {
        Ok(Self(TlsConnector::from(Arc::new(tls::client(ca_file, None)?))))
    }

    /// Does the handshake; the certificate must be valid for `name`.
    pub(super) async fn handshake(&self, tcp: TcpStream, name: &str) -> Result<Transport, Failure> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| Failure::Tls(format!("{name} is no name a certificate can carry")))?;
        let connected = self.0.connect(server, tcp).await;
        connected.map(|tls| Transport::Tls(Box::new(tls))).map_err(|fault| failure(&fault))
    }
}

/// A fault of the handshake itself is about TLS; one of the transport below is not.
fn failure(fault: &io::Error) -> Failure {
    match fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => Failure::Tls(tls.to_string()),
        None => Failure::Network(format!("TLS handshake: {fault}")),
    }
}
