//! A headless Chromium of its own, driven over `WebDriver` (W3C) by Debian's chromedriver.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream as Blocking};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::condition::{SOON, until};

const STARTED: &str = "was started successfully on port ";
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const BOUND: Duration = Duration::from_secs(30);
/// No GPU, no sandbox (containers have none), and nothing of its own that it would ask the network for.
const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A running browser with one window; ends when it is dropped.
pub struct Browser {
    driver: Child,
    addr: SocketAddr,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// Starts it with an empty profile.
    pub async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is started (Debian package chromium-driver)");
        let output = std::io::BufReader::new(driver.stdout.take().expect("its output"));
        let mut lines = output.lines().map_while(Result::ok);
        let port = lines.find_map(|line| line.split_once(STARTED)?.1.trim_end_matches('.').parse().ok());
        let addr = (Ipv4Addr::LOCALHOST, port.expect("a port")).into();
        let profile = TempDir::with_prefix("onsip-router-browser-").expect("a folder for the profile");
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let mut browser = Self { driver, addr, session: String::new(), _profile: profile };
        let session = browser.ask("POST", "", &capabilities).await;
        browser.session = format!("/{}", session["sessionId"].as_str().expect("a session"));
        browser
    }

    /// Loads a page, and returns once it is there.
    pub async fn open(&self, url: &str) {
        self.post("/url", &json!({"url": url})).await;
    }

    /// Runs a script and returns what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []})).await
    }

    /// Waits until an expression is true on the page.
    pub async fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        let found = until(expression, SOON, async || (self.run(&script).await == true).then_some(())).await;
        if let Err(fault) = found {
            let text = self.run("return document.body.innerText").await;
            let console = self.console().await;
            panic!(
                "{fault}\n--- the page ---\n{}\n--- the console ---\n{console:#?}",
                text.as_str().unwrap_or_default()
            );
        }
    }

    /// Types into what the selector finds; also keys such as [`ENTER`].
    pub async fn type_into(&self, selector: &str, text: &str) {
        self.on(selector, "value", &json!({"text": text})).await;
    }

    /// Clicks what the selector finds.
    pub async fn click(&self, selector: &str) {
        self.on(selector, "click", &json!({})).await;
    }

    async fn on(&self, selector: &str, action: &str, what: &Value) {
        let found = self.post("/element", &json!({"using": "css selector", "value": selector})).await;
        let id = found[ELEMENT].as_str().expect("an element");
        self.post(&format!("/element/{id}/{action}"), what).await;
    }

    /// Shows the page in a window of this size and in this colour scheme.
    pub async fn look(&self, width: u32, height: u32, scheme: &str) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics).await;
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &media).await;
    }

    async fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters})).await
    }

    /// Keeps a picture of the window as an artefact of the build: `target/screenshots/NAME.png`.
    pub async fn picture(&self, name: &str) {
        let picture = self.ask("GET", &format!("{}/screenshot", self.session), &Value::Null).await;
        let picture = BASE64_STANDARD.decode(picture.as_str().expect("a picture")).expect("base64");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
        std::fs::create_dir_all(&folder).expect("a folder for pictures");
        std::fs::write(folder.join(format!("{name}.png")), picture).expect("the picture is written");
    }

    /// What the console complained of since it was last asked.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.log("browser").await;
        let bad = entries.iter().filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")));
        bad.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Every address that pages asked for since it was last asked; the browser's own start page (`chrome:`) is none.
    pub async fn requests(&self) -> Vec<String> {
        let entries = self.log("performance").await;
        let urls = entries.iter().filter_map(|entry| {
            let entry: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &entry["message"];
            let url = message["params"]["request"]["url"].as_str()?;
            (message["method"] == "Network.requestWillBeSent" && !url.starts_with("chrome:")).then(|| url.to_owned())
        });
        urls.collect()
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        self.post("/se/log", &json!({"type": kind})).await.as_array().expect("a log").clone()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("{}{path}", self.session), body).await
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let exchange = async {
            let mut connection = TcpStream::connect(self.addr).await?;
            connection.write_all(request(method, path, body).as_bytes()).await?;
            // The driver keeps the connection, so its end is no end of the answer.
            let mut answer = BufReader::new(connection);
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") && answer.read_line(&mut head).await? > 0 {
                let line = head.lines().last().unwrap_or_default().to_lowercase();
                length = line.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
            }
            let mut body = vec![0; length];
            answer.read_exact(&mut body).await?;
            std::io::Result::Ok((head, body))
        };
        let (head, body) = tokio::time::timeout(BOUND, exchange).await.expect("an answer in time").expect("an answer");
        let mut answer: Value = serde_json::from_slice(&body).expect("JSON");
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {:#}", answer["value"]["message"]);
        answer["value"].take()
    }
}

fn request(method: &str, path: &str, body: &Value) -> String {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    format!(
        "{method} /session{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver would leave its browser behind if it were killed first.
        if let Ok(mut connection) = Blocking::connect_timeout(&self.addr, BOUND) {
            let _ = connection.set_read_timeout(Some(BOUND));
            let _ = connection.write_all(b"GET /shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let _ = connection.read_to_end(&mut Vec::new()); // once it has hung up, the browser is gone
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
