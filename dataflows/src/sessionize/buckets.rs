//! The visits of one tick, brought near to their place in the order of users as they arrive.
//!
//! A bucket holds a small range of user keys. Keys are evenly distributed, so the buckets of a large tick are of about
//! the same size, and each fits into the cache when it is sorted: one pass of a radix sort, then quicksort.

use crate::sessionize::Visit;

/// Visits of one worker.
pub(super) struct Buckets {
    /// In the order of keys.
    buckets: Vec<Vec<Visit>>,
    /// Indexes of those that are not empty: a small tick must not pay for all.
    used: Vec<usize>,
}

/// There are 2 to the power of this many buckets: half a million visits make about 500 in each, 20 kB.
const BITS: u32 = 10;

impl Buckets {
    pub fn new() -> Buckets {
        Buckets { buckets: (0..1 << BITS).map(|_| Vec::new()).collect(), used: Vec::new() }
    }

    /// `workers` is how many share the keys.
    #[inline]
    pub fn push(&mut self, visit: Visit, workers: usize) {
        let index = (visit.user.within(workers) >> (u64::BITS - BITS)) as usize;
        let bucket = &mut self.buckets[index];
        if bucket.is_empty() {
            self.used.push(index);
        }
        bucket.push(visit);
    }

    /// The visits in the order of user and time, a bucket at a time; all visits of a user are in one.
    pub fn sorted(&mut self) -> impl Iterator<Item = &[Visit]> {
        self.used.sort_unstable();
        for index in &self.used {
            self.buckets[*index].sort_unstable_by_key(|visit| (visit.user, visit.time));
        }
        self.used.iter().map(|index| self.buckets[*index].as_slice())
    }

    pub fn len(&self) -> usize {
        self.used.iter().map(|index| self.buckets[*index].len()).sum()
    }

    /// Empties the buckets. Their memory is kept: in a large tick, fresh memory costs more than the sorting.
    pub fn clear(&mut self) {
        self.used.drain(..).for_each(|index| self.buckets[index].clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{SignatureId, UserKey};
    use crate::time::EventTime;

    #[test]
    fn visits_come_out_sorted_and_users_whole() {
        for workers in [1, 2, 3, 1000] {
            let users = (0..).map(|number: u64| UserKey::of(&number.to_string()));
            let users: Vec<_> = users.filter(|user| user.worker(workers) == workers as u64 / 2).take(3000).collect();
            let visit = |number: usize| Visit {
                user: users[number * 7919 % users.len()],
                time: EventTime::from_micros(number as i64 * 7919 % 1000).expect("in range"),
                signature: SignatureId(0),
                details: None,
            };
            let mut buckets = Buckets::new();
            for count in [0, 1, 20_000, 10] {
                let mut expected: Vec<_> = (0..count).map(visit).collect();
                expected.iter().for_each(|visit| buckets.push(visit.clone(), workers));
                expected.sort();
                assert!(buckets.sorted().flatten().eq(&expected));
                let ends: Vec<_> =
                    buckets.sorted().map(|bucket| (bucket[0].user, bucket[bucket.len() - 1].user)).collect();
                assert!(ends.windows(2).all(|pair| pair[0].1 < pair[1].0));
                buckets.clear();
            }
        }
    }
}
