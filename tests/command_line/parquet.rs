//! Parquet as input: files as other programs write them, with nested columns, give the sessions of the same events as JSON.

use crate::headwater::Folder;
use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, Decimal128Array, DictionaryArray, Int64Array, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow_schema::{DataType, Field, Fields};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

const CONFIG: &str = r#"
    [fields]
    price = ["item.price"]
    [sessions]
    sum = { revenue = "price" }
    carry = ["tags[]", "labels.plan"]
"#;

const ROWS: i64 = 10_000;

fn user(row: i64) -> String {
    format!("u{}", row % 7)
}

/// Milliseconds since 1970.
fn time(row: i64) -> i64 {
    1_714_550_000_000 + row * 1000 + 123
}

/// In hundredths; some rows have none.
fn price(row: i64) -> Option<i64> {
    (row % 3 != 0).then_some(row)
}

/// The same events as JSON Lines.
fn json() -> String {
    let line = |row| {
        let item = price(row).map(|price| format!(r#","item":{{"price":{}.{:02}}}"#, price / 100, price % 100));
        format!(
            r#"{{"user_id":"{}","timestamp":{},"event_type":"view"{},"tags":["t{}"],"labels":{{"plan":"p{}"}}}}"#,
            user(row),
            time(row),
            item.unwrap_or_default(),
            row % 5,
            row % 2
        ) + "\n"
    };
    (0..ROWS).map(line).collect()
}

fn batch(users: ArrayRef, times: ArrayRef) -> RecordBatch {
    let prices = Decimal128Array::from_iter((0..ROWS).map(|row| price(row).map(i128::from)));
    let prices: ArrayRef = Arc::new(prices.with_precision_and_scale(10, 2).unwrap());
    let fields = Fields::from(vec![Field::new("price", DataType::Decimal128(10, 2), true)]);
    let kinds: DictionaryArray<Int32Type> = (0..ROWS).map(|_| "view").collect();
    let mut tags = ListBuilder::new(StringBuilder::new());
    let mut labels = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for row in 0..ROWS {
        tags.values().append_value(format!("t{}", row % 5));
        tags.append(true);
        labels.keys().append_value("plan");
        labels.values().append_value(format!("p{}", row % 2));
        labels.append(true).unwrap();
    }
    RecordBatch::try_from_iter([
        ("user_id", users),
        ("timestamp", times),
        ("event_type", Arc::new(kinds) as ArrayRef),
        ("item", Arc::new(StructArray::new(fields, vec![prices], None))),
        ("tags", Arc::new(tags.finish())),
        ("labels", Arc::new(labels.finish())),
        ("unasked", Arc::new(BinaryArray::from_iter_values((0..ROWS).map(|_| b"\xff\x00")))),
    ])
    .unwrap()
}

fn write(path: &Path, batch: &RecordBatch, compression: Compression) {
    let properties = WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(1500));
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties.build())).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_file_of_any_writer_gives_the_sessions_of_its_rows() {
    let folder = Folder::new();
    folder.write("headwater.toml", CONFIG);
    folder.write("events.jsonl", json());
    let expected = folder.replay("headwater.toml", ["events.jsonl"]);
    assert_eq!(expected.number("events"), ROWS as u64);

    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(user)));
    // As writers do that do not mark texts.
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values((0..ROWS).map(user)));
    let millis: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values((0..ROWS).map(time)));
    let micros = TimestampMicrosecondArray::from_iter_values((0..ROWS).map(|row| time(row) * 1000));
    let micros: ArrayRef = Arc::new(micros.with_timezone("UTC"));
    let nanos: ArrayRef =
        Arc::new(TimestampNanosecondArray::from_iter_values((0..ROWS).map(|row| time(row) * 1_000_000)));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(time)));
    let gzip = Compression::GZIP(GzipLevel::default());
    let brotli = Compression::BROTLI(BrotliLevel::default());
    let zstd = Compression::ZSTD(ZstdLevel::default());
    for (users, times, compression) in [
        (&texts, &millis, Compression::UNCOMPRESSED),
        (&bytes, &micros, Compression::SNAPPY),
        (&texts, &nanos, gzip),
        (&bytes, &numbers, Compression::LZ4_RAW),
        (&texts, &micros, brotli),
        (&texts, &millis, zstd),
    ] {
        write(&folder.path("events.parquet"), &batch(Arc::clone(users), Arc::clone(times)), compression);
        for workers in ["1", "2"] {
            let replay = folder.replay("headwater.toml", ["events.parquet", "--workers", workers]);
            assert_eq!(replay.number("dead_letters"), 0);
            assert!(replay.sessions == expected.sessions, "{compression} {:?}", replay.sessions.first());
        }
    }
}

/// A file that is cut short has no footer, and without it no row can be found.
#[test]
fn a_damaged_file_is_a_dead_letter() {
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    folder.write("events.jsonl", super::event("ann", 0, "view"));
    let users: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(user)));
    let times: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(time)));
    write(&folder.path("whole"), &batch(users, times), Compression::SNAPPY);
    let whole = std::fs::read(folder.path("whole")).unwrap();
    folder.write("cut.parquet", &whole[..whole.len() / 2]);
    let mut broken = whole.clone();
    broken[100..2000].fill(0xaa);
    folder.write("broken.parquet", broken);
    let replay = folder.replay("headwater.toml", ["events.jsonl", "cut.parquet", "broken.parquet"]);
    assert_eq!(replay.number("events"), 1);
    let letters = replay.dead_letters();
    assert_eq!(letters.len(), 2, "{letters:?}");
    for letter in letters {
        assert_eq!(letter["reason"], "damaged_input");
        assert!(letter["message"].as_str().unwrap().contains("parquet"), "{letter}");
    }
}
