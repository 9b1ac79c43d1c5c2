//! The greeting of a NATS server, TLS, which begins behind it, and the client library's way to both.
//!
//! The library takes no stream, and reads on while its server sends. So the connection is made here, to each address in
//! turn, throttled and encrypted; the library gets a way to it, at whose other end it finds a server that asks for no TLS
//! any more. Must not know who logs in.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};

use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::super::excerpt::excerpt;
use super::super::relay::{Relay, Stream};
use super::super::throttle::Throttled;
use crate::domain::limits::PEER_AT_ONCE;

/// How the first line of a server begins.
const INFO: &[u8] = b"INFO ";

/// A server that has introduced itself.
pub(super) struct Greeted {
    stream: Box<dyn Stream>,
    /// Its greeting, without a word of TLS.
    said: Vec<u8>,
}

/// Hears the greeting on `tcp` and encrypts what follows, if `insisting` or if the server wants it.
///
/// # Errors
/// Why that comes to nothing.
pub(super) async fn greeted(
    tcp: TcpStream,
    client: &TlsConnector,
    name: &str,
    insisting: bool,
) -> Result<Greeted, String> {
    let mut tcp = Throttled::new(tcp);
    let (mut line, rest) = first_line(&mut tcp).await.map_err(|fault| fault.to_string())?;
    let unknown = || format!("it is no NATS server; it says: {}", excerpt(&String::from_utf8_lossy(&line)));
    let mut info: Value =
        line.strip_prefix(INFO).and_then(|text| serde_json::from_slice(text).ok()).ok_or_else(unknown)?;
    let wanted = info.get("tls_required").and_then(Value::as_bool).unwrap_or_default();
    if !insisting && !wanted {
        line.extend(rest);
        return Ok(Greeted { stream: Box::new(tcp), said: line });
    }
    if !rest.is_empty() {
        return Err("TLS: the server goes on without it".to_owned()); // or whoever is in between
    }
    let name = ServerName::try_from(name.to_owned()).map_err(|fault| format!("TLS: {fault}"))?;
    let stream = client.connect(name, tcp).await.map_err(|fault| format!("TLS: {fault}"))?;
    if let Some(fields) = info.as_object_mut() {
        fields.insert("tls_required".to_owned(), false.into());
    }
    let said = [INFO, info.to_string().as_bytes(), b"\r\n"].concat();
    Ok(Greeted { stream: Box::new(stream), said })
}

/// The first line, and what has come behind it.
async fn first_line(stream: &mut Throttled<TcpStream>) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut read = Vec::with_capacity(4096);
    loop {
        let before = read.len();
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed without a greeting"));
        }
        if let Some(end) = read[before..].iter().position(|byte| *byte == b'\n') {
            let rest = read.split_off(before + end + 1);
            return Ok((read, rest));
        }
        if u64::try_from(read.len()).is_ok_and(|length| length > PEER_AT_ONCE) {
            return Err(io::Error::new(ErrorKind::InvalidData, "it is no NATS server; its first line has no end"));
        }
    }
}

/// The library's way to a server.
#[derive(Debug)]
pub(super) struct Way {
    /// Where it leads from.
    pub(super) url: String,
    /// The address that the library has to come from: others on this machine can see the port too.
    pub(super) from: SocketAddr,
    pub(super) relay: Relay,
}

impl Way {
    /// Makes a way to a server. Dropping it cuts the connection.
    ///
    /// # Errors
    /// If this machine gives no port.
    pub(super) async fn to(server: Greeted) -> io::Result<Self> {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(here).await?;
        let url = format!("nats://{}", listener.local_addr()?);
        let place = TcpSocket::new_v4()?;
        place.bind(here)?;
        let from = place.local_addr()?;
        let Greeted { stream, said } = server;
        let library = async move {
            let mut library = loop {
                match listener.accept().await? {
                    (library, address) if address == from => break library,
                    _ => {}
                }
            };
            library.set_nodelay(true)?;
            library.write_all(&said).await?;
            Ok(library)
        };
        Ok(Self { url, from, relay: Relay::new(library, stream) })
    }
}
