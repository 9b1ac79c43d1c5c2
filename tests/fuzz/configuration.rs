//! The configuration: any text is a configuration or has problems that say where they are; nothing panics.

use std::path::PathBuf;

use onsip_router::config::Config;

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
