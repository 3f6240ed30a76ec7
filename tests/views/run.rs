//! Runs the graph on the oracle's inputs and accumulates what it says, tick by tick.

use super::oracle::{GAP, Input, Row, Seen};
use dataflows::counts::ClassHour;
use dataflows::ingest::{Dedupe, Verdict};
use dataflows::pipeline::{Inputs, Restored, Settings, pipeline};
use dataflows::sessionize::{Rejection, Session};
use dataflows::{Tick, UserKey};
use differential_dataflow::input::InputSession;
use std::collections::BTreeMap;
use std::sync::mpsc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::operator::empty;
use timely::dataflow::operators::vec::Input as _;
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

enum Output {
    Session(UserKey, Session, Tick, isize),
    Name(UserKey, String),
    Count(ClassHour, Tick, isize),
    Verdict(Tick, Verdict),
    Rejection(Tick, Rejection),
}

/// What is seen after each tick. `in_flight`: ticks that are sent before their outcome is waited for.
pub fn run(inputs: Vec<Input>, workers: usize, in_flight: usize, dedupe: bool) -> Vec<Seen> {
    let ticks = inputs.len();
    let (sender, receiver) = mpsc::channel();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let mut records = InputHandle::<Tick, CapacityContainerBuilder<Vec<_>>>::new();
        let mut replacements = InputHandle::<Tick, CapacityContainerBuilder<Vec<_>>>::new();
        let mut clock = InputHandle::<Tick, CapacityContainerBuilder<Vec<_>>>::new();
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
                    sessions: empty(scope),
                    ids: empty(scope),
                    by_signature: empty(scope),
                    by_reason: empty(scope),
                },
            };
            let settings = Settings { gap: GAP, dedupe: dedupe.then_some(Dedupe { ids: 1 << 20 }), clock: true };
            let outputs = pipeline(inputs, settings);
            let (a, b, c, d, e) = (sender.clone(), sender.clone(), sender.clone(), sender.clone(), sender.clone());
            outputs
                .sessions
                .as_collection(|user, session| (*user, session.clone()))
                .inspect(move |((user, session), tick, diff)| {
                    a.send(Output::Session(*user, session.clone(), *tick, *diff)).unwrap();
                })
                .probe_with(&probe);
            outputs
                .names
                .as_collection(|user, name| (*user, name.to_string()))
                .inspect(move |((user, name), _, _)| b.send(Output::Name(*user, name.clone())).unwrap())
                .probe_with(&probe);
            outputs
                .counts
                .as_collection(|row, ()| row.clone())
                .inspect(move |(row, tick, diff)| c.send(Output::Count(row.clone(), *tick, *diff)).unwrap())
                .probe_with(&probe);
            outputs
                .verdicts
                .inspect(move |(verdict, tick)| d.send(Output::Verdict(*tick, *verdict)).unwrap())
                .probe_with(&probe);
            outputs
                .rejections
                .inspect(move |(rejection, tick)| e.send(Output::Rejection(*tick, rejection.clone())).unwrap())
                .probe_with(&probe);
        });
        for (tick, input) in inputs.iter().enumerate() {
            let mine = |n: &usize| n % peers == index;
            input.records.iter().enumerate().filter(|(n, _)| mine(n)).for_each(|(_, row)| records.send(row.clone()));
            let mine_too = input.replacements.iter().enumerate().filter(|(n, _)| mine(n));
            mine_too.for_each(|(_, row)| replacements.send(row.clone()));
            input.names.iter().enumerate().filter(|(n, _)| mine(n)).for_each(|(_, row)| names.insert(row.clone()));
            let descriptors = input.signatures.iter().enumerate().filter(|(n, _)| mine(n));
            descriptors.for_each(|(_, row)| signatures.insert(row.clone()));
            let changed = input.rules.iter().enumerate().filter(|(n, _)| mine(n));
            changed.for_each(|(_, (rule, diff))| rules.update(rule.clone(), *diff));
            let next = tick as Tick + 1;
            records.advance_to(next);
            replacements.advance_to(next);
            clock.advance_to(next);
            names.advance_to(next);
            signatures.advance_to(next);
            rules.advance_to(next);
            names.flush();
            signatures.flush();
            rules.flush();
            while probe.less_than(&next.saturating_sub(in_flight as Tick - 1)) {
                worker.step_or_park(None);
            }
        }
    })
    .unwrap();
    for worker in guards.join() {
        worker.unwrap();
    }
    accumulate(ticks, receiver.into_iter().collect())
}

fn accumulate(ticks: usize, outputs: Vec<Output>) -> Vec<Seen> {
    let names: BTreeMap<UserKey, String> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Name(user, name) => Some((*user, name.clone())),
            _ => None,
        })
        .collect();
    let mut seen = vec![Seen::default(); ticks];
    for output in outputs {
        match output {
            Output::Name(..) => {}
            Output::Session(user, session, tick, diff) => {
                let row = row(names[&user].clone(), &session);
                seen[tick as usize..]
                    .iter_mut()
                    .for_each(|seen| *seen.sessions.entry(row.clone()).or_insert(0) += diff);
            }
            Output::Count((class, hour), tick, diff) => {
                let row = (class.to_string(), hour.map(|hour| hour.micros()));
                seen[tick as usize..].iter_mut().for_each(|seen| *seen.counts.entry(row.clone()).or_insert(0) += diff);
            }
            Output::Verdict(tick, verdict) => seen[tick as usize].verdicts.push(verdict),
            Output::Rejection(tick, rejection) => {
                seen[tick as usize].rejected.push((rejection.replacement.user, rejection.found));
            }
        }
    }
    for seen in &mut seen {
        seen.sessions.retain(|_, count| *count != 0);
        seen.counts.retain(|_, count| *count != 0);
        seen.verdicts.sort();
        seen.rejected.sort();
    }
    seen
}

fn row(user: String, session: &Session) -> Row {
    let details = session.details().expect("every event has details");
    let carried = details.carried[0].as_ref();
    Row {
        user,
        start: session.start.micros(),
        end: session.end.micros(),
        events: session.events,
        signatures: session.counts().collect(),
        first: session.first,
        last: session.last,
        price: details.sums[0],
        pages: carried.map(|carried| (carried.entry.1.to_string(), carried.exit.1.to_string())),
    }
}
