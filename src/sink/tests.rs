//! Sinks on a real output log, crashed at every point between reading and remembering.

mod receivers;

use super::*;
use crate::collections;
use crate::config::{self, Overrides};
use crate::observe::metrics::Metrics;
use crate::patience::{PATIENCE, wait_until};
use dataflows::Tick;
use headwater_log::error::Poison;
use headwater_log::histories::{Place, StartId};
use headwater_log::output::{Block, Retention};
use headwater_log::partition::{Context, Limits};
use headwater_log::vfs::RealFs;
use serde_json::Value;
use std::fs;

const LOG: LogId = LogId([7; 16]);

/// A data folder whose output log is written by hand: counts, as many as one likes.
struct World {
    folder: tempfile::TempDir,
    outputs: Arc<OutputLog>,
    workers: usize,
    status: Arc<Status>,
    metrics: Metrics,
    histories: Arc<Histories>,
}

impl World {
    fn new(workers: usize) -> World {
        World::of(tempfile::tempdir().unwrap(), workers, 1)
    }

    fn of(folder: tempfile::TempDir, workers: usize, epoch: u64) -> World {
        let limits = Limits { segment_bytes: 256, ..Limits::default() };
        let context = Context { vfs: Arc::new(RealFs), id: LOG, epoch, limits, poison: Poison::default() };
        let out = folder.path().join("out");
        fs::create_dir_all(&out).unwrap();
        let outputs = Arc::new(OutputLog::open(&context, &out, workers as u32, 0).unwrap());
        let histories = Arc::new(Histories::first(LOG, StartId([1; 8]), epoch, Place::default()));
        World { folder, outputs, workers, status: Arc::default(), metrics: Metrics::new(), histories }
    }

    /// Publishes a tick in which each class counts more events than before, spread over the workers.
    fn publish(&self, counts: &[(&str, u64, i64)]) -> Tick {
        let tick = self.outputs.upper();
        for worker in 0..self.workers {
            let own = counts.iter().enumerate().filter(|(index, _)| index % self.workers == worker);
            let rows = own
                .map(|(_, (class, events, diff))| (collections::counts::encode(class, None, *events), *diff))
                .collect();
            let mut block = Block::new(tick, tick as i64);
            block.add("counts", rows).unwrap();
            self.outputs.append(worker, &block, None).unwrap();
            self.outputs.sync(worker).unwrap();
        }
        self.status.published.store(self.outputs.upper(), Ordering::Release);
        tick
    }

    /// Some ticks, of which the first three rows of each match `events >= 2`.
    fn publish_some(&self) {
        for tick in 0..5 {
            let class = format!("tick {tick}");
            self.publish(&[(&class, 4, 1), (&class, 3, 1), (&class, 2, 1), (&class, 1, 1), (&class, 9, -1)]);
            self.publish(&[]);
        }
    }

    fn plan(&self, sink: &str) -> Plan {
        let text = format!("[[source]]\nname = 's'\nkind = 'http'\n[[sink]]\n{sink}");
        let overrides = Overrides { live: true, ..Overrides::default() };
        config::parse("run.toml", &text, self.folder.path(), &overrides).unwrap()
    }

    fn shared<'w>(&'w self, schemas: &'w Arc<Schemas>) -> Shared<'w> {
        let World { outputs, status, metrics, histories, .. } = self;
        Shared { log: LOG, histories, outputs, schemas, status, metrics }
    }

    fn open(&self, sink: &str) -> Result<Sink, Error> {
        let plan = self.plan(sink);
        let schemas = Arc::new(plan.schemas());
        Sink::open(&plan.sinks[0], &plan.data_dir.join(FOLDER), &self.shared(&schemas))
    }

