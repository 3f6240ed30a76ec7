//! Activity -> [`Funnel`]: how many activities have reached each step, by the hour in which they began and by breakdown.

use super::definition::Definition;
use super::event::{Activity, State};
use crate::hashed::Hashed;
use crate::operators::{Capabilities, Fold, Keyed, Own, Rows, Turn};
use crate::step::{Breakdown, Track};
use crate::time::{EventTime, Tick, TotalTime};
use differential_dataflow::Hashable;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;

const SECOND: i64 = 1_000_000;

/// The longest time of each bucket of times to convert, in microseconds, inclusive. One more bucket has all above.
pub const BUCKETS: [i64; 11] = [
    SECOND,
    10 * SECOND,
    60 * SECOND,
    5 * 60 * SECOND,
    15 * 60 * SECOND,
    3600 * SECOND,
    4 * 3600 * SECOND,
    86_400 * SECOND,
    3 * 86_400 * SECOND,
    7 * 86_400 * SECOND,
    30 * 86_400 * SECOND,
];

/// What activities are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FunnelKey {
    /// Index of the sequence.
    pub sequence: u16,
    /// Start of the hour (UTC) of the first step.
    pub hour: EventTime,
    /// The values of the first step; `None`: the sequence has no breakdown.
    pub by: Option<Breakdown>,
}

impl FunnelKey {
    /// Returns what an activity is counted by.
    pub fn of(track: Track, activity: &Activity) -> FunnelKey {
        let start = &activity.start;
        FunnelKey { sequence: track.sequence, hour: start.time.hour(), by: start.by.clone() }
    }
}

/// Numbers of activities. Those that were broken off are counted as such, and nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Counts {
    /// By state, in the order of [`State::ALL`].
    pub states: [i64; State::ALL.len()],
    /// That have each step of the sequence, optional ones included.
    pub reached: [i64; Definition::STEPS],
    /// Matches by the time that they took: see [`BUCKETS`].
    pub took: [i64; BUCKETS.len() + 1],
    /// The time that all matches took, in microseconds.
    pub took_us: i128,
}

impl Counts {
    /// Adds an activity `times` times.
    pub fn add(&mut self, activity: &Activity, definition: &Definition, times: i64) {
        self.states[activity.state as usize] += times;
        if activity.state == State::Broken {
            return;
        }
        for (reached, time) in self.reached.iter_mut().zip(activity.times(definition)) {
            *reached += if time.is_some() { times } else { 0 };
        }
        if let Some(took) = activity.took() {
            self.took[BUCKETS.partition_point(|longest| *longest < took)] += times;
            self.took_us += i128::from(took) * i128::from(times);
        }
    }

    /// Adds the counts of other activities.
    pub fn merge(&mut self, other: &Counts) {
        let Counts { states, reached, took, took_us } = other;
        self.states.iter_mut().zip(states).for_each(|(one, other)| *one += other);
        self.reached.iter_mut().zip(reached).for_each(|(one, other)| *one += other);
        self.took.iter_mut().zip(took).for_each(|(one, other)| *one += other);
        self.took_us += took_us;
    }

    /// Returns the number of matches.
    pub fn matched(&self) -> i64 {
        self.states[State::Matched as usize]
    }
}

/// A row of the funnels.
pub type Funnel = (FunnelKey, Counts);
/// Counts by key: one row for each, and none where there are no activities.
pub type FunnelSpine<T = Tick> = ValSpine<FunnelKey, Counts, T, isize>;
/// Reads [`FunnelSpine`].
pub type FunnelTrace<T = Tick> = TraceAgent<FunnelSpine<T>>;

/// View: the counts of the activities of all workers, of the changes that [`crate::sequence::sequence`] gives. A row is at
/// one worker.
pub fn funnel<'s, T: TotalTime>(counts: Stream<'s, T, Vec<(FunnelKey, Counts, T)>>) -> Arranged<'s, FunnelTrace<T>> {
    let mut operator = Keyed::<T, Funnelling<T>>::new("Funnel", counts.scope());
    let (own, funnels) = operator.arranged();
    let by_key = Exchange::new(|(key, ..): &(FunnelKey, Counts, T)| key.hashed());
    operator.input(counts, by_key, |_, arrivals| {
        arrivals.each(|waiting, _, rows| {
            for (key, counts, _) in rows.drain(..) {
                waiting.entry(key).or_default().merge(&counts);
            }
        });
    });
    operator.build(Funnelling { own, funnels: Hashed::default(), rows: Rows::default() });
    funnels
}

/// One worker's rows.
struct Funnelling<T: TotalTime> {
    own: Own<FunnelSpine<T>>,
    /// What its trace says so far, as looking it up there takes longer.
    funnels: Hashed<FunnelKey, Counts>,
    rows: Rows<FunnelKey, Counts, T>,
}

impl<T: TotalTime> Fold<T> for Funnelling<T> {
    type Waiting = BTreeMap<FunnelKey, Counts>;

    fn tick(&mut self, tick: &T, waiting: &mut Self::Waiting, _: &Capabilities<T>) -> Turn {
        let mut builder = ValBuilder::default();
        for (key, change) in std::mem::take(waiting) {
            let counts = self.funnels.or_default(key.clone());
            let before = counts.clone();
            counts.merge(&change);
            let after = counts.clone();
            if after == Counts::default() {
                self.funnels.remove(&key);
            }
            let mut rows = vec![(before, -1), (after, 1)];
            rows.retain(|(counts, _)| *counts != Counts::default());
            differential_dataflow::consolidation::consolidate(&mut rows);
            let rows = rows.into_iter().map(|(counts, diff)| ((key.clone(), counts), tick.clone(), diff));
            self.rows.extend(&mut builder, rows);
        }
        self.own.write(self.rows.finish(builder).map(Rc::new));
        Turn::Done
    }
}
