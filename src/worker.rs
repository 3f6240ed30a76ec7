//! The loop of one worker of a run: takes ticks, feeds their records into the graph, and hands on the results. These
//! are a block for the output log, and changes for the next snapshot.
//!
//! ```text
//! Ticks ─ bound ─▶ feed: queue ─ decode ─▶ graph ─ changes ─▶ publish: rows ─ block ─▶ publisher
//!                                                       ├─────▶ dirty ─ at a snapshot ─▶ snapshots
//!                                                 views ◀──── answers: requests, rows
//! ```

mod answers;
mod begun;
mod by_id;
mod feed;
mod gather;
mod publish;
pub mod roots;
#[cfg(test)]
mod tests;

use crate::collections::Collection;
use crate::error::Error;
use crate::observe::metrics::Metrics;
use crate::plan::Plan;
use crate::queue::cursor::Cursors;
use crate::queue::numbers::Numbers;
use crate::queue::sequencer::{Bound, Next, Ticks};
use crate::read::reads::Reads;
use answers::{Answering, Answers};
use dataflows::engine::{Engine, Input, Roots};
use dataflows::pipeline::Settings;
use dataflows::{DeadLetter, Tick};
use feed::Feed;
pub use gather::{MEMORY_BYTES, Output};
use headwater_log::error::LogError;
use headwater_log::partition::Reader;
use headwater_log::reserve::Reserve;
use publish::Publish;
use roots::Dirty;
use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use timely::worker::Worker;

/// Ticks that one worker has in the graph at once: enough to hide the round trips of progress.
const IN_GRAPH: Tick = 4;
/// The longest sleep of a worker without work. A notification ends it.
const IDLE: Duration = Duration::from_millis(100);

/// The state that all workers share.
pub struct Shared {
    pub plan: Arc<Plan>,
    pub ticks: Arc<Ticks>,
    pub metrics: Arc<Metrics>,
    pub reads: Arc<Reads>,
    /// By part of the queue.
    pub readers: Vec<Reader>,
    pub sources: Arc<Numbers>,
    /// The definitions of all times as plans, each with the offset in the control partition from which it holds.
    pub definitions: Vec<(u64, Arc<Plan>)>,
    /// Offset of the record in the control partition by which a collection begins. Others begin with the folder.
    pub begins: BTreeMap<Collection, u64>,
    pub resume: Option<Resume>,
    pub published: Publishing,
    pub snapshots: Sender<Contribution>,
    pub reserve: Arc<Reserve>,
    /// Bytes of rows of a tick that a worker gathers in memory: see [`MEMORY_BYTES`].
    pub memory: usize,
}

impl Shared {
    /// Returns the plan with the definitions that are in force when the control partition has been taken up to
    /// `control`.
    fn defined(&self, control: u64) -> Option<&Arc<Plan>> {
        let after = self.definitions.partition_point(|(offset, _)| *offset < control);
        after.checked_sub(1).map(|index| &self.definitions[index].1)
    }
}

/// A snapshot to go on from.
pub struct Resume {
    pub tick: Tick,
    pub now_ms: i64,
    /// Upper offset of the control partition at its end.
    pub control: u64,
    /// Calls back with name, row and multiplicity of each row of a shard.
    pub read: Box<ReadShard>,
}

pub type ReadShard = dyn Fn(u8, &mut dyn FnMut(&str, &[u8], i64)) -> Result<(), LogError> + Send + Sync;

/// The rows that one worker publishes of a tick.
pub struct Published {
    pub worker: usize,
    pub bound: Arc<Bound>,
    pub output: Output,
    /// The deliveries of the tick that it has decoded.
    pub arrivals: Vec<Arrival>,
}

/// Collects the rows of all workers. The last worker of a tick hands them on, so that the publisher is woken once.
pub struct Publishing {
    workers: usize,
    waiting: Mutex<BTreeMap<Tick, Vec<Published>>>,
    whole: Sender<Vec<Published>>,
}

impl Publishing {
    /// `whole` gets what all workers have of a tick, tick by tick.
    pub fn new(workers: usize, whole: Sender<Vec<Published>>) -> Publishing {
        Publishing { workers, waiting: Mutex::default(), whole }
    }

    /// Each worker comes with its ticks in order.
    fn put(&self, published: Published) -> Result<(), Error> {
        let tick = published.bound.tick;
        // A thread that panics ends the process, so nothing half done is seen.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all = waiting.entry(tick).or_default();
        all.push(published);
        if all.len() < self.workers {
            return Ok(());
        }
        let all = waiting.remove(&tick).unwrap_or_default();
        // Under the lock: ticks are handed on in order.
        self.whole.send(all).map_err(|_| Error::run("publish")("the publisher has ended"))
    }
}

/// When a delivery came: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub received_ms: i64,
    /// The time of its newest event, if one has any.
    pub newest_ms: Option<i64>,
}

/// The contribution of one worker to a snapshot.
pub struct Contribution {
    pub bound: Arc<Bound>,
    pub dirty: Dirty,
    /// How far sources had been read at the end of the tick, as far as the worker has seen.
    pub cursors: Cursors,
}

/// A tick that is in the graph.
struct Fed {
    bound: Arc<Bound>,
    dead_letters: Vec<DeadLetter>,
    arrivals: Vec<Arrival>,
    cursors: Cursors,
    names: Vec<(dataflows::UserKey, Arc<str>)>,
    signatures: Vec<(dataflows::SignatureId, dataflows::rules::Descriptor)>,
}

