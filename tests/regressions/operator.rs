//! What operators do and see: a log nobody reads, an HTTP port held by strangers, files of every kind, loose permissions.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::Command;

use crate::support::condition::{self, SOON};
use crate::support::http;
use crate::support::metrics::Metrics;
use crate::support::program;
use crate::support::stage::*;

const PROGRAM: &str = env!("CARGO_BIN_EXE_onsip-router");

/// Asks once, with a `Host` of the test's choice; the status.
async fn asked_as(server: SocketAddr, path: &str, host: &str) -> u16 {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

#[tokio::test]
async fn b11_a_log_that_nobody_reads_holds_up_neither_events_nor_the_end() {
    let (onsip, anna) = service_with_anna().await;
    let setup =
        Setup::of(&onsip).account("front-desk", &anna).section("[log]\nlevel = \"debug\"\nrepeat_after = \"0s\"");
    let folder = program::folder(&setup.toml());
    let mut daemon = std::process::Command::new(PROGRAM)
        .args(["run", "--config", "config.toml"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut unread = BufReader::new(daemon.stderr.take().unwrap());
    let listen: SocketAddr = loop {
        let mut line = String::new();
        assert!(unread.read_line(&mut line).unwrap() > 0, "it ended");
        if let Some((_, address)) = line.split_once("listening on http://") {
            break address.trim().parse().unwrap();
        }
    };
    let metric = async |name: &str| {
        let answer = http::get(listen, "/metrics", &[]).await.ok()?;
        Metrics::parse(&answer.body).value(name, &[])
    };
    let active = async || {
        let answer = http::get(listen, "/metrics", &[]).await.ok()?;
        let active = Metrics::parse(&answer.body).value("subscriptions", &[SERVICE, ("state", "active")])?;
        (active > 0.5).then_some(())
    };
    condition::until("an active subscription", SOON, active).await.unwrap();
    // The pipe is full after 64 KiB, the buffer after 1 MiB; from then on lines are dropped, and events still come.
    let dropped = async || {
        for _ in 0..20 {
            let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
            onsip.hang_up(&mut call);
        }
        metric("log_lines_dropped_total").await.filter(|dropped| *dropped > 0.0)
    };
    condition::until("dropped lines", SOON * 4, dropped).await.unwrap();
    let events = || std::fs::read_to_string(folder.path().join(EVENTS)).unwrap_or_default().lines().count();
    let before = events();
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    let more = async || (events() > before).then_some(());
    condition::until("an event after the log was full", SOON, more).await.unwrap();

    let mut daemon = ended_later(daemon);
    terminate(daemon.pid).await;
    let status = tokio::time::timeout(SOON, &mut daemon.status).await;
    assert!(status.expect("it ends in time").unwrap().success());
}

/// A process whose end is waited for on a thread of its own.
struct Ending {
    pid: u32,
    status: tokio::task::JoinHandle<std::process::ExitStatus>,
}

fn ended_later(mut child: std::process::Child) -> Ending {
    let pid = child.id();
    Ending { pid, status: tokio::task::spawn_blocking(move || child.wait().unwrap()) }
}

async fn terminate(pid: u32) {
    let sent = Command::new("sh").args(["-c", "kill -s TERM \"$1\"", "sh", &pid.to_string()]).status().await;
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn c7_health_answers_while_strangers_hold_every_connection() {
    let (_onsip, _anna, daemon) = running().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(daemon.listen()).await.unwrap());
    }
    assert_eq!(daemon.get("/livez", &[]).await.status, 200);
    let mut half = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(daemon.listen()).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-").await.unwrap();
        half.push(stream);
    }
    assert_eq!(daemon.get("/livez", &[]).await.status, 200);
    let mut deaf = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(daemon.listen()).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        deaf.push(stream);
    }
    assert_eq!(daemon.get("/livez", &[]).await.status, 200);
    assert!(daemon.count("http_connections_evicted_total", &[]).await > 0);
}

/// A stranger who sends as many of this request as the system takes, and reads nothing.
async fn pipelining(server: SocketAddr, request: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let stream = socket.connect(server).await.unwrap();
    let many = request.repeat(2_000).into_bytes();
    let mut rest = &many[..];
    while let Ok(written) = stream.try_write(rest) {
        rest = &rest[written..];
        if rest.is_empty() {
            break;
        }
    }
    assert!(rest.len() < many.len(), "some of it is sent");
    stream
}

