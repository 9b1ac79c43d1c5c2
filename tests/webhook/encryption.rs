//! HTTPS: whom the sink trusts, what it shows, and HTTP/2.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{event, retry, sink};

/// An authority, its certificate and one of a client in files, and what a server needs to be vouched for by it.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["router.test".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.path().join("router.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("router.key"), key.serialize_pem()).unwrap();
        Self { folder, issuer }
    }

    fn ca_file(&self) -> String {
        format!("ca_file = '{}'", self.path("ca.pem").display())
    }

    fn identity(&self) -> String {
        let (certificate, key) = (self.path("router.pem"), self.path("router.key"));
        format!("client_certificate = '{}'\nclient_key = '{}'", certificate.display(), key.display())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    /// A server for `name` that asks for a certificate of this authority if `ask`, and speaks `protocol`.
    fn server(&self, name: &str, ask: bool, protocol: &[u8]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let config = config.unwrap();
        let config = if ask {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        } else {
            config.with_no_client_auth()
        };
        let mut config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

type Bodies = Arc<Mutex<Vec<String>>>;

/// Serves one connection after the other; remembers the bodies that came.
async fn serve<F: Future<Output = std::io::Result<()>> + Send>(
    acceptor: TlsAcceptor,
    answer: impl Fn(TlsStream<TcpStream>, Bodies) -> F + Send + 'static,
) -> (SocketAddr, Bodies) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, bodies) = (listener.local_addr().unwrap(), Bodies::default());
    let came = Arc::clone(&bodies);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            if let Ok(tls) = acceptor.accept(tcp).await {
                let _ = answer(tls, Arc::clone(&came)).await;
            }
        }
    });
    (address, bodies)
}

/// HTTP/1.1, just enough of it.
async fn http1(mut tls: TlsStream<TcpStream>, bodies: Bodies) -> std::io::Result<()> {
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let read = tls.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse::<usize>().unwrap() {
            bodies.lock().unwrap().push(body.to_owned());
            tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
            text.clear();
        }
    }
}

/// HTTP/2 (RFC 9113), just enough of it.
async fn http2(mut tls: TlsStream<TcpStream>, bodies: Bodies) -> std::io::Result<()> {
    const END_STREAM: u8 = 1;
    let mut preface = [0; 24];
    tls.read_exact(&mut preface).await?;
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    tls.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?; // SETTINGS
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        tls.read_exact(&mut head).await?;
        let [high, middle, low, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        tls.read_exact(&mut payload).await?;
        match kind {
            4 if flags & 1 == 0 => tls.write_all(&[0, 0, 0, 4, 1, 0, 0, 0, 0]).await?, // SETTINGS, acknowledged
            0 => body.extend_from_slice(&payload),
            _ => {}
        }
        if kind <= 1 && flags & END_STREAM != 0 {
            bodies.lock().unwrap().push(String::from_utf8_lossy(&std::mem::take(&mut body)).into_owned());
            // HEADERS, the last of their kind and of the stream: `:status: 200` (RFC 7541 appendix A).
            tls.write_all(&[&[0, 0, 1, 1, 5][..], &stream, &[0x88]].concat()).await?;
        }
    }
}

#[tokio::test]
async fn an_authority_of_our_own_is_trusted_if_named_and_not_otherwise() {
    let authority = Authority::new();
    let (address, bodies) = serve(authority.server("localhost", false, b"http/1.1"), http1).await;
    let url = format!("url = 'https://localhost:{}/'", address.port());
    let answers = sink(&url).deliver(&[event(1, 0)]).await;
    assert!(retry(&answers[0]).contains("cannot connect: invalid peer certificate: UnknownIssuer"), "{answers:?}");
    let mut trusting = sink(&format!("{url}\n{}", authority.ca_file()));
    assert_eq!(trusting.deliver(&[event(1, 0), event(1, 1)]).await, [Ok(()), Ok(())]);
    assert_eq!(*bodies.lock().unwrap(), [&*event(1, 0).body, &*event(1, 1).body]);
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    let authority = Authority::new();
    let (address, bodies) = serve(authority.server("other.test", false, b"http/1.1"), http1).await;
    let section = format!("url = 'https://localhost:{}/'\n{}", address.port(), authority.ca_file());
    let answers = sink(&section).deliver(&[event(1, 0)]).await;
    assert!(retry(&answers[0]).contains("cannot connect: invalid peer certificate"), "{answers:?}");
    assert!(bodies.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_ours() {
    let authority = Authority::new();
    let (address, bodies) = serve(authority.server("localhost", true, b"http/1.1"), http1).await;
    let section = format!("url = 'https://localhost:{}/'\n{}", address.port(), authority.ca_file());
    retry(&sink(&section).deliver(&[event(1, 0)]).await[0]);
    assert!(bodies.lock().unwrap().is_empty());
    let mut showing = sink(&format!("{section}\n{}", authority.identity()));
    assert_eq!(showing.deliver(&[event(1, 0)]).await, [Ok(())]);
    assert_eq!(bodies.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn certificates_that_were_renewed_in_place_are_read_anew() {
    let (authority, earlier) = (Authority::new(), Authority::new());
    let (address, _) = serve(authority.server("localhost", false, b"http/1.1"), http1).await;
    let renewed = std::fs::read(authority.path("ca.pem")).unwrap();
    let mut sink = sink(&format!("url = 'https://localhost:{}/'\n{}", address.port(), earlier.ca_file()));
    retry(&sink.deliver(&[event(1, 0)]).await[0]);
    std::fs::write(earlier.path("ca.pem"), renewed).unwrap();
    retry(&sink.deliver(&[event(1, 0)]).await[0]);
    sink.reopen().await;
    assert_eq!(sink.deliver(&[event(1, 0)]).await, [Ok(())]);
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered() {
    let authority = Authority::new();
    let (address, bodies) = serve(authority.server("localhost", false, b"h2"), http2).await;
    let section = format!("url = 'https://localhost:{}/'\n{}", address.port(), authority.ca_file());
    let mut sink = sink(&section);
    assert_eq!(sink.deliver(&[event(1, 0), event(1, 1)]).await, [Ok(()), Ok(())]);
    assert_eq!(*bodies.lock().unwrap(), [&*event(1, 0).body, &*event(1, 1).body]);
}
