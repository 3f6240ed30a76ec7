//! What the landing follows: the ends of published ticks, and how far it has come. The queue is released up to there.

use crate::observe::landing::LandingStatus;
use crate::queue::sequencer::Bound;
use dataflows::Tick;
use headwater_log::partition::Reader;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Ends of ticks in memory. Earlier ones are read from the remap, which is durable up to the last snapshot.
const AHEAD: usize = 1 << 16;

/// The end of a tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub tick: Tick,
    pub now_ms: i64,
    /// Upper offset of the control partition.
    pub control: u64,
    /// By part of the queue: the upper offset.
    pub queue: Vec<u64>,
}

/// Shared by the publisher, the writer of snapshots, and the thread that lands.
#[derive(Debug)]
pub struct Follow {
    state: Mutex<State>,
    stopped: Condvar,
    /// Bytes of the queue that may wait for the landing.
    hold: u64,
    status: Arc<LandingStatus>,
}

#[derive(Debug)]
struct State {
    ahead: VecDeque<End>,
    /// Ticks from here to `upper` are in `ahead`.
    from: Tick,
    /// Ticks below this one can be landed.
    upper: Tick,
    /// Of the last tick below `upper`.
    now_ms: i64,
    /// Ticks below this one have landed, or have nothing to land.
    next: Tick,
    /// `now_ms` of the tick before it; 0 until one has landed.
    next_ms: i64,
    /// By part: what is behind the offset has not landed.
    queue: Vec<u64>,
    readers: Vec<Reader>,
    /// When the thread has to end.
    until: Option<Instant>,
}

impl Follow {
    /// Ticks below `upper` have happened before, and are durable in the remap.
    pub fn new(upper: Tick, now_ms: i64, readers: Vec<Reader>, hold: u64, status: Arc<LandingStatus>) -> Follow {
        let queue = readers.iter().map(Reader::low).collect();
        let ahead = VecDeque::new();
        let state = State { ahead, from: upper, upper, now_ms, next: 0, next_ms: 0, queue, readers, until: None };
        Follow { state: Mutex::new(state), stopped: Condvar::new(), hold, status }
    }

    /// Notes a tick that is published.
    pub fn published(&self, bound: &Bound) {
        let mut state = self.lock();
        if bound.tick < state.upper {
            return;
        }
        let queue = bound.queue.iter().map(|range| range.end).collect();
        state.ahead.push_back(End { tick: bound.tick, now_ms: bound.now_ms, control: bound.control.end, queue });
        (state.upper, state.now_ms) = (bound.tick + 1, bound.now_ms);
        if state.ahead.len() > AHEAD {
            state.ahead.pop_front();
            state.from += 1;
        }
    }

    /// Returns up to `limit` ends of ticks from `tick` on, if they are in memory; else the tick that those in memory begin
    /// with.
    pub fn ahead(&self, tick: Tick, limit: usize) -> Result<Vec<End>, Tick> {
        let state = self.lock();
        let skip = tick.checked_sub(state.from).ok_or(state.from)?;
        Ok(state.ahead.iter().skip(skip as usize).take(limit).cloned().collect())
    }

    /// Records that ticks below `next` have landed, the last one with this `now_ms`, and what is before `queue` of each part.
    pub fn landed(&self, next: Tick, now_ms: i64, queue: &[u64]) {
        let mut state = self.lock();
        (state.next, state.next_ms) = (state.next.max(next), state.next_ms.max(now_ms));
        state.queue.clear();
        state.queue.extend_from_slice(queue);
        while state.ahead.front().is_some_and(|end| end.tick < next) {
            state.ahead.pop_front();
            state.from += 1;
        }
    }

    /// Returns the tick up to which the queue may be released, if nothing else needs those before `upto`.
    pub fn release(&self, upto: Tick) -> Tick {
        let (next, held) = {
            let state = self.lock();
            (state.next, state.held())
        };
        if next >= upto || held <= self.hold {
            return next.min(upto);
        }
        tracing::error!(
            held,
            hold = self.hold,
            ticks = upto - next,
            "the landing is too far behind: the queue is released, and events in it will not land"
        );
        self.status.gave_up();
        upto
    }

    /// Returns what waits for the landing: bytes of the queue, ticks, and milliseconds between the clocks of the last tick
    /// that has landed and the last one that can.
    pub fn waiting(&self) -> (u64, Tick, i64) {
        let state = self.lock();
        let known = state.next > 0 && state.next_ms > 0 && state.next < state.upper;
        let ms = if known { state.now_ms - state.next_ms } else { 0 };
        (state.held(), state.upper.saturating_sub(state.next), ms.max(0))
    }

    /// Returns the tick below which all can be landed.
    pub fn upper(&self) -> Tick {
        self.lock().upper
    }

    /// Asks the thread to land what there is, and to end by `until`.
    pub fn stop(&self, until: Instant) {
        self.lock().until = Some(until);
        self.stopped.notify_all();
    }

    /// Returns when the thread has to end, if it has to.
    pub fn until(&self) -> Option<Instant> {
        self.lock().until
    }

    /// Waits for `time`, or until the thread has to end.
    pub fn wait(&self, time: Duration) {
        let waited = self.stopped.wait_timeout_while(self.lock(), time, |state| state.until.is_none());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn held(&self) -> u64 {
        let behind = self.readers.iter().zip(&self.queue).filter(|(reader, from)| reader.durable() > **from);
        behind.map(|(reader, from)| reader.bytes_from(*from)).sum()
    }
}
