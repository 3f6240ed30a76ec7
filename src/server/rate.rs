//! A token bucket: a number of requests per second, and as many at once after a quiet second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time whose requests may be taken at once.
const BURST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Bucket {
    /// From one request to the next.
    interval: Duration,
    /// When the bucket is full again.
    full: Mutex<Instant>,
}

impl Bucket {
    /// `rate` is not zero.
    pub(super) fn new(rate: u32) -> Bucket {
        Bucket { interval: BURST / rate, full: Mutex::new(Instant::now()) }
    }

    /// Lets a request pass, or says how long it has to wait.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let then = (*full).max(now) + self.interval;
        let wait = then.saturating_duration_since(now + BURST);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        *full = then;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_the_rate_pass_at_once_and_then_one_per_interval() {
        let bucket = Bucket::new(10);
        let start = Instant::now() + Duration::from_secs(5);
        let passes =
            |after: u64| (0..100).take_while(|_| bucket.take(start + Duration::from_millis(after)).is_ok()).count();
        assert_eq!(passes(0), 10);
        assert_eq!(bucket.take(start + Duration::from_millis(60)), Err(Duration::from_millis(40)));
        assert_eq!(passes(100), 1);
        assert_eq!(passes(450), 3);
        assert_eq!(passes(60_000), 10, "no more is saved than a second's worth");
    }
}
