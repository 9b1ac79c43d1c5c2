//! Answers that are none, and what is told of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use onsip_router::sinks::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{event, load, reject, retry, sink};
use crate::support::condition::SOON;
use crate::support::port;
use crate::support::receiver::{Answer, Receiver, status};

/// Answers every connection with `text` and counts them; then leaves it open or closes it.
async fn raw(text: String, close: bool) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 512];
            let _ = connection.read(&mut request).await;
            let _ = connection.write_all(text.as_bytes()).await;
            if !close {
                kept.push(connection);
            }
        }
    });
    (address, count)
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_loses_nothing() {
    let elsewhere = Receiver::start(|_| status(200));
    let target = format!("http://{}/stolen", elsewhere.address());
    for code in [301, 302, 303, 307, 308] {
        let target = target.clone();
        let receiver = Receiver::start(move |_| Answer { headers: vec![("Location", target.clone())], ..status(code) });
        let mut sink = sink(&format!("url = 'http://{}/'\ntoken = 'x'", receiver.address()));
        let answers = sink.deliver(&[event(1, 0)]).await;
        assert!(retry(&answers[0]).contains("redirects are not followed"), "{answers:?}");
    }
    assert_eq!(elsewhere.received().len(), 0);
}

#[tokio::test]
async fn a_receiver_that_wants_no_more_for_good_is_left_alone() {
    let receiver = Receiver::start(|_| status(410));
    let mut sink = sink(&format!("url = 'http://{}/'\nconcurrency = 1", receiver.address()));
    for answer in sink.deliver(&[event(1, 0), event(2, 1), event(1, 2)]).await {
        let Err(Failure::Pause { reason }) = answer else { panic!("{answer:?}") };
        assert!(reason.contains("410 Gone"), "{reason}");
    }
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn nobody_there_is_asked_once_and_not_for_every_event() {
    let (_held, closed) = port::closed();
    let mut sink = sink(&format!("url = 'http://{closed}/'"));
    let events: Vec<_> = (0..200).map(|number| event(number, number)).collect();
    let answers = sink.deliver(&events).await;
    assert_eq!(answers.len(), 200);
    for answer in &answers {
        assert!(retry(answer).contains("cannot connect: Connection refused"), "{answer:?}");
    }
    // One that greets nobody: TLS is asked for, and something else is there.
    let (address, count) = raw("no TLS here\r\n".to_owned(), true).await;
    let mut sink = super::sink(&format!("url = 'https://{address}/'\nconcurrency = 4"));
    for answer in sink.deliver(&events).await {
        assert!(retry(&answer).contains("cannot connect"), "{answer:?}");
    }
    assert!(count.load(Ordering::SeqCst) <= 4);
}

#[tokio::test]
async fn a_connection_that_breaks_is_to_be_tried_again() {
    for text in ["", "HTTP/1.1 2", "garbage\r\n\r\n"] {
        let (address, _) = raw(text.to_owned(), true).await;
        let answers = sink(&format!("url = 'http://{address}/'")).deliver(&[event(1, 0)]).await;
        assert!(retry(&answers[0]).contains("the connection broke"), "{answers:?}");
    }
}

#[tokio::test]
async fn an_acknowledgement_counts_however_long_or_late_its_body_is() {
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{}", "x".repeat(300_000));
    let late = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx".to_owned();
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx".to_owned();
    for (text, close) in [(long, false), (late, false), (cut, true)] {
        let (address, _) = raw(text, close).await;
        let mut sink = sink(&format!("url = 'http://{address}/'"));
        let events = [event(1, 0)];
        let delivered = timeout(SOON, sink.deliver(&events)).await.expect("the status says it all");
        assert_eq!(delivered, [Ok(())]);
    }
}

#[tokio::test]
async fn a_reason_tells_the_answer_in_short_and_no_secret() {
    let said = "no: hunter2, whsec_aHVudGVyMg==, aHVudGVyMg, token-of-ours, key=q1w2e3&v=1, q1w2e3\r\n\u{7}\u{1b}[2J";
    for code in [400, 403, 500] {
        let receiver = Receiver::start(move |_| Answer { body: format!("{said}{}", "x".repeat(1000)), ..status(code) });
        let section = format!(
            "url = 'http://{}/hooks?key=q1w2e3&v=1'\nsecret = ['hunter2', 'whsec_aHVudGVyMg==']\ntoken = 'token-of-ours'",
            receiver.address()
        );
        let options = load(&section).unwrap();
        let answers = options.open().deliver(&[event(1, 0)]).await;
        let reason = if code == 500 { retry(&answers[0]) } else { reject(&answers[0]) };
        assert!(reason.starts_with(&format!("http://{}/hooks: {code} ", receiver.address())), "{reason}");
        assert!(reason.contains("no: [secret], [secret], ") && reason.chars().count() < 300, "{reason}");
        for secret in ["hunter2", "aHVudGVyMg", "token-of-ours", "q1w2e3", "v=1"] {
            assert!(!reason.contains(secret), "{reason}");
            assert!(!format!("{options:?} {answers:?}").contains(secret), "{options:?}");
        }
        assert!(!reason.contains(char::is_control), "{reason:?}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_refused_where_only_public_ones_are_called() {
    let receiver = Receiver::start(|_| status(200));
    let port = receiver.address().port();
    let mut sink = sink(&format!("url = 'http://localhost:{port}/?key=q1w2e3'\npublic_only = true"));
    let events: Vec<_> = (0..20).map(|number| event(number, number)).collect();
    for answer in sink.deliver(&events).await {
        let reason = retry(&answer);
        assert!(reason.contains("localhost leads to ") && reason.contains("`public_only` is set"), "{reason}");
        assert!(!reason.contains("q1w2e3"), "{reason}");
    }
    assert_eq!(receiver.received().len(), 0);
    let mut sink = super::sink(&format!("url = 'http://localhost:{port}/'"));
    assert_eq!(sink.deliver(&[event(1, 0)]).await, [Ok(())]);
}

#[tokio::test]
async fn a_name_nobody_knows_is_to_be_tried_again() {
    // No label may be so long, so nobody needs to be asked.
    let name = format!("{}.invalid", "x".repeat(64));
    let answers = sink(&format!("url = 'http://{name}/'")).deliver(&[event(1, 0)]).await;
    assert!(retry(&answers[0]).contains(&format!("cannot connect: {name} was not found")), "{answers:?}");
}
