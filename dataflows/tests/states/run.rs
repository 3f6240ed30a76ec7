//! Runs the operator alone, with replacements, several ticks in flight, readers of the past and snapshots.

use super::oracle::{Rows, definition};
use super::{ENTITIES, STATES, entity, time};
use dataflows::state::{Contribution, Entity, Inputs, Item, Replacement, RestoredEntity, States, accumulate};
use dataflows::{Tick, UserKey};
use std::collections::BTreeMap;
use std::sync::mpsc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::vec::Input as _;
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

type Sender<R> = InputHandle<Tick, CapacityContainerBuilder<Vec<R>>>;

/// What enters at a tick.
#[derive(Clone, Debug, Default)]
pub struct Input {
    pub items: Vec<(u16, UserKey, Item)>,
    pub replacements: Vec<Replacement>,
    /// Of these: how many are not to apply.
    pub rejected: usize,
    pub now_ms: i64,
}

#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub workers: usize,
    /// Ticks that are sent before their outcome is waited for.
    pub in_flight: usize,
    /// Ticks for which the past is kept.
    pub lag: Tick,
    pub history: bool,
}

/// Rows of snapshots, summed.
pub type Snapshot = BTreeMap<(u16, UserKey, Entity), isize>;

#[derive(Default)]
pub struct Seen {
    /// As of each tick.
    pub rows: BTreeMap<Tick, Rows>,
    pub rejected: usize,
    pub snapshot: Snapshot,
}

enum Said {
    Row(Tick, (u16, UserKey), Vec<String>),
    Rejected,
    Snapshot(u16, UserKey, Entity, isize),
}

/// `from`: the rows that come back, and the last tick of their snapshot. `snapshots`: the ticks of others.
pub fn run(restored: &Snapshot, from: Option<Tick>, inputs: &[Input], way: Way, snapshots: &[Tick]) -> Seen {
    assert!(restored.values().all(|times| *times == 1), "a snapshot has each row once: {restored:?}");
    let restored: Vec<RestoredEntity> = restored.keys().cloned().collect();
    let (inputs, snapshots) = (inputs.to_vec(), snapshots.to_vec());
    let ticks = inputs.len() as Tick;
    let (sender, receiver) = mpsc::channel();
    let guards = timely::execute(timely::Config::process(way.workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let (mut contributions, mut replacements) = (Sender::<Contribution>::new(), Sender::<Replacement>::new());
        let mut back = Sender::<RestoredEntity>::new();
        let probe = ProbeHandle::new();
        let rejections = sender.clone();
        let tables = worker.dataflow::<Tick, _, _>(|scope| {
            let inputs = Inputs {
                contributions: scope.input_from(&mut contributions),
                replacements: scope.input_from(&mut replacements),
                restored: scope.input_from(&mut back),
            };
            let states = States { definitions: (0..STATES).map(|_| definition()).collect(), now: None };
            let states = accumulate(inputs, &states, way.history);
            states.rejections.inspect(move |_| rejections.send(Said::Rejected).unwrap()).probe_with(&probe);
            states.tables
        });
        let mine = |position: usize| position % peers == index;
        restored.iter().enumerate().filter(|(at, _)| mine(*at)).for_each(|(_, row)| back.send(row.clone()));
        drop(back);
        let first = from.map_or(0, |from| from + 1);
        let (mut read, mut snapped) = (first, 0);
        for tick in first..ticks {
            let input = &inputs[tick as usize];
            contributions.advance_to(tick);
            replacements.advance_to(tick);
            for (at, (state, entity, item)) in input.items.iter().enumerate() {
                if mine(at) {
                    contributions.send(Contribution { state: *state, entity: Some(*entity), item: item.clone() });
                }
            }
            input.replacements.iter().enumerate().filter(|(at, _)| mine(*at)).for_each(|(_, one)| {
                replacements.send(one.clone());
            });
            contributions.advance_to(tick + 1);
            replacements.advance_to(tick + 1);
            let last = tick + 1 == ticks;
            while probe.less_than(&(tick + 1).saturating_sub(if last { 0 } else { way.in_flight as Tick - 1 })) {
                worker.step();
            }
            let mut done = read;
            while done < ticks && !probe.less_equal(&done) {
                done += 1;
            }
            for (state, table) in (0..).zip(&tables) {
                for tick in snapshots.iter().copied().filter(|tick| (snapped..done).contains(tick)) {
                    let changed = table.borrow_mut().snapshot(&tick);
                    changed.into_iter().for_each(|((entity, row), diff)| {
                        sender.send(Said::Snapshot(state, entity, row, diff)).unwrap();
                    });
                }
            }
            snapped = done.max(snapped);
            // Readers come late, and others are ahead of them.
            let upto = if last { done } else { done.saturating_sub(way.lag).max(read) };
            for asked in read..upto {
                let now = time(inputs[asked as usize].now_ms * 1000);
                for (state, table) in (0..).zip(&tables) {
                    for key in (0..ENTITIES).map(entity) {
                        table.borrow().row(key, &(asked + 1), now, |values| {
                            let row = values.iter().map(|value| format!("{value:?}")).collect();
                            sender.send(Said::Row(asked, (state, key), row)).unwrap();
                        });
                    }
                }
                let next = (asked + 1).min(ticks - 1);
                let now = time(inputs[next as usize].now_ms * 1000);
                tables.iter().for_each(|table| table.borrow_mut().compact(&(asked + 1), now));
            }
            read = upto;
        }
    })
    .unwrap();
    for worker in guards.join() {
        worker.unwrap();
    }
    let mut seen = Seen::default();
    (0..ticks).for_each(|tick| drop(seen.rows.insert(tick, Rows::new())));
    for said in receiver {
        match said {
            Said::Row(tick, key, row) => {
                let before = seen.rows.entry(tick).or_default().insert(key, row);
                assert!(before.is_none(), "an entity is at one worker");
            }
            Said::Rejected => seen.rejected += 1,
            Said::Snapshot(state, entity, row, diff) => {
                *seen.snapshot.entry((state, entity, row)).or_insert(0) += diff;
            }
        }
    }
    seen.snapshot.retain(|_, times| *times != 0);
    seen
}
