//! `funnels`: how many activities of each `[[sequence]]` have come how far, by the hour of their first step.

use super::sequences::{PARTIAL, SequenceSchema};
use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Storage, Value, encoded, same_columns};
use dataflows::identity::value_hash;
use dataflows::sequence::{Counts, FunnelKey, State};
use dataflows::{EventTime, UserKey};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

pub(super) const DEFINITION: Definition = Definition {
    name: "funnels",
    nature: Nature::View,
    key: &["sequence", "hour", "by"],
    lookup: &["sequence"],
    columns: |_| columns(),
    decode,
    same_key: |one, other| same_columns(decode(one), decode(other), 3),
    held: Held::Funnels,
    begins: Begins::WithTheFolder,
};

/// The names of the buckets of times to convert, in the order of [`dataflows::sequence::BUCKETS`].
pub const BUCKETS: [&str; dataflows::sequence::BUCKETS.len() + 1] =
    ["<=1s", "<=10s", "<=1m", "<=5m", "<=15m", "<=1h", "<=4h", "<=1d", "<=3d", "<=7d", "<=30d", ">30d"];

/// Returns the columns, in order.
pub fn columns() -> Vec<Column> {
    let head = [
        Column::new("sequence", Kind::Text, Storage::Category { nullable: false }),
        Column::new("hour", Kind::Time, Storage::Distinct),
        Column::new("by", Kind::Text, Storage::Category { nullable: true }),
        Column::new("reached", Kind::Classes, Storage::Distinct),
    ];
    let states = State::ALL.map(|state| Column::new(state.code(), Kind::Integer, Storage::Distinct));
    let tail = Column::plain([("took", Kind::Classes), ("took_us", Kind::Integer), (PARTIAL, Kind::Time)]);
    Column::nullable(head.into_iter().chain(states).chain(tail).collect(), &[PARTIAL])
}

/// A row in the log.
#[derive(Serialize, Deserialize)]
struct Encoded<'a> {
    sequence: &'a str,
    hour: EventTime,
    by: Option<&'a str>,
    /// By the name of the step.
    #[serde(borrow)]
    reached: Vec<(&'a str, u64)>,
    /// In the order of [`State::ALL`].
    states: [u64; State::ALL.len()],
    /// By the number of the bucket, in the order of their names.
    took: Vec<(u8, u64)>,
    took_us: u64,
    since: Option<EventTime>,
}

pub fn encode(sequence: &SequenceSchema, key: &FunnelKey, counts: &Counts) -> Vec<u8> {
    with_row(sequence, key, counts, |row| encoded(&row))
}

/// Calls `with` with the values of a row, in the order of the columns.
pub fn with_values<R>(
    sequence: &SequenceSchema,
    key: &FunnelKey,
    counts: &Counts,
    with: impl FnOnce([Value<'_>; 11]) -> R,
) -> R {
    with_row(sequence, key, counts, |row| with(values(row)))
}

/// Returns the place of a row among all: by sequence, hour and breakdown.
pub fn rank(sequence: &SequenceSchema, key: &FunnelKey) -> (UserKey, EventTime, u64) {
    let by = key.by.as_ref().map_or(0, |by| value_hash(&sequence.breakdown(by)));
    (UserKey::of(&sequence.name), key.hour, by)
}

fn with_row<R>(sequence: &SequenceSchema, key: &FunnelKey, counts: &Counts, with: impl FnOnce(Encoded<'_>) -> R) -> R {
    let by = key.by.as_ref().map(|by| sequence.breakdown(by));
    let reached = sequence.steps.iter().zip(&counts.reached);
    let mut reached: Vec<(&str, u64)> = reached.map(|(name, count)| (&**name, count.unsigned_abs())).collect();
    reached.sort_unstable();
    let took = (0..).zip(&counts.took).filter(|(_, count)| **count != 0);
    let mut took: Vec<(u8, u64)> = took.map(|(bucket, count)| (bucket, count.unsigned_abs())).collect();
    took.sort_unstable_by_key(|(bucket, _)| BUCKETS[usize::from(*bucket)]);
    with(Encoded {
        sequence: &sequence.name,
        hour: key.hour,
        by: by.as_deref(),
        reached,
        states: counts.states.map(i64::unsigned_abs),
        took,
        took_us: u64::try_from(counts.took_us).unwrap_or(u64::MAX),
        since: sequence.since,
    })
}

fn values(row: Encoded<'_>) -> [Value<'_>; 11] {
    let Encoded { sequence, hour, by, reached, states, took, took_us, since } = row;
    let bucket = |(bucket, count): (u8, u64)| Some((*BUCKETS.get(usize::from(bucket))?, count));
    let [open, expired, matched, broken] = states.map(Value::count);
    [
        Value::Text(sequence),
        Value::Time(hour),
        Value::or_null(by, Value::Text),
        Value::Classes(Cow::Owned(reached)),
        open,
        expired,
        matched,
        broken,
        Value::Classes(Cow::Owned(took.into_iter().filter_map(bucket).collect())),
        Value::count(took_us),
        Value::or_null(since, Value::Time),
    ]
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    postcard::from_bytes(bytes).ok().map(|row| Row::new(values(row)))
}
