//! The promise: `doctor` reports the content of a data folder, and every damage with its place, its meaning and advice.
//! It also reports what a start would do; it changes no byte, and a start then does what the report says.

use crate::headwater::Folder;
use crate::patience::wait_until;
use headwater::queue::control::Control;
use headwater::queue::numbers::SourceNumber;
use headwater_log::epoch;
use headwater_log::error::LogError;
use headwater_log::output::Block;
use headwater_log::partition::Limits;
use headwater_log::state::{Snapshot, StateStore};
use headwater_log::vfs::RealFs;
use headwater_log::{Log, Settings};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens the log in `data` as the next start would.
fn open(data: &Path) -> Result<Log, LogError> {
    fs::create_dir_all(data).unwrap();
    let epoch = epoch::next(data).unwrap();
    let limits = Limits { segment_bytes: 2_000, buffer_bytes: 500, block_bytes: 400, piece_bytes: 1_000 };
    let settings = Settings { id: epoch.log, epoch: epoch.number, parts: 2, workers: 2, limits };
    Log::open(Arc::new(RealFs), &data.join("log"), &settings)
}

/// Ten ticks of ten records each, published, with snapshots of ticks 3 and 6, then a record that no tick has taken.
fn write(data: &Path) {
    let mut log = open(data).unwrap();
    log.control.append(1, &Control::Source { source: SourceNumber(0), name: "clicks".into() }.encode()).unwrap();
    log.control.append(1, &Control::Generation { epoch: 1, program: [9; 32] }.encode()).unwrap();
    log.control.sync().unwrap();
    let (mut store, damages) = log.state_store().unwrap();
    assert_eq!(damages, []);
    go_on(&mut log, &mut store, 10, &[3, 6]);
    log.queue[0].append(1_000, b"waits").unwrap();
}

/// Ticks of ten records each, published, with snapshots of some.
fn go_on(log: &mut Log, store: &mut StateStore, ticks: u64, snapshots: &[u64]) {
    for tick in log.remap.next()..log.remap.next() + ticks {
        for number in 0..10 {
            log.queue[tick as usize % 2].append(1_000, format!("event {number} of {tick}").as_bytes()).unwrap();
        }
        let binding = log.mint(2_000 + tick as i64, &BTreeMap::new()).unwrap().clone();
        for worker in 0..2 {
            log.outputs.append(worker, &Block::new(binding.tick, binding.now_ms), None).unwrap();
            log.outputs.sync(worker).unwrap();
        }
        if snapshots.contains(&tick) {
            let rows = vec![(format!("row of {tick}").into_bytes(), 1)];
            let changes = BTreeMap::from([("sessions".to_owned(), rows)]);
            let remap_digest = binding.digest();
            let (tick, program) = (binding.tick, [9; 32]);
            store.write(Snapshot { tick, now_ms: 1, remap_digest, program, changes, ..Snapshot::default() }).unwrap();
        }
    }
}

fn folder() -> (Folder, PathBuf) {
    let folder = Folder::new();
    let data = folder.path("data");
    write(&data);
    (folder, data)
}

/// Asks the binary, which must not change a byte. The report, and whether it exits with 0.
fn doctor(folder: &Folder) -> (Value, bool) {
    let before = bytes(&folder.path("data"));
    let run = folder.headwater(["doctor", "data", "--json"]);
    let text = folder.headwater(["doctor", "data"]);
    assert_eq!(bytes(&folder.path("data")), before, "nothing is changed");
    assert!(run.code() < 2, "{}", run.stderr());
    assert_eq!(text.code(), run.code());
    let report: Value = serde_json::from_str(&run.stdout()).unwrap();
    for damage in report["damages"].as_array().unwrap() {
        assert!(["what", "means", "to_do"].iter().all(|key| !damage[key].as_str().unwrap().is_empty()), "{damage}");
    }
    (report, run.code() == 0)
}

