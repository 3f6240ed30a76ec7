//! The files of a replay: the tables `sessions` and `counts`, and the dead letters.
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
pub use staging::Staging;

use crate::collections::sessions::{SessionRow, SessionSchema};
use std::io;
use std::path::{Path, PathBuf};

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

/// The output of one worker: on disk, ready to be joined with the others'.
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

/// Creates a file that is written first and read later.
fn scratch_file(path: &Path) -> io::Result<std::fs::File> {
    std::fs::File::options().read(true).write(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests;
