//! The groups of one count: those that have rows of their own, and those beyond its limit, which have one row together.

use crate::group::{Cell, Cells, Totals};
use crate::identity::group_hash;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The groups of one count.
///
/// The groups with the least hashes have rows of their own. Which these are depends on the set of groups, and on no order.
///
/// Groups of a view are all kept, as the view itself is: when one goes, the next one gets its row. Of events, which are not
/// kept, a group beyond the limit is only part of a sum. So it stays there.
#[derive(Clone, Debug)]
pub struct Kept {
    limit: usize,
    /// Groups beyond the limit are only summed.
    folds: bool,
    within: BTreeMap<(u64, Cells), Totals>,
    /// Unless they are only summed.
    beyond: BTreeMap<(u64, Cells), Totals>,
    /// The totals of all groups beyond the limit.
    rest: Totals,
}

/// Takes a row that goes or comes.
type Take<'t> = dyn FnMut(Option<Cells>, Totals, isize) + 't;

impl Kept {
    /// `folds`: groups beyond the limit are only summed.
    pub fn new(limit: usize, folds: bool) -> Kept {
        let (within, beyond) = (BTreeMap::new(), BTreeMap::new());
        Kept { limit, folds, within, beyond, rest: Totals::default() }
    }

    /// Adds to a group; `None`: to all that are beyond the limit. Gives the rows that change.
    pub fn add(&mut self, cells: Option<Cells>, totals: &Totals, take: &mut Take<'_>) {
        let Some(cells) = cells else { return self.add_beyond(None, totals, take) };
        if *totals == Totals::default() {
            return;
        }
        let key = (cells_hash(&cells), cells);
        if self.within.contains_key(&key) {
            return self.add_within(key, totals, take);
        }
        let is_behind = self.within.last_key_value().is_some_and(|(last, _)| key > *last);
        let is_full = self.within.len() >= self.limit;
        // Groups that were only summed may be among those behind the last one.
        let has_rest = !self.rest.is_empty() || !self.beyond.is_empty();
        if is_behind && (is_full || has_rest) || self.within.is_empty() && has_rest {
            return self.add_beyond(Some(key), totals, take);
        }
        self.add_within(key, totals, take);
        if self.within.len() > self.limit
            && let Some((last, totals)) = self.within.pop_last()
        {
            give(&last.1, &totals, -1, take);
            self.add_beyond(Some(last), &totals, take);
        }
    }

    /// Returns the rows, in the order of their values; the one of all groups beyond the limit is the last.
    pub fn rows(&self) -> Vec<(Option<Cells>, Totals)> {
        let within = self.within.iter().map(|((_, cells), totals)| (Some(Arc::clone(cells)), totals.clone()));
        let mut rows: Vec<_> = within.collect();
        rows.sort_unstable();
        rows.extend((!self.rest.is_empty()).then(|| (None, self.rest.clone())));
        rows
    }

    fn add_within(&mut self, key: (u64, Cells), totals: &Totals, take: &mut Take<'_>) {
        let cells = Arc::clone(&key.1);
        let known = self.within.entry(key.clone()).or_default();
        if !known.is_empty() {
            give(&cells, known, -1, take);
        }
        known.add(totals, 1);
        if !known.is_empty() {
            return give(&cells, known, 1, take);
        }
        self.within.remove(&key);
        if let Some((next, totals)) = self.beyond.pop_first() {
            let mut back = Totals::default();
            back.add(&totals, -1);
            self.add_beyond(None, &back, take);
            give(&next.1, &totals, 1, take);
            self.within.insert(next, totals);
        }
    }

    fn add_beyond(&mut self, key: Option<(u64, Cells)>, totals: &Totals, take: &mut Take<'_>) {
        if !self.rest.is_empty() {
            take(None, self.rest.clone(), -1);
        }
        self.rest.add(totals, 1);
        if !self.rest.is_empty() {
            take(None, self.rest.clone(), 1);
        }
        if let Some(key) = key.filter(|_| !self.folds) {
            let known = self.beyond.entry(key.clone()).or_default();
            known.add(totals, 1);
            if known.is_empty() {
                self.beyond.remove(&key);
            }
        }
    }
}

fn give(cells: &Cells, totals: &Totals, diff: isize, take: &mut Take<'_>) {
    take(Some(Arc::clone(cells)), totals.clone(), diff);
}

/// Returns a hash of the values of a key.
pub fn cells_hash(cells: &[Cell]) -> u64 {
    group_hash(&bytes(cells))
}

