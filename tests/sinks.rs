//! What the queue relies on, for every sink alike, and what each promises on its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use onsip_router::sinks::{Failure, Options, Parcel, Sink, file, stdout};

use support::condition::{self, SOON};

fn parcel(name: &str) -> Parcel {
    Parcel { id: name.into(), partition: "call".into(), body: format!(r#"{{"id":"{name}"}}"#).into() }
}

fn parcels(names: &[&str]) -> Vec<Parcel> {
    names.iter().map(|name| parcel(name)).collect()
}

fn lines(names: &[&str]) -> String {
    names.iter().flat_map(|name| [r#"{"id":""#, name, "\"}\n"]).collect()
}

fn file_sink(path: &Path) -> Box<dyn Sink> {
    Options::File(file::Options::at(path.to_owned())).open()
}

/// One row for each kind of sink: how to make one that works, and one whose peer does not take anything.
struct Row {
    kind: &'static str,
    options: fn(&Path) -> Options,
    /// The sink, and where its lines can be read.
    working: fn(&Path) -> (Box<dyn Sink>, PathBuf),
    broken: fn(&Path) -> Box<dyn Sink>,
}

const TABLE: &[Row] = &[
    Row {
        kind: "stdout",
        options: |_| Options::Stdout(stdout::Options {}),
        working: |folder| {
            let path = folder.join("stdout");
            let out = OpenOptions::new().create(true).append(true).open(&path).unwrap();
            (Box::new(stdout::Stdout::onto(out.into())), path)
        },
        broken: |_| {
            let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
            Box::new(stdout::Stdout::onto(full.into()))
        },
    },
    Row {
        kind: "file",
        options: |folder| Options::File(file::Options::at(folder.join("events.jsonl"))),
        working: |folder| {
            let path = folder.join("events.jsonl");
            (file_sink(&path), path)
        },
        broken: |folder| file_sink(&folder.join("absent/events.jsonl")),
    },
];

#[test]
fn a_sink_is_known_by_its_type_and_touches_nothing_before_its_first_delivery() {
    for row in TABLE {
        let folder = tempfile::tempdir().unwrap();
        let options = (row.options)(folder.path());
        assert_eq!(options.kind(), row.kind);
        assert!(options.open().batch() > 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{}", row.kind);
    }
}

#[tokio::test]
async fn every_sink_delivers_in_order_and_answers_for_each_parcel() {
    for row in TABLE {
        let folder = tempfile::tempdir().unwrap();
        let (mut sink, path) = (row.working)(folder.path());
        assert_eq!(sink.deliver(&[]).await, []);
        assert_eq!(sink.deliver(&parcels(&["a", "b", "c"])).await, [Ok(()), Ok(()), Ok(())], "{}", row.kind);
        sink.reopen().await;
        assert_eq!(sink.deliver(&parcels(&["b"])).await, [Ok(())], "a repeated parcel is delivered again");
        assert_eq!(fs::read_to_string(path).unwrap(), lines(&["a", "b", "c", "b"]), "{}", row.kind);
    }
}

#[tokio::test]
async fn every_sink_asks_for_another_try_when_its_peer_takes_nothing() {
    for row in TABLE {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = (row.broken)(folder.path());
        for _ in 0..2 {
            for answer in sink.deliver(&parcels(&["a", "b"])).await {
                let Err(Failure::Retry { reason, after: None }) = answer else { panic!("{}: {answer:?}", row.kind) };
                assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
            }
        }
    }
}

#[tokio::test]
async fn every_sink_survives_a_caller_who_stops_waiting() {
    for row in TABLE {
        let folder = tempfile::tempdir().unwrap();
        let (mut sink, path) = (row.working)(folder.path());
        let batch = parcels(&["a"; 256]);
        for _ in 0..20 {
            tokio::select! { biased; _ = sink.deliver(&batch) => {}, () = std::future::ready(()) => {} }
        }
        while sink.deliver(&parcels(&["end"])).await != [Ok(())] {
            tokio::task::yield_now().await;
        }
        let text = fs::read_to_string(path).unwrap();
        assert!(text.ends_with("{\"id\":\"end\"}\n"), "{}", row.kind);
        assert!(text.lines().all(|line| [r#"{"id":"a"}"#, r#"{"id":"end"}"#].contains(&line)), "{}", row.kind);
    }
}

#[tokio::test]
async fn a_file_without_a_folder_is_a_retry_that_names_it_and_works_once_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs/events.jsonl");
    let mut sink = file_sink(&path);
    let answers = sink.deliver(&parcels(&["a"])).await;
    let [Err(Failure::Retry { reason, .. })] = &answers[..] else { panic!("{answers:?}") };
    assert!(reason.contains(path.to_str().unwrap()) && reason.contains("does not exist"), "{reason}");
    fs::create_dir(folder.path().join("logs")).unwrap();
    assert_eq!(sink.deliver(&parcels(&["a"])).await, [Ok(())]);
    assert_eq!(fs::read_to_string(&path).unwrap(), lines(&["a"]));
}

#[tokio::test]
async fn a_file_grows_and_starts_on_a_fresh_line_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    for (before, between) in [("", ""), ("{\"id\":\"old\"}\n", ""), ("{\"id\":\"old\"}\n{\"id\":\"ha", "\n")] {
        fs::write(&path, before).unwrap();
        let mut sink = file_sink(&path);
        assert_eq!(sink.deliver(&parcels(&["a"])).await, [Ok(())]);
        assert_eq!(sink.deliver(&parcels(&["b"])).await, [Ok(())]);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{before}{between}{}", lines(&["a", "b"])));
    }
}

#[tokio::test]
async fn a_file_that_was_rotated_away_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("events.jsonl"), folder.path().join("events.jsonl.1"));
    let mut sink = file_sink(&path);
    sink.deliver(&parcels(&["a"])).await;
    fs::rename(&path, &old).unwrap();
    assert_eq!(sink.deliver(&parcels(&["b"])).await, [Ok(())]);
    fs::remove_file(&path).unwrap();
    assert_eq!(sink.deliver(&parcels(&["c"])).await, [Ok(())]);
    assert_eq!((fs::read_to_string(&old).unwrap(), fs::read_to_string(&path).unwrap()), (lines(&["a"]), lines(&["c"])));
    fs::write(&path, "").unwrap();
    assert_eq!(sink.deliver(&parcels(&["d"])).await, [Ok(())]);
    assert_eq!(fs::read_to_string(&path).unwrap(), lines(&["d"]), "also where it was copied and emptied");
}

/// Runs the test `name` of this program in a process of its own, whose files may not grow beyond 1 or 2 KiB (the
/// shell's unit is 512 or 1024 bytes).
fn run_limited(name: &str, folder: &Path) {
    let program = std::env::current_exe().unwrap();
    let script = format!("trap '' XFSZ; ulimit -f 2; exec '{}' --exact {name}", program.display());
    let status = Command::new("sh").args(["-c", &script]).env("FOLDER", folder).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn a_batch_that_does_not_fit_leaves_whole_lines_and_acknowledges_just_those() {
    if let Some(folder) = std::env::var_os("FOLDER") {
        return deliver_more_than_fits(&PathBuf::from(folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    run_limited("a_batch_that_does_not_fit_leaves_whole_lines_and_acknowledges_just_those", folder.path());
}

async fn deliver_more_than_fits(folder: &Path) {
    let path = folder.join("events.jsonl");
    let mut sink = file_sink(&path);
    let names: Vec<String> = (0..500).map(|n| format!("event {n:03}")).collect();
    let batch: Vec<Parcel> = names.iter().map(|name| parcel(name)).collect();
    let answers = sink.deliver(&batch).await;
    let whole = answers.iter().take_while(|answer| answer.is_ok()).count();
    assert!((1..500).contains(&whole));
    assert!(answers[whole..].iter().all(|answer| matches!(answer, Err(Failure::Retry { .. }))));
    let written = || fs::read_to_string(&path).unwrap();
    let expected: String = lines(&names[..whole].iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(written(), expected);
    assert!(sink.deliver(&batch[whole..=whole]).await[0].is_err());
    assert_eq!(written(), expected, "still no half line");

    // Space is back: the rest follows on.
    fs::rename(&path, folder.join("full")).unwrap();
    fs::write(&path, &expected[..40]).unwrap();
    assert_eq!(sink.deliver(&batch[whole..whole + 2]).await, [Ok(()), Ok(())]);
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap();
}

fn rotating(path: &Path, bytes: Option<u64>, every: Option<Duration>, keep: Option<u32>) -> Box<dyn Sink> {
    let rotation = file::rotation::Rotation { bytes, every, keep };
    Options::File(file::Options { rotation, ..file::Options::at(path.to_owned()) }).open()
}

/// What stands in the files set aside, the oldest first, and in the one that is written.
fn written(folder: &Path) -> Vec<String> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.rotate_left(1); // the shortest name is the current one
    paths.into_iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[tokio::test]
async fn a_file_that_would_grow_too_large_is_set_aside_and_nothing_is_lost_or_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let names: Vec<_> = (0..30).map(|n| format!("{n:02}")).collect();
    let mut sink = rotating(&path, Some(40), None, None);
    for (n, name) in names.iter().enumerate() {
        if n == 15 {
            sink = rotating(&path, Some(40), None, None);
        }
        assert_eq!(sink.deliver(&[parcel(name)]).await, [Ok(())]);
    }
    let files = written(folder.path());
    assert!(files.len() == 10 && files.iter().all(|text| text.len() <= 40 && text.ends_with('\n')), "{files:#?}");
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(files.concat(), lines(&all));

    assert_eq!(sink.deliver(&parcels(&["x", "y", "z", "one", "batch"])).await, [const { Ok(()) }; 5]);
    assert_eq!(written(folder.path()).last(), Some(&lines(&["x", "y", "z", "one", "batch"])), "a batch stays whole");
}

/// The age at which the file of a test is set aside.
const AGE: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_file_that_is_old_is_set_aside_and_the_newest_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let mut sink = rotating(&path, None, Some(AGE), Some(2));
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(sink.deliver(&[parcel(name)]).await, [Ok(())]);
        let old = || fs::metadata(&path).unwrap().created().unwrap().elapsed().is_ok_and(|age| age > AGE);
        condition::until("the file to be old", SOON, async || old().then_some(())).await.unwrap();
    }
    assert!(written(folder.path()).ends_with(&[lines(&["c"]), lines(&["d"]), lines(&["e"])]));
}

#[tokio::test]
async fn a_file_moved_away_by_others_is_begun_anew_beside_its_own_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let mut sink = rotating(&path, Some(1000), None, None);
    assert_eq!(sink.deliver(&parcels(&["a"])).await, [Ok(())]);
    fs::rename(&path, folder.path().join("events.jsonl.1")).unwrap();
    sink.reopen().await;
    assert_eq!(sink.deliver(&parcels(&["b"])).await, [Ok(())]);
    assert_eq!(written(folder.path()), [lines(&["a"]), lines(&["b"])]);
}

#[tokio::test]
async fn a_file_that_cannot_be_set_aside_takes_nothing_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x".repeat(245)); // with the time behind it the name is too long
    let mut sink = rotating(&path, Some(15), None, None);
    assert_eq!(sink.deliver(&parcels(&["a"])).await, [Ok(())]);
    let answers = sink.deliver(&parcels(&["b"])).await;
    assert!(matches!(answers.as_slice(), [Err(Failure::Retry { .. })]), "{answers:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), lines(&["a"]));
}

#[tokio::test]
async fn without_fsync_events_are_written_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let options = file::Options { fsync: file::Fsync::Never, ..file::Options::at(path.clone()) };
    let mut sink = Options::File(options).open();
    assert_eq!(sink.deliver(&parcels(&["a", "b"])).await, [Ok(()), Ok(())]);
    assert_eq!(fs::read_to_string(&path).unwrap(), lines(&["a", "b"]));
}
