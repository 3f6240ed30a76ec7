//! The tables `count.NAME`: the columns of the collections, but for the one that only a run has.

use super::{Error, OutputFormat, Staging, Table, TableWriter, assemble};
use crate::collections::count::{CountSchema, PARTIAL};
use dataflows::group::{Cells, Totals};

/// Returns the columns.
pub fn count_table(schema: &CountSchema) -> Table {
    let mut columns = schema.columns();
    // Of a replay all events count.
    columns.retain(|column| column.name != PARTIAL);
    Table { name: schema.collection().name(), columns }
}

/// Writes the rows as they come.
pub fn write_groups(
    rows: &[(Option<Cells>, Totals)],
    schema: &CountSchema,
    format: OutputFormat,
    staging: &Staging,
) -> Result<(), Error> {
    let table = count_table(schema);
    let mut writer = TableWriter::new(&table, format, staging.scratch(), 0)?;
    for (cells, totals) in rows {
        let mut values = schema.values(cells.as_ref(), totals, None);
        values.pop();
        writer.write(values.into_iter())?;
    }
    assemble(vec![writer.finish()?], format, &table, staging)
}
