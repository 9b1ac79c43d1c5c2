//! Who may know whom: the arrows of the architecture page, held against every path in `src/`.
//!
//! A module may use the layers below its own and itself, nothing beside or above. Code under `#[cfg(test)]` is exempt
//! from the layers, not from the rules about names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use source::{Token, files, is_word, root, tokens, without_tests};

/// Top-level modules by layer, the highest first. `lib` and `main` are the two crate roots.
const LAYERS: [&[&str]; 12] = [
    &["main", "lib"],
    &["cli"],
    &["app"],
    &["actors"],
    &["config"],
    &["xmpp", "store", "sinks", "http"],
    &["metrics", "otel"],
    &["board", "feed"],
    &["log", "state"],
    &["protocol", "routing", "retry", "tls", "dial", "disk"],
    &["settings"],
    &["domain"],
];

/// A product of its own: uses only `domain`, and is used only by `cli`.
const SIMULATOR: &str = "simulator";

/// Crates that only some modules may name.
const CRATES: [(&[&str], &[&str]); 4] = [
    (&["actix", "actix_rt", "actix_web", "actix_http"], &["actors", "app", "http", "main", "cli"]),
    (&["sqlx"], &["state", "store", "sinks"]), // a sink writes to somebody else's database
    (&["tokio_xmpp"], &[SIMULATOR]),  // the tests' independent client
    (&["prometheus"], &["metrics"]),
];

/// Names that say nothing about what is inside.
const NAMELESS: [&str; 9] = ["mod", "util", "utils", "helper", "helpers", "common", "misc", "types", "manager"];

const OWN_NAME: &str = "onsip_router";

#[test]
fn every_module_uses_only_the_layers_below_it() {
    let sources = sources();
    assert!(sources.iter().any(|source| source.module == ["lib"]), "no src/lib.rs was read");
    let breaches: Vec<_> = sources.iter().flat_map(breaches).map(|breach| breach.to_string()).collect();
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let folder = root().join("src");
    let nameless: Vec<_> = files(&folder)
        .into_iter()
        .filter(|path| {
            let inner = path.strip_prefix(&folder).unwrap().with_extension("");
            inner.iter().any(|part| NAMELESS.iter().any(|name| part == *name))
        })
        .collect();
    assert!(nameless.is_empty(), "{nameless:#?}");
}

// ---- the checker on planted samples -----------------------------------------------------------------------------

fn found(module: &str, text: &str) -> Vec<String> {
    let module = module.split("::").map(str::to_owned).collect();
    let source = Source { path: PathBuf::from("planted.rs"), module, text: text.to_owned(), test: false };
    breaches(&source).map(|breach| breach.to_string()).collect()
}

#[test]
fn a_planted_breach_is_found_with_its_line() {
    assert_eq!(
        found("domain::leg", "use std::fmt;\n\nuse crate::store::Queue;\n"),
        ["planted.rs:3: domain must not use store"]
    );
}

#[test]
fn a_breach_is_found_however_the_path_is_written() {
    for text in [
        "use crate::{domain::Leg, http};",
        "use crate::{\n    domain::{Leg, name},\n    http::{self, options},\n};",
        "fn f() { crate::http::serve(); }",
        "fn f(x: &crate::http::Options) {}",
        "use super::super::http;",
        "pub(crate) use crate :: http :: Options as Other;",
        "mod inner { use super::super::super::http; }",
        "const S: &str = \"{\"; use crate::http;",
        "const C: char = '{'; use crate::http;",
        "const R: &str = r#\"\" { /* \"#; use crate::http;",
        "fn f<'a>(x: &'a str) { crate::http::serve() }",
        "#[cfg(test)]\nmod tests { fn f() {} }\nuse crate::http;",
        "#[cfg(test)]\nuse crate::domain::Leg;\nuse crate::http;",
        "#[cfg(not(test))]\nuse crate::http;",
        "use onsip_router::http;",
    ] {
        assert_eq!(found("store::queue", text).len(), 1, "{text}");
    }
}

