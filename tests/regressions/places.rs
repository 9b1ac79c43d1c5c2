//! All the places where an operator reads how the daemon is, read at one moment and compared with each other.
//!
//! The API is read first and last: if it says the same both times, nothing changed between, and what the page, the metrics,
//! `status` (as a screen and as JSON) and the log said meanwhile must say that too.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::condition::SOON;
use crate::support::daemon::Daemon;
use crate::support::metrics::Metrics;
use crate::support::program;

/// All places as they were at one moment.
pub struct Places {
    pub api: Value,
    pub metrics: Metrics,
    pub page: String,
    /// The output of `status`.
    pub screen: String,
    /// The output of `status --json`.
    pub json: Value,
    pub log: Vec<Line>,
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    pub message: String,
    pub fields: BTreeMap<String, String>,
}

/// Waits until what the places say is what is wished for, and has them agree about everything.
pub async fn until(daemon: &Daemon, what: &str, wish: impl Fn(&Places) -> bool) -> Places {
    let mut last = String::new();
    let mut probe = async || {
        let places = read(daemon).await?;
        if !wish(&places) {
            last = format!("{:#}", places.api);
            return None;
        }
        places.agree();
        // A line is written a moment before or after the other places know of it.
        places.disagreement_of_the_log().map(|why| last = why).is_none().then_some(places)
    };
    let found = crate::support::condition::until(what, SOON, &mut probe).await;
    found.unwrap_or_else(|error| daemon.fail(&format!("{error}; at last: {last}")))
}

/// Waits until the sink is as wished, has all places agree, and returns what they say of it.
pub async fn sink_everywhere(daemon: &Daemon, name: &str, what: &str, wish: impl Fn(&Value) -> bool) -> Told {
    let places = until(daemon, what, |places| places.sink(name).is_some_and(&wish)).await;
    Told { row: places.sink(name).cloned().unwrap(), places }
}

/// The same for an account.
pub async fn account_everywhere(daemon: &Daemon, name: &str, what: &str, wish: impl Fn(&Value) -> bool) -> Told {
    let places = until(daemon, what, |places| places.account(name).is_some_and(&wish)).await;
    Told { row: places.account(name).cloned().unwrap(), places }
}

/// One thing, as all places show it.
pub struct Told {
    /// As the API has it.
    pub row: Value,
    pub places: Places,
}

impl Told {
    /// The newest line of the log that begins so.
    pub fn line(&self, beginning: &str) -> &Line {
        let found = self.places.log.iter().rfind(|line| line.message.starts_with(beginning));
        found.unwrap_or_else(|| panic!("no line {beginning:?} in {:#?}", self.places.log))
    }
}

async fn read(daemon: &Daemon) -> Option<Places> {
    let url = format!("http://{}", daemon.listen());
    let before = api(daemon).await?;
    let screen = ["status", "--url", &url];
    let json = ["status", "--url", &url, "--json"];
    let (metrics, page, screen, said) = tokio::join!(
        daemon.metrics(),
        daemon.get("/", &["Accept: text/html"]),
        program::run(daemon.folder(), &screen),
        program::run(daemon.folder(), &json),
    );
    let log = daemon.log().lines().filter_map(Line::read).collect();
    if api(daemon).await? != before {
        return None;
    }
    let json = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    Some(Places { api: before, metrics, page: page.body, screen: screen.stdout, json, log })
}

/// Returns the API's answers, without the values that change by themselves.
async fn api(daemon: &Daemon) -> Option<Value> {
    let mut all = json!({});
    for path in ["summary", "accounts", "subscriptions", "sinks"] {
        all[path] = daemon.json(&format!("/api/v1/{path}")).await;
    }
    Some(timeless(all))
}

pub fn timeless(mut all: Value) -> Value {
    for key in ["now", "uptime_seconds", "last_minute"] {
        all["summary"].as_object_mut().unwrap().remove(key);
    }
    all
}

impl Line {
    /// `TIME LEVEL message key=value key="a value"`; none where it is another.
    fn read(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(' ')?;
        let (_, rest) = rest.trim_start().split_once(' ')?;
        let mut fields = BTreeMap::new();
        let mut message = Vec::new();
        let mut rest = rest.trim();
        while !rest.is_empty() {
            let word = rest.split(' ').next()?;
            let key = word.split_once('=').map(|(key, _)| key);
            let Some(key) = key.filter(|key| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')) else {
                message.push(word);
                rest = rest[word.len()..].trim_start();
                continue;
            };
            let value = &rest[key.len() + 1..];
            let mut texts = serde_json::Deserializer::from_str(value).into_iter::<String>();
            let quoted = value.starts_with('"').then(|| texts.next()).flatten();
            let (text, length) = if let Some(Ok(text)) = quoted {
                (text, texts.byte_offset())
            } else {
                let word = value.split(' ').next()?;
                (word.to_owned(), word.len())
            };
            fields.insert(key.to_owned(), text);
            rest = value[length..].trim_start();
        }
        Some(Self { message: message.join(" "), fields })
    }

    /// The text of a field, empty where there is none.
    pub fn field(&self, key: &str) -> &str {
        self.fields.get(key).map_or("", String::as_str)
    }

    /// Whether the line has these fields; one that is `None` it must not have.
    pub fn has(&self, fields: &[(&str, Option<String>)]) -> bool {
        fields.iter().all(|(key, value)| self.fields.get(*key) == value.as_ref())
    }
}

impl Places {
    /// The lists of the API.
    pub fn rows(&self, list: &str) -> impl Iterator<Item = &Value> {
        self.api[list].as_array().unwrap().iter()
    }

    pub fn sink(&self, name: &str) -> Option<&Value> {
        self.rows("sinks").find(|sink| sink["name"] == name)
    }

    pub fn account(&self, name: &str) -> Option<&Value> {
        self.rows("accounts").find(|account| account["name"] == name)
    }

    pub fn summary(&self) -> &Value {
        &self.api["summary"]
    }

    /// The subscriptions of an account.
    pub fn subscriptions<'a>(&'a self, account: &'a str) -> impl Iterator<Item = &'a Value> {
        self.rows("subscriptions").filter(move |row| row["account"] == account)
    }

    /// The sum of the samples with these labels.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics.value(name, labels).unwrap_or_else(|| panic!("no {name}{labels:?}"))
    }
}
