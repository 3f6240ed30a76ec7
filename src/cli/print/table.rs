//! Rows as a table that fits a width.

use crate::text::printable;
use crate::text::rfc3339;
use console::{Alignment, measure_text_width, pad_str, truncate_str};
use dataflows::EventTime;
use headwater_client::Row;
use serde_json::Value;
use serde_json::value::RawValue;

/// Between two columns.
const GAP: usize = 2;
/// A column of text is made as narrow as this, one of numbers or times not narrower than they are. Before that, the last
/// columns are left out.
const NARROW: usize = 8;
/// No cell is looked at beyond this.
const CELL_CHARS: usize = 400;
/// The mark for text that does not fit.
const MORE: &str = "…";

#[derive(Debug, Default)]
pub(super) struct Table {
    columns: Vec<Column>,
    /// As many cells as columns each.
    rows: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// What it holds.
    kind: Kind,
}

/// How values are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// From the left; may be cut.
    Text,
    /// From the left.
    Time,
    /// From the right.
    Number,
}

impl Table {
    /// Columns are the fields of the first row, and then those that only later ones have: first what a person looks for,
    /// last the ids, which are hashes, and in their own order otherwise.
    pub(super) fn of<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Table {
        let mut table = Table::default();
        for row in rows {
            let mut cells = vec![String::new(); table.columns.len()];
            for (name, value) in row.fields() {
                let (text, kind) = cell(&name, value);
                let name = printable(&name);
                let at = table.columns.iter().position(|column| column.name == name).unwrap_or_else(|| {
                    table.columns.push(Column { name, kind });
                    cells.push(String::new());
                    table.columns.len() - 1
                });
                if !text.is_empty() && table.columns[at].kind != kind {
                    let others = table.rows.iter().any(|cells| cells.get(at).is_some_and(|cell| !cell.is_empty()));
                    table.columns[at].kind = if others { Kind::Text } else { kind };
                }
                cells[at] = text;
            }
            table.rows.push(cells);
        }
        for cells in &mut table.rows {
            cells.resize(table.columns.len(), String::new());
        }
        table.arrange()
    }

    /// Returns the table with its columns in the order of [`place`].
    fn arrange(mut self) -> Table {
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        order.sort_by_key(|at| place(&self.columns[*at].name));
        let mut columns: Vec<Option<Column>> = self.columns.into_iter().map(Some).collect();
        self.columns = order.iter().filter_map(|at| columns[*at].take()).collect();
        for cells in &mut self.rows {
            *cells = order.iter().map(|at| std::mem::take(&mut cells[*at])).collect();
        }
        self
    }

    /// Returns the line of names and one for each row, none wider than `width` cells of a terminal.
    pub(super) fn lines(&self, width: usize) -> (String, Vec<String>) {
        let size = |(at, column): (usize, &Column)| {
            let widest = self.rows.iter().map(|cells| measure_text_width(&cells[at])).max().unwrap_or(0);
            let natural = widest.max(measure_text_width(&column.name));
            let floor = if column.kind == Kind::Text { NARROW } else { widest.max(NARROW) };
            (floor.min(natural), natural)
        };
        let widths = fit(&self.columns.iter().enumerate().map(size).collect::<Vec<_>>(), width);
        let left_out = if widths.len() < self.columns.len() { MORE } else { "" };
        let line = |cells: &mut dyn Iterator<Item = &str>, end: &str| {
            let mut line = String::new();
            for ((cell, column), width) in cells.zip(&self.columns).zip(&widths) {
                let alignment = if column.kind == Kind::Number { Alignment::Right } else { Alignment::Left };
                line += &pad_str(&truncate_str(cell, *width, MORE), *width, alignment, None);
                line += &" ".repeat(GAP);
            }
            line + end
        };
        let clip = |line: String| truncate_str(line.trim_end(), width, "").into_owned();
        let names = line(&mut self.columns.iter().map(|column| column.name.as_str()), left_out);
        let rows = self.rows.iter().map(|cells| clip(line(&mut cells.iter().map(String::as_str), "")));
        (clip(names), rows.collect())
    }
}

/// Returns where a column stands: those that are left out for want of space are the last ones.
fn place(name: &str) -> usize {
    const FIRST: [&str; 7] = ["user", "class", "hour", "start_us", "duration_us", "events", "classes"];
    match FIRST.iter().position(|first| *first == name) {
        Some(place) => place,
        None if name.ends_with("_id") => FIRST.len() + 1,
        None => FIRST.len(),
    }
}

/// Returns the widths of as many of the first columns as there is space for. `sizes`: the least and the whole width of
/// each.
fn fit(sizes: &[(usize, usize)], width: usize) -> Vec<usize> {
    let capped = |columns: &[(usize, usize)], most: usize| -> Vec<usize> {
        columns.iter().map(|(floor, natural)| most.clamp(*floor, *natural)).collect()
    };
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    let space = |columns: &[(usize, usize)]| {
        width.saturating_sub(if columns.len() < sizes.len() { GAP + MORE.chars().count() } else { 0 })
    };
    let mut columns = sizes;
    while columns.len() > 1 && total(&capped(columns, 0)) > space(columns) {
        columns = &columns[..columns.len() - 1];
    }
    let space = space(columns);
    let widest = columns.iter().map(|(_, natural)| *natural).max().unwrap_or(0);
    // The widest ones give first.
    let fits = |most: &usize| total(&capped(columns, *most)) <= space;
    let mut widths = capped(columns, (0..=widest).rev().find(fits).unwrap_or(0));
    let mut left = space.saturating_sub(total(&widths));
    for (width, (_, natural)) in widths.iter_mut().zip(columns) {
        let more = left.min(natural - *width);
        *width += more;
        left -= more;
    }
    if let [only] = widths.as_mut_slice() {
        *only = (*only).min(space);
    }
    widths
}

