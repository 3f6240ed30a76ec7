//! Reads the views of a running process at a published tick. Asks the workers, and tells them what they may forget.
//!
//! ```text
//! published ── Reads::at ── question ─▶ each worker that may have rows ── rows ─▶ the reader
//!                  └─ a worker hears in order what is asked and what it may forget, so it still has what is asked
//! ```

use crate::collections::Collection;
use crate::collections::filter::Filter;
use crate::queue::intake::Ticket;
use crate::queue::sequencer::Bound;
use crate::sync::{Mutex, MutexGuard};
use dataflows::{EventTime, SessionId, Tick, UserKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};
use tokio::sync::{mpsc, watch};

/// Ticks before the last published one that can still be asked for: a second's worth under load.
const HISTORY: Tick = if cfg!(all(test, feature = "models")) { 2 } else { 100 };
/// Chunks of an answer that a worker gives before the reader has taken one. Then it goes on with other things.
pub const CHUNKS: usize = 4;

/// The place of a row among the rows of its view: user and start of a session; of an activity also its mark, as several may
/// start at once; of a funnel what stands for sequence, hour and breakdown. Rows of other views are few, and have none.
pub type Rank = (UserKey, EventTime, u64);

/// Which rows are wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Wanted {
    /// `None`: any session.
    pub of: Option<Whose>,
    /// Those behind this one.
    pub after: Option<Rank>,
}

/// Sessions of these users, or with these ids.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Whose {
    pub users: Vec<UserKey>,
    pub ids: Vec<SessionId>,
}

/// What a worker is asked, in this order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    Rows(Question),
    /// The reader of this question has taken a chunk of the worker.
    More(u64),
    /// No reader takes the answer to this question any more.
    Enough(u64),
    /// Ticks before this one are not asked for any more.
    Since(Tick),
}

/// A question for rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    /// No two questions have the same.
    pub number: u64,
    pub collection: Collection,
    pub tick: Tick,
    /// The clock of that tick.
    pub now_ms: i64,
    pub wanted: Wanted,
    pub filter: Option<Arc<Filter>>,
    /// Of one worker; more are not needed.
    pub limit: usize,
}

/// Passes a request on to a worker, and returns at once.
pub type Ask = dyn Fn(usize, Request) + Send + Sync;

/// Some of the rows of one worker, encoded.
pub type Chunk = Vec<(Option<Rank>, Vec<u8>)>;

/// An answer on its way.
pub struct Answer {
    pub tick: Tick,
    number: u64,
    /// Of which worker each is. Closes when all workers have answered.
    chunks: mpsc::Receiver<(usize, Chunk)>,
    reads: Arc<Reads>,
}

impl Answer {
    /// Of one worker, which gives what is sent here.
    #[cfg(test)]
    pub fn of(tick: Tick, chunks: mpsc::Receiver<(usize, Chunk)>) -> Answer {
        let reads = Reads::new(1, None, Vec::new(), Box::new(|_, _| {}));
        Answer { tick, number: 0, chunks, reads }
    }

    /// Returns the next rows; `None` when all workers have answered.
    pub async fn next(&mut self) -> Option<Chunk> {
        let (worker, chunk) = self.chunks.recv().await?;
        self.reads.taken(worker, self.number);
        Some(chunk)
    }

    /// As [`Answer::next`], for threads that may block.
    pub fn blocking_next(&mut self) -> Option<Chunk> {
        self.blocking_next_of().map(|(_, chunk)| chunk)
    }

