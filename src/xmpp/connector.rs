//! From a domain to an open XML stream: look-ups, TCP, TLS.
//!
//! * Every address is tried, in the order of SRV priorities and weights: see [`dial`].
//! * A redirect leads only to where it can do no harm: without TLS to a literal of this machine, else to a public address,
//!   or to one of the kind that the server itself has. What a name leads to decides, not the name.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::options::{Options, Tls as Mode};
use super::srv::{Answer, Resolver, Target};
use super::stream::{Frame, Patience, Stream, Transport};
use super::tls::Tls;
use super::{exchange, failure};
use crate::dial::kind::Kind;
use crate::dial::{self, Fault, OpenError};
use crate::domain::host::{self, HostAndPort};
use crate::domain::limits::ADDRESSES;
use crate::protocol::link::Failure;
use crate::protocol::stanza::{self, Features};

/// Opens streams; cheap to clone.
#[derive(Clone)]
pub struct Connector {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    tls: Option<Tls>,
    resolver: Resolver,
}

/// A stream that is ready for a log-in.
pub(super) struct Opened {
    pub(super) stream: Stream,
    /// What the server offers on it.
    pub(super) offered: Features,
    /// Whether a password may be sent over it.
    pub(super) private: bool,
}

impl Connector {
    /// Prepares for `options`.
    ///
    /// # Errors
    /// If certificate authorities cannot be read.
    pub fn new(options: Options) -> io::Result<Self> {
        Self::with(options, Resolver::new())
    }

    fn with(options: Options, resolver: Resolver) -> io::Result<Self> {
        let tls = match options.tls {
            Mode::Starttls | Mode::Direct => Some(Tls::new(options.ca_file.clone())?),
            Mode::Off => None,
        };
        Ok(Self { inner: Arc::new(Inner { options, tls, resolver }) })
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Reads the certificate authorities again, for the connections to come; those that stand are left alone.
    ///
    /// # Errors
    /// If they cannot be read; then nothing changes.
    pub fn renew(&self) -> io::Result<()> {
        self.inner.tls.as_ref().map_or(Ok(()), Tls::renew)
    }

    /// Opens a stream for `domain`, at `instead` where the server named another host.
    /// Calls `answered` whenever a server begins a stream.
    pub(super) async fn open(
        &self,
        domain: &str,
        instead: Option<&str>,
        answered: &impl Fn(),
    ) -> Result<Opened, Failure> {
        let deadline = Instant::now() + self.inner.options.request_timeout;
        let (groups, doubt) = match instead {
            Some(other) => (vec![vec![self.other(other)?]], None),
            None => self.targets(domain).await?,
        };
        let mut failure = Failure::Network(format!("no server is known for {domain}"));
        for (place, group) in groups.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let attempt = self.open_any(domain, group, instead.is_some(), left, answered);
            // Each priority gets its share of the time; the last one may take what is left.
            let shares = u32::try_from(groups.len() - place).unwrap_or(u32::MAX);
            let outcome = if shares > 1 {
                timeout(left / shares, attempt).await.unwrap_or(Err(Failure::Timeout))
            } else {
                attempt.await
            };
            match outcome {
                Err(fault) if is_of_this_address(&fault) => failure = fault,
                outcome => return outcome,
            }
        }
        Err(match (failure, doubt) {
            (Failure::Network(why), Some(doubt)) => Failure::Network(format!("{why} (no SRV records: {doubt})")),
            (failure, _) => failure,
        })
    }

    /// Opens a stream at the first address of `group` at which that works.
    async fn open_any(
        &self,
        domain: &str,
        group: &[Target],
        redirected: bool,
        patience: Duration,
        answered: &impl Fn(),
    ) -> Result<Opened, Failure> {
        let found = addresses(group, patience).await?;
        if redirected {
            self.vet(domain, &found).await?;
        }
        let begin = |tcp| async move {
            self.begin_on(domain, tcp, answered)
                .await
                .map_err(|fault| if is_of_this_address(&fault) { Fault::Here(fault) } else { Fault::Everywhere(fault) })
        };
        dial::open(&found, patience, begin).await.map_err(|fault| match fault {
            OpenError::Unreachable(fault) => Failure::Network(format!("cannot connect to {}: {fault}", shown(group))),
            OpenError::Useless(failure) => failure,
        })
    }

