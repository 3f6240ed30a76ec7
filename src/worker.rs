//! One worker's loop of a replay: takes chunks, decodes them into the graph, and reads the views when all is done.

use crate::decode::interpret::{Batch, Range};
use crate::decode::{Block, Decoder};
use crate::error::Error;
use crate::plan::Plan;
use crate::source::{Chunk, Next, Source};
use dataflows::ingest::{Dedupe, Verdict};
use dataflows::pipeline::{Inputs, Outputs, Settings, pipeline};
use dataflows::{DeadLetter, Descriptor, Position, Record, Rule, SignatureId, Tick, UserKey};
use differential_dataflow::input::InputSession;
use differential_dataflow::trace::TraceReader;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::vec::Input as _;
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;
use timely::worker::Worker;

/// Ticks that may be under way at once: enough to hide the round trips of progress, few enough to bound what waits in
/// the operators.
const IN_FLIGHT: Tick = 3;

/// How long a worker that has to wait sleeps at most before it looks again.
const PATIENCE: Duration = Duration::from_millis(1);

/// What one worker brings back, besides the views.
#[derive(Debug, Default)]
pub struct Tally {
    /// Events that held one path both dotted and nested.
    pub ambiguous: u64,
    /// Events outside of the asked range of event time.
    pub outside: u64,
    pub duplicates: u64,
    pub duplicates_unchecked: u64,
    /// Records that another one with the same identity and another payload came before.
    pub conflicts: Vec<Position>,
}

/// The views as of the end, each row at one worker: the users of worker i come before those of worker i+1.
pub struct Views {
    pub sessions: dataflows::sessionize::SessionTrace,
    pub names: dataflows::pipeline::NameTrace,
    pub classes: dataflows::classify::ClassTrace,
    pub counts: dataflows::counts::CountTrace,
    pub sessionless: dataflows::counts::SessionlessTrace,
}

/// Where a worker puts what it meets on its way. An error ends the worker's part in the run.
pub trait Observer {
    fn dead_letter(&mut self, letter: &DeadLetter) -> Result<(), Error>;
    /// After each chunk: how many events it had.
    fn decoded(&mut self, events: u64);
    /// Whether another worker has failed, so that going on is in vain.
    fn stopped(&self) -> bool;
}

/// Runs the graph over all chunks. After an error the inputs are closed, so that no other worker waits.
pub fn run(
    worker: &mut Worker,
    plan: &Arc<Plan>,
    range: Range,
    source: &impl Source,
    observer: &mut impl Observer,
) -> Result<(Tally, Views), Error> {
    let (mut feed, mut views, tally, probe) = build(worker, plan);
    if worker.index() == 0 {
        plan.rules.iter().for_each(|rule| feed.rules.insert(rule.clone()));
    }
    let mut decoder = Decoder::new(Arc::clone(plan), range);
    let outcome = drive(worker, &mut feed, &mut views, &probe, &mut decoder, source, observer);
    drop(feed);
    while !probe.done() {
        worker.step_or_park(Some(PATIENCE));
    }
    let (ambiguous, outside) = outcome?;
    let mut tally = tally.take();
    (tally.ambiguous, tally.outside) = (ambiguous, outside);
    Ok((tally, views))
}

/// Takes chunks until there are no more. Returns how many events were ambiguous and outside of the range.
fn drive(
    worker: &mut Worker,
    feed: &mut Feed,
    views: &mut Views,
    probe: &ProbeHandle<Tick>,
    decoder: &mut Decoder,
    source: &impl Source,
    observer: &mut impl Observer,
) -> Result<(u64, u64), Error> {
    let (mut chunk, mut batch) = (Chunk::default(), Batch::default());
    while !observer.stopped() {
        let done = probe.with_frontier(|frontier| frontier.to_owned());
        views.allow_compaction(done.borrow());
        let limit = done.first().copied().unwrap_or(Tick::MAX).saturating_add(IN_FLIGHT);
        match source.next(limit, &mut chunk).map_err(Error::run("read the sources"))? {
            Next::Chunk => {
                feed.advance_to(chunk.tick);
                for letter in chunk.dead_letters.drain(..) {
                    observer.dead_letter(&letter)?;
                }
                let position = Position { source: chunk.source, part: chunk.part as u32, offset: chunk.offset };
                let Chunk { format, framing, header, bytes, .. } = &chunk;
                let block = Block { position, format: *format, framing: *framing, header: header.as_ref(), bytes };
                decoder.decode(&block, &mut batch);
                observer.decoded(batch.records.len() as u64);
                for letter in batch.dead_letters.drain(..) {
                    observer.dead_letter(&letter)?;
                }
                feed.send(&mut batch);
                worker.step();
            }
            Next::Wait => {
                feed.advance_to(source.tick());
                worker.step_or_park(Some(PATIENCE));
            }
            Next::End => break,
        }
    }
    Ok((batch.ambiguous, batch.outside))
}

