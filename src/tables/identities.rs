//! The table `identities`: the columns of the collection, but for the one that only a run has.

use super::Table;
use crate::collections::Value;
use crate::collections::identities::{self, IdentitySchema, PARTIAL};
use dataflows::stitch::Identity;

/// Returns the columns.
pub fn identity_table() -> Table {
    let mut columns = identities::columns();
    // Of a replay all events count.
    columns.retain(|column| column.name != PARTIAL);
    Table { name: "identities", columns }
}

/// Returns the values of a row, in the order of the columns.
pub fn identity_values<'v>(
    schema: &'v IdentitySchema,
    identity: &'v Identity,
) -> impl Iterator<Item = Value<'v>> + use<'v> {
    let values = identities::values(schema, identity);
    let columns = values.len() - 1;
    values.into_iter().take(columns)
}
