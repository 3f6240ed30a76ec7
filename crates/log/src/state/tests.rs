//! Snapshots equal the rows that were handed over: compared with maps in memory, over merges, restarts and damage.

mod crash;
mod damage;

use super::{Generation, Snapshot, StateStore};
use crate::error::{LogError, Poison};
use crate::output::Rows;
use crate::partition::{Context, Limits};
use crate::segment::LogId;
use crate::vfs::model::{Fault, ModelFs, Rng};
use crate::vfs::{RealFs, Vfs};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fs, thread};

/// Multiplicities of the rows of each state.
type Model = BTreeMap<String, BTreeMap<Vec<u8>, i64>>;

const DIR: &str = "log/state";

fn context(vfs: impl Vfs + 'static, epoch: u64) -> Context {
    // Small, so that shards have several blocks.
    let limits = Limits { segment_bytes: 2_000, buffer_bytes: 200, block_bytes: 400, piece_bytes: 1_000 };
    Context { vfs: Arc::new(vfs), id: LogId([5; 16]), epoch, limits, poison: Poison::default() }
}

/// A file system with the folder that the store's lies in.
fn model_fs(seed: u64) -> ModelFs {
    let fs = ModelFs::new(seed);
    fs.create_dir(Path::new("log")).unwrap();
    fs
}

fn open(fs: &ModelFs, epoch: u64) -> StateStore {
    let (store, damages) = StateStore::open(context(fs.clone(), epoch), Path::new(DIR)).unwrap();
    assert_eq!(damages, []);
    store
}

fn snapshot(tick: u64, changes: BTreeMap<String, Rows>) -> Snapshot {
    let extra = format!("cursors of tick {tick}").into_bytes();
    Snapshot { tick, now_ms: tick as i64 * 100, remap_digest: [tick as u8; 32], program: [9; 32], extra, changes }
}

fn changes(of: &[(&str, &[(&str, i64)])]) -> BTreeMap<String, Rows> {
    let rows = |rows: &[(&str, i64)]| rows.iter().map(|(row, diff)| (row.as_bytes().to_vec(), *diff)).collect();
    of.iter().map(|(state, changed)| ((*state).to_owned(), rows(changed))).collect()
}

fn apply(model: &mut Model, changes: &BTreeMap<String, Rows>) {
    for (state, rows) in changes {
        let all = model.entry(state.clone()).or_default();
        for (row, diff) in rows {
            *all.entry(row.clone()).or_default() += diff;
        }
        all.retain(|_, diff| *diff != 0);
        if all.is_empty() {
            model.remove(state);
        }
    }
}

/// All rows of the newest snapshot.
fn rows(store: &StateStore) -> Result<Model, LogError> {
    let mut model = Model::new();
    for state in store.generation().iter().flat_map(|generation| generation.states.keys()) {
        let mut last: Option<Vec<u8>> = None;
        for shard in 0..=u8::MAX {
            store.read(state, shard, &mut |row, diff| {
                assert_eq!(row[0], shard);
                assert!(diff != 0 && last.as_deref().is_none_or(|last| last < row), "in order, each once");
                last = Some(row.to_vec());
                model.entry(state.clone()).or_default().insert(row.to_vec(), diff);
            })?;
        }
    }
    Ok(model)
}

/// Changes of a few states: few enough rows for many to be changed often, and to vanish.
fn some_changes(rng: &mut Rng) -> BTreeMap<String, Rows> {
    let mut changes = BTreeMap::new();
    for state in ["sessions", "names", "tallies"] {
        if rng.below(3) > 0 {
            let count = [1, 5, 40][rng.below(3) as usize];
            let row = |rng: &mut Rng| {
                let shard = [0, 7, 255][rng.below(3) as usize];
                let mut row = vec![shard; 1 + rng.below(3) as usize];
                row.extend((0..rng.below(3)).map(|_| rng.below(3) as u8));
                row.resize(row.len() + [0, 0, 30][rng.below(3) as usize], 1);
                (row, rng.below(5) as i64 - 2)
            };
            changes.insert(state.to_owned(), (0..1 + rng.below(count)).map(|_| row(rng)).collect());
        }
    }
    changes
}

fn longest(generation: &Generation) -> usize {
    generation.states.values().map(Vec::len).max().unwrap_or(0)
}

