//! JSON Lines: one object per line. Numbers are exact; none goes through floating point.

use crate::collections::{Column, Value};

/// The columns of a row, with their keys escaped once.
pub struct Keys(Vec<Column>);

impl Keys {
    pub fn new(columns: &[Column]) -> Keys {
        Keys(columns.to_vec())
    }

    /// Appends the object of a row, with a line feed.
    pub fn row<'v>(&self, mut row: impl Iterator<Item = Value<'v>>, out: &mut Vec<u8>) {
        // The row first: one that is too long gives its next value, and is noticed.
        for (index, (value, column)) in row.by_ref().zip(&self.0).enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            column.json_key(out);
            value.json(out);
        }
        out.extend_from_slice(b"}\n");
    }
}
