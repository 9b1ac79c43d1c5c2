//! The configuration: any text is a configuration or has problems that say where they are; nothing panics.

use std::path::PathBuf;

use onsip_router::config::Config;

/// Pieces of configurations.
pub const WORDS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{ ",
    " }",
    "'",
    "\"",
    "\"\"\"",
    "'''",
    ".",
    ",",
    "=",
    " = ",
    "#",
    "\n",
    "\r\n",
    "\\",
    "\\u0000",
    "\0",
    "\u{feff}",
    "é",
    "a.a.",
    "[a]\n",
    "{ a = ",
    "9223372036854775808",
    "1_000",
    "0x1F",
    "1e400",
    "nan",
    "1979-05-27",
    "true",
    "'1s'",
    "'0'",
    "'127.0.0.1:1'",
    "'a@b.test'",
    "{ env = 'X' }",
    "{ file = 'x' }",
    "accounts.a.",
    "sinks.b.",
    "type = ",
    "when = 'true'\n",
    "[accounts.a]\n",
    "[sinks.b]\n",
    "[onsip.stale]\n",
    "[xmpp]\n",
    "[http]\n",
    "[otel]\n",
    "password = ",
    "url = ",
];

thread_local! {
    static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
}

pub fn run(input: &[u8]) {
    let file: PathBuf = FOLDER.with(|folder| folder.path().join("router.toml"));
    std::fs::write(&file, input).expect("the file is written");
    let Err(problems) = Config::load(std::slice::from_ref(&file), std::iter::empty()) else { return };
    assert!(!problems.is_empty(), "refused without a word");
    for problem in &problems {
        assert!(!problem.path.is_empty() && !problem.message.is_empty(), "{problem:?} says nothing");
        // The last resort of a reader that refuses a value without naming it.
        assert_ne!(problem.message, "cannot be read", "{problem:?} does not say what is wrong");
        let ours = file.to_str().is_some_and(|file| problem.path.starts_with(file));
        let first = problem.path.split('.').next().unwrap_or_default();
        let known = Config::KEYS.iter().any(|key| key.name == first);
        let unknown = problem.message.contains("unknown");
        assert!(ours || known || unknown, "{problem:?} names no key");
        assert!(!problem.to_string().contains('\n'), "{problem:?} is more than a line");
    }
}
