//! Files of one folder -> one file, with the rows of all in the order of the landing.

use super::Error;
use super::schema::{self, Column, Content};
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch, new_null_array};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use bytes::Bytes;
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::sync::Arc;

/// Rows of a batch that is read. One batch of each file is in memory.
const READ: usize = 1024;
/// Rows of a batch that is written.
const WRITE: usize = 2 * 1024;

/// What has come of some files.
#[derive(Debug)]
pub struct Merged {
    pub bytes: Vec<u8>,
    pub rows: usize,
}

/// Merges files, each of which is sorted by user and time. Equal ones stay in the order of the files. `columns`: those of
/// the table today; a column that only files have stays.
///
/// Memory is bounded by the files, which are held whole as they are stored, the file that is made, and some batches.
///
/// # Errors
/// If a file cannot be read, or has another type for a column.
pub fn merge(files: Vec<Vec<u8>>, columns: &[Column]) -> Result<Merged, Error> {
    let mut columns = columns.to_vec();
    let mut inputs = Vec::with_capacity(files.len());
    let mut rows = 0;
    for file in files {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(Bytes::from(file), options);
        let builder = builder.map_err(Error::encode)?;
        rows += builder.metadata().file_metadata().num_rows() as usize;
        for field in builder.schema().fields() {
            if columns.iter().all(|column| column.name != *field.name()) {
                // Of a field that is no longer configured.
                columns.push(Column { name: field.name().clone(), content: Content::Field(usize::MAX) });
            }
        }
        inputs.push(builder.with_batch_size(READ).build().map_err(Error::encode)?);
    }
    let schema = schema::arrow(&columns);
    let properties = schema::properties(&columns, rows).map_err(Error::encode)?;
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options);
    let at = |name| columns.iter().position(|column| column.name == name);
    let mut merger = Merger {
        schema,
        keys: (at("user"), at("time")),
        batches: Vec::new(),
        taken: Vec::with_capacity(WRITE),
        inputs: Vec::new(),
    };
    for reader in inputs {
        let mut input = Input { reader, batch: 0, row: 0 };
        if merger.read(&mut input)? {
            merger.inputs.push(input);
        }
    }
    let mut writer = writer.map_err(Error::encode)?;
    let mut written = 0;
    while let Some(batch) = merger.next()? {
        written += batch.num_rows();
        writer.write(&batch).map_err(Error::encode)?;
    }
    if written != rows {
        return Err(Error::Encode(format!("{written} rows were merged of {rows}")));
    }
    Ok(Merged { bytes: writer.into_inner().map_err(Error::encode)?, rows })
}

struct Merger {
    schema: SchemaRef,
    /// Where the user and the time are, if the table has them.
    keys: (Option<usize>, Option<usize>),
    /// What is in memory. A batch is here until its rows are written.
    batches: Vec<RecordBatch>,
    /// Rows that are to be written: batch and row.
    taken: Vec<(usize, usize)>,
    /// Those with rows left, in order of the files.
    inputs: Vec<Input>,
}

struct Input {
    reader: ParquetRecordBatchReader,
    /// Its batch, among those in memory.
    batch: usize,
    /// The next one.
    row: usize,
}

