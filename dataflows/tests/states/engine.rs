//! The engine with states: contributions come with the records of events, rows are scanned in the order of entities while
//! later ticks are in flight, and what a snapshot takes brings them back. Who follows them hears each change of them.

use super::oracle::{Key, Rows, close, definition, rows};
use super::run::{Input, Snapshot, Way};
use super::{Change, STATES, Step, advance, entity, steps, time, way};
use dataflows::engine::{self, Engine, Roots};
use dataflows::pipeline::Settings;
use dataflows::record::Contributions;
use dataflows::resolve::{Row, TakeRows};
use dataflows::state::{Contribution, States};
use dataflows::{Event, EventTime, Record, SignatureId, Tick, UserKey};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc;
use timely::worker::Worker;

/// The state 0 is of users, the other one of a field.
fn records(input: &Input) -> engine::Input {
    let record = |(state, entity, item): &(u16, UserKey, _)| {
        let of_field = (*state > 0).then_some(*entity);
        let contribution = Contribution { state: *state, entity: of_field, item: Clone::clone(item) };
        // One of a user, from an event without one, is of no state.
        let stray = Contribution { state: 0, entity: None, ..contribution.clone() };
        let contributions = if of_field.is_some() { vec![contribution, stray] } else { vec![contribution] };
        let event = Event {
            user: (*state == 0).then_some(*entity),
            time: Ok(item_time(item)),
            signature: SignatureId(1),
            details: None,
            steps: None,
            contributions: Some(Box::new(Contributions::from_vec(contributions))),
            calls: None,
            counted: None,
            links: None,
        };
        Record { event, identity: None }
    };
    let names = (0..super::ENTITIES).map(|number| (entity(number), format!("entity {number}").into()));
    engine::Input {
        records: input.items.iter().map(record).collect(),
        names: names.collect(),
        ..engine::Input::default()
    }
}

fn item_time(item: &dataflows::state::Item) -> EventTime {
    item.time
}

/// Changes of rows, by tick.
type Told = BTreeMap<Tick, Vec<((Key, Vec<String>), isize)>>;

enum Said {
    Row(Tick, Key, Vec<String>),
    Told(Tick, (Key, Vec<String>), isize),
    Changed((u16, UserKey, dataflows::state::Entity), isize),
}

/// Without what decays, which cannot be followed.
fn steady(mut row: Vec<String>) -> Vec<String> {
    row.remove(6);
    row
}

/// Takes the changes of a tick.
struct Telling<'s>(Tick, &'s mpsc::Sender<Said>);

impl TakeRows for Telling<'_> {
    fn row(&mut self, row: Row<'_>, diff: isize) -> ControlFlow<()> {
        let Row::State(state, name, values) = row else { panic!("of another collection: {row:?}") };
        let row = steady(values.iter().map(|value| format!("{value:?}")).collect());
        self.1.send(Said::Told(self.0, ((state, UserKey::of(name)), row), diff)).unwrap();
        ControlFlow::Continue(())
    }
}