/// Returns bytes that differ for different values.
fn bytes(cells: &[Cell]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 * cells.len());
    let mut push = |kind: u8, value: &[u8]| {
        bytes.push(kind);
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        bytes.extend_from_slice(value);
    };
    for cell in cells {
        match cell {
            Cell::Null => push(0, &[]),
            Cell::Text(text) => push(1, text.as_bytes()),
            Cell::Integer(number) => push(2, &number.to_le_bytes()),
            Cell::Number(number) => push(3, &number.millionths().to_le_bytes()),
            Cell::Time(time) => push(4, &time.micros().to_le_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cells(key: u8) -> Cells {
        Arc::from(vec![Cell::Text(format!("k{key}").into()), Cell::Integer(i64::from(key % 2))])
    }

    fn totals(rows: i64) -> Totals {
        Totals { rows, ..Totals::default() }
    }

    /// What is expected of the rows that are there: those with the least hashes, and the sum of the others.
    fn expected(limit: usize, rows: &BTreeMap<u8, i64>) -> Vec<(Option<Cells>, Totals)> {
        let there = rows.iter().filter(|(_, rows)| **rows != 0).map(|(key, rows)| (cells(*key), *rows));
        let mut there: Vec<(Cells, i64)> = there.collect();
        there.sort_by_key(|(cells, _)| cells_hash(cells));
        let rest: i64 = there.iter().skip(limit).map(|(_, rows)| rows).sum();
        there.truncate(limit);
        let mut all: Vec<_> = there.into_iter().map(|(cells, rows)| (Some(cells), totals(rows))).collect();
        all.sort();
        all.extend((rest != 0).then(|| (None, totals(rest))));
        all
    }

    /// Adds up the changes that were given, and compares them with the rows that are there.
    fn check(kept: &Kept, given: &[(Option<Cells>, Totals, isize)]) {
        let mut sum = BTreeMap::new();
        for (cells, totals, diff) in given {
            *sum.entry((cells.clone(), totals.clone())).or_insert(0) += diff;
        }
        sum.retain(|_, times| *times != 0);
        let mut rows = kept.rows();
        rows.sort();
        assert_eq!(sum.into_iter().collect::<Vec<_>>(), rows.into_iter().map(|row| (row, 1)).collect::<Vec<_>>());
    }

    proptest! {
        /// Rows of a view come and go: which groups have rows follows from those that are there.
        #[test]
        fn groups_of_a_view_follow_from_the_rows_that_are_there(
            limit in 1..6_usize,
            steps in prop::collection::vec((0..12_u8, 0..4_i64), 0..60),
        ) {
            let (mut kept, mut rows, mut given) = (Kept::new(limit, false), BTreeMap::new(), Vec::new());
            for (key, now) in steps {
                let before = rows.insert(key, now).unwrap_or(0);
                kept.add(Some(cells(key)), &totals(now - before), &mut |cells, totals, diff| given.push((cells, totals, diff)));
                prop_assert_eq!(kept.rows(), expected(limit, &rows));
                check(&kept, &given);
            }
        }

        /// Events only come. So those beyond the limit need no memory, and no order of arrival matters, also with a restart
        /// in between.
        #[test]
        fn groups_of_events_depend_on_no_order(
            limit in 1..6_usize,
            events in prop::collection::vec(0..12_u8, 0..60).prop_shuffle(),
            restart in 0..60_usize,
        ) {
            let (mut kept, mut rows, mut given) = (Kept::new(limit, true), BTreeMap::new(), Vec::new());
            for (at, key) in events.into_iter().enumerate() {
                if at == restart {
                    let back = kept.rows();
                    (kept, given) = (Kept::new(limit, true), Vec::new());
                    back.into_iter().for_each(|(cells, totals)| {
                        kept.add(cells, &totals, &mut |cells, totals, diff| given.push((cells, totals, diff)));
                    });
                }
                *rows.entry(key).or_insert(0) += 1;
                kept.add(Some(cells(key)), &totals(1), &mut |cells, totals, diff| given.push((cells, totals, diff)));
                prop_assert!(kept.beyond.is_empty());
                prop_assert_eq!(kept.rows(), expected(limit, &rows));
                check(&kept, &given);
            }
        }
    }

    /// Which groups have rows of their own is in data folders.
    #[test]
    fn the_hash_of_a_key_is_pinned() {
        let all = [
            Cell::Null,
            Cell::Text("a".into()),
            Cell::Integer(-1),
            Cell::Number(crate::Decimal::from(2)),
            Cell::Time(crate::EventTime::from_micros(3).unwrap()),
        ];
        assert_eq!([cells_hash(&all), cells_hash(&[])], [PINNED, EMPTY]);
    }

    const PINNED: u64 = 9_123_597_765_900_108_151;
    const EMPTY: u64 = 5_604_079_703_740_606_211;
}
