//! Parquet files as JSON Lines: one object for each row, so that nested columns are paths and everything behind sees
//! JSON. Absent values are left out.
//!
//! A timestamp becomes RFC 3339: with `Z` if the column says that its instants are adjusted to UTC, without a zone if it
//! does not. A decimal keeps its digits. Bytes that are not marked as text become text if they are UTF-8, else
//! hexadecimal digits. Offsets count bytes of these lines.

use arrow_array::{ArrayRef, RecordBatch, StringArray, cast::AsArray};
use arrow_json::LineDelimitedWriter;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first and the last bytes of a file, after Parquet's `README.md`.
const MAGIC: &[u8] = b"PAR1";

/// Rows that are held as columns, and then as text.
const ROWS: usize = 4096;

/// The lines of one file, rendered as they are read.
pub struct Lines {
    rows: ParquetRecordBatchReader,
    text: Vec<u8>,
    /// Bytes of `text` that have been read.
    taken: usize,
    /// Counts the stored bytes that have been used.
    stored: Arc<AtomicU64>,
    /// Stored bytes and rows of the file.
    bytes: u64,
    total: u64,
    done: u64,
}

/// Returns whether a file begins as Parquet does: with its name, and then the length of a header of Thrift, which is no
/// text. Not of a pipe.
pub fn is_parquet(file: &File) -> bool {
    let mut head = [0; 5];
    let text = |byte: u8| byte >= b' ' || (b'\t'..=b'\r').contains(&byte);
    file.read_exact_at(&mut head, 0).is_ok() && head.starts_with(MAGIC) && !text(head[MAGIC.len()])
}

impl Lines {
    /// `stored` counts the bytes of the file as its rows are read, evenly.
    ///
    /// # Errors
    /// A footer that cannot be read, or a column that has no form in JSON.
    pub fn open(file: File, stored: Arc<AtomicU64>) -> io::Result<Lines> {
        let bytes = file.metadata()?.len();
        // What the writer's Arrow said beside Parquet's own types would make equal files differ.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let read = ArrowReaderMetadata::load(&file, options.clone()).map_err(io::Error::other)?;
        let options = options.with_schema(Arc::new(Schema::new(in_utc(read.schema().fields()))));
        let read = ArrowReaderMetadata::try_new(Arc::clone(read.metadata()), options).map_err(io::Error::other)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, read);
        let total = builder.metadata().file_metadata().num_rows().unsigned_abs();
        let rows = builder.with_batch_size(ROWS).build().map_err(io::Error::other)?;
        Ok(Lines { rows, text: Vec::new(), taken: 0, stored, bytes, total, done: 0 })
    }

    /// Renders the next rows. Returns false at the end.
    fn next(&mut self) -> Result<bool, ArrowError> {
        let Some(batch) = self.rows.next().transpose()? else { return Ok(false) };
        self.text.clear();
        self.taken = 0;
        let mut writer = LineDelimitedWriter::new(&mut self.text);
        writer.write(&with_texts(&batch)?)?;
        writer.finish()?;
        let share = |rows: u64| u128::from(rows) * u128::from(self.bytes) / u128::from(self.total.max(1));
        let before = share(self.done);
        self.done += batch.num_rows() as u64;
        self.stored.fetch_add((share(self.done) - before) as u64, Ordering::Relaxed);
        Ok(true)
    }
}

impl Read for Lines {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.text.len() {
            if !self.next().map_err(io::Error::other)? {
                return Ok(0);
            }
        }
        let length = into.len().min(self.text.len() - self.taken);
        into[..length].copy_from_slice(&self.text[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

/// Returns the fields with the offset of UTC in the place of its name, which would need a database of zones.
fn in_utc(fields: &Fields) -> Fields {
    fields.iter().map(field_in_utc).collect()
}

fn field_in_utc(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("+00:00".into())),
        DataType::Struct(fields) => DataType::Struct(in_utc(fields)),
        DataType::List(element) => DataType::List(field_in_utc(element)),
        DataType::Map(entry, sorted) => DataType::Map(field_in_utc(entry), *sorted),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// Returns the batch with columns of bytes as text, where they are UTF-8: some writers do not mark their texts.
fn with_texts(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| match texts(column) {
        Some(texts) => (Field::new(field.name(), DataType::Utf8, true), texts),
        None => (field.as_ref().clone(), Arc::clone(column)),
    });
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn texts(column: &ArrayRef) -> Option<ArrayRef> {
    let bytes = column.as_binary_opt::<i32>()?;
    let texts = StringArray::try_from_binary(bytes.clone()).ok()?;
    Some(Arc::new(texts))
}
