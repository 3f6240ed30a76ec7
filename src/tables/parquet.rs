//! Apache Parquet. Each worker encodes its row groups itself, into a part file. The parts are joined by copying encoded
//! column chunks. For each worker, memory holds one batch of rows as arrays and one row group as encoded pages.

use crate::collections::{Column, Kind, Storage, Value, bounded};
use arrow_array::ArrayRef;
use arrow_array::builder::{
    ArrayBuilder, Decimal128Builder, Int64Builder, MapBuilder, MapFieldNames, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::types::{Decimal128Type, DecimalType};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use std::fmt::Write as _;
use std::fs::File;
use std::sync::Arc;

/// Rows that are held as arrays before they are encoded.
const BATCH: usize = 2 * 1024;
/// Rows of a row group: what a reader takes as one unit of parallel work.
const ROW_GROUP: usize = 64 * BATCH;
/// The most that Parquet knows; together with [`SCALE`] exact for sums of millionths.
const PRECISION: u8 = 38;
const SCALE: i8 = 6;

/// Writes the rows of one worker.
pub(super) struct Writer {
    part: SerializedFileWriter<File>,
    schema: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
    /// The batch.
    builders: Vec<ColumnBuilder>,
    batch_rows: usize,
    /// The row group that is being encoded, if one is.
    encoders: Vec<ArrowColumnWriter>,
    group_rows: usize,
    groups: Vec<Vec<ColumnCloseResult>>,
}

/// The output of one worker.
pub(super) struct Part {
    file: File,
    /// For each row group, where its column chunks lie in `file`.
    groups: Vec<Vec<ColumnCloseResult>>,
}

impl Writer {
    pub(super) fn new(columns: &[Column], file: File) -> Result<Writer> {
        let arrow = arrow_schema(columns);
        let part = file_writer(columns, &arrow, file)?;
        Ok(Writer {
            factory: ArrowRowGroupWriterFactory::new(&part, arrow.clone()),
            part,
            schema: arrow,
            builders: columns.iter().map(|column| ColumnBuilder::new(column.kind)).collect(),
            batch_rows: 0,
            encoders: Vec::new(),
            group_rows: 0,
            groups: Vec::new(),
        })
    }

    pub(super) fn write<'v>(&mut self, row: impl Iterator<Item = Value<'v>>) -> Result<()> {
        // The row first: one that is too long gives its next value, and is noticed.
        for (value, builder) in row.zip(&mut self.builders) {
            builder.push(&value)?;
        }
        self.batch_rows += 1;
        if self.batch_rows == BATCH {
            self.encode_batch()?;
            if self.group_rows >= ROW_GROUP {
                self.close_group()?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Part> {
        if self.batch_rows > 0 {
            self.encode_batch()?;
        }
        if self.group_rows > 0 {
            self.close_group()?;
        }
        Ok(Part { file: self.part.into_inner()?, groups: self.groups })
    }

    fn encode_batch(&mut self) -> Result<()> {
        if self.group_rows == 0 {
            self.encoders = self.factory.create_column_writers(self.groups.len())?;
        }
        let mut encoders = self.encoders.iter_mut();
        for (field, builder) in self.schema.fields().iter().zip(&mut self.builders) {
            for (leaf, encoder) in compute_leaves(field, &builder.finish())?.iter().zip(&mut encoders) {
                encoder.write(leaf)?;
            }
        }
        self.group_rows += self.batch_rows;
        self.batch_rows = 0;
        Ok(())
    }

    /// Moves the encoded row group to the part file.
    fn close_group(&mut self) -> Result<()> {
        let mut group = self.part.next_row_group()?;
        let mut closed = Vec::with_capacity(self.encoders.len());
        for encoder in self.encoders.drain(..) {
            let mut chunk = encoder.close()?;
            // Written with the whole file, not with the part.
            let bloom_filter = chunk.close_mut().bloom_filter.take();
            closed.push(ColumnCloseResult { bloom_filter, ..chunk.close().clone() });
            chunk.append_to_row_group(&mut group)?;
        }
        for (closed, chunk) in closed.iter_mut().zip(group.close()?.columns()) {
            closed.metadata = chunk.clone();
        }
        self.groups.push(closed);
        self.group_rows = 0;
        Ok(())
    }
}

/// Writes the row groups of all `parts`, in their order, as one file.
pub(super) fn assemble(parts: Vec<Part>, columns: &[Column], file: File) -> Result<()> {
    let mut writer = file_writer(columns, &arrow_schema(columns), file)?;
    for part in parts {
        for chunks in part.groups {
            let mut group = writer.next_row_group()?;
            for chunk in chunks {
                group.append_column(&part.file, chunk)?;
            }
            group.close()?;
        }
    }
    writer.close()?;
    Ok(())
}

fn file_writer(columns: &[Column], arrow: &Schema, file: File) -> Result<SerializedFileWriter<File>> {
    let schema = ArrowSchemaConverter::new().convert(arrow)?;
    SerializedFileWriter::new(file, schema.root_schema_ptr(), Arc::new(properties(columns)?))
}

fn properties(columns: &[Column]) -> Result<WriterProperties> {
    let properties = WriterProperties::builder()
        .set_created_by(concat!("headwater ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        // Rows are in the order of user keys, which are hashes: within a row group no range of values is narrow enough
        // for an index of pages to skip any.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_dictionary_enabled(false);
    let encode = |properties: WriterPropertiesBuilder, column: &Column| {
        let path = ColumnPath::new(vec![column.name.clone()]);
        match (column.kind, column.storage) {
            (Kind::Text, Storage::Distinct) | (Kind::Decimal | Kind::Object, _) => properties,
            (Kind::Text, Storage::Lookup) => properties
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path.clone(), 0.01)
                .set_column_bloom_filter_max_ndv(path, ROW_GROUP as u64),
            (Kind::Text, Storage::Category { .. }) => properties.set_column_dictionary_enabled(path, true),
            (Kind::Integer | Kind::Time, _) => properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            (Kind::Classes, _) => {
                let leaf = |name: &str| ColumnPath::new(vec![column.name.clone(), ENTRIES.to_owned(), name.to_owned()]);
                properties
                    .set_column_dictionary_enabled(leaf(KEY), true)
                    .set_column_encoding(leaf(VALUE), Encoding::DELTA_BINARY_PACKED)
            }
        }
    };
    Ok(columns.iter().fold(properties, encode).build())
}

// Names of a map's parts, after the Parquet format's `LogicalTypes.md`.
const ENTRIES: &str = "key_value";
const KEY: &str = "key";
const VALUE: &str = "value";

fn arrow_schema(columns: &[Column]) -> SchemaRef {
    let field = |column: &Column| {
        let data_type = match column.kind {
            Kind::Text | Kind::Object => DataType::Utf8,
            Kind::Integer => DataType::Int64,
            Kind::Time => timestamp(),
            Kind::Decimal => DataType::Decimal128(PRECISION, SCALE),
            Kind::Classes => {
                let entry = [Field::new(KEY, DataType::Utf8, false), Field::new(VALUE, DataType::Int64, false)];
                let entries = Field::new(ENTRIES, DataType::Struct(entry.into_iter().collect()), false);
                DataType::Map(Arc::new(entries), false)
            }
        };
        Field::new(&column.name, data_type, column.nullable)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// An instant, to which readers give a time zone for show.
fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Gathers one column of a batch.
#[derive(Debug)]
enum ColumnBuilder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Time(TimestampMicrosecondBuilder),
    Decimal(Decimal128Builder),
    Classes(Box<MapBuilder<StringBuilder, Int64Builder>>),
}

impl ColumnBuilder {
    fn new(kind: Kind) -> ColumnBuilder {
        match kind {
            Kind::Text | Kind::Object => ColumnBuilder::Text(StringBuilder::new()),
            Kind::Integer => ColumnBuilder::Integer(Int64Builder::new()),
            Kind::Time => ColumnBuilder::Time(TimestampMicrosecondBuilder::new().with_data_type(timestamp())),
            Kind::Decimal => {
                let data_type = DataType::Decimal128(PRECISION, SCALE);
                ColumnBuilder::Decimal(Decimal128Builder::new().with_data_type(data_type))
            }
            Kind::Classes => {
                let names = MapFieldNames { entry: ENTRIES.into(), key: KEY.into(), value: VALUE.into() };
                let map = MapBuilder::new(Some(names), StringBuilder::new(), Int64Builder::new())
                    .with_values_field(Field::new(VALUE, DataType::Int64, false));
                ColumnBuilder::Classes(Box::new(map))
            }
        }
    }

    fn push(&mut self, value: &Value<'_>) -> Result<()> {
        match (self, value) {
            (ColumnBuilder::Text(builder), Value::Text(text)) => builder.append_value(text),
            (ColumnBuilder::Text(builder), Value::Null | Value::Absent) => builder.append_null(),
            (ColumnBuilder::Text(builder), Value::Id(id)) => {
                write!(builder, "{id}").map_err(|error| ParquetError::External(error.into()))?;
                builder.append_value("");
            }
            (ColumnBuilder::Integer(builder), Value::Integer(number)) => builder.append_value(*number),
            (ColumnBuilder::Integer(builder), Value::Null) => builder.append_null(),
            (ColumnBuilder::Time(builder), Value::Time(time)) => builder.append_value(time.micros()),
            (ColumnBuilder::Time(builder), Value::Null) => builder.append_null(),
            (ColumnBuilder::Decimal(builder), Value::Null) => builder.append_null(),
            (ColumnBuilder::Decimal(builder), Value::Decimal(decimal)) => {
                Decimal128Type::validate_decimal_precision(decimal.millionths(), PRECISION, SCALE)?;
                builder.append_value(decimal.millionths());
            }
            (ColumnBuilder::Classes(builder), Value::Classes(classes)) => {
                for (class, events) in &**classes {
                    builder.keys().append_value(class);
                    builder.values().append_value(bounded(*events));
                }
                builder.append(true)?;
            }
            (ColumnBuilder::Text(builder), value) if value.text().is_some() => builder.append_option(value.text()),
            (builder, value) => unreachable!("columns and values are in the same order, but {builder:?} got {value:?}"),
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            ColumnBuilder::Text(builder) => ArrayBuilder::finish(builder),
            ColumnBuilder::Integer(builder) => ArrayBuilder::finish(builder),
            ColumnBuilder::Time(builder) => ArrayBuilder::finish(builder),
            ColumnBuilder::Decimal(builder) => ArrayBuilder::finish(builder),
            ColumnBuilder::Classes(builder) => ArrayBuilder::finish(&mut **builder),
        }
    }
}