/// Returns the text of a value in the table.
fn cell(name: &str, value: &RawValue) -> (String, Kind) {
    let raw = value.get();
    let (text, kind) = match serde_json::from_str(raw) {
        Ok(Value::Null) => (String::new(), Kind::Text),
        Ok(Value::String(text)) => (text, Kind::Text),
        Ok(Value::Number(number)) => match number.as_i64() {
            // The convention of all collections: `start_us` is a time, `duration_us` a span.
            Some(micros) if name == "duration_us" => (duration(micros), Kind::Number),
            Some(micros) if name.ends_with("_us") => (time(micros).unwrap_or_else(|| raw.to_owned()), Kind::Time),
            // As it came: no digit is lost.
            _ => (raw.to_owned(), Kind::Number),
        },
        Ok(Value::Object(fields)) => {
            let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect();
            (fields.join(", "), Kind::Text)
        }
        _ => (raw.to_owned(), Kind::Text),
    };
    let text = match text.char_indices().nth(CELL_CHARS) {
        Some((at, _)) => printable(&text[..at]) + MORE,
        None => printable(&text),
    };
    (text, kind)
}

/// Returns the time to the second, in UTC.
fn time(micros: i64) -> Option<String> {
    let time = rfc3339(EventTime::from_micros(micros)?);
    Some(time.split(['Z', '.']).next()?.replace('T', " "))
}

fn duration(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        0..60 => format!("{:.1}s", micros as f64 / 1e6),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&str]) -> Table {
        let rows: Vec<Row> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
        Table::of(&rows)
    }

    fn lines(table: &Table, width: usize) -> Vec<String> {
        let (names, rows) = table.lines(width);
        let lines: Vec<String> = [names].into_iter().chain(rows).collect();
        for line in &lines {
            assert!(measure_text_width(line) <= width, "{line:?} in {width}");
        }
        lines
    }

    #[test]
    fn values_are_shown_for_people_and_ids_come_last() {
        let table = table(&[
            r#"{"session_id":"0123","user":"ann","start_us":1714557600000000,"duration_us":3723000000,"events":12345678901234567890,
               "revenue":0.100000,"classes":{"login":1,"search":2},"note":"a\u001b[31mb\n","none":null,"ok":true}"#,
            r#"{"user":"bob","start_us":1714557660500000,"duration_us":1500000,"events":2,"revenue":null,"tags":["x"]}"#,
        ]);
        let lines = lines(&table, 300);
        let words = |line: &str| {
            line.split("  ").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            words(&lines[0]),
            [
                "user",
                "start_us",
                "duration_us",
                "events",
                "classes",
                "revenue",
                "note",
                "none",
                "ok",
                "tags",
                "session_id"
            ]
        );
        assert_eq!(
            words(&lines[1]),
            [
                "ann",
                "2024-05-01 10:00:00",
                "1h02m",
                "12345678901234567890",
                "login 1, search 2",
                "0.100000",
                "a\\u{1b}[31mb\\n",
                "true",
                "0123"
            ]
        );
        assert_eq!(words(&lines[2]), ["bob", "2024-05-01 10:01:00", "1.5s", "2", "[\"x\"]"]);
        assert!(lines[2].contains("                   2  "), "numbers end at the right: {lines:?}");
    }

    #[test]
    fn whatever_the_width_no_line_is_wider() {
        let table = table(&[
            r#"{"id":"0123456789abcdef0123456789abcdef","first_us":1714557600000000,"name":"日本語の長い名前です","n":1}"#,
            r#"{"id":"0123456789abcdef0123456789abcdef","first_us":1714557660500000,"name":"e\u0301mile","n":222222222222}"#,
        ]);
        assert_eq!(
            lines(&table, 100)[1],
            "0123456789abcdef0123456789abcdef  2024-05-01 10:00:00  日本語の長い名前です             1"
        );
        // Text gives, the widest first; times and numbers do not.
        assert_eq!(
            lines(&table, 70),
            [
                "id                 first_us             name                         n",
                "0123456789abcdef…  2024-05-01 10:00:00  日本語の長い名…              1",
                "0123456789abcdef…  2024-05-01 10:01:00  e\u{301}mile             222222222222"
            ]
        );
        assert_eq!(lines(&table, 50)[0], "id            first_us             name          …");
        assert_eq!(lines(&table, 30)[0], format!("{:27}  …", "id"));
        for width in 0..120 {
            lines(&table, width);
        }
        assert_eq!(lines(&Table::default(), 10), [""]);
    }
}
