//! The tables `activities` and `funnels`: the columns of the collections, but for the one that only a run has.

use super::{Error, OutputFormat, Staging, Table, TableWriter, assemble};
use crate::collections::sequences::{PARTIAL, SequenceSchema};
use crate::collections::{Column, Value, activities, funnels};
use dataflows::sequence::{Activity, Counts, FunnelKey};
use std::collections::BTreeMap;

/// Returns the columns.
pub fn activity_table() -> Table {
    Table { name: "activities", columns: whole(activities::columns()) }
}

/// Calls `with` with the values of a row, in the order of the columns. `key` is the string behind the key.
pub fn activity_values<R>(
    sequence: &SequenceSchema,
    key: &str,
    activity: &Activity,
    with: impl FnOnce(&mut dyn Iterator<Item = Value<'_>>) -> R,
) -> R {
    activities::with_values(sequence, key, activity, |values| with(&mut but_last(values)))
}

/// Returns the columns.
pub fn funnel_table() -> Table {
    Table { name: "funnels", columns: whole(funnels::columns()) }
}

/// Writes the rows by sequence, hour and breakdown.
pub fn write_funnels(
    rows: &BTreeMap<FunnelKey, Counts>,
    sequences: &[SequenceSchema],
    format: OutputFormat,
    staging: &Staging,
) -> Result<(), Error> {
    let table = funnel_table();
    let mut writer = TableWriter::new(&table, format, staging.scratch(), 0)?;
    for (key, counts) in rows {
        let sequence = &sequences[usize::from(key.sequence)];
        funnels::with_values(sequence, key, counts, |values| writer.write(but_last(values)))?;
    }
    assemble(vec![writer.finish()?], format, &table, staging)
}

/// Of a replay all events count.
fn whole(mut columns: Vec<Column>) -> Vec<Column> {
    columns.retain(|column| column.name != PARTIAL);
    columns
}

/// The column of a run is the last one.
fn but_last<'v, const N: usize>(values: [Value<'v>; N]) -> impl Iterator<Item = Value<'v>> {
    values.into_iter().take(N - 1)
}