    /// Lets a sink take everything that is published.
    fn take_all(&self, sink: &str) {
        let mut sink = self.open(sink).unwrap();
        let stop = Stop::default();
        while sink.cursor.position.tick < self.outputs.upper() {
            assert!(sink.step(&stop));
        }
        stop.ask(PATIENCE);
        sink.run(&stop);
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.folder.path().join(path)).unwrap()
    }

    fn letters(&self, sink: &str) -> Vec<Value> {
        self.read(&format!("data/sinks/{sink}/dead_letters.jsonl"))
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

const FILE: &str = "name = 'f'\nkind = 'file'\npath = 'f.jsonl'\ncollection = 'counts'\nfrom = 'start'\n";
const SOME: &str = "name = 'f'\nkind = 'file'\npath = 'f.jsonl'\ncollection = 'counts'\nfrom = 'start'\n\
                    when = 'events >= 2'\n";

/// Returns the file of a sink that was never disturbed.
fn undisturbed(sink: &str, workers: usize) -> String {
    let world = World::new(workers);
    world.publish_some();
    world.take_all(sink);
    world.read("f.jsonl")
}

#[test]
fn a_file_has_what_was_asked_for() {
    let text = undisturbed(SOME, 1);
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = (0..5).flat_map(|tick| [2, 3, 4].map(|events| (tick * 2, format!("tick {tick}"), events)));
    let found = rows.iter().map(|change| {
        assert_eq!((&change["collection"], &change["diff"]), (&"counts".into(), &1.into()));
        let row = &change["row"];
        (change["tick"].as_u64().unwrap(), row["class"].as_str().unwrap().to_owned(), row["events"].as_u64().unwrap())
    });
    assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    let keys: std::collections::BTreeSet<_> = rows.iter().map(|change| change["key"].to_string()).collect();
    assert_eq!(keys.len(), 15);
    let lines = |changes: &str| undisturbed(&format!("{FILE}changes = '{changes}'"), 1).lines().count();
    assert_eq!(["added", "removed", "all"].map(lines), [20, 5, 25]);
}

#[test]
fn keys_depend_on_the_change_alone() {
    let text = undisturbed(SOME, 1);
    for workers in [2, 3] {
        assert_eq!(undisturbed(SOME, workers), text);
    }
    for batch in [1, 2, 7] {
        assert_eq!(undisturbed(&format!("{SOME}batch = {batch}"), 2), text);
    }
    // What is left out does not move the keys of the others.
    let all = undisturbed(&format!("{FILE}changes = 'all'"), 2);
    assert!(text.lines().all(|line| all.lines().any(|other| other == line)));
    // Another sink has others, and so has another collection or log.
    let other = undisturbed(&SOME.replace("'f'", "'g'"), 1);
    assert!(other.lines().zip(text.lines()).all(|(one, other)| one != other));
}

#[test]
fn after_a_crash_at_any_point_the_file_has_each_change_once() {
    let expected = undisturbed(SOME, 1);
    let sink = &format!("{SOME}batch = 2");
    for point in ["read", "torn", "whole", "known"] {
        let mut world = World::new(1);
        world.publish_some();
        for epoch in 2.. {
            {
                let mut sink = world.open(sink).unwrap();
                let Next::Batch(batch) = sink.changes.next(2).unwrap() else { break };
                let Target::File(file) = &mut sink.target else { unreachable!() };
                if point != "read" {
                    assert!(matches!(file.deliver(&batch.changes, &mut sink.cursor.file), Outcome::Delivered));
                }
                if point == "torn" {
                    let file = fs::OpenOptions::new().write(true).open(world.folder.path().join("f.jsonl")).unwrap();
                    // Between lines, within one, and within the beginning of one.
                    let cut = [0, 1, 30, batch.changes[0].json.len() as u64, 100][epoch as usize % 5];
                    file.set_len(file.metadata().unwrap().len().saturating_sub(cut)).unwrap();
                }
                if point == "known" {
                    assert!(sink.advance(batch.upto, &Stop::default()));
                }
            }
            world = World::of(world.folder, 1 + epoch as usize % 2, epoch);
            if point != "known" && epoch > 6 {
                break;
            }
        }
        world.take_all(sink);
        assert_eq!(world.read("f.jsonl"), expected, "{point}");
        // There is nothing left.
        world.take_all(sink);
        assert_eq!(world.read("f.jsonl"), expected, "{point}");
    }
}

#[test]
fn a_file_of_others_is_gone_on_with_and_never_cut() {
    let world = World::new(1);
    let path = world.folder.path().join("f.jsonl");
    fs::write(&path, "mine, without an end").unwrap();
    world.publish(&[("a", 1, 1)]);
    world.take_all(FILE);
    let text = world.read("f.jsonl");
    assert!(text.starts_with("mine, without an end\n{\"key\":\"") && text.ends_with("}\n"), "{text}");
    // Rotated away: a new file.
    fs::rename(&path, path.with_extension("1")).unwrap();
    world.publish(&[("b", 1, 1)]);
    world.take_all(FILE);
    assert_eq!(world.read("f.jsonl").lines().count(), 1);
    // Another one in its place, longer than it was.
    let other = "x".repeat(5000) + "\n";
    fs::write(&path, &other).unwrap();
    world.publish(&[("c", 1, 1)]);
    world.take_all(FILE);
    let text = world.read("f.jsonl");
    assert!(text.starts_with(&other) && text.lines().count() == 2, "{text}");
    // Not even what a sink finds that has not written yet.
    let world = World::new(1);
    let mut sink = world.open(FILE).unwrap();
    fs::write(world.folder.path().join("f.jsonl"), "later\n").unwrap();
    world.publish(&[("a", 1, 1)]);
    assert!(sink.step(&Stop::default()));
    assert!(world.read("f.jsonl").starts_with("later\n{"));
}

#[test]
fn a_new_sink_begins_where_it_is_told_and_an_old_one_where_it_was() {
    let world = World::new(1);
    world.publish(&[("before", 1, 1)]);
    let now = FILE.replace("from = 'start'", "from = 'now'");
    world.take_all(&now);
    world.publish(&[("after", 1, 1)]);
    for sink in [&*now, FILE] {
        // It is no new one any more.
        world.take_all(sink);
        let text = world.read("f.jsonl");
        assert!(text.contains("after") && !text.contains("before"), "{text}");
    }
    let refused = |sink: &str| {
        let error = world.open(sink).err().unwrap();
        std::error::Error::source(&error).unwrap().to_string()
    };
    let text = refused(&FILE.replace("'counts'", "'late'"));
    assert!(text.contains("it has followed `counts`"), "{text}");
    // As after the log has been removed.
    let other = World::of(tempfile::tempdir().unwrap(), 1, 1);
    let data = |world: &World| world.folder.path().join("data/sinks/f");
    fs::create_dir_all(data(&other)).unwrap();
    fs::copy(data(&world).join("cursor.json"), data(&other).join("cursor.json")).unwrap();
    let error = other.open(FILE).err().unwrap();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("another log"), "{error}");
}

