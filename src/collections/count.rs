//! `count.NAME`: a row for each group of a `[[count]]`. Its columns are those of the configuration.
//!
//! The bytes of a row hold the values themselves, as those of a state do, and how many of them are its key.

use super::state::{Sent, send, sent};
use super::{Begins, Collection, Column, Definition, Held, Kind, Nature, Row, Storage, Value, encoded, sessions};
use dataflows::group::{Cell, Cells, Totals};
use dataflows::{EventTime, UserKey};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

pub use super::state::PARTIAL;

/// The column that tells the row of all groups beyond the limit from the others.
pub const OVERFLOW: &str = "overflow";

/// The column of the number of events or rows.
pub const COUNT: &str = "count";

/// What the names of the collections of counts begin with.
pub const PREFIX: &str = "count.";

/// The columns of a count, as they are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountSchema {
    pub name: String,
    pub by: Vec<KeyColumn>,
    /// The names of its sums.
    pub sums: Vec<String>,
}

/// A key column of a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    pub name: String,
    pub kind: Kind,
}

impl CountSchema {
    /// Returns the name of its collection and table.
    pub fn collection_name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// Returns its collection.
    pub fn collection(&self) -> Collection {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let by: Vec<String> = self.by.iter().map(|column| column.name.clone()).collect();
        let definition = known.entry((self.collection_name(), by)).or_insert_with_key(|(name, by)| {
            let leak = |name: &str| -> &'static str { Box::leak(name.to_owned().into_boxed_str()) };
            let lookup: Vec<&'static str> = by.iter().map(|name| leak(name)).collect();
            let key: Vec<&'static str> = lookup.iter().copied().chain([OVERFLOW]).collect();
            Box::leak(Box::new(Definition {
                name: leak(name),
                nature: Nature::View,
                key: Box::leak(key.into_boxed_slice()),
                lookup: Box::leak(lookup.into_boxed_slice()),
                columns: |_| Vec::new(),
                decode,
                same_key,
                held: Held::Groups,
                begins: Begins::WithARecord,
            }))
        });
        Collection(definition)
    }

    /// Returns the columns of a row, in order.
    pub fn columns(&self) -> Vec<Column> {
        let by = self.by.iter().map(|KeyColumn { name, kind }| {
            let storage = match kind {
                Kind::Text => Storage::Category { nullable: true },
                _ => Storage::Distinct,
            };
            Column { nullable: true, ..Column::new(name.clone(), *kind, storage) }
        });
        let number = |name: &str| Column::new(name, Kind::Integer, Storage::Distinct);
        let sums = self.sums.iter().flat_map(|name| {
            let [sum, others] = sessions::sum_columns(name);
            [Column { nullable: true, ..Column::new(sum, Kind::Decimal, Storage::Distinct) }, number(&others)]
        });
        let partial = Column { nullable: true, ..Column::new(PARTIAL, Kind::Time, Storage::Distinct) };
        by.chain([number(OVERFLOW), number(COUNT)]).chain(sums).chain([partial]).collect()
    }

    /// Returns the values of a row in the order of the columns. `since`: events before that time do not count.
    pub fn values<'v>(&self, cells: Option<&'v Cells>, totals: &Totals, since: Option<EventTime>) -> Vec<Value<'v>> {
        let of_cell = |cell: &'v Cell| match cell {
            Cell::Null => Value::Null,
            Cell::Text(text) => Value::Text(text),
            Cell::Integer(number) => Value::Integer(*number),
            Cell::Number(number) => Value::Decimal(*number),
            Cell::Time(time) => Value::Time(*time),
        };
        let mut row: Vec<Value<'v>> = match cells {
            Some(cells) => cells.iter().map(of_cell).collect(),
            None => vec![Value::Null; self.by.len()],
        };
        row.extend([Value::Integer(i64::from(cells.is_none())), Value::Integer(totals.rows)]);
        for index in 0..self.sums.len() {
            let sum = totals.sums.get(index).copied().unwrap_or_default();
            row.push(if sum.numbers > 0 { Value::Decimal(sum.sum) } else { Value::Null });
            row.push(Value::Integer(sum.others));
        }
        row.push(Value::or_null(since, Value::Time));
        row
    }

    pub fn encode(&self, cells: Option<&Cells>, totals: &Totals, since: Option<EventTime>) -> Vec<u8> {
        let values = self.values(cells, totals, since);
        encoded(&(self.by.len() as u32 + 1, values.iter().map(send).collect::<Vec<_>>()))
    }
}

/// Returns the key whose worker has the groups of a count.
pub fn place(collection: &str) -> UserKey {
    UserKey::of(collection)
}

/// Returns the place of a row among all those of its count. The order has no meaning: a reader goes on behind the last row that it has.
pub fn rank(cells: Option<&Cells>) -> (UserKey, EventTime, u64) {
    let key = cells.map_or_else(String::new, |cells| format!("{cells:?}"));
    (UserKey::of(&key), EventTime::MIN, u64::from(cells.is_some()))
}

/// The definitions of all counts that this process has read a configuration of, by the names of collection and key columns:
/// they live as long as it.
static KNOWN: Mutex<BTreeMap<(String, Vec<String>), &'static Definition>> = Mutex::new(BTreeMap::new());

/// Returns a collection of that name, by which another process of the run names it.
pub(super) fn named(name: &str) -> Option<Collection> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.iter().find(|((known, _), _)| known == name).map(|(_, definition)| Collection(definition))
}

fn read(bytes: &[u8]) -> Option<(usize, Row<'_>)> {
    let (key, values): (u32, Vec<Sent<'_>>) = postcard::from_bytes(bytes).ok()?;
    Some((key as usize, Row::new(values.into_iter().map(sent))))
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    read(bytes).map(|(_, row)| row)
}

fn same_key(one: &[u8], other: &[u8]) -> bool {
    let Some((key, one)) = read(one) else { return false };
    super::same_columns(Some(one), decode(other), key)
}
