//! Single kinds of sinks.

use std::io::Write;
use std::net::SocketAddr;

use onsip_router::config::Config;
use onsip_router::sinks::{Failure, Parcel, Sink};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// The sink that a configuration with this section has.
fn sink(section: &str) -> Box<dyn Sink> {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let whole = format!("[accounts.a]\njid = \"a@acme.test\"\npassword = \"x\"\n[sinks.peer]\n{section}\n");
    file.write_all(whole.as_bytes()).unwrap();
    let config = Config::load(&[file.path().to_owned()], std::iter::empty());
    let mut config = config.unwrap_or_else(|problems| panic!("{problems}"));
    config.sinks.pop_first().unwrap().1.options.open()
}

fn parcel() -> Parcel {
    let body = json!({
        "specversion": "1.0", "id": "i", "source": "s", "type": "com.onsip.call.ended", "time": "2026-01-01T00:00:00Z",
        "subject": "l", "datacontenttype": "application/json", "dataschema": "d", "sequence": "0000000001",
        "partitionkey": "c", "data": { "account": "a" },
    });
    Parcel { id: "i".into(), partition: "c".into(), body: body.to_string().into() }
}

/// The answer to one event, which the peer at the other end of `talk` gets.
async fn delivered<F: Future<Output = ()> + Send>(
    section: impl FnOnce(SocketAddr) -> String,
    talk: impl FnOnce(TcpStream) -> F,
) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sink = sink(&section(listener.local_addr().unwrap()));
    let (end, ended) = oneshot::channel::<()>();
    let peer = async {
        talk(listener.accept().await.unwrap().0).await;
        let _ = ended.await; // nobody is there a second time: what is tried again fails
    };
    let deliver = async {
        let answers = sink.deliver(&[parcel()]).await;
        drop(end);
        answers
    };
    let ((), mut answers) = futures::future::join(peer, deliver).await;
    answers.remove(0)
}

#[tokio::test]
async fn d11_webhook_an_answer_with_odd_headers_is_an_answer() {
    let many = (0..300).map(|number| format!("x-{number}: y\r\n")).collect::<Vec<_>>().concat();
    for headers in [
        "x-trace: one\r\n  two\r\n",
        "x-trace: one\r\n\ttwo\r\n\t three\r\n",
        "x-trace : one\r\n",
        "no colon at all\r\n",
        "x-bin: a\u{1}b\r\n",
        "x y: z\r\n",
        &many,
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\nok");
        let talk = async move |mut stream: TcpStream| {
            let mut request = Vec::new();
            while !request.ends_with(b"}}") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let answer = delivered(|address| format!("type = 'webhook'\nurl = 'http://{address}/'"), talk).await;
        assert_eq!(answer, Ok(()), "{headers:?}");
    }
}

/// Reads one request of a webhook, and says whether there was one.
async fn posted(stream: &mut TcpStream) -> bool {
    let mut request = Vec::new();
    while !request.ends_with(b"}}") {
        if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
            return false;
        }
    }
    true
}

/// Delivers to a webhook that answers so and closes the connection.
async fn answered(answer: String) -> Result<(), Failure> {
    let talk = async move |mut stream: TcpStream| {
        assert!(posted(&mut stream).await);
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    delivered(|address| format!("type = 'webhook'\nurl = 'http://{address}/'"), talk).await
}

#[tokio::test]
async fn d11_webhook_a_2xx_counts_whatever_is_wrong_with_the_rest() {
    let many = (0..600).map(|number| format!("x-{number}: y\r\n")).collect::<Vec<_>>().concat();
    let long = format!("x: {}\r\n", "y".repeat(1_000_000));
    for rest in [
        "content-length: abc\r\n\r\n",
        "content-length: \r\n\r\n",
        "content-length: -1\r\n\r\n",
        "content-length: +2\r\n\r\nok",
        "content-length: 99999999999999999999999\r\n\r\nok",
        "content-length: 18446744073709551615\r\n\r\nok",
        "content-length: 0\r\ncontent-length: 5\r\n\r\nhello",
        "content-length: 500\r\n\r\nok",
        "transfer-encoding: zebra\r\n\r\nok",
        "transfer-encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        "x: a\0b\r\ncontent-length: 0\r\n\r\n",
        "x: a\rb\r\ncontent-length: 0\r\n\r\n",
        &format!("{many}\r\n"),
        &format!("{long}\r\n"),
        "x: y",
        "",
    ] {
        let answer = answered(format!("HTTP/1.1 200 OK\r\n{rest}")).await;
        assert_eq!(answer, Ok(()), "{:?}", rest.chars().take(80).collect::<String>());
    }
    for line in [
        "HTTP/2 200",
        "HTTP/2.0 200 OK",
        "HTTP/1.2 200 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 200 O\u{1}K",
        "HTTP/1.1 299 Odd",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked",
        "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 202 Taken\r\nx: a\0b",
    ] {
        assert_eq!(answered(format!("{line}\r\ncontent-length: 0\r\n\r\n")).await, Ok(()), "{line:?}");
    }
    for line in [
        "ICY 200 OK",
        "http/1.1 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 099 Odd",
        "HTTP/1.1 600 Odd",
        "HTTP/1.1 500 Not 200 OK",
    ] {
        let answer = answered(format!("{line}\r\ncontent-length: 0\r\n\r\n")).await;
        assert!(matches!(answer, Err(Failure::Retry { .. })), "{line:?}: {answer:?}");
    }
}

#[tokio::test]
async fn d11_webhook_the_2xx_of_one_post_is_none_for_the_next_on_the_same_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sink = sink(&format!("type = 'webhook'\nurl = 'http://{}/'", listener.local_addr().unwrap()));
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(posted(&mut stream).await);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        assert!(posted(&mut stream).await, "on the same connection");
        drop((stream, listener)); // without a word
    };
    let deliver = async {
        assert_eq!(sink.deliver(&[parcel()]).await, [Ok(())]);
        sink.deliver(&[parcel()]).await
    };
    let ((), answers) = futures::future::join(peer, deliver).await;
    assert!(matches!(&answers[..], [Err(Failure::Retry { .. })]), "{answers:?}");
}

