//! A worker of a run: takes ticks, feeds their records into the graph, and hands on the results. These are blocks for
//! the output log, and changes for the next snapshot. All that it hears and says goes through its [`port`].
//!
//! ```text
//!        Tick ─▶ feed: queue ─ decode ─▶ graph ─ changes ─▶ publish: rows ─▶ Block
//! port ─                                  │ ├─────────────▶ dirty ─ at a snapshot ─▶ Checkpoint ─ port
//!        Ask ──▶ answers ◀──── views ─────┘ └── progress ─▶ Done
//!                   └─▶ Rows
//! ```

mod act;
mod answers;
mod begun;
mod by_id;
pub mod drive;
mod feed;
mod forget;
mod gather;
pub mod port;
mod publish;
pub mod roots;
#[cfg(test)]
mod tests;

use crate::collections::Collection;
use crate::collections::label_changes::Causes;
use crate::error::Error;
use crate::plan::Plan;
use crate::queue::cursor::Cursors;
use crate::queue::labels::shape;
use crate::queue::numbers::Numbers;
use crate::queue::reference::Tables;
use crate::queue::sequencer::Bound;
use crate::read::reads::Request;
use answers::{Answering, Answers};
use dataflows::classify::Class;
use dataflows::engine::{Engine, Input, Roots};
use dataflows::group::Group;
use dataflows::learn::Learning;
use dataflows::pipeline::Settings;
use dataflows::sequence::StepRow;
use dataflows::{DeadLetter, ShapeId, Tick};
use drive::{Turn, Work};
use feed::Feed;
pub use gather::MEMORY_BYTES;
use headwater_log::error::LogError;
use headwater_log::partition::Reader;
use port::{In, Out, Port, Told};
use publish::Publish;
use roots::Dirty;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use timely::worker::Worker;

/// Ticks that one worker has in the graph at once: enough to hide the round trips of progress.
const IN_GRAPH: Tick = 4;

/// What all workers of a process begin with.
pub struct Start {
    pub plan: Arc<Plan>,
    /// By part of the queue.
    pub readers: Vec<Reader>,
    /// Of the control partition.
    pub control: Option<Reader>,
    pub sources: Arc<Numbers>,
    /// The definitions of all times as plans, each with the offset in the control partition from which it holds.
    pub definitions: Vec<(u64, Arc<Plan>)>,
    /// Offset of the record in the control partition by which a collection begins. Others begin with the folder.
    pub begins: BTreeMap<Collection, u64>,
    pub resume: Option<Resume>,
    /// Bytes of rows of a tick that a worker gathers in memory: see [`MEMORY_BYTES`].
    pub memory: usize,
}

impl Start {
    /// Returns the plan with the last definitions.
    fn latest(&self) -> &Arc<Plan> {
        self.definitions.last().map_or(&self.plan, |(_, plan)| plan)
    }

    /// Returns the plan with the definitions that are in force when the control partition has been taken up to
    /// `control`.
    fn defined(&self, control: u64) -> Option<&Arc<Plan>> {
        let after = self.definitions.partition_point(|(offset, _)| *offset < control);
        after.checked_sub(1).map(|index| &self.definitions[index].1)
    }

