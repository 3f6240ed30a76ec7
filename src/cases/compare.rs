//! The rows that a case expects beside those that came: which belong together, and what is said of the others.

use super::expected::{Row, Table};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A row that came: its columns as JSON.
pub(super) type Got = BTreeMap<String, Box<RawValue>>;

/// Rows of each kind that a failure shows. The others are counted.
const SHOWN: usize = 20;
/// Columns of a row that are shown where no expected row names any.
const COLUMNS: usize = 8;

/// Returns what is wrong with the rows of a table; `None`: each expected row is there, and no other one.
pub(super) fn differ(table: &Table, got: &[Got]) -> Option<String> {
    let of_expected = pair(&table.rows, got);
    let missing: Vec<&Row> =
        table.rows.iter().zip(&of_expected).filter(|(_, got)| got.is_none()).map(|(row, _)| row).collect();
    let mut extra: Vec<usize> = (0..got.len()).filter(|index| !of_expected.contains(&Some(*index))).collect();
    if missing.is_empty() && extra.is_empty() {
        return None;
    }
    let mut text = format!(
        "{}: {} expected, {} found; {} missing, {} not expected",
        table.name,
        table.rows.len(),
        got.len(),
        missing.len(),
        extra.len()
    );
    let columns = shown_columns(table);
    for row in missing.iter().take(SHOWN) {
        let _ = write!(text, "\n- {}  (line {})", row.written, row.line);
        let nearest = nearest(row, got, &extra);
        let Some(nearest) = nearest else { continue };
        extra.retain(|index| *index != nearest);
        let _ = write!(text, "\n+ {}", shown(&got[nearest], &columns));
        for (name, wanted) in &row.columns {
            if !wanted.fits(got[nearest].get(name).map(|value| &**value)) {
                let _ = write!(text, "\n    {name} is {}", value(&got[nearest], name));
            }
        }
    }
    more(&mut text, '-', missing.len());
    for index in extra.iter().take(SHOWN) {
        let _ = write!(text, "\n+ {}", shown(&got[*index], &columns));
    }
    more(&mut text, '+', extra.len());
    Some(text)
}

fn more(text: &mut String, sign: char, rows: usize) {
    if rows > SHOWN {
        let _ = write!(text, "\n{sign} … {} more", rows - SHOWN);
    }
}

/// Returns for each expected row the one that it is, by index: as many as can be. A row that asks for little leaves to
/// others those that they alone fit (augmenting paths, after Kuhn).
fn pair(expected: &[Row], got: &[Got]) -> Vec<Option<usize>> {
    let fits: Vec<Vec<usize>> = expected
        .iter()
        .map(|row| (0..got.len()).filter(|index| fitting(row, &got[*index]) == row.columns.len()).collect())
        .collect();
    let (mut of_got, mut of_expected) = (vec![None; got.len()], vec![None; expected.len()]);
    for start in 0..expected.len() {
        // By got row: the expected row from which it was reached.
        let mut reached: BTreeMap<usize, usize> = BTreeMap::new();
        let (mut open, mut free) = (vec![start], None);
        while let (Some(row), None) = (open.pop(), free) {
            for index in &fits[row] {
                if reached.contains_key(index) {
                    continue;
                }
                reached.insert(*index, row);
                match of_got[*index] {
                    None => {
                        free = Some(*index);
                        break;
                    }
                    Some(other) => open.push(other),
                }
            }
        }
        while let Some(index) = free {
            let row = reached[&index];
            free = of_expected[row].replace(index);
            of_got[index] = Some(row);
        }
    }
    of_expected
}

/// Returns how many of the expected columns a row has.
fn fitting(row: &Row, got: &Got) -> usize {
    row.columns.iter().filter(|(name, wanted)| wanted.fits(got.get(name).map(|value| &**value))).count()
}

/// Returns the row among `left` that has most of what is expected; of equals the first, and none that has nothing of it.
fn nearest(row: &Row, got: &[Got], left: &[usize]) -> Option<usize> {
    let alike = left.iter().map(|index| (fitting(row, &got[*index]), *index)).filter(|(alike, _)| *alike > 0);
    alike.rev().max_by_key(|(alike, _)| *alike).map(|(_, index)| index)
}

/// Returns the columns that some expected row names, in the order of the table; else the first ones.
fn shown_columns(table: &Table) -> Vec<&str> {
    let names = table.columns.iter().map(|column| column.name.as_str());
    let named = |name: &&str| table.rows.iter().any(|row| row.columns.iter().any(|(column, _)| column == name));
    let columns: Vec<&str> = names.clone().filter(named).collect();
    if columns.is_empty() { names.take(COLUMNS).collect() } else { columns }
}

