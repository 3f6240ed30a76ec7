//! `activities`: what was recognised of each `[[sequence]]`, with the evidence.

use super::sequences::{PARTIAL, SequenceSchema};
use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Storage, Value, encoded, same_columns};
use dataflows::EventTime;
use dataflows::sequence::{Activity, ActivityId, State};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

pub(super) const DEFINITION: Definition = Definition {
    name: "activities",
    nature: Nature::View,
    key: &["activity_id"],
    lookup: &["activity_id", "key"],
    columns: |_| columns(),
    decode,
    same_key: |one, other| same_columns(decode(one), decode(other), 1),
    held: Held::Activities,
    begins: Begins::WithTheFolder,
};

/// Returns the columns, in order.
pub fn columns() -> Vec<Column> {
    const CATEGORY: Storage = Storage::Category { nullable: false };
    let columns = vec![
        Column::new("activity_id", Kind::Text, Storage::Distinct),
        Column::new("sequence", Kind::Text, CATEGORY),
        Column::new("key", Kind::Text, Storage::Lookup),
        Column::new("start", Kind::Time, Storage::Distinct),
        Column::new("state", Kind::Text, CATEGORY),
        Column::new("reached", Kind::Integer, Storage::Distinct),
        Column::new("step", Kind::Text, CATEGORY),
        Column::new("ended", Kind::Time, Storage::Distinct),
        Column::new("took_us", Kind::Integer, Storage::Distinct),
        Column::new("steps", Kind::Classes, Storage::Distinct),
        Column::new("by", Kind::Text, Storage::Category { nullable: true }),
        Column::new(PARTIAL, Kind::Time, Storage::Distinct),
    ];
    Column::nullable(columns, &["ended", "took_us", PARTIAL])
}

/// A row in the log.
#[derive(Serialize, Deserialize)]
struct Encoded<'a, S = Vec<(&'a str, u64)>> {
    sequence: &'a str,
    key: &'a str,
    /// See [`ActivityId::mark`].
    mark: u64,
    start: EventTime,
    state: State,
    reached: u8,
    step: &'a str,
    ended: Option<EventTime>,
    /// Microseconds from the first step to each that came, by name.
    steps: S,
    by: Option<&'a str>,
    since: Option<EventTime>,
}

pub fn encode(sequence: &SequenceSchema, key: &str, activity: &Activity) -> Vec<u8> {
    with_row(sequence, key, activity, |row| encoded(&row))
}

/// Calls `with` with the values of a row, in the order of the columns.
pub fn with_values<R>(
    sequence: &SequenceSchema,
    key: &str,
    activity: &Activity,
    with: impl FnOnce([Value<'_>; 12]) -> R,
) -> R {
    with_row(sequence, key, activity, |row| {
        let Encoded { sequence, key, mark, start, state, reached, step, ended, steps, by, since } = row;
        let steps = Cow::Borrowed(steps);
        with(values(Encoded { sequence, key, mark, start, state, reached, step, ended, steps, by, since }))
    })
}

fn with_row<R>(
    sequence: &SequenceSchema,
    key: &str,
    activity: &Activity,
    with: impl FnOnce(Encoded<'_, &[(&str, u64)]>) -> R,
) -> R {
    let SequenceSchema { name, definition, steps: names, since, .. } = sequence;
    let start = activity.start.time;
    let times = names.iter().zip(activity.times(definition));
    let mut steps: Vec<(&str, u64)> =
        times.filter_map(|(name, time)| Some((&**name, (time?.micros() - start.micros()).unsigned_abs()))).collect();
    steps.sort_unstable();
    let last = definition.required()[usize::from(activity.reached) - 1];
    let by = activity.start.by.as_ref().map(|by| sequence.breakdown(by));
    with(Encoded {
        sequence: name,
        key,
        mark: ActivityId::mark(name, &activity.start),
        start,
        state: activity.state,
        reached: activity.reached,
        step: &names[usize::from(last)],
        ended: activity.ended(),
        steps: &steps,
        by: by.as_deref(),
        since: *since,
    })
}

fn values<'a>(row: Encoded<'a, Cow<'a, [(&'a str, u64)]>>) -> [Value<'a>; 12] {
    let Encoded { sequence, key, mark, start, state, reached, step, ended, steps, by, since } = row;
    let took = ended.filter(|_| state == State::Matched).map(|ended| ended.micros() - start.micros());
    [
        Value::Activity(key, mark),
        Value::Text(sequence),
        Value::Text(key),
        Value::Time(start),
        Value::Text(state.code()),
        Value::Integer(i64::from(reached)),
        Value::Text(step),
        Value::or_null(ended, Value::Time),
        Value::or_null(took, Value::Integer),
        Value::Classes(steps),
        Value::or_null(by, Value::Text),
        Value::or_null(since, Value::Time),
    ]
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    let row: Encoded<'_> = postcard::from_bytes(bytes).ok()?;
    let Encoded { sequence, key, mark, start, state, reached, step, ended, steps, by, since } = row;
    let steps = Cow::Owned(steps);
    Some(Row::new(values(Encoded { sequence, key, mark, start, state, reached, step, ended, steps, by, since })))
}
