//! Another process of the same run reads what is durable, while this one goes on writing.

use super::super::follow::Follow;
use super::*;

#[test]
fn what_is_durable_is_read_while_more_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(RealFs, folder.path(), 1).unwrap();
    let mut reader = Follow::new(Arc::new(RealFs), folder.path(), LogId([3; 16]), 1).queue(2).remove(1);
    let (mut taken, mut segments) = (0, BTreeSet::new());
    for round in 0..60_u64 {
        let mut part = log.queue[1].partition();
        for number in 0..round % 7 {
            part.append(round as i64, format!("{round} {number} {}", "x".repeat(100)).as_bytes()).unwrap();
        }
        let durable = part.sync().unwrap();
        // Something is behind it, whole in the file or not.
        for _ in 0..round % 5 {
            part.append(0, &[b'y'; 300]).unwrap();
        }
        // Some rounds are read together.
        if round % 3 == 0 {
            let mut offsets = Vec::new();
            reader.read(taken, durable, |record| offsets.push(record.offset)).unwrap();
            assert_eq!(offsets, (taken..durable).collect::<Vec<_>>());
            taken = durable;
        }
        segments.insert(part.last_file());
    }
    assert!(segments.len() > 5, "{segments:?}");
    // All of it is what the writer reads, also from the middle and by another reader.
    let durable = log.queue[1].partition().sync().unwrap();
    let mut all = Vec::new();
    let each = |all: &mut Vec<_>, record: super::super::segment::Record<'_>| {
        all.push((record.offset, record.received_ms, String::from_utf8_lossy(record.payload).into_owned()));
    };
    reader.clone().read(0, durable, |record| each(&mut all, record)).unwrap();
    assert_eq!(all, records(&log, 1));
    let mut middle = Vec::new();
    reader.read(durable / 2, durable, |record| each(&mut middle, record)).unwrap();
    assert_eq!(middle, all[(durable / 2) as usize..]);
}

#[test]
fn files_of_another_log_or_of_a_later_generation_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(RealFs, folder.path(), 2).unwrap();
    log.queue[0].append(1, b"record").unwrap();
    let read = |id, epoch| {
        let mut queue = Follow::new(Arc::new(RealFs), folder.path(), LogId(id), epoch).queue(2);
        queue[0].read(0, 1, |_| ())
    };
    assert!(read([3; 16], 2).is_ok());
    assert!(matches!(read([4; 16], 2), Err(LogError::Corrupt { .. })));
    assert!(matches!(read([3; 16], 1), Err(LogError::Corrupt { .. })), "a process that is left over reads nothing new");
}

#[test]
fn a_snapshot_is_read_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(RealFs, folder.path(), 1).unwrap();
    let (mut store, _) = log.state_store().unwrap();
    let remap_digest = log.mint(7, &Uppers::new()).unwrap().digest();
    let changes = [("tallies".to_owned(), vec![(b"row".to_vec(), 2)])].into();
    store.write(Snapshot { tick: 0, remap_digest, changes, ..Snapshot::default() }).unwrap();
    let follow = Follow::new(Arc::new(RealFs), folder.path(), LogId([3; 16]), 1);
    let reader = follow.snapshot(store.generation().unwrap().sequence).unwrap();
    let mut rows = Vec::new();
    reader.read("tallies", b'r', &mut |row, count| rows.push((row.to_vec(), count))).unwrap();
    assert_eq!(rows, [(b"row".to_vec(), 2)]);
    assert!(follow.snapshot(99).is_err());
}
