//! Comma-separated values after RFC 4180, except that lines end in a bare line feed. An absent value is an empty field.

use crate::collections::sessions::{Cell, SessionRow, SessionSchema, column_names, json_classes};
use crate::text::decimal;
use std::io::{self, Write};

/// The first line of `sessions.csv`.
pub(super) fn header(schema: &SessionSchema) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for (index, name) in column_names(schema).iter().enumerate() {
        separate(index, &mut out);
        field(name, &mut out);
    }
    out.push(b'\n');
    Ok(out)
}

pub(super) fn row(row: &SessionRow, out: &mut Vec<u8>) -> io::Result<()> {
    for (index, cell) in row.cells().enumerate() {
        separate(index, out);
        match cell {
            Cell::SessionId(id) => write!(out, "{id}")?,
            Cell::Text(text) => field(text.unwrap_or_default(), out),
            Cell::Integer(number) => write!(out, "{number}")?,
            Cell::Decimal(None) => {}
            Cell::Decimal(Some(millionths)) => decimal(millionths, out)?,
            Cell::Classes(classes) => {
                let mut object = Vec::new();
                json_classes(classes, &mut object)?;
                quoted(&object, out);
            }
        }
    }
    out.push(b'\n');
    Ok(())
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

/// Quoted only where it must be.
pub(super) fn field(text: &str, out: &mut Vec<u8>) {
    if memchr::memchr3(b',', b'"', b'\n', text.as_bytes()).is_some() || text.contains('\r') {
        quoted(text.as_bytes(), out);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    // Each byte becomes two at most, so one call takes all.
    out.resize(start + 2 * text.len(), 0);
    let (_, _, written) = csv_core::quote(text, &mut out[start..], b'"', b'"', true);
    out.truncate(start + written);
    out.push(b'"');
}
