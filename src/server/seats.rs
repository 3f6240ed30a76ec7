//! The places of connections. When all are taken, the server closes the connection that has been idle for longest and
//! accepts the new one. So an idle connection does not keep others out.
//!
//! ```text
//! idle ── a request has come ──▶ busy ── its answer has been given out ──▶ idle
//!   │                                                                       │
//!   └────────────── a newcomer wants a place ──▶ leaves ◀───────────────────┘
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A state of a seat. Any other value is the time since which it has been idle.
const BUSY: u64 = 0;
const LEAVES: u64 = u64::MAX;

pub(super) struct Seats {
    free: Arc<Semaphore>,
    taken: Mutex<HashMap<u64, Arc<Seat>>>,
    began: Instant,
    /// A newcomer waits.
    wanted: AtomicBool,
    /// Rung when it should look again.
    bell: Notify,
}

/// The place of one connection.
pub(super) struct Seat {
    /// [`BUSY`], [`LEAVES`], or the microseconds until it became idle.
    state: AtomicU64,
    /// Bytes of an answer wait for the client: what it was given before would be cut off.
    unsent: AtomicBool,
    asked: Notify,
    seats: Arc<Seats>,
}

/// Gives the place back when it is dropped.
pub(super) struct Taken {
    pub seat: Arc<Seat>,
    id: u64,
    _permit: OwnedSemaphorePermit,
}

impl Seats {
    pub(super) fn new(places: usize) -> Arc<Seats> {
        Arc::new(Seats {
            free: Arc::new(Semaphore::new(places)),
            taken: Mutex::default(),
            began: Instant::now(),
            wanted: AtomicBool::new(false),
            bell: Notify::new(),
        })
    }

    /// Takes a place, at the cost of an idle connection if there is no other. Waits while all are busy. One caller at a
    /// time.
    pub(super) async fn take(self: &Arc<Seats>, id: u64) -> Taken {
        loop {
            // Before looking: a connection that becomes idle later rings.
            self.wanted.store(true, Ordering::SeqCst);
            if self.free.available_permits() == 0 {
                self.ask_idle();
            }
            let permit = tokio::select! {
                biased;
                permit = Arc::clone(&self.free).acquire_owned() => permit.expect("the semaphore is never closed"),
                () = self.bell.notified() => continue,
            };
            self.wanted.store(false, Ordering::SeqCst);
            let seat = Arc::new(Seat {
                state: AtomicU64::new(self.now()),
                unsent: AtomicBool::new(false),
                asked: Notify::new(),
                seats: Arc::clone(self),
            });
            self.lock().insert(id, Arc::clone(&seat));
            return Taken { seat, id, _permit: permit };
        }
    }

    /// Asks the connection that has been idle for longest to leave.
    fn ask_idle(&self) {
        let taken = self.lock();
        let idle = taken.values().filter_map(|seat| {
            let state = seat.state.load(Ordering::SeqCst);
            (!matches!(state, BUSY | LEAVES) && !seat.unsent.load(Ordering::SeqCst)).then_some((state, seat))
        });
        if let Some((since, seat)) = idle.min_by_key(|(since, _)| *since)
            && seat.state.compare_exchange(since, LEAVES, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        {
            seat.asked.notify_one();
        }
    }

    /// Returns the present time. Never [`BUSY`].
    fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64 + 1
    }

    fn ring(&self) {
        if self.wanted.load(Ordering::SeqCst) {
            self.bell.notify_one();
        }
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Records that a request has come.
    pub(super) fn begin(&self) {
        if self.state.swap(BUSY, Ordering::SeqCst) == LEAVES {
            self.seats.ring();
        }
    }

    /// Its answer has been given out.
    pub(super) fn end(&self) {
        self.state.store(self.seats.now(), Ordering::SeqCst);
        self.seats.ring();
    }

    /// Records whether bytes wait for the client.
    pub(super) fn waits(&self, unsent: bool) {
        self.unsent.store(unsent, Ordering::SeqCst);
        if !unsent {
            self.seats.ring();
        }
    }

    /// Returns when the connection is to be closed.
    pub(super) async fn leaves(&self) {
        loop {
            self.asked.notified().await;
            if !self.unsent.load(Ordering::SeqCst) && self.state.load(Ordering::SeqCst) == LEAVES {
                return;
            }
            // It has begun with a request or an answer meanwhile: another one has to leave.
            let _ = self.state.compare_exchange(LEAVES, self.seats.now(), Ordering::SeqCst, Ordering::SeqCst);
            self.seats.ring();
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.seat.seats.lock().remove(&self.id);
    }
}
