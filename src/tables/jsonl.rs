//! JSON Lines: one object per line. Numbers are exact; none goes through floating point.

use crate::collections::Column;
use crate::collections::sessions::{SessionRow, SessionSchema, columns};

/// The columns of a row, with their keys escaped once.
pub struct Keys(Vec<Column>);

impl Keys {
    pub fn new(schema: &SessionSchema) -> Keys {
        Keys(columns(schema))
    }

    /// Appends the object of a row, with a line feed.
    pub fn row(&self, row: &SessionRow, out: &mut Vec<u8>) {
        for (index, (column, value)) in self.0.iter().zip(row.values()).enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            column.json_key(out);
            value.json(out);
        }
        out.extend_from_slice(b"}\n");
    }
}
