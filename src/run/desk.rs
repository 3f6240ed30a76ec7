//! Takes the messages of the workers, and passes each on to the part of the run that it is for. Joins the rows of all
//! workers for a tick, so that the publisher is woken once.

use super::publisher::Published;
use super::snapshots::Contribution;
use super::spill::{Overflow, Spill};
use crate::error::Error;
use crate::observe::metrics::Metrics;
use crate::queue::sequencer::{Minted, Next, Ticks};
use crate::read::reads::{Reads, Request};
use crate::worker::port::{self, Checkpoint, In, Out, Tell, Told};
use dataflows::Tick;
use headwater_log::output::Block;
use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The sending ends of the ports, by worker.
pub(crate) type Lines = Vec<Arc<dyn Tell>>;

/// Returns what passes ticks on to the workers.
pub(crate) fn announce(lines: &Lines) -> Box<crate::queue::sequencer::Announce> {
    let lines = lines.clone();
    Box::new(move |next| {
        let message = || match next {
            Next::Tick(bound) => In::Tick(bound.clone()),
            Next::End => In::End,
        };
        lines.iter().for_each(|line| line.tell(message()));
    })
}

/// Returns what passes questions on to the workers.
pub(crate) fn ask(lines: &Lines) -> Box<crate::read::reads::Ask> {
    let lines = lines.clone();
    Box::new(move |worker, request| match request {
        Request::Since(_) => lines[worker].leave(In::Ask(request)),
        Request::Rows(_) | Request::More(_) | Request::Enough(_) => lines[worker].tell(In::Ask(request)),
    })
}

pub(super) struct Desk {
    ticks: Arc<Ticks>,
    reads: Arc<Reads>,
    metrics: Arc<Metrics>,
    overflow: Overflow,
    /// By worker.
    spills: Vec<Mutex<Spill>>,
    /// What some workers have published of a tick.
    waiting: Mutex<BTreeMap<Tick, Vec<Published>>>,
    whole: Sender<Vec<Published>>,
    snapshots: Sender<Contribution>,
}

impl Desk {
    /// `whole` gets what all workers have of a tick, tick by tick; `snapshots` what each has to a snapshot.
    pub fn new(
        workers: usize,
        (ticks, reads, metrics): (Arc<Ticks>, Arc<Reads>, Arc<Metrics>),
        overflow: Overflow,
        whole: Sender<Vec<Published>>,
        snapshots: Sender<Contribution>,
    ) -> Desk {
        let spills = (0..workers).map(|_| Mutex::default()).collect();
        Desk { ticks, reads, metrics, overflow, spills, waiting: Mutex::default(), whole, snapshots }
    }

    /// Takes a block; `told` is there with the last one of the tick.
    fn block(&self, worker: usize, block: Block, told: Option<Told>) -> Result<(), Error> {
        // Only this worker's messages take it.
        let mut spill = lock(&self.spills[worker]);
        let Some(told) = told else {
            return spill.more(&block, &self.overflow).map_err(Error::run("publish"));
        };
        let minted = self.minted(block.tick)?;
        let output = spill.last(block, &self.overflow).map_err(Error::run("publish"))?;
        drop(spill);
        self.metrics.events.inc_by(told.events);
        self.metrics.texts_cut.inc_by(told.texts_cut);
        self.metrics.repaired.inc_by(told.repaired);
        self.metrics.duplicates.inc_by(told.duplicates);
        self.metrics.sessions.inc_by(told.sessions);
        for (reason, letters) in &told.dead_letters {
            self.metrics.dead_letters(*reason, *letters);
        }
        for (action, many) in told.waiting.iter().flatten() {
            self.metrics.actions.waiting(worker, action, *many);
        }
        let tick = minted.bound.tick;
        let mut waiting = lock(&self.waiting);
        let all = waiting.entry(tick).or_default();
        all.push(Published {
            worker,
            minted,
            output,
            arrivals: told.arrivals,
            decisions: told.decisions,
            seen: told.seen,
            moved: told.moved,
        });
        if all.len() < self.spills.len() {
            return Ok(());
        }
        let all = waiting.remove(&tick).unwrap_or_default();
        // Under the lock: ticks are handed on in order.
        self.whole.send(all).map_err(|_| Error::run("publish")("the publisher has ended"))
    }

    fn checkpoint(&self, Checkpoint { tick, dirty, cursors }: Checkpoint) -> Result<(), Error> {
        let contribution = Contribution { minted: self.minted(tick)?, dirty, cursors };
        self.snapshots.send(contribution).map_err(|_| Error::run("take a snapshot")("no thread takes it"))
    }

    fn minted(&self, tick: Tick) -> Result<Arc<Minted>, Error> {
        let why = || Error::run("publish")(format!("a worker has rows of tick {tick}, which is not in flight"));
        self.ticks.minted(tick).ok_or_else(why)
    }
}

impl port::Desk for Desk {
    fn take(&self, worker: usize, out: Out) -> Result<(), Error> {
        match out {
            Out::Restored { sessions } => {
                self.metrics.sessions.inc_by(sessions.cast_signed());
                self.ticks.restored(worker);
            }
            Out::Alive { rows: 0 } => self.ticks.beat(),
            Out::Alive { rows } => self.ticks.restores(rows),
            Out::Done { upper, deadline } => self.ticks.done(worker, upper, deadline),
            Out::Block { block, told } => return self.block(worker, block, told),
            Out::Checkpoint(checkpoint) => return self.checkpoint(checkpoint),
            Out::Rows { number, chunk, last } => self.reads.answered(worker, number, chunk, last),
        }
        Ok(())
    }

    fn closed(&self, worker: usize) {
        self.reads.ended(worker);
    }
}

/// A thread that panics ends the process, so nothing half done is seen.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
