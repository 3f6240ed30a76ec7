//! The log on disk, and single promises. Crashes are in `tests/crash.rs`.

mod bound;
mod follow;
mod opening;
mod published;

use super::error::LogError;
use super::output::{Block, Retention};
use super::partition::Limits;
use super::partition::Partition;
use super::remap::Uppers;
use super::segment::{FRAME, HEADER, LogId};
use super::state::Snapshot;
use super::vfs::model::{Fault, ModelFs};
use super::vfs::{RealFs, Vfs};
use super::{CONTROL, Log, QUEUE, Settings, StateStore};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;

fn settings(epoch: u64) -> Settings {
    let limits = Limits { segment_bytes: 2_000, buffer_bytes: 500, block_bytes: 400, piece_bytes: 1_000 };
    Settings { id: LogId([3; 16]), epoch, parts: 2, workers: 2, limits }
}

fn open(vfs: impl Vfs + 'static, root: &Path, epoch: u64) -> Result<Log, LogError> {
    Log::open(Arc::new(vfs), root, &settings(epoch))
}

fn records(log: &Log, part: usize) -> Vec<(u64, i64, String)> {
    let partition = log.queue[part].partition();
    let mut records = Vec::new();
    let read = partition.reader().read(partition.low(), partition.durable(), |record| {
        let text = String::from_utf8_lossy(record.payload).into_owned();
        records.push((record.offset, record.received_ms, text));
    });
    read.unwrap();
    records
}

#[test]
fn a_log_on_disk_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let mut log = open(RealFs, &root, 1).unwrap();
    for number in 0..100 {
        assert_eq!(
            log.queue[1].partition().append(1_000 + number, format!("event {number}").as_bytes()).unwrap(),
            number as u64
        );
    }
    assert!(
        log.queue[1].partition().durable() < 100,
        "nothing is durable before a sync, but what a full segment holds"
    );
    assert_eq!(log.queue[1].partition().sync().unwrap(), 100);
    let binding = log.mint(5_000, &Uppers::from([((4, 0), 17)])).unwrap().clone();
    assert_eq!(binding.uppers, Uppers::from([((4, 0), 17), ((QUEUE, 0), 0), ((QUEUE, 1), 100), ((CONTROL, 0), 0)]));
    assert_eq!(
        log.mint(4_000, &Uppers::new()).unwrap().now_ms,
        5_000,
        "time does not go back, parts keep their uppers"
    );
    assert!(matches!(log.mint(6_000, &Uppers::from([((4, 0), 16)])), Err(LogError::Refused(_))));
    assert!(matches!(open(RealFs, &root, 2), Err(LogError::Locked(_))));
    drop(log);

    let log = open(RealFs, &root, 2).unwrap();
    assert!(fs::read_dir(root.join("wal/01")).unwrap().count() > 1, "there are several segments");
    let wanted: Vec<_> = (0..100).map(|number| (number as u64, 1_000 + number, format!("event {number}"))).collect();
    assert_eq!(records(&log, 1), wanted);
    assert_eq!(log.remap.reader().binding(0).unwrap(), binding);
    assert_eq!(log.remap.next(), 2);
    drop(log);

    let older = open(RealFs, &root, 1);
    assert!(matches!(older, Err(LogError::Foreign { .. })), "an older generation is fenced: {older:?}");
    let other = Log::open(Arc::new(RealFs), &root, &Settings { id: LogId([4; 16]), ..settings(3) });
    assert!(matches!(other, Err(LogError::Foreign { .. })));
}

