//! Records -> the weights of signatures, for what is learned from them: how many events have each, in steps.
//!
//! ```text
//! records ─▶ weigh ─▶ the same records
//!              └─ sums of this worker's events ─▶ (exchange, by signature) ─▶ step ─ facts, to every worker
//! ```
//!
//! A step is said when a number of events comes to another one, O(log n) times: see [`crate::learn::step`].

use crate::counts::{CountedBy, SignatureHour};
use crate::describe::Fact;
use crate::forget::Withdrawal;
use crate::hashed::Hashed;
use crate::identity::SignatureId;
use crate::learn::step;
use crate::operators::{Capabilities, Fold, Keyed, Output, Passage, Turn};
use crate::record::Record;
use crate::time::TotalTime;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};

/// What [`weigh`] gives.
pub struct Weighed<'s, T: TotalTime> {
    /// All that came.
    pub records: Stream<'s, T, Vec<Record>>,
    /// The weight of each signature that has another one.
    pub facts: Stream<'s, T, Vec<Fact>>,
}

/// Weighs the records, and the sums of a snapshot, without what is withdrawn.
pub fn weigh<'s, T: TotalTime>(
    records: Stream<'s, T, Vec<Record>>,
    past: Stream<'s, T, Vec<(SignatureHour, T, isize)>>,
    withdrawals: Option<Stream<'s, T, Vec<Withdrawal>>>,
) -> Weighed<'s, T> {
    let scope = records.scope();
    let mut operator = Keyed::<T, Weighing<T>>::new("Weigh", scope);
    let (passage, records_on) = operator.passage();
    let (sums, sum_stream) = operator.output();
    operator.passing(records, Pipeline, |fold, arrivals| {
        let mut records_on = fold.records.activate();
        arrivals.each(|sums, capability, records| {
            records.iter().for_each(|record| *sums.or_default(record.event.signature) += 1);
            records_on.session(capability).give_container(records);
        });
    });
    operator.input(past, Pipeline, |_, arrivals| {
        arrivals.each(|sums, _, rows| {
            rows.drain(..).for_each(|((signature, _), _, diff)| *sums.or_default(signature) += diff);
        });
    });
    if let Some(withdrawals) = withdrawals {
        operator.input(withdrawals, Pipeline, |_, arrivals| {
            arrivals.each(|sums, _, rows| {
                for row in rows.drain(..) {
                    if let Withdrawal::Sum(CountedBy::Signature((signature, _)), diff) = row {
                        *sums.or_default(signature) += diff;
                    }
                }
            });
        });
    }
    operator.build(Weighing { records: passage, sums });

    let workers = scope.peers();
    let mut operator = Keyed::<T, Steps<T>>::new("Steps", scope);
    let (facts, fact_stream) = operator.output();
    let by_signature = Exchange::new(|(signature, _): &(SignatureId, isize)| signature.0);
    operator.input(sum_stream, by_signature, |_, arrivals| {
        arrivals.each(|sums, _, rows| rows.drain(..).for_each(|(signature, diff)| *sums.or_default(signature) += diff));
    });
    operator.build(Steps { facts, workers, totals: Hashed::default() });
    Weighed { records: records_on, facts: fact_stream }
}

type Sums = Hashed<SignatureId, isize>;

struct Weighing<T: TotalTime> {
    records: Passage<T, Record>,
    sums: Output<T, (SignatureId, isize)>,
}

impl<T: TotalTime> Fold<T> for Weighing<T> {
    type Waiting = Sums;

    fn tick(&mut self, _: &T, sums: &mut Sums, at: &Capabilities<T>) -> Turn {
        self.sums.give(at, std::mem::take(sums).into_sorted());
        Turn::Done
    }
}

struct Steps<T: TotalTime> {
    facts: Output<T, Fact>,
    workers: usize,
    totals: Hashed<SignatureId, i64>,
}

impl<T: TotalTime> Fold<T> for Steps<T> {
    type Waiting = Sums;

    fn tick(&mut self, _: &T, sums: &mut Sums, at: &Capabilities<T>) -> Turn {
        let mut changes = Vec::new();
        for (signature, diff) in std::mem::take(sums).into_sorted() {
            let total = self.totals.or_default(signature);
            let step = |total: i64| step(total.max(0).unsigned_abs());
            let before = step(*total);
            *total += diff as i64;
            let weight = step(*total);
            if weight != before {
                changes.extend(Fact::weight(signature, weight, self.workers));
            }
        }
        self.facts.give(at, changes);
        Turn::Done
    }
}