    async fn begin_on(&self, domain: &str, tcp: TcpStream, answered: &impl Fn()) -> Result<Opened, Failure> {
        let name = self.inner.options.tls_name.clone().or_else(|| host::ascii(domain));
        let name = name.unwrap_or_else(|| domain.to_owned());
        let transport = match (&self.inner.tls, self.inner.options.tls) {
            (Some(tls), Mode::Direct) => tls.handshake(tcp, &name).await?,
            (Some(tls), Mode::Starttls | Mode::Off) => {
                let tcp = self.upgrade(domain, tcp).await?;
                answered();
                tls.handshake(tcp, &name).await?
            }
            // The configuration allows this for loopback addresses only.
            (None, _) => Transport::Plain(tcp),
        };
        let mut stream = self.begin(domain, transport).await?;
        let offered = exchange::features(&mut stream).await?;
        answered();
        Ok(Opened { stream, offered, private: true })
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

    /// The host that a server named in place of itself. It may say little without TLS: whoever is in between could.
    fn other(&self, named: &str) -> Result<Target, Failure> {
        let options = &self.inner.options;
        let HostAndPort { host, port } = HostAndPort::read(named)
            .ok_or_else(|| Failure::Protocol("the server sent us to what is no host".to_owned()))?;
        if self.inner.tls.is_none() && !host::address(&host).is_some_and(|address| address.is_loopback()) {
            return Err(Failure::Protocol(format!(
                "the server sent us to {host}; without TLS only addresses of this machine are followed"
            )));
        }
        Ok(Target { host, port: port.unwrap_or(options.port) })
    }

    /// Whether the server of `domain` may send us to `found`. One address of the wrong kind spoils them all.
    async fn vet(&self, domain: &str, found: &[SocketAddr]) -> Result<(), Failure> {
        let kinds: Vec<_> = found.iter().map(|address| (address.ip(), Kind::of(address.ip()))).collect();
        if kinds.iter().all(|(_, kind)| *kind == Kind::Public) {
            return Ok(());
        }
        let (groups, _) = self.targets(domain).await?;
        let own = addresses(&groups.concat(), self.inner.options.request_timeout).await?;
        let own: Vec<_> = own.iter().map(|address| Kind::of(address.ip())).collect();
        match kinds.iter().find(|(_, kind)| !kind.may_be_named_by(&own)) {
            None => Ok(()),
            Some((address, kind)) => Err(Failure::Protocol(format!(
                "the server sent us to {address}, {kind}, and has none of that kind itself: not followed"
            ))),
        }
    }

    /// The hosts that serve `domain`, by priority, and why that may not be all there is to know.
    async fn targets(&self, domain: &str) -> Result<(Vec<Vec<Target>>, Option<String>), Failure> {
        let options = &self.inner.options;
        if let Some(host) = &options.host {
            return Ok((vec![vec![Target { host: host.clone(), port: options.port }]], None));
        }
        let (service, usual_port) = match options.tls {
            Mode::Direct => ("_xmpps-client._tcp", 5223),
            Mode::Starttls | Mode::Off => ("_xmpp-client._tcp", 5222),
        };
        let name = host::ascii(domain).unwrap_or_else(|| domain.to_owned());
        let itself = vec![vec![Target { host: name.clone(), port: usual_port }]];
        if host::address(&name).is_some() {
            return Ok((itself, None));
        }
        let service = format!("{service}.{name}");
        let answer = timeout(options.request_timeout / 3, self.inner.resolver.targets(&service)).await;
        match answer.unwrap_or_else(|_| Answer::Unknown("no answer in time".to_owned())) {
            Answer::Targets(groups) => Ok((groups, None)),
            Answer::Nothing => Ok((itself, None)),
            Answer::Unknown(why) => Ok((itself, Some(why))),
            Answer::NotServed => Err(Failure::Network(format!(
                "the DNS of {domain} says that it has no XMPP service (the SRV target of {service} is `.`)"
            ))),
        }
    }
}

/// The addresses of `targets`, in their order. A look-up that fails or takes long does not hold up the others.
async fn addresses(targets: &[Target], patience: Duration) -> Result<Vec<SocketAddr>, Failure> {
    let share = if targets.len() > 1 { patience / 3 } else { patience };
    let look_ups = targets.iter().map(|target| async move {
        match timeout(share, dial::addresses(&target.host, target.port)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(fault)) => Err(Failure::Network(format!("{} was not found: {fault}", target.host))),
            Err(_) => Err(Failure::Network(format!("{} was not found: no answer in time", target.host))),
        }
    });
    let (mut all, mut failure) = (Vec::new(), Failure::Network("no server is named".to_owned()));
    for found in join_all(look_ups).await {
        match found {
            Ok(found) => all.extend(found),
            Err(fault) => failure = fault,
        }
    }
    all.truncate(ADDRESSES);
    if all.is_empty() { Err(failure) } else { Ok(all) }
}

/// Whether another address of the same service may do better.
fn is_of_this_address(failure: &Failure) -> bool {
    match failure {
        Failure::Network(_) | Failure::Timeout | Failure::Tls(_) | Failure::Protocol(_) => true,
        Failure::Refused(_) | Failure::Throttled(_) | Failure::NoMechanism(_) | Failure::Redirected(_) => false,
    }
}

fn shown(targets: &[Target]) -> String {
    targets.iter().map(|target| format!("{}:{}", target.host, target.port)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