#[tokio::test]
async fn f9_redis_a_server_that_repeats_the_log_in_does_not_have_the_password_shown() {
    let talk = async |mut stream: TcpStream| {
        let mut request = [0; 512];
        assert_ne!(stream.read(&mut request).await.unwrap(), 0);
        let said = "-ERR unknown command 'AUTH', with args beginning with: 'hunter2-secret' \r\n";
        stream.write_all(said.repeat(3).as_bytes()).await.unwrap();
    };
    let section = |address| format!("type = 'redis'\nurl = 'redis://{address}'\npassword = 'hunter2-secret'");
    let Err(Failure::Retry { reason, .. }) = delivered(section, talk).await else { panic!() };
    assert!(reason.contains("with args beginning with: '[secret]'") && !reason.contains("hunter2"), "{reason}");
}

/// Reads one MQTT packet and returns its first byte.
async fn packet(stream: &mut TcpStream) -> u8 {
    let kind = stream.read_u8().await.unwrap();
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = stream.read_u8().await.unwrap();
        length |= usize::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    kind
}

/// The reason that is told where a broker ends the connection with `farewell` once it has got the message.
async fn ended_with(farewell: &'static [u8], more: &str) -> Result<(), Failure> {
    let talk = async move |mut stream: TcpStream| {
        assert_eq!(packet(&mut stream).await >> 4, 1, "CONNECT");
        stream.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap(); // CONNACK
        assert_eq!(packet(&mut stream).await >> 4, 3, "PUBLISH");
        stream.write_all(farewell).await.unwrap();
    };
    delivered(|address| format!("type = 'mqtt'\nurl = 'mqtt://{address}'\n{more}"), talk).await
}

#[tokio::test]
async fn d5_mqtt_a_takeover_by_another_client_is_told_with_what_to_do() {
    const TAKEN_OVER: &[u8] = &[0xE0, 2, 0x8E, 0];
    let Err(Failure::Retry { reason, .. }) = ended_with(TAKEN_OVER, "client_id = 'router-1'").await else { panic!() };
    for part in ["another client", "\"router-1\"", "`client_id`"] {
        assert!(reason.contains(part), "{reason}");
    }
    let Err(Failure::Retry { reason, .. }) = ended_with(TAKEN_OVER, "").await else { panic!() };
    assert!(reason.contains("another client"), "{reason}");
    // A broker that says nothing may have done the same.
    let Err(Failure::Retry { reason, .. }) = ended_with(&[], "client_id = 'router-1'").await else { panic!() };
    assert!(reason.contains("does another client use \"router-1\""), "{reason}");
}

#[tokio::test]
async fn a_brokers_words_are_told_in_short_and_on_one_line() {
    // DISCONNECT, server busy, with the reason text "no\u{1b}[2J\r\nroom".
    const BUSY: &[u8] = b"\xE0\x11\x89\x0F\x1F\x00\x0Cno\x1B[2J\r\nroom";
    let Err(Failure::Retry { reason, .. }) = ended_with(BUSY, "").await else { panic!() };
    assert!(reason.contains("ServerBusy (no [2J room)") && !reason.contains(char::is_control), "{reason:?}");
}
