//! `/api/v1/events`: the live feed, on a server of its own and at a whole daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use onsip_router::board::Board;
use onsip_router::domain::event::EventType;
use onsip_router::domain::identity::Token;
use onsip_router::domain::secret::Secret;
use onsip_router::feed::{Feed, Told};
use onsip_router::http::options::Options;
use onsip_router::http::{Server, listen};
use onsip_router::metrics::Metrics;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use support::condition::{SOON, until};
use support::stage::{self, CALLER};

struct Listener {
    server: Server,
    feed: Feed,
    metrics: Arc<Metrics>,
}

fn listener() -> Listener {
    let token = Some(Secret::from("hunter2".to_owned()));
    let listener = listen(&Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        token,
        allowed_hosts: Vec::new(),
        mask_numbers: false,
    })
    .unwrap();
    let metrics = Arc::new(Metrics::new("1", "a", ["front"], ["active-calls"], ["log"]).unwrap());
    let feed = Feed::default();
    let server = listener.serve(Arc::new(Board::default()), Arc::clone(&metrics), feed.clone()).unwrap();
    Listener { server, feed, metrics }
}

impl Listener {
    fn tell(&self, kind: EventType, account: &str, body: &str) {
        let services = vec!["active-calls".to_owned()];
        self.feed.tell(Told::of(Token::of([body]), kind, account.to_owned(), services, body.into()));
    }

    async fn watch(&self, query: &str) -> Stream {
        Stream::open(self.server.addr(), query, "Authorization: Bearer hunter2\r\n").await
    }

    /// A client that left is noticed by what is written to it.
    async fn until_nobody_watches(&self) {
        let nobody = until("everybody to leave", SOON, async || {
            self.tell(EventType::CallEnded, "front", "{}");
            (self.metrics.feed_clients.get() == 0).then_some(())
        });
        nobody.await.unwrap();
    }
}

/// One client's connection; the server sends every event as a chunk of its own, whose size is a line nobody asks for.
struct Stream {
    status: u16,
    head: String,
    rest: BufReader<TcpStream>,
}

impl Stream {
    async fn open(server: SocketAddr, query: &str, headers: &str) -> Self {
        let mut connection = TcpStream::connect(server).await.unwrap();
        let request = format!("GET /api/v1/events{query} HTTP/1.0\r\nHost: {server}\r\n{headers}\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut stream = Self { status: 0, head: String::new(), rest: BufReader::new(connection) };
        while !stream.head.ends_with("\r\n\r\n") {
            let line = stream.line().await.expect("a whole head");
            stream.head += &(line + "\n");
        }
        stream.status = stream.head.split(' ').nth(1).unwrap().parse().unwrap();
        stream
    }

    /// The next line; nothing at the end.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        timeout(SOON, self.rest.read_line(&mut line)).await.expect("a line in time").unwrap();
        line.strip_suffix('\n').map(str::to_owned)
    }

    /// The next line that is `wanted`.
    async fn until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.line().await.expect("the stream goes on");
            if wanted(&line) {
                return line;
            }
        }
    }

    async fn data(&mut self) -> String {
        self.until(|line| line.starts_with("data: ")).await["data: ".len()..].to_owned()
    }
}