#[tokio::test]
async fn c7_strangers_who_send_requests_ahead_and_read_nothing_cost_little_memory_and_no_scrape() {
    let (_onsip, _anna, daemon) = running().await;
    assert_eq!(daemon.get("/", &[]).await.status, 200);
    let before = daemon.peak_memory();
    let mut strangers = Vec::new();
    for number in 0..200 {
        let asked = ["GET /", "GET /metrics", "GET /livez", "HEAD /", "GET /api/v1/subscriptions", "GET /nothing"];
        let request = format!("{} HTTP/1.1\r\nHost: localhost\r\n\r\n", asked[number % asked.len()]);
        strangers.push(pipelining(daemon.listen(), &request).await);
    }
    // Between two of these, each of the others has had its turn.
    for _ in 0..5 {
        assert_eq!(daemon.get("/livez", &[]).await.status, 200);
        let scrape = daemon.get("/metrics", &[]).await;
        assert_eq!(scrape.status, 200);
        assert!(scrape.body.contains("onsip_router_http_answers_refused_total 0"), "{}", scrape.body);
    }
    let grown = daemon.peak_memory() - before;
    assert!(grown < 100 << 10, "it grew by {grown} KiB");
    drop(strangers);
}

#[tokio::test]
async fn c7_requests_sent_ahead_are_all_answered_in_their_order() {
    let (_onsip, _anna, daemon) = running().await;
    let mut stream = TcpStream::connect(daemon.listen()).await.unwrap();
    let paths = ["/livez", "/nothing", "/metrics", "/"];
    let requests: Vec<_> = (0..200)
        .map(|number| {
            let end = if number == 199 { "Connection: close\r\n" } else { "" };
            format!("GET {}?{number} HTTP/1.1\r\nHost: localhost\r\n{end}\r\n", paths[number % paths.len()])
        })
        .collect();
    let requests = requests.concat();
    let (mut from, mut to) = stream.split();
    let mut answers = Vec::new();
    let (sent, read) = tokio::join!(to.write_all(requests.as_bytes()), from.read_to_end(&mut answers));
    sent.unwrap();
    read.unwrap();
    let answers = String::from_utf8(answers).unwrap();
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "404", "200", "200"].repeat(50));
}

#[tokio::test]
async fn c7_who_sends_no_http_is_no_error_in_the_log() {
    let onsip = service().await;
    let anna = account(&onsip, "anna@acme.test");
    let setup = Setup::of(&onsip).account("front-desk", &anna).section("[log]\nlevel = \"debug\"");
    let mut daemon = setup.start().await;
    let long = format!("GET /livez HTTP/1.1\r\nX: {}", "a".repeat(200_000));
    for scanned in ["\u{16}\u{3}\u{1}\r\n\r\n", "SSH-2.0-x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &long] {
        let mut stream = TcpStream::connect(daemon.listen()).await.unwrap();
        // It may be closed before all is sent.
        let _ = stream.write_all(scanned.as_bytes()).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    daemon.until_logged("a connection to the HTTP port ended early", SOON).await;
    assert!(daemon.terminate().await.success());
    for level in ["ERROR", "WARN"] {
        assert!(!daemon.log().lines().any(|line| line.contains(level)), "{}", daemon.log());
    }
}

#[tokio::test]
async fn a_limit_of_a_few_open_files_ends_the_daemon_with_a_line_that_says_so() {
    let folder = program::folder(&a_configuration());
    for limit in [12, 16, 24, 32, 40, 48, 56] {
        let script = format!("ulimit -n {limit} && exec \"$0\" run --config config.toml");
        let said = Command::new("sh").args(["-c", &script, PROGRAM]).current_dir(folder.path()).output().await.unwrap();
        let log = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(1), "{limit}: {log}");
        assert!(
            log.contains("raise the limit (LimitNOFILE=, ulimit -n)") && !log.contains("panicked"),
            "{limit}: {log}"
        );
    }
}

