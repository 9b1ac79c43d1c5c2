//! Connections to the peer: found, vetted, throttled, encrypted, and watched.
//!
//! Must not know what is posted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::Scheme;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::address;
use super::wire::Watched;
use crate::dial::{self, Fault, OpenError};
use crate::sinks::relay::Stream;
use crate::sinks::throttle::Throttled;

/// Time to connect, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// Makes the connections.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    /// Whether only public addresses may be called.
    public_only: bool,
}

impl Connector {
    pub(super) fn new(trust: ClientConfig, public_only: bool) -> Self {
        Self { tls: Arc::new(trust).into(), public_only }
    }

    async fn connect(self, uri: Uri) -> Result<Watched, String> {
        let encrypted = uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let found = address::find(&host, port, self.public_only).await?;
        let begin = |tcp: TcpStream| {
            let (tls, host) = (self.tls.clone(), host.clone());
            async move {
                let tcp = Throttled::new(tcp);
                let credit = tcp.credit();
                if !encrypted {
                    return Ok(Watched::new(Box::new(tcp), credit, true));
                }
                let failed = |fault: &dyn std::fmt::Display| Fault::Here(fault.to_string());
                let name = ServerName::try_from(host).map_err(|fault| failed(&fault))?;
                let stream = tls.connect(name, tcp).await.map_err(|fault| failed(&fault))?;
                let lines = stream.get_ref().1.alpn_protocol() != Some(b"h2");
                let stream: Box<dyn Stream> = Box::new(stream);
                Ok(Watched::new(stream, credit, lines))
            }
        };
        dial::open(&found, CONNECT, begin).await.map_err(|fault| match fault {
            OpenError::Useless(reason) => reason,
            OpenError::Unreachable(fault) => {
                // The reason first, where it is told behind the address.
                let said = fault.to_string();
                let reason = |address| Some(format!("{} ({address})", said.strip_prefix(&format!("{address}: "))?));
                found.iter().find_map(reason).unwrap_or(said.clone())
            }
        })
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Watched>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Watched>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timeout(CONNECT, self.clone().connect(uri));
        Box::pin(async move {
            let made = connecting.await.unwrap_or_else(|_| Err(format!("no answer within {CONNECT:?}")));
            made.map(TokioIo::new).map_err(io::Error::other)
        })
    }
}
