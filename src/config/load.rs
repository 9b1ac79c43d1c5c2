//! From files and environment to a [`Config`], or to all that is wrong.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;

use super::address::{NAME, RESOURCE};
use super::{Account, Config, Delivery, Log, Onsip, Sink, account, delivery};
use crate::domain::name::{AccountName, SinkName};
use crate::routing::rule::Rule;
use crate::settings::check::check;
use crate::settings::layer::{self, Layer};
use crate::settings::places::Places;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::{Named, Section};
use crate::settings::sources::Sources;
use crate::settings::{Absent, Environment, Key, Kind, Text, environment, files, schema};
use crate::{http, metrics, otel, sinks, store, xmpp};

/// The compiled-in layer.
const DEFAULTS: &str = include_str!("../../config/default.toml");

impl Config {
    /// Every key of the configuration.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "instance",
            kind: Kind::Text(RESOURCE),
            absent: Absent::Default("onsip-router"),
            help: "Default resource of every account; unique per router process.",
        },
        Key {
            name: "watch_config",
            kind: Kind::Flag,
            absent: Absent::Default("true"),
            help: "Whether changed configuration files, and the files of secrets, certificates and keys they name, are taken over without a SIGHUP.",
        },
        section("xmpp", xmpp::options::Options::KEYS, "How to reach the server."),
        section("onsip", Onsip::KEYS, "What is particular to the service."),
        Key {
            name: "accounts",
            kind: Kind::Named { what: "account", name: NAME, keys: Account::KEYS },
            absent: Absent::Refused,
            help: "The accounts, by name.",
        },
        section("store", store::options::Options::KEYS, "Where state and delivery queue live."),
        Key {
            name: "sinks",
            kind: Kind::Typed { what: "sink", name: NAME, keys: Sink::KEYS, types: sinks::TYPES },
            absent: Absent::Refused,
            help: "Where events go, by name.",
        },
        section("http", http::options::Options::KEYS, "Metrics, health, status page and API."),
        section("metrics", metrics::options::Options::KEYS, "Which series are exported."),
        section("log", Log::KEYS, "What is logged, and how."),
        section("otel", otel::options::Options::KEYS, "Where traces go: only in a program with the feature `otel`."),
    ];

    /// Reads `paths` (files, or folders of `*.toml`; `./config/local.toml` if there are none) over the compiled-in
    /// defaults and `env` over both, and validates the whole.
    ///
    /// # Errors
    /// Everything that is wrong, by path.
    pub fn load(paths: &[PathBuf], env: impl Iterator<Item = (String, String)>) -> Result<Self, Problems> {
        Self::load_with_sources(paths, env).0
    }

    /// As [`Config::load`]; says besides which files it came from, as far as they could be read.
    pub fn load_with_sources(
        paths: &[PathBuf],
        env: impl Iterator<Item = (String, String)>,
    ) -> (Result<Self, Problems>, Sources) {
        let env: Environment = env.collect();
        let mut problems = Problems::default();
        let (merged, unread) = merged(paths, &env, &mut problems);
        let sources = Sources::of(paths, Self::KEYS, &merged);
        if unread {
            return (Err(problems.sorted()), sources);
        }
        let places = sources.places();
        check(Self::KEYS, &merged, &mut problems);
        environment::warn_of_others(Self::KEYS, &env, &mut problems);
        let read = Self::read(&Section::root(Self::KEYS, &merged, &env), &mut problems);
        let outcome = match read {
            Some(config) if problems.is_empty() => {
                let (warnings, notes) = problems.located(places).into_remarks();
                Ok(Self { warnings, notes, ..config })
            }
            read => {
                silent("configuration", read.is_none(), &mut problems);
                Err(problems.located(places).sorted())
            }
        };
        (outcome, sources)
    }

    /// Reads only where the daemon listens: who asks a daemon needs none of its other secrets, and may not have them.
    ///
    /// # Errors
    /// What is wrong with that, or with a file as a whole.
    pub fn load_http(
        paths: &[PathBuf],
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<http::options::Options, Problems> {
        let env: Environment = env.collect();
        let mut problems = Problems::default();
        let (merged, unread) = merged(paths, &env, &mut problems);
        let section = Section::root(Self::KEYS, &merged, &env).section("http");
        let options = http::options::Options::read(&section, &Path::default().join("http"), &mut problems);
        match options {
            Some(options) if problems.is_empty() => Ok(options),
            options => {
                silent("http", options.is_none(), &mut problems);
                Err(if unread { problems } else { problems.located(&Places::of(&merged)) }.sorted())
            }
        }
    }

    fn read(root: &Section<'_>, problems: &mut Problems) -> Option<Self> {
        let path = |name: &str| Path::default().join(name);
        let instance: Option<String> = root.get("instance");
        let xmpp = xmpp::options::Options::read(&root.section("xmpp"), &path("xmpp"), problems);
        let onsip = Onsip::read(&root.section("onsip"));
        let store = store::options::Options::read(&root.section("store"));
        let http = http::options::Options::read(&root.section("http"), &path("http"), problems);
        let metrics = metrics::options::Options::read(&root.section("metrics"));
        let log = Log::read(&root.section("log"));
        let otel = otel::options::Options::read(&root.section("otel"), &path("otel"), problems);
        let accounts = root.named("accounts").into_iter().filter_map(|Named { name, path, section }| {
            let account = Account::read(&section, &path, instance.as_deref(), onsip.as_ref(), problems);
            named(name.parse::<AccountName>().ok(), account, &path, problems)
        });
        let accounts = accounts.collect();
        account::distinct(&accounts, problems);
        let sinks = root.named("sinks").into_iter().filter_map(|Named { name, path, section }| {
            let sink = Sink::read(&section, &path, problems);
            named(name.parse::<SinkName>().ok(), sink, &path, problems)
        });
        let sinks: BTreeMap<_, Sink> = sinks.collect();
        let files = sinks.iter().filter_map(|(name, sink)| match &sink.options {
            sinks::Options::File(options) => Some((name.as_str(), options)),
            _ => None,
        });
        sinks::file::distinct(files, problems);
        Some(Self {
            instance: instance?,
            watch_config: root.get("watch_config")?,
            xmpp: xmpp?,
            onsip: onsip?,
            accounts,
            store: store?,
            sinks,
            http: http?,
            metrics: metrics?,
            log: log?,
            otel: otel?,
            warnings: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// The JSON Schema (2020-12) of the configuration as a whole.
    pub fn schema() -> serde_json::Value {
        schema::schema("Configuration of onsip-router", Self::KEYS)
    }
}

/// All layers as one, and whether a file could not be read: every key in it would seem missing.
fn merged(paths: &[PathBuf], env: &Environment, problems: &mut Problems) -> (::config::Value, bool) {
    let mut layers: Vec<Layer> = Vec::new();
    match Layer::toml(DEFAULTS) {
        Ok(layer) => layers.push(layer),
        Err(message) => problems.add("config/default.toml", message),
    }
    layers.extend(files::layers(paths, problems));
    let unread = !problems.is_empty();
    layers.push(environment::layer(Config::KEYS, env, problems));
    (layer::merge(&layers), unread)
}

fn named<N, T>(name: Option<N>, table: Option<T>, path: &Path, problems: &mut Problems) -> Option<(N, T)> {
    let pair = name.zip(table);
    silent(path, pair.is_none(), problems);
    pair
}

/// What cannot be read must have a problem: never is an account left out, or a start refused, without a word.
fn silent(path: impl Display, unread: bool, problems: &mut Problems) {
    if unread && problems.is_empty() {
        problems.add(path, "cannot be read");
    }
}

const fn section(name: &'static str, keys: &'static [Key], help: &'static str) -> Key {
    Key { name, kind: Kind::Section(keys), absent: Absent::Fine, help }
}

impl Sink {
    /// The keys every sink has besides `type`.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "when",
            kind: Kind::Text(Text { check: rule, pattern: Some("^.") }),
            absent: Absent::Fine,
            help: "Which events it gets: a CEL expression over the event's attributes and `data`; absent: every event.",
        },
        delivery::TIMEOUT,
        delivery::MAX_QUEUE,
        delivery::MAX_AGE,
        delivery::WHEN_FULL,
        delivery::BACKLOG_RATE,
        delivery::CANARY,
    ];

    fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<Self> {
        let when = section.get::<String>("when").and_then(|text| Rule::compile(&text).ok());
        let options = sinks::Options::read(section, path, problems)?;
        Some(Self { options, delivery: Delivery::read(section)?, when })
    }
}

fn rule(text: &str) -> Result<(), String> {
    Rule::compile(text).map(drop).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests;
