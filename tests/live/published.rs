//! The published ticks of a data folder after the end of its process, added up. Finds missing ticks, rows that are
//! there twice, and removals of rows that were never added.

use super::MEANING;
use super::events::GAP_MS;
use super::journals::copy_all;
use super::subscriber::Truth;
use crate::headwater::{Folder, Row};
use headwater::collections::{Collection, Schemas};
use headwater::config::{self, Overrides};
use headwater_log::epoch;
use headwater_log::vfs::RealFs;
use headwater_log::{Log, Settings};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// By collection and row: how often it is there.
type Rows = BTreeMap<(String, Vec<u8>), i64>;

/// Everything that was published.
pub struct Published {
    /// By tick, over the blocks of all workers: its clock, and what changed. Empty unless it was asked for.
    pub ticks: Vec<(i64, Rows)>,
    /// The next tick, and the clock of the last one.
    pub upper: u64,
    now_ms: i64,
    /// The sum of all.
    sum: Rows,
    schemas: Schemas,
}

fn schemas(data: &Path) -> Schemas {
    // A test may have added policies, and with them a column; or sequences or identities, and with them collections.
    let own = data.parent().and_then(|folder| std::fs::read_to_string(folder.join("run.toml")).ok());
    let text = own
        .filter(|text| text.contains("max_duration") || text.contains("[[sequence]]") || text.contains("[identity]"))
        .unwrap_or_else(|| super::run_toml("", MEANING));
    let plan = config::parse("run.toml", &text, data, &Overrides { live: true, ..Overrides::default() }).unwrap();
    plan.schemas()
}

fn json(schemas: &Schemas, collection: &str, row: &[u8]) -> Value {
    let collection = Collection::named(collection).unwrap();
    let (schema, mut json) = (schemas.of(collection), Vec::new());
    collection.decode(row).unwrap().json(schema, 0..schema.columns.len(), &mut json);
    serde_json::from_slice(&json).unwrap()
}

impl Published {
    /// Reads the folder of a process that has drained: each tick that has happened has to be published.
    pub fn read(data: &Path) -> Published {
        Published::read_each(data, &mut |_, _| {})
    }

    /// As [`Published::read`], with what changed in each tick.
    pub fn read_ticks(data: &Path) -> Published {
        let mut ticks = Vec::new();
        let published = Published::read_each(data, &mut |now_ms, changes| ticks.push((now_ms, changes)));
        Published { ticks, ..published }
    }

    /// As [`Published::read`], and tells `truths` of every tick.
    pub fn read_for(data: &Path, truths: &mut [Truth]) -> Published {
        let schemas = schemas(data);
        Published::read_each(data, &mut |_, changes| {
            let rows: Vec<_> =
                changes.iter().map(|((name, row), diff)| (name.as_str(), json(&schemas, name, row), *diff)).collect();
            for truth in &mut *truths {
                truth.tick(rows.iter().cloned());
            }
        })
    }

    /// Copies the data folder, without what was computed in it, and has `compute` run a process on the copy to its end. Each
    /// tick has to come out with the same bytes.
    pub fn computed_again(&self, folder: &Folder, copy: &str, compute: impl FnOnce(&str)) -> Published {
        copy_all(&folder.path("data"), &folder.path(copy));
        for computed in ["log/out", "log/state", "sinks"].map(|computed| folder.path(copy).join(computed)) {
            if computed.exists() {
                fs::remove_dir_all(computed).unwrap();
            }
        }
        compute(copy);
        let again = Published::read_ticks(&folder.path(copy));
        for (tick, (ours, theirs)) in self.ticks.iter().zip(&again.ticks).enumerate() {
            assert!(ours == theirs, "tick {tick} of {copy}: {ours:?} {theirs:?}");
        }
        assert!(again.ticks.len() >= self.ticks.len());
        again
    }

