//! Runs the operators on ticks of changes, and accumulates what they say.

use super::oracle::Said;
use dataflows::Tick;
use dataflows::operators::each;
use dataflows::operators::trace::SpanOf;
use dataflows::sequence::{
    Counts, Definition, FunnelKey, Sequences, StepEvent, StepRow, StepSpine, Track, funnel, sequence,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::mpsc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::vec::Input as _;
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

/// What comes with one tick.
#[derive(Clone, Debug, Default)]
pub struct Input {
    pub changes: Vec<StepRow>,
    pub now_ms: i64,
    /// Sequences that are not followed any more.
    pub ended: Vec<u16>,
}

impl Input {
    /// Changes the step events that there are.
    pub fn apply(&self, events: &mut BTreeMap<(Track, StepEvent), isize>) {
        events.retain(|(track, _), _| !self.ended.contains(&track.sequence));
        self.changes.iter().for_each(|(row, diff)| add(events, row.clone(), *diff));
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub workers: usize,
    /// Ticks that are sent before their outcome is waited for.
    pub in_flight: usize,
    /// See [`Sequences::sparse`].
    pub sparse: usize,
}

/// What there is after a tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub activities: BTreeMap<(Track, Said), isize>,
    pub funnels: BTreeMap<(FunnelKey, Counts), isize>,
    pub events: BTreeMap<(Track, StepEvent), isize>,
}

/// What the operators did.
#[derive(Debug)]
pub struct Ran {
    /// After each tick, from the first one that was run.
    pub seen: Vec<Seen>,
    /// Updates of activities in each tick.
    pub updates: Vec<usize>,
    /// Events that were read up to each tick; of one worker.
    pub read: Vec<u64>,
    /// Turns that others had while attempts expired.
    pub turns: u64,
}

enum Output {
    Activity((Track, Said), isize),
    Funnel((FunnelKey, Counts), isize),
    Event((Track, StepEvent), isize),
    Read(u64, u64),
}

type Sender<R> = InputHandle<Tick, CapacityContainerBuilder<Vec<R>>>;

/// Runs `inputs` from the tick `first` on. If it is not 0, the events before and in it come back as a snapshot.
pub fn run(definitions: &[Definition], inputs: &[Input], first: usize, way: Way) -> Ran {
    let (sender, receiver) = mpsc::channel();
    let (all, definitions) = (inputs.to_vec(), definitions.to_vec());
    let ticks = inputs.len();
    let guards = timely::execute(timely::Config::process(way.workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let (mut steps, mut restored): (Sender<StepRow>, Sender<StepRow>) = Default::default();
        let (mut clock, mut ended): (Sender<i64>, Sender<u16>) = Default::default();
        let probe = ProbeHandle::new();
        let sequences = Sequences { definitions: definitions.clone(), sparse: way.sparse };
        let effort = worker.dataflow::<Tick, _, _>(|scope| {
            let inputs = (scope.input_from(&mut steps), scope.input_from(&mut restored));
            let (clock, ended) = (scope.input_from(&mut clock), scope.input_from(&mut ended));
            let sequenced = sequence((inputs.0, inputs.1), Some(clock), (Some(ended), None), sequences);
            let (to_activities, of_activities) = (sender.clone(), definitions.clone());
            sequenced
                .activities
                .as_collection(|track, activity| (*track, activity.clone()))
                .inspect(move |((track, activity), tick, diff)| {
                    let said = Said::of(activity, &of_activities[usize::from(track.sequence)]);
                    to_activities.send((*tick, Output::Activity((*track, said), *diff))).unwrap();
                })
                .probe_with(&probe);
            let to_events = sender.clone();
            sequenced
                .events
                .inspect(move |span: &SpanOf<StepSpine>| {
                    for batch in span.inner.iter() {
                        each(batch, |track, event: &StepEvent, tick, diff| {
                            to_events.send((tick, Output::Event((*track, event.clone()), diff))).unwrap();
                        });
                    }
                })
                .probe_with(&probe);
            let to_funnels = sender.clone();
            funnel(sequenced.counts)
                .as_collection(|key, counts| (key.clone(), counts.clone()))
                .inspect(move |(row, tick, diff)| to_funnels.send((*tick, Output::Funnel(row.clone(), *diff))).unwrap())
                .probe_with(&probe);
            sequenced.effort
        });
        let share = |rows: Vec<StepRow>| rows.into_iter().skip(index).step_by(peers);
        for (tick, input) in all.iter().enumerate().skip(first) {
            let at = tick as Tick;
            steps.advance_to(at);
            clock.advance_to(at);
            ended.advance_to(at);
            if tick == first && first > 0 {
                restored.advance_to(at);
                share(so_far(&all[..=first])).for_each(|row| restored.send(row));
                let now = all[..=first].iter().map(|input| input.now_ms).max();
                clock.send(now.unwrap_or_default());
            } else {
                share(input.changes.clone()).for_each(|row| steps.send(row));
                clock.send(input.now_ms);
                input.ended.iter().for_each(|sequence| ended.send(*sequence));
            }
            steps.advance_to(at + 1);
            clock.advance_to(at + 1);
            ended.advance_to(at + 1);
            restored.advance_to(at + 1);
            while probe.less_than(&(at + 1).saturating_sub(way.in_flight as Tick - 1)) {
                worker.step_or_park(None);
            }
            if index == 0 {
                sender.send((at, Output::Read(effort.read.get(), effort.turns.get()))).unwrap();
            }
        }
        drop((steps, restored, clock, ended));
        while worker.step_or_park(None) {}
    })
    .unwrap();
    for worker in guards.join() {
        worker.unwrap();
    }
    let mut outputs = BTreeMap::<Tick, Vec<Output>>::new();
    receiver.into_iter().for_each(|(tick, output)| outputs.entry(tick).or_default().push(output));
    let mut ran = Ran { seen: vec![], updates: vec![], read: vec![], turns: 0 };
    let mut seen = Seen::default();
    for tick in first..ticks {
        let (mut updates, mut events_read) = (0, 0);
        for output in outputs.remove(&(tick as Tick)).unwrap_or_default() {
            match output {
                Output::Activity(row, diff) => {
                    updates += 1;
                    add(&mut seen.activities, row, diff);
                }
                Output::Funnel(row, diff) => add(&mut seen.funnels, row, diff),
                Output::Event(row, diff) => add(&mut seen.events, row, diff),
                Output::Read(read, turns) => {
                    events_read = read;
                    ran.turns = turns;
                }
            }
        }
        ran.seen.push(seen.clone());
        ran.updates.push(updates);
        ran.read.push(events_read);
    }
    ran
}

/// All events of some ticks.
pub fn so_far(inputs: &[Input]) -> Vec<StepRow> {
    let mut events = BTreeMap::new();
    inputs.iter().for_each(|input| input.apply(&mut events));
    events.into_iter().collect()
}

pub fn add<R: Ord>(rows: &mut BTreeMap<R, isize>, row: R, diff: isize) {
    match rows.entry(row) {
        Entry::Occupied(times) if *times.get() + diff == 0 => drop(times.remove()),
        Entry::Occupied(mut times) => *times.get_mut() += diff,
        Entry::Vacant(place) => drop(place.insert(diff)),
    }
}
