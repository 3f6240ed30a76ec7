//! Rows of all workers for a tick -> one block of the output log. Then notifies readers and subscribers. It is a thread
//! of its own, so that no worker waits for a disk.

use super::spill::Output;
use super::{fail, spawn as thread};
use crate::error::Error;
use crate::landing::Follow;
use crate::observe::actions::Decided;
use crate::observe::metrics::{Metrics, Stage};
use crate::observe::status::Status;
use crate::queue::applied::Taken;
use crate::queue::control::Control;
use crate::queue::forgotten::Seen;
use crate::queue::intake::{Intake, wall_ms};
use crate::queue::labels::Labelbook;
use crate::queue::rulebook::Rulebook;
use crate::queue::sequencer::{Bound, Minted};
use crate::read::reads::Reads;
use crate::read::subscribe::hub::{Fresh, HubFeed};
use crate::run::supervise::tell_progress;
use crate::worker::port::{Arrival, Moved};
use dataflows::Tick;
use headwater_log::error::LogError;
use headwater_log::output::{Block, Canonical, OutputLog, Union};
use headwater_log::reserve::Reserve;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

/// The rows that one worker publishes of a tick.
pub(super) struct Published {
    pub worker: usize,
    pub minted: Arc<Minted>,
    pub output: Output,
    /// The deliveries of the tick that it has decoded.
    pub arrivals: Vec<Arrival>,
    /// What its actions have decided in the tick.
    pub decisions: Vec<Decided>,
    /// What it has of users who are about to be forgotten, or has no longer.
    pub seen: Vec<Seen>,
    pub moved: Moved,
}

/// The only writer of outputs of a process: one block and one sync per tick, however many workers there are.
const WRITER: usize = 0;

pub(super) struct Publisher {
    pub outputs: Arc<OutputLog>,
    pub status: Arc<Status>,
    pub metrics: Arc<Metrics>,
    pub reads: Arc<Reads>,
    pub hub: HubFeed,
    pub reserve: Arc<Reserve>,
    /// Bytes of rows that are published as one block.
    pub memory: usize,
    /// The first tick that has not been published. What is computed again before it has to be what was published, if it
    /// was by this program.
    pub from: Tick,
    pub same_program: bool,
    pub landing: Option<Arc<Follow>>,
    pub rules: Arc<Rulebook>,
    pub labels: Arc<Labelbook>,
    pub intake: Arc<Intake>,
}

impl Publisher {
    pub fn spawn(self, ticks: Receiver<Vec<Published>>) -> JoinHandle<()> {
        // The end of the process comes before that of the channel, which is not why it ends.
        thread("publisher", move || self.run(&ticks).map_err(|error| -> Error { fail(&error) }))
    }

    /// Runs until there is no worker any more.
    fn run(self, ticks: &Receiver<Vec<Published>>) -> Result<(), Error> {
        let mut progress = false;
        while let Ok(first) = ticks.recv() {
            let mut batch = Vec::new();
            for mut whole in [first].into_iter().chain(ticks.try_iter()) {
                let Some(minted) = whole.first().map(|published| Arc::clone(&published.minted)) else { continue };
                if minted.bound.tick < self.from {
                    self.compare(minted.bound.tick, &whole)?;
                    let seen = whole.iter_mut().flat_map(|published| published.seen.drain(..)).collect();
                    self.intake.forgets().published(minted.bound.tick, seen);
                    self.moved(&minted.bound, whole.iter().map(|published| published.moved));
                    self.reads.published(&minted.bound);
                } else {
                    batch.push(Whole::new(minted, whole, self.memory).map_err(Error::run("publish"))?);
                }
            }
            if batch.is_empty() {
                continue;
            }
            // One sync for all that has gathered.
            let appended = self.reserve.patiently(|| append(&batch, &self.outputs));
            appended.map_err(Error::run("publish"))?;
            if !std::mem::replace(&mut progress, true) {
                tell_progress();
            }
            self.status.published.store(self.outputs.upper(), Ordering::Release);
            batch.into_iter().for_each(|whole| self.tell(whole));
        }
        Ok(())
    }

    /// Notifies readers that a tick can be read.
    fn tell(&self, Whole { minted, arrivals, decisions, seen, moved, rows, output }: Whole) {
        let bound = &minted.bound;
        self.intake.forgets().published(bound.tick, seen);
        let wall = wall_ms();
        for Arrival { received_ms, newest_ms } in arrivals {
            self.metrics.took(Stage::Published, (wall - received_ms) as f64 / 1e3);
            if let Some(newest) = newest_ms {
                self.metrics.event_seconds.observe((wall - newest).max(0) as f64 / 1e3);
            }
        }
        self.metrics.actions.published(bound.tick, wall, &decisions);
        self.metrics.tick_seconds.observe(minted.at.elapsed().as_secs_f64());
        self.metrics.updates.inc_by(rows);
        self.status.now_ms.store(bound.now_ms, Ordering::Release);
        self.reads.published(bound);
        self.moved(bound, moved);
        if let Some(landing) = &self.landing {
            landing.published(bound);
        }
        let block = match output {
            Joined::Small(block) => Some(block),
            Joined::Large(_) => None,
        };
        // A tick that is more than one piece is read from the log, so that its frames are always the same.
        let blocks = block.filter(|block| block.bytes() < self.outputs.piece_bytes).map(|block| vec![block]);
        self.hub.put(Fresh { tick: bound.tick, blocks });
    }

