//! Parts of the text formats: rows one after the other, put together by copying.

use super::{SessionRow, csv, jsonl};
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

/// Writes the rows of one worker.
pub(super) struct Writer {
    file: BufWriter<File>,
    row: Row,
    /// The row at hand; reused.
    line: Vec<u8>,
}

/// How a row becomes a line.
pub(super) enum Row {
    Csv,
    Jsonl(jsonl::Keys),
}

impl Writer {
    pub(super) fn new(file: File, row: Row) -> Writer {
        Writer { file: BufWriter::with_capacity(1 << 16, file), row, line: Vec::new() }
    }

    pub(super) fn write(&mut self, row: &SessionRow) -> io::Result<()> {
        self.line.clear();
        match &self.row {
            Row::Csv => csv::row(row, &mut self.line)?,
            Row::Jsonl(keys) => keys.row(row, &mut self.line)?,
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

/// Writes `millionths` as an exact decimal number, as short as it can be: `12.5`.
pub(super) fn decimal(millionths: i128, out: &mut Vec<u8>) -> io::Result<()> {
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
