//! The status of a running process: its phase, and its ticks.

use crate::observe::actions::ActionReport;
use crate::observe::backfills::BackfillReport;
use crate::observe::landing::{LandingReport, LandingStatus};
use crate::observe::memory::rss_bytes;
use crate::observe::rules::HoldsReport;
use crate::observe::sources::{SourceReport, Sources};
use crate::text::plural;
use dataflows::Tick;
use indicatif::{DecimalBytes, HumanCount};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The phase of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Opens the log and the snapshot.
    Starting,
    /// Computes again what happened since the snapshot. Nothing is taken in.
    Recovering,
    Ready,
    /// Computes what it has taken, takes no more, and ends.
    Draining,
}

const PHASES: [Phase; 4] = [Phase::Starting, Phase::Recovering, Phase::Ready, Phase::Draining];

/// Shared by the threads of a process.
#[derive(Debug, Default)]
pub struct Status {
    phase: AtomicU8,
    /// The next tick to be bound.
    pub bound: AtomicU64,
    /// Ticks below this one can be read.
    pub published: AtomicU64,
    /// `now_ms` of the last tick that can be read.
    pub now_ms: AtomicI64,
    /// Those that have a thread of their own.
    pub sources: Sources,
    /// If the configuration has one.
    pub landing: OnceLock<Arc<LandingStatus>>,
    /// Resident bytes of the other processes of the run.
    others: Mutex<BTreeMap<usize, u64>>,
}

/// The answer of `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    pub phase: Phase,
    pub epoch: u64,
    /// Worker threads of all processes.
    pub workers: usize,
    /// How many processes the run has.
    #[serde(default = "one")]
    pub processes: usize,
    /// The next tick to be bound.
    pub bound: Tick,
    /// Ticks below this one can be read.
    pub published: Tick,
    /// The clock of the last tick that can be read: milliseconds since 1970-01-01T00:00:00Z.
    pub now_ms: i64,
    pub backlog_bytes: u64,
    /// The age of the oldest acknowledged events that cannot be read yet, at most; 0 if there are none.
    #[serde(default)]
    pub behind_ms: i64,
    /// Events that the graph took since this process started, duplicates among them, and dead letters.
    #[serde(default)]
    pub events: u64,
    /// Sessions, open and closed.
    #[serde(default)]
    pub sessions: u64,
    #[serde(default)]
    pub dead_letters: u64,
    /// Of all processes.
    pub resident_bytes: u64,
    pub uptime_s: u64,
    /// Those that the process reads; clients that post are in none.
    #[serde(default)]
    pub sources: Vec<SourceReport>,
    /// If the configuration has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landing: Option<LandingReport>,
    /// If there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ActionReport>,
    /// If there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backfills: Vec<BackfillReport>,
    /// The version of the rules that holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<HoldsReport>,
}

/// Releases up to 0.1.0 did not say.
fn one() -> usize {
    1
}

impl Status {
    /// Notes how much memory another process of the run has, in bytes.
    pub fn other_resident(&self, process: usize, bytes: u64) {
        self.others.lock().unwrap_or_else(PoisonError::into_inner).insert(process, bytes);
    }

    /// Returns the resident memory of all processes of the run, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        rss_bytes().unwrap_or_default() + others.values().sum::<u64>()
    }

    pub fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire))]
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Returns the age of the last tick that can be read, in milliseconds; 0 if nothing waits to be read.
    pub fn behind_ms(&self, backlog_bytes: u64, wall_ms: i64) -> i64 {
        let published = self.published.load(Ordering::Acquire);
        if backlog_bytes == 0 && published >= self.bound.load(Ordering::Acquire) {
            return 0;
        }
        match self.now_ms.load(Ordering::Acquire) {
            0 => 0,
            now_ms => (wall_ms - now_ms).max(0),
        }
    }

    /// Enters a phase from the one before it, unless another one has come between.
    pub fn proceed(&self, from: Phase, to: Phase) {
        let _other = self.phase.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Report {
    /// Returns the text for people.
    pub fn render(&self) -> String {
        let phase = match self.phase {
            Phase::Starting => "starting",
            Phase::Recovering => "recovering",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
        };
        let Report { version, epoch, workers, processes, bound, published, uptime_s, .. } = self;
        let Report { events, sessions, dead_letters, .. } = self;
        let version = crate::text::printable(version);
        let threads = plural(*workers as u64, "worker");
        let processes = if *processes > 1 { format!(" in {processes} processes") } else { String::new() };
        let behind = match self.behind_ms {
            0 => "nothing waits".into(),
            behind => format!("{:.1} s behind, {} wait", behind as f64 / 1e3, DecimalBytes(self.backlog_bytes)),
        };
        let mut text = format!(
            "headwater {version}: {phase}, {workers} {threads}{processes}, epoch {epoch}, up {uptime_s} s\n\
             events   {} since the start, {:.0}/s, {} dead {}\n\
             sessions {}\n\
             ticks    {bound} bound, {published} published, {behind}\n\
             memory   {}\n",
            HumanCount(*events),
            *events as f64 / (*uptime_s).max(1) as f64,
            HumanCount(*dead_letters),
            plural(*dead_letters, "letter"),
            HumanCount(*sessions),
            DecimalBytes(self.resident_bytes),
        );
        for SourceReport { name, state, why, partitions } in &self.sources {
            let printable = crate::text::printable;
            let lag: i64 = partitions.iter().map(|partition| partition.lag).sum();
            let lag = if partitions.is_empty() { String::new() } else { format!(", at most {lag} records behind") };
            let why = why.as_ref().map_or(String::new(), |why| format!(": {}", printable(why)));
            text += &format!("source   {}: {}{lag}{why}\n", printable(name), state.name());
        }
        text += &self.rules.as_ref().map_or(String::new(), HoldsReport::render);
        self.actions.iter().for_each(|action| text += &action.render());
        self.backfills.iter().for_each(|backfill| text += &backfill.render());
        text += &self.landing.as_ref().map_or(String::new(), LandingReport::render);
        text
    }
}
