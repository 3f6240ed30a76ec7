//! The sequencer: mints ticks and binds offsets to them. The only place where the wall clock meets the dataflow: as the
//! `now_ms` of a tick, durable before anything of the tick is published.
//!
//! ```text
//! intake ─ durable offsets ─▶ sequencer ─ minted ─▶ Ticks ─ bound ─▶ workers ─▶ outputs, synced with what was bound
//!                                 ▲ room               ▲ done            │
//!                                 └────────────────────┴─────────────────┘
//! ```

use crate::observe::metrics::Metrics;
use crate::observe::status::Status;
use crate::plan::LogPlan;
use crate::queue::intake::{HURRY_BYTES, Intake, Waiting, wall_ms};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use dataflows::{EventTime, Tick};
use headwater_log::error::LogError;
use headwater_log::partition::Reader;
use headwater_log::remap::{Binding, Step, Uppers};
use headwater_log::reserve::Reserve;
use headwater_log::{CONTROL, Log, QUEUE};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that one tick takes of one part.
const TICK_BYTES: u64 = 16 << 20;
/// Ticks that may be bound and not done: one that is computed, and one that is synced meanwhile. Above that, nothing is
/// bound: what arrives waits in the queue, so that ticks grow with the load, and cost less per event.
const IN_FLIGHT: usize = 2;
/// Without news, the sequencer looks around so often.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time between snapshots while there is no space. At most two are taken after the last event.
const SNAPSHOT_WITHOUT_SPACE: Duration = Duration::from_secs(1);
/// Time that a slow machine may take to arrange a row of a snapshot: many times what it takes on others.
const ARRANGE_ROW: Duration = Duration::from_micros(20);
/// A clock that is behind goes on by at most so much beyond the next deadline, in milliseconds: what was due while the
/// process was away is closed in many ticks, and none of them takes long.
const CLOCK_STEP_MS: i64 = 10_000;
/// When this number of bytes was bound since the last snapshot, the next one is due, however recent the last one is.
const SNAPSHOT_BYTES: u64 = 1 << 30;

/// A tick as a worker needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub tick: Tick,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub now_ms: i64,
    /// By part of the queue: what it takes.
    pub queue: Vec<Range<u64>>,
    /// The offsets that it takes of the control partition.
    pub control: Range<u64>,
    /// A snapshot is taken at its end.
    pub snapshot: bool,
}

/// A tick that has happened, with what its publication and its snapshot need.
#[derive(Clone, Debug)]
pub struct Minted {
    pub bound: Bound,
    /// Of its remap record.
    pub digest: [u8; 32],
    /// What made that record of the one before; `None` if it is durable in the remap.
    pub step: Option<Step>,
    /// When it was bound, or read again.
    pub at: Instant,
}

/// What the workers hear, in this order.
#[derive(Clone, Copy, Debug)]
pub enum Next<'b> {
    Tick(&'b Bound),
    /// There will be no other tick.
    End,
}