#[test]
fn a_snapshot_on_disk_is_read_back_as_it_was_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("state");
    let open = |epoch| StateStore::open(context(RealFs, epoch), &dir);
    let (mut store, damages) = open(1).unwrap();
    assert!(damages.is_empty() && store.generation().is_none());
    let first = changes(&[("ids", &[("b", 1), ("a", 2), ("b", -1), ("a", 1)]), ("names", &[("n", 1), ("n", -1)])]);
    assert_eq!(store.write(snapshot(4, first)).unwrap(), None, "with one snapshot, the whole log is needed");
    assert_eq!(store.write(snapshot(9, changes(&[("ids", &[("a", -3), ("c", -7)])]))).unwrap(), Some(4));
    assert_eq!(store.write(snapshot(10, changes(&[]))).unwrap(), Some(9));
    drop(store);

    let (store, damages) = open(2).unwrap();
    assert_eq!((damages, store.release_tick()), (Vec::new(), Some(9)));
    let wanted = Model::from([("ids".to_owned(), BTreeMap::from([(b"c".to_vec(), -7)]))]);
    assert_eq!(rows(&store).unwrap(), wanted);
    let found = store.generation().unwrap();
    let Snapshot { tick, now_ms, remap_digest, program, extra, .. } = snapshot(10, BTreeMap::new());
    assert_eq!((found.tick, found.now_ms, found.remap_digest, found.program), (tick, now_ms, remap_digest, program));
    assert_eq!((found.epoch, &found.extra), (1, &extra));
    store.read("unknown", 3, &mut |_, _| panic!("a state that is not known has no rows")).unwrap();

    assert!(matches!(open(0), Err(LogError::Foreign { .. })), "an older generation of the process is fenced");
    let other = Context { id: LogId([6; 16]), ..context(RealFs, 2) };
    assert!(matches!(StateStore::open(other, &dir), Err(LogError::Foreign { .. })));
    let names = fs::read_dir(&dir).unwrap().count();
    assert_eq!(names, 3, "two manifests and one run");
}

#[test]
fn what_breaks_the_contract_is_refused_and_changes_nothing() {
    let mut store = open(&model_fs(1), 1);
    store.write(snapshot(4, changes(&[("ids", &[("a", i64::MAX - 1), ("b", i64::MIN)])]))).unwrap();
    let long = "x".repeat(super::ROW_BYTES + 1);
    for (tick, refused) in [
        (4, changes(&[("ids", &[("a", 1)])])),
        (5, changes(&[("Ids", &[("a", 1)])])),
        (5, changes(&[("", &[("a", 1)])])),
        (5, changes(&[("ids", &[("", 1)])])),
        (5, changes(&[("ids", &[(&long, 1)])])),
    ] {
        assert!(matches!(store.write(snapshot(tick, refused)), Err(LogError::Refused(_))));
    }
    store.write(snapshot(5, changes(&[("ids", &[("a", 1)])]))).unwrap();
    let before = rows(&store).unwrap();
    for (row, diff) in [("a", 1), ("b", -1)] {
        let mut store = open(&model_fs(1), 1);
        store.write(snapshot(4, changes(&[("ids", &[("a", i64::MAX), ("b", i64::MIN)])]))).unwrap();
        // Merged as it is as long as what is there.
        let overflow = changes(&[("ids", &[(row, diff), ("c", 1)])]);
        assert!(matches!(store.write(snapshot(5, overflow)), Err(LogError::Refused(_))));
        assert!(matches!(store.write(snapshot(5, changes(&[]))), Err(LogError::Refused(_))), "it is not forgotten");
    }
    let twice = changes(&[("ids", &[("c", i64::MAX), ("c", 1)])]);
    assert!(matches!(store.write(snapshot(6, twice)), Err(LogError::Refused(_))));
    assert_eq!(rows(&store).unwrap(), before);
    // On the way a sum may leave what it has to be in.
    let back = changes(&[("ids", &[("c", -i64::MAX), ("c", -1)])]);
    store.write(snapshot(6, back)).unwrap();
    assert_eq!(rows(&store).unwrap(), before);
}

#[test]
fn runs_stay_few_and_shrink_with_what_they_hold() {
    let mut store = open(&model_fs(1), 1);
    let row = |number: u64| blake3::hash(&number.to_le_bytes()).as_bytes()[..12].to_vec();
    let (mut written, mut longest_yet) = (0, 0);
    for tick in 0..200 {
        let rows = (tick * 10..tick * 10 + 10).map(|number| (row(number), 1)).collect();
        store.write(snapshot(tick, BTreeMap::from([("ids".to_owned(), rows)]))).unwrap();
        let runs = &store.generation().unwrap().states["ids"];
        for at in 1..runs.len() {
            assert!(runs[at - 1].rows > 2 * runs[at..].iter().map(|run| run.rows).sum::<u64>());
        }
        written += runs.last().unwrap().rows;
        longest_yet = longest_yet.max(runs.len());
    }
    assert!(longest_yet <= 6, "{longest_yet}");
    assert!(written < 10 * 2_000, "a row is written {} times", written as f64 / 2_000.0);
    let rows = (0..1_990).map(|number| (row(number), -1)).collect();
    store.write(snapshot(200, BTreeMap::from([("ids".to_owned(), rows)]))).unwrap();
    let runs = &store.generation().unwrap().states["ids"];
    assert_eq!(runs.iter().map(|run| run.rows).collect::<Vec<_>>(), [10]);
}