#[test]
fn what_is_no_path_of_the_code_is_no_breach() {
    for text in [
        "// use crate::http;",
        "/* outer /* use crate::http; */ use crate::http; */",
        "//! [`crate::http`]",
        "const S: &str = \"use crate::http;\";",
        "const R: &str = r#\"use crate::http; \"quoted\" \"#;",
        "#[cfg(test)]\nmod tests { use crate::http; mod more { use crate::actors; } }",
        "#[cfg(test)]\n#[allow(unused)]\nuse crate::http;",
        "use crate::domain::http;",
        "use super::options;",
        "use crate::store::legs;",
        "pub(crate) fn f() {}",
        "fn f() { self::http::serve() }",
    ] {
        assert_eq!(found("store::queue", text), [""; 0], "{text}");
    }
}

#[test]
fn neighbours_in_a_layer_do_not_know_each_other() {
    assert_eq!(found("routing", "use crate::retry::Plan;"), ["planted.rs:1: routing must not use retry"]);
    assert_eq!(found("sinks::file", "use crate::store;").len(), 1);
    assert_eq!(found("config", "use crate::{http, routing::rule::Rule, settings, sinks, store, xmpp};"), [""; 0]);
}

#[test]
fn the_simulator_stands_apart() {
    assert_eq!(found("simulator::server", "use crate::domain::Leg; use super::faults;"), [""; 0]);
    assert_eq!(found("simulator", "use crate::protocol::stanza;").len(), 1);
    assert_eq!(found("cli::demo", "use crate::simulator::Simulator;"), [""; 0]);
    assert_eq!(found("app", "use crate::simulator::Simulator;").len(), 1);
}

#[test]
fn a_library_is_named_only_where_it_belongs() {
    assert_eq!(found("actors::router", "use actix::prelude::*;"), [""; 0]);
    assert_eq!(found("store", "use sqlx::SqlitePool;"), [""; 0]);
    assert_eq!(
        found("http", "#[actix_web::get(\"/\")]\nfn f() { sqlx::query(\"\"); }"),
        ["planted.rs:2: http must not use the crate sqlx"]
    );
    for text in ["use tokio_xmpp::Stanza;", "use ::tokio_xmpp::Stanza;", "use {tokio_xmpp, std::fmt};", "use sqlx;"] {
        assert_eq!(found("protocol::stanza", text).len(), 1, "{text}");
    }
    assert_eq!(
        found(
            "board",
            "use a::prometheus; let prometheus = 1; f(a, prometheus, self.prometheus); other::prometheus::x();"
        ),
        [""; 0]
    );
}

#[test]
fn a_module_missing_from_the_table_is_a_breach() {
    assert_eq!(found("extras", "").len(), 1);
    assert_eq!(found("app", "use crate::extras::Thing;").len(), 1);
}

// ---- the rules ----------------------------------------------------------------------------------------------------

struct Source {
    path: PathBuf,
    /// `["store", "queue"]` for src/store/queue.rs; `["lib"]` and `["main"]` for the roots.
    module: Vec<String>,
    text: String,
    /// Whether the file as a whole is `#[cfg(test)]`.
    test: bool,
}

