//! The listener, started for real on a free port and asked over TCP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails loudly")]

mod support;

use std::sync::Arc;

use jiff::Timestamp;
use onsip_router::board::{AccountStatus, Board, SinkStatus, SubscriptionStatus};
use onsip_router::domain::secret::Secret;
use onsip_router::domain::status::{AccountState, ConnectOutcome, SubscriptionState};
use onsip_router::feed::Feed;
use onsip_router::http::options::Options;
use onsip_router::http::{PATHS, Server, listen};
use onsip_router::metrics::Metrics;
use support::condition::{self, SOON};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

struct Daemon {
    server: Server,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn daemon(token: Option<&str>) -> Daemon {
    let token = token.map(|token| Secret::from(token.to_owned()));
    let listener = listen(&Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        token,
        allowed_hosts: Vec::new(),
        mask_numbers: false,
    })
    .unwrap();
    assert_ne!(listener.addr().port(), 0);
    let board = Arc::new(Board::default());
    let metrics = Arc::new(Metrics::new("1.2.3", "abc", ["front"], ["active-calls"], ["log"]).unwrap());
    let server = listener.serve(board.clone(), metrics.clone(), Feed::default()).unwrap();
    Daemon { server, board, metrics }
}

impl Daemon {
    async fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        let mut stream = TcpStream::connect(self.server.addr()).await.unwrap();
        let headers: String = headers.iter().flat_map(|header| [header, "\r\n"]).collect();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    fn put(&self, name: &str, state: AccountState) {
        let jid = (state == AccountState::Online).then(|| "front@example.com/onsip-router".to_owned());
        let why = Some("<b>because</b>".to_owned());
        let since = Timestamp::UNIX_EPOCH;
        let status = AccountStatus { why, jid, ..AccountStatus::new(state, since) };
        self.board.view().accounts.insert(name.parse().unwrap(), status);
    }
}

#[actix_rt::test]
async fn livez_is_200_from_the_first_moment() {
    let daemon = daemon(None);
    let answer = daemon.get("/livez").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
}