/// Rows as of each tick, how they change, and what the snapshot of the last tick has.
fn live(restored: &Snapshot, first: Tick, inputs: &[Input], way: Way) -> (BTreeMap<Tick, Rows>, Told, Snapshot) {
    let (sender, receiver) = mpsc::channel();
    let (inputs, from) = (inputs.to_vec(), restored.keys().cloned().collect::<Vec<_>>());
    let ticks = inputs.len() as Tick;
    let run = move |worker: &mut Worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let states = States { definitions: (0..STATES).map(|_| definition()).collect(), now: None };
        let settings = Settings { gap: 1, states, clock: true, ..Settings::default() };
        let mut engine = Engine::new(worker, settings);
        let mine = from.iter().enumerate().filter(|(at, _)| at % peers == index);
        engine.restore(&mut Roots { entities: mine.map(|(_, row)| row.clone()).collect(), ..Roots::default() });
        if first > 0 {
            engine.now(inputs[first as usize - 1].now_ms);
            engine.send(&mut records(&Input::default()));
            engine.advance_to(first);
            while engine.settled() < first {
                Engine::wait(worker);
            }
            (0..STATES).for_each(|state| engine.follow_state(state, first));
        }
        let (mut read, mut told) = (first, first);
        for tick in first..ticks {
            engine.advance_to(tick);
            engine.now(inputs[tick as usize].now_ms);
            let mut all = records(&inputs[tick as usize]);
            let mut at = 0..;
            all.records.retain(|_| at.next().is_some_and(|at: usize| at % peers == index));
            engine.send(&mut all);
            engine.advance_to(tick + 1);
            let last = tick + 1 == ticks;
            let wanted = (tick + 1).saturating_sub(if last { 0 } else { way.in_flight as Tick - 1 });
            while engine.settled() < wanted {
                Engine::wait(worker);
            }
            let done = engine.settled().min(ticks);
            drop(engine.changes(done));
            for tick in told..done {
                let mut telling = Telling(tick, &sender);
                (0..STATES).for_each(|state| assert!(engine.state_rows(state, tick, &mut telling).is_continue()));
            }
            told = done;
            let upto = if last { done } else { done.saturating_sub(way.lag).max(read) };
            let mut scans = Vec::new();
            for asked in read..upto {
                let now = time(inputs[asked as usize].now_ms * 1000);
                for state in 0..STATES {
                    // In two parts, as pages: up to an entity of any worker, and from there.
                    let from = entity((asked + Tick::from(state)) as u8 % super::ENTITIES);
                    for page in 0..2 {
                        let mut scan = engine.views().scan_state(usize::from(state), asked + 1, now).unwrap();
                        if page == 1 {
                            scan.seek(from);
                        }
                        scans.push((asked, state, scan, (page, from)));
                    }
                }
            }
            // What is compacted meanwhile is held for those that read.
            engine.compact(upto.saturating_sub(1));
            for (asked, state, mut scan, (page, from)) in scans {
                {
                    let mut before = None;
                    let mut row = |key: UserKey, name: &str, values: &[dataflows::state::Value<'_>]| {
                        assert!(before.replace(key) < Some(key), "in the order of keys");
                        assert_eq!(UserKey::of(name), key);
                        if page == 0 && key >= from {
                            return;
                        }
                        assert!(page == 0 || key >= from, "before the page");
                        let row = values.iter().map(|value| format!("{value:?}")).collect();
                        sender.send(Said::Row(asked, (state, key), row)).unwrap();
                    };
                    while scan.step(&mut row).is_some() {}
                }
                if asked + 1 == ticks && state == 0 && page == 0 {
                    for (state, changed) in (0..).zip(engine.views().state_changes(asked)) {
                        for ((key, row), diff) in changed {
                            sender.send(Said::Changed((state, key, row), diff)).unwrap();
                        }
                    }
                }
            }
            read = upto;
        }
        engine.close(worker);
    };
    for worker in timely::execute(timely::Config::process(way.workers), run).unwrap().join() {
        worker.unwrap();
    }
    let (mut rows, mut told, mut snapshot) = (BTreeMap::new(), Told::new(), restored.clone());
    (first..ticks).for_each(|tick| drop(rows.insert(tick, Rows::new())));
    for said in receiver {
        match said {
            Said::Row(tick, key, row) => drop(rows.entry(tick).or_default().insert(key, row)),
            Said::Told(tick, row, diff) => told.entry(tick).or_default().push((row, diff)),
            Said::Changed(row, diff) => *snapshot.entry(row).or_insert(0) += diff,
        }
    }
    snapshot.retain(|_, times| *times != 0);
    (rows, told, snapshot)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_gives_the_rows_of_the_oracle(steps in steps(), ways in (way(), way()), cut in any::<prop::sample::Index>()) {
        let adds = |step: &Step| {
            let changes = step.changes.iter().filter(|change| matches!(change, Change::Add(..))).cloned().collect();
            Step { changes, ..step.clone() }
        };
        let steps: Vec<Step> = steps.iter().map(adds).collect();
        let (inputs, oracles) = advance(&steps);
        let cut = cut.index(inputs.len()) + 1;
        let (first, mut told, snapshot) = live(&Snapshot::new(), 0, &inputs[..cut], ways.0);
        let (second, told_later, _) = live(&snapshot, cut as Tick, &inputs, ways.1);
        told.extend(told_later);
        let mut followed = BTreeMap::<(Key, Vec<String>), isize>::new();
        for (tick, oracle) in (0..).zip(&oracles) {
            let found = first.get(&tick).or(second.get(&tick)).unwrap();
            close(found, &rows(oracle))?;
            for (row, diff) in told.remove(&tick).unwrap_or_default() {
                *followed.entry(row).or_insert(0) += diff;
            }
            followed.retain(|_, times| *times != 0);
            let expected = found.iter().map(|(key, row)| ((*key, steady(row.clone())), 1)).collect();
            prop_assert_eq!(&followed, &expected, "tick {}", tick);
        }
    }
}