struct Breach {
    path: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

fn breaches(source: &Source) -> impl Iterator<Item = Breach> {
    let own = source.module[0].as_str();
    let mut all: Vec<(usize, String)> = Vec::new();
    if layer(own).is_none() && own != SIMULATOR {
        all.push((1, format!("{own} has no place in the table of layers (tests/imports.rs)")));
    }
    if !source.test {
        for used in paths(source) {
            all.extend(breach(own, &used.name).map(|what| (used.line, what)));
        }
    }
    all.into_iter().map(|(line, what)| Breach { path: source.path.clone(), line, what })
}

fn breach(own: &str, used: &Name) -> Option<String> {
    match used {
        Name::Module(used) => {
            let allowed = used == own
                || match (used.as_str(), own) {
                    (SIMULATOR, _) => own == "cli",
                    (_, SIMULATOR) => used == "domain",
                    _ => layer(used).zip(layer(own)).is_some_and(|(used, own)| used > own),
                };
            (!allowed).then(|| format!("{own} must not use {used}"))
        }
        Name::Crate(used) => {
            let (_, homes) = CRATES.iter().find(|(names, _)| names.contains(&used.as_str()))?;
            (!homes.contains(&own)).then(|| format!("{own} must not use the crate {used}"))
        }
    }
}

fn is_guarded(name: &str) -> bool {
    CRATES.iter().any(|(names, _)| names.contains(&name))
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

// ---- reading ------------------------------------------------------------------------------------------------------

enum Name {
    /// A top-level module of this crate.
    Module(String),
    /// A crate.
    Crate(String),
}

struct Used {
    line: usize,
    name: Name,
}

/// Every top-level module and every guarded crate the code of `source` names.
fn paths(source: &Source) -> Vec<Used> {
    let tokens = without_tests(&tokens(&source.text));
    let mut used = Vec::new();
    let mut modules: Vec<usize> = Vec::new(); // the brace depths at which inline modules began
    let mut depth = 0;
    let mut importing = false;
    for (at, token) in tokens.iter().enumerate() {
        let before = |back: usize| at.checked_sub(back).map_or("", |index| tokens[index].text.as_str());
        let after = tokens.get(at + 1).map_or("", |next| next.text.as_str());
        match token.text.as_str() {
            "{" => {
                depth += 1;
                if before(2) == "mod" {
                    modules.push(depth);
                }
            }
            "}" => {
                modules.pop_if(|began| *began == depth);
                depth -= 1;
            }
            "use" => importing = true,
            ";" => importing = false,
            // A path begins here, unless `::` with something before it says it began earlier.
            _ if before(1) == "::" && is_word(before(2)) && before(2) != "use" => {}
            "crate" | OWN_NAME if after == "::" => branches(&tokens, at + 2, &mut |line, name| {
                used.push(Used { line, name: Name::Module(name.to_owned()) });
            }),
            "super" if before(2) != "super" => {
                let ups = supers(&tokens, at);
                let inside = source.module.len() + modules.len();
                if ups == inside && !matches!(source.module[0].as_str(), "lib" | "main") {
                    branches(&tokens, at + 2 * ups, &mut |line, name| {
                        used.push(Used { line, name: Name::Module(name.to_owned()) });
                    });
                }
            }
            name if is_guarded(name) && before(1) != "." && (after == "::" || importing) => {
                used.push(Used { line: token.line, name: Name::Crate(name.to_owned()) });
            }
            _ => {}
        }
    }
    used
}

/// The first names after `path::`: one, or those of the branches of a `{…}`.
fn branches(tokens: &[Token], at: usize, each: &mut impl FnMut(usize, &str)) {
    let Some(first) = tokens.get(at) else { return };
    if first.text != "{" {
        each(first.line, &first.text);
        return;
    }
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return,
            "}" => depth -= 1,
            name if depth == 1 && is_word(name) && matches!(tokens[index - 1].text.as_str(), "{" | ",") => {
                each(token.line, name);
            }
            _ => {}
        }
    }
}

/// How many `super::` stand in a row.
fn supers(tokens: &[Token], at: usize) -> usize {
    let pairs = tokens[at..].chunks(2);
    pairs.take_while(|pair| pair[0].text == "super" && pair.get(1).is_some_and(|next| next.text == "::")).count()
}

// ---- files --------------------------------------------------------------------------------------------------------

fn sources() -> Vec<Source> {
    let folder = root().join("src");
    let mut sources: Vec<_> = files(&folder)
        .into_iter()
        .map(|path| {
            let inner = path.strip_prefix(&folder).unwrap().with_extension("");
            let module = inner.iter().map(|part| part.to_str().expect("a readable name").to_owned()).collect();
            let text = std::fs::read_to_string(&path).unwrap();
            Source { path: path.strip_prefix(root()).unwrap().to_owned(), module, text, test: false }
        })
        .collect();
    let tests: BTreeSet<_> = sources.iter().flat_map(test_files).collect();
    for source in &mut sources {
        source.test = (1..=source.module.len()).any(|length| tests.contains(&source.module[..length]));
    }
    sources
}

/// The modules that `source` declares as `#[cfg(test)] mod name;`.
fn test_files(source: &Source) -> Vec<Vec<String>> {
    const MARK: [&str; 8] = ["cfg", "(", "test", ")", "]", "mod", "*", ";"];
    let parent = if matches!(source.module[0].as_str(), "lib" | "main") { &[][..] } else { &source.module[..] };
    tokens(&source.text)
        .windows(MARK.len())
        .filter(|window| window.iter().zip(MARK).all(|(token, mark)| mark == "*" || token.text == mark))
        .map(|window| parent.iter().cloned().chain([window[6].text.clone()]).collect())
        .collect()
}