    /// Returns what a learned class needs, if classes are learned at any tick from here on: also if the last definitions
    /// take them away.
    fn learning(&self) -> Option<Learning> {
        let from = self.resume.as_ref().map_or(0, |resume| resume.control);
        let later = self.definitions.iter().filter(|(offset, _)| *offset >= from).map(|(_, plan)| plan);
        let learns = self.defined(from).into_iter().chain(later).any(|plan| plan.learn);
        learns.then(Learning::default)
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

/// A tick that is in the graph.
struct Fed {
    bound: Bound,
    told: Told,
    dead_letters: Vec<DeadLetter>,
    cursors: Cursors,
    names: Vec<(dataflows::UserKey, Arc<str>)>,
    /// Users who are forgotten at the tick, and users who may be.
    forgets: Vec<forget::At>,
    signatures: Vec<(dataflows::SignatureId, dataflows::rules::Descriptor)>,
    shapes: Vec<(dataflows::ShapeId, Arc<dataflows::leaves::Leaves>)>,
    /// As of the tick.
    tables: Arc<Tables>,
    plan: Option<Arc<Plan>>,
    /// What people have changed, at the worker that tells it.
    causes: Causes,
}

/// Works until there are no more ticks.
///
/// # Errors
/// What cannot be read back from the log, or is of a source that the plan does not have; or if the port fails. The
/// process has to end: other workers wait for this one.
pub fn run(worker: &mut Worker, start: &Start, port: &mut dyn Port) -> Result<(), Error> {
    let look_ups = start.plan.look_ups();
    // What actions remember comes back, also of those that are gone.
    let keeps = start.resume.is_some();
    let settings = Settings { clock: true, learning: start.learning(), look_ups, keeps, ..start.latest().graph() };
    let mut engine = Engine::with_groups(worker, settings, start.latest().groups());
    let index = worker.index();
    let (mut next, mut sessions) = (0, 0);
    let mut publish = Publish::new(start);
    let mut kept = Kept { folds: roots::Folds::of(start.latest()), ..Kept::default() };
    if let Some(resume) = &start.resume {
        sessions = restore(worker, &mut engine, start, resume, &mut kept, port)?;
        while engine.settled() == 0 {
            Engine::wait(worker);
        }
        engine.resume();
        next = resume.tick + 1;
        engine.advance_to(next);
        publish.resume(&mut engine, next);
        // What has come back may be due before anything else happens.
        port.send(Out::Done { upper: next, deadline: publish.next_deadline(&engine) })?;
    }
    port.send(Out::Restored { sessions })?;
    let mut live = Live {
        feed: Feed::new(start, index, worker.peers())?,
        publish,
        answers: Answers::new(start.latest()),
        port,
        waiting: VecDeque::new(),
        ended: false,
        next,
        done: next,
        since: 0,
        under_way: VecDeque::new(),
        kept,
        turns: 0,
    };
    drive::drive(worker, &mut engine, &mut live)
}

/// The work of a worker of a run.
struct Live<'s> {
    port: &'s mut dyn Port,
    feed: Feed<'s>,
    publish: Publish<'s>,
    answers: Answers,
    /// Ticks that it has heard of and not fed.
    waiting: VecDeque<Bound>,
    /// No other tick comes.
    ended: bool,
    /// The next tick to be fed, and the first that is not done.
    next: Tick,
    done: Tick,
    /// Ticks before this one are not asked for any more.
    since: Tick,
    under_way: VecDeque<Fed>,
    kept: Kept,
    turns: u64,
}

impl Live<'_> {
    fn hear(&mut self, engine: &mut Engine) -> Result<(), Error> {
        while let Some(message) = self.port.next()? {
            match message {
                In::Tick(bound) => self.waiting.push_back(bound),
                In::End => self.ended = true,
                In::Ask(Request::Rows(question)) => {
                    self.answers.begin(engine, question, self.publish.begun(), self.done);
                }
                In::Ask(Request::More(number)) => self.answers.more(number),
                In::Ask(Request::Enough(number)) => self.answers.end(number),
                In::Ask(Request::Since(since)) => self.since = since,
            }
        }
        Ok(())
    }
}

impl Work for Live<'_> {
    fn settled(&mut self, engine: &mut Engine, upper: Tick) -> Result<(), Error> {
        let settled = upper.min(self.next);
        if settled <= self.done {
            return Ok(());
        }
        let mut changes = engine.changes(settled);
        for fed in self.under_way.drain(..(settled - self.done) as usize) {
            let changes = changes.remove(&fed.bound.tick).unwrap_or_default();
            self.kept.tick(&fed, &changes);
            self.answers.tick(fed.bound.tick, &changes);
            self.publish.tick(engine, fed, changes, &mut self.kept, self.port)?;
        }
        self.done = settled;
        // The sessions before the next tick may still be asked for, and those that are read.
        let since = self.since.min(settled.saturating_sub(1));
        engine.compact(since);
        self.answers.forget(since);
        self.port.send(Out::Done { upper: settled, deadline: self.publish.next_deadline(engine) })
    }

    fn turn(&mut self, engine: &mut Engine) -> Result<Turn, Error> {
        let turns = engine.turns();
        if std::mem::replace(&mut self.turns, turns) != turns {
            self.port.send(Out::Alive { rows: 0 })?;
        }
        self.hear(engine)?;
        let answering = self.answers.turn(self.port)?;
        if self.next < self.done + IN_GRAPH {
            if let Some(bound) = self.waiting.pop_front() {
                self.under_way.push_back(self.feed.tick(engine, bound)?);
                self.next += 1;
                engine.advance_to(self.next);
                return Ok(Turn::Works);
            }
            if self.ended && self.done == self.next {
                return Ok(Turn::Ends);
            }
        }
        Ok(match answering {
            Answering::Works => Turn::Works,
            Answering::Waits if self.done == self.next => Turn::Idle,
            Answering::Waits => Turn::Waits,
        })
    }
}

