//! A reader of landed tables that knows of Delta only its commits.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A row of either table, as far as tests look at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub source: String,
    pub part: i32,
    pub offset: i64,
    pub tick: i64,
    pub header: Option<Vec<u8>>,
    pub payload: Vec<u8>,
}

/// Returns the files of a table, and those that commits have removed. Each commit is after the one before.
pub fn log(table: &Path) -> [BTreeSet<PathBuf>; 2] {
    let (mut files, mut removed) = (BTreeSet::new(), BTreeSet::new());
    for version in 0.. {
        let commit = table.join(format!("_delta_log/{version:020}.json"));
        let Ok(text) = fs::read_to_string(&commit) else { break };
        let actions: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let paths = |kind: &str| {
            let paths = actions.iter().filter_map(|action| action[kind]["path"].as_str());
            paths.map(|path| table.join(path.replace("%25", "%"))).collect::<Vec<_>>()
        };
        for path in paths("remove") {
            assert!(files.remove(&path) && removed.insert(path.clone()), "{} is removed twice", path.display());
        }
        for path in paths("add") {
            let again = removed.contains(&path) || !files.insert(path.clone());
            assert!(!again, "{} is added twice", path.display());
        }
    }
    [files, removed]
}

/// Returns the files of a table.
pub fn files(table: &Path) -> BTreeSet<PathBuf> {
    let [files, _] = log(table);
    files
}

/// Returns the rows of a table. Each file has its ticks.
pub fn rows(table: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for path in files(table) {
        let name = path.file_stem().unwrap().to_str().unwrap().trim_start_matches("part-").to_owned();
        let ticks: Vec<i64> = name.split('-').map(|number| number.parse().unwrap()).collect();
        let (from, to) = (ticks[0], ticks[1]);
        let file = fs::File::open(&path).unwrap();
        let mut users = Vec::new();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let before = rows.len();
            rows_of(&batch, &mut rows);
            assert!(rows[before..].iter().all(|row| (from..=to).contains(&row.tick)), "{}", path.display());
            if let Some(column) = batch.column_by_name("user") {
                users.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
            }
        }
        assert!(users.is_sorted(), "{}", path.display());
    }
    rows
}

fn rows_of(batch: &RecordBatch, rows: &mut Vec<Row>) {
    let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("there is no column {name}"));
    let (source, part) = (column("_hw_source").as_string::<i32>(), column("_hw_part").as_primitive::<Int32Type>());
    let [offset, tick] = ["_hw_offset", "_hw_tick"].map(|name| column(name).as_primitive::<Int64Type>());
    let [bytes, header] = ["payload_bytes", "_hw_header"].map(|name| column(name).as_binary::<i32>());
    let text = column("payload").as_string::<i32>();
    for row in 0..batch.num_rows() {
        assert_ne!(text.is_null(row), bytes.is_null(row), "a payload is a text or bytes");
        let payload = if text.is_null(row) { bytes.value(row) } else { text.value(row).as_bytes() };
        rows.push(Row {
            source: source.value(row).into(),
            part: part.value(row),
            offset: offset.value(row),
            tick: tick.value(row),
            header: header.is_valid(row).then(|| header.value(row).to_vec()),
            payload: payload.to_vec(),
        });
    }
}

/// Returns the files of data that lie in the folder of a table.
pub fn on_disk(table: &Path) -> BTreeSet<PathBuf> {
    let pattern = format!("{}/*/*/*.parquet", table.display());
    glob::glob(&pattern).unwrap().map(Result::unwrap).collect()
}

/// Checks that the files of a table are there, and no other ones but those that commits have removed.
pub fn is_whole(table: &Path) {
    let ([files, removed], found) = (log(table), on_disk(table));
    assert!(files.is_subset(&found), "{:?} are missing", files.difference(&found).collect::<Vec<_>>());
    let strange: Vec<_> = found.iter().filter(|path| !files.contains(*path) && !removed.contains(*path)).collect();
    assert!(strange.is_empty(), "{strange:?} are in no commit");
}
