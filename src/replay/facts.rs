//! Reads sources as a replay does, for what classes follow from, and for the sessions. Writes nothing.
//!
//! ```text
//! sources ─ workers ─▶ facts of each ─ all together ─▶ prepare ─▶ each worker's views ─▶ parts
//! ```

use super::gather::Seen;
use super::worker::{self, Feed, Observer};
use super::{Input, parts};
use crate::error::Error;
use crate::landing::history::{self, History};
use crate::plan::Plan;
use crate::source::{Chunking, Chunks};
use dataflows::views::Views;
use dataflows::{DeadLetter, EventTime};
use headwater_decode::interpret::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

pub use super::gather::Example;

/// Between two looks at whether the other workers are done.
const PAUSE: Duration = Duration::from_millis(1);

/// What a reading gives.
pub struct Found<T, P> {
    /// With numbers of events.
    pub seen: Seen,
    pub prepared: Arc<T>,
    /// By worker: the users of a worker come before those of the next one.
    pub parts: Vec<P>,
    pub dead_letters: u64,
    /// Of files, by the part of positions.
    pub paths: Vec<PathBuf>,
}

/// Reads all sources of the plan, or its landing. When all is read, `prepare` is called once with what was seen, and `each`
/// at each worker with its views. The states, sequences and actions of the plan are left out.
///
/// # Errors
/// As a replay.
pub fn read<T, P>(
    plan: &Plan,
    landing: bool,
    prepare: impl Fn(&Seen) -> T + Send + Sync + 'static,
    each: impl Fn(&T, &mut Views) -> P + Send + Sync + 'static,
) -> Result<Found<T, P>, Error>
where
    T: Send + Sync + 'static,
    P: Send + Sync + 'static,
{
    let plan = Arc::new(Plan {
        states: Vec::new(),
        counts: Vec::new(),
        identity: None,
        sequences: Vec::new(),
        tables: Vec::new(),
        actions: Vec::new(),
        sinks: Vec::new(),
        ..plan.clone()
    });
    let limits = plan.sources.iter().map(|source| source.events.limits.event_bytes);
    let chunking = Chunking { event_bytes: limits.max().unwrap_or_default(), ..Chunking::default() };
    let (input, paths) = match (landing, &plan.landing) {
        (true, Some(of_plan)) => {
            let history = History::open(&of_plan.path, &plan, chunking.tick_bytes);
            (Input::Landing(history.map(Arc::new).map_err(Error::run("read the landing"))?), Vec::new())
        }
        (true, None) => {
            let message = format!("{} has no [landing]", plan.config.display());
            return Err(Error::usage(message, "add the section of the run whose landing is to be read"));
        }
        (false, _) => {
            let parts = parts(&plan)?;
            let paths = parts.iter().map(|part| part.path.clone()).collect();
            let chunks = Chunks::open(parts, chunking).map_err(Error::run("read the sources"))?;
            (Input::Files(Box::new(chunks)), paths)
        }
    };
    let shared = Arc::new(Shared {
        plan: Arc::clone(&plan),
        input,
        stopped: AtomicBool::new(false),
        dead_letters: AtomicU64::new(0),
        seen: Mutex::new(Some(Seen::default())),
        prepared: OnceLock::new(),
        arrived: AtomicUsize::new(0),
        prepare,
        each,
    });
    let of_all = Arc::clone(&shared);
    let guards = timely::execute(timely::Config::process(plan.workers), move |worker| share(worker, &shared));
    let guards = guards.map_err(Error::run("start the workers"))?;
    let outcomes = guards.join().into_iter().map(|outcome| outcome.map_err(Error::run("run a worker")).flatten());
    let parts = outcomes.collect::<Result<Vec<_>, Error>>()?;
    let seen = of_all.seen.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    let prepared = of_all.prepared.get().map(Arc::clone);
    let prepared = prepared.ok_or_else(|| Error::run("read the sources")("a worker has failed"))?;
    Ok(Found { seen, prepared, parts, dead_letters: of_all.dead_letters.load(Ordering::Relaxed), paths })
}

/// What all workers share.
struct Shared<T, F, E> {
    plan: Arc<Plan>,
    input: Input,
    /// Some worker has failed.
    stopped: AtomicBool,
    dead_letters: AtomicU64,
    /// Of the workers that are done.
    seen: Mutex<Option<Seen>>,
    prepared: OnceLock<Arc<T>>,
    /// The workers that have read all, or have failed.
    arrived: AtomicUsize,
    prepare: F,
    each: E,
}

fn share<T, P, F: Fn(&Seen) -> T, E: Fn(&T, &mut Views) -> P>(
    worker: &mut timely::worker::Worker,
    shared: &Shared<T, F, E>,
) -> Result<P, Error> {
    let feed = match &shared.input {
        Input::Files(chunks) => Feed::of_files(chunks),
        Input::Landing(history) => Feed::Landing(history.reader()),
    };
    let mut watch = Watch { stopped: &shared.stopped, dead_letters: &shared.dead_letters };
    let read = worker::run(worker, &shared.plan, (Range::default(), None), None, feed, &mut watch).map(
        |(tally, mut views)| {
            let mut seen = *tally.seen.unwrap_or_default();
            if let Input::Landing(_) = shared.input {
                // A record that has landed is known by its place in the queue.
                seen.examples.values_mut().for_each(|example| example.position = history::in_queue(example.position));
            }
            views.signatures(&mut |signature, events| _ = seen.facts.events.insert(signature, events));
            let mut all = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
            all.get_or_insert_default().add(seen);
            views
        },
    );
    if read.is_err() {
        shared.stopped.store(true, Ordering::SeqCst);
    }
    // Also one that failed comes here: the others wait for it. Meanwhile operators have turns, as other workers may need them.
    let last = shared.arrived.fetch_add(1, Ordering::SeqCst) + 1 == shared.plan.workers;
    let is_stopped = || shared.stopped.load(Ordering::SeqCst);
    if last && !is_stopped() {
        let seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let _first = shared.prepared.set(Arc::new((shared.prepare)(seen.as_ref().unwrap_or(&Seen::default()))));
    }
    while shared.prepared.get().is_none()
        && !(is_stopped() && shared.arrived.load(Ordering::SeqCst) == shared.plan.workers)
    {
        worker.step_or_park(Some(PAUSE));
    }
    let mut views = read?;
    match shared.prepared.get() {
        Some(prepared) => Ok((shared.each)(prepared, &mut views)),
        None => Err(Error::run("read the sources")("another worker has failed")),
    }
}

struct Watch<'s> {
    stopped: &'s AtomicBool,
    dead_letters: &'s AtomicU64,
}

impl Observer for Watch<'_> {
    fn dead_letter(&mut self, _: &DeadLetter) -> Result<(), Error> {
        self.dead_letters.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn decoded(&mut self, _: u64) {}

    fn at(&mut self, _: EventTime) {}

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn wants_seen(&self) -> bool {
        true
    }
}
