//! Tells sinks when they have to end.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Asked for once, with the time that is left then.
#[derive(Debug, Default)]
pub(super) struct Stop {
    until: Mutex<Option<Instant>>,
    asked: Condvar,
}

impl Stop {
    /// Asks every sink to finish within `time`. Returns the end of that time.
    pub fn ask(&self, time: Duration) -> Instant {
        let until = Instant::now() + time;
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        self.asked.notify_all();
        until
    }

    pub fn is_asked(&self) -> bool {
        self.until().is_some()
    }

    /// Returns whether the time is over.
    pub fn is_over(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() >= until)
    }

    /// Waits for `time`, or until it is asked for. Returns whether the time is not over.
    pub fn wait(&self, time: Duration) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.asked.wait_timeout_while(until, time, |until| until.is_none());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        !self.is_over()
    }

    fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