    fn read_each(data: &Path, each: &mut dyn FnMut(i64, Rows)) -> Published {
        let mut log = open(data);
        log.state_store().unwrap();
        assert_eq!((log.outputs.oldest(), log.outputs.upper()), (0, log.remap.next()));
        let upper = log.outputs.upper();
        let mut clock = i64::MIN;
        let mut sum = Rows::new();
        for tick in 0..upper {
            let blocks = log.outputs.read(tick).unwrap();
            let now_ms = blocks[0].now_ms;
            assert!(blocks.iter().all(|block| (block.tick, block.now_ms) == (tick, now_ms)), "tick {tick}");
            assert!(clock <= now_ms, "tick {tick}: the clock goes back");
            clock = now_ms;
            let mut changes = Rows::new();
            let collections = blocks.iter().flat_map(|block| block.collections());
            for ((name, row), diff) in
                collections.flat_map(|(name, rows)| rows.iter().map(move |(row, d)| ((name, row), d)))
            {
                *changes.entry((name.to_owned(), row.clone())).or_insert(0) += diff;
            }
            changes.retain(|_, diff| *diff != 0);
            for (row, diff) in &changes {
                let times = sum.entry(row.clone()).or_insert(0);
                *times += diff;
                let is_view = Collection::named(&row.0).unwrap().kind() == "view";
                let fine = if is_view { matches!(*times, 0 | 1) } else { *diff > 0 };
                assert!(fine, "tick {tick}: {} is there {times} times: {row:?}", row.0);
                if *times == 0 {
                    sum.remove(row);
                }
            }
            each(now_ms, changes);
        }
        let published = Published { ticks: Vec::new(), upper, now_ms: clock, sum, schemas: schemas(data) };
        published.check_closings();
        same("users", &published.rows(Collection::USERS), &users_of(&published.rows(Collection::SESSIONS)));
        published
    }

    /// The rows of a collection, each as often as it is there, in the order of their text.
    pub fn rows(&self, collection: Collection) -> Vec<Value> {
        let mut all = Vec::new();
        for ((_, row), times) in self.sum.iter().filter(|((name, _), _)| name == collection.name()) {
            let json = json(&self.schemas, collection.name(), row);
            all.extend(std::iter::repeat_n(json, *times as usize));
        }
        all.sort_by_key(Value::to_string);
        all
    }

    /// Returns the changes of a collection, as sinks write them but without the key, if ticks were asked for.
    pub fn changes(&self, collection: Collection) -> Vec<Value> {
        let mut all = Vec::new();
        for (tick, (_, changes)) in self.ticks.iter().enumerate() {
            let own = || changes.iter().filter(|((name, _), _)| name == collection.name());
            let (removed, added) = (own().filter(|(_, diff)| **diff < 0), own().filter(|(_, diff)| **diff > 0));
            all.extend(removed.chain(added).map(|((name, row), diff)| {
                let (schema, mut json) = (self.schemas.of(collection), Vec::new());
                collection.decode(row).unwrap().json(schema, 0..schema.columns.len(), &mut json);
                let row: Value = serde_json::from_slice(&json).unwrap();
                serde_json::json!({ "tick": tick, "collection": name, "diff": diff, "row": row })
            }));
        }
        all
    }

    /// Sessions as the oracle has them.
    pub fn sessions(&self) -> Vec<Row> {
        let number = |row: &Value, key: &str| row[key].as_i64().unwrap();
        let row = |row: &Value| {
            let [start, end] = ["start_us", "end_us"].map(|key| number(row, key) / 1000);
            (row["user"].as_str().unwrap().to_owned(), start, end, number(row, "events") as u64)
        };
        let mut rows: Vec<Row> = self.rows(Collection::SESSIONS).iter().map(row).collect();
        rows.sort();
        rows
    }

    /// Sessions, users, counts and shapes have to be those of `headwater replay` of the same events from a file, to the last byte of
    /// each row; so have dead letters, but for where they lie.
    pub fn is_replayed(&self, folder: &Folder, events: &str) {
        folder.write("events.jsonl", events);
        self.is_replayed_from(folder, &["events.jsonl"]);
    }

