//! The bytes that all bodies of requests may take together. When they run out, the slowest body in flight is given up
//! first.
//!
//! So bodies that are held open take nothing from clients that send at once, however many there are.

use super::problem::Problem;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Mutex<Room>>);

#[derive(Debug)]
struct Room {
    left: usize,
    /// A body that has been read for longer than this may be given up.
    quick: Duration,
    next: u64,
    shares: BTreeMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    bytes: usize,
    /// `None` once the body is complete: then it keeps what it has.
    reading: Option<Reading>,
}

#[derive(Debug)]
struct Reading {
    since: Instant,
    given_up: Arc<Notify>,
}

/// The share of one body in the budget. Dropping it gives the share back.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    id: u64,
}

impl Budget {
    /// `quick`: how long a body may take before it can be given up for others.
    pub(super) fn new(bytes: usize, quick: Duration) -> Budget {
        Budget(Arc::new(Mutex::new(Room { left: bytes, quick, next: 0, shares: BTreeMap::new() })))
    }

    /// Begins a share, of no bytes.
    pub(super) fn share(&self) -> Share {
        let mut room = self.lock();
        let id = room.next;
        room.next += 1;
        room.shares.insert(id, Taken { bytes: 0, reading: None });
        Share { budget: self.clone(), id }
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.lock().left
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Says that the body is being read from now on. Returns what is notified when it is given up.
    pub(super) fn reads(&self) -> Arc<Notify> {
        self.reads_since(Instant::now())
    }

    fn reads_since(&self, since: Instant) -> Arc<Notify> {
        let given_up = Arc::new(Notify::new());
        if let Some(taken) = self.budget.lock().shares.get_mut(&self.id) {
            taken.reading = Some(Reading { since, given_up: Arc::clone(&given_up) });
        }
        given_up
    }

    /// Says that the body is complete, and keeps its bytes until it is dropped.
    ///
    /// # Errors
    /// 503 if it has been given up before.
    pub(super) fn has_been_read(&self) -> Result<(), Problem> {
        let mut room = self.budget.lock();
        room.shares.get_mut(&self.id).ok_or_else(given_up)?.reading = None;
        Ok(())
    }

    /// Takes `bytes` more, from slower bodies if none are left.
    ///
    /// # Errors
    /// 503.
    pub(super) fn grow(&self, bytes: usize) -> Result<(), Problem> {
        self.grow_at(bytes, Instant::now())
    }

    fn grow_at(&self, bytes: usize, now: Instant) -> Result<(), Problem> {
        let mut room = self.budget.lock();
        if !room.shares.contains_key(&self.id) {
            return Err(given_up());
        }
        while room.left < bytes {
            let slowest = room.slowest(now);
            let Some(slowest) = slowest else { return Err(busy()) };
            room.give_up(slowest);
            if slowest == self.id {
                return Err(given_up());
            }
        }
        room.left -= bytes;
        if let Some(taken) = room.shares.get_mut(&self.id) {
            taken.bytes += bytes;
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.lock().give_up(self.id);
    }
}

impl Room {
    /// Returns the body in flight with the fewest bytes a second, among the bodies that have been read for long enough.
    fn slowest(&self, now: Instant) -> Option<u64> {
        let slow = self.shares.iter().filter_map(|(id, taken)| {
            let age = now.saturating_duration_since(taken.reading.as_ref()?.since);
            (taken.bytes > 0 && age >= self.quick).then_some((*id, taken.bytes as u128, age.as_nanos()))
        });
        slow.min_by(|(_, bytes, age), (_, others, old)| (bytes * old).cmp(&(others * age))).map(|(id, ..)| id)
    }

    /// Takes back what a share has. The task that reads it drops the bytes once it runs.
    fn give_up(&mut self, id: u64) {
        let Some(taken) = self.shares.remove(&id) else { return };
        self.left += taken.bytes;
        if let Some(reading) = taken.reading {
            reading.given_up.notify_one();
        }
    }
}

fn busy() -> Problem {
    Problem::later("busy", "too many events are being received")
}

/// Returns the answer to a body that is given up.
pub(super) fn given_up() -> Problem {
    Problem::later("busy", "the body came too slowly while there was no room for others")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_is_given_up_first_and_the_quick_ones_never() {
        let budget = Budget::new(1000, Duration::from_secs(1));
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let body = |since, bytes| {
            let share = budget.share();
            share.reads_since(at(since));
            share.grow_at(bytes, at(since)).unwrap();
            share
        };
        // At second 10: 30, 20, 40 bytes a second, and one that has just begun.
        let (fast, slow, faster) = (body(0, 300), body(0, 200), body(5, 200));
        let new = body(10, 300);
        let lives = |share: &Share| share.grow_at(0, at(10)).is_ok();
        new.grow_at(100, at(10)).unwrap();
        assert_eq!([&fast, &slow, &faster, &new].map(lives), [true, false, true, true]);
        // One that is itself the slowest makes room for nothing but itself.
        assert!(fast.grow_at(200, at(10)).is_err());
        assert_eq!([&fast, &faster, &new].map(lives), [false, true, true]);
        new.grow_at(600, at(10)).unwrap();
        assert_eq!([&faster, &new].map(lives), [false, true]);
        assert_eq!(new.grow_at(1, at(10)).unwrap_err().code, "busy");
        assert!(lives(&new), "it is not slow");
        drop((fast, slow, faster, new));
        assert_eq!(budget.left(), 1000);
    }
}
