//! The way into the log: threads and tasks hand in deliveries, each returns when its own is durable. Holds the writing ends
//! of the queue, says how much waits to be bound, and wakes the sequencer.
//!
//! ```text
//! threads ─ append ─ the first to come writes and syncs ─┐
//! tasks ─── deliver ─▶ the writer, a thread for all ─────┴─ durable ─▶ sequencer
//! ```

use crate::queue::delivery::Delivery;
use crate::queue::forgets::Forgets;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::thread::{self, Thread};
use crate::sync::{Condvar, Mutex};
use headwater_log::error::LogError;
use headwater_log::group::Group;
use headwater_log::partition::Reader;
use headwater_log::reserve::Reserve;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

/// Bytes of deliveries that may wait to be bound. Above that, senders are asked to come later.
const BACKLOG_BYTES: u64 = 512 << 20;

/// When this number of bytes has gathered, they are bound before the next tick is due.
pub const HURRY_BYTES: u64 = 4 << 20;

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

/// A control record that waits for the sequencer.
pub struct Waiting {
    pub payload: Vec<u8>,
    /// Is called with its offset when it is durable, before it is bound. Dropped without a call, it never will be.
    pub then: Option<Then>,
}

/// What follows when a control record is durable.
pub type Then = Box<dyn FnOnce(u64) + Send>;

pub struct Intake {
    parts: Vec<Arc<Group>>,
    /// New deliveries go to this many parts, in turn: as many as there are workers, so that all have work and a sync
    /// serves many.
    active: usize,
    turn: AtomicUsize,
    /// Writes for tasks: from the first of them on.
    writer: OnceLock<Thread>,
    /// Bytes that are durable and not bound.
    backlog: AtomicU64,
    /// Deliveries that may still become durable: counted before `draining` is looked at.
    under_way: AtomicUsize,
    draining: AtomicBool,
    reserve: Arc<Reserve>,
    /// Control records that wait for the sequencer.
    control: Mutex<Vec<Waiting>>,
    forgets: Arc<Forgets>,
    news: Mutex<News>,
    bell: Condvar,
}

/// What the sequencer hears.
#[derive(Default)]
struct News {
    /// There is something new.
    any: bool,
    /// It waits, and wants to be woken.
    wanted: bool,
}

