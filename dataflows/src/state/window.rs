//! Sliding windows, in hops.

use crate::time::EventTime;
use serde::{Deserialize, Serialize};

/// Hops of a window, if each is a second at least.
const HOPS: i64 = 240;
const SECOND: i64 = 1_000_000;

/// A window that slides hop by hop: it holds the hop of its reader's time and those before it, and all that come behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Microseconds.
    hop: i64,
    hops: i64,
}

impl Window {
    /// Makes a window of this length in microseconds: 240 hops, or fewer of a second.
    pub fn new(length: i64) -> Window {
        let hop = ceiling(length, HOPS).max(SECOND);
        Window { hop, hops: ceiling(length, hop).max(1) }
    }

    /// Returns the length of a hop in microseconds.
    pub fn hop(self) -> i64 {
        self.hop
    }

    /// Returns the number of hops.
    pub fn hops(self) -> i64 {
        self.hops
    }

    /// Returns the index of the hop that a time lies in.
    #[inline]
    pub(super) fn index(self, time: EventTime) -> i64 {
        time.micros().div_euclid(self.hop)
    }

    /// Returns the first hop that is in the window of a reader at `now`.
    #[inline]
    pub(super) fn first(self, now: EventTime) -> i64 {
        self.index(now) - self.hops + 1
    }

    /// Returns when a hop leaves the window: the first time of a reader that does not see it. `None`: never.
    pub(super) fn left(self, hop: i64) -> Option<EventTime> {
        EventTime::from_micros(hop.checked_add(self.hops)?.checked_mul(self.hop)?)
    }
}

fn ceiling(number: i64, divisor: i64) -> i64 {
    number.div_euclid(divisor) + i64::from(number.rem_euclid(divisor) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_leaves_the_window_at_the_first_time_that_does_not_see_it() {
        let window = Window::new(241 * SECOND);
        let time = |micros| EventTime::from_micros(micros).unwrap();
        for hop in [-3, 0, 7, 1_700_000_000] {
            let left = window.left(hop).unwrap().micros();
            assert!(window.first(time(left)) > hop && window.first(time(left - 1)) <= hop);
        }
        assert_eq!(window.left(i64::MAX), None);
    }

    #[test]
    fn a_window_has_240_hops_or_fewer_of_a_second() {
        let of = |length| {
            let Window { hop, hops } = Window::new(length);
            (hop, hops)
        };
        assert_eq!(of(3600 * SECOND), (15 * SECOND, 240));
        assert_eq!(of(60 * SECOND), (SECOND, 60));
        assert_eq!(of(241 * SECOND), (1_004_167, 240));
        assert_eq!(of(1), (SECOND, 1));
        assert_eq!(of(0), (SECOND, 1));
        assert!(of(i64::MAX).0 > 0);
    }
}
