//! Rows as the server wrote them.

use crate::Tick;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A row: the text of one JSON object. Within one program equal rows have equal texts. So it can be compared and hashed
/// without being parsed, and no number in it has gone through floating point.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Row(Box<RawValue>);

/// A row, and the number of copies that it gains or loses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// As it is, or was.
    pub row: Row,
    /// When it changed; of a row in a snapshot, as of when.
    pub tick: Tick,
    /// 1: it is there from now on. -1: no longer.
    pub diff: i64,
}

impl Row {
    /// Returns the text, as the server sent it.
    pub fn json(&self) -> &str {
        self.0.get()
    }

    /// Returns the row as a type of the caller's.
    ///
    /// # Errors
    /// If it has not the fields that the type wants.
    pub fn read<'r, T: Deserialize<'r>>(&'r self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.json())
    }

    /// Names and values in the order of the text; empty if it is no object.
    pub fn fields(&self) -> Vec<(String, &RawValue)> {
        self.read().map(|Fields(fields)| fields).unwrap_or_default()
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        self.json() == other.json()
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Row) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Row) -> Ordering {
        self.json().cmp(other.json())
    }
}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.json().hash(state);
    }
}

struct Fields<'r>(Vec<(String, &'r RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields<'de>, D::Error> {
        struct Ordered;
        impl<'de> Visitor<'de> for Ordered {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Ordered)
    }
}

/// Sums the diffs of equal rows, and leaves what is not zero: first what is no longer there, then what is new.
pub(crate) fn consolidate(updates: &mut Vec<Update>) {
    // Stable: of equal rows the last one keeps its tick.
    updates.sort_by(|a, b| a.row.cmp(&b.row));
    updates.dedup_by(|next, kept| {
        let same = next.row == kept.row;
        if same {
            (kept.tick, kept.diff) = (next.tick, kept.diff + next.diff);
        }
        same
    });
    updates.retain(|update| update.diff != 0);
    updates.sort_by_key(|update| update.diff > 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(tick: Tick, row: &str, diff: i64) -> Update {
        Update { row: serde_json::from_str(row).unwrap(), tick, diff }
    }

    #[test]
    fn a_row_keeps_order_and_every_digit() {
        let text = r#"{"b":12345678901234567.000001,"a":{"z":1,"y":2}}"#;
        let row: Row = serde_json::from_str(text).unwrap();
        assert_eq!(row.json(), text);
        let fields: Vec<_> = row.fields().into_iter().map(|(name, value)| (name, value.get())).collect();
        let expected = [("b", "12345678901234567.000001"), ("a", r#"{"z":1,"y":2}"#)];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn consolidated_updates_are_the_net_change_and_removals_come_first() {
        let mut updates =
            vec![update(5, "1", -1), update(5, "2", 1), update(6, "2", -1), update(6, "0", 1), update(7, "3", -1)];
        consolidate(&mut updates);
        assert_eq!(updates, [update(5, "1", -1), update(7, "3", -1), update(6, "0", 1)]);
    }
}