#[test]
fn what_is_released_is_gone_and_the_rest_can_be_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(RealFs, folder.path(), 1).unwrap();
    for tick in 0..60 {
        for number in 0..10 {
            log.queue[0].partition().append(tick, format!("{tick}.{number}").as_bytes()).unwrap();
        }
        log.queue[0].partition().sync().unwrap();
        log.mint(tick, &Uppers::new()).unwrap();
    }
    log.release(50).unwrap();
    assert!(matches!(log.release(61), Err(LogError::Refused(_))));
    assert_eq!((log.remap.low(), log.queue[0].partition().low()), (49, 500), "tick 50 begins where tick 49 ends");
    drop(log);
    let log = open(RealFs, folder.path(), 2).unwrap();
    assert_eq!(records(&log, 0).first().unwrap(), &(500, 50, "50.0".to_owned()));
    let gone = log.queue[0].partition().reader().read(499, 501, |_| ());
    assert!(matches!(gone, Err(LogError::Gone { position: 499, oldest: 500 })));
    assert!(fs::read_dir(folder.path().join("wal/00")).unwrap().count() < 5);
}

#[test]
fn one_sync_acknowledges_the_records_of_many_threads() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(RealFs, folder.path(), 1).unwrap();
    let group = &log.queue[0];
    thread::scope(|scope| {
        for caller in 0..8 {
            let group = &group;
            scope.spawn(move || {
                let mut reader = group.reader();
                for number in 0..50 {
                    let payload = format!("{caller}.{number}");
                    let offset = group.append(number, payload.as_bytes()).unwrap();
                    let mut read = Vec::new();
                    reader.read(offset, offset + 1, |record| read.push(record.payload.to_vec())).unwrap();
                    assert_eq!(read, [payload.into_bytes()], "it is durable, and its own");
                }
            });
        }
    });
    assert_eq!(group.partition().durable(), 400);
}

#[test]
fn with_space_for_some_records_each_caller_is_told_of_its_own() {
    let payloads: Vec<Vec<u8>> = (0..8).map(|number| vec![number; 400]).collect();
    let records = payloads.iter().map(|payload| (1, payload.as_slice()));
    let mut kept = BTreeSet::new();
    for space in 0..40 {
        let fs = ModelFs::new(space);
        let log = open(fs.clone(), Path::new("log"), 1).unwrap();
        let partition = &mut *log.queue[0].partition();
        fs.fail(fs.operations() + space..u64::MAX, Fault::Full);
        let commit = partition.commit(records.clone());
        let durable = partition.durable();
        for n in 0..8 {
            match commit.offset(n) {
                Ok(offset) => assert!(n < durable && offset == n),
                Err(error) => assert!(n >= durable && matches!(error, LogError::Full(_)), "{error}"),
            }
        }
        fs.fail(0..0, Fault::Full);
        let again = partition.commit(records.clone().skip(durable as usize));
        assert_eq!(again.offset(0).unwrap(), durable);
        assert_eq!(partition.durable(), 8);
        kept.insert(durable);
    }
    assert!(kept.len() > 2 && kept.contains(&0) && kept.contains(&8), "{kept:?}");
}

#[test]
fn without_space_nothing_is_acknowledged_and_with_space_the_log_goes_on() {
    let fs = ModelFs::new(1);
    let log = open(fs.clone(), Path::new("log"), 1).unwrap();
    log.queue[0].partition().append(1, b"kept").unwrap();
    log.queue[0].partition().sync().unwrap();
    fs.fail(fs.operations()..u64::MAX, Fault::Full);
    log.queue[0].partition().append(2, b"dropped").unwrap();
    assert!(matches!(log.queue[0].partition().sync(), Err(LogError::Full(_))));
    assert!(matches!(log.queue[0].partition().append(3, &[0; 600]), Err(LogError::Full(_))));
    let extent = |partition: &Partition| (partition.durable(), partition.next());
    assert_eq!(extent(&log.queue[0].partition()), (1, 1));
    fs.fail(0..0, Fault::Full);
    assert_eq!(log.queue[0].partition().append(4, b"next").unwrap(), 1);
    log.queue[0].partition().sync().unwrap();
    let wanted = [(0, 1, "kept".to_owned()), (1, 4, "next".to_owned())];
    assert_eq!(records(&log, 0), wanted);
    drop(log);
    assert_eq!(records(&open(fs, Path::new("log"), 2).unwrap(), 0), wanted);
}