impl Intake {
    pub fn new(parts: Vec<Arc<Group>>, workers: usize, reserve: Arc<Reserve>) -> Intake {
        Intake {
            active: workers.clamp(1, parts.len().max(1)),
            parts,
            turn: AtomicUsize::new(0),
            writer: OnceLock::new(),
            backlog: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            reserve,
            control: Mutex::default(),
            forgets: Arc::default(),
            news: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    /// Appends a delivery and returns where it lies once it is durable. Blocks for a sync.
    ///
    /// # Errors
    /// After [`Refusal::Log`] of anything but [`LogError::Full`] the delivery may be stored or not, and the process has
    /// to exit. After all others it is not stored.
    pub fn append(&self, delivery: &Delivery<'_>) -> Result<Ticket, Refusal> {
        let part = self.turn.fetch_add(1, Ordering::Relaxed) % self.active;
        self.append_to(part as u32, delivery)
    }

    /// Appends as [`Intake::append`] does, to a part that the caller chooses. Deliveries of one caller to one part keep
    /// their order.
    pub fn append_to(&self, part: u32, delivery: &Delivery<'_>) -> Result<Ticket, Refusal> {
        let _under_way = UnderWay::count(self);
        self.admit()?;
        let payload = delivery.encode();
        let offset = self.parts[part as usize].append(wall_ms(), &payload);
        self.durable(part, payload.len(), offset)
    }

    /// As [`Intake::append`], for tasks: blocks nothing. What has been put becomes durable even if the task is dropped, so
    /// it must not be before it has the outcome.
    ///
    /// # Errors
    /// As [`Intake::append`].
    pub async fn deliver(self: &Arc<Intake>, delivery: &Delivery<'_>) -> Result<Ticket, Refusal> {
        let _under_way = UnderWay::count(self);
        self.admit()?;
        let payload = delivery.encode();
        let bytes = payload.len();
        // Those that come while another round is written go to the same part: one sync serves them.
        let part = (self.turn.load(Ordering::Relaxed) % self.active) as u32;
        let put = self.parts[part as usize].put(wall_ms(), &payload)?;
        drop(payload);
        self.writer().unpark();
        self.durable(part, bytes, put.await)
    }

    /// Whether a delivery may come in.
    fn admit(&self) -> Result<(), Refusal> {
        if self.draining.load(Ordering::SeqCst) {
            return Err(Refusal::Draining);
        }
        if self.backlog.load(Ordering::Relaxed) > BACKLOG_BYTES {
            return Err(Refusal::Busy);
        }
        if self.reserve.is_held() { Ok(()) } else { Err(Refusal::NoSpace) }
    }

    fn durable(&self, part: u32, bytes: usize, offset: Result<u64, LogError>) -> Result<Ticket, Refusal> {
        let offset = offset.inspect_err(|error| {
            if matches!(error, LogError::Full(_)) {
                // What could make space is worth more than the next event that is small enough.
                self.reserve.spend();
            }
        })?;
        self.backlog.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(Ticket { part, offset })
    }

    /// Returns the thread that writes for tasks. It ends with the intake.
    fn writer(self: &Arc<Intake>) -> &Thread {
        self.writer.get_or_init(|| {
            let intake = Arc::downgrade(self);
            let write = move || {
                while let Some(intake) = intake.upgrade() {
                    for part in 0..intake.active {
                        if intake.parts[part].lead() {
                            intake.turn.fetch_add(1, Ordering::Relaxed);
                            intake.ring();
                        }
                    }
                    drop(intake);
                    thread::park();
                }
            };
            let writer = thread::Builder::new().name("writer".into()).spawn(write);
            writer.expect("the system has threads when events come").thread().clone()
        })
    }

    /// Parts of the queue.
    pub fn parts(&self) -> &[Arc<Group>] {
        &self.parts
    }

    /// Returns the reserve. While it is spent, the intake refuses deliveries.
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

    /// Returns the users who are forgotten.
    pub fn forgets(&self) -> &Arc<Forgets> {
        &self.forgets
    }

    /// Hands a control record to the sequencer, which makes it durable and binds it to a tick.
    pub fn put_control(&self, payload: Vec<u8>) {
        self.wait_for_sequencer(Waiting { payload, then: None });
    }

    /// Hands a control record of a client to the sequencer, as [`Intake::put_control`] does. Then `then` is called.
    ///
    /// # Errors
    /// As [`Intake::append`]: nothing has happened.
    pub fn change(&self, payload: Vec<u8>, then: Then) -> Result<(), Refusal> {
        let _under_way = UnderWay::count(self);
        self.admit()?;
        self.wait_for_sequencer(Waiting { payload, then: Some(then) });
        Ok(())
    }

    fn wait_for_sequencer(&self, waiting: Waiting) {
        self.control.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
        self.ring();
    }

    /// Takes the control records that wait.
    pub fn take_control(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.control.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Removes bound bytes from the backlog.
    pub fn bound(&self, bytes: u64) {
        // What lay in the log when it was opened was never counted.
        let _ = self
            .backlog
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |backlog| Some(backlog.saturating_sub(bytes)));
    }

    /// Refuses everything from now on. Accepted deliveries are still bound and computed.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.ring();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Returns whether nothing will become durable any more: everything is refused, and every earlier delivery is
    /// durable or never will be.
    pub fn is_drained(&self) -> bool {
        self.is_draining() && self.under_way.load(Ordering::SeqCst) == 0
    }

    /// Tells the sequencer that there is something new. Wakes it if it wants that, or there is reason to hurry.
    pub fn ring(&self) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.any = true;
        let wakes = news.wanted || self.hurries();
        drop(news);
        if wakes {
            self.bell.notify_all();
        }
    }

    /// Returns when there is something new, at the latest after `patience`.
    pub fn wait(&self, patience: Duration) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.wanted = true;
        let waited = self.bell.wait_timeout_while(news, patience, |news| !news.any);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = News::default();
    }

    /// Returns after `pause`, or when there is reason to hurry. New deliveries in between can wait, and wake no thread.
    pub fn pause(&self, pause: Duration) {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.wait_timeout_while(news, pause, |_| !self.hurries());
        *waited.unwrap_or_else(PoisonError::into_inner).0 = News::default();
    }

    fn hurries(&self) -> bool {
        self.backlog() >= HURRY_BYTES || self.is_drained()
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

/// A delivery on its way into the log. When it is there, waiting threads are notified.
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
