//! A medium that changes bytes: an error that names the file, or the snapshot before and a report. Never other rows.

use super::*;
use crate::state::Damage;
use crate::vfs::model::Crash;
use std::path::PathBuf;

/// Two snapshots of several runs, and their rows: the older, the newer.
fn two(fs: &ModelFs) -> (Model, Model) {
    let mut store = open(fs, 1);
    let (mut rng, mut older, mut newer) = (Rng::new(3), Model::new(), Model::new());
    let mut tick = 0;
    while tick < 8 || longest(store.generation().unwrap()) < 2 {
        let changes = some_changes(&mut rng);
        older.clone_from(&newer);
        apply(&mut newer, &changes);
        tick += 1;
        store.write(snapshot(tick, changes)).unwrap();
    }
    (older, newer)
}

fn try_open(fs: &ModelFs) -> Result<(StateStore, Vec<Damage>), LogError> {
    StateStore::open(context(fs.clone(), 2), Path::new(DIR))
}

#[test]
fn a_flipped_bit_never_gives_other_rows() {
    let fs = model_fs(1);
    let (older, newer) = two(&fs);
    fs.crash(Crash::PowerKept);
    let newest = open(&fs.fork(0), 2).generation().unwrap().tick;
    let (mut errors, mut fallbacks, mut harmless) = (0, 0, 0);
    let mut rng = Rng::new(1);
    for (file, bytes) in fs.files() {
        for byte in (0..bytes.len()).step_by(if cfg!(debug_assertions) { 13 } else { 1 }) {
            let fs = fs.fork(0);
            fs.flip(&file, byte, rng.below(8) as u8);
            let place = format!("{}, byte {byte}", file.display());
            match try_open(&fs) {
                Ok((store, damages)) if damages.iter().all(|damage| damage.file == file) => {
                    let tick = store.generation().unwrap().tick;
                    let found = rows(&store).unwrap();
                    if tick == newest {
                        assert!(found == newer, "{place}");
                        // Damage of the older manifest is reported.
                        assert!(store.release_tick().is_some() == damages.is_empty(), "{place}");
                        harmless += 1;
                    } else {
                        assert!(found == older && damages.len() == 1, "{place}");
                        fallbacks += 1;
                    }
                }
                Err(LogError::Corrupt { file: named, .. }) if named == file => errors += 1,
                other => panic!("{place}: {other:?}"),
            }
        }
    }
    println!("{errors} flips are errors, {fallbacks} fall back, {harmless} harmless");
    // However many are tried.
    let tried = errors + fallbacks + harmless;
    assert!(tried > 300 && errors > tried / 8 && fallbacks > tried / 8);
}

#[test]
fn damage_that_comes_after_opening_is_found_by_reading() {
    let fs = model_fs(1);
    let (_, newer) = two(&fs);
    fs.crash(Crash::PowerKept);
    let mut caught = 0;
    for (file, bytes) in fs.files() {
        for byte in (0..bytes.len()).step_by(if cfg!(debug_assertions) { 29 } else { 3 }) {
            let fs = fs.fork(0);
            let mut store = open(&fs, 2);
            fs.flip(&file, byte, 4);
            let place = format!("{}, byte {byte}", file.display());
            match rows(&store) {
                Ok(found) => assert!(found == newer, "{place}"),
                Err(LogError::Corrupt { file: named, at, .. }) => {
                    assert_eq!((&named, at <= byte as u64), (&file, true), "{place}");
                    caught += 1;
                }
                Err(error) => panic!("{place}: {error}"),
            }
            // A merge does not make damage whole.
            let all = newer["sessions"].iter().map(|(row, diff)| (row.clone(), -diff)).collect();
            match store.write(snapshot(100, BTreeMap::from([("sessions".to_owned(), all)]))) {
                Ok(_) => assert!(!rows(&store).is_ok_and(|found| found.contains_key("sessions")), "{place}"),
                Err(LogError::Corrupt { file: named, .. }) => assert_eq!(named, file, "{place}"),
                Err(error) => panic!("{place}: {error}"),
            }
        }
    }
    assert!(caught > 10);
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_the_older_one_goes_on() {
    let fs = model_fs(1);
    let (older, newer) = two(&fs);
    fs.crash(Crash::PowerKept);
    let manifests = || fs.files().into_keys().filter(|file| file.extension().is_some_and(|of| of == "gen"));
    let newest = manifests().next_back().unwrap();
    fs.flip(&newest, 60, 1);
    let (mut store, damages) = try_open(&fs).unwrap();
    assert_eq!(damages.iter().map(|damage| &damage.file).collect::<Vec<_>>(), [&newest]);
    assert_eq!((rows(&store).unwrap(), store.release_tick()), (older.clone(), None), "one is left");
    let aside = PathBuf::from(format!("{}.damaged", newest.display()));
    assert!(fs.files().contains_key(&aside));
    // What is missing is computed again, and a later snapshot does not take the name of the one that is damaged.
    let mut again: BTreeMap<String, Rows> = BTreeMap::new();
    for (model, sign) in [(&newer, 1), (&older, -1)] {
        for (state, rows) in model {
            again.entry(state.clone()).or_default().extend(rows.iter().map(|(row, diff)| (row.clone(), sign * diff)));
        }
    }
    let tick = store.generation().unwrap().tick;
    assert_eq!(store.write(snapshot(tick + 1, again)).unwrap(), Some(tick));
    drop(store);
    let (store, damages) = try_open(&fs).unwrap();
    assert_eq!((rows(&store).unwrap(), damages), (newer, Vec::new()), "told once");
    drop(store);

    let before = fs.files();
    for manifest in manifests() {
        fs.flip(&manifest, 60, 1);
    }
    let Err(LogError::Corrupt { file, what, .. }) = try_open(&fs) else { panic!("none is whole") };
    assert!(file == manifests().next_back().unwrap() && what.contains("2 snapshots, and none is whole"), "{what}");
    assert_eq!(fs.files().len(), before.len(), "everything is left as it is found");
}

#[test]
fn a_file_of_another_snapshot_is_damage() {
    let fs = model_fs(1);
    two(&fs);
    fs.crash(Crash::PowerKept);
    let files: Vec<_> = fs.files().into_keys().collect();
    for file in &files {
        for other in files.iter().filter(|other| *other != file) {
            let fs = fs.fork(0);
            let bytes = fs.files().remove(other).unwrap();
            fs.remove(file).unwrap();
            if bytes.len().is_multiple_of(2) {
                fs.create(file).unwrap().append(&bytes).unwrap();
            }
            match try_open(&fs) {
                Ok((store, damages)) => {
                    let listed = store.generation().unwrap().files().any(|name| file.ends_with(name));
                    assert!(!listed && damages.iter().all(|damage| damage.file == *file), "{}", file.display());
                    rows(&store).unwrap();
                }
                Err(LogError::Corrupt { file: named, .. }) => assert_eq!(named, *file),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