#[actix_rt::test]
async fn readyz_follows_the_store_the_accounts_and_the_stop() {
    let daemon = daemon(None);
    let answer = daemon.get("/readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "the store is not open\n"));

    daemon.put("front", AccountState::Connecting);
    daemon.put("back", AccountState::Refused);
    daemon.put("spare", AccountState::Disabled);
    daemon.board.view().store_open = true;
    let answer = daemon.get("/readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "account front is connecting\n"));
    let answer = daemon.ask("GET", "/readyz", &["Accept: application/json"]).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json(), serde_json::json!({"ready": false, "reasons": ["account front is connecting"]}));

    daemon.put("front", AccountState::Online);
    let answer = daemon.get("/readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    let answer = daemon.ask("GET", "/readyz", &["Accept: application/json"]).await;
    assert_eq!(answer.json(), serde_json::json!({"ready": true, "reasons": []}));

    daemon.board.view().draining = true;
    let answer = daemon.get("/readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "the daemon is stopping\n"));
    assert_eq!(daemon.get("/livez").await.status, 200);
}

#[actix_rt::test]
async fn a_token_is_needed_everywhere_but_for_health_and_metrics() {
    let daemon = daemon(Some("hunter2"));
    // The live feed has no end; its own tests ask for the token.
    let guarded = PATHS.iter().filter(|path| !["/livez", "/readyz", "/metrics", "/api/v1/events"].contains(path));
    for path in guarded.copied().chain(["/nothing"]) {
        let answer = daemon.get(path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
        assert_eq!(daemon.ask("GET", path, &["Authorization: Bearer hunter3"]).await.status, 401, "{path}");
        let status = daemon.ask("GET", path, &["Authorization: Bearer hunter2"]).await.status;
        assert_eq!(status, if path == "/nothing" { 404 } else { 200 }, "{path}");
    }
    assert_eq!(daemon.get("/livez").await.status, 200);
    assert_eq!(daemon.get("/readyz").await.status, 503);
    assert_eq!(daemon.get("/metrics").await.status, 200);
}

#[actix_rt::test]
async fn a_browser_without_the_token_gets_a_page_that_asks_for_it_and_shows_nothing() {
    let daemon = daemon(Some("hunter2"));
    daemon.put("front", AccountState::Online);
    let accept = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";
    let answer = daemon.ask("GET", "/", &[accept]).await;
    assert_eq!(answer.status, 401);
    assert!(answer.head.contains("content-type: text/html") && answer.head.contains("www-authenticate: bearer"));
    assert!(
        answer.body.contains("id=\"sign-in\"") && !answer.body.contains("front@") && !answer.body.contains("hunter2")
    );
    assert!(!daemon.ask("GET", "/api/v1/accounts", &[accept]).await.body.contains("<html"));
}

#[actix_rt::test]
async fn only_known_paths_and_only_reading() {
    let daemon = daemon(None);
    for path in ["/nothing", "/metrics/", "/api", "/api/v1/", "/api/v1/accounts/front"] {
        assert_eq!(daemon.get(path).await.status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = daemon.ask(method, "/metrics", &["Content-Length: 0"]).await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    for path in ["/", "/livez", "/metrics", "/api/v1/accounts"] {
        let answer = daemon.ask("HEAD", path, &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
    }
}

#[actix_rt::test]
async fn every_answer_tells_a_browser_to_trust_nothing() {
    let daemon = daemon(None);
    for path in ["/", "/livez", "/api/v1/sinks", "/nothing"] {
        let head = daemon.get(path).await.head;
        for line in
            ["content-security-policy: default-src 'none'; style-src 'sha256-", "x-content-type-options: nosniff"]
        {
            assert!(head.contains(line), "{path}: {head}");
        }
    }
}

#[actix_rt::test]
async fn metrics_are_there_before_anything_happened_and_follow_the_board() {
    let daemon = daemon(None);
    let answer = daemon.get("/metrics").await;
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", answer.head);
    for outcome in ConnectOutcome::ALL {
        let line = format!("onsip_router_connects_total{{outcome=\"{outcome}\"}} 0\n");
        assert!(answer.body.contains(&line), "{line}");
    }
    for state in SubscriptionState::ALL {
        let line = format!("onsip_router_subscriptions{{service=\"active-calls\",state=\"{state}\"}} 0\n");
        assert!(answer.body.contains(&line), "{line}");
    }
    daemon.put("front", AccountState::Online);
    daemon.metrics.connected(ConnectOutcome::Online);
    let body = daemon.get("/metrics").await.body;
    assert!(body.contains("onsip_router_account_online{account=\"front\"} 1\n"));
    assert!(body.contains("onsip_router_connects_total{outcome=\"online\"} 1\n"));
    assert!(!body.contains('@'), "no address in a label");
}

#[actix_rt::test]
async fn the_api_shows_the_board() {
    let daemon = daemon(None);
    daemon.put("front", AccountState::Online);
    let (state, since) = (SubscriptionState::Active, Timestamp::UNIX_EPOCH);
    let subid = Some("s1".into());
    let active = SubscriptionStatus { state, since, why: None, subid, lease_until: None, renewed: Some(since) };
    let key = ("front".parse().unwrap(), "active-calls".to_owned(), "/me/front@example.com".into());
    daemon.board.view().subscriptions.insert(key, active);
    let log = SinkStatus { queued: 3, dead: 1, ..SinkStatus::new("file") };
    daemon.board.view().sinks.insert("log".parse().unwrap(), log);

    let answer = daemon.get("/api/v1/accounts").await;
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    assert_eq!(
        answer.json(),
        serde_json::json!([{
            "name": "front", "state": "online", "since": "1970-01-01T00:00:00Z", "why": "<b>because</b>",
            "jid": "front@example.com/onsip-router", "authorized_until": null, "last_event": null, "events": 0,
            "blind": null, "not_granted": null, "clock_ahead_seconds": null,
        }])
    );
    assert_eq!(
        daemon.get("/api/v1/subscriptions").await.json(),
        serde_json::json!([{
            "account": "front", "service": "active-calls", "node": "/me/front@example.com", "state": "active",
            "since": "1970-01-01T00:00:00Z", "why": null, "subid": "s1", "lease_until": null,
            "renewed": "1970-01-01T00:00:00Z",
        }])
    );
    assert_eq!(
        daemon.get("/api/v1/sinks").await.json(),
        serde_json::json!([{
            "name": "log", "type": "file", "state": "up", "next_try": null, "dropped": {"full": 0, "age": 0},
            "kind": "file", "configured": true, "up": true, "last_error": null, "retry_at": null,
            "held": 0, "held_retry_at": null, "blocking": false, "queued": 3, "bytes": 0, "oldest": null, "dead": 1,
        }])
    );
}

#[actix_rt::test]
async fn the_page_shows_the_board_and_escapes_it() {
    let daemon = daemon(None);
    daemon.put("front", AccountState::Waiting);
    let answer = daemon.get("/").await;
    assert!(answer.head.contains("content-type: text/html; charset=utf-8"), "{}", answer.head);
    assert!(answer.body.contains("&lt;b&gt;because&lt;/b&gt;") && !answer.body.contains("<b>because"));
}

#[actix_rt::test]
async fn a_stopped_server_answers_no_more() {
    let daemon = daemon(None);
    assert_eq!(daemon.get("/livez").await.status, 200);
    daemon.server.stop(true).await;
    assert!(TcpStream::connect(daemon.server.addr()).await.is_err());
}

#[actix_rt::test]
async fn an_address_in_use_is_an_error() {
    let daemon = daemon(None);
    assert!(
        listen(&Options { listen: daemon.server.addr(), token: None, allowed_hosts: Vec::new(), mask_numbers: false })
            .is_err()
    );
}

#[actix_rt::test]
async fn c7_a_scrape_finds_room_while_others_do_not_read_theirs() {
    let daemon = daemon(None);
    for number in 0..2_000 {
        let status = AccountStatus::new(AccountState::Waiting, Timestamp::UNIX_EPOCH);
        let status = AccountStatus { why: Some("x".repeat(2_000)), ..status };
        daemon.board.view().accounts.insert(format!("account-{number}").parse().unwrap(), status);
    }
    let list = daemon.get("/api/v1/accounts").await;
    assert!(list.status == 200 && list.body.len() > 4_000_000, "{} bytes", list.body.len());
    let mut strangers = Vec::new();
    for _ in 0..40 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2_048).unwrap();
        let mut stream = socket.connect(daemon.server.addr()).await.unwrap();
        let request = "GET /api/v1/accounts HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3);
        stream.write_all(request.as_bytes()).await.unwrap();
        strangers.push(stream);
    }
    assert_eq!(daemon.get("/livez").await.status, 200);
    assert_eq!(daemon.get("/readyz").await.status, 503);
    // Those that read nothing go, and whoever asks again has an answer.
    let again = async || (daemon.get("/api/v1/accounts").await.body == list.body).then_some(());
    condition::until("the whole list", SOON, again).await.unwrap();
    assert!(daemon.metrics.http_connections_evicted.get() > 0);
    drop(strangers);
}
