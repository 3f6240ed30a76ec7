//! Parts of the text formats: rows one after the other, put together by copying.

use super::{csv, jsonl};
use crate::collections::Value;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

/// Writes the rows of one worker.
pub(super) struct Writer {
    file: BufWriter<File>,
    form: LineForm,
    /// The row at hand; reused.
    line: Vec<u8>,
}

/// The way in which a row becomes a line.
pub(super) enum LineForm {
    Csv,
    Jsonl(jsonl::Keys),
}

impl Writer {
    pub(super) fn new(file: File, form: LineForm) -> Writer {
        Writer { file: BufWriter::with_capacity(1 << 16, file), form, line: Vec::new() }
    }

    pub(super) fn write<'v>(&mut self, row: impl Iterator<Item = Value<'v>>) -> io::Result<()> {
        self.line.clear();
        match &self.form {
            LineForm::Csv => csv::row(row, &mut self.line)?,
            LineForm::Jsonl(keys) => keys.row(row, &mut self.line),
        }
        self.file.write_all(&self.line)
    }

    pub(super) fn finish(self) -> io::Result<File> {
        Ok(self.file.into_inner()?)
    }
}

/// Writes `header` and then all of `parts` to `file`.
pub(super) fn assemble(header: &[u8], parts: Vec<File>, mut file: File) -> io::Result<()> {
    file.write_all(header)?;
    for mut part in parts {
        part.rewind()?;
        // Within the kernel where it can.
        io::copy(&mut part, &mut file)?;
    }
    Ok(())
}
