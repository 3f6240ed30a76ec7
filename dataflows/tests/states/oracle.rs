//! What rows should be: from the set of items, by the letter.

use super::{SECOND, time};
use dataflows::record::Measure;
use dataflows::state::{Aggregate, Definition, Fold, Given, Item, Read, Window};
use dataflows::{Decimal, EventTime, UserKey};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub type Key = (u16, UserKey);
/// A row, as text by column.
pub type Rows = BTreeMap<Key, Vec<String>>;

/// Windows in seconds of the aggregates of [`definition`]; 0: none.
const WINDOWS: [i64; 13] = [0, 3, 0, 10, 0, 600, 0, 0, 10, 0, 3, 0, 10];
const CAP: u32 = 3;
const HALF_LIFE: i64 = 7 * SECOND;

/// All folds, over all time and in windows.
pub fn definition() -> Arc<Definition> {
    let values = Fold::Values { cap: CAP };
    let decay = Fold::Decay { half_life: HALF_LIFE };
    let folds = [
        Fold::Count,
        Fold::Count,
        Fold::Sum,
        Fold::Sum,
        Fold::Min,
        Fold::Max,
        decay,
        Fold::First,
        Fold::First,
        Fold::Last,
        Fold::Last,
        values,
        values,
    ];
    let window = |seconds: i64| (seconds > 0).then(|| Window::new(seconds * SECOND));
    let aggregates = folds.into_iter().zip(WINDOWS).map(|(fold, seconds)| Aggregate { fold, window: window(seconds) });
    let top = [Read::Top { aggregate: 11, k: 2 }, Read::Top { aggregate: 12, k: 2 }];
    Arc::new(Definition { aggregates: aggregates.collect(), columns: (0..13).map(Read::Whole).chain(top).collect() })
}

#[derive(Clone, Debug, Default)]
pub struct Oracle {
    items: BTreeMap<Key, Vec<Item>>,
    /// Never goes back.
    pub now_ms: i64,
}

impl Oracle {
    pub fn items(&self, key: Key) -> &[Item] {
        self.items.get(&key).map_or(&[], Vec::as_slice)
    }

    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.items.keys().copied()
    }

    pub fn all(&self) -> Vec<(u16, UserKey, Item)> {
        let of = |(key, items): (&Key, &Vec<Item>)| -> Vec<_> {
            items.iter().rev().map(|item| (key.0, key.1, item.clone())).collect()
        };
        self.items.iter().flat_map(of).collect()
    }

    pub fn add(&mut self, key: Key, item: Item) {
        self.items.entry(key).or_default().push(item);
    }

    pub fn replace(&mut self, key: Key, survivors: Vec<Item>) {
        self.items.insert(key, survivors);
        self.items.retain(|_, items| !items.is_empty());
    }

    pub fn pass(&mut self, passed_ms: i64) {
        self.now_ms += passed_ms.max(0);
    }

    pub fn now(&self) -> EventTime {
        time(self.now_ms * 1000)
    }

    pub fn latest(&self) -> EventTime {
        self.items.values().flatten().map(|item| item.time).max().unwrap_or(EventTime::MIN)
    }
}

pub fn rows(oracle: &Oracle) -> Rows {
    oracle.items.iter().map(|(key, items)| (*key, row(items, oracle.now()))).collect()
}

