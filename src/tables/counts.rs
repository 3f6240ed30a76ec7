//! The table `counts`: events by class and hour.

use super::{Error, Staging, csv};
use crate::text::rfc3339;
use dataflows::EventTime;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

/// Name of the table's file in the output folder.
pub const COUNTS_FILE: &str = "counts.csv";

pub const COUNTS_COLUMNS: [&str; 3] = ["class", "hour", "events"];

/// Writes the rows sorted by class, then by hour: RFC 3339 in UTC, or empty (and first) for events without
/// a time. Rows of the same class and hour become one.
pub fn write_counts<'a>(
    rows: impl IntoIterator<Item = (&'a str, Option<EventTime>, u64)>,
    staging: &Staging,
) -> Result<(), Error> {
    let mut counts = BTreeMap::new();
    for (class, hour, events) in rows {
        *counts.entry((class, hour)).or_insert(0_u64) += events;
    }
    let mut file = BufWriter::new(staging.create(COUNTS_FILE)?);
    let write = || {
        writeln!(file, "{}", COUNTS_COLUMNS.join(","))?;
        let mut line = Vec::new();
        for ((class, hour), events) in counts {
            line.clear();
            csv::field(class, &mut line);
            writeln!(line, ",{},{events}", hour.map(rfc3339).unwrap_or_default())?;
            file.write_all(&line)?;
        }
        file.flush()
    };
    write().map_err(|source| Error::new("write", &staging.target(COUNTS_FILE), source))
}