#[test]
fn a_snapshot_that_begins_anew_is_the_sum_of_its_own_changes() {
    let fs = model_fs(1);
    let mut store = open(&fs, 1);
    let old = changes(&[("ids", &[("a", 1), ("b", 1)]), ("names", &[("n", 1)])]);
    store.write(snapshot(30, old)).unwrap();
    store.restart();
    assert_eq!(rows(&store).unwrap().len(), 2, "until it is written, the newest is what it was");
    let new = changes(&[("ids", &[("c", 1)])]);
    assert_eq!(store.write(snapshot(20, new.clone())).unwrap(), Some(20), "also at an earlier tick");
    let mut wanted = Model::new();
    apply(&mut wanted, &new);
    assert_eq!(rows(&store).unwrap(), wanted);
    assert!(matches!(store.write(snapshot(20, BTreeMap::new())), Err(LogError::Refused(_))));
    assert_eq!(store.write(snapshot(21, BTreeMap::new())).unwrap(), Some(20));
    drop(store);
    assert_eq!(rows(&open(&fs, 2)).unwrap(), wanted);
}

#[test]
fn without_space_nothing_changes_and_with_space_nothing_is_missing() {
    let fs = model_fs(1);
    let mut store = open(&fs, 1);
    let (mut model, mut rng) = (Model::new(), Rng::new(2));
    let mut tick = 0;
    for fails in 0..14 {
        for _ in 0..2 {
            let before = (rows(&store).unwrap(), fs.files());
            let changes = some_changes(&mut rng);
            apply(&mut model, &changes);
            tick += 1;
            fs.fail(fs.operations() + fails..u64::MAX, Fault::Full);
            match store.write(snapshot(tick, changes)) {
                Ok(_) => assert!(fails > 3),
                Err(LogError::Full(_)) => assert!((rows(&store).unwrap(), fs.files()) == before),
                Err(error) => panic!("{error}"),
            }
            fs.fail(0..0, Fault::Full);
        }
        tick += 1;
        store.write(snapshot(tick, BTreeMap::new())).unwrap();
        assert_eq!(rows(&store).unwrap(), model);
    }
    drop(store);
    assert_eq!(rows(&open(&fs, 2)).unwrap(), model);
}

#[test]
fn a_snapshot_is_read_by_several_threads_while_later_ones_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = StateStore::open(context(RealFs, 1), folder.path()).unwrap();
    let all = (0..5_000_u64).map(|number| (blake3::hash(&number.to_le_bytes()).as_bytes()[..20].to_vec(), 2)).collect();
    store.write(snapshot(1, BTreeMap::from([("ids".to_owned(), all)]))).unwrap();
    let (reader, wanted) = (store.reader(), rows(&store).unwrap());
    thread::scope(|scope| {
        let threads = [0, 1, 2].map(|worker| {
            let (reader, wanted) = (reader.clone(), &wanted["ids"]);
            scope.spawn(move || {
                for shard in (0..=u8::MAX).filter(|shard| shard % 3 == worker) {
                    let mut found = BTreeMap::new();
                    reader
                        .read("ids", shard, &mut |row, diff| assert!(found.insert(row.to_vec(), diff).is_none()))
                        .unwrap();
                    let own = wanted.iter().filter(|(row, _)| row[0] == shard);
                    assert!(found.iter().eq(own), "shard {shard}");
                }
            })
        });
        for tick in 2..6 {
            let gone = wanted["ids"].iter().skip(tick as usize * 900).take(900).map(|(row, _)| (row.clone(), -2));
            store.write(snapshot(tick, BTreeMap::from([("ids".to_owned(), gone.collect())]))).unwrap();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Rows of a few shards, which share what they begin with.
fn any_rows() -> impl Strategy<Value = Rows> {
    let row = (any::<prop::sample::Index>(), prop::collection::vec(0..3_u8, 0..12)).prop_map(|(shard, mut row)| {
        row.insert(0, [0, 1, 128, 255][shard.index(4)]);
        row
    });
    prop::collection::vec((row, prop_oneof![-2..3_i64, -(1_i64 << 40)..1 << 40]), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// The sums of the snapshots equal a count by hand, with any merges.
    #[test]
    fn snapshots_are_sums(
        generations in prop::collection::vec((any_rows(), any_rows(), 0..8_u8), 1..14),
    ) {
        let fs = model_fs(1);
        let mut store = open(&fs, 0);
        let mut model = Model::new();
        for (tick, (ids, names, what)) in (1..).zip(generations) {
            if what == 0 {
                store.restart();
                model.clear();
            }
            let changes = BTreeMap::from([("ids".to_owned(), ids), ("names".to_owned(), names)]);
            apply(&mut model, &changes);
            store.write(snapshot(tick, changes)).unwrap();
            if what == 1 {
                drop(store);
                store = open(&fs, tick);
            }
            prop_assert_eq!(&rows(&store).unwrap(), &model);
            prop_assert!(longest(store.generation().unwrap()) <= 6);
        }
    }
}
