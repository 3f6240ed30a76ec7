//! The columns of the tables: for Delta, for Arrow, and for Parquet.

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;

/// The tables of a landing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Events,
    DeadLetters,
}

impl Name {
    /// Returns its name: of its folder, and in the id of its writer.
    pub fn text(self) -> &'static str {
        match self {
            Name::Events => "events",
            Name::DeadLetters => "dead_letters",
        }
    }

    /// Returns the column that the outer folders are named after.
    pub fn folder(self) -> &'static str {
        match self {
            Name::Events => "class",
            Name::DeadLetters => "reason",
        }
    }
}

/// The partition by days. As that of [`Name::folder`], it is in the log and in names of folders, and not in files.
pub const DAY: &str = "dt";
/// Rows of a row group: what a reader takes as one unit of parallel work.
pub const ROW_GROUP: usize = 128 * 1024;
/// A page of a column has at most this many rows, so that a reader of one user reads few.
const PAGE_ROWS: usize = 4096;
/// Delta refuses these in names of columns.
const REFUSED: [char; 10] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub content: Content,
}

/// The content of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    User,
    Time,
    Received,
    /// Of a dead letter: the reason.
    Class,
    Shape,
    Id,
    /// By its index among the configured fields.
    Field(usize),
    Message,
    Length,
    /// The payload, if it is UTF-8.
    Text,
    /// The payload, if it is not.
    Bytes,
    Source,
    Part,
    Offset,
    /// Where in its file the record begins.
    Place,
    Tick,
    Format,
    Header,
    Dialect,
    /// What was before and after an element of a record that explodes.
    Before,
    After,
}

/// How a column is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storage {
    /// Values that repeat.
    Dictionary,
    /// The column that rows are sorted by.
    Sorted,
    Plain,
    Delta,
}

impl Column {
    fn storage(&self) -> Storage {
        match self.content {
            Content::User => Storage::Sorted,
            Content::Class | Content::Shape | Content::Field(_) | Content::Source | Content::Format => {
                Storage::Dictionary
            }
            Content::Header | Content::Dialect | Content::Before | Content::After => Storage::Dictionary,
            Content::Part | Content::Message => Storage::Dictionary,
            Content::Id | Content::Text | Content::Bytes => Storage::Plain,
            Content::Time | Content::Received | Content::Offset | Content::Place | Content::Tick | Content::Length => {
                Storage::Delta
            }
        }
    }

    fn arrow(&self) -> DataType {
        match self.delta() {
            "binary" => DataType::Binary,
            "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            "integer" => DataType::Int32,
            "long" => DataType::Int64,
            _ => DataType::Utf8,
        }
    }

    /// Returns its type in Delta.
    fn delta(&self) -> &'static str {
        match self.content {
            Content::Bytes | Content::Header | Content::Dialect | Content::Before | Content::After => "binary",
            Content::Time | Content::Received => "timestamp",
            Content::Part => "integer",
            Content::Offset | Content::Place | Content::Tick | Content::Length => "long",
            _ => "string",
        }
    }
}

/// Returns the columns of a table. `fields`: the names of the configured fields, in their order. A field whose name is
/// that of another column, in whichever case, has `field_` in front.
pub fn columns(table: Name, fields: &[String]) -> Vec<Column> {
    let column = |(name, content): (&str, Content)| Column { name: name.to_owned(), content };
    let (head, tail): (&[_], &[_]) = match table {
        Name::Events => (
            &[
                ("user", Content::User),
                ("time", Content::Time),
                ("received", Content::Received),
                ("shape", Content::Shape),
                ("event_id", Content::Id),
            ],
            &[("payload", Content::Text), ("payload_bytes", Content::Bytes), ("_hw_class", Content::Class)],
        ),
        Name::DeadLetters => (
            &[("received", Content::Received), ("message", Content::Message), ("length", Content::Length)],
            &[("payload", Content::Text), ("payload_bytes", Content::Bytes)],
        ),
    };
    let own = [
        ("_hw_source", Content::Source),
        ("_hw_part", Content::Part),
        ("_hw_offset", Content::Offset),
        ("_hw_place", Content::Place),
        ("_hw_tick", Content::Tick),
        ("_hw_format", Content::Format),
        ("_hw_header", Content::Header),
        ("_hw_dialect", Content::Dialect),
        ("_hw_before", Content::Before),
        ("_hw_after", Content::After),
    ];
    let mut taken: HashSet<String> = head
        .iter()
        .chain(tail)
        .chain(&own)
        .map(|(name, _)| (*name).to_owned())
        .chain([DAY.to_owned(), table.folder().to_owned()])
        .collect();
    let mut columns: Vec<Column> = head.iter().copied().map(column).collect();
    for (index, field) in fields.iter().enumerate().filter(|_| table == Name::Events) {
        let mut name = field.replace(REFUSED, "_");
        while !taken.insert(name.to_lowercase()) {
            name.insert_str(0, "field_");
        }
        columns.push(Column { name, content: Content::Field(index) });
    }
    columns.extend(tail.iter().chain(&own).copied().map(column));
    columns
}

pub fn arrow(columns: &[Column]) -> SchemaRef {
    let field = |column: &Column| Field::new(&column.name, column.arrow(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// Returns how files are written, if they have `rows` rows.
///
/// # Errors
/// If the library does not know one of the settings.
pub fn properties(columns: &[Column], rows: usize) -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("headwater ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_enabled(false);
    for column in columns {
        let path = ColumnPath::new(vec![column.name.clone()]);
        properties = match column.storage() {
            Storage::Dictionary => properties.set_column_dictionary_enabled(path.clone(), true),
            Storage::Sorted => properties
                .set_column_dictionary_enabled(path.clone(), true)
                .set_column_statistics_enabled(path.clone(), EnabledStatistics::Page)
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path.clone(), 0.01)
                .set_column_bloom_filter_max_ndv(path.clone(), rows.min(ROW_GROUP) as u64),
            Storage::Delta => properties.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED),
            Storage::Plain => properties,
        };
        if matches!(column.content, Content::Text | Content::Bytes) {
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    Ok(properties.build())
}

/// The schema of a table as its log has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Struct {
    #[serde(rename = "type")]
    kind: String,
    fields: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    name: String,
    #[serde(rename = "type")]
    kind: serde_json::Value,
    nullable: bool,
    #[serde(default)]
    metadata: serde_json::Map<String, serde_json::Value>,
}

/// Returns the schema that the log of a table has to have for these columns: `known`, and behind it what is new.
///
/// # Errors
/// If `known` cannot be read, or has another type for a column.
pub fn merged(table: Name, known: Option<&str>, columns: &[Column]) -> Result<String, String> {
    let mut schema = match known {
        Some(text) => serde_json::from_str(text).map_err(|error| format!("its schema cannot be read: {error}"))?,
        None => Struct { kind: "struct".into(), fields: Vec::new() },
    };
    let wanted = columns
        .iter()
        .map(|column| (column.name.as_str(), column.delta()))
        .chain([(table.folder(), "string"), (DAY, "date")]);
    for (name, kind) in wanted {
        match schema.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)) {
            Some(field) if field.name == name && field.kind == kind => {}
            Some(field) => {
                return Err(format!(
                    "its column `{}` is of type {}, and the landing writes `{name}` of type {kind}",
                    field.name, field.kind
                ));
            }
            None => schema.fields.push(Member {
                name: name.into(),
                kind: kind.into(),
                nullable: true,
                metadata: serde_json::Map::new(),
            }),
        }
    }
    Ok(serde_json::to_string(&schema).expect("texts are always JSON"))
}
