//! How long to wait before the next attempt: longer each time, and not all clients at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    random: RandomState,
    count: u64,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most, next: first, random: RandomState::new(), count: 0 }
    }

    /// Between half of the wait at hand and all of it; the next one is twice as long.
    pub(super) fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.most);
        self.count += 1;
        // The keys of a `RandomState` differ between processes: the only randomness that is needed.
        let share = self.random.hash_one(self.count) as f64 / u64::MAX as f64;
        whole.mul_f64(0.5 + share / 2.0)
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
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