#[test]
fn after_a_failed_sync_nothing_is_written_any_more() {
    let fs = ModelFs::new(1);
    let mut log = open(fs.clone(), Path::new("log"), 1).unwrap();
    log.queue[0].partition().append(1, b"lost").unwrap();
    // The write succeeds, its sync does not.
    fs.fail(fs.operations() + 1..fs.operations() + 2, Fault::Io);
    assert!(matches!(log.queue[0].partition().sync(), Err(LogError::Poisoned(_))));
    let before = fs.operations();
    assert!(matches!(log.queue[0].partition().sync(), Err(LogError::Poisoned(_))), "not tried again");
    assert!(matches!(log.queue[1].partition().append(1, b"another part"), Err(LogError::Poisoned(_))));
    assert!(matches!(log.mint(1, &Uppers::new()), Err(LogError::Poisoned(_))));
    assert_eq!(fs.operations(), before);
}

#[test]
fn damage_that_comes_after_opening_is_found_by_reading() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(RealFs, folder.path(), 1).unwrap();
    log.queue[0].partition().append(1, b"first").unwrap();
    log.queue[0].partition().append(1, b"second").unwrap();
    log.queue[0].partition().sync().unwrap();
    let path = folder.path().join("wal/00/00000000000000000000.seg");
    let mut bytes = fs::read(&path).unwrap();
    let second = HEADER + FRAME + b"first".len();
    bytes[second + FRAME] ^= 4;
    fs::write(&path, bytes).unwrap();
    let mut seen = 0;
    let Err(LogError::Corrupt { file, at, .. }) = log.queue[0].partition().reader().read(0, 2, |_| seen += 1) else {
        panic!("it was not found");
    };
    assert_eq!((file, at, seen), (path, second as u64, 1));
}

/// A sender chooses payloads, also ones that look like a part of a segment.
#[test]
fn a_payload_that_looks_like_records_is_a_payload() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(RealFs, folder.path(), 1).unwrap();
    log.queue[0].partition().append(1, b"first").unwrap();
    log.queue[0].partition().sync().unwrap();
    let path = folder.path().join("wal/00/00000000000000000000.seg");
    let other = fs::read(&path).unwrap();
    log.queue[1].partition().append(1, &other).unwrap();
    log.queue[1].partition().sync().unwrap();
    drop(log);
    // The record that holds a copy of the other part's segment, its mark included, is torn.
    let path = folder.path().join("wal/01/00000000000000000000.seg");
    let bytes = fs::read(&path).unwrap();
    let record = HEADER + FRAME + other.len();
    let mut torn = bytes[..record].to_vec();
    torn[HEADER] ^= 1;
    fs::write(&path, torn).unwrap();
    let log = open(RealFs, folder.path(), 2).unwrap();
    assert_eq!((log.queue[0].partition().durable(), log.queue[1].partition().durable()), (1, 0));
}

