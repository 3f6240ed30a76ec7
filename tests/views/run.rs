//! Runs the graph on the oracle's inputs, replacements and changing rules included.

use super::seen::{Output, Said, Snapshot, sent_so_far};
use super::steps::{GAP, Input};
use dataflows::Tick;
use dataflows::ingest::Dedupe;
use dataflows::pipeline::{Inputs, Outputs, Restored, Settings, pipeline};
use differential_dataflow::VecCollection;
use differential_dataflow::collection::AsCollection;
use differential_dataflow::input::InputSession;
use std::sync::mpsc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::vec::Input as _;
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle, Stream};

type Sender<R> = InputHandle<Tick, CapacityContainerBuilder<Vec<R>>>;

/// How a graph is run.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub workers: usize,
    /// Ticks that are sent before their outcome is waited for.
    pub in_flight: usize,
    /// Ids that a shard remembers; `None` without de-duplication.
    pub remembered: Option<usize>,
}

impl Way {
    pub fn settings(self) -> Settings {
        let dedupe = self.remembered.map(|ids| Dedupe { ids: ids * dataflows::EventId::SHARDS });
        Settings { gap: GAP, dedupe, clock: true }
    }
}

/// `inputs` are those of all ticks; those that a snapshot includes are not sent again.
pub fn run(start: Option<Snapshot>, inputs: &[Input], way: Way) -> Said {
    let (sender, receiver) = mpsc::channel();
    let (from, inputs) = (start.clone(), inputs.to_vec());
    let guards = timely::execute(timely::Config::process(way.workers), move |worker| {
        let mine = Share { index: worker.index(), peers: worker.peers() };
        let (mut records, mut replacements, mut clock) = (Sender::new(), Sender::new(), Sender::new());
        let (mut sessions, mut ids) = (Sender::new(), Sender::new());
        let (mut by_signature, mut by_reason) = (Sender::new(), Sender::new());
        let (mut names, mut signatures, mut rules) = (InputSession::new(), InputSession::new(), InputSession::new());
        let probe = ProbeHandle::new();
        worker.dataflow::<Tick, _, _>(|scope| {
            let inputs = Inputs {
                records: scope.input_from(&mut records),
                names: names.to_collection(scope),
                signatures: signatures.to_collection(scope),
                rules: rules.to_collection(scope),
                replacements: scope.input_from(&mut replacements),
                clock: scope.input_from(&mut clock),
                restored: Restored {
                    sessions: scope.input_from(&mut sessions),
                    ids: scope.input_from(&mut ids),
                    by_signature: scope.input_from(&mut by_signature),
                    by_reason: scope.input_from(&mut by_reason),
                },
            };
            listen(pipeline(inputs, way.settings()), mine.index, &sender, &probe);
        });
        // What comes back does so at the last tick of the snapshot.
        let first = from.as_ref().map_or(0, |from| from.tick);
        let again = from.as_ref().map(|_| sent_so_far(&inputs[..=first as usize]));
        // It may still be on its way when the next tick is there already.
        let due = if from.is_some() { (first + 1).min(inputs.len() as Tick - 1) } else { 0 };
        let mut restored = Some((sessions, ids, by_signature, by_reason));
        for (tick, input) in (0..).zip(&inputs).skip(first as usize) {
            let input = again.as_ref().filter(|_| tick == first).unwrap_or(input);
            records.advance_to(tick);
            replacements.advance_to(tick);
            clock.advance_to(tick);
            names.advance_to(tick);
            signatures.advance_to(tick);
            rules.advance_to(tick);
            mine.of(&input.records).for_each(|row| records.send(row.clone()));
            mine.of(&input.replacements).for_each(|row| replacements.send(row.clone()));
            mine.of(&input.names).for_each(|row| names.insert(row.clone()));
            mine.of(&input.signatures).for_each(|row| signatures.insert(row.clone()));
            mine.of(&input.rules).for_each(|(rule, diff)| rules.update(rule.clone(), *diff));
            clock.send(input.now_ms);
            let next = tick + 1;
            records.advance_to(next);
            replacements.advance_to(next);
            clock.advance_to(next);
            names.advance_to(next);
            signatures.advance_to(next);
            rules.advance_to(next);
            names.flush();
            signatures.flush();
            rules.flush();
            if tick < due {
                continue;
            }
            if let Some((mut sessions, mut ids, mut by_signature, mut by_reason)) = restored.take() {
                for _ in 0..5 {
                    worker.step();
                }
                sessions.advance_to(first);
                ids.advance_to(first);
                by_signature.advance_to(first);
                by_reason.advance_to(first);
                if let Some(from) = &from {
                    mine.of(from.sessions.keys()).for_each(|row| sessions.send(row.clone()));
                    mine.of(from.ids.keys()).for_each(|row| ids.send(*row));
                    mine.of(&from.by_signature).for_each(|(row, count)| by_signature.send((*row, first, *count)));
                    mine.of(&from.by_reason).for_each(|(row, count)| by_reason.send((*row, first, *count)));
                }
            }
            while probe.less_than(&next.saturating_sub(way.in_flight as Tick - 1)) {
                worker.step_or_park(None);
            }
        }
    })
    .unwrap();
    for worker in guards.join() {
        worker.unwrap();
    }
    Said::new(start, way.workers, receiver.into_iter().collect())
}

