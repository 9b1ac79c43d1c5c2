//! Which hosts serve a domain: its SRV records (RFC 2782).
//!
//! The resolver's configuration is read again before each look-up, so that a network that comes later, or another one, is
//! taken over. Must not know what is spoken with a host.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::system_conf::parse_resolv_conf;
use rand::RngExt;
use tokio::task::spawn_blocking;

use crate::domain::limits::SRV_TARGETS;

/// Where the system says which servers to ask.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long it counts at most that there is no record: one may be made, and a network that is not yet up has servers that
/// know nothing.
const NOTHING_FOUND: Duration = Duration::from_secs(30);

/// A host and a port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Name or address.
    pub(super) host: String,
    /// TCP port.
    pub(super) port: u16,
}

/// What a look-up brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Hosts: those of one priority together, the first to be tried first.
    Targets(Vec<Vec<Target>>),
    /// The service is decidedly not there: the only target is `.`.
    NotServed,
    /// No records.
    Nothing,
    /// No answer, and why.
    Unknown(String),
}

/// Looks records up; shared by all accounts.
#[derive(Clone)]
pub(super) struct Resolver {
    file: PathBuf,
    /// The port of the servers, where it is not the usual one.
    port: Option<u16>,
    kept: Arc<Mutex<Option<Kept>>>,
}

struct Kept {
    /// What the file held.
    text: Vec<u8>,
    resolver: TokioResolver,
}

impl Resolver {
    /// Asks the servers that the system names.
    pub(super) fn new() -> Self {
        Self::of(PathBuf::from(RESOLV_CONF), None)
    }

    pub(super) fn of(file: PathBuf, port: Option<u16>) -> Self {
        Self { file, port, kept: Arc::default() }
    }

    /// Looks up the records of `name`, e.g. `_xmpp-client._tcp.example.com`.
    pub(super) async fn targets(&self, name: &str) -> Answer {
        let this = self.clone();
        let resolver = match spawn_blocking(move || this.current()).await.map_err(io::Error::other).flatten() {
            Ok(resolver) => resolver,
            Err(fault) => return Answer::Unknown(format!("{}: {fault}", self.file.display())),
        };
        match resolver.srv_lookup(format!("{name}.")).await {
            Ok(found) => sorted(&found),
            Err(fault) if fault.is_no_records_found() => Answer::Nothing,
            Err(fault) => Answer::Unknown(fault.to_string()),
        }
    }

    /// The resolver for the file as it is now.
    fn current(&self) -> io::Result<TokioResolver> {
        let text = std::fs::read(&self.file)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.text == text) {
            return Ok(kept.resolver.clone());
        }
        let (mut config, mut options) = parse_resolv_conf(&text).map_err(io::Error::other)?;
        for connection in config.name_servers.iter_mut().flat_map(|server| &mut server.connections) {
            connection.port = self.port.unwrap_or(connection.port);
        }
        options.negative_max_ttl = Some(NOTHING_FOUND);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(io::Error::other)?;
        *kept = Some(Kept { text, resolver: resolver.clone() });
        Ok(resolver)
    }
}

/// By priority, and within one by weight at random.
fn sorted(found: &Lookup) -> Answer {
    let mut records: Vec<_> = found
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => {
                let luck = rand::rng().random::<f64>().powf(1.0 / f64::from(srv.weight.max(1)));
                let host = srv.target.to_ascii().trim_end_matches('.').to_owned();
                Some((srv.priority, 1.0 - luck, Target { host, port: srv.port }))
            }
            _ => None,
        })
        .collect();
    if records.is_empty() {
        return Answer::Nothing;
    }
    records.retain(|(_, _, target)| !target.host.is_empty());
    if records.is_empty() {
        return Answer::NotServed;
    }
    records.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    records.truncate(SRV_TARGETS);
    let groups = records.chunk_by(|a, b| a.0 == b.0);
    Answer::Targets(groups.map(|group| group.iter().map(|(_, _, target)| target.clone()).collect()).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
    use hickory_resolver::proto::rr::rdata::SRV;
    use hickory_resolver::proto::rr::{Name, Record};
    use tokio::net::UdpSocket;

    use super::*;

    /// A name server on this machine that has these records (priority, weight, port, target) for whatever is asked; none
    /// means that the name is unknown. Returns its port.
    pub(in crate::xmpp) async fn name_server(records: Vec<(u16, u16, u16, String)>) -> u16 {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                let mut message = Message::from_vec(&buffer[..length]).unwrap();
                message.metadata.message_type = MessageType::Response;
                message.additionals.clear();
                message.edns = None;
                let name = message.queries[0].name().clone();
                if records.is_empty() {
                    message.metadata.response_code = ResponseCode::NXDomain;
                }
                for (priority, weight, port, target) in &records {
                    let target = Name::from_ascii(target).unwrap();
                    let data = RData::SRV(SRV::new(*priority, *weight, *port, target));
                    message.add_answer(Record::from_rdata(name.clone(), 60, data));
                }
                socket.send_to(&message.to_vec().unwrap(), peer).await.unwrap();
            }
        });
        port
    }

    pub(in crate::xmpp) fn resolv_conf(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    async fn answered(records: &[(u16, u16, u16, &str)]) -> Answer {
        let records = records.iter().map(|(a, b, c, target)| (*a, *b, *c, (*target).to_owned())).collect();
        let file = resolv_conf("nameserver 127.0.0.1\n");
        let resolver = Resolver::of(file.path().to_owned(), Some(name_server(records).await));
        resolver.targets("_xmpp-client._tcp.acme.test").await
    }

    fn target(host: &str, port: u16) -> Target {
        Target { host: host.to_owned(), port }
    }

    #[tokio::test]
    async fn targets_come_by_priority() {
        let answer = answered(&[(20, 0, 5224, "c.test."), (10, 1, 5223, "b.test."), (5, 0, 5222, "a.test.")]).await;
        let groups = [("a.test", 5222), ("b.test", 5223), ("c.test", 5224)];
        assert_eq!(answer, Answer::Targets(groups.map(|(host, port)| vec![target(host, port)]).to_vec()));
        let Answer::Targets(groups) = answered(&[(1, 5, 1, "a.test."), (1, 5, 2, "b.test."), (2, 0, 3, ".")]).await
        else {
            unreachable!()
        };
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
    }

    #[tokio::test]
    async fn d7_srv_target_of_a_dot_says_that_the_service_is_not_there() {
        assert_eq!(answered(&[(0, 0, 0, ".")]).await, Answer::NotServed);
        assert_eq!(answered(&[]).await, Answer::Nothing);
    }

    #[tokio::test]
    async fn b3_a_resolver_that_is_configured_later_is_asked_then() {
        let file = resolv_conf("");
        let port = name_server(vec![(0, 0, 5222, "a.test.".to_owned())]).await;
        let resolver = Resolver::of(file.path().to_owned(), Some(port));
        for text in ["", "# nothing yet\n", "search x.test\n"] {
            std::fs::write(file.path(), text).unwrap();
            let answer = resolver.targets("_xmpp-client._tcp.acme.test").await;
            assert!(matches!(answer, Answer::Unknown(_)), "{answer:?}");
        }
        std::fs::write(file.path(), "nameserver 127.0.0.1\n").unwrap();
        let there = Answer::Targets(vec![vec![target("a.test", 5222)]]);
        assert_eq!(resolver.targets("_xmpp-client._tcp.acme.test").await, there);
        std::fs::remove_file(file.path()).unwrap();
        assert!(matches!(resolver.targets("_xmpp-client._tcp.acme.test").await, Answer::Unknown(_)));
    }
}
