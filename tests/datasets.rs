//! The promise: real log files become exactly the sessions that are known to be true. Eight public data sets replay
//! with one configuration each (beside this file), without code for any one of them. The truth was computed twice by
//! other means (plain Python and SQL). A replay has to give it at any number of workers and in any order of the input.
//!
//! The data is not part of the tree: its folder is `HEADWATER_DATA`, else `../shared/data` beside it. If it is absent
//! the tests print that and pass, unless `HEADWATER_REQUIRE_DATA=1`.

mod files;

use crate::headwater::{Folder, Replay, Row, csv};
use files::{Order, gunzip, reorder};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Every combination of workers, order and gap.
const ALL: &[(usize, Order, Gap)] = &[
    (1, Order::Forward, Gap::Thirty),
    (2, Order::Forward, Gap::Thirty),
    (3, Order::Forward, Gap::Thirty),
    (1, Order::Reversed, Gap::Thirty),
    (2, Order::Reversed, Gap::Thirty),
    (3, Order::Reversed, Gap::Thirty),
    (1, Order::Shuffled, Gap::Thirty),
    (2, Order::Shuffled, Gap::Thirty),
    (3, Order::Shuffled, Gap::Thirty),
    (1, Order::Forward, Gap::Five),
    (2, Order::Forward, Gap::Five),
    (3, Order::Forward, Gap::Five),
    (1, Order::Reversed, Gap::Five),
    (2, Order::Reversed, Gap::Five),
    (3, Order::Reversed, Gap::Five),
    (1, Order::Shuffled, Gap::Five),
    (2, Order::Shuffled, Gap::Five),
    (3, Order::Shuffled, Gap::Five),
];