#[tokio::test]
async fn a_command_reads_no_answer_without_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let endless = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let asked = stream.read(&mut request).await.unwrap();
            let status =
                if request[..asked].starts_with(b"GET /api/v1/summary") { "200 OK" } else { "418 I'm a teapot" };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: 107374182400\r\n\r\n[");
            stream.write_all(head.as_bytes()).await.unwrap();
            // Until it is closed.
            let digits = vec![b'1'; 65_536];
            while stream.write_all(&digits).await.is_ok() {}
        }
    });
    let nowhere = tempfile::tempdir().unwrap();
    let said = program::run(nowhere.path(), &["status", "--url", &url]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("is nothing of an onsip-router: it is longer than 16 MiB"), "{said:?}");
    let said = program::run(nowhere.path(), &["tail", "--url", &url]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("418 I'm a teapot: [1111"), "{said:?}");
    endless.abort();
}

#[tokio::test]
async fn check_tells_of_a_variable_with_one_underscore_for_two() {
    let folder = program::folder(&a_configuration());
    let environment = [("ONSIP_ROUTER_XMPP_PORT", "5222")];
    let said = program::run_with(folder.path(), &["check", "--config", "config.toml"], &environment).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let remark = "ONSIP_ROUTER_XMPP_PORT: sets nothing; is ONSIP_ROUTER__XMPP__PORT meant?";
    assert!(said.stdout.lines().any(|line| line == remark), "{said:?}");
}

#[tokio::test]
async fn c8_a_page_that_a_browser_loaded_elsewhere_gets_421_for_every_path() {
    let (onsip, anna) = service_with_anna().await;
    let mut setup = Setup::of(&onsip).account("front-desk", &anna);
    setup = setup.store_and_http("sqlite://state.db", "127.0.0.1:0\"\nallowed_hosts = [\"Router.Example\"]\n#");
    let daemon = setup.start().await;
    for path in ["/", "/livez", "/readyz", "/metrics", "/api/v1/accounts", "/api/v1/events", "/nothing"] {
        assert_eq!(asked_as(daemon.listen(), path, "attacker.example").await, 421, "{path}");
    }
    for host in ["127.0.0.1", "localhost:1", "[::1]", "router.example", "ROUTER.example:9464"] {
        assert_eq!(asked_as(daemon.listen(), "/livez", host).await, 200, "{host}");
    }
}

fn a_configuration() -> String {
    program::configuration(1, &["anna@acme.test"])
}

#[tokio::test]
async fn c10_check_names_the_key_that_xml_cannot_carry() {
    let text = a_configuration().replace(
        &format!("password = '{}'", program::PASSWORD),
        "password = \"a\\u0001b\"\nsip_address = \"a\\u0002@b\"\nsubscribe = { active-calls = [\"/me/\\uFFFE\"] }",
    );
    let folder = program::folder(&text);
    let said = program::run(folder.path(), &["check", "--config", "config.toml"]).await;
    assert_eq!(said.code, Some(78));
    for key in ["accounts.anna.password: ", "accounts.anna.sip_address: ", "accounts.anna.subscribe.active-calls: "] {
        assert!(said.stdout.lines().any(|line| line.starts_with(key) && line.contains("XML")), "{key}: {said:#?}");
    }
}

