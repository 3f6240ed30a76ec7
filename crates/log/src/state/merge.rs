//! Sums runs row by row, in order.

use super::run::{Cursor, Run};
use crate::error::LogError;
use crate::output::Rows;
use std::cmp::Ordering;

/// A source of rows, sorted and without repeats. It stands at one of them.
pub(super) struct Source<'a> {
    rows: Origin<'a>,
    /// The first bytes of the row: settles most comparisons.
    prefix: u64,
}

enum Origin<'a> {
    Memory(&'a [<Rows as IntoIterator>::Item]),
    Run(Cursor<'a>),
}

impl<'a> Source<'a> {
    pub fn memory(rows: &'a [<Rows as IntoIterator>::Item]) -> Source<'a> {
        Source::at(Origin::Memory(rows))
    }

    /// Opens a shard of a run as a source.
    pub fn run(run: &'a Run, shard: u8) -> Result<Source<'a>, LogError> {
        Ok(Source::at(Origin::Run(run.cursor(shard)?)))
    }

    fn at(rows: Origin<'a>) -> Source<'a> {
        let mut source = Source { rows, prefix: 0 };
        source.look();
        source
    }

    fn row(&self) -> Option<(&[u8], i64)> {
        match &self.rows {
            Origin::Memory(rows) => rows.first().map(|(row, diff)| (row.as_slice(), *diff)),
            Origin::Run(cursor) => cursor.row(),
        }
    }

    fn advance(&mut self) -> Result<(), LogError> {
        match &mut self.rows {
            Origin::Memory(rows) => *rows = &rows[1..],
            Origin::Run(cursor) => cursor.advance()?,
        }
        self.look();
        Ok(())
    }

    fn look(&mut self) {
        let row = self.row().map_or(&[][..], |(row, _)| row);
        let mut bytes = [0; 8];
        let length = row.len().min(8);
        bytes[..length].copy_from_slice(&row[..length]);
        self.prefix = u64::from_be_bytes(bytes);
    }

    /// Zeros behind a row that is shorter than the prefix leave its place as it is, or undecided.
    fn compare(&self, other: &Source<'_>) -> Ordering {
        let rows = || self.row().map(|(row, _)| row).cmp(&other.row().map(|(row, _)| row));
        self.prefix.cmp(&other.prefix).then_with(rows)
    }
}

/// Calls `each` with every row of `sources` and its multiplicity in all of them, unless that is 0.
pub(super) fn merge(
    mut sources: Vec<Source<'_>>,
    each: &mut dyn FnMut(&[u8], i64) -> Result<(), LogError>,
) -> Result<(), LogError> {
    sources.retain(|source| source.row().is_some());
    // Those that stand at the least row.
    let mut least: Vec<usize> = Vec::with_capacity(sources.len());
    while !sources.is_empty() {
        least.clear();
        least.push(0);
        for at in 1..sources.len() {
            match sources[at].compare(&sources[least[0]]) {
                Ordering::Less => {
                    least.clear();
                    least.push(at);
                }
                Ordering::Equal => least.push(at),
                Ordering::Greater => {}
            }
        }
        let sum: i128 = least.iter().filter_map(|at| sources[*at].row()).map(|(_, diff)| i128::from(diff)).sum();
        let sum = i64::try_from(sum).map_err(|_| LogError::Refused("a row is there too often".into()))?;
        if let Some((row, _)) = sources[least[0]].row().filter(|_| sum != 0) {
            each(row, sum)?;
        }
        let mut ended = false;
        for at in &least {
            sources[*at].advance()?;
            ended |= sources[*at].row().is_none();
        }
        if ended {
            sources.retain(|source| source.row().is_some());
        }
    }
    Ok(())
}
