//! The group commit: each record is durable when its thread gets the answer, under the offset of the answer.

use super::{check, log};
use crate::sync::thread;
use headwater_log::error::LogError;
use headwater_log::group::Group;
use headwater_log::vfs::model::{Fault, ModelFs};
use std::collections::BTreeMap;
use std::sync::Arc;

/// By thread: payloads, and what became of each.
type Told = Vec<(String, Result<u64, LogError>)>;

fn append(group: &Arc<Group>, threads: usize, records: usize) -> Told {
    let work = |thread| {
        let group = Arc::clone(group);
        move || {
            let mut told = Told::new();
            for record in 0..records {
                let payload = format!("{thread} {record}");
                let offset = group.append(1, payload.as_bytes());
                if let Ok(offset) = offset {
                    assert!(offset < group.reader().durable(), "{payload} is acknowledged and not durable");
                }
                told.push((payload, offset));
            }
            told
        }
    };
    let threads: Vec<_> = (0..threads).map(|thread| thread::spawn(work(thread))).collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

fn records(group: &Group) -> BTreeMap<u64, String> {
    let (mut reader, mut records) = (group.reader(), BTreeMap::new());
    let (low, durable) = (reader.low(), reader.durable());
    let mut add = |offset, payload: &[u8]| records.insert(offset, String::from_utf8(payload.to_vec()).unwrap());
    reader.read(low, durable, |record| assert_eq!(add(record.offset, record.payload), None)).unwrap();
    records
}

#[test]
fn each_record_is_where_its_thread_was_told() {
    check(4_000, || {
        let log = log(&ModelFs::new(1), 1, 1);
        let told = append(&log.queue[0], 3, 2);
        let told: BTreeMap<u64, String> =
            told.into_iter().map(|(payload, offset)| (offset.unwrap(), payload)).collect();
        assert_eq!(told.len(), 6, "no offset is given twice");
        assert_eq!(told, records(&log.queue[0]));
    });
}

/// Tasks and a thread that appends by itself.
#[test]
fn each_record_that_a_task_puts_is_written_by_a_thread_that_leads() {
    check(4_000, || {
        let log = log(&ModelFs::new(1), 1, 1);
        let task = |number| {
            let group = Arc::clone(&log.queue[0]);
            move || {
                let payload = format!("task {number}");
                let put = group.put(1, payload.as_bytes()).unwrap();
                let leading = Arc::clone(&group);
                let leader = thread::spawn(move || leading.lead());
                let offset = shuttle::future::block_on(put).unwrap();
                assert!(offset < group.reader().durable(), "{payload} is acknowledged and not durable");
                leader.join().unwrap();
                (offset, payload)
            }
        };
        let tasks = [thread::spawn(task(0)), thread::spawn(task(1))];
        let mut told: BTreeMap<u64, String> =
            append(&log.queue[0], 1, 1).into_iter().map(|(payload, offset)| (offset.unwrap(), payload)).collect();
        told.extend(tasks.map(|task| task.join().unwrap()));
        assert_eq!(told.len(), 3, "no offset is given twice");
        assert_eq!(told, records(&log.queue[0]));
    });
}

#[test]
fn a_round_without_space_is_told_to_each_of_its_threads_and_to_no_other() {
    check(4_000, || {
        let vfs = ModelFs::new(1);
        let log = log(&vfs, 1, 1);
        let next = vfs.operations();
        vfs.fail(next + 2..next + 4, Fault::Full);
        let told = append(&log.queue[0], 3, 2);
        let mut there = BTreeMap::new();
        for (payload, offset) in told {
            match offset {
                Ok(offset) => assert_eq!(there.insert(offset, payload), None),
                Err(LogError::Full(_)) => {}
                Err(error) => panic!("{payload}: {error}"),
            }
        }
        assert_eq!(there, records(&log.queue[0]));
    });
}
