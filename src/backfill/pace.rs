//! How fast history comes in: by a bound on records per second, by the part of the time in which the engine works on
//! history, and by pieces that the engine has in its views within a moment.

use std::time::{Duration, Instant};

/// Bytes of the smallest piece, the first one, and the largest. What the smallest one takes is almost that of a tick.
const LEAST: usize = 64 << 10;
const FIRST: usize = 128 << 10;
const MOST: usize = 1 << 20;
/// What comes live waits for a piece that is computed. So pieces become smaller if the engine takes longer over one, and
/// larger if it takes less than half of this. A machine that is slow or busy may take twice what a small piece takes there.
const MOMENT: Duration = Duration::from_millis(30);

/// Decides how large the next piece is, and when it is sent.
#[derive(Debug)]
pub struct Pace {
    rate: Option<f64>,
    share: f64,
    size: usize,
    /// About the time that a piece takes, however small.
    least: Duration,
    /// When the next piece may be sent.
    next: Instant,
}

impl Pace {
    /// `rate`: records per second, at most. `share`: the part of the time that the engine works on pieces, above 0 and at
    /// most 1.
    pub fn new(rate: Option<f64>, share: f64) -> Pace {
        Pace { rate, share, size: FIRST, least: MOMENT / 2, next: Instant::now() }
    }

    /// Returns the bytes that a piece should have.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns how long to wait before the next piece.
    pub fn wait(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Notes that the engine had a piece in its views after `took`.
    pub fn sent(&mut self, records: u64, took: Duration) {
        // What a small piece takes is the machine's, and the load's. A large one shows only that it is not more.
        if self.size <= 2 * LEAST || took < self.least {
            self.least = (3 * self.least + took) / 4;
        }
        self.size = resized(self.size, took, MOMENT.max(2 * self.least));
        let rest = took.mul_f64((1.0 - self.share) / self.share);
        let due = self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(records as f64 / rate));
        let now = Instant::now();
        // By the rate, the time between two pieces includes that of the first.
        self.next = (now + rest).max(now + due.saturating_sub(took));
    }
}

/// Returns the size after a piece of this size, which the engine `took` and should have within `moment`.
fn resized(size: usize, took: Duration, moment: Duration) -> usize {
    let next = match took {
        took if took > moment => size / 2,
        took if took < moment / 2 => size + size / 4,
        // A busy machine never takes less than half: it goes on slowly up to the bound.
        _ => size + size / 16,
    };
    next.clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_as_large_as_the_engine_bears_and_no_larger() {
        // An engine that takes some time for each piece, and a microsecond for each 100 bytes.
        for (each, most) in [(5, 30), (10, 30), (40, 80), (200, 400)] {
            let took = |size: usize| Duration::from_millis(each) + Duration::from_micros(size as u64 / 100);
            let mut pace = Pace::new(None, 1.0);
            let mut sizes = Vec::new();
            for _ in 0..400 {
                pace.sent(1, took(pace.size()));
                sizes.push(pace.size());
            }
            let last = &sizes[200..];
            let (low, high) = (last.iter().min().unwrap(), last.iter().max().unwrap());
            assert!(took(*high).as_millis() <= most * 5 / 4, "{each} ms: {high} bytes");
            // They go up to what is too much, and then back to half of it.
            assert!(*high >= 256 << 10 && *low > LEAST, "{each} ms: {low} to {high} bytes");
        }
        assert_eq!(resized(LEAST, Duration::from_secs(9), MOMENT), LEAST);
        assert_eq!(resized(MOST, Duration::ZERO, MOMENT), MOST);
    }

    #[test]
    fn a_share_and_a_rate_make_the_client_wait() {
        let mut pace = Pace::new(None, 0.25);
        pace.sent(1, Duration::from_secs(10));
        assert!((29..=30).contains(&pace.wait().as_secs()), "{:?}", pace.wait());
        let mut pace = Pace::new(Some(100.0), 1.0);
        pace.sent(5000, Duration::from_secs(10));
        assert!((39..=40).contains(&pace.wait().as_secs()), "{:?}", pace.wait());
        let mut pace = Pace::new(None, 1.0);
        pace.sent(5000, Duration::from_secs(10));
        assert_eq!(pace.wait(), Duration::ZERO);
    }
}