/// The sending ends of the graph's inputs.
struct Feed {
    records: InputHandle<Tick, CapacityContainerBuilder<Vec<Record>>>,
    names: InputSession<Tick, (UserKey, Arc<str>), isize>,
    signatures: InputSession<Tick, (SignatureId, Descriptor), isize>,
    rules: InputSession<Tick, Rule, isize>,
}

impl Feed {
    fn advance_to(&mut self, tick: Tick) {
        if self.records.time() < &tick {
            self.records.advance_to(tick);
            (self.names.advance_to(tick), self.signatures.advance_to(tick), self.rules.advance_to(tick));
            (self.names.flush(), self.signatures.flush(), self.rules.flush());
        }
    }

    fn send(&mut self, batch: &mut Batch) {
        self.records.send_batch(&mut batch.records);
        batch.names.drain(..).for_each(|name| self.names.insert(name));
        batch.signatures.drain(..).for_each(|signature| self.signatures.insert(signature));
    }
}

impl Views {
    fn allow_compaction(&mut self, upper: AntichainRef<Tick>) {
        allow(&mut self.sessions, upper);
        allow(&mut self.names, upper);
        allow(&mut self.classes, upper);
        allow(&mut self.counts, upper);
        allow(&mut self.sessionless, upper);
    }
}

fn allow(trace: &mut impl TraceReader<Time = Tick>, upper: AntichainRef<Tick>) {
    trace.set_logical_compaction(upper);
    trace.set_physical_compaction(upper);
}

fn build(worker: &mut Worker, plan: &Plan) -> (Feed, Views, Rc<RefCell<Tally>>, ProbeHandle<Tick>) {
    let mut records = InputHandle::new();
    let (mut names, mut signatures, mut rules) = (InputSession::new(), InputSession::new(), InputSession::new());
    let tally = Rc::new(RefCell::new(Tally::default()));
    let verdicts = Rc::clone(&tally);
    let probe = ProbeHandle::new();
    let dedupe = plan.sources.iter().any(|source| source.events.dedupe.is_some());
    let ids = DEDUPE_BYTES / Dedupe::BYTES_PER_ID / worker.peers();
    let settings = Settings { gap: plan.sessions.gap, dedupe: dedupe.then_some(Dedupe { ids }) };
    let views = worker.dataflow(|scope| {
        let inputs = Inputs {
            records: scope.input_from(&mut records),
            names: names.to_collection(scope),
            signatures: signatures.to_collection(scope),
            rules: rules.to_collection(scope),
            // Deletions come with the control partition of a running cluster; a replay has none.
            replacements: timely::dataflow::operators::vec::ToStream::to_stream(None, scope),
        };
        let Outputs { sessions, names, classes, counts, sessionless, verdicts: journal, .. } =
            pipeline(inputs, settings);
        journal.inspect(move |(verdict, _)| verdicts.borrow_mut().add(*verdict)).probe_with(&probe);
        sessions.stream.probe_with(&probe);
        names.stream.probe_with(&probe);
        classes.stream.probe_with(&probe);
        counts.stream.probe_with(&probe);
        sessionless.stream.probe_with(&probe);
        Views {
            sessions: sessions.trace,
            names: names.trace,
            classes: classes.trace,
            counts: counts.trace,
            sessionless: sessionless.trace,
        }
    });
    (Feed { records, names, signatures, rules }, views, tally, probe)
}

impl Tally {
    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Duplicate(_) => self.duplicates += 1,
            Verdict::NotChecked(_) => self.duplicates_unchecked += 1,
            Verdict::Conflict(position) => self.conflicts.push(position),
        }
    }
}

/// Memory for the ids of all workers together. When it is full, the ids of the oldest events are forgotten, and
/// records as old as these are counted as not checked.
const DEDUPE_BYTES: usize = 2 << 30;

/// The frontier of a view whose inputs are closed: everything.
pub fn complete() -> Antichain<Tick> {
    Antichain::new()
}
