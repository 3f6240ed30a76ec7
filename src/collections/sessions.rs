//! `sessions`: the sessions of each user, with their events by class.

use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Storage, Value, encoded, same_columns};
use dataflows::sessionize::EndedBy;
use dataflows::{EventTime, Measure, SessionId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

pub use dataflows::resolve::SessionRow;

pub(super) const DEFINITION: Definition = Definition {
    name: "sessions",
    nature: Nature::View,
    key: &["session_id"],
    lookup: &["session_id", "user"],
    columns,
    decode,
    same_key: |one, other| same_columns(decode(one), decode(other), 1),
    held: Held::Sessions,
    begins: Begins::WithTheFolder,
};

/// The columns of `sessions` that depend on the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionSchema {
    /// Names of the sums.
    pub sums: Vec<String>,
    /// Names of the carried fields.
    pub carried: Vec<String>,
    /// There are session policies, so rows say why their session ended.
    pub ended_by: bool,
}

/// The column of why a session ended.
pub const ENDED_BY: &str = "ended_by";

/// Returns the columns, in order. A name may come twice when the configuration names sums or fields so: that is for the
/// configuration to refuse.
pub fn columns(schema: &SessionSchema) -> Vec<Column> {
    const CLASS: Storage = Storage::Category { nullable: false };
    const VALUE: Storage = Storage::Category { nullable: true };
    let fixed = [
        ("session_id", Kind::Text, Storage::Distinct),
        ("user", Kind::Text, Storage::Lookup),
        ("start_us", Kind::Integer, Storage::Distinct),
        ("end_us", Kind::Integer, Storage::Distinct),
        ("duration_us", Kind::Integer, Storage::Distinct),
        ("events", Kind::Integer, Storage::Distinct),
        ("classes", Kind::Classes, Storage::Distinct),
        ("first_class", Kind::Text, CLASS),
        ("last_class", Kind::Text, CLASS),
    ];
    let fixed = fixed.into_iter().map(|(name, kind, storage)| Column::new(name, kind, storage));
    let sums = schema.sums.iter().flat_map(|name| {
        let [value, others] = sum_columns(name);
        let value = Column { nullable: true, ..Column::new(value, Kind::Decimal, Storage::Distinct) };
        [value, Column::new(others, Kind::Integer, Storage::Distinct)]
    });
    let carried = schema.carried.iter().flat_map(|field| carried_columns(field));
    let carried = carried.map(|name| Column::new(name, Kind::Text, VALUE));
    let ended_by = schema.ended_by.then(|| Column::new(ENDED_BY, Kind::Text, CLASS));
    fixed.chain(sums).chain(carried).chain(ended_by).collect()
}

/// Returns the columns of a sum: its value, and how many values were no number.
pub fn sum_columns(name: &str) -> [String; 2] {
    [name.to_owned(), format!("{name}_not_numbers")]
}

/// Returns the columns of a carried field: its first and its last value.
pub fn carried_columns(field: &str) -> [String; 2] {
    [format!("entry_{field}"), format!("exit_{field}")]
}

/// Returns the values of a row in the order of [`columns`].
pub fn values_of<'a>(row: &SessionRow<'a>) -> impl Iterator<Item = Value<'a>> + use<'a> {
    let id = Value::Id(SessionId::of(row.key, row.start));
    values(
        id,
        (row.user, row.start, row.end, row.events),
        Cow::Borrowed(row.classes),
        [row.first_class, row.last_class],
        row.sums.iter().copied(),
        row.carried.iter().copied(),
        row.ended_by,
    )
}

fn values<'a>(
    id: Value<'a>,
    (user, start, end, events): (&'a str, EventTime, EventTime, u64),
    classes: Cow<'a, [(&'a str, u64)]>,
    [first, last]: [&'a str; 2],
    sums: impl Iterator<Item = Measure>,
    carried: impl Iterator<Item = EntryExit<'a>>,
    ended_by: Option<EndedBy>,
) -> impl Iterator<Item = Value<'a>> {
    let fixed = [
        id,
        Value::Text(user),
        Value::time(start),
        Value::time(end),
        Value::Integer(end.micros() - start.micros()),
        Value::count(events),
        Value::Classes(classes),
        Value::Text(first),
        Value::Text(last),
    ];
    let sums = sums.flat_map(|sum| {
        let value = if sum.numbers > 0 { Value::Decimal(sum.sum) } else { Value::Null };
        [value, Value::count(sum.others)]
    });
    let carried = carried.flat_map(|(entry, exit)| [entry, exit]).map(|value| Value::or_null(value, Value::Text));
    fixed.into_iter().chain(sums).chain(carried).chain(ended_by.map(|reason| Value::Text(reason.code())))
}

/// A row in the log. Its lists are written from slices and read into vectors.
#[derive(Serialize, Deserialize)]
struct Encoded<'a, C = Vec<ClassCount<'a>>, S = Vec<Measure>, E = Vec<EntryExit<'a>>> {
    user: &'a str,
    start: EventTime,
    end: EventTime,
    events: u64,
    classes: C,
    first: &'a str,
    last: &'a str,
    sums: S,
    carried: E,
}

type ClassCount<'a> = (&'a str, u64);
/// The first and the last value of a carried field.
type EntryExit<'a> = (Option<&'a str>, Option<&'a str>);

pub fn encode(row: &SessionRow<'_>) -> Vec<u8> {
    let bytes = encoded(&Encoded {
        user: row.user,
        start: row.start,
        end: row.end,
        events: row.events,
        classes: row.classes,
        first: row.first_class,
        last: row.last_class,
        sums: row.sums,
        carried: row.carried,
    });
    match row.ended_by {
        None => bytes,
        Some(reason) => postcard::to_extend(&reason, bytes).expect("memory can be written to"),
    }
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    let (row, rest) = postcard::take_from_bytes::<Encoded<'_>>(bytes).ok()?;
    let Encoded { user, start, end, events, classes, first, last, sums, carried } = row;
    // Behind the row, and only under session policies.
    let ended_by = if rest.is_empty() { None } else { Some(postcard::from_bytes(rest).ok()?) };
    let id = Value::Session(user, start);
    let head = (user, start, end, events);
    Some(Row::new(values(
        id,
        head,
        Cow::Owned(classes),
        [first, last],
        sums.into_iter(),
        carried.into_iter(),
        ended_by,
    )))
}
