//! What a replay leaves behind: the tables `sessions` and `counts`, and the dead letters.
//!
//! ```text
//! worker 0 ── SessionWriter ── part ─┐
//! worker 1 ── SessionWriter ── part ─┼─ assemble ── sessions.parquet ─┐
//! worker n ── SessionWriter ── part ─┘  write_counts ── counts.csv ───┼─ Staging::commit ── output folder
//!         n × DeadLetterSpool ─────── merge ── dead_letters.jsonl ────┘
//! ```
//!
//! Workers write at the same time, each its own part of the sessions: a contiguous range of user keys, in order. Put
//! together in worker order, the rows and their order do not depend on the number of workers.

mod counts;
mod csv;
mod dead_letters;
mod jsonl;
mod parquet;
mod staging;
mod text;

pub use counts::{COUNTS_COLUMNS, COUNTS_FILE, write_counts};
pub use dead_letters::{DEAD_LETTERS_FILE, DeadLetterSpool, merge};
pub(crate) use jsonl::classes as json_classes;
pub use staging::Staging;

use crate::collections;
use dataflows::{EventTime, Measure, SessionId, UserKey};
use jiff::SignedDuration;
use jiff::civil::DateTime;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A session as it leaves: every name resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow<'a> {
    /// Key of the user, which the id follows from.
    pub key: UserKey,
    pub user: &'a str,
    pub start: EventTime,
    pub end: EventTime,
    pub events: u64,
    /// Events by class: sorted by name, no repeats.
    pub classes: &'a [(&'a str, u64)],
    pub first_class: &'a str,
    pub last_class: &'a str,
    /// As many as the schema has sums.
    pub sums: &'a [Measure],
    /// Entry and exit value of each carried field, as many as the schema has.
    pub carried: &'a [(Option<&'a str>, Option<&'a str>)],
}

/// The columns of `sessions` that depend on the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionSchema {
    /// Names of the sums.
    pub sums: Vec<String>,
    /// Names of the carried fields.
    pub carried: Vec<String>,
}

/// File format of the table `sessions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    #[default]
    Parquet,
    Csv,
    Jsonl,
}

impl OutputFormat {
    pub const ALL: [OutputFormat; 3] = [OutputFormat::Parquet, OutputFormat::Csv, OutputFormat::Jsonl];

    /// Name of the sessions' file in the output folder.
    pub fn sessions_file(self) -> &'static str {
        match self {
            OutputFormat::Parquet => "sessions.parquet",
            OutputFormat::Csv => "sessions.csv",
            OutputFormat::Jsonl => "sessions.jsonl",
        }
    }
}

/// The columns of `sessions`, in order. A name may come twice when the configuration names sums or fields so: that is
/// for the configuration to refuse.
pub fn column_names(schema: &SessionSchema) -> Vec<String> {
    columns(schema).into_iter().map(|column| column.name).collect()
}

/// The columns of `sessions` with what they hold, in order.
pub(crate) fn column_kinds(schema: &SessionSchema) -> Vec<(String, collections::Kind)> {
    let kind = |column: Column| {
        let kind = match column.kind {
            ColumnKind::SessionId | ColumnKind::User | ColumnKind::Category { .. } => collections::Kind::Text,
            ColumnKind::Integer => collections::Kind::Integer,
            ColumnKind::Decimal => collections::Kind::Decimal,
            ColumnKind::Classes => collections::Kind::Classes,
        };
        (column.name, kind)
    };
    columns(schema).into_iter().map(kind).collect()
}

/// The columns of a sum: its value, and how many values were no number.
pub fn sum_columns(name: &str) -> [String; 2] {
    [name.to_owned(), format!("{name}_not_numbers")]
}

/// The columns of a carried field: its first and its last value.
pub fn carried_columns(field: &str) -> [String; 2] {
    [format!("entry_{field}"), format!("exit_{field}")]
}

/// Writes one worker's share of `sessions` to a part file, encoded as it comes.
pub struct SessionWriter {
    worker: usize,
    path: PathBuf,
    sums: usize,
    carried: usize,
    encoder: Encoder,
}

enum Encoder {
    Parquet(Box<parquet::Writer>),
    Text(text::Writer),
}

impl SessionWriter {
    /// `folder` is [`Staging::scratch`]; `worker` is unique among the writers into it.
    pub fn new(
        format: OutputFormat,
        schema: &SessionSchema,
        folder: &Path,
        worker: usize,
    ) -> Result<SessionWriter, Error> {
        let path = folder.join(format!("sessions-{worker}"));
        let failed = |source| Error::new("create", &path, source);
        let file = scratch_file(&path).map_err(failed)?;
        let encoder = match format {
            OutputFormat::Parquet => {
                Encoder::Parquet(Box::new(parquet::Writer::new(schema, file).map_err(|error| failed(error.into()))?))
            }
            OutputFormat::Csv => Encoder::Text(text::Writer::new(file, text::Row::Csv)),
            OutputFormat::Jsonl => Encoder::Text(text::Writer::new(file, text::Row::Jsonl(jsonl::Keys::new(schema)))),
        };
        Ok(SessionWriter { worker, path, sums: schema.sums.len(), carried: schema.carried.len(), encoder })
    }

    /// Rows come in the order in which they are to be read. Panics if `row` has another number of sums or carried
    /// fields than the schema.
    pub fn write(&mut self, row: &SessionRow) -> Result<(), Error> {
        assert_eq!((row.sums.len(), row.carried.len()), (self.sums, self.carried), "row and schema differ");
        match &mut self.encoder {
            Encoder::Parquet(writer) => writer.write(row).map_err(io::Error::from),
            Encoder::Text(writer) => writer.write(row),
        }
        .map_err(|source| Error::new("write", &self.path, source))
    }

