//! The state of one entity: for each aggregate its partial results by hop, and how they grow, expire and are read.

use super::window::Window;
use super::{Aggregate, Definition, Fold, Given, Item, Read, Value, decay};
use crate::decimal::Decimal;
use crate::identity::value_hash;
use crate::record::{Measure, Rank};
use crate::time::EventTime;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::sync::Arc;

/// The state of one entity. The entity and its name are held beside it.
///
/// A function of the set of items and of the time up to which hops have expired. What has expired is never read again, so
/// rows do not depend on the latter.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entity {
    /// Items that it is made of.
    pub(super) items: u64,
    /// By aggregate.
    cells: Box<[Cells]>,
}

/// The partial results of one aggregate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Cells {
    Count(Panes<u64>),
    Sum(Panes<Measure>),
    First(Panes<First>),
    Last(Panes<Last>),
    Min(Panes<Least>),
    Max(Panes<Greatest>),
    Values(Values),
    /// By epoch.
    Decay(Panes<i128>),
}

/// A partial result that absorbs others of its kind, in any order.
trait Partial {
    fn absorb(&mut self, other: Self);
}

/// Partial results by hop, in the order of hops. What has no window has one, hop 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Panes<P>(Vec<(i64, P)>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct First(EventTime, Rank, Arc<str>);
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Last(EventTime, Rank, Arc<str>);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Least(Decimal);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Greatest(Decimal);

/// How often each value came, by hop. A hop keeps the values with the least hashes: which these are does not depend on
/// the order, and their numbers are exact.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Values {
    /// In the order of hop, hash and text.
    counts: Vec<Counted>,
    /// The hops that have more values than are kept.
    over: Vec<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Counted {
    hop: i64,
    hash: u64,
    text: Arc<str>,
    count: u64,
}

impl Entity {
    /// Returns whether it has the cells that a definition asks for.
    pub fn is_of(&self, definition: &Definition) -> bool {
        let same = |cells: &Cells, aggregate: &Aggregate| {
            std::mem::discriminant(cells) == std::mem::discriminant(&Cells::new(&aggregate.fold))
        };
        self.cells.len() == definition.aggregates.len()
            && self.cells.iter().zip(&definition.aggregates).all(|(cells, aggregate)| same(cells, aggregate))
    }

    /// Adds an item.
    pub(super) fn add(&mut self, item: &Item, definition: &Definition) {
        if self.cells.is_empty() {
            self.cells = definition.aggregates.iter().map(|aggregate| Cells::new(&aggregate.fold)).collect();
        }
        self.items += 1;
        for (index, given) in &item.given {
            let index = usize::from(*index);
            self.cells[index].add(&definition.aggregates[index], item, given);
        }
    }

    /// Drops the hops that no reader at `now` or later sees.
    pub(super) fn expire(&mut self, definition: &Definition, now: EventTime) {
        for (cells, aggregate) in self.cells.iter_mut().zip(&definition.aggregates) {
            if let Some(first) = aggregate.first(now) {
                cells.expire(first);
            }
        }
    }

    /// Returns the first time after `now` at which a hop leaves its window.
    pub(super) fn expires(&self, definition: &Definition, now: EventTime) -> Option<EventTime> {
        let of = |(cells, aggregate): (&Cells, &Aggregate)| {
            let window = aggregate.window?;
            window.left(cells.first_hop(window.first(now))?)
        };
        self.cells.iter().zip(&definition.aggregates).filter_map(of).min()
    }

    /// Returns what `take` makes of the values of the columns for a reader at `now`, in their order.
    pub fn read<R>(&self, definition: &Definition, now: EventTime, take: impl FnOnce(&[Value<'_>]) -> R) -> R {
        let mut values = Vec::with_capacity(definition.columns.len());
        self.row(definition, now, &mut values);
        take(&values)
    }

    /// Returns the values of the columns for a reader at `now`, in their order.
    pub(super) fn row<'e>(&'e self, definition: &Definition, now: EventTime, row: &mut Vec<Value<'e>>) {
        row.clear();
        row.extend(definition.columns.iter().map(|read| {
            let index = usize::from(read.aggregate());
            let aggregate = &definition.aggregates[index];
            self.cells[index].read(aggregate, *read, now)
        }));
    }
}

impl Aggregate {
    /// Returns the first hop that a reader at `now` sees; `None`: there are no hops.
    fn first(&self, now: EventTime) -> Option<i64> {
        match self.fold {
            Fold::Decay { half_life } => Some(decay::epoch(now, half_life) - decay::EPOCHS + 1),
            _ => self.window.map(|window| window.first(now)),
        }
    }
}

impl Cells {
    fn new(fold: &Fold) -> Cells {
        match fold {
            Fold::Count => Cells::Count(Panes(Vec::new())),
            Fold::Sum => Cells::Sum(Panes(Vec::new())),
            Fold::First => Cells::First(Panes(Vec::new())),
            Fold::Last => Cells::Last(Panes(Vec::new())),
            Fold::Min => Cells::Min(Panes(Vec::new())),
            Fold::Max => Cells::Max(Panes(Vec::new())),
            Fold::Values { .. } => Cells::Values(Values::default()),
            Fold::Decay { .. } => Cells::Decay(Panes(Vec::new())),
        }
    }

