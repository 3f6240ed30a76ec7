//! Writers that are not the landing, logs that are damaged, and tables of others.

use super::super::action::{Action, Add, CommitInfo, Remove};
use super::*;
use std::collections::BTreeMap;
use std::path::Path;

/// Puts a commit as another writer would.
fn put(fs: &ModelFs, version: i64, actions: &[Action]) {
    assert!(store(fs).put_new(&super::super::snapshot::commit_name(version), &Action::write(actions)).unwrap());
}

fn by(engine: &str) -> Action {
    CommitInfo { engine_info: engine.into(), ..CommitInfo::default() }.into()
}

fn add(path: &str, data_change: bool) -> Action {
    let partition_values = BTreeMap::from([("class".to_owned(), Some("c".to_owned()))]);
    Add { path: path.into(), partition_values, size: 3, modification_time: 0, data_change, stats: None }.into()
}

/// A table at tick 5, which is version 6.
fn landed() -> ModelFs {
    let fs = folder(1);
    let mut table = open(&fs, false).unwrap();
    (0..=5).for_each(|to| commit(&mut table, to).unwrap());
    fs
}

fn refusal(outcome: Result<Table, Error>) -> String {
    match outcome {
        Err(Error::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn what_another_writer_adds_is_refused_and_what_only_moves_rows_is_not() {
    let fs = landed();
    let mut table = open(&fs, true).unwrap();
    put(&fs, 7, &[by("delta-rs:1"), add("class=c/other.parquet", true)]);
    let why = commit(&mut table, 6).unwrap_err().to_string();
    assert!(why.contains("another writer has made version 7"), "{why}");
    let why = refusal(open(&fs, true));
    assert!(why.contains("version 7 was written by `delta-rs:1`"), "{why}");

    let fs = landed();
    let first = snapshot(&fs).unwrap().adds.into_keys().next().unwrap();
    let remove = Remove { path: first, deletion_timestamp: Some(1), data_change: false };
    put(&fs, 7, &[by("delta-rs:1"), add("class=c/dt=2026-11-30/compacted.parquet", false), remove.into()]);
    let mut table = open(&fs, true).unwrap();
    assert_eq!(table.upto(), Some(5));
    // Behind it is a checkpoint, with the file that was removed.
    (6..=9).for_each(|to| commit(&mut table, to).unwrap());
    let snapshot = snapshot(&fs).unwrap();
    assert_eq!((snapshot.adds.len(), snapshot.removes.len(), snapshot.version), (20, 1, 11));
}

#[test]
fn a_table_of_another_data_folder_is_refused() {
    let fs = landed();
    let other = Spec { log: LogId([8; 16]), ..spec(false) };
    let why = refusal(Table::open(store(&fs), other));
    assert!(why.contains("another data folder"), "{why}");
    let txn = super::super::action::Txn { app_id: "hw.08.events".into(), version: 3 };
    put(&fs, 7, &[by("headwater 0.1.0"), txn.into()]);
    let why = refusal(open(&fs, true));
    assert!(why.contains("`hw.08.events` lands in it too"), "{why}");
}

#[test]
fn a_log_that_is_gone_or_damaged_is_said_and_not_begun_again() {
    let log = |name: &str| Path::new(ROOT).join("_delta_log").join(name);
    let commit_of = |version| log(&super::super::snapshot::commit_name(version));
    // All of it, while the process runs and before it starts.
    let fs = landed();
    let mut table = open(&fs, true).unwrap();
    for path in fs.files().into_keys().filter(|path| path.starts_with(Path::new(ROOT).join("_delta_log"))) {
        fs.remove(&path).unwrap();
    }
    let why = commit(&mut table, 6).unwrap_err().to_string();
    assert!(why.contains("is gone"), "{why}");
    for known in [true, false] {
        let why = refusal(open(&fs, known));
        assert!(why.contains(if known { "is gone: put it back" } else { "files of data and no log" }), "{why}");
    }
    // One version of it: the checkpoint of version 4 has those before.
    for (version, fine) in [(2, true), (5, false)] {
        let fs = landed();
        fs.remove(&commit_of(version)).unwrap();
        assert_eq!(open(&fs, true).is_ok(), fine, "version {version}");
    }
    // The checkpoint: as long as all commits are there, it is not needed.
    let fs = landed();
    let checkpoint = log(&super::super::snapshot::checkpoint_name(4));
    let at = fs.files()[&checkpoint].len() - 20;
    (at..at + 20).for_each(|byte| fs.flip(&checkpoint, byte, 3));
    assert_eq!(open(&fs, true).unwrap().upto(), Some(5));
    fs.remove(&commit_of(0)).unwrap();
    assert!(refusal(open(&fs, true)).contains("checkpoint"));
}

#[test]
fn new_fields_are_new_columns_and_old_ones_stay() {
    let fs = landed();
    let columns = schema::columns(Name::Events, &["page".to_owned(), "User".to_owned(), "a b".to_owned()]);
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names[5..8], ["page", "field_User", "a_b"]);
    let mut table = Table::open(store(&fs), Spec { columns, ..spec(true) }).unwrap();
    commit(&mut table, 6).unwrap();
    let schema = snapshot(&fs).unwrap().meta_data.unwrap().schema_string;
    for name in ["price", "page", "field_User", "a_b", "class", "dt"] {
        assert!(schema.contains(&format!("\"name\":\"{name}\"")), "{name}: {schema}");
    }
    assert_eq!(open(&fs, true).unwrap().upto(), Some(6));
}

/// Readers read a commit at a time: after 10,000 of them there are few to read.
#[test]
fn ten_thousand_commits_open_from_a_checkpoint() {
    let fs = folder(1);
    let spec = || Spec { checkpoint_every: super::super::table::CHECKPOINT_EVERY, ..spec(false) };
    let mut table = Table::open(store(&fs), spec()).unwrap();
    // Without optimisation, fewer: each checkpoint reads the one before.
    let commits = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
    (0..commits).for_each(|to| commit(&mut table, to).unwrap());
    let began = std::time::Instant::now();
    let table = Table::open(store(&fs), Spec { known: true, ..spec() }).unwrap();
    eprintln!("{} files, opened in {:?}", table.adds().len(), began.elapsed());
    assert_eq!((table.upto(), table.adds().len() as u64), (Some(commits - 1), 2 * commits));
    check(&fs, Some(commits - 1)).unwrap();
}
