//! One HTTP request on a connection of its own; HTTP/1.0, so that no answer is chunked.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What takes longer hangs.
const BOUND: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// `GET path`, with further header lines if the test needs some (`"Authorization: Bearer x"`).
pub async fn get(server: SocketAddr, path: &str, headers: &[&str]) -> io::Result<Response> {
    exchange(server, "GET", path, headers, "").await
}

/// `POST path` with a JSON body.
pub async fn post_json(server: SocketAddr, path: &str, body: &str) -> io::Result<Response> {
    exchange(server, "POST", path, &["Content-Type: application/json"], body).await
}

async fn exchange(server: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> io::Result<Response> {
    let mut request = format!("{method} {path} HTTP/1.0\r\nHost: {server}\r\nContent-Length: {}\r\n", body.len());
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request.push_str(body);
    let whole = async {
        let mut connection = TcpStream::connect(server).await?;
        connection.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await?;
        parse(&String::from_utf8_lossy(&answer))
    };
    tokio::time::timeout(BOUND, whole).await?
}

fn parse(answer: &str) -> io::Result<Response> {
    let unexpected = || io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP response: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(unexpected)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(unexpected)?;
    Ok(Response { status, head: head.to_owned(), body: body.to_owned() })
}