    fn add(&mut self, aggregate: &Aggregate, item: &Item, given: &Given) {
        let Item { time, rank, .. } = *item;
        let hop = aggregate.window.map_or(0, |window: Window| window.index(time));
        match (self, given) {
            (Cells::Count(panes), _) => panes.add(hop, 1),
            (Cells::Sum(panes), Given::Number(sum)) => panes.add(hop, Measure { sum: *sum, numbers: 1, others: 0 }),
            (Cells::Sum(panes), _) => panes.add(hop, Measure { sum: Decimal::ZERO, numbers: 0, others: 1 }),
            (Cells::First(panes), Given::Text(text)) => panes.add(hop, First(time, rank, Arc::clone(text))),
            (Cells::Last(panes), Given::Text(text)) => panes.add(hop, Last(time, rank, Arc::clone(text))),
            (Cells::Min(panes), Given::Number(number)) => panes.add(hop, Least(*number)),
            (Cells::Max(panes), Given::Number(number)) => panes.add(hop, Greatest(*number)),
            (Cells::Values(values), Given::Text(text)) => {
                let Fold::Values { cap } = aggregate.fold else { return };
                values.add(hop, text, cap as usize);
            }
            (Cells::Decay(panes), Given::Number(number)) => {
                let Fold::Decay { half_life } = aggregate.fold else { return };
                if let Some(term) = decay::term(*number, time, half_life) {
                    panes.add(decay::epoch(time, half_life), term);
                }
            }
            // A value that the aggregate does not take, such as a text where it asks for a number.
            _ => {}
        }
    }

    fn expire(&mut self, first: i64) {
        match self {
            Cells::Count(panes) => panes.expire(first),
            Cells::Sum(panes) => panes.expire(first),
            Cells::First(panes) => panes.expire(first),
            Cells::Last(panes) => panes.expire(first),
            Cells::Min(panes) => panes.expire(first),
            Cells::Max(panes) => panes.expire(first),
            Cells::Values(values) => values.expire(first),
            Cells::Decay(panes) => panes.expire(first),
        }
    }

    /// Returns the first hop from `first` on that holds something.
    fn first_hop(&self, first: i64) -> Option<i64> {
        match self {
            Cells::Count(panes) => panes.first_hop(first),
            Cells::Sum(panes) => panes.first_hop(first),
            Cells::First(panes) => panes.first_hop(first),
            Cells::Last(panes) => panes.first_hop(first),
            Cells::Min(panes) => panes.first_hop(first),
            Cells::Max(panes) => panes.first_hop(first),
            Cells::Decay(panes) => panes.first_hop(first),
            // A hop that is over its cap has values.
            Cells::Values(values) => {
                let live = values.counts.partition_point(|counted| counted.hop < first);
                values.counts.get(live).map(|counted| counted.hop)
            }
        }
    }

    fn read(&self, aggregate: &Aggregate, read: Read, now: EventTime) -> Value<'_> {
        let first = aggregate.first(now).unwrap_or(i64::MIN);
        match (self, read) {
            (Cells::Count(panes), _) => Value::Count(panes.from(first).iter().map(|(_, count)| count).sum()),
            (Cells::Sum(panes), _) => {
                let mut all = Measure::default();
                panes.from(first).iter().for_each(|(_, sum)| all.add(sum));
                Value::Sum(all)
            }
            (Cells::First(panes), _) => {
                Value::Text(panes.from(first).iter().map(|(_, end)| end).min().map(|end| &*end.2))
            }
            (Cells::Last(panes), _) => {
                Value::Text(panes.from(first).iter().map(|(_, end)| end).max().map(|end| &*end.2))
            }
            (Cells::Min(panes), _) => Value::Number(panes.from(first).iter().map(|(_, least)| least.0).min()),
            (Cells::Max(panes), _) => Value::Number(panes.from(first).iter().map(|(_, greatest)| greatest.0).max()),
            (Cells::Decay(panes), _) => {
                let Fold::Decay { half_life } = aggregate.fold else { return Value::Number(None) };
                let sums = panes.from(first);
                let value = || decay::value(sums.iter().copied(), now, half_life);
                Value::Number((!sums.is_empty()).then(value))
            }
            (Cells::Values(values), read) => {
                let Fold::Values { cap } = aggregate.fold else { return Value::Count(0) };
                let (counts, over) = values.counts(first, cap as usize);
                match read {
                    Read::Top { k, .. } => Value::Top { values: top(counts, k as usize), over },
                    _ => Value::Distinct { count: counts.len().min(cap as usize) as u64, over },
                }
            }
        }
    }
}

