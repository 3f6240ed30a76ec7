//! Ticks that are bound and not synced: they happen with what is published of them.

use super::{open, settings};
use crate::Log;
use crate::error::LogError;
use crate::output::Block;
use crate::remap::{Binding, Step, Uppers};
use crate::vfs::model::{Crash, Fault, ModelFs};
use crate::{CONTROL, QUEUE};
use std::path::Path;

const ROOT: &str = "log";

fn bind(log: &mut Log) -> Result<(Binding, Step), LogError> {
    let tick = log.remap.next();
    log.queue[0].partition().append(tick as i64, b"event")?;
    let upper = log.queue[0].partition().sync()?;
    let binding = log.bind(tick as i64, Uppers::from([((QUEUE, 0), upper)]))?.clone();
    Ok((binding, log.remap.step().unwrap().clone()))
}

fn publish(log: &Log, binding: &Binding, step: Option<&Step>) {
    for worker in 0..settings(1).workers as usize {
        let block = Block::new(binding.tick, binding.now_ms);
        match binding.tick % 2 {
            0 => log.outputs.append(worker, &block, step).unwrap(),
            _ => log.outputs.append_large(worker, &block, step).unwrap(),
        }
        log.outputs.sync(worker).unwrap();
    }
}

fn bindings(log: &Log) -> Vec<Binding> {
    let mut all = Vec::new();
    let read = log.remap.reader().bindings(log.remap.low(), log.remap.next(), |binding| {
        all.push(binding);
        Ok(())
    });
    read.unwrap();
    all
}

#[test]
fn a_tick_that_is_published_has_happened_without_a_sync_of_its_own() {
    let vfs = ModelFs::new(1);
    let mut log = open(vfs.clone(), Path::new(ROOT), 1).unwrap();
    let mut bound = Vec::new();
    for _ in 0..5 {
        let (binding, step) = bind(&mut log).unwrap();
        publish(&log, &binding, Some(&step));
        bound.push(binding);
    }
    assert_eq!((log.remap.next(), log.remap.durable()), (5, 0));
    bind(&mut log).unwrap();
    vfs.crash(Crash::PowerClean);
    drop(log);

    let mut log = open(vfs.clone(), Path::new(ROOT), 2).unwrap();
    assert_eq!(log.outputs.upper(), 5);
    assert_eq!(bindings(&log), bound, "the tick that was not published has not happened");
    let (binding, step) = bind(&mut log).unwrap();
    assert_eq!((binding.tick, binding.epoch), (5, 2));
    publish(&log, &binding, Some(&step));
    bound.push(binding);
    // Without its step, the records of a tick are unknown.
    let (binding, _) = bind(&mut log).unwrap();
    publish(&log, &binding, None);
    vfs.crash(Crash::PowerClean);
    drop(log);
    let refused = open(vfs, Path::new(ROOT), 3);
    assert!(matches!(&refused, Err(LogError::Corrupt { what, .. }) if what.contains("never happened")), "{refused:?}");
}

#[test]
fn a_step_of_another_history_is_refused() {
    let vfs = ModelFs::new(1);
    let mut log = open(vfs.clone(), Path::new(ROOT), 1).unwrap();
    let (binding, mut step) = bind(&mut log).unwrap();
    step.uppers.insert((QUEUE, 0), 7);
    publish(&log, &binding, Some(&step));
    vfs.crash(Crash::PowerClean);
    drop(log);
    let refused = open(vfs, Path::new(ROOT), 2);
    assert!(matches!(&refused, Err(LogError::Corrupt { what, .. }) if what.contains("does not follow")), "{refused:?}");
}

/// Workers compute them already.
#[test]
fn ticks_that_are_bound_stay_when_there_is_no_space() {
    let vfs = ModelFs::new(1);
    let mut log = open(vfs.clone(), Path::new(ROOT), 1).unwrap();
    let mut bound = Vec::new();
    let full_from = 4;
    let mut refused = 0;
    while bound.len() < 40 {
        let (tick, operations) = (log.remap.next(), vfs.operations());
        let uppers = Uppers::new();
        if (full_from..full_from + 3).contains(&tick) && refused < 20 {
            vfs.fail(operations..operations + 1, Fault::Full);
        }
        match log.bind(tick as i64, uppers) {
            Ok(binding) => {
                assert_eq!(binding.tick, tick, "none is given twice");
                bound.push(binding.clone());
            }
            Err(LogError::Full(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0, "some wanted to be written when there was no space");
    let operations = vfs.operations();
    vfs.fail(operations..operations + 1, Fault::Full);
    assert!(matches!(log.remap.sync(), Err(LogError::Full(_))));
    log.remap.sync().unwrap();
    assert_eq!(bindings(&log), bound);
    vfs.crash(Crash::PowerClean);
    drop(log);
    assert_eq!(bindings(&open(vfs, Path::new(ROOT), 2).unwrap()), bound);
}

/// Output logs hold these bytes.
#[test]
fn the_encoding_of_a_step_is_pinned() {
    let step = Step { epoch: 258, digest: [7; 32], uppers: Uppers::from([((QUEUE, 3), 9), ((CONTROL, 0), 1)]) };
    let bytes = [
        &b"\x02\x01\0\0\0\0\0\0"[..],
        &[7; 32],
        b"\x02\0\0\0\xfe\xff\x03\0\0\0\x09\0\0\0\0\0\0\0\xff\xff\0\0\0\0\x01\0\0\0\0\0\0\0",
    ];
    let bytes = bytes.concat();
    assert_eq!(step.encode(), bytes);
    assert_eq!(Step::decode(&bytes), Some(step));
    assert_eq!(Step::decode(&bytes[..bytes.len() - 1]), None);
}
