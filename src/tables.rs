//! The files of a replay: its tables, and the dead letters.
//!
//! ```text
//! worker 0 ── TableWriter ── part ─┐
//! worker 1 ── TableWriter ── part ─┼─ assemble ── sessions.parquet ──┐
//! worker n ── TableWriter ── part ─┘   …       users, shapes, …       ┼─ Staging::commit ── output folder
//!         n × DeadLetterSpool ────── merge ────── dead_letters.jsonl ─┘
//! ```
//!
//! Workers write at the same time, each its own part of a table: a contiguous range of user keys, in order. Put
//! together in worker order, the rows and their order do not depend on the number of workers.

mod activities;
mod counts;
mod csv;
mod dead_letters;
mod groups;
mod identities;
mod jsonl;
mod parquet;
mod sessions;
mod shapes;
mod staging;
mod states;
mod text;
mod users;

pub use activities::{activity_table, activity_values, funnel_table, write_funnels};
pub use counts::{counts_table, write_counts};
pub use dead_letters::{DEAD_LETTERS_FILE, DeadLetterSpool, merge};
pub use groups::{count_table, write_groups};
pub use identities::{identity_table, identity_values};
pub use sessions::{session_table, session_values};
pub use shapes::{shape_table, write_shapes};
pub use staging::Staging;
pub use states::{state_table, state_values};
pub use users::{user_table, user_values};

use crate::collections::{Column, Value};
use std::io;
use std::path::{Path, PathBuf};

/// File format of the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    #[default]
    Parquet,
    Csv,
    Jsonl,
}

impl OutputFormat {
    pub const ALL: [OutputFormat; 3] = [OutputFormat::Parquet, OutputFormat::Csv, OutputFormat::Jsonl];

    /// Name of the file of a table in the output folder.
    pub fn file(self, table: &str) -> String {
        let extension = match self {
            OutputFormat::Parquet => "parquet",
            OutputFormat::Csv => "csv",
            OutputFormat::Jsonl => "jsonl",
        };
        format!("{table}.{extension}")
    }
}

/// The names of the tables that a replay may write. Those of states and counts begin with [`STATE`] and
/// [`COUNT`].
pub const TABLES: [&str; 8] =
    ["sessions", "users", "counts", "shapes", "session_events", "activities", "funnels", "identities"];

/// What the names of the tables of states begin with.
pub const STATE: &str = "state.";

/// What the names of the tables of counts begin with.
pub const COUNT: &str = crate::collections::count::PREFIX;

/// The columns of one table.
#[derive(Clone, Debug)]
pub struct Table {
    /// One of [`TABLES`], or of a state or a count.
    pub name: &'static str,
    pub columns: Vec<Column>,
}

/// Writes one worker's share of a table to a part file, encoded as it comes.
pub struct TableWriter {
    worker: usize,
    path: PathBuf,
    columns: usize,
    encoder: Encoder,
}

enum Encoder {
    Parquet(Box<parquet::Writer>),
    Text(text::Writer),
}

impl TableWriter {
    /// `folder` is [`Staging::scratch`]; `worker` is unique among the writers of the table.
    pub fn new(table: &Table, format: OutputFormat, folder: &Path, worker: usize) -> Result<TableWriter, Error> {
        let path = folder.join(format!("{}-{worker}", table.name));
        let failed = |source| Error::new("create", &path, source);
        let file = scratch_file(&path).map_err(failed)?;
        let columns = &table.columns;
        let encoder = match format {
            OutputFormat::Parquet => {
                Encoder::Parquet(Box::new(parquet::Writer::new(columns, file).map_err(|error| failed(error.into()))?))
            }
            OutputFormat::Csv => Encoder::Text(text::Writer::new(file, text::LineForm::Csv)),
            OutputFormat::Jsonl => {
                Encoder::Text(text::Writer::new(file, text::LineForm::Jsonl(jsonl::Keys::new(columns))))
            }
        };
        Ok(TableWriter { worker, path, columns: columns.len(), encoder })
    }

    /// Takes the values of a row, in the order of the columns. Rows come in the order in which they are to be read.
    ///
    /// # Panics
    /// If there are more or fewer values than columns.
    pub fn write<'v>(&mut self, row: impl Iterator<Item = Value<'v>>) -> Result<(), Error> {
        let mut values = 0;
        let row = row.inspect(|_| values += 1);
        match &mut self.encoder {
            Encoder::Parquet(writer) => writer.write(row).map_err(io::Error::from),
            Encoder::Text(writer) => writer.write(row),
        }
        .map_err(|source| Error::new("write", &self.path, source))?;
        assert_eq!(values, self.columns, "row and table differ");
        Ok(())
    }

    pub fn finish(self) -> Result<Part, Error> {
        let failed = |source| Error::new("write", &self.path, source);
        let content = match self.encoder {
            Encoder::Parquet(writer) => Content::Parquet(writer.finish().map_err(|error| failed(error.into()))?),
            Encoder::Text(writer) => Content::Text(writer.finish().map_err(failed)?),
        };
        Ok(Part { worker: self.worker, content })
    }
}

/// What one worker wrote of a table: on disk, ready to be joined with the parts of the others.
pub struct Part {
    worker: usize,
    content: Content,
}

enum Content {
    Parquet(parquet::Part),
    Text(std::fs::File),
}

/// Puts `parts`, all written with this format and table, together in worker order.
pub fn assemble(parts: Vec<Part>, format: OutputFormat, table: &Table, staging: &Staging) -> Result<(), Error> {
    let name = format.file(table.name);
    let file = staging.create(&name)?;
    join(parts, format, table, file).map_err(|source| Error::new("write", &staging.target(&name), source))
}

/// As [`assemble`], into this file.
///
/// # Errors
/// If a part cannot be read, or the file not be written.
pub fn join(mut parts: Vec<Part>, format: OutputFormat, table: &Table, file: std::fs::File) -> io::Result<()> {
    parts.sort_by_key(|part| part.worker);
    let (mut row_groups, mut texts) = (Vec::new(), Vec::new());
    for part in parts {
        match part.content {
            Content::Parquet(part) => row_groups.push(part),
            Content::Text(part) => texts.push(part),
        }
    }
    match format {
        OutputFormat::Parquet => parquet::assemble(row_groups, &table.columns, file).map_err(io::Error::from),
        OutputFormat::Csv => text::assemble(&csv::header(&table.columns), texts, file),
        OutputFormat::Jsonl => text::assemble(&[], texts, file),
    }
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
    pub(crate) fn new(doing: &'static str, path: &Path, source: io::Error) -> Error {
        Error { doing, path: path.to_owned(), source }
    }
}

/// Creates a file that is written first and read later.
fn scratch_file(path: &Path) -> io::Result<std::fs::File> {
    std::fs::File::options().read(true).write(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests;
