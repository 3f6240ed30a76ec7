//! Rows -> Parquet files, each with the statistics that the log of the table has of it.

use super::rows::{Row, Rows};
use super::schema::{self, Column, Content};
use crate::text::rfc3339;
use arrow_array::builder::{BinaryBuilder, Int32Builder, Int64Builder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow_schema::{ArrowError, SchemaRef};
use dataflows::EventTime;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Rows that are held as arrays before they are encoded.
const BATCH: usize = 2 * 1024;
/// Characters of a text in statistics.
const STATISTICS_CHARS: usize = 32;

/// Encodes the rows of one table.
pub struct Encoder {
    columns: Vec<Column>,
    schema: SchemaRef,
    /// Names of the sources, by their index.
    sources: Vec<String>,
}

impl Encoder {
    pub fn new(columns: Vec<Column>, sources: Vec<String>) -> Encoder {
        Encoder { schema: schema::arrow(&columns), columns, sources }
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Returns the bytes of a file with the rows of these numbers, in this order.
    ///
    /// # Errors
    /// If the rows cannot be encoded.
    pub fn file(&self, rows: &Rows, order: &[u32]) -> Result<Vec<u8>, ParquetError> {
        let properties = schema::properties(&self.columns, order.len())?;
        // Readers go by Parquet's own types.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&self.schema), options)?;
        for numbers in order.chunks(BATCH) {
            let arrays = self.columns.iter().map(|column| self.array(column.content, rows, numbers));
            let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
            writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)?;
        }
        writer.into_inner()
    }

    fn array(&self, content: Content, rows: &Rows, numbers: &[u32]) -> Result<ArrayRef, ArrowError> {
        let all = || numbers.iter().map(|number| &rows.rows[*number as usize]);
        let payload = |row: &Row, is_text: bool| (row.is_text == is_text).then(|| rows.get(row.payload));
        let name = |number: Option<u32>| number.map(|number| rows.names.bytes(number));
        let size = match content {
            Content::Text => all().filter(|row| row.is_text).map(|row| row.length as usize).sum(),
            _ => 0,
        };
        let texts = |values: &mut dyn Iterator<Item = Option<&[u8]>>| texts((numbers.len(), size), values);
        Ok(match content {
            Content::User => texts(&mut all().map(|row| row.user.map(|span| rows.get(span))))?,
            Content::Id | Content::Message => texts(&mut all().map(|row| row.id.map(|span| rows.get(span))))?,
            Content::Field(field) => texts(&mut all().map(|row| rows.field_of(row, field)))?,
            Content::Class => texts(&mut all().map(|row| Some(rows.names.bytes(row.class))))?,
            Content::Shape => texts(&mut all().map(|row| name(row.shape)))?,
            Content::Source => {
                let source = |row: &Row| self.sources.get(usize::from(row.source)).map(String::as_bytes);
                texts(&mut all().map(source))?
            }
            Content::Format => texts(&mut all().map(|row| Some(row.format.name().as_bytes())))?,
            Content::Text => texts(&mut all().map(|row| payload(row, true)))?,
            Content::Bytes => Arc::new(bytes((numbers.len(), 0), all().map(|row| payload(row, false)))),
            Content::Header => Arc::new(bytes((numbers.len(), 0), all().map(|row| name(row.header)))),
            Content::Dialect => Arc::new(bytes((numbers.len(), 0), all().map(|row| name(row.dialect)))),
            Content::Before => {
                Arc::new(bytes((numbers.len(), 0), all().map(|row| row.around.map(|(before, _)| rows.get(before)))))
            }
            Content::After => {
                Arc::new(bytes((numbers.len(), 0), all().map(|row| row.around.map(|(_, after)| rows.get(after)))))
            }
            Content::Time => times(all().map(|row| row.time)),
            Content::Received => times(all().map(|row| row.received)),
            Content::Part => {
                let mut builder = Int32Builder::with_capacity(numbers.len());
                all().for_each(|row| builder.append_value(row.part as i32));
                Arc::new(builder.finish())
            }
            Content::Offset => numbers_of(all().map(|row| Some(row.offset))),
            Content::Place => numbers_of(all().map(|row| row.place)),
            Content::Tick => numbers_of(all().map(|row| Some(row.tick))),
            Content::Length => numbers_of(all().map(|row| Some(row.length))),
        })
    }

    /// Returns the statistics of such a file, as JSON.
    pub fn statistics(&self, rows: &Rows, order: &[u32]) -> String {
        let (mut least, mut most, mut nulls) = (Map::new(), Map::new(), Map::new());
        let all = || order.iter().map(|number| &rows.rows[*number as usize]);
        for Column { name, content } in &self.columns {
            let absent = match content {
                Content::User => all().filter(|row| row.user.is_none()).count(),
                Content::Time => all().filter(|row| row.time.is_none()).count(),
                Content::Received => all().filter(|row| row.received.is_none()).count(),
                Content::Class | Content::Tick => 0,
                _ => continue,
            };
            nulls.insert(name.clone(), json!(absent));
            let ends = match content {
                Content::User => bytes_ends(all().filter_map(|row| row.user.map(|span| rows.get(span)))),
                Content::Class => bytes_ends(all().map(|row| rows.names.bytes(row.class))),
                Content::Time => time_ends(all().filter_map(|row| row.time)),
                Content::Received => time_ends(all().filter_map(|row| row.received)),
                _ => ends(all().map(|row| row.tick)).map(|(least, most)| (json!(least), json!(most))),
            };
            if let Some((low, high)) = ends {
                least.insert(name.clone(), low);
                most.insert(name.clone(), high);
            }
        }
        json!({ "numRecords": order.len(), "minValues": least, "maxValues": most, "nullCount": nulls }).to_string()
    }
}

/// All texts of a batch are checked at once, which is faster than one by one.
fn texts(size: (usize, usize), values: &mut dyn Iterator<Item = Option<&[u8]>>) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(StringArray::try_from_binary(bytes(size, values))?))
}