/// Waits until no process has it open: one that another test is starting may hold this one's files for a moment.
fn closed(folder: &Folder) {
    wait_until("no process has it open", || doctor(folder).0["in_use"] != true);
}

/// Every file with its bytes.
fn bytes(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(bytes(&path)),
            false => drop(all.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    all
}

/// The files in a folder of the log whose names end so, in order.
fn files(data: &Path, dir: &str, end: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(data.join("log").join(dir)).unwrap().map(|entry| entry.unwrap().path());
    let mut own: Vec<PathBuf> = all.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    own.sort();
    own
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// Files with damage, in the report's order.
fn damaged(report: &Value) -> Vec<String> {
    let file = |damage: &Value| {
        let file = damage["file"].as_str().unwrap_or_default();
        file.rsplit("/data/").next().unwrap().trim_start_matches("data/").to_owned()
    };
    report["damages"].as_array().unwrap().iter().map(file).collect()
}

#[test]
fn a_whole_folder_is_described_and_a_start_is_foretold() {
    let (folder, data) = folder();
    let (report, well) = doctor(&folder);
    assert!(well);
    assert_eq!(report["damages"], json!([]));
    assert_eq!(report["epoch"], 1);
    closed(&folder);
    assert_eq!(report["sources"], json!([{ "number": 0, "name": "clicks" }]));
    assert_eq!(report["programs"][0]["program"], "09".repeat(32));
    let part = &report["queue"][0];
    assert_eq!((&part["from"], &part["upto"]), (&json!(0), &json!(51)));
    assert!(part["segments"].as_u64().unwrap() > 1, "{part}");
    let ticks = &report["ticks"];
    assert_eq!((&ticks["from"], &ticks["upto"], &ticks["now_ms"]), (&json!(0), &json!(10), &json!(2009)));
    assert_eq!(report["outputs"]["sets"], json!([{ "from": 0, "upto": 10, "partitions": 2 }]));
    let used: Vec<_> = report["snapshots"].as_array().unwrap().iter().map(|one| (&one["tick"], &one["used"])).collect();
    assert_eq!(used, [(&json!(6), &json!(true)), (&json!(3), &json!(false))]);
    // The records of three ticks, `event N of T`.
    let start = &report["start"];
    assert_eq!((&start["from"], &start["upto"], &start["possible"]), (&json!(7), &json!(10), &json!(true)));
    assert_eq!((&start["records"], &start["bytes"], &start["waiting"]), (&json!(30), &json!(360), &json!(1)));
    assert_eq!(start["changes"], json!([]));

    let mut log = open(&data).unwrap();
    assert_eq!(log.state_store().unwrap().0.generation().unwrap().tick, 6);
}

#[test]
fn a_folder_in_use_is_described_too() {
    let (folder, data) = folder();
    let mut log = open(&data).unwrap();
    log.mint(3_000, &BTreeMap::new()).unwrap();
    let (report, well) = doctor(&folder);
    assert!(well, "{report}");
    assert_eq!(
        (&report["in_use"], &report["ticks"]["upto"], &report["ticks"]["epochs"]),
        (&json!(true), &json!(11), &json!([1, 2]))
    );
    drop(log);
    closed(&folder);
}

#[test]
fn a_torn_write_is_no_damage() {
    let (folder, data) = folder();
    let last = files(&data, "wal/00", ".seg").pop().unwrap();
    let whole = fs::read(&last).unwrap();
    fs::write(&last, [&whole[..], &[7; 40]].concat()).unwrap();
    let (report, well) = doctor(&folder);
    assert!(well, "{report}");
    let change = &report["start"]["changes"][0];
    assert_eq!((&change["what"], &change["at"], &change["bytes"]), (&json!("cut"), &json!(whole.len()), &json!(40)));
    open(&data).unwrap();
    let after = fs::read(&last).unwrap();
    assert_eq!(after[..whole.len()], whole, "the start has cut it");
    assert!(after[whole.len()..] != [7; 40]);
}

/// All of it, not only the first.
#[test]
fn every_damaged_segment_is_named() {
    let (folder, data) = folder();
    let queue = files(&data, "wal/00", ".seg");
    flip(&queue[0], 100);
    flip(&queue[1], 60);
    flip(&files(&data, "wal/01", ".seg")[0], 4);
    let (report, well) = doctor(&folder);
    assert!(!well);
    let names = [&queue[0], &queue[1], &files(&data, "wal/01", ".seg")[0]];
    let names = names.map(|file| file.strip_prefix(&data).unwrap().to_string_lossy().into_owned());
    assert_eq!(damaged(&report), names);
    assert_eq!(report["damages"][1]["at"], 56, "the frame that begins behind the header");
    assert_eq!(report["start"]["possible"], false);
    assert!(matches!(open(&data), Err(LogError::Corrupt { .. })));
}

#[test]
fn each_part_of_the_log_has_its_own_advice() {
    for (dir, says) in [("control", "numbers of sources"), ("remap", "each tick took"), ("out", "published ticks")] {
        let (folder, data) = folder();
        flip(&files(&data, dir, ".seg")[0], 70);
        let (report, well) = doctor(&folder);
        let means = report["damages"][0]["means"].as_str().unwrap();
        assert!(!well && means.contains(says), "{dir}: {report}");
        assert!(open(&data).is_err(), "{dir}");
    }
}

/// A start reads what it needs; the doctor reads all, and says whether a start would meet it.
#[test]
fn damage_that_a_start_does_not_meet_is_told_too() {
    for (dir, says) in [("wal/01", "does not need them"), ("out", "A start is not affected")] {
        let (folder, data) = folder();
        let mut log = open(&data).unwrap();
        let (mut store, _) = log.state_store().unwrap();
        go_on(&mut log, &mut store, 20, &[20, 28]);
        drop((log, store));
        let file = &files(&data, dir, ".seg")[0];
        flip(file, 70);
        let (report, well) = doctor(&folder);
        assert!(!well && report["start"]["possible"] == true, "{dir}: {report}");
        assert_eq!((report["start"]["from"].as_u64(), damaged(&report).len()), (Some(29), 1), "{report}");
        let means = report["damages"][0]["means"].as_str().unwrap();
        assert!(means.contains(says) && report["damages"][0]["harmless"] == false, "{dir}: {report}");
        drop(open(&data).unwrap());

        // From the snapshots before, it would.
        for newer in files(&data, "state", ".gen") {
            fs::remove_file(newer).unwrap();
        }
        let (report, well) = doctor(&folder);
        assert!(!well && report["start"]["possible"] == false, "{dir}: {report}");
        assert_eq!(damaged(&report).len(), 1, "{report}");
    }
}

#[test]
fn segments_that_are_missing_are_told() {
    let (folder, data) = folder();
    fs::remove_file(&files(&data, "wal/00", ".seg")[0]).unwrap();
    let (report, _) = doctor(&folder);
    assert!(report["damages"][0]["what"].as_str().unwrap().contains("missing"), "{report}");

    let (folder, data) = self::folder();
    for file in files(&data, "wal/00", ".seg") {
        fs::remove_file(file).unwrap();
    }
    let (report, well) = doctor(&folder);
    assert!(!well && report["damages"][0]["means"].as_str().unwrap().contains("not of one time"), "{report}");
}

#[test]
fn outputs_can_be_left_behind() {
    let (folder, data) = folder();
    let damaged = &files(&data, "out", ".seg")[0];
    flip(damaged, 70);
    let (report, _) = doctor(&folder);
    assert_eq!(report["start"]["possible"], false);
    assert!(report["damages"][0]["to_do"].as_str().unwrap().contains("move the folder `out` away"), "{report}");
    fs::remove_file(damaged).unwrap();
    let (report, _) = doctor(&folder);
    assert!(report["damages"][0]["what"].as_str().unwrap().contains("ends before tick 0"), "{report}");
    assert_eq!(report["start"]["possible"], false);
    fs::rename(data.join("log/out"), data.join("out-damaged")).unwrap();
    let (report, well) = doctor(&folder);
    assert!(well && report["start"]["possible"] == true && report["outputs"]["from"] == 7, "{report}");
    let mut log = open(&data).unwrap();
    log.state_store().unwrap();
    assert_eq!(log.outputs.upper(), 7);
}

#[test]
fn of_two_snapshots_one_may_be_damaged() {
    let (folder, data) = folder();
    let newest = files(&data, "state", ".gen").pop().unwrap();
    flip(&newest, 80);
    let (report, well) = doctor(&folder);
    assert!(!well, "the doctor reports it");
    assert_eq!((&report["damages"][0]["harmless"], &report["start"]["possible"]), (&json!(true), &json!(true)));
    assert_eq!((&report["start"]["from"], &report["snapshots"][1]["used"]), (&json!(4), &json!(true)));
    let changes: Vec<_> = report["start"]["changes"].as_array().unwrap().iter().map(|change| &change["what"]).collect();
    assert_eq!(changes, ["remove", "rename"], "its own run, and its manifest");

    let mut log = open(&data).unwrap();
    let (store, damages) = log.state_store().unwrap();
    assert_eq!((store.generation().unwrap().tick, damages.len()), (3, 1));
}

#[test]
fn without_a_whole_snapshot_a_start_is_refused_and_the_way_out_is_told() {
    let (folder, data) = folder();
    for run in files(&data, "state", ".run") {
        flip(&run, 60);
    }
    let (report, well) = doctor(&folder);
    assert!(!well);
    assert_eq!(report["start"]["possible"], false);
    let all = report["damages"].as_array().unwrap().last().unwrap();
    // The log was never released: everything can be computed again.
    assert!(all["to_do"].as_str().unwrap().contains("move the folder `state` away"), "{report}");
    fs::rename(data.join("log/state"), data.join("state-damaged")).unwrap();
    let (report, well) = doctor(&folder);
    assert!(well && report["start"]["from"] == 0, "{report}");
    open(&data).unwrap().state_store().unwrap();
}

#[test]
fn a_missing_or_old_epoch_can_be_written_by_hand() {
    let (folder, data) = folder();
    open(&data).unwrap();
    let whole = fs::read_to_string(data.join("EPOCH")).unwrap();
    for damage in [None, Some("{"), Some(&*whole.replace(":2", ":1"))] {
        match damage {
            None => fs::remove_file(data.join("EPOCH")).unwrap(),
            Some(text) => fs::write(data.join("EPOCH"), text).unwrap(),
        }
        let (report, well) = doctor(&folder);
        assert!(!well && report["start"]["possible"] == false, "{report}");
        let to_do = report["damages"][0]["to_do"].as_str().unwrap();
        let repaired = to_do.split('\'').nth(1).unwrap();
        // What is known of a log is that there is one.
        assert_eq!(repaired, whole.replace("\"logged\":false", "\"logged\":true"), "{to_do}");
        fs::write(data.join("EPOCH"), repaired).unwrap();
        assert!(doctor(&folder).1);
    }
}

#[test]
fn what_is_no_data_folder_is_told_apart() {
    let (folder, _) = folder();
    for (wrong, says) in [("nowhere", "no data folder"), ("data/log", "name the folder that it lies in")] {
        let run = folder.headwater(["doctor", wrong]);
        assert_eq!(run.code(), 2, "{wrong}");
        assert!(run.stderr().contains(says), "{}", run.stderr());
    }
}

#[test]
fn the_text_is_for_people() {
    let (folder, data) = folder();
    flip(&files(&data, "state", ".gen")[0], 80);
    let text = folder.headwater(["doctor", "data"]).stdout();
    for line in [
        "data: damaged where it does no harm",
        "  sources      0 clicks",
        "  again        3 ticks with 30 records, 360 B",
        "  then         1 record that no tick has taken yet",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}
