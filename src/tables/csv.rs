//! Comma-separated values after RFC 4180, except that lines end in a bare line feed. An absent value is an empty field.

use crate::collections::{Column, Value};
use std::io::{self, Write};

/// Returns the first line of a table.
pub(super) fn header(columns: &[Column]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        separate(index, &mut out);
        field(&column.name, &mut out);
    }
    out.push(b'\n');
    out
}

pub(super) fn row<'v>(row: impl Iterator<Item = Value<'v>>, out: &mut Vec<u8>) -> io::Result<()> {
    for (index, value) in row.enumerate() {
        separate(index, out);
        match &value {
            Value::Null | Value::Absent => {}
            Value::Text(text) | Value::Json(text) => field(text, out),
            Value::Integer(number) => write!(out, "{number}")?,
            Value::Decimal(decimal) => write!(out, "{decimal}")?,
            Value::Classes(_) => {
                let mut object = Vec::new();
                value.json(&mut object);
                quoted(&object, out);
            }
            Value::Id(id) => write!(out, "{id}")?,
            Value::Session(..) | Value::Activity(..) | Value::Time(_) | Value::Bytes(_) => {
                field(&value.text().unwrap_or_default(), out)
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
fn field(text: &str, out: &mut Vec<u8>) {
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