    /// Notes what the rules and labels have changed that a tick has taken.
    fn moved(&self, bound: &Bound, workers: impl IntoIterator<Item = Moved>) {
        let mut all = Moved::default();
        workers.into_iter().for_each(|moved| all += moved);
        self.labels.took(&bound.control, bound.tick, all.sessions, all.events);
        for taken in self.rules.took(&bound.control, bound.tick, all.sessions, all.events) {
            let Taken { version, tick, sessions, events } = taken;
            tracing::info!(version, tick, sessions, events, "rules were applied");
            self.intake.put_control(Control::Taken { taken }.encode());
        }
    }

    /// Compares a tick that was computed again with the published one. They have to be equal, at any number of workers
    /// then and now.
    fn compare(&self, tick: Tick, again: &[Published]) -> Result<(), Error> {
        if !self.same_program {
            return Ok(());
        }
        let failed = || Error::run("compare with what was published");
        let published = match self.outputs.tick(tick) {
            Err(LogError::Gone { .. }) => return Ok(()),
            read => read.map_err(failed())?,
        };
        let again = Union(again.iter().map(|published| published.output.canonical()).collect());
        let mut collections = published.collections();
        collections.extend(again.collections());
        let mut same = true;
        for name in &collections {
            let rows = again.rows(name).map_err(failed())?;
            same &= equal(rows, published.merged(name)).map_err(failed())?;
        }
        if same {
            tracing::debug!(tick, "computed again: the same");
            return Ok(());
        }
        let what = format!("tick {tick} is another one than before: a fault in headwater, or in this machine");
        Err(Error::run("compare with what was published")(what))
    }
}

/// Returns whether both have the same rows. Ends at the first one that differs.
fn equal<R: PartialEq>(
    mut one: impl Iterator<Item = Result<R, LogError>>,
    mut other: impl Iterator<Item = Result<R, LogError>>,
) -> Result<bool, LogError> {
    loop {
        match (one.next().transpose()?, other.next().transpose()?) {
            (None, None) => return Ok(true),
            (one, other) if one == other => {}
            _ => return Ok(false),
        }
    }
}

/// The rows of all workers for a tick.
struct Whole {
    minted: Arc<Minted>,
    arrivals: Vec<Arrival>,
    decisions: Vec<Decided>,
    seen: Vec<Seen>,
    moved: Vec<Moved>,
    rows: u64,
    output: Joined,
}

/// The rows of all workers.
enum Joined {
    Small(Block),
    /// One of them is large, or all together are.
    Large(Vec<Output>),
}

impl Whole {
    /// # Errors
    /// [`LogError::Refused`] if a row is there too often.
    fn new(minted: Arc<Minted>, mut workers: Vec<Published>, memory: usize) -> Result<Whole, LogError> {
        workers.sort_by_key(|published| published.worker);
        let rows = workers.iter().map(|published| published.output.rows()).sum();
        let arrivals = workers.iter_mut().flat_map(|published| published.arrivals.drain(..)).collect();
        let decisions = workers.iter_mut().flat_map(|published| published.decisions.drain(..)).collect();
        let seen = workers.iter_mut().flat_map(|published| published.seen.drain(..)).collect();
        let moved = workers.iter().map(|published| published.moved).collect();
        let output = Joined::new(workers.into_iter().map(|published| published.output).collect(), memory)?;
        Ok(Whole { minted, arrivals, decisions, seen, moved, rows, output })
    }
}

impl Joined {
    fn new(outputs: Vec<Output>, memory: usize) -> Result<Joined, LogError> {
        let bytes = outputs.iter().map(|output| output.small().map(Block::bytes)).sum::<Option<usize>>();
        if bytes.is_none_or(|bytes| bytes > memory) {
            return Ok(Joined::Large(outputs));
        }
        let mut blocks = outputs.into_iter().filter_map(Output::into_small);
        let first = blocks.next().ok_or_else(|| LogError::Refused("a tick without workers".into()))?;
        first.union(blocks).map(Joined::Small)
    }
}

/// Appends the ticks that are not durable yet. Some may be, after an attempt that found no space.
fn append(batch: &[Whole], outputs: &OutputLog) -> Result<(), LogError> {
    let next = outputs.next(WRITER);
    batch.iter().filter(|whole| whole.minted.bound.tick >= next).try_for_each(|whole| match &whole.output {
        Joined::Small(block) => outputs.append(WRITER, block, whole.minted.step.as_ref()),
        Joined::Large(all) => {
            tracing::debug!(tick = whole.minted.bound.tick, rows = whole.rows, "a large tick is published in blocks");
            let union = Union(all.iter().map(Output::canonical).collect());
            outputs.append_large(WRITER, &union, whole.minted.step.as_ref())
        }
    })?;
    outputs.sync(WRITER).map(|_| ())
}
