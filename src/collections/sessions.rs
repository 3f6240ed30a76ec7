//! The collection `sessions`: its columns, and a row before a format dresses it.

use super::Kind;
use dataflows::{EventTime, Measure, SessionId, UserKey};
use std::io::{self, Write};

/// A session as it leaves: every name resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow<'a> {
    /// Key of the user, which the id follows from.
    pub key: UserKey,
    pub user: &'a str,
    pub start: EventTime,
    pub end: EventTime,
    pub events: u64,
    /// Events by class: sorted by name, no repeats.
    pub classes: &'a [(&'a str, u64)],
    pub first_class: &'a str,
    pub last_class: &'a str,
    /// As many as the schema has sums.
    pub sums: &'a [Measure],
    /// Entry and exit value of each carried field, as many as the schema has.
    pub carried: &'a [(Option<&'a str>, Option<&'a str>)],
}

/// The columns of `sessions` that depend on the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionSchema {
    /// Names of the sums.
    pub sums: Vec<String>,
    /// Names of the carried fields.
    pub carried: Vec<String>,
}

/// The columns of `sessions`, in order. A name may come twice when the configuration names sums or fields so: that is
/// for the configuration to refuse.
pub fn column_names(schema: &SessionSchema) -> Vec<String> {
    columns(schema).into_iter().map(|column| column.name).collect()
}

/// The columns of `sessions` with what they hold, in order.
pub(crate) fn column_kinds(schema: &SessionSchema) -> Vec<(String, Kind)> {
    let kind = |column: Column| {
        let kind = match column.kind {
            ColumnKind::SessionId | ColumnKind::User | ColumnKind::Category { .. } => Kind::Text,
            ColumnKind::Integer => Kind::Integer,
            ColumnKind::Decimal => Kind::Decimal,
            ColumnKind::Classes => Kind::Classes,
        };
        (column.name, kind)
    };
    columns(schema).into_iter().map(kind).collect()
}

/// The columns of a sum: its value, and how many values were no number.
pub fn sum_columns(name: &str) -> [String; 2] {
    [name.to_owned(), format!("{name}_not_numbers")]
}

/// The columns of a carried field: its first and its last value.
pub fn carried_columns(field: &str) -> [String; 2] {
    [format!("entry_{field}"), format!("exit_{field}")]
}

/// A column of `sessions`.
pub(crate) struct Column {
    pub name: String,
    pub kind: ColumnKind,
}

/// Decides how a column is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    SessionId,
    User,
    /// One of few texts, or none.
    Category {
        nullable: bool,
    },
    Integer,
    Decimal,
    Classes,
}

pub(crate) fn columns(schema: &SessionSchema) -> Vec<Column> {
    let category = ColumnKind::Category { nullable: false };
    let value = ColumnKind::Category { nullable: true };
    let fixed = [
        ("session_id", ColumnKind::SessionId),
        ("user", ColumnKind::User),
        ("start_us", ColumnKind::Integer),
        ("end_us", ColumnKind::Integer),
        ("duration_us", ColumnKind::Integer),
        ("events", ColumnKind::Integer),
        ("classes", ColumnKind::Classes),
        ("first_class", category),
        ("last_class", category),
    ];
    let sums = schema
        .sums
        .iter()
        .flat_map(|name| [(name.clone(), ColumnKind::Decimal), (format!("{name}_not_numbers"), ColumnKind::Integer)]);
    let carried =
        schema.carried.iter().flat_map(|field| [(format!("entry_{field}"), value), (format!("exit_{field}"), value)]);
    let fixed = fixed.into_iter().map(|(name, kind)| (name.to_owned(), kind));
    fixed.chain(sums).chain(carried).map(|(name, kind)| Column { name, kind }).collect()
}

/// One value of a row, before a format dresses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    SessionId(SessionId),
    Text(Option<&'a str>),
    Integer(i64),
    /// In millionths.
    Decimal(Option<i128>),
    Classes(&'a [(&'a str, u64)]),
}

impl<'a> SessionRow<'a> {
    /// In the order of [`columns`].
    pub(crate) fn cells(&self) -> impl Iterator<Item = Cell<'a>> {
        let fixed = [
            Cell::SessionId(SessionId::of(self.key, self.start)),
            Cell::Text(Some(self.user)),
            Cell::Integer(self.start.micros()),
            Cell::Integer(self.end.micros()),
            Cell::Integer(self.end.micros() - self.start.micros()),
            Cell::Integer(integer(self.events)),
            Cell::Classes(self.classes),
            Cell::Text(Some(self.first_class)),
            Cell::Text(Some(self.last_class)),
        ];
        let sums = self.sums.iter().flat_map(|sum| {
            [Cell::Decimal((sum.numbers > 0).then_some(sum.millionths)), Cell::Integer(integer(sum.others))]
        });
        let carried = self.carried.iter().flat_map(|&(entry, exit)| [Cell::Text(entry), Cell::Text(exit)]);
        fixed.into_iter().chain(sums).chain(carried)
    }
}

/// Counts are of events, one by one: none comes near the limit of 2^63.
pub(crate) fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Counts by class as an object.
pub(crate) fn json_classes(classes: &[(&str, u64)], out: &mut Vec<u8>) -> io::Result<()> {
    out.push(b'{');
    for (index, (class, events)) in classes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, class)?;
        write!(out, ":{events}")?;
    }
    out.push(b'}');
    Ok(())
}