#[actix_rt::test]
async fn an_event_is_one_message_with_its_id() {
    let listener = listener();
    let mut stream = listener.watch("").await;
    assert_eq!(stream.status, 200);
    assert!(stream.head.to_lowercase().contains("content-type: text/event-stream\r\n"), "{}", stream.head);
    listener.tell(EventType::CallEnded, "front", r#"{"n":1}"#);
    let id = stream.until(|line| line.starts_with("id: ")).await;
    assert_eq!(id, format!("id: {}", Token::of([r#"{"n":1}"#])));
    assert_eq!(stream.line().await.unwrap(), r#"data: {"n":1}"#);
    assert_eq!(stream.line().await.unwrap(), "");
}

#[actix_rt::test]
async fn a_client_gets_what_it_chose_and_nothing_else() {
    let listener = listener();
    let mut stream = listener.watch("?account=front&type=call.ended").await;
    listener.tell(EventType::CallEnded, "back", "other account");
    listener.tell(EventType::CallRequested, "front", "other type");
    listener.tell(EventType::CallEnded, "front", "this one");
    assert_eq!(stream.data().await, "this one");
}

#[actix_rt::test]
async fn a_choice_that_can_never_be_met_is_refused() {
    let listener = listener();
    assert_eq!(listener.watch("?type=calls").await.status, 400);
    assert_eq!(listener.watch("?acount=front").await.status, 400);
}

#[actix_rt::test]
async fn a_client_without_the_token_sees_nothing() {
    let listener = listener();
    assert_eq!(Stream::open(listener.server.addr(), "", "").await.status, 401);
    assert_eq!(listener.metrics.feed_clients.get(), 0);
}

#[actix_rt::test]
async fn clients_are_counted_and_one_too_many_is_told_so() {
    let listener = listener();
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(listener.watch("").await);
        assert_eq!(streams.last().unwrap().status, 200);
    }
    let mut refused = listener.watch("").await;
    assert_eq!(refused.status, 503);
    assert!(refused.head.to_lowercase().contains("retry-after: "), "{}", refused.head);
    assert!(refused.line().await.unwrap().contains("no more may"));
    assert_eq!((listener.metrics.feed_clients.get(), listener.metrics.feed_clients_refused.get()), (64, 1));
    drop(streams);
    listener.until_nobody_watches().await;
    assert_eq!(listener.watch("").await.status, 200);
}

#[actix_rt::test]
async fn a_client_that_does_not_read_loses_the_oldest_and_learns_how_many() {
    let listener = listener();
    let mut stream = listener.watch("").await;
    let long = "x".repeat(20_000);
    // Far more than sockets and the feed hold; the server gets its turn now and then.
    for n in 0..4000 {
        listener.tell(EventType::CallEnded, "front", &format!("{n} {long}"));
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let lost = stream.until(|line| line.starts_with(": lost ")).await;
    let lost: u64 = lost[": lost ".len()..].parse().unwrap();
    assert!(lost > 0);
    let mut last = String::new();
    while !last.starts_with("3999 ") {
        last = stream.data().await;
    }
    assert!(listener.metrics.feed_events_lost.get() >= lost);
}

#[actix_rt::test]
async fn a_stop_shows_what_was_told_before_and_ends_the_stream() {
    let listener = listener();
    let mut stream = listener.watch("").await;
    listener.tell(EventType::CallEnded, "front", "the last");
    listener.server.stop(false).await;
    assert_eq!(stream.data().await, "the last");
    let mut rest = String::new();
    timeout(SOON, stream.rest.read_to_string(&mut rest)).await.expect("the end").unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "not cut off but ended: {rest:?}");
    assert_eq!(listener.metrics.feed_clients.get(), 0);
}

#[actix_rt::test]
async fn a_daemon_shows_every_committed_event_and_stops_though_somebody_watches() {
    let (onsip, anna, mut daemon) = stage::running().await;
    let mut all = Stream::open(daemon.listen(), "", "").await;
    let mut calls = Stream::open(daemon.listen(), "?type=call&account=front-desk&service=active-calls", "").await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    for stream in [&mut all, &mut calls] {
        let event: Value = serde_json::from_str(&stream.data().await).unwrap();
        assert_eq!(
            (&event["type"], &event["data"]["account"]),
            (&"com.onsip.call.requested".into(), &"front-desk".into())
        );
    }
    daemon.until_metric("feed_clients", &[], SOON, |clients| clients > 1.5).await;
    assert_eq!(daemon.terminate().await.code(), Some(0), "{}", daemon.log());
}
