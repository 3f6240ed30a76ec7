//! The way into the log: many threads hand in deliveries, each returns when its own is durable. Holds the writing ends of
//! the queue, says how much waits to be bound, and wakes the sequencer.

use crate::queue::delivery::Delivery;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex};
use headwater_log::error::LogError;
use headwater_log::group::Group;
use headwater_log::partition::Reader;
use headwater_log::reserve::Reserve;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

/// Bytes of deliveries that may wait to be bound. Above that, senders are asked to come later.
const BACKLOG_BYTES: u64 = 512 << 20;

/// Where a delivery lies in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    pub part: u32,
    pub offset: u64,
}

/// Why a delivery was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Too much waits already.
    #[error("too much waits to be processed")]
    Busy,
    #[error("no new events are taken: the process is about to stop")]
    Draining,
    /// The reserve is spent on what has been taken.
    #[error("there is no space for events")]
    NoSpace,
    #[error(transparent)]
    Log(#[from] LogError),
}

pub struct Intake {
    parts: Vec<Arc<Group>>,
    /// New deliveries go to this many parts, in turn: as many as there are workers, so that all have work and a sync
    /// serves many.
    active: usize,
    turn: AtomicUsize,
    /// Bytes that are durable and not bound.
    backlog: AtomicU64,
    /// Deliveries that may still become durable: counted before `draining` is looked at.
    under_way: AtomicUsize,
    draining: AtomicBool,
    reserve: Arc<Reserve>,
    news: Mutex<bool>,
    bell: Condvar,
}

impl Intake {
    pub fn new(parts: Vec<Arc<Group>>, workers: usize, reserve: Arc<Reserve>) -> Intake {
        Intake {
            active: workers.clamp(1, parts.len().max(1)),
            parts,
            turn: AtomicUsize::new(0),
            backlog: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            reserve,
            news: Mutex::new(false),
            bell: Condvar::new(),
        }
    }

    /// Appends a delivery and returns where it lies once it is durable. Blocks for a sync.
    ///
    /// # Errors
    /// With [`Refusal::Log`] of anything but [`LogError::Full`] nobody knows whether the delivery is there, and the
    /// process has to exit; with all others it is not.
    pub fn append(&self, delivery: &Delivery<'_>) -> Result<Ticket, Refusal> {
        let part = self.turn.fetch_add(1, Ordering::Relaxed) % self.active;
        self.append_to(part as u32, delivery)
    }

    /// As [`Intake::append`], to a part of the caller's choice: what one caller appends to one part keeps its order.
    pub fn append_to(&self, part: u32, delivery: &Delivery<'_>) -> Result<Ticket, Refusal> {
        let _under_way = UnderWay::count(self);
        if self.draining.load(Ordering::SeqCst) {
            return Err(Refusal::Draining);
        }
        if self.backlog.load(Ordering::Relaxed) > BACKLOG_BYTES {
            return Err(Refusal::Busy);
        }
        if !self.reserve.is_held() {
            return Err(Refusal::NoSpace);
        }
        let payload = delivery.encode();
        let offset = self.parts[part as usize].append(wall_ms(), &payload).inspect_err(|error| {
            if matches!(error, LogError::Full(_)) {
                // What could make space is worth more than the next event that is small enough.
                self.reserve.spend();
            }
        })?;
        self.backlog.fetch_add(payload.len() as u64, Ordering::Relaxed);
        Ok(Ticket { part, offset })
    }

    /// Parts of the queue.
    pub fn parts(&self) -> &[Arc<Group>] {
        &self.parts
    }

    /// Nothing is taken in while it is spent.
    pub fn reserve(&self) -> &Arc<Reserve> {
        &self.reserve
    }

    pub fn readers(&self) -> Vec<Reader> {
        self.parts.iter().map(|part| part.reader()).collect()
    }

    /// Bytes that are durable and not bound yet.
    pub fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }

    /// So many bytes have been bound.
    pub fn bound(&self, bytes: u64) {
        // What lay in the log when it was opened was never counted.
        let _ = self
            .backlog
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |backlog| Some(backlog.saturating_sub(bytes)));
    }

    /// From now on everything is refused; what has been taken is bound and computed.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.ring();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Nothing will become durable any more: everything is refused, and what had been let in before is durable or never
    /// will be.
    pub fn is_drained(&self) -> bool {
        self.is_draining() && self.under_way.load(Ordering::SeqCst) == 0
    }

    /// Wakes the sequencer.
    pub fn ring(&self) {
        *self.news.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_all();
    }

    /// Returns when there is something new, at the latest after `patience`.
    pub fn wait(&self, patience: Duration) {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.wait_timeout_while(news, patience, |news| !*news);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// A delivery on its way into the log. Whoever waits for news hears when it is there.
struct UnderWay<'i>(&'i Intake);

impl UnderWay<'_> {
    fn count(intake: &Intake) -> UnderWay<'_> {
        intake.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(intake)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        self.0.ring();
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z. Never enters a dataflow but as a received time or a tick's `now_ms`.
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
