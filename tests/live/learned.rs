//! Learned classes in a run: learning is switched on and off with restarts, and what subscribers have is what a replay of
//! all events writes. A folder whose classes another model has learned is refused, as nothing could retract them.

use super::client::{Client, Outcome};
use super::process::{Process, Restart};
use super::{folders, run_toml};
use crate::headwater::Folder;
use crate::patience::wait_until;
use headwater_log::partition::Limits;
use headwater_log::vfs::RealFs;
use headwater_log::{Log, Settings, epoch};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

const MEANING: &str = "[events]\nuser = ['user.id', 'id']\ntime = 'ts'\ntype = 'type'\n";

fn write(folder: &Folder, learn: bool) {
    let meaning = format!("{MEANING}[classes]\nlearn = {learn}\n");
    folder.write("run.toml", run_toml("", &meaning));
    folder.write("replay.toml", format!("[[source]]\nname = 'collector'\npaths = 'events.jsonl'\n{meaning}"));
}

/// Typed events of two classes, and one of each that is flat and has no type.
fn events(minute: usize) -> String {
    let mut lines = Vec::new();
    for second in 0..40 {
        let ts = format!("2024-05-01T10:{minute:02}:{second:02}Z");
        lines.push(json!({"type":"click","user":{"id":"ann"},"ts":ts,"details":{"button":"buy","page":"/p"}}));
        lines.push(json!({"type":"search","user":{"id":"ann"},"ts":ts,"details":{"query":"tea","results":7}}));
    }
    let ts = format!("2024-05-01T10:{minute:02}:50Z");
    lines.push(json!({"id":"bob","ts":ts,"button":"buy","page":"/q"}));
    lines.push(json!({"id":"bob","ts":ts,"query":"coffee","results":3}));
    lines.into_iter().map(|line| line.to_string() + "\n").collect()
}

fn rows(address: SocketAddr, collection: &str) -> Vec<String> {
    let (status, page) = folders::get(address, &format!("/v1/collections/{collection}/rows?limit=1000"));
    assert_eq!(status, 200, "{page}");
    let page: Value = serde_json::from_str(&page).unwrap();
    let mut rows: Vec<String> = page["rows"].as_array().unwrap().iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

/// What is left of all changes that were ever published.
fn followed(address: SocketAddr, collection: &str) -> Vec<String> {
    let (status, frames) =
        folders::get(address, &format!("/v1/collections/{collection}/changes?from=0&until=caught_up"));
    assert_eq!(status, 200, "{frames}");
    let mut sums = BTreeMap::<String, i64>::new();
    for frame in frames.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        for update in frame["updates"].as_array().into_iter().flatten() {
            *sums.entry(update["row"].to_string()).or_default() += update["diff"].as_i64().unwrap();
        }
    }
    sums.retain(|_, sum| *sum != 0);
    assert!(sums.values().all(|sum| *sum == 1), "{sums:?}");
    sums.into_keys().collect()
}

/// Events by class, from the rows of `counts`.
fn classes(address: SocketAddr) -> BTreeMap<String, u64> {
    let mut classes = BTreeMap::new();
    for row in rows(address, "counts") {
        let row: Value = serde_json::from_str(&row).unwrap();
        *classes.entry(row["class"].as_str().unwrap().to_owned()).or_default() += row["events"].as_u64().unwrap();
    }
    classes
}

#[test]
fn learning_is_switched_with_restarts_and_rows_follow() {
    let folder = Folder::new();
    let mut all = String::new();
    for (round, learn) in [true, false, true, true, false].into_iter().enumerate() {
        write(&folder, learn);
        let process = Process::start(&folder, "data", 1 + round % 3, Restart::No);
        let address = process.ready();
        all += &events(round);
        assert_eq!(Client::new(address).post(&events(round)), Outcome::Acknowledged);
        folder.write("events.jsonl", &all);
        let expected = folder.replay("replay.toml", [""; 0]).numbers("classes");
        assert_eq!(expected.contains_key("unclassified"), !learn, "{expected:?}");
        wait_until("the classes are those of a replay", || classes(address) == expected);
        for collection in ["counts", "sessions", "shapes"] {
            assert_eq!(followed(address, collection), rows(address, collection), "{collection}, {round}");
        }
        // Every other process ends without a snapshot: the next one computes its ticks again.
        match round % 2 {
            0 => drop(process.drain()),
            _ => drop(process.kill()),
        }
    }
}

/// Builds of before had another model, and wrote `true` for it. With its classes in the rows that were published, a start
/// with this model took back other rows than had been asserted: subscribers kept both classes.
#[test]
fn a_folder_that_another_model_has_learned_in_is_refused() {
    let folder = Folder::new();
    write(&folder, true);
    let process = Process::start(&folder, "data", 1, Restart::No);
    assert_eq!(Client::new(process.ready()).post(&events(0)), Outcome::Acknowledged);
    process.drain();

    let data = folder.path("data");
    let epoch = epoch::next(&data).unwrap();
    let settings = Settings { id: epoch.log, epoch: epoch.number, parts: 16, workers: 1, limits: Limits::default() };
    let mut log = Log::open(Arc::new(RealFs), &data.join("log"), &settings).unwrap();
    let former = br#"{"kind":"definitions","definitions":{"tests":[],"rules":[],"learn":true}}"#;
    log.control.append(0, &[&[2_u8][..], &former[..]].concat()).unwrap();
    log.control.sync().unwrap();
    drop(log);

    for learn in [true, false] {
        write(&folder, learn);
        let run = folder.headwater(["run", "run.toml", "--data-dir", "data", "--no-restart"]);
        assert_eq!(run.code(), 2, "{}", run.stderr());
        let said = run.said();
        assert!(said.contains("classes that model 1 has learned") && said.contains("with learn = false"), "{said}");
    }
}
