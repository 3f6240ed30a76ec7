//! Reads the views of a running process at a published tick. Asks the workers, and holds compaction back until all of
//! them can answer for that tick.
//!
//! ```text
//! published ── Reads::at ── request ─▶ each worker that may have rows ── rows ─▶ the reader
//!                  └─ hold: no worker forgets the tick until it has begun to answer
//! ```

use crate::collections::Collection;
use crate::collections::filter::Filter;
use crate::queue::intake::Ticket;
use crate::queue::sequencer::Bound;
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, MutexGuard};
use dataflows::{EventTime, SessionId, Tick, UserKey};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};
use tokio::sync::{mpsc, watch};

/// Ticks before the last published one that can still be asked for: a second's worth under load.
const HISTORY: Tick = if cfg!(all(test, feature = "models")) { 2 } else { 100 };
/// Chunks of an answer that wait to be taken. Then the worker goes on with other things.
const CHUNKS: usize = 4;

/// The place of a row among the rows of its view: user and start of a session. Rows of other views are few, and have
/// none.
pub type Rank = (UserKey, EventTime);

/// Which rows are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `None`: any session.
    pub of: Option<Whose>,
    /// Those behind this one.
    pub after: Option<Rank>,
}

/// Sessions of these users, or with these ids.
#[derive(Clone, Debug, Default)]
pub struct Whose {
    pub users: Vec<UserKey>,
    pub ids: Vec<SessionId>,
}

/// A question to the workers.
pub struct Request {
    pub collection: Collection,
    pub tick: Tick,
    /// The clock of that tick.
    pub now_ms: i64,
    pub wanted: Wanted,
    pub filter: Option<Arc<Filter>>,
    /// Of one worker; more are not needed.
    pub limit: usize,
    pub answer: mpsc::Sender<Chunk>,
    _hold: Hold,
}

/// Some of the rows of one worker, encoded.
pub type Chunk = Vec<(Option<Rank>, Vec<u8>)>;

/// An answer on its way.
pub struct Answer {
    pub tick: Tick,
    /// Closes when all workers have answered.
    pub chunks: mpsc::Receiver<Chunk>,
}

/// Why nothing can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Nothing is published yet.
    Nothing,
    /// The tick has not been published.
    Ahead { upper: Tick },
    /// The views do not tell it from later ones any more.
    Gone { since: Tick },
}

/// The requests to the workers of a process.
pub struct Reads {
    state: Mutex<State>,
    upper: watch::Sender<Tick>,
}

struct State {
    workers: Vec<Desk>,
    /// The clock of ticks that are published: of the last [`HISTORY`], in order.
    clocks: VecDeque<(Tick, i64)>,
    /// By part of the queue: what is below is published.
    ends: Vec<u64>,
    holds: BTreeMap<Tick, usize>,
}

#[derive(Default)]
struct Desk {
    thread: Option<Thread>,
    requests: Vec<Arc<Request>>,
}

impl Reads {
    /// `last`: the last tick that is published and not computed again, with its clock, and what of the queue is below it.
    pub fn new(workers: usize, last: Option<(Tick, i64)>, ends: Vec<u64>) -> Arc<Reads> {
        let state = State {
            workers: (0..workers).map(|_| Desk::default()).collect(),
            clocks: last.into_iter().collect(),
            ends,
            holds: BTreeMap::new(),
        };
        Arc::new(Reads { state: Mutex::new(state), upper: watch::Sender::new(last.map_or(0, |(tick, _)| tick + 1)) })
    }

    /// Returns the next tick to be published, as it changes.
    pub fn upper(&self) -> watch::Receiver<Tick> {
        self.upper.subscribe()
    }

    /// Returns whether the delivery of the ticket is in the views that can be read.
    pub fn has(&self, ticket: Ticket) -> bool {
        self.lock().ends.get(ticket.part as usize).is_some_and(|end| ticket.offset < *end)
    }

    /// Records that a tick is published, with its rows in the output log.
    pub fn published(&self, bound: &Bound) {
        {
            let mut state = self.lock();
            for (end, taken) in state.ends.iter_mut().zip(&bound.queue) {
                *end = taken.end.max(*end);
            }
            state.clocks.push_back((bound.tick, bound.now_ms));
            if state.clocks.len() as Tick > HISTORY {
                state.clocks.pop_front();
            }
        }
        self.upper.send_replace(bound.tick + 1);
    }

    /// Asks for rows at `tick`, or at the last one that is published.
    ///
    /// # Errors
    /// If that tick cannot be read.
    pub fn at(
        self: &Arc<Reads>,
        tick: Option<Tick>,
        collection: Collection,
        wanted: Wanted,
        filter: Option<Arc<Filter>>,
        limit: usize,
    ) -> Result<Answer, Unreadable> {
        let mut state = self.lock();
        let (last, _) = *state.clocks.back().ok_or(Unreadable::Nothing)?;
        let tick = tick.unwrap_or(last);
        if tick > last {
            return Err(Unreadable::Ahead { upper: last + 1 });
        }
        let clock = state.clocks.iter().rev().find(|(known, _)| *known == tick);
        // No worker forgets a tick whose clock is known: see `Reads::since`.
        let Some((_, now_ms)) = clock else {
            return Err(Unreadable::Gone { since: state.clocks.front().map_or(last, |(first, _)| *first) });
        };
        let now_ms = *now_ms;
        *state.holds.entry(tick).or_insert(0) += 1;
        let (answer, chunks) = mpsc::channel(CHUNKS);
        let hold = Hold { reads: Arc::clone(self), tick };
        let request = Arc::new(Request { collection, tick, now_ms, wanted, filter, limit, answer, _hold: hold });
        let count = state.workers.len();
        for (index, desk) in state.workers.iter_mut().enumerate() {
            if request.concerns(index, count) {
                desk.requests.push(Arc::clone(&request));
                desk.thread.iter().for_each(Thread::unpark);
            }
        }
        drop(state);
        Ok(Answer { tick, chunks })
    }

    /// Wakes the calling thread from now on when there is a request.
    pub fn join(&self, worker: usize) {
        self.lock().workers[worker].thread = Some(thread::current());
    }

    /// Returns the requests to a worker since the last call.
    pub fn requests(&self, worker: usize) -> Vec<Arc<Request>> {
        std::mem::take(&mut self.lock().workers[worker].requests)
    }

    /// Returns the tick up to which a worker may compact its views, if it has finished the ticks before `done`.
    pub fn since(&self, done: Tick) -> Tick {
        let state = self.lock();
        let since = done.saturating_sub(1).min(state.clocks.front().map_or(0, |(first, _)| *first));
        since.min(state.holds.first_key_value().map_or(since, |(held, _)| *held))
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    /// Returns whether this worker may have rows that are wanted.
    fn concerns(&self, worker: usize, workers: usize) -> bool {
        self.wanted.of.as_ref().is_none_or(|Whose { users, ids }| {
            !ids.is_empty() || users.iter().any(|user| user.worker(workers) == worker as u64)
        })
    }
}

/// Keeps a tick readable.
struct Hold {
    reads: Arc<Reads>,
    tick: Tick,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.reads.lock();
        if let Some(count) = state.holds.get_mut(&self.tick) {
            *count -= 1;
            if *count == 0 {
                state.holds.remove(&self.tick);
            }
        }
    }
}
