//! What librdkafka's mock cluster lacks of a broker, in front of it: TLS, a log-in, and a limit to what it takes.
//!
//! It understands as much of Kafka's protocol as that needs, answers for itself what the cluster would not, and passes on
//! the rest. The cluster is told of as being where the gate is.

use std::io::{self, Error};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;

/// Bigger batches of records are refused, as with `max.message.bytes`.
pub const LARGEST: usize = 65_536;

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;
/// The newest version of `PRODUCE` that is understood here.
const PRODUCE_VERSION: i16 = 7;

const MESSAGE_TOO_LARGE: i16 = 10;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

/// How to get in.
#[derive(Clone, Default)]
pub struct Entry {
    /// User and password, where one has to log in.
    pub login: Option<(&'static str, &'static str)>,
    /// Where connections are encrypted.
    pub tls: Option<TlsAcceptor>,
}

/// The gate; closed when it is dropped.
pub struct Gate {
    address: SocketAddr,
    cluster: SocketAddr,
    entry: Entry,
    open: JoinSet<()>,
}

impl Gate {
    /// Opens at `address`, in front of `cluster`.
    pub async fn open(address: SocketAddr, cluster: SocketAddr, entry: Entry) -> Self {
        let mut gate = Self { address, cluster, entry, open: JoinSet::new() };
        gate.open_again().await;
        gate
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses connections, and ends those there are.
    pub async fn close(&mut self) {
        self.open.shutdown().await;
    }

    /// Undoes [`Self::close`].
    pub async fn open_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("the address is free");
        let passage = Passage { gate: self.address, cluster: self.cluster, login: self.entry.login };
        let tls = self.entry.tls.clone();
        self.open.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (passage, tls) = (passage.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        Some(tls) => passage.run(tls.accept(stream).await?).await,
                        None => passage.run(stream).await,
                    }
                });
            }
        });
    }
}

/// Encrypts as a server of `authority`, for clients that have a certificate of it.
pub fn tls(authority: &Authority) -> TlsAcceptor {
    let certificate = |path| CertificateDer::from_pem_file(path).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.ca)).expect("an authority");
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients.expect("a verifier"))
        .with_single_cert(
            vec![certificate(&authority.server.0)],
            PrivateKeyDer::from_pem_file(&authority.server.1).expect("a key"),
        );
    TlsAcceptor::from(Arc::new(config.expect("a server")))
}

#[derive(Clone)]
struct Passage {
    gate: SocketAddr,
    cluster: SocketAddr,
    login: Option<(&'static str, &'static str)>,
}

impl Passage {
    /// Answers the requests of one client, one after the other.
    async fn run(self, mut client: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut cluster = TcpStream::connect(self.cluster).await?;
        let mut known = self.login.is_none();
        loop {
            let frame = read(&mut client).await?;
            let mut request = Fields(&frame);
            let (kind, version, number) = (request.i16()?, request.i16()?, request.i32()?);
            request.text()?; // the client's name
            let mut answer = number.to_be_bytes().to_vec();
            match kind {
                SASL_HANDSHAKE => {
                    let mechanisms = [&0_i16.to_be_bytes()[..], &1_i32.to_be_bytes(), &text("PLAIN")];
                    answer.extend(mechanisms.concat());
                }
                SASL_AUTHENTICATE => {
                    known = self.knows(request.bytes()?);
                    answer.extend(authenticated(known, version));
                }
                API_VERSIONS => {
                    answer = pass(&frame, &mut cluster).await?;
                    self.offer(&mut answer);
                }
                _ if !known => return Err(Error::other("not logged in")),
                PRODUCE => match too_large(&mut request)? {
                    Some(refusal) => answer.extend(refusal),
                    None => answer = pass(&frame, &mut cluster).await?,
                },
                METADATA => {
                    answer = pass(&frame, &mut cluster).await?;
                    self.tell_of_itself(&mut answer);
                }
                _ => answer = pass(&frame, &mut cluster).await?,
            }
            write(&mut client, &answer).await?;
        }
    }

    /// Whether the mechanism PLAIN says user and password.
    fn knows(&self, said: &[u8]) -> bool {
        self.login.is_some_and(|(user, password)| said == format!("\0{user}\0{password}").as_bytes())
    }

