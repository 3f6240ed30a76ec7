//! How long most took: the number of values by size, with 16 sizes for each doubling. A quantile is exact below 16, and at
//! most a sixteenth too large above.

use std::collections::BTreeMap;

/// Bits of a value behind its first one that tell sizes apart.
const BITS: u32 = 4;

/// Values, counted by size.
#[derive(Clone, Debug, Default)]
pub(super) struct Quantiles {
    counts: BTreeMap<u64, u64>,
    all: u64,
}

impl Quantiles {
    pub fn add(&mut self, value: u64) {
        *self.counts.entry(upper(value)).or_insert(0) += 1;
        self.all += 1;
    }

    /// Returns the least size that this share of the values does not exceed; `None`: there are no values.
    pub fn of(&self, share: f64) -> Option<u64> {
        let wanted = (self.all as f64 * share).ceil() as u64;
        let mut seen = 0;
        let reached = |(size, count): (&u64, &u64)| {
            seen += count;
            (seen >= wanted).then_some(*size)
        };
        self.counts.iter().find_map(reached)
    }
}

/// Returns the largest value of the size of a value.
fn upper(value: u64) -> u64 {
    let digits = u64::BITS - value.leading_zeros();
    let rest = digits.saturating_sub(BITS + 1);
    value | ((1 << rest) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_values_up_to_a_sixteenth() {
        let mut values: Vec<u64> = (0..2000).map(|number: u64| number * number % 7919 * (number % 13)).collect();
        let mut quantiles = Quantiles::default();
        assert_eq!(quantiles.of(0.5), None);
        values.iter().for_each(|value| quantiles.add(*value));
        values.sort_unstable();
        for share in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let exact = values[(values.len() as f64 * share).ceil() as usize - 1];
            let found = quantiles.of(share).unwrap();
            assert!(found >= exact && found <= exact + exact / 16, "{share}: {found} {exact}");
        }
        assert_eq!((upper(0), upper(31), upper(32), upper(33), upper(u64::MAX)), (0, 31, 33, 33, u64::MAX));
    }
}