    /// As [`Answer::blocking_next`], with the worker whose rows they are.
    pub fn blocking_next_of(&mut self) -> Option<(usize, Chunk)> {
        let (worker, chunk) = self.chunks.blocking_recv()?;
        self.reads.taken(worker, self.number);
        Some((worker, chunk))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut state = self.reads.lock();
        let pending = state.pending.remove(&self.number);
        for worker in pending.into_iter().flat_map(|pending| pending.workers) {
            (self.reads.ask)(worker, Request::Enough(self.number));
        }
    }
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

/// The questions to the workers of a run.
pub struct Reads {
    state: Mutex<State>,
    upper: watch::Sender<Tick>,
    ask: Box<Ask>,
}

struct State {
    /// The workers that answer. One that has ended is not among them.
    workers: BTreeSet<usize>,
    /// How many there are, with those that have ended.
    count: usize,
    /// The clock of ticks that are published: of the last [`HISTORY`], in order.
    clocks: VecDeque<(Tick, i64)>,
    /// By part of the queue: what is below is published.
    ends: Vec<u64>,
    /// By number: the questions that are being answered.
    pending: BTreeMap<u64, Pending>,
    questions: u64,
}

/// A question that is being answered.
struct Pending {
    reader: mpsc::Sender<(usize, Chunk)>,
    /// Those that have not said everything.
    workers: BTreeSet<usize>,
}

impl Reads {
    /// `last`: the last tick that is published and not computed again, with its clock, and what of the queue is below it.
    /// `ask` is called under a lock, so that each worker hears in order what is asked and what it may forget.
    pub fn new(workers: usize, last: Option<(Tick, i64)>, ends: Vec<u64>, ask: Box<Ask>) -> Arc<Reads> {
        let state = State {
            workers: (0..workers).collect(),
            count: workers,
            clocks: last.into_iter().collect(),
            ends,
            pending: BTreeMap::new(),
            questions: 0,
        };
        let upper = watch::Sender::new(last.map_or(0, |(tick, _)| tick + 1));
        let reads = Reads { state: Mutex::new(state), upper, ask };
        if let Some((tick, _)) = last {
            reads.forget(&reads.lock(), tick);
        }
        Arc::new(reads)
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
            let before = state.clocks.front().copied();
            state.clocks.push_back((bound.tick, bound.now_ms));
            if state.clocks.len() as Tick > HISTORY {
                state.clocks.pop_front();
            }
            let first = state.clocks.front().copied();
            if let Some((first, _)) = first.filter(|_| first != before) {
                self.forget(&state, first);
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
        // No worker forgets a tick whose clock is known: see `Reads::forget`.
        let Some((_, now_ms)) = clock else {
            return Err(Unreadable::Gone { since: state.clocks.front().map_or(last, |(first, _)| *first) });
        };
        let now_ms = *now_ms;
        let number = state.questions;
        state.questions += 1;
        let question = Question { number, collection, tick, now_ms, wanted, filter, limit };
        let count = state.count;
        let workers: BTreeSet<usize> =
            state.workers.iter().copied().filter(|worker| question.concerns(*worker, count)).collect();
        let (reader, chunks) = mpsc::channel(CHUNKS * workers.len().max(1));
        for worker in &workers {
            (self.ask)(*worker, Request::Rows(question.clone()));
        }
        if !workers.is_empty() {
            state.pending.insert(number, Pending { reader, workers });
        }
        drop(state);
        Ok(Answer { tick, number, chunks, reads: Arc::clone(self) })
    }

    /// Takes rows of a worker that answers a question. Before the reader has taken one of [`CHUNKS`], there are no more.
    pub fn answered(&self, worker: usize, number: u64, chunk: Chunk, last: bool) {
        let mut state = self.lock();
        let Some(pending) = state.pending.get_mut(&number) else { return };
        if !chunk.is_empty() {
            // There is room for what a worker may give, unless the reader is gone.
            let _ = pending.reader.try_send((worker, chunk));
        }
        if last {
            state.leave(worker, number);
        }
    }

    /// Records that a worker has ended: it answers nothing any more.
    pub fn ended(&self, worker: usize) {
        let mut state = self.lock();
        state.workers.remove(&worker);
        let numbers: Vec<u64> = state.pending.keys().copied().collect();
        numbers.into_iter().for_each(|number| state.leave(worker, number));
    }

    /// Records that the reader of a question has taken a chunk.
    fn taken(&self, worker: usize, number: u64) {
        let state = self.lock();
        if state.pending.get(&number).is_some_and(|pending| pending.workers.contains(&worker)) {
            (self.ask)(worker, Request::More(number));
        }
    }

    /// Tells the workers that ticks before `first` cannot be asked for any more.
    fn forget(&self, state: &State, first: Tick) {
        state.workers.iter().for_each(|worker| (self.ask)(*worker, Request::Since(first)));
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn leave(&mut self, worker: usize, number: u64) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        pending.workers.remove(&worker);
        if pending.workers.is_empty() {
            self.pending.remove(&number);
        }
    }
}

impl Question {
    /// Returns whether this worker may have rows that are wanted.
    fn concerns(&self, worker: usize, workers: usize) -> bool {
        self.wanted.of.as_ref().is_none_or(|Whose { users, ids }| {
            !ids.is_empty() || users.iter().any(|user| user.worker(workers) == worker as u64)
        })
    }
}