#[tokio::test]
async fn c12_what_we_make_is_private_whatever_the_umask_and_a_loose_secret_is_told_of() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip)
        .account_with("front-desk", &anna, "password = { file = \"pw\" }")
        .sink("shared", "type = \"file\"\npath = \"shared.jsonl\"\npermissions = \"0640\"");
    let folder = program::folder(&setup.toml());
    let inside = |name: &str| folder.path().join(name);
    std::fs::write(inside("pw"), PASSWORD).unwrap();
    std::fs::set_permissions(inside("pw"), std::fs::Permissions::from_mode(0o666)).unwrap();

    let said = program::run(folder.path(), &["check", "--config", "config.toml"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("accounts.front-desk.password: pw has mode 0666"), "{said:#?}");

    let log = std::fs::File::create(inside("log")).unwrap();
    let script = format!("umask 0 && exec {PROGRAM} run --config config.toml");
    let daemon = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let events = async |name: &str| {
        let made = async || {
            let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
            onsip.hang_up(&mut call);
            std::fs::read_to_string(inside(name)).ok().filter(|text| !text.is_empty()).map(drop)
        };
        condition::until("an event", SOON, made).await.unwrap();
    };
    events(EVENTS).await;
    events("shared.jsonl").await;
    assert!(std::fs::read_to_string(inside("log")).unwrap().contains("pw has mode 0666"));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("state.db") || name == EVENTS {
            assert_eq!(mode(&entry.path()), 0o600, "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 5, "database, log, index, lock and events");
    assert_eq!(mode(&inside("shared.jsonl")), 0o640);
    let mut daemon = ended_later(daemon);
    terminate(daemon.pid).await;
    assert!((&mut daemon.status).await.unwrap().success());
}

#[tokio::test]
async fn c13_a_pipe_or_a_device_in_place_of_a_file_is_named_and_not_waited_for() {
    let folder = program::folder("");
    let pipe = folder.path().join("x.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().await.unwrap().success());
    let said = program::run(folder.path(), &["check", "--config", "."]).await;
    assert!(said.code == Some(78) && said.shows("x.toml: is no regular file"), "{said:#?}");
    let said = program::run(folder.path(), &["check", "--config", "/dev/zero"]).await;
    assert!(said.code == Some(78) && said.shows("/dev/zero: is no regular file"), "{said:#?}");

    let text = a_configuration().replace(&format!("'{}'", program::PASSWORD), "{ file = '/dev/zero' }");
    let folder = program::folder(&text.replace("tls = 'off'", "tls = 'starttls'\nca_file = '/dev/zero'"));
    let said = program::run(folder.path(), &["check", "--config", "config.toml"]).await;
    for key in ["accounts.anna.password: /dev/zero is no", "xmpp.ca_file: /dev/zero is no"] {
        assert!(said.stdout.contains(key), "{key}: {said:#?}");
    }
    let folder = program::folder(&a_configuration());
    let said = program::run(folder.path(), &["check", "--config", "config.toml", "--event", "/dev/zero"]).await;
    assert!(said.code == Some(1) && said.shows("is no regular file"), "{said:#?}");
}

#[tokio::test]
async fn c14_under_a_limit_of_64_files_health_is_reachable_and_the_line_says_how_many_accounts_run() {
    let names: Vec<_> = (0..100).map(|n| format!("a{n}@acme.test")).collect();
    let jids: Vec<_> = names.iter().map(String::as_str).collect();
    let onsip = program::service(&jids).await;
    let folder = program::folder(&program::configuration(onsip.addr().port(), &jids));
    let log = folder.path().join("log");
    let daemon = std::process::Command::new("sh")
        .args(["-c", &format!("ulimit -n 64 && exec {PROGRAM} run --config config.toml")])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    let listen = async || {
        let (_, rest) = said().split_once("listening on http://").map(|(a, b)| (a.to_owned(), b.to_owned()))?;
        rest.lines().next()?.trim().parse::<SocketAddr>().ok()
    };
    let listen = condition::until("an address", SOON, listen).await.unwrap();
    let online = async || {
        let answer = http::get(listen, "/metrics", &[]).await.ok()?;
        let metrics = Metrics::parse(&answer.body);
        let run = 100.0 - metrics.value("accounts", &[("state", "disabled")])?;
        (metrics.value("accounts", &[("state", "online")])? >= run).then_some(run)
    };
    let run =
        condition::until("all accounts that run", SOON, online).await.unwrap_or_else(|e| panic!("{e}: {}", said()));
    assert!(said().contains(&format!("{run} of 100 accounts run")), "{}", said());
    let visitors: Vec<_> = (0..30).map(|_| std::net::TcpStream::connect(listen)).collect();
    assert_eq!(http::get(listen, "/livez", &[]).await.unwrap().status, 200);
    drop(visitors);
    let mut daemon = ended_later(daemon);
    terminate(daemon.pid).await;
    assert!((&mut daemon.status).await.unwrap().success());
}

#[tokio::test]
async fn d1_d3_d14_check_names_a_folder_that_is_not_there_a_type_that_is_not_near_and_a_missing_secret() {
    let absent = a_configuration().replace("events.jsonl", "no/such/events.jsonl");
    let check = async |text: &str| {
        let folder = program::folder(text);
        std::fs::write(folder.path().join("bom"), "\u{feff}secret\r\n").unwrap();
        program::run(folder.path(), &["check", "--config", "config.toml"]).await
    };
    let said = check(&absent).await;
    assert!(said.code == Some(78) && said.shows("sinks.log.path: the folder no/such does not exist"), "{said:#?}");
    let said = check(&a_configuration().replace("type = 'file'", "type = 'mysql'")).await;
    assert!(said.shows("sinks.log.type: unknown type; known here: `") && !said.shows("nearest"), "{said:#?}");
    let password = format!("'{}'", program::PASSWORD);
    let said = check(&a_configuration().replace(&password, "{ file = 'nowhere' }")).await;
    assert!(said.shows("accounts.anna.password: cannot read nowhere: no such file"), "{said:#?}");
    let said = check(&a_configuration().replace(&password, "{ file = 'bom' }")).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    let said = check(&format!("\u{feff}{}", a_configuration())).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
}

#[tokio::test]
async fn d18_check_and_run_name_a_path_that_would_destroy_the_routers_own_files_or_cannot_be_written() {
    let refused = async |text: String, key: &str, value: &str, why: &str| {
        let folder = program::folder(&text);
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("secret"), program::PASSWORD).unwrap();
        std::fs::write(at("there.jsonl"), "").unwrap();
        std::fs::hard_link(at("there.jsonl"), at("hard.jsonl")).unwrap();
        std::fs::hard_link(at("config.toml"), at("hard.toml")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        std::os::unix::fs::symlink("onsip-router.db", at("link")).unwrap();
        for command in ["check", "run"] {
            let said = program::run(folder.path(), &[command, "--config", "config.toml"]).await;
            assert_eq!(said.code, Some(78), "{command} {value}: {said:#?}");
            let mut lines = said.stdout.lines().chain(said.stderr.lines());
            let named =
                |line: &str| line.starts_with(&format!("{key}: ")) && line.contains(value) && line.contains(why);
            assert!(lines.any(named), "{command} {value}: {said:#?}");
        }
    };
    let password = format!("'{}'", program::PASSWORD);
    let configuration = a_configuration().replace(&password, "{ file = 'secret' }");
    for (path, why) in [
        ("onsip-router.db", "the database onsip-router.db (store.url)"),
        ("./onsip-router.db-wal", "the database"),
        ("onsip-router.db.lock", "the database"),
        ("link", "the database"),
        ("config.toml", "which the configuration is read from"),
        ("hard.toml", "which the configuration is read from"),
        ("secret", "which the configuration is read from"),
        ("/tmp", "is a folder"),
        ("new/", "is a folder"),
        ("loop", "circle"),
        ("/proc/x", "no place for files"),
        ("/proc/self/mem", "no place for files"),
        ("secret/x", "no folder"),
    ] {
        refused(configuration.replace("events.jsonl", path), "sinks.log.path", path, why).await;
    }
    let two = "[sinks.other]\ntype = 'file'\npath = 'hard.jsonl'\n";
    let two = configuration.replace("events.jsonl", "there.jsonl") + two;
    refused(two, "sinks.other.path", "", "the same file as that of sinks.log").await;
    for (path, value, why) in [
        ("/tmp", "/tmp", "is a folder"),
        ("nowhere/router.db", "nowhere", "does not exist"),
        ("config.toml", "config.toml", "which the configuration is read from"),
        ("/dev/null", "/dev/null", "no regular file"),
        ("loop", "loop", "circle"),
    ] {
        refused(format!("{configuration}[store]\nurl = 'sqlite://{path}'\n"), "store.url", value, why).await;
    }
}

#[tokio::test]
async fn d16_d17_a_sink_has_its_type_in_the_api_under_the_name_of_the_configuration() {
    let (onsip, anna, daemon) = running().await;
    let sinks = daemon.json("/api/v1/sinks").await;
    assert_eq!((&sinks[0]["type"], &sinks[0]["kind"]), (&"file".into(), &"file".into()));
    onsip.cut(&anna);
    let gap = daemon.until_logged("events may have been missed", Duration::from_secs(30)).await;
    assert!(gap.contains("services=active-calls "), "{gap}");
}

#[test]
fn d15_to_authorize_is_spelt_in_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut unread: Vec<_> =
        ["src", "config", "dashboards", "README.md", "CHANGELOG.md"].map(|it| root.join(it)).into();
    let mut read = 0;
    while let Some(path) = unread.pop() {
        if path.is_dir() {
            unread.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            read += 1;
            assert!(!text.to_lowercase().contains(concat!("authori", "s")), "{}", path.display());
        }
    }
    assert!(read > 100, "only {read} files were read");
}