    pub fn finish(self) -> Result<SessionPart, Error> {
        let failed = |source| Error::new("write", &self.path, source);
        let content = match self.encoder {
            Encoder::Parquet(writer) => Content::Parquet(writer.finish().map_err(|error| failed(error.into()))?),
            Encoder::Text(writer) => Content::Text(writer.finish().map_err(failed)?),
        };
        Ok(SessionPart { worker: self.worker, content })
    }
}

/// What one worker wrote: on disk, ready to be put together with the others'.
pub struct SessionPart {
    worker: usize,
    content: Content,
}

enum Content {
    Parquet(parquet::Part),
    Text(std::fs::File),
}

/// Puts `parts`, all written with this format and schema, together in worker order.
pub fn assemble(
    mut parts: Vec<SessionPart>,
    format: OutputFormat,
    schema: &SessionSchema,
    staging: &Staging,
) -> Result<(), Error> {
    parts.sort_by_key(|part| part.worker);
    let name = format.sessions_file();
    let file = staging.create(name)?;
    let (mut row_groups, mut texts) = (Vec::new(), Vec::new());
    for part in parts {
        match part.content {
            Content::Parquet(part) => row_groups.push(part),
            Content::Text(part) => texts.push(part),
        }
    }
    match format {
        OutputFormat::Parquet => parquet::assemble(row_groups, schema, file).map_err(io::Error::from),
        OutputFormat::Csv => csv::header(schema).and_then(|header| text::assemble(&header, texts, file)),
        OutputFormat::Jsonl => text::assemble(&[], texts, file),
    }
    .map_err(|source| Error::new("write", &staging.target(name), source))
}

/// An output that could not be made. Nothing of the output folder has changed, unless the message says otherwise.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct Error {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Error {
    fn new(doing: &'static str, path: &Path, source: io::Error) -> Error {
        Error { doing, path: path.to_owned(), source }
    }
}

/// A new file that is written first and read later.
fn scratch_file(path: &Path) -> io::Result<std::fs::File> {
    std::fs::File::options().read(true).write(true).create_new(true).open(path)
}

/// A column of `sessions`.
struct Column {
    name: String,
    kind: ColumnKind,
}

/// Decides how a column is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ColumnKind {
    SessionId,
    User,
    /// One of few texts, or none.
    Category {
        nullable: bool,
    },
    Integer,
    Decimal,
    Classes,
}

fn columns(schema: &SessionSchema) -> Vec<Column> {
    let category = ColumnKind::Category { nullable: false };
    let value = ColumnKind::Category { nullable: true };
    let fixed = [
        ("session_id", ColumnKind::SessionId),
        ("user", ColumnKind::User),
        ("start_us", ColumnKind::Integer),
        ("end_us", ColumnKind::Integer),
        ("duration_us", ColumnKind::Integer),
        ("events", ColumnKind::Integer),
        ("classes", ColumnKind::Classes),
        ("first_class", category),
        ("last_class", category),
    ];
    let sums = schema
        .sums
        .iter()
        .flat_map(|name| [(name.clone(), ColumnKind::Decimal), (format!("{name}_not_numbers"), ColumnKind::Integer)]);
    let carried =
        schema.carried.iter().flat_map(|field| [(format!("entry_{field}"), value), (format!("exit_{field}"), value)]);
    let fixed = fixed.into_iter().map(|(name, kind)| (name.to_owned(), kind));
    fixed.chain(sums).chain(carried).map(|(name, kind)| Column { name, kind }).collect()
}

/// One value of a row, before a format dresses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell<'a> {
    SessionId(SessionId),
    Text(Option<&'a str>),
    Integer(i64),
    /// In millionths.
    Decimal(Option<i128>),
    Classes(&'a [(&'a str, u64)]),
}

impl<'a> SessionRow<'a> {
    /// In the order of [`columns`].
    fn cells(&self) -> impl Iterator<Item = Cell<'a>> {
        let fixed = [
            Cell::SessionId(SessionId::of(self.key, self.start)),
            Cell::Text(Some(self.user)),
            Cell::Integer(self.start.micros()),
            Cell::Integer(self.end.micros()),
            Cell::Integer(self.end.micros() - self.start.micros()),
            Cell::Integer(integer(self.events)),
            Cell::Classes(self.classes),
            Cell::Text(Some(self.first_class)),
            Cell::Text(Some(self.last_class)),
        ];
        let sums = self.sums.iter().flat_map(|sum| {
            [Cell::Decimal((sum.numbers > 0).then_some(sum.millionths)), Cell::Integer(integer(sum.others))]
        });
        let carried = self.carried.iter().flat_map(|&(entry, exit)| [Cell::Text(entry), Cell::Text(exit)]);
        fixed.into_iter().chain(sums).chain(carried)
    }
}

/// Counts are of events, one by one: none comes near the limit of 2^63.
pub(crate) fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Writes `millionths` as an exact decimal number, as short as it can be: `12.5`.
pub(crate) fn decimal(millionths: i128, out: &mut Vec<u8>) -> io::Result<()> {
    const ONE: u128 = 1_000_000;
    let magnitude = millionths.unsigned_abs();
    let sign = if millionths < 0 { "-" } else { "" };
    write!(out, "{sign}{}", magnitude / ONE)?;
    if !magnitude.is_multiple_of(ONE) {
        write!(out, ".{:06}", magnitude % ONE)?;
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    Ok(())
}

/// RFC 3339 in UTC, with as many digits after the second as it takes.
pub(crate) fn rfc3339(time: EventTime) -> String {
    const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    // Saturation does not happen: civil times reach from year -9999 to 9999, as event times do.
    format!("{}Z", EPOCH.saturating_add(SignedDuration::from_micros(time.micros())))
}

#[cfg(test)]
mod tests;