fn row(items: &[Item], now: EventTime) -> Vec<String> {
    let of = |aggregate: u8| -> Vec<(&Item, &Given)> {
        let seconds = WINDOWS[usize::from(aggregate)];
        let hop = (seconds * SECOND / 240).max(SECOND);
        let index = |time: EventTime| time.micros().div_euclid(hop);
        let live = |item: &&Item| seconds == 0 || index(item.time) > index(now) - seconds * SECOND / hop;
        let mut all = Vec::new();
        for item in items.iter().filter(live) {
            all.extend(item.given.iter().filter(|(to, _)| *to == aggregate).map(|(_, given)| (item, given)));
        }
        all
    };
    let numbers = |aggregate| -> Vec<(EventTime, Decimal)> {
        let number = |(item, given): (&Item, &Given)| match given {
            Given::Number(number) => Some((item.time, *number)),
            _ => None,
        };
        of(aggregate).into_iter().filter_map(number).collect()
    };
    let ends = |aggregate| {
        let mut all: Vec<_> = of(aggregate);
        all.sort_by_key(|(item, given)| (item.time, item.rank, (*given).clone()));
        let text = |(_, given): (&Item, &Given)| match given {
            Given::Text(text) => text.to_string(),
            _ => String::new(),
        };
        all.into_iter().map(text).collect::<Vec<_>>()
    };
    let mut row = Vec::new();
    for aggregate in [0, 1] {
        row.push(format!("Count({})", of(aggregate).len()));
    }
    for aggregate in [2, 3] {
        let numbers = numbers(aggregate);
        let sum = numbers.iter().fold(Decimal::ZERO, |sum, (_, number)| sum.saturating_add(*number));
        let others = (of(aggregate).len() - numbers.len()) as u64;
        row.push(format!("Sum({:?})", Measure { sum, numbers: numbers.len() as u64, others }));
    }
    let numbers_of = |aggregate| numbers(aggregate).into_iter().map(|(_, number)| number);
    row.push(format!("Number({:?})", numbers_of(4).min()));
    row.push(format!("Number({:?})", numbers_of(5).max()));
    let decaying = numbers(6);
    let value = |(at, number): &(EventTime, Decimal)| {
        let age = (now.micros() - at.micros()) as f64 / HALF_LIFE as f64;
        number.millionths() as f64 / 1e6 * f64::powf(2.0, -age)
    };
    row.push(match decaying.is_empty() {
        true => "none".into(),
        false => format!("{}", decaying.iter().map(value).sum::<f64>()),
    });
    row.extend([7, 8].map(|aggregate| format!("Text({:?})", ends(aggregate).first())));
    row.extend([9, 10].map(|aggregate| format!("Text({:?})", ends(aggregate).last())));
    let (mut distinct, mut top) = (Vec::new(), Vec::new());
    for aggregate in [11, 12] {
        let all = ends(aggregate);
        let values: BTreeSet<&String> = all.iter().collect();
        let (count, over) = (values.len().min(CAP as usize), values.len() > CAP as usize);
        distinct.push(format!("Distinct {{ count: {count}, over: {over} }}"));
        let mut counts: Vec<_> =
            values.iter().map(|value| (all.iter().filter(|other| other == value).count(), value)).collect();
        counts.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(other.1)));
        let counts: Vec<_> = counts.into_iter().take(2).map(|(count, value)| (value, count)).collect();
        // Of more values than are kept, which ones come first is not said here.
        top.push(if over { "over".into() } else { format!("Top {{ values: {counts:?}, over: {over} }}") });
    }
    row.extend(distinct);
    row.extend(top);
    row
}

/// Compares what a graph gave with what should be: sums that decay to within what floating point says.
pub fn close(found: &Rows, expected: &Rows) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for ((key, found), expected) in found.iter().zip(expected.values()) {
        for (column, (found, expected)) in found.iter().zip(expected).enumerate() {
            match expected.as_str() {
                "over" => prop_assert!(found.ends_with("over: true }"), "{:?} {}", key, found),
                "none" => prop_assert_eq!(found, "Number(None)"),
                value if column == 6 => {
                    let found = found.trim_start_matches("Number(Some(Decimal(").trim_end_matches(")))");
                    let (found, value) = (found.parse::<f64>().unwrap() / 1e6, value.parse::<f64>().unwrap());
                    prop_assert!((found - value).abs() <= 1e-5 + value.abs() * 1e-5, "{} {}", found, value);
                }
                expected => prop_assert_eq!(found, expected, "column {} of {:?}", column, key),
            }
        }
    }
    Ok(())
}
