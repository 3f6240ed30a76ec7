//! The promise: a file that people really have is read right at first try, or it is said what it is and what to do. Each
//! kind of file is a small one, made up after public reports of it. No case depends on one file: where a kind has a
//! structure, its files are made here in several variants.

use crate::headwater::{Folder, Replay};
use flate2::write::GzEncoder;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::io::Write as _;

mod bytes;
mod layouts;
mod rows;
mod text;
mod ties;

/// Replays one file. Whatever it is, each of its bytes has to be accounted for.
fn replay(config: &str, name: &str, content: impl AsRef<[u8]>) -> Replay {
    let folder = Folder::new();
    folder.write("headwater.toml", config);
    folder.write(name, content);
    let replay = folder.replay("headwater.toml", [name]);
    let skipped: u64 =
        replay.summary["skipped"].as_object().unwrap().values().map(|skip| skip["bytes"].as_u64().unwrap()).sum();
    let of_records = replay.number("bytes_events") + replay.number("bytes_dead_letters");
    assert_eq!(of_records + skipped, replay.number("bytes_read"), "{}", replay.summary);
    replay
}

/// Returns the bytes that were skipped for a reason.
fn skipped(replay: &Replay, reason: &str) -> u64 {
    replay.summary["skipped"][reason]["bytes"].as_u64().unwrap_or(0)
}

/// Returns events, users and dead letters.
fn counts(replay: &Replay) -> (u64, u64, u64) {
    (replay.number("events"), replay.number("users"), replay.number("dead_letters"))
}

/// Checks that a file stops the replay, and what is said.
fn refused(config: &str, name: &str, content: impl AsRef<[u8]>, says: &[&str]) {
    let folder = Folder::new();
    folder.write("headwater.toml", config);
    folder.write(name, content);
    let run = folder.headwater(["replay", "headwater.toml", name, "--out", "out"]);
    let said = run.said();
    assert_eq!(run.code(), 1, "{said}");
    for part in says {
        assert!(said.contains(part), "{part:?} in {said}");
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Runs a property a few times: each of them starts a process.
fn property<S: Strategy>(strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(strategy, test).unwrap();
}
