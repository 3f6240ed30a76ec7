//! The port of a worker: all that goes between it and the rest of a run. Both directions are plain values, which could
//! be bytes on a socket. So a worker knows no lock of the sequencer, the server or the publisher, and need not be in
//! their process.
//!
//! ```text
//! sequencer ── Tick, End ─▶ ┐          ┌ ─▶ Done, Restored, Alive ── Ticks
//! reads ────── Ask ───────▶ ├─ worker ─┤ ─▶ Block ────────────────── publisher
//!                           ┘          ├ ─▶ Checkpoint ───────────── snapshots
//!                                      └ ─▶ Rows ─────────────────── reads
//! ```
//! This file has the messages, and the port of a worker in the same process: a queue whose sending end wakes the
//! worker's thread, and a desk that takes what the worker sends at once, on the worker's own thread.

use super::roots::Dirty;
use crate::error::Error;
use crate::observe::actions::Decided;
use crate::queue::cursor::Cursors;
use crate::queue::forgotten::Seen;
use crate::queue::sequencer::Bound;
use crate::read::reads::{Chunk, Request};
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, MutexGuard};
use dataflows::{EventTime, Reason, Tick};
use headwater_log::output::Block;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};

/// A message to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum In {
    /// The ticks come in order, without gaps.
    Tick(Bound),
    Ask(Request),
    /// There will be no other tick.
    End,
}

/// A message of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Out {
    /// It has the rows of the snapshot, and brought back this number of sessions: other workers may have them now.
    Restored { sessions: u64 },
    /// It makes progress, however long the tick takes. `rows`: of the snapshot, that it has brought back since it said so
    /// last.
    Alive { rows: u64 },
    /// The ticks before `upper` are done. `deadline`: when its next session closes.
    Done { upper: Tick, deadline: Option<EventTime> },
    /// Rows that it publishes of a tick, in canonical form: a tick with many has several blocks. `told` is with the last
    /// one.
    Block { block: Block, told: Option<Told> },
    /// Its part of the snapshot at the end of a tick, behind the last block of the tick.
    Checkpoint(Checkpoint),
    /// Rows that answer a question. At most [`crate::read::reads::CHUNKS`] messages with rows are on their way.
    Rows { number: u64, chunk: Chunk, last: bool },
}

/// What a worker has counted in a tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The deliveries of the tick that it has decoded.
    pub arrivals: Vec<Arrival>,
    /// Events that it has decoded.
    pub events: u64,
    /// Of these: users, types and carried texts that were cut.
    pub texts_cut: u64,
    /// Of these: events of which something unreadable was mended.
    pub repaired: u64,
    pub duplicates: u64,
    pub dead_letters: BTreeMap<Reason, u64>,
    /// What its actions have decided.
    pub decisions: Vec<Decided>,
    /// By the name of an action, what waits for it at this worker, if that has changed.
    pub waiting: Option<Vec<(String, u64)>>,
    /// How many more sessions it has than before.
    pub sessions: i64,
    /// What it has of users who are about to be forgotten, or has no longer.
    pub seen: Vec<Seen>,
    pub moved: Moved,
}

/// What has another class since a tick, although it was there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Sessions with such an event.
    pub sessions: u64,
    pub events: u64,
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, other: Moved) {
        self.sessions += other.sessions;
        self.events += other.events;
    }
}

/// When a delivery came: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    pub received_ms: i64,
    /// The time of its newest event, if one has any.
    pub newest_ms: Option<i64>,
}

/// The contribution of one worker to a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    pub tick: Tick,
    pub dirty: Dirty,
    /// How far sources had been read at the end of the tick, as far as the worker has seen.
    #[serde(with = "as_json")]
    pub cursors: Cursors,
}

impl Checkpoint {
    /// Takes at most `rows` rows of each state out, with nothing else; `None` if no more are there.
    pub fn split(&mut self, rows: usize) -> Option<Checkpoint> {
        let rest = self.dirty.split_off(rows)?;
        let dirty = std::mem::replace(&mut self.dirty, rest);
        Some(Checkpoint { tick: self.tick, dirty, cursors: Cursors::default() })
    }

    /// Returns both parts as one.
    pub fn joined(mut self, other: Checkpoint) -> Checkpoint {
        self.dirty.extend(other.dirty);
        self.cursors.merge(other.cursors);
        self
    }
}

/// The form of cursors in data folders: their fields show their kind.
mod as_json {
    use super::Cursors;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer, ser};

    pub fn serialize<S: Serializer>(cursors: &Cursors, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(cursors).map_err(ser::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cursors, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A worker's end of its port. It is used by the worker's thread alone, and closes when it is dropped.
pub trait Port {
    /// Returns the next message, if one has come. When one comes later, the thread is woken.
    ///
    /// # Errors
    /// If no message can come any more.
    fn next(&mut self) -> Result<Option<In>, Error>;

    /// Sends a message.
    ///
    /// # Errors
    /// If it cannot be taken. The worker has to end.
    fn send(&mut self, out: Out) -> Result<(), Error>;
}

/// Takes the messages of workers.
pub trait Desk: Send + Sync {
    /// Each worker's messages come in the order in which it has sent them. They come on any thread, and those of several
    /// workers at once.
    ///
    /// # Errors
    /// If it cannot go on. The process has to end.
    fn take(&self, worker: usize, out: Out) -> Result<(), Error>;

    /// Records that the port of a worker has closed.
    fn closed(&self, worker: usize);
}

/// The sending end of the messages to a worker.
pub trait Tell: Send + Sync {
    /// Sends a message, and wakes the worker. Returns at once.
    fn tell(&self, message: In);

    /// Sends a message that can wait until the worker has something to do.
    fn leave(&self, message: In);
}

/// The sending end of the messages to a worker in the same process.
#[derive(Default)]
pub struct Line {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    messages: VecDeque<In>,
    /// The worker's, once it has its port.
    thread: Option<Thread>,
}

impl Tell for Line {
    fn tell(&self, message: In) {
        let mut state = self.lock();
        state.messages.push_back(message);
        let thread = state.thread.clone();
        // It can have the lock then, which is the first thing that it wants.
        drop(state);
        thread.iter().for_each(Thread::unpark);
    }

    fn leave(&self, message: In) {
        self.lock().messages.push_back(message);
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panics ends the process, so nothing half done is seen.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The port of a worker in the process of the desk.
pub struct Local {
    worker: usize,
    line: Arc<Line>,
    /// Messages that have been taken out of the line.
    taken: VecDeque<In>,
    desk: Arc<dyn Desk>,
}

impl Local {
    /// The port of the calling thread, which is woken from now on.
    pub fn open(worker: usize, line: Arc<Line>, desk: Arc<dyn Desk>) -> Local {
        line.lock().thread = Some(thread::current());
        Local { worker, line, taken: VecDeque::new(), desk }
    }
}

impl Port for Local {
    fn next(&mut self) -> Result<Option<In>, Error> {
        if self.taken.is_empty() {
            std::mem::swap(&mut self.taken, &mut self.line.lock().messages);
        }
        Ok(self.taken.pop_front())
    }

    fn send(&mut self, out: Out) -> Result<(), Error> {
        self.desk.take(self.worker, out)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.desk.closed(self.worker);
    }
}