#[test]
fn a_tick_is_read_when_all_workers_have_it_and_until_retention_removes_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(RealFs, folder.path(), 1).unwrap();
    let block = |tick, worker: u64| {
        let mut block = Block::new(tick, tick as i64 * 10);
        block.add("sessions", vec![(format!("{tick} {worker} {}", "x".repeat(200)).into_bytes(), 1)]).unwrap();
        block
    };
    for tick in 0..40 {
        log.mint(tick as i64 * 10, &Uppers::new()).unwrap();
        log.outputs.append(0, &block(tick, 0), None).unwrap();
        log.outputs.sync(0).unwrap();
        assert!(matches!(log.outputs.read(tick), Err(LogError::Refused(_))));
        if tick < 39 {
            log.outputs.append(1, &block(tick, 1), None).unwrap();
            log.outputs.sync(1).unwrap();
            assert_eq!(log.outputs.read(tick).unwrap(), [block(tick, 0), block(tick, 1)]);
        }
    }
    drop(log);

    // Tick 39 was one worker's alone: it is written again, by three.
    let log = Log::open(Arc::new(RealFs), folder.path(), &Settings { workers: 3, ..settings(2) }).unwrap();
    assert_eq!((log.outputs.oldest(), log.outputs.upper(), log.outputs.next(2)), (0, 39, 39));
    for worker in 0..3 {
        log.outputs.append(worker, &block(39, worker as u64), None).unwrap();
        log.outputs.sync(worker).unwrap();
    }
    assert_eq!(log.outputs.read(39).unwrap().len(), 3);
    let everything = Retention { bytes: u64::MAX, ms: i64::MAX };
    assert_eq!(log.outputs.retain(390, everything, u64::MAX).unwrap(), 0);
    let oldest = log.outputs.retain(390, Retention { ms: 200, ..everything }, u64::MAX).unwrap();
    assert!((10..=19).contains(&oldest), "a segment holds some ticks: {oldest}");
    assert!(matches!(log.outputs.read(oldest - 1), Err(LogError::Gone { .. })));
    let oldest = log.outputs.retain(390, Retention { bytes: 2_000, ..everything }, u64::MAX).unwrap();
    assert_eq!(oldest, 39, "the set of two workers is gone");
    drop(log);
    let log = open(RealFs, folder.path(), 3).unwrap();
    assert_eq!((log.outputs.oldest(), log.outputs.upper()), (39, 40));
    assert_eq!(log.outputs.read(39).unwrap(), [block(39, 0), block(39, 1), block(39, 2)]);
}

#[test]
fn a_log_goes_on_from_a_snapshot_of_its_own_history_and_from_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(RealFs, folder.path(), 1).unwrap();
    let (mut store, damages) = log.state_store().unwrap();
    assert!(damages.is_empty() && matches!(log.state_store(), Err(LogError::Refused(_))), "one writes it");
    for tick in 0..60 {
        log.queue[0].partition().append(tick, &[0; 100]).unwrap();
        log.queue[0].partition().sync().unwrap();
        let binding = log.mint(tick, &Uppers::new()).unwrap().clone();
        for worker in 0..2 {
            log.outputs.append(worker, &Block::new(binding.tick, binding.now_ms), None).unwrap();
            log.outputs.sync(worker).unwrap();
        }
        if binding.tick % 20 == 9 {
            let changes = [("tallies".to_owned(), vec![(b"row".to_vec(), 1)])].into();
            let (remap_digest, now_ms) = (binding.digest(), binding.now_ms);
            let snapshot = Snapshot { tick: binding.tick, now_ms, remap_digest, changes, ..Snapshot::default() };
            if let Some(older) = store.write(snapshot).unwrap() {
                log.release(older + 1).unwrap();
            }
        }
    }
    assert_eq!(log.remap.low(), 29, "the older snapshot is of tick 29: tick 30 can be replayed");
    drop((log, store));
    let (mut log, state) = (open(RealFs, folder.path(), 2).unwrap(), folder.path().join("state"));
    let (store, _) = log.state_store().unwrap();
    assert_eq!(store.generation().map(|newest| newest.tick), Some(49));
    drop((log, store));

    fs::rename(&state, folder.path().join("elsewhere")).unwrap();
    let without = open(RealFs, folder.path(), 3).unwrap().state_store();
    assert!(
        matches!(&without, Err(LogError::Corrupt { what, .. }) if what.contains("begins at tick 29")),
        "{without:?}"
    );
    for (epoch, tick, what) in [(4, 28, "begins at tick 29"), (5, 40, "another tick 40"), (6, 60, "never happened")] {
        fs::remove_dir_all(&state).unwrap();
        let mut log = open(RealFs, folder.path(), epoch).unwrap();
        // The store itself takes any tick.
        let mut store = StateStore::open(log.unopened.clone().unwrap(), &state).unwrap().0;
        store.write(Snapshot { tick, ..Snapshot::default() }).unwrap();
        let other = log.state_store();
        let Err(LogError::Corrupt { what: found, .. }) = other else { panic!("tick {tick}: {other:?}") };
        assert!(found.contains(what), "{found}");
    }
}
