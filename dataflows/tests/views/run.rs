//! Runs the graph on the oracle's inputs, replacements and changing rules included.

use super::policies::Asked;
use super::seen::{Output, Said, Snapshot, sent_so_far};
use super::steps::{GAP, Input};
use dataflows::close::Closed;
use dataflows::counts::CountedBy;
use dataflows::describe::Fact;
use dataflows::ingest::{self, Dedupe};
use dataflows::learn::Learning;
use dataflows::operators::each;
use dataflows::operators::trace::SpanOf;
use dataflows::pipeline::{Inputs, Outputs, Restored, Settings, pipeline};
use dataflows::sessionize::{self, Mark, MarkSpine};
use dataflows::{Sessionless, Tick};
use differential_dataflow::VecCollection;
use differential_dataflow::collection::AsCollection;
use std::sync::{Arc, mpsc};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::vec::Input as _;
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle, Scope, Stream};

type Sender<R> = InputHandle<Tick, CapacityContainerBuilder<Vec<R>>>;

/// How a graph is run.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub workers: usize,
    /// Ticks that are sent before their outcome is waited for.
    pub in_flight: usize,
    /// Ids that a shard remembers; `None` without de-duplication.
    pub remembered: Option<usize>,
    pub asked: Option<Asked>,
    /// Classes are learned while an input says so.
    pub learning: Option<Learning>,
}

impl Way {
    pub fn settings(self) -> Settings {
        let dedupe = self.remembered.map(|ids| Dedupe { ids: ids * dataflows::EventId::SHARDS });
        let policies = self.asked.map(Asked::policies);
        Settings { gap: GAP, policies, dedupe, learning: self.learning, clock: true, ..Settings::default() }
    }
}

