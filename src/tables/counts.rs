//! The table `counts`: events by class and hour.

use super::{Error, OutputFormat, Staging, Table, TableWriter, assemble};
use crate::collections::sessions::SessionSchema;
use crate::collections::{Collection, Value};
use dataflows::EventTime;
use std::collections::BTreeMap;

/// Returns the columns.
pub fn counts_table() -> Table {
    Table { name: "counts", columns: Collection::COUNTS.columns(&SessionSchema::default()) }
}

/// Writes the rows sorted by class, then by hour: its start, or none (and first) for events without a time. Rows of the
/// same class and hour become one.
pub fn write_counts<'a>(
    rows: impl IntoIterator<Item = (&'a str, Option<EventTime>, u64)>,
    format: OutputFormat,
    staging: &Staging,
) -> Result<(), Error> {
    let mut counts = BTreeMap::new();
    for (class, hour, events) in rows {
        *counts.entry((class, hour)).or_insert(0_u64) += events;
    }
    let table = counts_table();
    let mut writer = TableWriter::new(&table, format, staging.scratch(), 0)?;
    for ((class, hour), events) in counts {
        let values = [Value::Text(class), Value::or_null(hour, Value::Time), Value::count(events)];
        writer.write(values.into_iter())?;
    }
    assemble(vec![writer.finish()?], format, &table, staging)
}
