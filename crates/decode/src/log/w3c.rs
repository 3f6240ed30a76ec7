//! Lines of the W3C Extended Log File Format, as IIS, CloudFront and other edges write them: `#Fields:` names what the
//! lines below it have, separated by blanks or tabs. Zeek's own format differs in the spelling only.

use crate::fault::Fault;
use crate::path_set::PathSet;
use crate::reading::Reading;
use crate::tabular::Columns;
use dataflows::Reason;
use memchr::memchr;
use std::borrow::Cow;

/// Begins the line that names the fields.
pub const FIELDS: &str = "#Fields:";

/// The date and the time together, which the format keeps apart. Both are in UTC.
const DATETIME: &str = "datetime";

#[derive(Debug)]
pub struct W3cReader {
    /// Of the fields, as a line.
    names: String,
    columns: Columns,
    fields: usize,
    /// Where the date and the time are.
    date: Option<usize>,
    time: Option<usize>,
}

impl W3cReader {
    /// `fields`: the line that names them.
    pub fn new(fields: &str, paths: &PathSet) -> W3cReader {
        let names: Vec<&str> = fields.trim_start_matches(FIELDS).split_ascii_whitespace().collect();
        let place = |name: &str| names.iter().position(|one| *one == name);
        let (date, time) = (place("date"), place("time"));
        let fields = names.len();
        let joined = (date.is_some() && time.is_some()).then_some(DATETIME);
        let columns = Columns::new(names.iter().copied().chain(joined), paths);
        W3cReader { names: names.join(" "), columns, fields, date, time }
    }

    /// Returns whether a line names the fields without a mark, as flow logs of AWS do.
    pub fn is_header(&self, line: &[u8]) -> bool {
        line.trim_ascii_end() == self.names.as_bytes()
    }

    pub fn read(&mut self, line: &str, reading: &mut Reading) -> Result<(), Fault> {
        let delimiter = if memchr(b'\t', line.as_bytes()).is_some() { '\t' } else { ' ' };
        let mut cells: Vec<Cow<'_, str>> = Vec::with_capacity(self.fields + 1);
        let mut rest = Some(line);
        while let Some(text) = rest {
            let text = if delimiter == ' ' { text.trim_start_matches(' ') } else { text };
            if text.is_empty() && delimiter == ' ' {
                break;
            }
            let quoted = text.strip_prefix('"').and_then(|text| {
                let end = (0..text.len()).find(|at| {
                    text.as_bytes()[*at] == b'"' && text[at + 1..].chars().next().is_none_or(|next| next == delimiter)
                })?;
                Some((Cow::Owned(text[..end].replace("\"\"", "\"")), text[end + 1..].strip_prefix(delimiter)))
            });
            let (cell, after) = quoted.unwrap_or_else(|| match text.split_once(delimiter) {
                Some((cell, after)) => (Cow::Borrowed(cell), Some(after)),
                None => (Cow::Borrowed(text), None),
            });
            cells.push(if cell == "-" || cell == "(empty)" { Cow::Borrowed("") } else { cell });
            rest = after;
        }
        if cells.len() != self.fields {
            let message = format!("the line has {} fields, `#Fields:` names {}", cells.len(), self.fields);
            return Err(Fault::new(Reason::WrongFieldCount, message));
        }
        if let (Some(date), Some(time)) = (self.date, self.time) {
            let both = match (&*cells[date], &*cells[time]) {
                ("", _) | (_, "") => String::new(),
                (date, time) => format!("{date}T{time}Z"),
            };
            cells.push(Cow::Owned(both));
        }
        self.columns.read(cells.iter().map(|cell| cell.as_ref()), reading);
        Ok(())
    }
}
