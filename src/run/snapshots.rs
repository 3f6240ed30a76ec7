//! Contributions of the workers at a snapshot's tick -> one snapshot. Then releases the log behind it. It is a thread
//! of its own: workers hand over their changes and go on.

use super::history::Memory;
use super::{fail, spawn};
use crate::error::Error;
use crate::landing::Follow;
use crate::observe::metrics::Metrics;
use crate::queue::cursor::Cursors;
use crate::queue::forgets::Forgets;
use crate::queue::sequencer::{Minted, Ticks};
use crate::worker::roots::{Dirty, Rows};
use dataflows::Tick;
use headwater_log::error::LogError;
use headwater_log::output::{OutputLog, Retention};
use headwater_log::reserve::Reserve;
use headwater_log::state::{Snapshot, StateStore};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// The contribution of one worker to a snapshot.
pub(super) struct Contribution {
    pub minted: Arc<Minted>,
    pub dirty: Dirty,
    /// How far sources had been read at the end of the tick, as far as the worker has seen.
    pub cursors: Cursors,
}

pub(super) struct Snapshots {
    pub store: StateStore,
    pub outputs: Arc<OutputLog>,
    pub ticks: Arc<Ticks>,
    pub metrics: Arc<Metrics>,
    pub reserve: Arc<Reserve>,
    pub workers: usize,
    /// The bounds of the output log.
    pub retention: Retention,
    pub program: [u8; 32],
    pub memory: Memory,
    pub landing: Option<Arc<Follow>>,
    pub forgets: Arc<Forgets>,
}

impl Snapshots {
    pub fn spawn(self, contributions: Receiver<Contribution>) -> JoinHandle<()> {
        // As with what is published: the end of the process comes before that of the channel.
        let failed = |error| -> Error { fail(&Error::run("take a snapshot")(error)) };
        spawn("snapshots", move || self.run(&contributions).map_err(failed))
    }

    fn run(mut self, contributions: &Receiver<Contribution>) -> Result<(), LogError> {
        let mut gathered: BTreeMap<Tick, Vec<Contribution>> = BTreeMap::new();
        while let Ok(contribution) = contributions.recv() {
            let tick = contribution.minted.bound.tick;
            let all = gathered.entry(tick).or_default();
            all.push(contribution);
            if all.len() == self.workers {
                let all = gathered.remove(&tick).unwrap_or_default();
                self.take(all)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, all: Vec<Contribution>) -> Result<(), LogError> {
        let started = Instant::now();
        let Some(minted) = all.first().map(|contribution| Arc::clone(&contribution.minted)) else { return Ok(()) };
        let bound = &minted.bound;
        let mut changes = Rows::new();
        for Contribution { dirty, cursors, .. } in all {
            for (state, rows) in dirty.rows() {
                changes.entry(state).or_default().extend(rows);
            }
            self.memory.cursors.merge(cursors);
        }
        // What was published before is not computed again after this: it has to be durable.
        while self.outputs.upper() <= bound.tick {
            sleep(Duration::from_millis(2));
        }
        let before = self.store.generation().map(|generation| generation.tick);
        if before.is_some_and(|before| self.forgets.have_gone_since(before)) {
            self.store.merge_all();
        }
        let extra = serde_json::to_vec(&self.memory).expect("text and numbers are always JSON");
        let mut snapshot = Snapshot {
            tick: bound.tick,
            now_ms: bound.now_ms,
            remap_digest: minted.digest,
            program: self.program,
            extra,
            changes,
        };
        let written = self.reserve.with(|| {
            // What the store has taken is part of its next write.
            let changes = std::mem::take(&mut snapshot.changes);
            self.store.write(Snapshot { changes, extra: snapshot.extra.clone(), ..snapshot })
        });
        match written {
            Ok(older) => {
                self.metrics.snapshot_tick.set(bound.tick as i64);
                self.metrics.snapshot_seconds.observe(started.elapsed().as_secs_f64());
                tracing::info!(tick = bound.tick, ms = started.elapsed().as_millis() as u64, "snapshot");
                if let Some(older) = older {
                    let from = older + 1;
                    self.ticks.release(self.landing.as_ref().map_or(from, |landing| landing.release(from)));
                }
            }
            // What changed is part of the next one.
            Err(LogError::Full(error)) => tracing::warn!(%error, "no space for a snapshot"),
            Err(error) => return Err(error),
        }
        // Ticks with a snapshot are synced when they are minted, and with them those before.
        match self.reserve.with(|| self.outputs.retain(bound.now_ms, self.retention, bound.tick + 1)) {
            Err(LogError::Full(error)) => tracing::warn!(%error, "no space to shorten the output log"),
            outcome => drop(outcome?),
        }
        Ok(())
    }
}
