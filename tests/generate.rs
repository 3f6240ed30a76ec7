//! The promise: the configuration that `generate` writes reads its events, and a replay finds exactly the sessions and
//! totals of its oracle. The oracle shares no code with the engine, so this is the engine's test as well.

use crate::headwater::{Folder, csv};
use serde_json::Value;
use std::fs;

/// Generates into `load/` and replays it with each number of workers.
fn check(arguments: &str) -> Folder {
    let folder = Folder::new();
    generate(&folder, arguments);
    let oracle = sessions(&fs::read(folder.path("load/sessions.csv")).unwrap());
    let expected: Value = serde_json::from_str(&folder.read("load/expected.json")).unwrap();
    for workers in ["1", "2", "3"] {
        let replay = folder.replay("load/headwater.toml", ["--workers", workers]);
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(replay.summary[name], *value, "{name} of {arguments}, {workers} workers");
        }
        assert_eq!(replay.number("duplicates_unchecked"), 0);
        let found = sessions(&fs::read(folder.path("out/sessions.csv")).unwrap());
        assert_eq!(found.len(), oracle.len(), "sessions of {arguments}, {workers} workers");
        for (found, oracle) in found.iter().zip(&oracle) {
            assert_eq!(found, oracle, "{arguments}, {workers} workers");
        }
    }
    folder
}

fn generate(folder: &Folder, arguments: &str) {
    let run = folder.headwater(["generate", "--out", "load"].into_iter().chain(arguments.split_whitespace()));
    assert_eq!(run.code(), 0, "{}", run.stderr());
}

/// User, start, end, events, purchases; sorted.
fn sessions(content: &[u8]) -> Vec<(String, i64, i64, u64, u64)> {
    let mut rows: Vec<_> = csv(content)
        .iter()
        .map(|row| {
            let number = |column: &str| row[column].parse::<i64>().unwrap();
            let purchases = match row.get("purchases") {
                Some(purchases) => purchases.parse().unwrap(),
                None => serde_json::from_str::<Value>(&row["classes"]).unwrap()["purchase"].as_u64().unwrap_or(0),
            };
            (row["user"].clone(), number("start_us"), number("end_us"), number("events") as u64, purchases)
        })
        .collect();
    rows.sort();
    rows
}

/// A number of `load/expected.json`.
fn expected(folder: &Folder, pointer: &str) -> u64 {
    let expected: Value = serde_json::from_str(&folder.read("load/expected.json")).unwrap();
    expected.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

#[test]
fn a_replay_finds_what_the_oracle_knows() {
    let folder = check("--events 20000");
    assert_eq!(expected(&folder, "/events"), 20_000);
    assert!(expected(&folder, "/duplicates") > 100);
    for reason in ["no_user", "no_time", "unreadable_time"] {
        assert!(expected(&folder, &format!("/sessionless/{reason}")) > 10, "{reason}");
    }
    assert!(expected(&folder, "/dead_letter_reasons/conflicting_duplicate") > 0);
    let text = folder.read("load/sessions.csv");
    let mut rows: Vec<&str> = text.lines().skip(1).collect();
    assert!(rows.is_sorted());
    rows.dedup();
    assert_eq!(rows.len() as u64, expected(&folder, "/sessions"));
}

#[test]
fn with_every_defect_in_plenty() {
    let folder = check(
        "--events 20000 --seed 7 --users 30 --zipf 1.5 --late 30% --late-by 4d --duplicates 0.2 --conflicts 5% \
         --no-user 5% --no-time 5% --unreadable-time 5% --malformed 10% --dotted 50% --mixed-times 90% --gap 7m",
    );
    for reason in [
        "not_utf8",
        "no_json",
        "not_an_object",
        "duplicate_key",
        "too_deep",
        "too_large",
        "too_many_keys",
        "conflicting_duplicate",
    ] {
        assert!(expected(&folder, &format!("/dead_letter_reasons/{reason}")) > 50, "{reason}");
    }
}

#[test]
fn with_one_user_for_half_of_it_and_nobody_twice() {
    check("--events 20000 --seed 8 --users 9000 --zipf 0 --bot 50% --days 1 --nested 100% --gap 1s");
}

#[test]
fn compressed_and_small() {
    check("--events 3000 --seed 9 --compress gzip");
    check("--events 3000 --seed 9 --compress zstd --gap 90500ms");
    for events in ["1", "2", "49"] {
        check(&format!("--events {events}"));
    }
}

#[test]
fn a_clean_file_has_nothing_but_valid_events() {
    let folder = check("--events 20000 --seed 3 --clean");
    for name in ["/duplicates", "/dead_letters"] {
        assert_eq!(expected(&folder, name), 0, "{name}");
    }
    let text = folder.read("load/events.jsonl");
    assert_eq!(text.lines().count(), 20_000);
    let mut by_user: Vec<(String, i64)> = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| event[name].as_str().unwrap_or_else(|| panic!("{name} in {line}")).to_owned();
        let (seconds, fraction) = field("time_utc").split_once('.').map(|(s, f)| (s.to_owned(), f.to_owned())).unwrap();
        let millis = seconds.parse::<i64>().unwrap() * 1000 + fraction[..3].parse::<i64>().unwrap();
        by_user.push((field("user_id"), millis));
        assert!(!field("event_type").is_empty());
    }
    by_user.sort();
    // Engines that split at the gap, not after it, get the same sessions.
    let at_the_border = |pair: &[(String, i64)]| pair[0].0 == pair[1].0 && pair[1].1 - pair[0].1 == 30 * 60 * 1000;
    assert!(!by_user.windows(2).any(at_the_border));
    let bytes = text.len() / 20_000;
    assert!((250..330).contains(&bytes), "{bytes} bytes an event");
}

/// Pinned: a comparison of two machines, or of two versions, needs the same input. A change of the workload changes these
/// hashes, and its commit message has to say so.
#[test]
fn the_same_arguments_give_the_same_bytes() {
    let folder = Folder::new();
    let hashes = || {
        let files = ["events.jsonl", "sessions.csv", "expected.json"];
        files.map(|name| format!("{:016x}", fnv1a(&fs::read(folder.path("load").join(name)).unwrap())))
    };
    generate(&folder, "--events 2000 --seed 42 --malformed 5%");
    let first = hashes();
    generate(&folder, "--events 2000 --seed 42 --malformed 5% --force");
    assert_eq!(hashes(), first);
    assert_eq!(first, ["bb6c951cbd922d2b", "d5c560dbe841ee5b", "b102f7f282a93872"]);
    generate(&folder, "--events 2000 --seed 43 --malformed 5% --force");
    assert_ne!(hashes()[0], first[0]);
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn nothing_is_replaced_unasked() {
    let folder = Folder::new();
    folder.write("load/headwater.toml", "# mine");
    let run = folder.headwater(["generate", "--events", "10", "--out", "load"]);
    assert_eq!(run.code(), 2);
    assert!(run.stderr().contains("headwater.toml is there already"), "{}", run.stderr());
    assert_eq!(folder.read("load/headwater.toml"), "# mine");
    assert!(!folder.path("load/events.jsonl").exists());
}