    /// The same of several files.
    pub fn is_replayed_from(&self, folder: &Folder, files: &[&str]) {
        let options = ["--out", "out", "--format", "jsonl", "--json"];
        let run = folder.headwater(["replay", "replay.toml"].iter().chain(files).chain(&options));
        assert_eq!(run.code(), 0, "{}", run.stderr());
        let json_lines = |name: &str| -> Vec<Value> {
            let text = folder.read(&format!("out/{name}"));
            let mut rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            rows.sort_by_key(Value::to_string);
            rows
        };
        let mut users = json_lines("users.jsonl");
        for row in users.iter_mut().filter_map(Value::as_object_mut) {
            assert!(row.remove("first_seen").is_some() && row.remove("last_seen").is_some());
        }
        users.sort_by_key(Value::to_string);
        same("users", &self.rows(Collection::USERS), &users);
        let mut sessions = json_lines("sessions.jsonl");
        for row in sessions.iter_mut().filter_map(Value::as_object_mut) {
            // The table alone has the times as text, too.
            assert!(row.remove("start").is_some() && row.remove("end").is_some());
        }
        sessions.sort_by_key(Value::to_string);
        same("sessions", &self.rows(Collection::SESSIONS), &sessions);
        same("counts", &self.rows(Collection::COUNTS), &json_lines("counts.jsonl"));
        same("shapes", &self.rows(Collection::SHAPES), &json_lines("shapes.jsonl"));
        let letters = |rows: Vec<Value>| -> Vec<(Value, Value)> {
            let mut letters: Vec<_> = rows.iter().map(|row| (row["reason"].clone(), row["payload"].clone())).collect();
            letters.sort_by_key(|letter| format!("{letter:?}"));
            letters
        };
        assert_eq!(letters(self.rows(Collection::DEAD_LETTERS)), letters(json_lines("dead_letters.jsonl")));
    }

    /// A session is closed iff, by the clock of the last tick, its gap has passed.
    fn check_closings(&self) {
        let deadline = |end_ms: i64| ((end_ms + GAP_MS).div_euclid(1000) + 1) * 1000;
        let due = self.sessions().into_iter().filter(|row| deadline(row.2) <= self.now_ms).map(|row| (row.0, row.1));
        let closed = self.rows(Collection::CLOSINGS);
        let mut closed: Vec<_> = closed
            .iter()
            .map(|row| (row["user"].as_str().unwrap().to_owned(), row["start_us"].as_i64().unwrap() / 1000))
            .collect();
        closed.sort();
        same("closings", &closed, &due.collect::<Vec<_>>());
    }
}

/// The rows of users that rows of sessions add up to, in the order of their text.
pub fn users_of(sessions: &[Value]) -> Vec<Value> {
    let mut users: BTreeMap<&str, [i64; 4]> = BTreeMap::new();
    for row in sessions {
        let number = |key: &str| row[key].as_i64().unwrap();
        let (start, end) = (number("start_us"), number("end_us"));
        let [first, last, count, events] = users.entry(row["user"].as_str().unwrap()).or_insert([start, end, 0, 0]);
        (*first, *last) = (start.min(*first), end.max(*last));
        (*count, *events) = (*count + 1, *events + number("events"));
    }
    let row = |(user, [first, last, sessions, events]): (&str, [i64; 4])| {
        serde_json::json!({
            "user": user, "first_seen_us": first, "last_seen_us": last, "sessions": sessions, "events": events,
        })
    };
    let mut rows: Vec<Value> = users.into_iter().map(row).collect();
    rows.sort_by_key(Value::to_string);
    rows
}

/// Opens the log as the next process would.
pub fn open(data: &Path) -> Log {
    let epoch = epoch::next(data).unwrap();
    let settings = Settings { id: epoch.log, epoch: epoch.number, parts: 16, workers: 1, limits: Default::default() };
    Log::open(Arc::new(RealFs), &data.join("log"), &settings).unwrap()
}

/// Says where two sorted lists differ, which may be long.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &[T], theirs: &[T]) {
    if ours == theirs {
        return;
    }
    let texts = |rows: &[T]| -> BTreeSet<String> { rows.iter().map(|row| format!("{row:?}")).collect() };
    let (left, right) = (texts(ours), texts(theirs));
    let only = |these: &BTreeSet<String>, those| these.difference(those).take(5).cloned().collect::<Vec<_>>();
    let (here, there) = (only(&left, &right), only(&right, &left));
    panic!("{what}: {} and {} rows; only here {here:#?}, only there {there:#?}", ours.len(), theirs.len());
}