fn shown(got: &Got, columns: &[&str]) -> String {
    let columns: Vec<String> = columns.iter().map(|name| format!("{name} = {}", value(got, name))).collect();
    format!("{{ {} }}", columns.join(", "))
}

fn value<'g>(got: &'g Got, name: &str) -> &'g str {
    got.get(name).map_or("null", |value| value.get())
}

#[cfg(test)]
mod tests {
    use super::super::value::Wanted;
    use super::*;
    use crate::collections::{Kind, Storage};
    use proptest::prelude::*;

    fn expected(rows: &[&[(&str, &str)]]) -> Table {
        let row = |columns: &&[(&str, &str)]| Row {
            line: 7,
            columns: columns.iter().map(|(name, text)| ((*name).into(), Wanted::Text((*text).into()))).collect(),
            written: format!("{columns:?}"),
        };
        let column = |name: &str| crate::collections::Column::new(name, Kind::Text, Storage::Distinct);
        Table { name: "t".into(), columns: ["a", "b"].map(column).into(), rows: rows.iter().map(row).collect() }
    }

    fn got(rows: &[[&str; 2]]) -> Vec<Got> {
        let row = |[a, b]: &[&str; 2]| serde_json::from_str(&format!("{{\"a\":\"{a}\",\"b\":\"{b}\"}}")).unwrap();
        rows.iter().map(row).collect()
    }

    #[test]
    fn a_row_that_asks_for_little_leaves_the_others_their_rows() {
        let table = expected(&[&[], &[("a", "x")], &[("a", "x"), ("b", "1")]]);
        assert_eq!(differ(&table, &got(&[["x", "1"], ["x", "2"], ["y", "1"]])), None);
        assert!(differ(&table, &got(&[["x", "1"], ["y", "2"], ["y", "1"]])).is_some());
    }

    #[test]
    fn a_missing_row_is_shown_beside_the_nearest_one() {
        let table = expected(&[&[("a", "x"), ("b", "1")]]);
        let text = differ(&table, &got(&[["y", "3"], ["x", "2"]])).unwrap();
        assert_eq!(
            text,
            "t: 1 expected, 2 found; 1 missing, 2 not expected\n- [(\"a\", \"x\"), (\"b\", \"1\")]  (line 7)\n\
             + { a = \"x\", b = \"2\" }\n    b is \"2\"\n+ { a = \"y\", b = \"3\" }"
        );
        let none = differ(&expected(&[]), &got(&[["x", "1"]])).unwrap();
        assert_eq!(none, "t: 0 expected, 1 found; 0 missing, 1 not expected\n+ { a = \"x\", b = \"1\" }");
    }

    proptest! {
        /// As many pairs as the best of all ways has.
        #[test]
        fn as_many_rows_as_can_be_are_paired(
            wanted in prop::collection::vec((prop::option::of(0u8..3), prop::option::of(0u8..3)), 0..5),
            came in prop::collection::vec((0u8..3, 0u8..3), 0..5),
        ) {
            let text = |number: &u8| number.to_string();
            let rows: Vec<Row> = wanted.iter().map(|(a, b)| {
                let columns = [("a", a), ("b", b)].into_iter();
                let columns = columns.filter_map(|(name, value)| Some((name.to_owned(), Wanted::Text(text(&(*value)?)))));
                Row { line: 1, columns: columns.collect(), written: String::new() }
            }).collect();
            let all: Vec<Got> = came.iter().map(|(a, b)| got(&[[&text(a), &text(b)]]).remove(0)).collect();
            fn best(rows: &[Row], left: &[Got]) -> usize {
                let Some((first, rest)) = rows.split_first() else { return 0 };
                let mut most = best(rest, left);
                for (index, row) in left.iter().enumerate() {
                    if fitting(first, row) == first.columns.len() {
                        let others: Vec<Got> = left.iter().enumerate().filter(|(other, _)| *other != index)
                            .map(|(_, row)| row.clone()).collect();
                        most = most.max(1 + best(rest, &others));
                    }
                }
                most
            }
            let pairs = pair(&rows, &all);
            let found: std::collections::BTreeSet<usize> = pairs.iter().flatten().copied().collect();
            prop_assert_eq!(found.len(), pairs.iter().flatten().count());
            prop_assert_eq!(found.len(), best(&rows, &all));
            for (row, index) in rows.iter().zip(&pairs) {
                prop_assert!(index.is_none_or(|index| fitting(row, &all[index]) == row.columns.len()));
            }
        }
    }
}
