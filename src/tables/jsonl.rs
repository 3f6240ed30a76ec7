//! JSON Lines: one object per line. Numbers are exact; none goes through floating point.

use crate::collections::sessions::{Cell, SessionRow, SessionSchema, column_names, json_classes};
use crate::text::decimal;
use std::io::{self, Write};

/// The keys of a row, escaped once.
pub struct Keys(Vec<Vec<u8>>);

impl Keys {
    pub fn new(schema: &SessionSchema) -> Keys {
        let escaped = |name: String| serde_json::Value::from(name).to_string().into_bytes();
        Keys(column_names(schema).into_iter().map(escaped).collect())
    }

    /// Appends the object of a row, with a line feed.
    pub fn row(&self, row: &SessionRow, out: &mut Vec<u8>) -> io::Result<()> {
        for (index, (key, cell)) in self.0.iter().zip(row.cells()).enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            out.extend_from_slice(key);
            out.push(b':');
            match cell {
                Cell::SessionId(id) => write!(out, "\"{id}\"")?,
                Cell::Text(text) => serde_json::to_writer(&mut *out, &text)?,
                Cell::Integer(number) => write!(out, "{number}")?,
                Cell::Decimal(None) => out.extend_from_slice(b"null"),
                Cell::Decimal(Some(millionths)) => decimal(millionths, out)?,
                Cell::Classes(counts) => json_classes(counts, out)?,
            }
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}