/// `inputs` are those of all ticks; those that a snapshot includes are not sent again.
pub fn run(start: Option<Snapshot>, inputs: &[Input], way: Way) -> Said {
    let (sender, receiver) = mpsc::channel();
    let (from, inputs) = (start.clone(), inputs.to_vec());
    let guards = timely::execute(timely::Config::process(way.workers), move |worker| {
        let mine = Share { index: worker.index(), peers: worker.peers() };
        let (mut records, mut facts) = (Sender::new(), Sender::new());
        let (mut replacements, mut clock) = (Sender::new(), Sender::new());
        let (mut sessions, mut ids, mut by_signature) = (Sender::new(), Sender::new(), Sender::new());
        let mut marks = way.asked.map(|_| Sender::new());
        let probe = ProbeHandle::new();
        worker.dataflow::<Tick, _, _>(|scope| {
            let inputs = Inputs {
                records: scope.input_from(&mut records),
                facts: scope.input_from(&mut facts),
                replacements: scope.input_from(&mut replacements),
                replaced_entities: None,
                dropped: None,
                unlinked: None,
                withdrawals: None,
                notes: Default::default(),
                clock: Some(scope.input_from(&mut clock)),
                ended: None,
                restored: Restored {
                    sessions: scope.input_from(&mut sessions),
                    marks: marks.as_mut().map(|marks| scope.input_from(marks)),
                    entities: None,
                    ids: scope.input_from(&mut ids),
                    steps: None,
                    links: None,
                    by_signature: scope.input_from(&mut by_signature),
                    groups: None,
                    kept: None,
                },
            };
            listen(scope, pipeline(inputs, &way.settings()), mine.index, &sender, &probe);
        });
        // What comes back does so at the last tick of the snapshot.
        let first = from.as_ref().map_or(0, |from| from.tick);
        let again = from.as_ref().map(|_| sent_so_far(&inputs[..=first as usize]));
        // It may still be on its way when the next tick is there already.
        let due = if from.is_some() { (first + 1).min(inputs.len() as Tick - 1) } else { 0 };
        let mut restored = Some((sessions, marks, ids, by_signature));
        for (tick, input) in (0..).zip(&inputs).skip(first as usize) {
            let input = again.as_ref().filter(|_| tick == first).unwrap_or(input);
            records.advance_to(tick);
            facts.advance_to(tick);
            replacements.advance_to(tick);
            clock.advance_to(tick);
            mine.of(&input.records).for_each(|row| records.send(row.clone()));
            mine.of(&input.replacements).for_each(|row| replacements.send(row.clone()));
            let names = mine.of(&input.names).cloned();
            names.for_each(|(user, name)| facts.send(Fact::name(user, name, mine.peers)));
            for (signature, descriptor) in mine.of(&input.signatures).cloned() {
                Fact::signature(signature, descriptor, mine.peers).for_each(|fact| facts.send(fact));
            }
            for (shape, leaves) in mine.of(&input.shapes).cloned() {
                Fact::shape(shape, leaves, mine.peers).for_each(|fact| facts.send(fact));
            }
            for (rule, diff) in mine.of(&input.rules).cloned() {
                Fact::rule(rule, diff, mine.peers).for_each(|fact| facts.send(fact));
            }
            for ((shape, class), diff) in mine.of(&input.labels).cloned() {
                Fact::label(shape, class, diff, mine.peers).for_each(|fact| facts.send(fact));
            }
            if mine.index == 0 && input.learns != 0 {
                Fact::learns(input.learns, mine.peers).for_each(|fact| facts.send(fact));
            }
            clock.send(input.now_ms);
            let next = tick + 1;
            records.advance_to(next);
            facts.advance_to(next);
            replacements.advance_to(next);
            clock.advance_to(next);
            if tick < due {
                continue;
            }
            if let Some((mut sessions, mut marks, mut ids, mut by_signature)) = restored.take() {
                for _ in 0..5 {
                    worker.step();
                }
                sessions.advance_to(first);
                marks.iter_mut().for_each(|marks| marks.advance_to(first));
                ids.advance_to(first);
                by_signature.advance_to(first);
                if let Some(from) = &from {
                    mine.of(from.sessions.keys()).for_each(|row| sessions.send(row.clone()));
                    if let Some(marks) = &mut marks {
                        mine.of(&from.marks)
                            .for_each(|((user, mark), times)| marks.send((*user, mark.clone(), *times)));
                    }
                    mine.of(from.ids.keys()).for_each(|row| ids.send(*row));
                    mine.of(&from.by_signature).for_each(|(row, count)| by_signature.send((*row, first, *count)));
                    for (reason, count) in mine.of(&from.by_reason) {
                        // No stage needs them: who asks adds what has come back.
                        sender.send((first, Output::Sessionless(*reason, *count))).unwrap();
                    }
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

fn listen<'s>(scope: Scope<'s, Tick>, outputs: Outputs<'s>, worker: usize, sender: &Heard, probe: &ProbeHandle<Tick>) {
    let Outputs {
        sessions, mut names, classes, counts, shapes, users, closed, ingested, sessionized, marks, sums, ..
    } = outputs;
    let sessions = sessions.as_collection(|user, session| (*user, session.clone()));
    updates(sessions, sender, probe, |row, diff| vec![Output::Session(row, diff)]);
    let names = names.import(scope).as_collection(|user, name| (*user, name.to_string()));
    updates(names, sender, probe, |(user, name), _| vec![Output::Name(user, name)]);
    let classes = classes.as_collection(move |signature, label| (worker, (*signature, label.class.to_string())));
    updates(classes, sender, probe, |(worker, row), diff| vec![Output::Class(worker, row, diff)]);
    let counts = counts.as_collection(|row, events| (row.clone(), *events));
    updates(counts, sender, probe, |row, diff| vec![Output::Count(row, diff)]);
    let shapes = shapes.as_collection(|shape, totals| (*shape, Arc::clone(totals)));
    updates(shapes, sender, probe, |row, diff| vec![Output::Shape(row, diff)]);
    if let Some(marks) = marks {
        marks
            .inspect({
                let sender = sender.clone();
                move |span: &SpanOf<MarkSpine>| {
                    for batch in span.inner.iter() {
                        each(batch, |user, mark: &Mark, tick, diff| {
                            sender.send((tick, Output::Mark((*user, mark.clone()), diff))).unwrap();
                        });
                    }
                }
            })
            .probe_with(probe);
    }
    if let Some(users) = users {
        let users = users.as_collection(|user, totals| (*user, *totals));
        updates(users, sender, probe, |row, diff| vec![Output::User(row, diff)]);
    }
    updates(sums.as_collection(), sender, probe, |row, diff| match row {
        CountedBy::Signature(row) => vec![Output::BySignature(row, diff)],
        CountedBy::Reason(reason) => vec![Output::ByReason(reason, diff), Output::Sessionless(reason, diff)],
        CountedBy::Moved => Vec::new(),
    });
    if let Some(Closed { closings, .. }) = closed {
        updates(closings.as_collection(), sender, probe, |row, diff| vec![Output::Closing(row, diff)]);
    }
    if let Some(ingested) = ingested {
        journal(ingested, sender, probe, |entry| match entry {
            ingest::Entry::Verdict(verdict) => vec![Output::Verdict(verdict)],
            ingest::Entry::Id(row, diff) => vec![Output::Id(row, diff)],
        });
    }
    journal(sessionized, sender, probe, |entry| match entry {
        sessionize::Entry::Late(late) => vec![Output::Late(late)],
        sessionize::Entry::Lineage(lineage) => vec![Output::Lineage(lineage)],
        sessionize::Entry::Rejection(rejection) => vec![Output::Rejection(*rejection)],
        sessionize::Entry::Outside(diff) => {
            let reason = Sessionless::KeepAlive;
            vec![Output::ByReason(reason, diff), Output::Sessionless(reason, diff)]
        }
    });
}

fn updates<R: Clone + 'static>(
    rows: VecCollection<'_, Tick, R, isize>,
    sender: &Heard,
    probe: &ProbeHandle<Tick>,
    outputs: fn(R, isize) -> Vec<Output>,
) {
    let sender = sender.clone();
    let send = move |(row, tick, diff): &(R, Tick, isize)| {
        outputs(row.clone(), *diff).into_iter().for_each(|output| sender.send((*tick, output)).unwrap());
    };
    rows.inspect(send).probe_with(probe);
}

fn journal<R: Clone + 'static>(
    rows: Stream<'_, Tick, Vec<(R, Tick)>>,
    sender: &Heard,
    probe: &ProbeHandle<Tick>,
    outputs: fn(R) -> Vec<Output>,
) {
    let sender = sender.clone();
    let send = move |(row, tick): &(R, Tick)| {
        outputs(row.clone()).into_iter().for_each(|output| sender.send((*tick, output)).unwrap());
    };
    rows.inspect(send).probe_with(probe);
}
