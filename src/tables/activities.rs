//! The tables `activities` and `funnels`: the sequences that a replay recognised, and how many came how far.

use super::{Error, OutputFormat, Staging, Table, TableWriter, assemble};
use crate::collections::{Column, Kind, Storage, Value, bounded};
use crate::plan::SequencePlan;
use dataflows::sequence::{Activity, Counts, FunnelKey, State};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The names of the buckets of times to convert, in the order of [`dataflows::sequence::BUCKETS`].
pub const BUCKETS: [&str; dataflows::sequence::BUCKETS.len() + 1] =
    ["<=1s", "<=10s", "<=1m", "<=5m", "<=15m", "<=1h", "<=4h", "<=1d", "<=3d", "<=7d", "<=30d", ">30d"];

const CATEGORY: Storage = Storage::Category { nullable: false };

/// Returns the columns.
pub fn activity_table() -> Table {
    let mut columns = vec![
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
    ];
    nullable(&mut columns, &["ended", "took_us"]);
    Table { name: "activities", columns }
}

/// Calls `with` with the values of a row, in the order of the columns. `key` is the string behind the key.
pub fn activity_values<R>(
    sequence: &SequencePlan,
    key: &str,
    activity: &Activity,
    with: impl FnOnce(&mut dyn Iterator<Item = Value<'_>>) -> R,
) -> R {
    let names = sequence.step_names();
    let start = activity.start.time;
    let times = names.iter().zip(activity.times(&sequence.definition));
    let mut steps: Vec<(&str, u64)> =
        times.filter_map(|(name, time)| Some((&**name, (time?.micros() - start.micros()).unsigned_abs()))).collect();
    steps.sort_unstable();
    let reached = usize::from(activity.reached);
    let last = usize::from(sequence.definition.required()[reached - 1]);
    let by = activity.start.by.as_ref().map(|by| sequence.breakdown(by));
    let values = [
        Value::Text(&sequence.name),
        Value::Text(key),
        Value::Time(start),
        Value::Text(activity.state.code()),
        Value::Integer(i64::from(activity.reached)),
        Value::Text(&names[last]),
        Value::or_null(activity.ended(), Value::Time),
        Value::or_null(activity.took(), Value::Integer),
        Value::Classes(Cow::Borrowed(&steps)),
        Value::or_null(by.as_deref(), Value::Text),
    ];
    with(&mut values.into_iter())
}

/// Returns the columns.
pub fn funnel_table() -> Table {
    let mut columns = vec![
        Column::new("sequence", Kind::Text, CATEGORY),
        Column::new("hour", Kind::Time, Storage::Distinct),
        Column::new("by", Kind::Text, Storage::Category { nullable: true }),
        Column::new("reached", Kind::Classes, Storage::Distinct),
    ];
    columns.extend(State::ALL.map(|state| Column::new(state.code(), Kind::Integer, Storage::Distinct)));
    columns.push(Column::new("took", Kind::Classes, Storage::Distinct));
    columns.push(Column::new("took_us", Kind::Integer, Storage::Distinct));
    Table { name: "funnels", columns }
}

/// Writes the rows by sequence, hour and breakdown.
pub fn write_funnels(
    rows: &BTreeMap<FunnelKey, Counts>,
    sequences: &[SequencePlan],
    format: OutputFormat,
    staging: &Staging,
) -> Result<(), Error> {
    let table = funnel_table();
    let mut writer = TableWriter::new(&table, format, staging.scratch(), 0)?;
    for (key, counts) in rows {
        let sequence = &sequences[usize::from(key.sequence)];
        let by = key.by.as_ref().map(|by| sequence.breakdown(by));
        let names = sequence.step_names();
        let reached = sorted(names.iter().map(String::as_str).zip(&counts.reached));
        let took = sorted(BUCKETS.into_iter().zip(&counts.took).filter(|(_, count)| **count > 0));
        let head = [
            Value::Text(&sequence.name),
            Value::Time(key.hour),
            Value::or_null(by.as_deref(), Value::Text),
            Value::Classes(borrowed(&reached)),
        ];
        let states = counts.states.map(Value::Integer);
        let took_us = Value::Integer(bounded(u64::try_from(counts.took_us).unwrap_or(u64::MAX)));
        writer.write(head.into_iter().chain(states).chain([Value::Classes(borrowed(&took)), took_us]))?;
    }
    assemble(vec![writer.finish()?], format, &table, staging)
}

/// Returns counts in the order of their names.
fn sorted<'n>(counts: impl Iterator<Item = (&'n str, &'n i64)>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.map(|(name, count)| (name.to_owned(), count.unsigned_abs())).collect();
    counts.sort_unstable();
    counts
}

fn borrowed(counts: &[(String, u64)]) -> Cow<'_, [(&str, u64)]> {
    counts.iter().map(|(name, count)| (name.as_str(), *count)).collect()
}

fn nullable(columns: &mut [Column], names: &[&str]) {
    columns.iter_mut().for_each(|column| column.nullable |= names.contains(&column.name.as_str()));
}
