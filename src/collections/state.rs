//! `state.NAME`: a row for each entity of a `[[state]]`, made when it is read. Its columns are those of the configuration.
//!
//! The bytes of a row hold the values themselves, as the definition of a collection knows no configuration. Rows are
//! published only of states that are followed.

use super::{Begins, Collection, Column, Definition, Held, Kind, Nature, Row, Storage, Value, encoded, sessions};
use dataflows::state;
use dataflows::{Decimal, EventTime};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The column of the time since which events count.
pub const PARTIAL: &str = "partial_since";

/// The columns of a state, as they are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateSchema {
    pub name: String,
    /// The column of the entity: the name of a field, or `user`.
    pub key: String,
    pub columns: Vec<StateColumn>,
}

/// A column of a state as it is configured. It may be two columns of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateColumn {
    pub name: String,
    pub kind: StateKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    Count,
    Sum,
    First,
    Last,
    Min,
    Max,
    Distinct,
    Top,
    Decay,
}

impl StateKind {
    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            StateKind::Count => "count",
            StateKind::Sum => "sum",
            StateKind::First => "first",
            StateKind::Last => "last",
            StateKind::Min => "min",
            StateKind::Max => "max",
            StateKind::Distinct => "distinct",
            StateKind::Top => "top",
            StateKind::Decay => "decay",
        }
    }
}

impl StateColumn {
    /// Returns the names of its columns.
    pub fn names(&self) -> Vec<String> {
        let name = &self.name;
        match self.kind {
            StateKind::Sum => sessions::sum_columns(name).to_vec(),
            StateKind::Distinct | StateKind::Top => vec![name.clone(), format!("{name}_over")],
            _ => vec![name.clone()],
        }
    }

    fn columns(&self) -> impl Iterator<Item = Column> {
        const TEXT: Storage = Storage::Category { nullable: true };
        let kinds: &[(Kind, Storage, bool)] = match self.kind {
            StateKind::Count => &[(Kind::Integer, Storage::Distinct, false)],
            StateKind::Sum => &[(Kind::Decimal, Storage::Distinct, true), (Kind::Integer, Storage::Distinct, false)],
            StateKind::Min | StateKind::Max | StateKind::Decay => &[(Kind::Decimal, Storage::Distinct, true)],
            StateKind::First | StateKind::Last => &[(Kind::Text, TEXT, true)],
            StateKind::Distinct => &[(Kind::Integer, Storage::Distinct, false); 2],
            StateKind::Top => &[(Kind::Classes, Storage::Distinct, false), (Kind::Integer, Storage::Distinct, false)],
        };
        let of = |(name, (kind, storage, nullable)): (String, &(Kind, Storage, bool))| Column {
            nullable: *nullable,
            ..Column::new(name, *kind, *storage)
        };
        self.names().into_iter().zip(kinds).map(of)
    }
}

impl StateSchema {
    /// Returns the name of its collection and table.
    pub fn collection_name(&self) -> String {
        format!("state.{}", self.name)
    }

    /// Returns its collection.
    pub fn collection(&self) -> Collection {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let names = (self.collection_name(), self.key.clone());
        let definition = known.entry(names).or_insert_with_key(|(name, key)| {
            let key: &'static [&'static str] = Box::leak(Box::new([&*Box::leak(key.clone().into_boxed_str())]));
            Box::leak(Box::new(Definition {
                name: Box::leak(name.clone().into_boxed_str()),
                nature: Nature::View,
                key,
                lookup: key,
                columns: |_| Vec::new(),
                decode,
                same_key: |one, other| super::same_columns(decode(one), decode(other), 1),
                held: Held::State,
                begins: Begins::WithARecord,
            }))
        });
        Collection(definition)
    }

    /// Returns the columns of a row, in order.
    pub fn columns(&self) -> Vec<Column> {
        let key = Column::new(self.key.clone(), Kind::Text, Storage::Lookup);
        let partial = Column { nullable: true, ..Column::new(PARTIAL, Kind::Time, Storage::Distinct) };
        let columns = self.columns.iter().flat_map(StateColumn::columns);
        [key].into_iter().chain(columns).chain([partial]).collect()
    }
}

/// The definitions of all states that this process has read a configuration of, by the names of collection and key: they
/// live as long as it.
static KNOWN: Mutex<BTreeMap<(String, String), &'static Definition>> = Mutex::new(BTreeMap::new());

/// Returns a collection of that name, by which another process of the run names it.
pub(super) fn named(name: &str) -> Option<Collection> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.iter().find(|((known, _), _)| known == name).map(|(_, definition)| Collection(definition))
}

/// Returns the values of a row in the order of the columns. `since`: events before that time do not count.
pub fn values<'v>(name: &'v str, values: &'v [state::Value<'_>], since: Option<EventTime>) -> Vec<Value<'v>> {
    let mut row = vec![Value::Text(name)];
    let flag = |over: bool| Value::Integer(i64::from(over));
    for value in values {
        match value {
            state::Value::Count(count) => row.push(Value::count(*count)),
            state::Value::Sum(sum) => {
                row.push(if sum.numbers > 0 { Value::Decimal(sum.sum) } else { Value::Null });
                row.push(Value::count(sum.others));
            }
            state::Value::Number(number) => row.push(Value::or_null(*number, Value::Decimal)),
            state::Value::Text(text) => row.push(Value::or_null(*text, Value::Text)),
            state::Value::Distinct { count, over } => row.extend([Value::count(*count), flag(*over)]),
            state::Value::Top { values, over } => row.extend([Value::Classes(Cow::Borrowed(values)), flag(*over)]),
        }
    }
    row.push(Value::or_null(since, Value::Time));
    row
}

/// A value of a row, as it is written.
#[derive(Serialize, Deserialize)]
pub(super) enum Sent<'b> {
    Null,
    #[serde(borrow)]
    Text(&'b str),
    Integer(i64),
    Decimal(Decimal),
    Counts(Vec<(&'b str, u64)>),
    Time(EventTime),
}

pub fn encode(name: &str, row: &[state::Value<'_>], since: Option<EventTime>) -> Vec<u8> {
    let values = values(name, row, since);
    encoded(&values.iter().map(send).collect::<Vec<_>>())
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    let values: Vec<Sent<'_>> = postcard::from_bytes(bytes).ok()?;
    Some(Row::new(values.into_iter().map(sent)))
}

/// Returns a value as it is written.
pub(super) fn send<'b>(value: &'b Value<'b>) -> Sent<'b> {
    match value {
        Value::Text(text) => Sent::Text(text),
        Value::Integer(number) => Sent::Integer(*number),
        Value::Decimal(number) => Sent::Decimal(*number),
        Value::Classes(counts) => Sent::Counts(counts.to_vec()),
        Value::Time(time) => Sent::Time(*time),
        // Rows of states and counts have no other values.
        _ => Sent::Null,
    }
}

/// Returns a value that was written.
pub(super) fn sent(value: Sent<'_>) -> Value<'_> {
    match value {
        Sent::Null => Value::Null,
        Sent::Text(text) => Value::Text(text),
        Sent::Integer(number) => Value::Integer(number),
        Sent::Decimal(number) => Value::Decimal(number),
        Sent::Counts(counts) => Value::Classes(Cow::Owned(counts)),
        Sent::Time(time) => Value::Time(time),
    }
}
