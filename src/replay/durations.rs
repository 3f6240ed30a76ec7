//! How long sessions are: their mean, and their median as a histogram gives it.

/// Halvings of the range between a power of two and the next: the median is exact up to 4 ms, and to 1/4096 above.
const BITS: u32 = 12;

/// Durations in microseconds, counted.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    /// By [`bucket`].
    counts: Vec<u64>,
    count: u64,
    sum: i128,
}

impl Durations {
    pub fn add(&mut self, micros: i64) {
        let bucket = bucket(micros);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.count += 1;
        self.sum += i128::from(micros);
    }

    pub fn join(&mut self, other: &Durations) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| *count += other);
        self.count += other.count;
        self.sum += other.sum;
    }

    /// Returns the mean in seconds; `None` if there are no durations.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64 / 1e6)
    }

    /// Returns the median in seconds, the lower one of two; `None` if there are no durations.
    pub fn median(&self) -> Option<f64> {
        let middle = self.count.checked_sub(1)? / 2;
        let mut before = 0;
        let bucket = self.counts.iter().position(|count| {
            before += count;
            before > middle
        })?;
        Some(least(bucket) as f64 / 1e6)
    }
}

/// Returns the bucket of a duration. Those below `2^BITS` have one each.
fn bucket(micros: i64) -> usize {
    let micros = micros.max(0) as u64;
    let shift = (64 - micros.leading_zeros()).saturating_sub(BITS + 1);
    ((u64::from(shift) << BITS) + (micros >> shift)) as usize
}

/// Returns the least duration of a bucket.
fn least(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> BITS).saturating_sub(1);
    (bucket - (shift << BITS)) << shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_median_is_that_of_the_sorted_durations(mut all in proptest::collection::vec(0..1_000_000_000_000_i64, 1..60)) {
            let (mut one, mut other) = (Durations::default(), Durations::default());
            for (number, micros) in all.iter().enumerate() {
                if number % 3 == 0 { one.add(*micros) } else { other.add(*micros) }
            }
            one.join(&other);
            all.sort_unstable();
            let median = all[(all.len() - 1) / 2] as f64 / 1e6;
            prop_assert!((one.median().unwrap() - median).abs() <= median / 4096.0 + 1e-9);
            let mean = all.iter().sum::<i64>() as f64 / all.len() as f64 / 1e6;
            prop_assert!((one.mean().unwrap() - mean).abs() < 1e-3);
        }

        #[test]
        fn buckets_follow_each_other(micros in 0..i64::MAX) {
            let found = bucket(micros);
            prop_assert!(least(found) <= micros as u64);
            prop_assert!(least(found + 1) > micros as u64);
        }
    }

    #[test]
    fn there_is_nothing_of_nothing() {
        assert_eq!((Durations::default().mean(), Durations::default().median()), (None, None));
        let mut one = Durations::default();
        one.add(600_000_000);
        assert_eq!(one.mean(), Some(600.0));
        assert!((one.median().unwrap() - 600.0).abs() < 0.2);
    }
}