/// What one of the workers sends.
#[derive(Clone, Copy)]
pub struct Share {
    pub index: usize,
    pub peers: usize,
}

impl Share {
    pub fn of<R>(self, rows: impl IntoIterator<Item = R>) -> impl Iterator<Item = R> {
        rows.into_iter().skip(self.index).step_by(self.peers)
    }
}

type Heard = mpsc::Sender<(Tick, Output)>;

fn listen(outputs: Outputs<'_>, worker: usize, sender: &Heard, probe: &ProbeHandle<Tick>) {
    let sessions = outputs.sessions.as_collection(|user, session| (*user, session.clone()));
    updates(sessions, sender, probe, Output::Session);
    let names = outputs.names.as_collection(|user, name| (*user, name.to_string()));
    updates(names, sender, probe, |(user, name), _| Output::Name(user, name));
    let classes = outputs.classes.as_collection(move |signature, class| (worker, (*signature, class.to_string())));
    updates(classes, sender, probe, |(worker, row), diff| Output::Class(worker, row, diff));
    updates(outputs.counts.as_collection(|row, ()| row.clone()), sender, probe, Output::Count);
    updates(outputs.sessionless.as_collection(|row, ()| *row), sender, probe, Output::Sessionless);
    updates(outputs.closings.as_collection(), sender, probe, Output::Closing);
    updates(outputs.ids.as_collection(), sender, probe, Output::Id);
    updates(outputs.by_signature.as_collection(), sender, probe, Output::BySignature);
    updates(outputs.by_reason.as_collection(), sender, probe, Output::ByReason);
    journal(outputs.verdicts, sender, probe, Output::Verdict);
    journal(outputs.rejections, sender, probe, Output::Rejection);
    journal(outputs.late, sender, probe, Output::Late);
    journal(outputs.lineage, sender, probe, Output::Lineage);
}

fn updates<R: Clone + 'static>(
    rows: VecCollection<'_, Tick, R, isize>,
    sender: &Heard,
    probe: &ProbeHandle<Tick>,
    output: fn(R, isize) -> Output,
) {
    let sender = sender.clone();
    rows.inspect(move |(row, tick, diff)| sender.send((*tick, output(row.clone(), *diff))).unwrap()).probe_with(probe);
}

fn journal<R: Clone + 'static>(
    rows: Stream<'_, Tick, Vec<(R, Tick)>>,
    sender: &Heard,
    probe: &ProbeHandle<Tick>,
    output: fn(R) -> Output,
) {
    let sender = sender.clone();
    rows.inspect(move |(row, tick)| sender.send((*tick, output(row.clone()))).unwrap()).probe_with(probe);
}
