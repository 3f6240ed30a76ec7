//! The output log may be lost, if it is lost as a whole: the snapshot holds the state that it was computed from.

use super::*;
use std::path::PathBuf;

/// Two starts of ten ticks each, with a snapshot of tick 16: the folder, and a log that can be opened in it.
fn published() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for epoch in 1..=2 {
        let mut log = open(RealFs, folder.path(), epoch).unwrap();
        let (mut store, _) = log.state_store().unwrap();
        for _ in 0..10 {
            let binding = log.mint(7, &Uppers::new()).unwrap().clone();
            publish(&log, binding.tick);
            if binding.tick == 16 {
                let (tick, remap_digest) = (binding.tick, binding.digest());
                let changes = [("tallies".to_owned(), vec![(b"row".to_vec(), 1)])].into();
                store.write(Snapshot { tick, remap_digest, changes, ..Snapshot::default() }).unwrap();
            }
        }
    }
    folder
}

fn publish(log: &Log, tick: u64) {
    for worker in 0..2 {
        log.outputs.append(worker, &Block::new(tick, 7), None).unwrap();
        log.outputs.sync(worker).unwrap();
    }
}

/// The files of a start.
fn files_of(root: &Path, epoch: u64) -> Vec<PathBuf> {
    let files = fs::read_dir(root.join("out")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.to_string_lossy().contains(&format!("-{epoch:020}-"))).collect()
}

#[test]
fn outputs_that_are_lost_begin_behind_the_snapshot() {
    let folder = published();
    fs::remove_dir_all(folder.path().join("out")).unwrap();
    for epoch in 3..=4 {
        let mut log = open(RealFs, folder.path(), epoch).unwrap();
        assert_eq!(log.state_store().unwrap().0.generation().unwrap().tick, 16);
        // The first time nothing is published, as if it had been killed.
        assert_eq!((log.outputs.oldest(), log.outputs.upper(), log.outputs.next(1)), (17, 17, 17));
        assert!(matches!(log.outputs.read(16), Err(LogError::Gone { position: 16, oldest: 17 })));
        if epoch == 4 {
            (17..20).for_each(|tick| publish(&log, tick));
        }
    }
    let log = open(RealFs, folder.path(), 5).unwrap();
    assert_eq!((log.outputs.oldest(), log.outputs.upper()), (17, 20));
    assert_eq!(log.outputs.read(17).unwrap().len(), 2);
}

#[test]
fn outputs_that_are_lost_in_part_are_an_error() {
    let folder = published();
    let refused = |epoch: u64, what: &str| {
        let opened = open(RealFs, folder.path(), epoch).and_then(|mut log| log.state_store());
        let Err(LogError::Corrupt { file, what: found, .. }) = opened else { panic!("{what}: {opened:?}") };
        assert!(file.starts_with(folder.path().join("out")) && found.contains(what), "{found}");
    };
    let away = folder.path().join("away");
    fs::create_dir(&away).unwrap();
    let mut epoch = 2;
    for lost in [&files_of(folder.path(), 2)[..1], &files_of(folder.path(), 2)] {
        for file in lost {
            fs::rename(file, away.join(file.file_name().unwrap())).unwrap();
        }
        epoch += 1;
        refused(epoch, "ends before tick 10, and there is a snapshot of tick 16");
        // What this start has begun is not to be mistaken for what was there.
        for file in files_of(folder.path(), epoch) {
            fs::remove_file(file).unwrap();
        }
        for file in lost {
            fs::rename(away.join(file.file_name().unwrap()), file).unwrap();
        }
    }
    fs::remove_file(&files_of(folder.path(), 1)[0]).unwrap();
    refused(epoch + 1, "the outputs of epoch 1 end before tick 10");
}