/// For the second rendering of a set that has run in all combinations: at either gap each number of workers and each order once.
const COVERING: &[(usize, Order, Gap)] = &[
    (1, Order::Forward, Gap::Thirty),
    (2, Order::Reversed, Gap::Thirty),
    (3, Order::Shuffled, Gap::Thirty),
    (1, Order::Reversed, Gap::Five),
    (2, Order::Shuffled, Gap::Five),
    (3, Order::Forward, Gap::Five),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the folder of the data sets.
pub fn data() -> PathBuf {
    std::env::var_os("HEADWATER_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from)
}

/// Returns the folder, which `variable` names, if it is there; else says that the test is skipped, or fails it if `required`
/// is set to 1.
pub fn present(name: &str, folder: PathBuf, variable: &str, required: &str) -> Option<PathBuf> {
    if folder.is_dir() {
        return Some(folder);
    }
    let is_required = std::env::var_os(required).is_some_and(|value| value == "1");
    assert!(!is_required, "{} is absent, and {required}=1", folder.display());
    // Not `eprintln!`: of a test that passes it would not be seen.
    let notice = format!("SKIPPED {name}: {} is absent (set {variable})\n", folder.display());
    let _ = std::io::stderr().write_all(notice.as_bytes());
    None
}

#[derive(Clone, Copy)]
enum Gap {
    /// Minutes; the default.
    Thirty,
    Five,
}

#[test]
fn apache_access_2015() {
    let Some(set) = Set::open("apache-access-2015") else { return };
    set.check(&set.files("data"), ALL);
    // The rendering keeps method and status inside one text, so it gives the same sessions, but other classes.
    set.check_sessions(&set.files("jsonl"), &[(2, Order::Shuffled, Gap::Thirty), (3, Order::Reversed, Gap::Five)]);
}

#[test]
fn gharchive_2015() {
    let Some(set) = Set::open("gharchive-2015") else { return };
    set.check(&set.files("data"), ALL);
}

/// The raw form is XML, so the rendering it is.
#[test]
fn loan_applications_bpic2012() {
    let Some(set) = Set::open("loan-applications-bpic2012") else { return };
    set.check(&set.files("jsonl"), ALL);
}

/// An application is followed as a package is: each of these steps comes once at most, so the truth has how many come so far.
#[test]
fn loan_applications_come_as_far_as_is_known() {
    let Some(set) = Set::open("loan-applications-bpic2012") else { return };
    let steps = ["A_SUBMITTED", "A_PREACCEPTED", "A_ACCEPTED", "A_FINALIZED", "A_APPROVED"];
    let steps = steps.map(|step| format!("{step}/COMPLETE"));
    let sequence = format!("[[sequence]]\nname = 'loan'\nsteps = {steps:?}\nwithin = '366d'\nties = 'ordered'\n");
    let folder = Folder::new();
    let config = std::fs::read_to_string(&set.config).unwrap();
    let config = folder.write("loans.toml", format!("{config}\n{sequence}"));
    let known = csv(&std::fs::read(set.folder.join("truth/classes.csv")).unwrap());
    let known: BTreeMap<&str, u64> =
        known.iter().map(|row| (row["class"].as_str(), row["events"].parse().unwrap())).collect();
    for (workers, order) in [("1", Order::Forward), ("3", Order::Shuffled)] {
        let files = reorder(&set.files("jsonl"), order, &folder);
        let options = ["--workers", workers, "--now", "2013-06-01"].map(PathBuf::from);
        let replay = folder.replay(&config, files.iter().chain(&options));
        let funnel = &replay.summary["funnels"][0];
        for (step, reached) in steps.iter().zip(funnel["steps"].as_array().unwrap()) {
            assert_eq!(reached["reached"].as_u64(), known.get(step.as_str()).copied(), "{step}, {workers} workers");
        }
        let last = known["A_APPROVED/COMPLETE"];
        let begun = known["A_SUBMITTED/COMPLETE"];
        assert_eq!((&funnel["matched"], &funnel["expired"]), (&last.into(), &(begun - last).into()));
    }
}

#[test]
fn otto_nested_sessions() {
    let Some(set) = Set::open("otto-nested-sessions") else { return };
    set.check(&set.files("data"), ALL);
}

#[test]
fn retentioneering_ecom() {
    let Some(set) = Set::open("retentioneering-ecom") else { return };
    assert_eq!(set.truth("provider_sessions.csv.gz"), set.truth("sessions.csv.gz"), "the provider counts as we do");
    set.check(&set.files("data"), ALL);
    set.check(&set.files("jsonl"), COVERING);
}

#[test]
fn snowplow_web() {
    let Some(set) = Set::open("snowplow-web") else { return };
    set.check(&set.inputs(), ALL);
    set.check(&set.files("jsonl"), COVERING);
}

#[test]
fn wikimedia_recentchange_2023() {
    let Some(set) = Set::open("wikimedia-recentchange-2023") else { return };
    set.check(&set.files("data"), ALL);
}

#[test]
fn zeek_wrccdc_json() {
    let Some(set) = Set::open("zeek-wrccdc-json") else { return };
    set.check(&set.files("data"), ALL);
}

/// Common logs need no configuration: the built-in candidates find user, time and type.
#[test]
fn built_in_candidates_read_common_logs() {
    for name in ["gharchive-2015", "retentioneering-ecom", "wikimedia-recentchange-2023"] {
        let Some(mut set) = Set::open(name) else { return };
        let folder = Folder::new();
        set.config = folder.write("empty.toml", "");
        set.check(&set.files("data"), &[(2, Order::Forward, Gap::Thirty)]);
    }
}

pub struct Set {
    folder: PathBuf,
    pub config: PathBuf,
}

impl Set {
    /// All sets.
    pub const NAMES: [&str; 8] = [
        "apache-access-2015",
        "gharchive-2015",
        "loan-applications-bpic2012",
        "otto-nested-sessions",
        "retentioneering-ecom",
        "snowplow-web",
        "wikimedia-recentchange-2023",
        "zeek-wrccdc-json",
    ];

    pub fn open(name: &str) -> Option<Set> {
        let config = root().join("tests/datasets").join(name).with_extension("toml");
        present(name, data().join(name), "HEADWATER_DATA", "HEADWATER_REQUIRE_DATA")
            .map(|folder| Set { folder, config })
    }

    /// Everything in a folder of the set, sorted.
    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let entries = self.folder.join(folder).read_dir().unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// The files of its events, as raw as Headwater reads them.
    pub fn inputs(&self) -> Vec<PathBuf> {
        match self.folder.file_name().and_then(|name| name.to_str()) {
            // The raw form is XML.
            Some("loan-applications-bpic2012") => self.files("jsonl"),
            // The other files are contexts of these events, not events.
            Some("snowplow-web") => vec![self.folder.join("data/snowplow_web_events.csv.gz")],
            _ => self.files("data"),
        }
    }

    /// Sessions, classes and totals are those of the truth, in each combination.
    fn check(&self, files: &[PathBuf], combinations: &[(usize, Order, Gap)]) {
        let known: Value =
            serde_json::from_slice(&std::fs::read(self.folder.join("truth/summary.json")).unwrap()).unwrap();
        let known = |name: &str| known[name].as_u64().unwrap();
        let classes = csv(&std::fs::read(self.folder.join("truth/classes.csv")).unwrap());
        let classes: BTreeMap<String, u64> =
            classes.into_iter().map(|row| (row["class"].clone(), row["events"].parse().unwrap())).collect();
        for replay in self.check_sessions(files, combinations) {
            assert_eq!(replay.number("events"), known("events"));
            assert_eq!(replay.number("users"), known("users"));
            assert_eq!(replay.number("dead_letters"), 0);
            assert_eq!(replay.number("duplicates"), 0);
            let sessionless: u64 = replay.numbers("sessionless").values().sum();
            assert_eq!(sessionless, known("events") - known("events_in_sessions"));
            assert_eq!(replay.numbers("classes"), classes);
        }
    }

    /// The sessions are those of the truth, in each combination.
    fn check_sessions(&self, files: &[PathBuf], combinations: &[(usize, Order, Gap)]) -> Vec<Replay> {
        assert!(!files.is_empty());
        let thirty = self.truth("sessions.csv.gz");
        let five = self.truth("sessions_gap5min.csv.gz");
        let folder = Folder::new();
        let mut orders: BTreeMap<Order, Vec<PathBuf>> = BTreeMap::new();
        let mut replays = Vec::new();
        for &(workers, order, gap) in combinations {
            let files = orders.entry(order).or_insert_with(|| reorder(files, order, &folder));
            let (gap, truth) = match gap {
                Gap::Thirty => ("30m", &thirty),
                Gap::Five => ("5m", &five),
            };
            let options = ["--workers", &workers.to_string(), "--gap", gap].map(PathBuf::from);
            let replay = folder.replay(&self.config, files.iter().chain(&options));
            let what = format!("{}, {workers} workers, {order:?}, gap {gap}", self.folder.display());
            assert_same(&replay.rows(), truth, &what);
            assert_eq!(replay.number("sessions"), truth.len() as u64, "{what}");
            replays.push(replay);
        }
        replays
    }

    /// The rows of a truth file, sorted.
    fn truth(&self, file: &str) -> Vec<Row> {
        let rows = csv(&gunzip(&self.folder.join("truth").join(file)));
        let mut rows: Vec<Row> = rows
            .into_iter()
            .map(|row| {
                let number = |column: &str| -> i64 { row[column].parse().unwrap() };
                (row["user"].clone(), number("start_ms"), number("end_ms"), number("n_events") as u64)
            })
            .collect();
        rows.sort();
        rows
    }
}

/// As `assert_eq!`, but prints where the two part, not thousands of rows.
fn assert_same(seen: &[Row], truth: &[Row], what: &str) {
    let parted = (0..seen.len().max(truth.len())).find(|&n| seen.get(n) != truth.get(n));
    if let Some(n) = parted {
        panic!("{what}: {} sessions of {}; row {n}: {:?} of {:?}", seen.len(), truth.len(), seen.get(n), truth.get(n));
    }
}