/// Passes what comes next on to all workers, and returns at once.
pub type Announce = dyn Fn(Next<'_>) + Send + Sync;

/// The ticks in flight: the sequencer binds them, and every worker hears of them and finishes them.
pub struct Ticks {
    state: Mutex<State>,
    announce: Box<Announce>,
    /// Rung when something is done.
    bell: Condvar,
    /// No restart replays a tick before this one. The writer of snapshots sets it.
    release: AtomicU64,
    /// Signs of life of workers that take long over a tick.
    beats: AtomicU64,
    /// Rows of a snapshot that the workers have brought back.
    rows: AtomicU64,
}

struct State {
    minted: VecDeque<Arc<Minted>>,
    workers: Vec<WorkerState>,
}

#[derive(Clone)]
struct WorkerState {
    restored: bool,
    /// The next tick that it has not done.
    done: Tick,
    /// When its next session closes.
    deadline: Option<EventTime>,
}

impl Ticks {
    /// `first`: the first tick that is to be done.
    pub fn new(workers: usize, first: Tick, announce: Box<Announce>) -> Ticks {
        let worker = WorkerState { restored: false, done: first, deadline: None };
        let state = State { minted: VecDeque::new(), workers: vec![worker; workers] };
        let [release, beats, rows] = [0; 3].map(AtomicU64::new);
        Ticks { state: Mutex::new(state), announce, bell: Condvar::new(), release, beats, rows }
    }

    /// Returns a tick that not all workers have done.
    pub fn minted(&self, tick: Tick) -> Option<Arc<Minted>> {
        let state = self.lock();
        let index = state.minted.front().and_then(|front| tick.checked_sub(front.bound.tick));
        index.and_then(|index| state.minted.get(index as usize)).cloned()
    }

    /// Records that a worker has finished the ticks before `upper`.
    pub fn done(&self, worker: usize, upper: Tick, deadline: Option<EventTime>) {
        let mut state = self.lock();
        (state.workers[worker].done, state.workers[worker].deadline) = (upper, deadline);
        let done = state.done();
        while state.minted.front().is_some_and(|front| front.bound.tick < done) {
            state.minted.pop_front();
        }
        drop(state);
        self.bell.notify_all();
    }

    /// Returns the next tick that is not done by all workers.
    pub fn all_done(&self) -> Tick {
        self.lock().done()
    }

    /// Returns whether every worker has begun, with the rows of the snapshot.
    pub fn all_joined(&self) -> bool {
        self.lock().workers.iter().all(|worker| worker.restored)
    }

    /// Records that a worker has the rows of the snapshot.
    pub fn restored(&self, worker: usize) {
        self.lock().workers[worker].restored = true;
    }

    /// Returns the workers that have not done a tick.
    pub fn behind(&self, tick: Tick) -> Vec<usize> {
        let state = self.lock();
        (0..state.workers.len()).filter(|worker| state.workers[*worker].done <= tick).collect()
    }

    /// Says that a worker makes progress within a tick, however long that takes.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often a worker has said that it makes progress.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Adds to the number of rows of a snapshot that the workers have brought back.
    pub fn restores(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.beat();
    }

    /// Returns the extra time for which a worker may give no sign of life: it arranges all rows of a snapshot in one
    /// step.
    pub fn patience(&self) -> Duration {
        let rows = if self.all_joined() { 0 } else { self.rows.load(Ordering::Relaxed) };
        ARRANGE_ROW.saturating_mul(rows.try_into().unwrap_or(u32::MAX))
    }

    /// Returns when the oldest tick in flight was bound.
    pub fn oldest(&self) -> Option<(Tick, Instant)> {
        self.lock().minted.front().map(|minted| (minted.bound.tick, minted.at))
    }

    /// Records that no restart will replay a tick before `tick`.
    pub fn release(&self, tick: Tick) {
        self.release.fetch_max(tick, Ordering::AcqRel);
    }

    /// The sequencer alone binds, so that the workers hear of ticks in order.
    pub(crate) fn bind(&self, minted: Minted) {
        let minted = Arc::new(minted);
        self.lock().minted.push_back(Arc::clone(&minted));
        (self.announce)(Next::Tick(&minted.bound));
    }

    pub(crate) fn end(&self) {
        (self.announce)(Next::End);
    }

    /// Waits up to `patience` for fewer than `limit` ticks in flight. Returns false on time-out.
    fn room(&self, limit: usize, patience: Duration) -> bool {
        let full = |state: &mut State| state.minted.len() >= limit;
        let waited = self.bell.wait_timeout_while(self.lock(), patience, full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn deadline(&self) -> Option<EventTime> {
        self.lock().workers.iter().filter_map(|worker| worker.deadline).min()
    }

    /// A thread that panics ends the process, so nothing half done is seen.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn done(&self) -> Tick {
        self.workers.iter().map(|worker| worker.done).min().unwrap_or(0)
    }
}

/// Owns the log but for the writing ends of the queue, and what is published.
pub struct Sequencer {
    log: Log,
    readers: Vec<Reader>,
    intake: Arc<Intake>,
    ticks: Arc<Ticks>,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
    reserve: Arc<Reserve>,
    /// Of the last tick.
    uppers: Vec<u64>,
    control: u64,
    now_ms: i64,
    minted: Instant,
    snapshot: Instant,
    plan: LogPlan,
    /// Bytes bound since the last snapshot; `None`: nothing has happened since.
    since: Option<u64>,
    /// Snapshots since something was bound.
    quiet: u32,
}

impl Sequencer {
    /// Hands the ticks from `first` on, which have happened before, to the workers.
    ///
    /// # Errors
    /// As [`headwater_log::remap::RemapReader::binding`].
    pub fn recover(
        log: Log,
        first: Tick,
        plan: LogPlan,
        intake: Arc<Intake>,
        ticks: Arc<Ticks>,
        status: Arc<Status>,
        metrics: Arc<Metrics>,
    ) -> Result<Sequencer, LogError> {
        let (readers, reserve) = (intake.readers(), Arc::clone(intake.reserve()));
        let now = Instant::now();
        let (uppers, since) = (vec![0; readers.len()], None);
        let mut sequencer = Sequencer {
            log,
            readers,
            intake,
            ticks,
            status,
            metrics,
            reserve,
            uppers,
            control: 0,
            now_ms: i64::MIN,
            minted: now,
            snapshot: now,
            plan,
            since,
            quiet: 0,
        };
        let mut remap = sequencer.log.remap.reader();
        if let Some(before) = first.checked_sub(1) {
            sequencer.take(&remap.binding(before)?, false, None);
        }
        remap.bindings(first, sequencer.log.remap.next(), |binding| {
            let minted = sequencer.take(&binding, false, None);
            sequencer.since = Some(0);
            sequencer.ticks.bind(minted);
            Ok(())
        })?;
        sequencer.status.bound.store(sequencer.log.remap.next(), Ordering::Release);
        Ok(sequencer)
    }

    /// Returns the offset of the control partition up to which ticks have taken it.
    pub fn control(&self) -> u64 {
        self.control
    }

    /// Mints ticks until the intake is drained and everything is bound. Gives the log back, which holds the lock.
    ///
    /// # Errors
    /// Those of the log that leave no way to go on. For want of space it waits.
    pub fn run(mut self) -> Result<Log, LogError> {
        loop {
            let release = self.ticks.release.swap(0, Ordering::AcqRel);
            if release > 0 {
                self.reserve.patiently(|| self.log.release(release))?;
            }
            if !self.ticks.room(IN_FLIGHT, PATIENCE) {
                continue;
            }
            // Before the survey, and before control records are taken: what comes after it is not the last.
            let drained = self.intake.is_drained();
            for Waiting { payload, then } in self.intake.take_control() {
                let offset = self.reserve.patiently(|| self.log.control.append(wall_ms(), &payload))?;
                self.reserve.patiently(|| self.log.control.sync())?;
                self.intake.forgets().durable(offset, &payload);
                then.into_iter().for_each(|then| then(offset));
            }
            // Before the survey: whatever is counted by now is in it.
            let backlog = self.intake.backlog();
            let (uppers, behind) = self.survey();
            let bytes = if behind { TICK_BYTES } else { backlog };
            let news = uppers != self.uppers || self.log.control.durable() > self.control;
            let wall = wall_ms();
            // The sessions that ticks in flight will close are not known yet.
            let passed = |deadline: EventTime| deadline.micros() <= wall.saturating_mul(1000);
            let closes = self.ticks.oldest().is_none() && self.ticks.deadline().is_some_and(passed);
            let snapshot = self.snapshot_due(drained && !news);
            let left = self.plan.tick.saturating_sub(self.minted.elapsed());
            // The first tick of a log is waited for: nothing can be read before it.
            let first = self.log.remap.next() == 0;
            let due = left.is_zero() || first;
            if !(news || closes || snapshot) {
                if drained {
                    self.ticks.end();
                    return Ok(self.log);
                }
                // Counted after it had been bound.
                self.intake.bound(backlog);
                let patience = self.patience(wall);
                match due {
                    true => self.intake.wait(patience),
                    // New deliveries are bound when the next tick is due: they need not wake a thread before.
                    false => self.intake.pause(left.min(patience)),
                }
                continue;
            }
            let whole = if behind { self.received(&uppers)?.unwrap_or(wall) } else { wall };
            // At the end there are no other ticks.
            let now_ms = if drained { whole } else { clock(whole, self.now_ms, self.ticks.deadline()) };
            if !due && bytes < HURRY_BYTES && !drained && now_ms == whole {
                self.intake.pause(left);
                continue;
            }
            self.mint(now_ms, uppers, bytes, snapshot)?;
        }
    }

    fn mint(&mut self, now_ms: i64, uppers: Vec<u64>, bytes: u64, snapshot: bool) -> Result<(), LogError> {
        if uppers != self.uppers {
            self.quiet = 0;
        }
        let named: Uppers = uppers.iter().zip(0..).map(|(upper, part)| ((QUEUE, part), *upper)).collect();
        let binding = self.reserve.patiently(|| self.log.bind(now_ms, named.clone()).cloned())?;
        let step = self.log.remap.step().cloned();
        if snapshot {
            // It names the tick, which nothing else may say any more when outputs are released.
            self.reserve.patiently(|| self.log.remap.sync())?;
        }
        self.minted = Instant::now();
        self.since = Some(self.since.unwrap_or(0) + bytes);
        if snapshot {
            (self.snapshot, self.since) = (self.minted, None);
            self.quiet += 1;
        }
        let minted = self.take(&binding, snapshot, step);
        self.intake.bound(bytes);
        self.metrics.ticks.inc();
        self.status.bound.store(binding.tick + 1, Ordering::Release);
        self.ticks.bind(minted);
        Ok(())
    }

    /// Returns the offsets that a binding takes, after the one before.
    fn take(&mut self, binding: &Binding, snapshot: bool, step: Option<Step>) -> Minted {
        let upper = |key| binding.uppers.get(&key).copied().unwrap_or(0);
        let mut queue = Vec::with_capacity(self.uppers.len());
        for (part, last) in (0..).zip(&mut self.uppers) {
            let next = upper((QUEUE, part));
            queue.push(std::mem::replace(last, next)..next);
        }
        self.now_ms = binding.now_ms;
        let next = upper((CONTROL, 0));
        let control = std::mem::replace(&mut self.control, next)..next;
        self.intake.forgets().bound(binding.tick, binding.now_ms, &control, &queue);
        let bound = Bound { tick: binding.tick, now_ms: binding.now_ms, queue, control, snapshot };
        Minted { bound, digest: binding.digest(), step, at: Instant::now() }
    }

    /// Returns the upper offset of the next tick in each part, and whether records remain behind it.
    fn survey(&self) -> (Vec<u64>, bool) {
        let (mut uppers, mut behind) = (Vec::with_capacity(self.uppers.len()), false);
        for (reader, from) in self.readers.iter().zip(&self.uppers) {
            let durable = reader.durable();
            let upper = if durable > *from { reader.within(*from, durable, TICK_BYTES) } else { *from };
            behind |= upper < durable;
            uppers.push(upper);
        }
        (uppers, behind)
    }

    /// Returns the received time of the last record below `uppers`.
    fn received(&mut self, uppers: &[u64]) -> Result<Option<i64>, LogError> {
        let mut last = None;
        for ((reader, from), upper) in self.readers.iter_mut().zip(&self.uppers).zip(uppers) {
            if upper > from {
                reader.read(upper - 1, *upper, |record| last = last.max(Some(record.received_ms)))?;
            }
        }
        Ok(last)
    }

    fn snapshot_due(&self, last: bool) -> bool {
        // What is noted of users who are being forgotten is in no snapshot.
        if self.intake.forgets().are_pending() {
            return false;
        }
        // The log is released behind the older of two snapshots, so that one more may make space.
        let helps = self.quiet < 2 && !self.reserve.is_held();
        if !last && helps && self.snapshot.elapsed() >= SNAPSHOT_WITHOUT_SPACE.min(self.plan.snapshot) {
            return true;
        }
        let Some(bytes) = self.since else { return false };
        last || bytes >= SNAPSHOT_BYTES || self.snapshot.elapsed() >= self.plan.snapshot
    }

    /// Returns how long the sequencer may wait without a notification.
    fn patience(&self, wall: i64) -> Duration {
        let until = |deadline: EventTime| Duration::from_millis((deadline.micros() / 1000 - wall).max(1) as u64);
        self.ticks.deadline().map_or(PATIENCE, until).min(PATIENCE)
    }
}

/// Returns the clock of the next tick: `whole`, unless more is due by then than a tick should close. `last`: of the tick before.
/// `deadline`: when the next session or attempt is due.
fn clock(whole: i64, last: i64, deadline: Option<EventTime>) -> i64 {
    let Some(deadline) = deadline else { return whole };
    // Before it nothing is due, however long that is.
    let from = deadline.micros().div_euclid(1000).max(last);
    whole.min(from.saturating_add(CLOCK_STEP_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_goes_on_in_steps_and_past_times_in_which_nothing_is_due() {
        const HOUR: i64 = 3_600_000;
        let at = |ms: i64| EventTime::from_micros(ms * 1000);
        assert_eq!(clock(24 * HOUR, 0, None), 24 * HOUR);
        assert_eq!(clock(24 * HOUR, 0, at(25 * HOUR)), 24 * HOUR);
        // What was due on the same day is closed step by step.
        let mut seen = Vec::new();
        let mut due = vec![3 * HOUR, 3 * HOUR + 4_000, 3 * HOUR + 15_000, 20 * HOUR, 30 * HOUR];
        let mut last = 0;
        while last < 24 * HOUR {
            last = clock(24 * HOUR, last, at(due[0]));
            due.retain(|deadline| *deadline > last);
            seen.push(last);
        }
        assert_eq!(seen, [3 * HOUR + 10_000, 3 * HOUR + 25_000, 20 * HOUR + 10_000, 24 * HOUR]);
        // A deadline that the workers have not heard of yet holds nothing up.
        assert_eq!(clock(24 * HOUR, 23 * HOUR, at(HOUR)), 23 * HOUR + CLOCK_STEP_MS);
        assert_eq!(clock(HOUR, i64::MIN, at(-HOUR)), -HOUR + CLOCK_STEP_MS);
    }
}
