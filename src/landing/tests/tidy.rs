//! Joined files have all rows in the order of the landing, and what the log says of them holds.

use super::super::files::Encoder;
use super::super::merge;
use super::super::rows::{Row, Rows};
use super::*;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use headwater_log::vfs::model::Rng;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// User, time, offset, field and payload of a row.
type Seen = (Option<String>, Option<i64>, i64, Option<String>, String);

/// Adds a random row to each of some rows.
fn add(all: [&mut Rows; 2], rng: &mut Rng, offset: u64, fields: bool) {
    let user =
        ["", "a", "b", "bb", "a user whose name is longer than statistics are, by far"].get(rng.below(6) as usize);
    let (time, field) = (Some(rng.below(5) as i64 * 1_000_003).filter(|time| *time > 0), rng.below(2) > 0);
    for rows in all {
        let next = rows.next_field();
        if fields {
            rows.field(field.then_some("a field"));
        }
        let user = user.map(|user| rows.put(user.as_bytes()));
        let payload = rows.put(format!("payload {offset}").as_bytes());
        let class = rows.names.number(b"c");
        let row = Row { class, user, time, fields: next, payload, tick: offset / 7, ..Row::at(offset) };
        rows.rows.push(row);
    }
}

fn read(bytes: Vec<u8>) -> Vec<Seen> {
    let mut all = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let text = |name: &str, row: usize| {
            let column = batch.column_by_name(name)?.as_string::<i32>();
            column.iter().nth(row)?.map(str::to_owned)
        };
        let times = batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
        let offsets = batch.column_by_name("_hw_offset").unwrap().as_primitive::<Int64Type>();
        for (row, (time, offset)) in times.iter().zip(offsets.values()).enumerate() {
            all.push((text("user", row), time, *offset, text("price", row), text("payload", row).unwrap()));
        }
    }
    all
}

#[test]
fn joined_files_have_all_rows_in_order() {
    let mut rng = Rng::new(3);
    for case in 0..40 {
        let (old, new) = (schema::columns(Name::Events, &[]), schema::columns(Name::Events, &["price".to_owned()]));
        let (mut files, mut stats, mut expected, mut all) = (Vec::new(), Vec::new(), Vec::new(), Rows::default());
        let mut offset = 0;
        for file in 0..1 + case % 9 {
            // The first ones are from before the field was configured; at last none has it.
            let fields = file >= case % 4;
            let encoder = Encoder::new(if fields { new.clone() } else { old.clone() }, vec!["s".into()]);
            let mut rows = Rows::default();
            for _ in 0..1 + rng.below(if case < 3 { 4000 } else { 40 }) {
                add([&mut rows, &mut all], &mut rng, offset, fields);
                offset += 1;
            }
            let order = rows.order(&[0]);
            let bytes = encoder.file(&rows, &order).unwrap();
            expected.extend(read(bytes.clone()));
            files.push(bytes);
            stats.push(encoder.statistics(&rows, &order));
        }
        expected.sort_by_key(|(user, time, ..)| (user.is_none(), user.clone(), *time));
        // A field that is no longer configured stays.
        let columns = if case % 2 == 0 { &new } else { &old };
        let merged = merge::merge(files, columns).unwrap();
        assert_eq!(merged.rows, expected.len());
        assert_eq!(read(merged.bytes), expected, "case {case}");
        let order: Vec<u32> = (0..offset as u32).collect();
        let whole = Encoder::new(old.clone(), vec!["s".into()]).statistics(&all, &order);
        let stats: Vec<&str> = stats.iter().map(String::as_str).collect();
        assert_eq!(merge::statistics(&stats, columns), Some(whole), "case {case}");
    }
}

#[test]
fn what_is_no_file_of_the_landing_is_not_joined() {
    let why = merge::merge(vec![b"no Parquet".to_vec()], &[]).unwrap_err().to_string();
    assert!(why.contains("arquet"), "{why}");
    assert_eq!(merge::statistics(&["{}", "no JSON"], &[]), None);
}

#[test]
fn days_are_removed_whole_and_their_files_later() {
    let fs = folder(1);
    let mut table = open(&fs, false).unwrap();
    (0..=2).for_each(|to| commit(&mut table, to).unwrap());
    let on_disk = |fs: &ModelFs| fs.files().keys().filter(|path| path.to_string_lossy().contains("/dt=")).count();
    assert_eq!(table.expire("2026-11-30", 10).unwrap(), 0);
    assert_eq!(table.expire("2026-12-01", 10).unwrap(), 6);
    assert_eq!((table.adds().len(), on_disk(&fs)), (0, 6));
    assert_eq!(table.vacuum(9).unwrap(), 0);
    // Also after a restart, from a checkpoint, and beside new rows.
    (3..=5).for_each(|to| commit(&mut table, to).unwrap());
    let mut table = open(&fs, true).unwrap();
    assert_eq!((table.upto(), table.adds().len(), on_disk(&fs)), (Some(5), 6, 12));
    assert_eq!(table.vacuum(10).unwrap(), 6);
    assert_eq!(on_disk(&fs), 6);
    assert_eq!(table.vacuum(i64::MAX).unwrap(), 0);
}
