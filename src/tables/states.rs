//! The table `state.NAME`: the columns of the collection, but for the one that only a run has.

use super::Table;
use crate::collections::Value;
use crate::collections::state::{self, StateSchema};
use dataflows::state::Value as StateValue;

/// Returns the columns.
pub fn state_table(schema: &StateSchema) -> Table {
    let mut columns = schema.columns();
    // Of a replay all events count.
    columns.retain(|column| column.name != state::PARTIAL);
    Table { name: schema.collection().name(), columns }
}

/// Returns the values of a row, in the order of the columns.
pub fn state_values<'v>(name: &'v str, values: &'v [StateValue<'_>]) -> impl Iterator<Item = Value<'v>> {
    let mut row = state::values(name, values, None);
    row.pop();
    row.into_iter()
}