impl Merger {
    /// Reads the next batch of an input. Returns false at its end.
    fn read(&mut self, input: &mut Input) -> Result<bool, Error> {
        for batch in input.reader.by_ref() {
            let batch = fitted(&batch.map_err(Error::encode)?, &self.schema).map_err(Error::encode)?;
            if batch.num_rows() > 0 {
                (input.batch, input.row) = (self.batches.len(), 0);
                self.batches.push(batch);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the next rows; `None` at the end.
    fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        while self.taken.len() < WRITE && !self.inputs.is_empty() {
            let (least, next) = self.least();
            // Rows of one user lie together, so the same input is often the least one again.
            loop {
                let input = &mut self.inputs[least];
                self.taken.push((input.batch, input.row));
                input.row += 1;
                if input.row == self.batches[input.batch].num_rows() {
                    let mut input = self.inputs.remove(least);
                    if self.read(&mut input)? {
                        self.inputs.insert(least, input);
                    }
                    break;
                }
                if self.taken.len() == WRITE || next.is_some_and(|next| self.order(least, next).is_gt()) {
                    break;
                }
            }
        }
        if self.taken.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let batch = interleave_record_batch(&batches, &self.taken).map_err(Error::encode)?;
        self.taken.clear();
        self.forget();
        Ok(Some(batch))
    }

    /// Returns the input whose next row is the least, and the one after it.
    fn least(&self) -> (usize, Option<usize>) {
        let (mut least, mut next) = (0, None);
        for input in 1..self.inputs.len() {
            if self.order(input, least).is_lt() {
                (least, next) = (input, Some(least));
            } else if next.is_none_or(|next| self.order(input, next).is_lt()) {
                next = Some(input);
            }
        }
        (least, next)
    }

    /// Compares the next rows of two inputs: rows without a user are last, those without a time first.
    fn order(&self, one: usize, other: usize) -> Ordering {
        let key = |input: usize| {
            let Input { batch, row, .. } = self.inputs[input];
            // The types are those of the schema.
            let column =
                |at: Option<usize>| at.map(|at| self.batches[batch].column(at)).filter(|all| all.is_valid(row));
            let user = column(self.keys.0).map(|users| users.as_string::<i32>().value(row));
            let time = column(self.keys.1).map(|times| times.as_primitive::<TimestampMicrosecondType>().value(row));
            (user.is_none(), user, time, input)
        };
        key(one).cmp(&key(other))
    }

    /// Lets go of the batches whose rows are written.
    fn forget(&mut self) {
        let mut kept = Vec::with_capacity(self.inputs.len());
        for input in &mut self.inputs {
            kept.push(self.batches[input.batch].clone());
            input.batch = kept.len() - 1;
        }
        self.batches = kept;
    }
}

/// Returns a batch with the columns of a schema: those that it lacks are null.
pub(super) fn fitted(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |field: &Arc<arrow_schema::Field>| match batch.column_by_name(field.name()) {
        Some(column) => Arc::clone(column),
        None => new_null_array(field.data_type(), batch.num_rows()),
    };
    RecordBatch::try_new(Arc::clone(schema), schema.fields().iter().map(column).collect())
}

/// Returns the statistics of the rows of several files together. `None` if a file has none that can be read. What is not
/// known of each file is left out.
pub fn statistics(of_files: &[&str], columns: &[Column]) -> Option<String> {
    let files = of_files.iter().map(|text| serde_json::from_str::<Value>(text));
    let files = files.collect::<Result<Vec<_>, _>>().ok()?;
    let records = files.iter().map(|file| file["numRecords"].as_u64()).collect::<Option<Vec<_>>>()?;
    let (mut least, mut most, mut nulls) = (Map::new(), Map::new(), Map::new());
    for Column { name, content } in columns {
        let Some(of_each) = files.iter().map(|file| file["nullCount"][name].as_u64()).collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        nulls.insert(name.clone(), of_each.iter().sum::<u64>().into());
        // A file without a value has no ends.
        let with = files.iter().zip(of_each.iter().zip(&records)).filter(|(_, (nulls, records))| nulls < records);
        let with: Vec<&Value> = with.map(|(file, _)| file).collect();
        for (ends, key, wanted) in
            [(&mut least, "minValues", Ordering::Less), (&mut most, "maxValues", Ordering::Greater)]
        {
            let values = with.iter().map(|file| &file[key][name]);
            let better = |one, other| if order(*content, other, one)? == wanted { Some(other) } else { Some(one) };
            let Some(first) = values.clone().next() else { continue };
            if let Some(end) = values.into_iter().try_fold(first, better) {
                ends.insert(name.clone(), end.clone());
            }
        }
    }
    let records: u64 = records.iter().sum();
    Some(json!({ "numRecords": records, "minValues": least, "maxValues": most, "nullCount": nulls }).to_string())
}

/// Compares two values of a column in statistics. `None` if one of them is none.
fn order(content: Content, one: &Value, other: &Value) -> Option<Ordering> {
    Some(match content {
        Content::Tick => one.as_u64()?.cmp(&other.as_u64()?),
        Content::Time | Content::Received => {
            one.as_str()?.parse::<Timestamp>().ok()?.cmp(&other.as_str()?.parse::<Timestamp>().ok()?)
        }
        _ => one.as_str()?.cmp(other.as_str()?),
    })
}