    /// Adds to the requests that the cluster understands those that are answered here.
    fn offer(&self, answer: &mut Vec<u8>) {
        const COUNT: std::ops::Range<usize> = 6..10; // behind the number and the error
        const ENTRY: usize = 6; // kind, oldest and newest version
        if answer[4..6] != [0, 0] {
            return; // the client asks again in an older way
        }
        let mut count = i32::from_be_bytes(answer[COUNT].try_into().unwrap());
        let end = COUNT.end + usize::try_from(count).unwrap() * ENTRY;
        for entry in answer[COUNT.end..end].chunks_mut(ENTRY) {
            if entry[..2] == PRODUCE.to_be_bytes() {
                entry[4..].copy_from_slice(&PRODUCE_VERSION.to_be_bytes());
            }
        }
        if self.login.is_some() {
            for kind in [SASL_HANDSHAKE, SASL_AUTHENTICATE] {
                let entry = [kind, 0, 1].map(i16::to_be_bytes).concat();
                answer.splice(end..end, entry);
                count += 1;
            }
            answer[COUNT].copy_from_slice(&count.to_be_bytes());
        }
    }

    /// Puts the gate in the place of the broker.
    fn tell_of_itself(&self, answer: &mut [u8]) {
        let named = |address: SocketAddr| {
            [address.ip().to_string().as_bytes(), &i32::from(address.port()).to_be_bytes()[..]].concat()
        };
        let (broker, gate) = (named(self.cluster), named(self.gate));
        while let Some(at) = answer.windows(broker.len()).position(|window| window == broker) {
            answer[at..at + gate.len()].copy_from_slice(&gate);
        }
    }
}

fn authenticated(known: bool, version: i16) -> Vec<u8> {
    let (error, message) = if known {
        (0, (-1_i16).to_be_bytes().to_vec())
    } else {
        (SASL_AUTHENTICATION_FAILED, text("Authentication failed: Invalid username or password"))
    };
    let (nothing, lifetime) = (0_i32.to_be_bytes(), 0_i64.to_be_bytes());
    [&error.to_be_bytes()[..], &message, &nothing, if version > 0 { &lifetime } else { &[] }].concat()
}

/// The refusal of a batch that is too large. Each request of the client holds one batch.
fn too_large(request: &mut Fields<'_>) -> io::Result<Option<Vec<u8>>> {
    request.text()?; // the transaction
    let _acknowledged_by = request.i16()?;
    let _within = request.i32()?;
    assert_eq!(request.i32()?, 1, "one topic");
    let topic = request.text()?.expect("it has a name");
    assert_eq!(request.i32()?, 1, "one partition");
    let partition = request.i32()?;
    if request.bytes()?.len() <= LARGEST {
        return Ok(None);
    }
    let (one, nothing) = (1_i32.to_be_bytes(), (-1_i64).to_be_bytes());
    let refusal: [&[u8]; 9] = [
        &one,
        &text(topic),
        &one,
        &partition.to_be_bytes(),
        &MESSAGE_TOO_LARGE.to_be_bytes(),
        &nothing,
        &nothing,
        &nothing,
        &0_i32.to_be_bytes(),
    ];
    Ok(Some(refusal.concat()))
}

fn text(text: &str) -> Vec<u8> {
    [&i16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

/// What is left of a request.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| Error::other("the request is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> io::Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into().unwrap()))
    }

    fn i32(&mut self) -> io::Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into().unwrap()))
    }

    fn text(&mut self) -> io::Result<Option<&'a str>> {
        let Ok(length) = usize::try_from(self.i16()?) else { return Ok(None) };
        std::str::from_utf8(self.take(length)?).map(Some).map_err(Error::other)
    }

    fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.i32()?).map_err(Error::other)?;
        self.take(length)
    }
}

async fn pass(request: &[u8], cluster: &mut TcpStream) -> io::Result<Vec<u8>> {
    write(cluster, request).await?;
    read(cluster).await
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; stream.read_u32().await? as usize];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], frame].concat()).await?;
    stream.flush().await
}
