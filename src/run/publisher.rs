//! The blocks of all workers -> the output log, and then to whoever reads and follows. A thread of its own, so that no worker
//! waits for a disk.

use super::{fail, spawn as thread};
use crate::error::Error;
use crate::intake::wall_ms;
use crate::live::{Arrival, Output, Published};
use crate::log::error::LogError;
use crate::log::output::{Canonical, Merge, OutputLog};
use crate::metrics::{Metrics, Stage};
use crate::reads::Reads;
use crate::reserve::Reserve;
use crate::status::Status;
use crate::subscribe::hub::{Fresh, HubFeed};
use crate::supervise::tell_progress;
use dataflows::Tick;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Once};
use std::thread::JoinHandle;

pub(super) struct Publisher {
    pub outputs: Arc<OutputLog>,
    pub status: Arc<Status>,
    pub metrics: Arc<Metrics>,
    pub reads: Arc<Reads>,
    pub hub: HubFeed,
    pub reserve: Arc<Reserve>,
    pub workers: usize,
    /// The first tick that has not been published. What is computed again before it has to be what was published, if it
    /// was by this program.
    pub from: Tick,
    pub same_program: bool,
}

impl Publisher {
    pub fn spawn(self, blocks: Receiver<Published>) -> JoinHandle<()> {
        // The end of the process comes before that of the channel, which is not why it ends.
        thread("publisher", move || self.run(&blocks).map_err(|error| -> Error { fail(&error) }))
    }

    /// Until there is no worker any more.
    fn run(self, blocks: &Receiver<Published>) -> Result<(), Error> {
        // By tick: what its workers have sent.
        let mut waiting: BTreeMap<Tick, Vec<Published>> = BTreeMap::new();
        let mut again: BTreeMap<Tick, Vec<Published>> = BTreeMap::new();
        let progress = Once::new();
        while let Ok(first) = blocks.recv() {
            // One sync per worker for all that has gathered.
            let (past, batch): (Vec<_>, Vec<_>) =
                [first].into_iter().chain(blocks.try_iter()).partition(|published| published.bound.tick < self.from);
            for published in past {
                let tick = published.bound.tick;
                let all = again.entry(tick).or_default();
                all.push(published);
                if all.len() == self.workers {
                    let all = again.remove(&tick).unwrap_or_default();
                    self.compare(tick, &all)?;
                    all.iter().take(1).for_each(|published| self.reads.published(&published.bound));
                }
            }
            let workers: BTreeSet<usize> = batch.iter().map(|published| published.worker).collect();
            for worker in workers {
                let appended = self.reserve.patiently(|| append(worker, &batch, &self.outputs));
                appended.map_err(Error::run("publish"))?;
            }
            for published in batch {
                waiting.entry(published.bound.tick).or_default().push(published);
            }
            let upper = self.outputs.upper();
            if upper > self.from {
                progress.call_once(tell_progress);
            }
            self.status.published.store(upper, Ordering::Release);
            let later = waiting.split_off(&upper);
            for (tick, whole) in std::mem::replace(&mut waiting, later) {
                self.tell(tick, whole);
            }
        }
        Ok(())
    }

    /// A tick can be read.
    fn tell(&self, tick: Tick, whole: Vec<Published>) {
        let wall = wall_ms();
        whole.iter().for_each(|published| measure(published, wall, &self.metrics));
        if let Some(Published { bound, .. }) = whole.first() {
            self.status.now_ms.store(bound.now_ms, Ordering::Release);
            self.reads.published(bound);
        }
        let blocks = whole.into_iter().map(|published| match published.output {
            Output::Small(block) => Some(block),
            Output::Large(_) => None,
        });
        // A tick that is more than one piece is read from the log, so that its frames are always the same.
        let blocks = blocks.collect::<Option<Vec<_>>>().filter(|blocks| {
            let rows = blocks.iter().flat_map(|block| block.collections().flat_map(|(_, rows)| rows));
            rows.map(|(row, _)| row.len()).sum::<usize>() < self.outputs.piece_bytes
        });
        self.hub.put(Fresh { tick, blocks });
    }

    /// A published tick is a fact: computed again it has to be the same, whatever the number of workers then and now.
    fn compare(&self, tick: Tick, again: &[Published]) -> Result<(), Error> {
        if !self.same_program {
            return Ok(());
        }
        let failed = || Error::run("compare with what was published");
        let published = match self.outputs.tick(tick) {
            Err(LogError::Gone { .. }) => return Ok(()),
            read => read.map_err(failed())?,
        };
        let again: Vec<&dyn Canonical> = again.iter().map(|published| published.output.canonical()).collect();
        let mut collections = published.collections();
        collections.extend(again.iter().flat_map(|output| output.collections()));
        let mut same = true;
        for name in &collections {
            let rows = again.iter().map(|output| output.rows(name)).collect::<Result<_, _>>().map_err(failed())?;
            same &= equal(Merge::new(name, rows), published.merged(name)).map_err(failed())?;
        }
        if same {
            tracing::debug!(tick, "computed again: the same");
            return Ok(());
        }
        let what = format!("tick {tick} is another one than before: a fault in headwater, or in this machine");
        Err(Error::run("compare with what was published")(what))
    }
}

/// Whether both have the same rows. Ends at the first one that differs.
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

/// What is durable already is not appended again: after an attempt for which there was no space.
fn append(worker: usize, batch: &[Published], outputs: &OutputLog) -> Result<(), LogError> {
    let next = outputs.next(worker);
    let own = batch.iter().filter(|published| published.worker == worker && published.bound.tick >= next);
    own.map(|published| &published.output).try_for_each(|output| match output {
        Output::Small(block) => outputs.append(worker, block),
        Output::Large(runs) => outputs.append_large(worker, runs),
    })?;
    outputs.sync(worker).map(|_| ())
}

fn measure(published: &Published, wall: i64, metrics: &Metrics) {
    for Arrival { received_ms, newest_ms } in &published.arrivals {
        metrics.took(Stage::Published, (wall - received_ms) as f64 / 1e3);
        if let Some(newest) = newest_ms {
            metrics.event_seconds.observe((wall - newest).max(0) as f64 / 1e3);
        }
    }
    if published.worker == 0 {
        metrics.tick_seconds.observe(published.bound.at.elapsed().as_secs_f64());
    }
    metrics.updates.inc_by(published.output.rows());
}