#[test]
fn what_was_not_kept_is_counted_and_the_rest_comes() {
    let world = World::new(2);
    world.publish(&[("first", 1, 1)]);
    world.take_all(FILE);
    for _ in 0..100 {
        world.publish(&[("lost", 1, 1)]);
    }
    let oldest = world.outputs.retain(1000, Retention { bytes: 2000, ms: i64::MAX }, u64::MAX).unwrap();
    assert!(oldest > 2, "{oldest}");
    let kept = world.outputs.upper() - oldest;
    world.take_all(FILE);
    let text = world.read("f.jsonl");
    assert_eq!(text.lines().count() as u64, 1 + kept);
    let letters = world.letters("f");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["reason"], "sink_gap");
    assert_eq!((&letters[0]["from_tick"], &letters[0]["to_tick"]), (&1.into(), &oldest.into()));
    let metrics = world.metrics.text();
    let line = format!("headwater_sink_lost_ticks_total{{sink=\"f\"}} {}", oldest - 1);
    assert!(metrics.contains(&line), "{metrics}");
    assert!(metrics.contains(&format!("headwater_sink_delivered_total{{sink=\"f\"}} {}", 1 + kept)), "{metrics}");
}

#[test]
fn a_row_that_cannot_be_read_is_set_aside_between_the_others() {
    let world = World::new(1);
    let tick = world.outputs.upper();
    let mut block = Block::new(tick, 0);
    let (a, z) = (collections::counts::encode("a", None, 1), collections::counts::encode("zzz", None, 1));
    block.add("counts", vec![(a, 1), (vec![2, b'x'], 1), (z, 1)]).unwrap();
    world.outputs.append(0, &block, None).unwrap();
    world.outputs.sync(0).unwrap();
    world.take_all(FILE);
    assert_eq!(world.read("f.jsonl").lines().count(), 2);
    let letters = world.letters("f");
    assert_eq!((letters.len(), &letters[0]["reason"]), (1, &"unreadable_row".into()));
    assert_eq!(letters[0]["change"]["row"], Value::Null);
}

#[test]
fn a_file_that_cannot_be_written_is_written_later() {
    let world = World::new(1);
    let path = world.folder.path().join("f.jsonl");
    let sink = world.open(FILE).unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    world.publish(&[("a", 1, 1)]);
    let stop = Arc::new(Stop::default());
    let of_sink = Arc::clone(&stop);
    let thread = thread::spawn(move || sink.run(&of_sink));
    let failed = || world.metrics.text().contains("headwater_sink_retries_total{sink=\"f\"} 1");
    wait_until("the sink has failed", failed);
    fs::remove_dir(&path).unwrap();
    wait_until("the file is written", || fs::read_to_string(&path).is_ok_and(|text| !text.is_empty()));
    stop.ask(PATIENCE);
    thread.join().unwrap();
    assert_eq!(world.read("f.jsonl").lines().count(), 1);
}

#[test]
fn patience_grows_and_never_coincides() {
    let waits = || {
        let mut backoff = backoff();
        std::iter::from_fn(|| Some(backoff.wait().as_micros())).take(40).collect::<Vec<u128>>()
    };
    let all: Vec<Vec<u128>> = (0..50).map(|_| waits()).collect();
    for (attempt, longest) in [(0, 500), (1, 1000), (2, 2000), (6, 32_000), (7, 60_000), (8, 60_000), (39, 60_000)] {
        let waits: Vec<u128> = all.iter().map(|waits| waits[attempt]).collect();
        let range = longest * 500..=longest * 1000;
        assert!(waits.iter().all(|wait| range.contains(wait)), "{attempt}: {waits:?}");
        assert!(waits.iter().max() > waits.iter().min());
    }
}