/// Returns the `k` values that came most often: of equal numbers, the least text comes first.
fn top(mut counts: Vec<(&str, u64)>, k: usize) -> Vec<(&str, u64)> {
    let order = |one: &(&str, u64), other: &(&str, u64)| (Reverse(one.1), one.0).cmp(&(Reverse(other.1), other.0));
    if counts.len() > k && k > 0 {
        counts.select_nth_unstable_by(k - 1, order);
    }
    counts.truncate(k);
    counts.sort_unstable_by(order);
    counts
}

impl<P: Partial> Panes<P> {
    #[inline]
    fn add(&mut self, hop: i64, partial: P) {
        // Nearly all events belong to the last hop.
        let place = match self.0.last() {
            Some((last, _)) if *last >= hop => self.0.binary_search_by_key(&hop, |(hop, _)| *hop),
            _ => Err(self.0.len()),
        };
        match place {
            Ok(place) => self.0[place].1.absorb(partial),
            Err(place) => {
                grow(&mut self.0);
                self.0.insert(place, (hop, partial));
            }
        }
    }

    fn expire(&mut self, first: i64) {
        let gone = self.0.partition_point(|(hop, _)| *hop < first);
        self.0.drain(..gone);
    }

    fn first_hop(&self, first: i64) -> Option<i64> {
        self.from(first).first().map(|(hop, _)| *hop)
    }

    fn from(&self, first: i64) -> &[(i64, P)] {
        &self.0[self.0.partition_point(|(hop, _)| *hop < first)..]
    }
}

/// Makes room for one more. Most entities have one or two panes: a vector that grows by itself begins with four.
fn grow<T>(of: &mut Vec<T>) {
    if of.len() == of.capacity() {
        of.reserve_exact((of.len() / 2).max(1));
    }
}

impl Values {
    fn add(&mut self, hop: i64, text: &Arc<str>, cap: usize) {
        let hash = value_hash(text);
        let place =
            self.counts.binary_search_by(|counted| (counted.hop, counted.hash, &counted.text).cmp(&(hop, hash, text)));
        let place = match place {
            Ok(place) => return self.counts[place].count += 1,
            Err(place) => place,
        };
        let from = self.counts.partition_point(|counted| counted.hop < hop);
        let to = from + self.counts[from..].partition_point(|counted| counted.hop == hop);
        if to - from == cap {
            if let Err(at) = self.over.binary_search(&hop) {
                self.over.insert(at, hop);
            }
            if place == to {
                return;
            }
            self.counts.remove(to - 1);
        }
        grow(&mut self.counts);
        self.counts.insert(place, Counted { hop, hash, text: Arc::clone(text), count: 1 });
    }

    fn expire(&mut self, first: i64) {
        let gone = self.counts.partition_point(|counted| counted.hop < first);
        self.counts.drain(..gone);
        self.over.retain(|hop| *hop >= first);
    }

    /// Returns the number of each value that is kept from a hop on, and whether there are more than `cap`.
    fn counts(&self, first: i64, cap: usize) -> (Vec<(&str, u64)>, bool) {
        let live = &self.counts[self.counts.partition_point(|counted| counted.hop < first)..];
        let mut counts: Vec<(&str, u64)> = live.iter().map(|counted| (&*counted.text, counted.count)).collect();
        counts.sort_unstable();
        counts.dedup_by(|other, one| {
            let same = other.0 == one.0;
            one.1 += if same { other.1 } else { 0 };
            same
        });
        let over = counts.len() > cap || self.over.iter().any(|hop| *hop >= first);
        (counts, over)
    }
}

impl Partial for u64 {
    fn absorb(&mut self, other: u64) {
        *self += other;
    }
}

impl Partial for i128 {
    fn absorb(&mut self, other: i128) {
        *self = self.saturating_add(other);
    }
}

impl Partial for Measure {
    fn absorb(&mut self, other: Measure) {
        self.add(&other);
    }
}

impl Partial for First {
    fn absorb(&mut self, other: First) {
        if other < *self {
            *self = other;
        }
    }
}

impl Partial for Last {
    fn absorb(&mut self, other: Last) {
        if other > *self {
            *self = other;
        }
    }
}

impl Partial for Least {
    fn absorb(&mut self, other: Least) {
        *self = (*self).min(other);
    }
}

impl Partial for Greatest {
    fn absorb(&mut self, other: Greatest) {
        *self = (*self).max(other);
    }
}
