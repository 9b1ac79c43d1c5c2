//! TLS for all connections to the server: one shared client configuration, which is made anew where the files it was
//! read from may have changed.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::stream::Transport;
use crate::protocol::link::Failure;
use crate::tls;

/// The services a certificate may name (RFC 6120 section 13.7.1.2, XEP-0368).
const SERVICES: &[&str] = &["_xmpp-client", "_xmpps-client"];

/// Makes TLS connections.
pub(super) struct Tls {
    ca_file: Option<PathBuf>,
    /// For the next connection.
    connector: Mutex<TlsConnector>,
}

impl Tls {
    /// Trusts the system's certificate authorities and those of `ca_file`.
    pub(super) fn new(ca_file: Option<PathBuf>) -> io::Result<Self> {
        let connector = Mutex::new(connector(ca_file.as_ref())?);
        Ok(Self { ca_file, connector })
    }

    /// Reads the certificate authorities again, for connections from now on. A fault leaves things as they are.
    pub(super) fn renew(&self) -> io::Result<()> {
        let new = connector(self.ca_file.as_ref())?;
        *self.connector.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Does the handshake; the certificate must be valid for `name`, a name as DNS writes it.
    pub(super) async fn handshake(&self, tcp: TcpStream, name: &str) -> Result<Transport, Failure> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| Failure::Tls(format!("{name} is no name a certificate can carry")))?;
        let connector = self.connector.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let connected = connector.connect(server, tcp).await;
        connected.map(|tls| Transport::Tls(Box::new(tls))).map_err(|fault| failure(&fault))
    }
}

fn connector(ca_file: Option<&PathBuf>) -> io::Result<TlsConnector> {
    let config = tls::client_of_service(ca_file.map(PathBuf::as_path), SERVICES)?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A fault of the handshake itself is about TLS; one of the transport below is not.
fn failure(fault: &io::Error) -> Failure {
    match fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => Failure::Tls(tls.to_string()),
        None => Failure::Network(format!("TLS handshake: {fault}")),
    }
}
