//! From a domain to an open XML stream: SRV look-up, TCP, TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use rand::RngExt;
use tokio::net::TcpStream;

use super::options::{Options, Tls as Mode};
use super::stream::{Frame, Patience, Stream, Transport};
use super::tls::Tls;
use super::{exchange, failure};
use crate::protocol::link::Failure;
use crate::protocol::stanza;

/// Opens streams; cheap to clone.
#[derive(Clone)]
pub struct Connector {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    tls: Option<Tls>,
    resolver: Option<TokioResolver>,
}

/// A stream whose header was sent.
pub(super) struct Opened {
    pub(super) stream: Stream,
    /// Whether a password may be sent over it.
    pub(super) private: bool,
}

impl Connector {
    /// Prepares for `options`.
    ///
    /// # Errors
    /// If certificate authorities or the resolver's configuration cannot be read.
    pub fn new(options: Options) -> io::Result<Self> {
        let tls = match options.tls {
            Mode::Starttls | Mode::Direct => Some(Tls::new(options.ca_file.as_deref())?),
            Mode::Off => None,
        };
        let resolver = match options.host {
            Some(_) => None,
            None => Some(TokioResolver::builder_tokio().map_err(io::Error::other)?.build().map_err(io::Error::other)?),
        };
        Ok(Self { inner: Arc::new(Inner { options, tls, resolver }) })
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Opens a stream for `domain`, at `instead` where the server named another host.
    pub(super) async fn open(&self, domain: &str, instead: Option<&str>) -> Result<Opened, Failure> {
        let tcp = self.tcp(domain, instead).await?;
        let name = self.inner.options.tls_name.as_deref().unwrap_or(domain);
        let transport = match (&self.inner.tls, self.inner.options.tls) {
            (Some(tls), Mode::Direct) => tls.handshake(tcp, name).await?,
            (Some(tls), Mode::Starttls | Mode::Off) => {
                let tcp = self.upgrade(domain, tcp).await?;
                tls.handshake(tcp, name).await?
            }
            // The configuration allows this for loopback addresses only.
            (None, _) => Transport::Plain(tcp),
        };
        Ok(Opened { stream: self.begin(domain, transport).await?, private: true })
    }

    /// Silence until the ping, and from there until the link counts as dead.
    fn patience(&self) -> Patience {
        Patience {
            quiet: self.inner.options.ping_interval,
            response: self.inner.options.request_timeout.max(Duration::from_millis(1)),
        }
    }

    async fn begin(&self, domain: &str, transport: Transport) -> Result<Stream, Failure> {
        Stream::begin(transport, domain, self.patience()).await.map_err(|fault| failure::of_io(&fault))
    }

    /// The STARTTLS exchange (RFC 6120 section 5).
    async fn upgrade(&self, domain: &str, tcp: TcpStream) -> Result<TcpStream, Failure> {
        let mut stream = self.begin(domain, Transport::Plain(tcp)).await?;
        if !exchange::features(&mut stream).await?.tls {
            return Err(Failure::Tls("the server offers no TLS".to_owned()));
        }
        exchange::send(&mut stream, &stanza::start_tls()).await?;
        let consent = match exchange::receive(&mut stream).await? {
            Frame::Element(element) => stanza::proceeds_with_tls(&element),
            Frame::Note(_) | Frame::Management(_) | Frame::Oversize { .. } => false,
        };
        match stream.into_transport().map_err(|fault| failure::of_io(&fault))? {
            Transport::Plain(tcp) if consent => Ok(tcp),
            Transport::Plain(_) | Transport::Tls(_) => {
                Err(Failure::Tls("the server did not proceed with TLS".to_owned()))
            }
        }
    }

    async fn tcp(&self, domain: &str, instead: Option<&str>) -> Result<TcpStream, Failure> {
        let mut newest = None;
        for (host, port) in self.hosts(domain, instead).await {
            match TcpStream::connect((host.as_str(), port)).await {
                Ok(tcp) => {
                    let _ = tcp.set_nodelay(true);
                    return Ok(tcp);
                }
                Err(fault) => newest = Some(Failure::Network(format!("cannot connect to {host}:{port}: {fault}"))),
            }
        }
        Err(newest.unwrap_or_else(|| Failure::Network(format!("no server is known for {domain}"))))
    }

    async fn hosts(&self, domain: &str, instead: Option<&str>) -> Vec<(String, u16)> {
        let options = &self.inner.options;
        if let Some(other) = instead {
            return vec![split_port(other, options.port)];
        }
        match (&options.host, &self.inner.resolver) {
            (Some(host), _) => vec![(host.clone(), options.port)],
            (None, Some(resolver)) => self.srv(resolver, domain).await,
            (None, None) => vec![(domain.to_owned(), options.port)],
        }
    }

    /// SRV records by priority, then by weight at random (RFC 2782); without any, the domain itself.
    async fn srv(&self, resolver: &TokioResolver, domain: &str) -> Vec<(String, u16)> {
        let (service, usual_port) = match self.inner.options.tls {
            Mode::Direct => ("_xmpps-client._tcp", 5223),
            Mode::Starttls | Mode::Off => ("_xmpp-client._tcp", 5222),
        };
        let found = resolver.srv_lookup(format!("{service}.{domain}.")).await;
        let mut records: Vec<_> = found
            .iter()
            .flat_map(hickory_resolver::lookup::Lookup::answers)
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => {
                    let luck = rand::rng().random::<f64>().powf(1.0 / f64::from(srv.weight.max(1)));
                    Some((srv.priority, 1.0 - luck, srv.target.to_ascii().trim_end_matches('.').to_owned(), srv.port))
                }
                _ => None,
            })
            .collect();
        records.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        if records.is_empty() {
            return vec![(domain.to_owned(), usual_port)];
        }
        records.into_iter().map(|(_, _, host, port)| (host, port)).collect()
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port` (RFC 6120 section 4.9.3.19).
fn split_port(text: &str, usual: u16) -> (String, u16) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return (host.to_owned(), rest.strip_prefix(':').and_then(|port| port.parse().ok()).unwrap_or(usual));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host.to_owned(), port.parse().unwrap_or(usual)),
        Some(_) | None => (text.to_owned(), usual),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_configured_host_is_used_and_only_without_one_the_domain_is_looked_up() {
        let mut options = Options {
            host: Some("127.0.0.9".to_owned()),
            port: 5333,
            tls: Mode::Off,
            ca_file: None,
            tls_name: None,
            concurrent_logins: 1,
            request_timeout: Duration::from_secs(1),
            ping_interval: Duration::from_secs(1),
        };
        let named = Connector::new(options.clone()).unwrap();
        assert!(named.inner.resolver.is_none(), "nothing is looked up");
        assert_eq!(named.hosts("acme.test", None).await, [("127.0.0.9".to_owned(), 5333)]);
        assert_eq!(named.hosts("acme.test", Some("b.test")).await, [("b.test".to_owned(), 5333)]);
        options.host = None;
        assert!(Connector::new(options).unwrap().inner.resolver.is_some());
    }

    #[test]
    fn another_host_may_carry_a_port() {
        assert_eq!(split_port("b.test", 5222), ("b.test".to_owned(), 5222));
        assert_eq!(split_port("b.test:5269", 5222), ("b.test".to_owned(), 5269));
        assert_eq!(split_port("[::1]:5269", 5222), ("::1".to_owned(), 5269));
        assert_eq!(split_port("[::1]", 5222), ("::1".to_owned(), 5222));
        assert_eq!(split_port("::1", 5222), ("::1".to_owned(), 5222));
    }
}