/// Returns the classes that people have given to shapes.
fn labelled(plan: &Plan) -> Vec<(ShapeId, Class)> {
    let label = |(of, class): (&String, &String)| Some((shape(of)?, Class::from(class.as_str())));
    plan.labels.iter().filter_map(label).collect()
}

/// Sends the rows of the snapshot, at the tick before all others. Each worker reads some of the shards, and the
/// exchange brings a row to the worker that needs it. Returns the number of sessions that it sent.
fn restore(
    worker: &mut Worker,
    engine: &mut Engine,
    start: &Start,
    resume: &Resume,
    kept: &mut Kept,
    port: &mut dyn Port,
) -> Result<u64, Error> {
    /// Rows that are sent together.
    const ROWS: usize = 1 << 14;
    engine.skip_restored();
    engine.now(resume.now_ms);
    if let Some(plan) = start.defined(resume.control).filter(|_| worker.index() == 0) {
        let learns = isize::from(plan.learn);
        let labels = labelled(plan);
        engine.send(&mut Input { rules: plan.rules.clone(), labels, learns, ..Input::default() });
    }
    let (mut back, mut input, mut sessions) = (Roots::default(), Input::default(), 0);
    let (index, peers) = (worker.index(), worker.peers());
    for shard in (0..=u8::MAX).filter(|shard| usize::from(*shard) % peers == index) {
        let (mut unknown, mut unsaid) = (None, None);
        let mut rows = 0;
        let read = (resume.read)(shard, &mut |state, row, count| {
            if roots::restore(state, row, count, &mut back, &mut input, &mut kept.folds).is_none() {
                unknown.get_or_insert_with(|| format!("a row of `{state}` cannot be read"));
            }
            rows += 1;
            if rows % ROWS == 0 {
                sessions += back.sessions.len() as u64;
                engine.restore(&mut back);
                engine.send(&mut input);
                Engine::step(worker);
                if let Err(error) = port.send(Out::Alive { rows: ROWS as u64 }) {
                    unsaid.get_or_insert(error);
                }
            }
        });
        read.map_err(Error::run("read the snapshot"))?;
        unsaid.map_or(Ok(()), Err)?;
        if let Some(unknown) = unknown {
            return Err(Error::run("read the snapshot")(unknown));
        }
        sessions += back.sessions.len() as u64;
        engine.restore(&mut back);
        engine.send(&mut input);
        Engine::step(worker);
        port.send(Out::Alive { rows: (rows % ROWS) as u64 })?;
    }
    engine.advance_to(1);
    kept.dirty.entities.append(&mut kept.folds.gone);
    Ok(sessions)
}

/// The changes that are kept for the next snapshot.
#[derive(Default)]
struct Kept {
    dirty: Dirty,
    cursors: Cursors,
    /// Step events.
    steps: Vec<StepRow>,
    /// Groups of counts that go and that come.
    groups: Vec<(Group, isize)>,
    /// Number of groups when they were last consolidated.
    compact: usize,
    folds: roots::Folds,
}

impl Kept {
    fn tick(&mut self, fed: &Fed, changes: &dataflows::changes::Changes) {
        let dirty = &mut self.dirty;
        dirty.sessions.extend_from_slice(&changes.sessions);
        dirty.names.extend(fed.names.iter().map(|name| (name.clone(), 1)));
        dirty.names.extend_from_slice(&changes.names_gone);
        dirty.signatures.extend_from_slice(&fed.signatures);
        dirty.shapes.extend_from_slice(&fed.shapes);
        dirty.marks.extend_from_slice(&changes.marks);
        dirty.ids.extend_from_slice(&changes.ids);
        dirty.by_signature.extend_from_slice(&changes.by_signature);
        dirty.by_reason.extend_from_slice(&changes.by_reason);
        dirty.links.extend_from_slice(&changes.links);
        dirty.consolidate();
        self.steps.extend_from_slice(&changes.steps);
        self.groups.extend_from_slice(&changes.groups);
        if self.groups.len() > 2 * self.compact + (1 << 16) {
            differential_dataflow::consolidation::consolidate(&mut self.groups);
            self.compact = self.groups.len();
        }
        self.cursors.merge(fed.cursors.clone());
    }
}
