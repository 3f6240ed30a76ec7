//! The table `sessions`: the columns of the collection, and its times as timestamps, too.

use super::Table;
use crate::collections::sessions::{SessionRow, SessionSchema, columns, values_of};
use crate::collections::{Column, Kind, Storage, Value};

/// The timestamps stand behind the id and the user.
const BEFORE_TIMES: usize = 2;

/// Returns the columns under a configuration.
pub fn session_table(schema: &SessionSchema) -> Table {
    let mut columns = columns(schema);
    let times = ["start", "end"].map(|name| Column::new(name, Kind::Time, Storage::Distinct));
    columns.splice(BEFORE_TIMES..BEFORE_TIMES, times);
    Table { name: "sessions", columns }
}

/// Returns the values of a row, in the order of the columns.
pub fn session_values<'a>(row: &SessionRow<'a>) -> impl Iterator<Item = Value<'a>> {
    let times = [row.start, row.end].map(Value::Time);
    let mut values = values_of(row);
    let head: [Option<Value<'a>>; BEFORE_TIMES] = std::array::from_fn(|_| values.next());
    head.into_iter().flatten().chain(times).chain(values)
}
