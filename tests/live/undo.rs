//! Decisions that wait for a row, and decisions that are taken back. A slow oracle goes through the published changes of the
//! views, and finds the same decisions at the same ticks.

use super::actions::{Decision, same_when_computed_again};
use super::gates::lives;
use super::published::{Published, same};
use super::{MEANING, OFTEN, run_toml};
use crate::headwater::Folder;
use headwater::collections::Collection;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const ACTIONS: &str = r#"
[[action]]
name = "settled"
on = "sessions"
when = "events >= 2"
timing = "settled 1s"
do = "count"

[[action]]
name = "settled-back"
on = "sessions"
when = "events >= 2"
timing = "settled 1s"
do = "count"
compensate = true

[[action]]
name = "closed"
on = "sessions"
when = "events >= 2"
timing = "closed"
do = "count"

[[action]]
name = "closed-back"
on = "sessions"
when = "events >= 2"
timing = "closed"
do = "notify"
sink = "closed"
compensate = true

[[action]]
name = "now-back"
on = "sessions"
when = "events >= 3"
do = "route"
sink = "now"
compensate = true

[[action]]
name = "batch-back"
on = "sessions"
when = "events >= 3"
timing = "every 1s"
do = "notify"
sink = "now"
compensate = true

[[sink]]
name = "closed"
kind = "file"
path = "closed.jsonl"
from = "start"

[[sink]]
name = "now"
kind = "file"
path = "now.jsonl"
from = "start"
"#;

#[test]
fn rows_settle_and_decisions_are_taken_back_as_an_oracle_says() {
    let folder = Folder::new();
    folder.write("run.toml", run_toml("", &format!("{MEANING}{ACTIONS}")));
    lives(&folder, 7, &[true, true, true, false], &["settled", "settled-back", "batch-back"]);
    let published = Published::read_ticks(&folder.path("data"));
    check(&folder, &published);
    same_when_computed_again(&folder, &published);
}

/// What is remembered comes back with a snapshot, at any number of workers.
#[test]
fn what_is_remembered_survives_snapshots() {
    let folder = Folder::new();
    folder.write("run.toml", run_toml(OFTEN, &format!("{MEANING}{ACTIONS}")));
    lives(&folder, 8, &[false, true, false, true, false, false], &["settled", "settled-back", "batch-back"]);
    check(&folder, &Published::read_ticks(&folder.path("data")));
}

