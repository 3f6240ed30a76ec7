//! The table `shapes`: the structures that events have.

use super::{Error, OutputFormat, Staging, Table, TableWriter, assemble};
use crate::collections::sessions::SessionSchema;
use crate::collections::{Collection, shapes};
use dataflows::ShapeId;
use dataflows::shapes::ShapeTotals;

/// Returns the columns.
pub fn shape_table() -> Table {
    Table { name: "shapes", columns: Collection::SHAPES.columns(&SessionSchema::default()) }
}

/// Writes the rows, those with most events first.
pub fn write_shapes(
    mut rows: Vec<(Option<ShapeId>, ShapeTotals)>,
    format: OutputFormat,
    staging: &Staging,
) -> Result<(), Error> {
    rows.sort_unstable_by_key(|(shape, totals)| (std::cmp::Reverse(totals.events()), *shape));
    let table = shape_table();
    let mut writer = TableWriter::new(&table, format, staging.scratch(), 0)?;
    for (shape, totals) in &rows {
        shapes::with_values(*shape, totals, |values| writer.write(values.into_iter()))?;
    }
    assemble(vec![writer.finish()?], format, &table, staging)
}
