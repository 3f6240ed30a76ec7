//! The operator `sessionize` alone in a dataflow, fed as the worker's loop feeds the whole graph.

use crate::clock::{Clock, Took};
use dataflows::sessionize::{Bounds, Replacement, Session, SessionTrace, Sessionized, Visit, sessionize};
use dataflows::{Tick, UserKey};
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::TraceReader;
use differential_dataflow::trace::cursor::{Cursor, cursor_list};
use differential_dataflow::trace::implementations::ValSpine;
use std::sync::{Arc, Barrier};
use std::time::Duration;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::operator::empty;
use timely::dataflow::operators::{Exchange, Input, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::progress::Antichain;
use timely::worker::Worker;

/// The number of ticks that may be in flight, as in the worker's loop.
pub const IN_FLIGHT: Tick = 3;
/// About as many as a chunk of a replay has.
pub const BATCH: usize = 4096;
const PATIENCE: Duration = Duration::from_millis(1);

type Sender<D> = InputHandle<Tick, CapacityContainerBuilder<Vec<D>>>;

/// One worker's instance.
pub struct Graph<'w> {
    worker: &'w mut Worker,
    visits: Sender<Visit>,
    replacements: Sender<Replacement>,
    trace: SessionTrace,
    probe: ProbeHandle<Tick>,
    tick: Tick,
}

impl Graph<'_> {
    pub fn new(worker: &mut Worker, gap: i64) -> Graph<'_> {
        let (mut visits, mut replacements) = (InputHandle::new(), InputHandle::new());
        let probe = ProbeHandle::new();
        let trace = worker.dataflow(|scope| {
            let (visits, replacements) = (scope.input_from(&mut visits), scope.input_from(&mut replacements));
            let Sessionized { sessions, entries, .. } =
                sessionize(visits, replacements, (empty(scope), None), Bounds { gap, policies: None });
            sessions.stream.probe_with(&probe);
            entries.probe_with(&probe);
            sessions.trace
        });
        Graph { worker, visits, replacements, trace, probe, tick: 0 }
    }

    pub fn index(&self) -> usize {
        self.worker.index()
    }

    pub fn peers(&self) -> usize {
        self.worker.peers()
    }

    /// Sends batches at one tick and closes the tick. First waits until few enough ticks are in flight.
    pub fn tick(&mut self, batches: impl IntoIterator<Item = Vec<Visit>>, mut replacements: Vec<Replacement>) {
        while self.tick > self.settled().saturating_add(IN_FLIGHT) {
            self.worker.step_or_park(Some(PATIENCE));
        }
        for mut batch in batches {
            self.visits.send_batch(&mut batch);
            self.worker.step();
        }
        if !replacements.is_empty() {
            self.replacements.send_batch(&mut replacements);
        }
        self.tick += 1;
        self.visits.advance_to(self.tick);
        self.replacements.advance_to(self.tick);
    }

    /// Works until all ticks are done, on all workers.
    pub fn finish(&mut self) {
        while self.settled() < self.tick {
            self.worker.step_or_park(Some(PATIENCE));
        }
    }

    /// Waits until the arrangement has merged its batches to one; it does so only with exertion.
    pub fn merge(&mut self) {
        let started = std::time::Instant::now();
        while self.batches() > 1 && started.elapsed() < Duration::from_secs(20) {
            self.worker.step_or_park(Some(PATIENCE));
        }
    }

    /// Returns the number of batches of the arrangement.
    pub fn batches(&mut self) -> usize {
        self.trace.batches_through(Antichain::new().borrow()).map_or(0, |batches| batches.len())
    }

    fn settled(&mut self) -> Tick {
        allow_compaction(&mut self.trace, &self.probe);
        self.probe.with_frontier(|frontier| frontier.first().copied()).unwrap_or(Tick::MAX)
    }

    /// The sessions of this worker, when all is done.
    pub fn sessions(&mut self, each: impl FnMut(&UserKey, &Session)) {
        each_row(&mut self.trace, each);
    }
}

/// Allows a trace to merge all that is settled.
pub fn allow_compaction(trace: &mut impl TraceReader<Time = Tick>, probe: &ProbeHandle<Tick>) {
    let frontier = probe.with_frontier(|frontier| frontier.to_owned());
    trace.set_logical_compaction(frontier.borrow());
    trace.set_physical_compaction(frontier.borrow());
}

/// Calls `each` for all rows that a trace holds when all is settled.
pub fn each_row<K, V>(trace: &mut TraceAgent<ValSpine<K, V, Tick, isize>>, mut each: impl FnMut(&K, &V))
where
    K: Ord + Clone + 'static,
    V: Ord + Clone + 'static,
{
    let (mut cursor, storage) = cursor_list(trace.batches_through(Antichain::new().borrow()).unwrap());
    while let Some(key) = cursor.get_key(&storage) {
        while let Some(value) = cursor.get_val(&storage) {
            let mut copies = 0;
            cursor.map_times(&storage, |_, diff| copies += *diff);
            if copies != 0 {
                each(key, value);
            }
            cursor.step_val(&storage);
        }
        cursor.step_key(&storage);
    }
}

/// Sends visits to the workers that own their users, and drops them there.
pub fn exchange(worker: &mut Worker, batches: Vec<Vec<Visit>>) {
    let workers = worker.peers();
    let mut visits: Sender<Visit> = InputHandle::new();
    let probe = worker.dataflow::<Tick, _, _>(|scope| {
        let visits = scope.input_from(&mut visits);
        visits.exchange(move |visit: &Visit| visit.user.worker(workers)).probe().0
    });
    for mut batch in batches {
        visits.send_batch(&mut batch);
        worker.step();
    }
    drop(visits);
    while !probe.done() {
        worker.step_or_park(Some(PATIENCE));
    }
}

/// Runs `each` on every worker and returns what they return, in their order.
pub fn run<R: Send + 'static>(
    workers: usize,
    exertion: Option<isize>,
    each: impl Fn(&mut Worker) -> R + Send + Sync + 'static,
) -> Vec<R> {
    let mut config = timely::Config::process(workers);
    if exertion.is_some() {
        let exerting = differential_dataflow::Config::default().idle_merge_effort(exertion);
        differential_dataflow::configure(&mut config.worker, &exerting);
    }
    let outcomes = timely::execute(config, each).unwrap().join();
    outcomes.into_iter().map(Result::unwrap).collect()
}

/// Lets all workers begin and end a measured stretch together.
#[derive(Clone, Debug)]
pub struct Together(Arc<Barrier>);

impl Together {
    pub fn new(workers: usize) -> Together {
        Together(Arc::new(Barrier::new(workers)))
    }

    /// Returns what `work` took on all workers. `work` has to end settled, since no worker steps at the barrier.
    pub fn measure(&self, work: impl FnOnce()) -> Took {
        self.0.wait();
        let clock = Clock::start();
        work();
        self.0.wait();
        clock.took()
    }
}
