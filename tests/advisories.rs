//! No crate of the lock file has a known advisory without a line that says why it cannot be reached.
//!
//! `cargo deny check advisories` needs the network. So the advisories that the `RustSec` database had stand in
//! `.ci/advisories.tsv`, one a line: id, crate, and the versions it does not concern, with semicolons between. To renew it,
//! run this test with `RUSTSEC_ADVISORY_DB` set to a checkout of the database, and commit what it wrote. The exceptions are
//! those of `deny.toml`, which `cargo deny` goes by too.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use semver::{Version, VersionReq};
use toml::{Table, Value};

const LIST: &str = ".ci/advisories.tsv";

/// One advisory.
struct Advisory {
    id: String,
    name: String,
    /// Versions it does not concern, any one of these.
    fine: Vec<VersionReq>,
}

impl Advisory {
    fn of(line: &str) -> Self {
        let [id, name, fine] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{LIST}: {line:?}") };
        let fine = fine.split("; ").filter(|text| !text.is_empty());
        let fine = fine.map(|text| VersionReq::parse(text).unwrap_or_else(|fault| panic!("{id}: {text:?}: {fault}")));
        Self { id: id.to_owned(), name: name.to_owned(), fine: fine.collect() }
    }

    /// As the database means it: a version between two releases belongs to the later one.
    fn concerns(&self, version: &Version) -> bool {
        !self.fine.iter().any(|fine| fine.matches(version))
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.as_ref().display()))
}

fn table(path: &str) -> Table {
    read(path).parse().unwrap()
}

/// The list made anew from a checkout of the database.
fn renewed(database: &Path) -> String {
    let mut lines = Vec::new();
    for folder in fs::read_dir(database.join("crates")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let text = read(file.unwrap().path());
            let head = text.split("```").nth(1).and_then(|head| head.strip_prefix("toml")).unwrap();
            let head: Table = head.parse().unwrap();
            let (advisory, versions) = (&head["advisory"], &head["versions"]);
            if advisory.get("withdrawn").is_some() {
                continue;
            }
            let listed = |key: &str| versions.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
            let fine: Vec<_> = [listed("patched"), listed("unaffected")].concat();
            let fine: Vec<_> = fine.iter().map(|text| text.as_str().unwrap()).collect();
            let text = |key: &str| advisory[key].as_str().unwrap();
            lines.push(format!("{}\t{}\t{}", text("id"), text("package"), fine.join("; ")));
        }
    }
    lines.sort();
    lines.join("\n") + "\n"
}

#[test]
fn d19_no_crate_of_the_lock_file_has_a_known_one_without_a_reason() {
    if let Some(database) = std::env::var_os("RUSTSEC_ADVISORY_DB") {
        fs::write(LIST, renewed(Path::new(&database))).unwrap();
    }
    let mut advisories: BTreeMap<String, Vec<Advisory>> = BTreeMap::new();
    for line in read(LIST).lines() {
        let advisory = Advisory::of(line);
        advisories.entry(advisory.name.clone()).or_default().push(advisory);
    }
    assert!(advisories.len() > 800, "{LIST} is not whole");
    let excepted: Vec<_> = table("deny.toml")["advisories"]["ignore"].as_array().unwrap().clone();
    let mut excepted: BTreeMap<_, _> = excepted
        .iter()
        .map(|entry| (entry["id"].as_str().unwrap().to_owned(), entry["reason"].as_str().unwrap().to_owned()))
        .collect();
    let mut found = String::new();
    for package in table("Cargo.lock")["package"].as_array().unwrap() {
        let text = |key: &str| package[key].as_str().unwrap();
        let (name, version) = (text("name"), Version::parse(text("version")).unwrap());
        for advisory in advisories.get(name).into_iter().flatten().filter(|advisory| advisory.concerns(&version)) {
            if excepted.remove(&advisory.id).is_none() {
                writeln!(found, "{name} {version}: https://rustsec.org/advisories/{}", advisory.id).unwrap();
            }
        }
    }
    assert!(
        found.is_empty(),
        "these need another version, or a line in deny.toml that says why they cannot be reached:\n{found}"
    );
    assert!(excepted.is_empty(), "exceptions that nothing needs any more: {excepted:?}");
}

#[test]
fn an_advisory_concerns_all_versions_but_those_it_names() {
    let advisory = Advisory::of("RUSTSEC-2026-0098\trustls-webpki\t>= 0.103.12, < 0.104.0-alpha.1; >= 0.104.0-alpha.6");
    for (version, concerned) in [("0.102.8", true), ("0.103.12", false), ("0.103.11", true), ("0.104.0-alpha.2", true)]
    {
        assert_eq!(advisory.concerns(&Version::parse(version).unwrap()), concerned, "{version}");
    }
    assert!(Advisory::of("RUSTSEC-2025-0134\trustls-pemfile\t").concerns(&Version::new(2, 2, 0)));
}