/// A decision of the oracle: what was decided, and the row.
type Expected = (&'static str, String);

/// What the oracle knows of an action on sessions.
#[derive(Default)]
struct Oracle {
    /// By session: when it is due, and the row.
    waits: BTreeMap<String, (i64, String)>,
    /// By session: the rows that decisions were made of.
    made: BTreeMap<String, String>,
}

fn check(folder: &Folder, published: &Published) {
    let decisions: Vec<Decision> = published.changes(Collection::ACTIONS).iter().map(Decision::of).collect();
    let fits = |least: i64| move |row: &&Value| row["events"].as_i64().unwrap() >= least;
    let id = |row: &Value| row["session_id"].as_str().unwrap().to_owned();
    let mut changes: BTreeMap<(u64, &str), Vec<Value>> = BTreeMap::new();
    for (name, collection) in [("sessions", Collection::SESSIONS), ("closings", Collection::CLOSINGS)] {
        for change in published.changes(collection) {
            changes.entry((change["tick"].as_u64().unwrap(), name)).or_default().push(change);
        }
    }
    let mut seen = BTreeSet::new();
    for action in ["settled", "settled-back", "closed", "closed-back", "now-back", "batch-back"] {
        let (mut oracle, mut view) = (Oracle::default(), BTreeMap::<String, Value>::new());
        let least = if action.starts_with("now") || action.starts_with("batch") { 3 } else { 2 };
        let undoes = action.ends_with("-back");
        for (tick, (now_ms, _)) in published.ticks.iter().enumerate() {
            let tick = tick as u64;
            let before = view.clone();
            for change in changes.get(&(tick, "sessions")).into_iter().flatten() {
                let row = &change["row"];
                match change["diff"].as_i64().unwrap() {
                    1 => drop(view.insert(id(row), row.clone())),
                    _ => view.retain(|_, known| known != row),
                }
            }
            let mut expected: Vec<Expected> = Vec::new();
            let keys: BTreeSet<&String> = before.keys().chain(view.keys()).collect();
            let changed: Vec<(&String, Option<&Value>, Option<&Value>)> = keys
                .into_iter()
                .map(|key| (key, before.get(key).filter(fits(least)), view.get(key).filter(fits(least))))
                .filter(|(_, old, new)| old != new)
                .collect();
            let closings = changes.get(&(tick, "closings")).into_iter().flatten();
            let (opened, closed): (Vec<&Value>, Vec<&Value>) = closings.partition(|one| one["diff"] == -1);
            // What is taken back.
            let gone: Vec<String> = match action {
                "settled" | "settled-back" => changed.iter().map(|(key, ..)| (*key).clone()).collect(),
                "closed-back" => {
                    let left = changed.iter().filter(|(_, _, new)| new.is_none()).map(|(key, ..)| (*key).clone());
                    left.chain(opened.iter().map(|one| id(&one["row"]))).collect()
                }
                "closed" => Vec::new(),
                _ => changed.iter().filter(|(_, _, new)| new.is_none()).map(|(key, ..)| (*key).clone()).collect(),
            };
            for key in gone {
                let waited = oracle.waits.remove(&key).filter(|_| action == "batch-back");
                expected.extend(waited.map(|(_, row)| ("cancelled", row)));
                expected.extend(oracle.made.remove(&key).filter(|_| undoes).map(|row| ("undo", row)));
            }
            // What is due.
            let fires = if action.starts_with("settled") || action == "closed" { "counted" } else { "fired" };
            let due: Vec<String> =
                oracle.waits.iter().filter(|(_, (due, _))| due <= now_ms).map(|(key, _)| key.clone()).collect();
            for key in due {
                let (_, row) = oracle.waits.remove(&key).unwrap();
                expected.push((fires, row.clone()));
                oracle.made.insert(key, row);
            }
            // What is new.
            match action {
                "settled" | "settled-back" => {
                    for (key, _, new) in changed {
                        let due = new.map(|row| (now_ms + 1000, row.to_string()));
                        oracle.waits.extend(due.map(|due| (key.clone(), due)));
                    }
                }
                "closed" | "closed-back" => {
                    for key in closed.iter().map(|one| id(&one["row"])) {
                        let Some(row) = view.get(&key).filter(fits(least)) else { continue };
                        expected.push((fires, row.to_string()));
                        oracle.made.insert(key, row.to_string());
                    }
                }
                _ => {
                    for (key, _, new) in changed.into_iter().filter(|(_, old, _)| old.is_none()) {
                        let Some(row) = new.map(Value::to_string) else { continue };
                        if action == "batch-back" {
                            oracle.waits.insert(key.clone(), ((now_ms.div_euclid(1000) + 1) * 1000, row));
                        } else {
                            expected.push((fires, row.clone()));
                            oracle.made.insert(key.clone(), row);
                        }
                    }
                }
            }
            let own = decisions.iter().filter(|one| one.action == action && one.tick == tick);
            let mut found: Vec<(&str, String)> =
                own.map(|one| (one.row["decision"].as_str().unwrap(), one.cause().to_string())).collect();
            seen.extend(found.iter().map(|(decision, _)| format!("{action} {decision}")));
            found.sort();
            expected.sort();
            same(&format!("{action} at {tick}"), &found, &expected);
        }
    }
    for decision in ["settled-back undo", "closed-back undo", "now-back undo", "closed counted", "batch-back fired"] {
        assert!(seen.contains(decision), "{decision}: {seen:?}");
    }
    check_keys(&decisions);
    check_files(folder, &decisions);
}

/// A decision is taken back under its key, once, after it was made.
fn check_keys(decisions: &[Decision]) {
    let mut made: BTreeMap<&str, &Decision> = BTreeMap::new();
    let mut undone = BTreeSet::new();
    for one in decisions {
        let key = one.row["key"].as_str().unwrap();
        if one.row["decision"] == "undo" {
            let before = made[key];
            assert!(before.tick < one.tick && before.cause() == one.cause(), "{}", one.row);
            assert!(undone.insert(key), "{key} is taken back twice");
        } else {
            assert!(made.insert(key, one).is_none(), "{key} is decided twice");
        }
    }
}

/// A receiver hears of what was made and of what was taken back: of a row that is routed, as its removal.
fn check_files(folder: &Folder, decisions: &[Decision]) {
    for (file, actions) in [("closed.jsonl", &["closed-back"][..]), ("now.jsonl", &["now-back", "batch-back"])] {
        let lines = folder.read(file);
        let found = lines.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            format!("{} {} {} {}", line["tick"], line["collection"], line["diff"], line["row"])
        });
        let mut found: Vec<String> = found.collect();
        let handed = decisions.iter().filter(|one| actions.contains(&one.action.as_str()));
        let handed = handed.filter(|one| one.row["decision"] != "cancelled");
        let mut expected: Vec<String> = handed
            .map(|one| match (one.action.as_str(), one.row["decision"] == "undo") {
                ("now-back", undo) => {
                    format!("{} \"sessions\" {} {}", one.tick, if undo { -1 } else { 1 }, one.cause())
                }
                _ => format!("{} \"actions\" 1 {}", one.tick, one.row),
            })
            .collect();
        [&mut found, &mut expected].into_iter().for_each(|all| all.sort());
        same(file, &found, &expected);
    }
}
