//! Files of the landing without the rows of users who are forgotten.
//!
//! ```text
//! file ─ batches ─ rows of these users, of ticks before ─▶ (gone)
//!                └ all others, in their order ─▶ a file in its place
//! ```
//! A user is known by the key alone: it is made again of the text in each row.

use super::Error;
use super::schema::{self, Column, Content};
use crate::queue::forgotten::comes_back;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use dataflows::{EventTime, Tick, UserKey};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows of a batch.
const ROWS: usize = 1024;

/// Users who are forgotten.
pub type Users = BTreeMap<UserKey, Gone>;

/// The rows of a user that go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gone {
    /// Those of ticks before this one.
    pub before: Tick,
    /// Of history that was landed before this tick: those from before the request, in milliseconds since 1970.
    pub at: Tick,
    pub asked_ms: i64,
}

/// What has come of a file.
#[derive(Debug)]
pub enum Rewritten {
    /// It has no row of these users.
    Same,
    /// All of its rows were theirs.
    Empty { gone: usize },
    /// Another file with the other rows.
    Other { bytes: Vec<u8>, rows: usize, gone: usize },
}

/// Returns the rows of a user, or all others.
///
/// # Errors
/// If arrow cannot filter them.
pub fn of_user(batch: &RecordBatch, user: UserKey, own: bool) -> Result<RecordBatch, ArrowError> {
    let users = batch.column_by_name("user").and_then(|column| column.as_string_opt::<i32>());
    let is_own = |row| users.is_some_and(|users| users.is_valid(row) && UserKey::of(users.value(row)) == user);
    let keeps: BooleanArray = (0..batch.num_rows()).map(|row| Some(is_own(row) == own)).collect();
    filter_record_batch(batch, &keeps)
}

/// Makes a file without the rows of users. `columns`: those of the table today; a column that only the file has stays.
///
/// # Errors
/// If the file cannot be read.
pub fn without(file: Vec<u8>, users: &Users, columns: &[Column]) -> Result<Rewritten, Error> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(Bytes::from(file), options);
    let builder = builder.map_err(Error::encode)?;
    let mut columns = columns.to_vec();
    for field in builder.schema().fields() {
        if columns.iter().all(|column| column.name != *field.name()) {
            // Of a field that is no longer configured.
            columns.push(Column { name: field.name().clone(), content: Content::Field(usize::MAX) });
        }
    }
    let (mut stays, mut gone) = (Vec::new(), 0);
    for batch in builder.with_batch_size(ROWS).build().map_err(Error::encode)? {
        let batch = batch.map_err(Error::encode)?;
        let keeps = keeps(&batch, users);
        gone += keeps.values().iter().filter(|keeps| !*keeps).count();
        let batch = filter_record_batch(&batch, &keeps).map_err(Error::encode)?;
        if batch.num_rows() > 0 {
            stays.push(batch);
        }
    }
    if gone == 0 {
        return Ok(Rewritten::Same);
    }
    let rows: usize = stays.iter().map(RecordBatch::num_rows).sum();
    if rows == 0 {
        return Ok(Rewritten::Empty { gone });
    }
    let schema = schema::arrow(&columns);
    let properties = schema::properties(&columns, rows).map_err(Error::encode)?;
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options);
    let mut writer = writer.map_err(Error::encode)?;
    for batch in stays {
        let batch = super::merge::fitted(&batch, &schema).map_err(Error::encode)?;
        writer.write(&batch).map_err(Error::encode)?;
    }
    Ok(Rewritten::Other { bytes: writer.into_inner().map_err(Error::encode)?, rows, gone })
}

fn keeps(batch: &RecordBatch, users: &Users) -> BooleanArray {
    let column = |name| batch.column_by_name(name);
    let of = column("user").and_then(|column| column.as_string_opt::<i32>());
    let ticks = column("_hw_tick").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let at = |name| column(name).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let (received, times) = (at("received"), at("time"));
    let goes = |row: usize| {
        let Some(text) = of.filter(|of| of.is_valid(row)) else { return false };
        let Some(gone) = users.get(&UserKey::of(text.value(row))) else { return false };
        let Some(tick) = ticks.map(|ticks| ticks.value(row).unsigned_abs()) else { return true };
        let is_history = received.is_some_and(|received| received.is_null(row));
        let time = times.filter(|times| times.is_valid(row)).and_then(|times| EventTime::from_micros(times.value(row)));
        tick < gone.before || is_history && tick < gone.at && !comes_back(time, gone.asked_ms)
    };
    (0..batch.num_rows()).map(|row| Some(!goes(row))).collect()
}
