//! The landing: raw events and dead letters as Delta tables, each row once, whatever happens to the process.
//!
//! ```text
//! publisher ─ ends of ticks ─▶ Follow ◀─ how far it has landed ─ Lander ─▶ events/        _delta_log, class=…/dt=…/
//! remap, queue ── deliveries ── decode ── rows ── sort ── Parquet ──┘ └──▶ dead_letters/  _delta_log, reason=…/dt=…/
//! snapshots ◀─ what may be released ─┘
//! ```
//! A thread of its own reads the queue behind the published ticks. Nothing waits for it but the retention of the queue,
//! and that within a bound. What fails is tried again, and the tables themselves say where to go on.

mod action;
mod around;
mod checkpoint;
mod compaction;
mod files;
mod folders;
mod follow;
mod forgetting;
mod harvest;
pub mod history;
mod lander;
mod merge;
mod rewrite;
mod rows;
mod schema;
mod snapshot;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod tidy;

use crate::error::Error as Failure;
use crate::observe::metrics::Metrics;
use crate::observe::status::Status;
use crate::plan::{LandingPlan, Plan};
use crate::queue::forgets::Forgets;
use crate::queue::numbers::Numbers;
pub use follow::Follow;
use headwater_log::Log;
use headwater_log::error::LogError;
use headwater_log::histories::Histories;
use headwater_log::segment::LogId;
use headwater_log::vfs::{RealFs, VfsError};
use lander::Lander;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The longest time that the landing has when the process stops. The rest lands after the next start.
const DRAIN: Duration = Duration::from_secs(20);

/// Why the landing does not get on. It tries again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is there is not what the landing left, or not its own.
    #[error("{0}")]
    Refused(String),
    #[error("{}", headwater_log::error::chain(.0))]
    Files(#[from] VfsError),
    #[error("cannot read the queue: {}", headwater_log::error::chain(.0))]
    Log(#[from] LogError),
    #[error("cannot encode rows: {0}")]
    Encode(String),
}

impl Error {
    fn encode(error: impl std::fmt::Display) -> Error {
        Error::Encode(error.to_string())
    }
}

/// The state of a run that the landing shares.
pub struct Shared<'s> {
    pub id: LogId,
    pub log: &'s Log,
    pub plan: &'s Arc<Plan>,
    /// The definitions of all times as plans, each with the offset in the control partition from which it holds.
    pub definitions: &'s [(u64, Arc<Plan>)],
    pub sources: &'s Arc<Numbers>,
    pub histories: &'s Arc<Histories>,
    pub forgets: &'s Arc<Forgets>,
    pub status: &'s Status,
    pub metrics: &'s Metrics,
}

/// The landing of a process.
pub struct Landing {
    follow: Arc<Follow>,
    thread: JoinHandle<()>,
}

impl Landing {
    /// Starts the landing where its tables have left off; `None` if the configuration has none.
    ///
    /// # Errors
    /// If there is no thread for it. What is wrong with its tables is reported, and tried again.
    pub fn start(shared: &Shared<'_>) -> Result<Option<Landing>, Failure> {
        let Some(plan) = &shared.plan.landing else { return Ok(None) };
        let status = shared.status.landing.get_or_init(|| Arc::clone(&shared.metrics.landing));
        let readers: Vec<_> = shared.log.queue.iter().map(|part| part.reader()).collect();
        let (upper, now_ms) = (shared.log.remap.next(), shared.log.remap.last().map_or(0, |last| last.now_ms));
        let follow = Arc::new(Follow::new(upper, now_ms, readers.clone(), plan.hold, Arc::clone(status)));
        let lander = Lander::new(Arc::new(RealFs), shared, plan, readers, &follow, status);
        let thread = thread::Builder::new().name("landing".into()).spawn(move || lander.run());
        let thread = thread.map_err(Failure::run("start the landing"))?;
        Ok(Some(Landing { follow, thread }))
    }

    /// Returns what it follows.
    pub fn follow(&self) -> Arc<Follow> {
        Arc::clone(&self.follow)
    }

    /// Lands what is published, within some seconds.
    pub fn stop(self) {
        let until = Instant::now() + DRAIN;
        self.follow.stop(until);
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
        if !self.thread.is_finished() {
            tracing::warn!("the landing is not done: it goes on after the next start");
        }
    }
}

impl LandingPlan {
    /// Returns the names of the fields that have a column.
    fn fields(&self, plan: &Plan) -> Vec<String> {
        plan.fields.iter().take(self.fields).map(|field| field.name.clone()).collect()
    }
}
