//! Computes the wait before the next attempt: longer each time, and with jitter, so that clients that failed together
//! do not return together.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The waits between the attempts of one client.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    random: RandomState,
    /// Attempts that have failed since the beginning.
    failed: u64,
}

impl Backoff {
    /// `first` and `most`: the first wait, and the longest one.
    pub fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most, next: first, random: RandomState::new(), failed: 0 }
    }

    /// Returns a wait between half of the present one and all of it, and doubles the next one.
    pub fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.most);
        self.failed += 1;
        // The keys of a `RandomState` differ between processes: the only randomness that is needed.
        let share = self.random.hash_one(self.failed) as f64 / u64::MAX as f64;
        whole.mul_f64(0.5 + share / 2.0)
    }

    /// Returns the number of failures so far.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Begins again with the shortest wait, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_differ() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(10));
        let mut backoff = Backoff::new(first, most);
        for whole in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let wait = backoff.wait().as_millis();
            assert!((whole / 2..=whole).contains(&wait), "{wait} of {whole}");
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
        let waits = std::array::from_fn::<_, 4, _>(|_| Backoff::new(first, most).wait());
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }
}