/// `size`: values, and the bytes of all together if they are known.
fn bytes<'t>(size: (usize, usize), values: impl Iterator<Item = Option<&'t [u8]>>) -> BinaryArray {
    let mut builder = BinaryBuilder::with_capacity(size.0, size.1);
    values.for_each(|value| builder.append_option(value));
    builder.finish()
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let mut builder = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn numbers_of(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    let mut builder = Int64Builder::new();
    values.for_each(|value| builder.append_option(value.map(|value| value as i64)));
    Arc::new(builder.finish())
}

/// Returns the least and the greatest value, if there are any.
fn ends<T: Ord + Copy>(mut values: impl Iterator<Item = T>) -> Option<(T, T)> {
    let first = values.next()?;
    Some(values.fold((first, first), |(least, most), value| (least.min(value), most.max(value))))
}

/// Returns the ends of texts, the greatest rounded up if it is long.
fn bytes_ends<'t>(values: impl Iterator<Item = &'t [u8]>) -> Option<(Value, Value)> {
    let (least, most) = ends(values)?;
    let [least, most] = [least, most].map(|text| std::str::from_utf8(text).unwrap_or_default());
    let cut = |text: &'t str| text.char_indices().nth(STATISTICS_CHARS).map_or(text, |(end, _)| &text[..end]);
    let high = if cut(most).len() < most.len() { format!("{}\u{10ffff}", cut(most)) } else { most.to_owned() };
    Some((json!(cut(least)), json!(high)))
}

/// Returns the ends of times in whole milliseconds, which is what all readers agree on: the greatest is rounded up. Years
/// that not every reader knows have no statistics.
fn time_ends(values: impl Iterator<Item = i64>) -> Option<(Value, Value)> {
    /// The years 1 to 9999, but for the last day.
    const KNOWN: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_214_400_000_000;
    let (least, most) = ends(values)?;
    let text = |micros: i64| {
        let text = KNOWN.contains(&micros).then(|| EventTime::from_micros(micros).map(rfc3339)).flatten()?;
        Some(json!(text))
    };
    let most = most.checked_add(999)?.div_euclid(1000) * 1000;
    Some((text(least.div_euclid(1000) * 1000)?, text(most)?))
}
