//! The published rows of a tick are a function of the log: the same bytes at any number of workers, from the first tick
//! on or from a snapshot. A process that computes other bytes stops.

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::folder;
use super::process::{Process, Restart};
use super::published::{Published, open};
use crate::headwater::Folder;
use headwater_log::output::Block;
use headwater_log::vfs::model::Rng;
use std::fs;
use std::path::Path;

#[test]
fn a_tick_is_the_same_with_any_number_of_workers() {
    let (folder, published) = folder_with_history();
    let rows: usize = published.ticks.iter().map(|(_, rows)| rows.len()).sum();
    let of = |collection: &str| {
        published.ticks.iter().flat_map(|(_, rows)| rows.keys()).filter(|(name, _)| name == collection).count()
    };
    let collections = ["sessions", "users", "counts", "shapes", "closings", "late", "session_lineage", "dead_letters"];
    assert!(collections.iter().all(|collection| of(collection) > 10), "{:?}", collections.map(of));
    for workers in 1..=3 {
        published.computed_again(&folder, &format!("copy with {workers} workers"), |copy| {
            let process = Process::start(&folder, copy, workers, Restart::No);
            process.ready();
            process.drain();
        });
    }
    eprintln!("{} ticks with {rows} rows are the same", published.ticks.len());
}

#[test]
fn a_tick_that_comes_out_otherwise_than_it_was_published_stops_the_process() {
    let (folder, published) = folder_with_history();
    let data = folder.path("data");
    // As if one row had been another one: published by a program with a fault, intact on disk.
    for computed in ["out", "state"] {
        fs::remove_dir_all(data.join("log").join(computed)).unwrap();
    }
    let log = open(&data);
    let wrong = published.ticks.iter().position(|(_, rows)| rows.len() > 3).unwrap();
    for (tick, (now_ms, rows)) in published.ticks.iter().enumerate() {
        let mut block = Block::new(tick as u64, *now_ms);
        for ((collection, row), diff) in rows.iter().skip(usize::from(tick == wrong)) {
            block.add(collection, vec![(row.clone(), *diff)]).unwrap();
        }
        log.outputs.append(0, &block, None).unwrap();
    }
    log.outputs.sync(0).unwrap();
    drop(log);
    for (restart, code) in [(Restart::No, 70), (Restart::Supervisor, 75)] {
        let ended = Process::start(&folder, "data", 2, restart).end();
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("tick {wrong} is another one than before")), "{}", ended.stderr);
    }
}

/// A data folder after several lives, with ids that come twice, conflicts, late events and records that cannot be read.
/// What is in it, and what was published.
pub fn folder_with_history() -> (Folder, Published) {
    let folder = folder("");
    let mut rng = Rng::new(1);
    for life in 0..3 {
        let process = Process::start(&folder, "data", 1 + life, Restart::No);
        let mut client = Client::new(process.ready());
        for _ in 0..100 {
            let mut any = |_| {
                let (user, id) = (rng.below(10), rng.below(800));
                let id = Some(id.to_string()).filter(|_| rng.below(2) == 0);
                Event::any(&mut rng, format!("user {user}"), PAST_MS, 600_000, id)
            };
            let batch: Vec<_> = (0..10).map(&mut any).collect();
            let damaged = if rng.below(3) == 0 { "{\"user\":\n" } else { "" };
            assert_eq!(client.post(&(lines(&batch) + damaged)), Outcome::Acknowledged);
        }
        if life == 1 {
            process.kill();
        } else {
            process.drain();
        }
    }
    let published = Published::read_ticks(&folder.path("data"));
    (folder, published)
}

pub fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}