/// Works until there are no more ticks.
///
/// # Errors
/// What cannot be read back from the log, or is of a source that the plan does not have. The process has to end: other
/// workers wait for this one.
pub fn run(worker: &mut Worker, shared: &Shared) -> Result<(), Error> {
    let settings = Settings { clock: true, ..shared.plan.graph() };
    let mut engine = Engine::new(worker, settings);
    let index = worker.index();
    shared.ticks.join(index);
    shared.reads.join(index);
    let mut feed = Feed::new(shared, index, worker.peers());
    let mut publish = Publish::new(shared);
    let mut answers = Answers::new(index, shared.plan.sessions.gap);
    let mut next = 0;
    if let Some(resume) = &shared.resume {
        restore(worker, &mut engine, shared, resume)?;
        while engine.settled() == 0 {
            Engine::wait(worker);
        }
        engine.resume();
        next = resume.tick + 1;
        engine.advance_to(next);
        // What has come back may be due before anything else happens.
        shared.ticks.done(index, next, engine.next_deadline());
    }
    shared.ticks.restored(index);
    let mut done = next;
    let mut under_way: VecDeque<Fed> = VecDeque::new();
    let mut kept = Kept::default();
    let mut turns = 0;
    loop {
        let before = std::mem::replace(&mut turns, engine.turns());
        if turns != before {
            shared.ticks.beat();
        }
        let settled = engine.settled().min(next);
        if settled > done {
            let mut changes = engine.changes(settled);
            for fed in under_way.drain(..(settled - done) as usize) {
                let changes = changes.remove(&fed.bound.tick).unwrap_or_default();
                kept.tick(&fed, &changes);
                answers.tick(fed.bound.tick, &changes);
                publish.tick(&mut engine, index, fed, changes, &mut kept, shared)?;
            }
            done = settled;
            // The sessions before the next tick may still be asked for, and those that are read.
            let since = shared.reads.since(done);
            engine.compact(since);
            answers.forget(since);
            shared.ticks.done(index, done, engine.next_deadline());
        }
        let answering = answers.turn(&mut engine, &shared.reads, publish.begun(), done);
        if next < done + IN_GRAPH {
            match shared.ticks.next(next) {
                Next::Tick(bound) => {
                    under_way.push_back(feed.tick(&mut engine, bound)?);
                    next += 1;
                    engine.advance_to(next);
                    Engine::step(worker);
                    continue;
                }
                Next::End if done == next => return Ok(()),
                Next::End | Next::Wait => {}
            }
        }
        if answering == Answering::Works {
            Engine::step(worker);
        } else if done == next && answering == Answering::Done {
            Engine::park(worker, IDLE);
        } else {
            Engine::wait(worker);
        }
    }
}

/// Sends the rows of the snapshot, at the tick before all others. Each worker reads some of the shards, and the
/// exchange brings a row to the worker that needs it.
fn restore(worker: &mut Worker, engine: &mut Engine, shared: &Shared, resume: &Resume) -> Result<(), Error> {
    /// Rows that are sent together.
    const ROWS: usize = 1 << 14;
    engine.skip_restored();
    engine.now(resume.now_ms);
    if let Some(plan) = shared.defined(resume.control).filter(|_| worker.index() == 0) {
        engine.send(&mut Input { rules: plan.rules.clone(), ..Input::default() });
    }
    let (mut back, mut input) = (Roots::default(), Input::default());
    let (index, peers) = (worker.index(), worker.peers());
    for shard in (0..=u8::MAX).filter(|shard| usize::from(*shard) % peers == index) {
        let mut unknown = None;
        let mut rows = 0;
        let read = (resume.read)(shard, &mut |state, row, count| {
            if roots::restore(state, row, count, &mut back, &mut input).is_none() {
                unknown.get_or_insert_with(|| format!("a row of `{state}` cannot be read"));
            }
            rows += 1;
            if rows % ROWS == 0 {
                engine.restore(&mut back);
                engine.send(&mut input);
                Engine::step(worker);
                shared.ticks.restores(ROWS);
            }
        });
        read.map_err(Error::run("read the snapshot"))?;
        if let Some(unknown) = unknown {
            return Err(Error::run("read the snapshot")(unknown));
        }
        engine.restore(&mut back);
        engine.send(&mut input);
        Engine::step(worker);
        shared.ticks.restores(rows % ROWS);
    }
    engine.advance_to(1);
    Ok(())
}

/// The changes that are kept for the next snapshot.
#[derive(Default)]
struct Kept {
    dirty: Dirty,
    cursors: Cursors,
}

impl Kept {
    fn tick(&mut self, fed: &Fed, changes: &dataflows::changes::Changes) {
        let dirty = &mut self.dirty;
        dirty.sessions.extend_from_slice(&changes.sessions);
        dirty.names.extend_from_slice(&fed.names);
        dirty.signatures.extend_from_slice(&fed.signatures);
        dirty.ids.extend_from_slice(&changes.ids);
        dirty.by_signature.extend_from_slice(&changes.by_signature);
        dirty.by_reason.extend_from_slice(&changes.by_reason);
        dirty.consolidate();
        self.cursors.merge(fed.cursors.clone());
    }
}
