//! Checkpoints of a Delta log: the actions that hold at one version, as Parquet. After the protocol, "Checkpoints", in the
//! classic form of one file.
//!
//! The columns are the actions of the commits, so both directions go through their JSON.

use super::action::Action;
use arrow_json::{LineDelimitedWriter, ReaderBuilder};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::sync::Arc;

/// Actions of one batch.
const BATCH: usize = 8 * 1024;

/// Returns the bytes of the checkpoint that has these actions.
///
/// # Errors
/// If they cannot be encoded.
pub fn write(actions: &[Action]) -> Result<Vec<u8>, ParquetError> {
    let schema = Arc::new(Schema::new(columns()));
    let properties = WriterProperties::builder()
        .set_created_by(concat!("headwater ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::SNAPPY)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
    for actions in actions.chunks(BATCH) {
        let mut decoder = ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(BATCH).build_decoder()?;
        let json = Action::write(actions);
        let taken = decoder.decode(&json)?;
        if taken < json.len() {
            return Err(ParquetError::General("more actions than a batch has".into()));
        }
        if let Some(batch) = decoder.flush()? {
            writer.write(&batch)?;
        }
    }
    writer.into_inner()
}

/// Returns the actions of a checkpoint, also of one that another writer has made.
///
/// # Errors
/// If it cannot be read.
pub fn read(bytes: Vec<u8>) -> Result<Vec<Action>, String> {
    let lines = || -> Result<Vec<u8>, ArrowError> {
        let mut json = Vec::new();
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes))?.with_batch_size(BATCH).build()?;
        let mut writer = LineDelimitedWriter::new(&mut json);
        for batch in reader {
            writer.write(&batch?)?;
        }
        writer.finish()?;
        Ok(json)
    };
    Action::parse(&lines().map_err(|error| error.to_string())?)
}

fn columns() -> Fields {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let number = |name: &str| Field::new(name, DataType::Int32, true);
    let truth = |name: &str| Field::new(name, DataType::Boolean, true);
    let group = |name: &str, fields: Vec<Field>| Field::new(name, DataType::Struct(fields.into()), true);
    let map = |name: &str| {
        let entry = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)];
        let entries = Field::new("key_value", DataType::Struct(entry.into()), false);
        Field::new(name, DataType::Map(Arc::new(entries), false), true)
    };
    let texts =
        |name: &str| Field::new(name, DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))), true);
    let columns = vec![
        group("txn", vec![text("appId"), long("version")]),
        group(
            "add",
            vec![
                text("path"),
                map("partitionValues"),
                long("size"),
                long("modificationTime"),
                truth("dataChange"),
                text("stats"),
            ],
        ),
        group("remove", vec![text("path"), long("deletionTimestamp"), truth("dataChange")]),
        group(
            "metaData",
            vec![
                text("id"),
                group("format", vec![text("provider"), map("options")]),
                text("schemaString"),
                texts("partitionColumns"),
                map("configuration"),
                long("createdTime"),
            ],
        ),
        group("protocol", vec![number("minReaderVersion"), number("minWriterVersion")]),
    ];
    columns.into()
}
