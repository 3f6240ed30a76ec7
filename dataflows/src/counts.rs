//! Events by class and hour of their event time: a view, maintained by signature and resolved through the classes.
//! Beside it, how many events belong to no session and why, and on its way the events that do: one pass does it all.
//!
//! ```text
//! records ─▶ tally ─ sums by label of this worker's events ─▶ (exchange) ─▶ count ─ rows with their number of events
//! ```

use crate::classify::{Class, ClassSpine, Label};
use crate::forget::{SharedNotes, Withdrawal};
use crate::group::Added;
use crate::hashed::Hashed;
use crate::identity::{SignatureId, UserKey};
use crate::link::Seen;
use crate::operators::trace::SpanOf;
use crate::operators::{Capabilities, Fold, Keyed, Output, Own, Passage, Rows, Turn, each};
use crate::record::{Call, Contribution, Event, Record, Sessionless};
pub use crate::record::{CountedBy, SignatureHour};
use crate::sessionize::Visit;
use crate::shapes::LabelHour;
use crate::step::{StepRow, Track};
use crate::time::{EventTime, Tick, TotalTime};
use differential_dataflow::Hashable;
use differential_dataflow::consolidation::consolidate;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};

/// A class and the start of an hour; `None` for events without a time.
pub type ClassHour = (Class, Option<EventTime>);

/// The number of events by class and hour: one row for each, and none where there are no events.
pub type CountSpine<T = Tick> = ValSpine<ClassHour, u64, T, isize>;
/// Reads [`CountSpine`].
pub type CountTrace<T = Tick> = TraceAgent<CountSpine<T>>;

/// What one pass over the events gives: those that can belong to a session, and sums of all.
pub struct Tally<'s, T: TotalTime = Tick> {
    /// Events with a user and a time.
    pub visits: Stream<'s, T, Vec<Visit>>,
    /// Steps of sequences, each with its key, if there are sequences.
    pub steps: Option<Stream<'s, T, Vec<StepRow>>>,
    /// What events contribute to states, each with its entity, if there are states.
    pub contributions: Option<Stream<'s, T, Vec<Contribution>>>,
    /// The actions that events call, each with whose state it looks up, if there are any on events.
    pub calls: Option<Stream<'s, T, Vec<Call>>>,
    /// What events add to counts, if there are any over events.
    pub counted: Option<Stream<'s, T, Vec<Added>>>,
    /// The links of aliases, if there are identities.
    pub links: Option<Stream<'s, T, Vec<Seen>>>,
    /// The number of events, as multiplicities: of this worker's events, and without what was restored.
    pub sums: Stream<'s, T, Vec<(CountedBy, T, isize)>>,
    /// The same by label, as multiplicities, with what was restored.
    pub by_label: Stream<'s, T, Vec<(LabelHour, T, isize)>>,
}

/// What events carry beside what sessions need.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    /// Steps of sequences.
    pub steps: bool,
    /// Contributions to states.
    pub contributions: bool,
    /// Calls of actions.
    pub calls: bool,
    /// What they add to counts.
    pub counted: bool,
    /// Links of aliases.
    pub links: bool,
}

/// Sums the events of a tick where they are, so that one update per key goes on, and not three copies of each event. The
/// classes are whole on each worker, so the sums stay where they are until they are resolved.
///
/// Of `records`, those count that [`crate::ingest`] lets through. `past` are the sums of a snapshot; they come at a tick
/// before those of all events, and are of no output but `by_label`. The withdrawals change the sums, and let noted events
/// come again, which are not counted again. `parts`: what events carry beside what sessions need.
pub fn tally<'s, T: TotalTime>(
    records: Stream<'s, T, Vec<Record>>,
    past: Stream<'s, T, Vec<(SignatureHour, T, isize)>>,
    classes: Stream<'s, T, Vec<SpanOf<ClassSpine<T>>>>,
    (withdrawals, notes): (Option<Stream<'s, T, Vec<Withdrawal>>>, SharedNotes<T>),
    parts: Parts,
) -> Tally<'s, T> {
    let mut operator = Keyed::<T, Tallying<T>>::new("Tally", records.scope());
    // Noted events come again when their tick is folded.
    let (visits, visit_stream) = operator.output();
    let (steps, step_stream) = parts.steps.then(|| operator.output()).unzip();
    let (contributions, contribution_stream) = parts.contributions.then(|| operator.output()).unzip();
    let (calls, call_stream) = parts.calls.then(|| operator.passage()).unzip();
    let (counted, counted_stream) = parts.counted.then(|| operator.passage()).unzip();
    let (links, link_stream) = parts.links.then(|| operator.output()).unzip();
    let (sums, sum_stream) = operator.output();
    let (by_label, class_stream) = operator.output();
    operator.passing(records, Pipeline, |fold, arrivals| {
        let mut visits = fold.visits.activate();
        let mut steps = fold.steps.as_mut().map(Output::activate);
        let mut contributions = fold.contributions.as_mut().map(Output::activate);
        let mut calls = fold.calls.as_mut().map(Passage::activate);
        let mut links = fold.links.as_mut().map(Output::activate);
        let notes = &fold.notes;
        let mut counted = fold.counted.as_mut().map(Passage::activate);
        arrivals.each(|sums, capability, records| {
            if !notes.borrow().is_empty()
                && let Some(tick) = capability.least()
            {
                let mut notes = notes.borrow_mut();
                records.iter().for_each(|record| notes.note(tick, &record.event));
            }
            if let Some(steps) = &mut steps {
                let mut session = steps.session(capability);
                records.iter_mut().for_each(|record| session.give_iterator(tracked(&mut record.event)));
            }
            if let Some(contributions) = &mut contributions {
                let mut session = contributions.session(capability);
                records.iter_mut().for_each(|record| session.give_iterator(contributed(&mut record.event)));
            }
            if let Some(calls) = &mut calls {
                let mut session = calls.session(capability);
                records.iter_mut().for_each(|record| session.give_iterator(called(&mut record.event)));
            }
            if let Some(counted) = &mut counted {
                let mut session = counted.session(capability);
                let added = |record: &mut Record| record.event.counted.take().into_iter().flat_map(|added| *added);
                records.iter_mut().for_each(|record| session.give_iterator(added(record)));
            }
            if let Some(links) = &mut links {
                let mut session = links.session(capability);
                records.iter_mut().for_each(|record| session.give_iterator(linked(&mut record.event)));
            }
            let mut session = visits.session(capability);
            records.drain(..).filter_map(|record| sums.event(record.event)).for_each(|visit| session.give(visit));
        });
    });
    operator.input(past, Pipeline, |_, arrivals| {
        arrivals.each(|sums, _, rows| sums.past.extend(rows.drain(..).map(|(row, _, diff)| (row, diff))));
    });
    operator.input(classes, Pipeline, |_, arrivals| {
        arrivals.each(|sums, _, spans| {
            for batch in spans.drain(..).filter_map(|span| span.inner) {
                each(&batch, |signature: &SignatureId, label: &Label, _, diff| {
                    sums.labels.push(((*signature, label.clone()), diff));
                });
            }
        });
    });
    if let Some(withdrawals) = withdrawals {
        operator.input(withdrawals, Pipeline, |_, arrivals| {
            arrivals.each(|sums, _, withdrawals| sums.withdrawals.append(withdrawals));
        });
    }
    let resolver = Resolver::default();
    operator.build(Tallying { visits, steps, contributions, calls, counted, links, sums, by_label, resolver, notes });
    Tally {
        visits: visit_stream,
        steps: step_stream,
        contributions: contribution_stream,
        calls: call_stream,
        counted: counted_stream,
        links: link_stream,
        sums: sum_stream,
        by_label: class_stream,
    }
}

/// Takes the steps out of an event, each with its key: an event without a user is of no sequence that follows users.
fn tracked(event: &mut Event) -> impl Iterator<Item = StepRow> {
    let user = event.user;
    let steps = event.steps.take().into_iter().flat_map(|steps| *steps);
    steps.filter_map(move |step| Some(((Track { key: step.key.or(user)?, sequence: step.sequence }, step.event), 1)))
}

/// Takes out what an event contributes, with the entity of each. Without a user, it contributes to no state of users.
fn contributed(event: &mut Event) -> impl Iterator<Item = Contribution> {
    let user = event.user;
    let contributions = event.contributions.take().into_iter().flat_map(|contributions| *contributions);
    contributions.filter_map(move |contribution| {
        let entity = Some(contribution.entity.or(user)?);
        Some(Contribution { entity, ..contribution })
    })
}

/// Takes out the actions that an event calls. Without a user, the states of users have no row of it.
fn called(event: &mut Event) -> impl Iterator<Item = Call> {
    let user = event.user;
    let calls = event.calls.take().into_iter().flat_map(|calls| *calls);
    calls.map(move |call| Call { entity: call.entity.or(user), ..call })
}

/// Takes the links out of an event, each with its time. Without one, there is no first of them.
fn linked(event: &mut Event) -> impl Iterator<Item = Seen> {
    let time = event.at();
    let links = event.links.take().into_iter().flat_map(|links| *links);
    links.filter_map(move |link| Some((link, time?)))
}

/// One worker's sums.
struct Tallying<T: TotalTime> {
    visits: Output<T, Visit>,
    steps: Option<Output<T, StepRow>>,
    contributions: Option<Output<T, Contribution>>,
    calls: Option<Passage<T, Call>>,
    counted: Option<Passage<T, Added>>,
    links: Option<Output<T, Seen>>,
    sums: Output<T, (CountedBy, T, isize)>,
    by_label: Output<T, (LabelHour, T, isize)>,
    resolver: Resolver,
    notes: SharedNotes<T>,
}

impl<T: TotalTime> Tallying<T> {
    /// Lets the noted events of a user come again.
    fn again(&mut self, user: UserKey, tick: &T, at: &Capabilities<T>) {
        let mut events = self.notes.borrow_mut().take(user, tick);
        if let Some(steps) = &mut self.steps {
            steps.give(at, events.iter_mut().flat_map(tracked));
        }
        if let Some(contributions) = &mut self.contributions {
            contributions.give(at, events.iter_mut().flat_map(contributed));
        }
        if let Some(links) = &mut self.links {
            links.give(at, events.iter_mut().flat_map(linked));
        }
        self.visits.give(at, events.into_iter().filter_map(|event| Visit::of(event).ok()));
    }
}

impl<T: TotalTime> Fold<T> for Tallying<T> {
    type Waiting = Sums;

    fn tick(&mut self, tick: &T, sums: &mut Sums, at: &Capabilities<T>) -> Turn {
        let Sums { mut by_signature, mut by_reason, past, labels, withdrawals } = std::mem::take(sums);
        for withdrawal in withdrawals {
            match withdrawal {
                Withdrawal::Sum(CountedBy::Signature(row), diff) => *by_signature.or_default(row) += diff,
                Withdrawal::Sum(CountedBy::Reason(reason), diff) => *by_reason.entry(reason).or_insert(0) += diff,
                // No event is counted by it for longer than a tick.
                Withdrawal::Sum(CountedBy::Moved, _) => {}
                Withdrawal::Again(user) => self.again(user, tick, at),
            }
        }
        let mut counts = by_signature.into_sorted();
        counts.retain(|(_, count)| *count != 0);
        let signatures = counts.iter().map(|(row, count)| (CountedBy::Signature(*row), *count));
        let reasons = by_reason.into_iter().map(|(reason, count)| (CountedBy::Reason(reason), count));
        let moved = Some(self.resolver.moved(&labels)).filter(|moved| *moved != 0);
        let moved = moved.map(|moved| (CountedBy::Moved, moved));
        self.sums.give(at, signatures.chain(reasons).chain(moved).map(|(row, count)| (row, tick.clone(), count)));
        let changes = self.resolver.tick(counts.into_iter().chain(past), labels);
        self.by_label.give(at, changes.into_iter().map(|(row, diff)| (row, tick.clone(), diff)));
        Turn::Done
    }
}

/// What has arrived for a tick that is not complete yet.
#[derive(Default)]
struct Sums {
    by_signature: Hashed<SignatureHour, isize>,
    by_reason: BTreeMap<Sessionless, isize>,
    past: Vec<(SignatureHour, isize)>,
    labels: Vec<((SignatureId, Label), isize)>,
    withdrawals: Vec<Withdrawal>,
}

impl Sums {
    /// Counts an event, and returns it as a visit if it can belong to a session.
    #[inline]
    fn event(&mut self, event: Event) -> Option<Visit> {
        let hour = event.at().map(EventTime::hour);
        *self.by_signature.or_default((event.signature, hour)) += 1;
        let visit = Visit::of(event);
        visit.map_err(|reason| *self.by_reason.entry(reason).or_insert(0) += 1).ok()
    }
}

/// The sums of one worker's events, and the labels.
#[derive(Default)]
struct Resolver {
    sums: BTreeMap<SignatureHour, isize>,
    labels: BTreeMap<SignatureId, Label>,
}

impl Resolver {
    /// Returns how many of the events so far get another class by these labels.
    fn moved(&self, labels: &[((SignatureId, Label), isize)]) -> isize {
        let come = labels.iter().filter(|(_, diff)| *diff > 0).map(|(row, _)| row);
        let moved = come
            .filter(|(signature, label)| self.labels.get(signature).is_some_and(|before| before.class != label.class));
        let hours = |signature| (signature, None)..=(signature, Some(EventTime::MAX));
        moved.map(|(signature, _)| self.sums.range(hours(*signature)).map(|(_, sum)| sum).sum::<isize>()).sum()
    }

    /// Takes what came with a tick. Returns how the sums by label change, consolidated.
    fn tick(
        &mut self,
        sums: impl IntoIterator<Item = (SignatureHour, isize)>,
        labels: Vec<((SignatureId, Label), isize)>,
    ) -> Vec<(LabelHour, isize)> {
        let mut changes = Vec::new();
        // Removals first: what replaces a label comes with it.
        for removed in [true, false] {
            for ((signature, label), _) in labels.iter().filter(|(_, diff)| (*diff < 0) == removed) {
                let sign = if removed { -1 } else { 1 };
                let hours = (*signature, None)..=(*signature, Some(EventTime::MAX));
                let of_label = self.sums.range(hours).map(|((_, hour), sum)| ((label.clone(), *hour), sign * sum));
                changes.extend(of_label);
                if removed {
                    self.labels.remove(signature);
                } else {
                    self.labels.insert(*signature, label.clone());
                }
            }
        }
        for ((signature, hour), diff) in sums {
            let sum = self.sums.entry((signature, hour)).or_default();
            *sum += diff;
            if *sum == 0 {
                self.sums.remove(&(signature, hour));
            }
            // Signatures come in the tick of their first event, or before.
            changes.extend(self.labels.get(&signature).map(|label| ((label.clone(), hour), diff)));
        }
        consolidate(&mut changes);
        changes
    }
}

/// View: the number of events by class and hour, from the sums of all workers. A row is at one worker. When its number
/// changes, the row with the old one goes, and the row with the new one comes.
pub fn count<'s, T: TotalTime>(by_label: Stream<'s, T, Vec<(LabelHour, T, isize)>>) -> Arranged<'s, CountTrace<T>> {
    let mut operator = Keyed::<T, Counting<T>>::new("Count", by_label.scope());
    let (own, counts) = operator.arranged();
    // Each worker has some of the events of a class.
    let by_row = Exchange::new(|((label, hour), _, _): &(LabelHour, T, isize)| (&label.class, hour).hashed());
    operator.input(by_label, by_row, |_, arrivals| {
        arrivals.each(|waiting, _, rows| {
            waiting.extend(rows.drain(..).map(|((label, hour), _, diff)| ((label.class, hour), diff)));
        });
    });
    operator.build(Counting { own, counts: Hashed::default(), rows: Rows::default() });
    counts
}

/// One worker's rows.
struct Counting<T: TotalTime> {
    own: Own<CountSpine<T>>,
    /// What its trace says so far. The rows are few, and each tick changes some: looking them up in the batches of the
    /// trace takes longer than all else here.
    counts: Hashed<ClassHour, i64>,
    rows: Rows<ClassHour, u64, T>,
}

impl<T: TotalTime> Fold<T> for Counting<T> {
    type Waiting = Vec<(ClassHour, isize)>;

    fn tick(&mut self, tick: &T, sums: &mut Self::Waiting, _: &Capabilities<T>) -> Turn {
        let mut sums = std::mem::take(sums);
        consolidate(&mut sums);
        let mut builder = ValBuilder::default();
        for (row, diff) in sums {
            let count = self.counts.or_default(ClassHour::clone(&row));
            let changes = recount(count, diff).into_iter().flatten();
            if *count == 0 {
                self.counts.remove(&row);
            }
            let changes = changes.map(|(events, diff)| ((ClassHour::clone(&row), events), tick.clone(), diff));
            self.rows.extend(&mut builder, changes);
        }
        self.own.write(self.rows.finish(builder).map(Rc::new));
        Turn::Done
    }
}

/// Adds events to the number of a class and hour. Returns how the row changes, in the order of the numbers; there is none
/// for 0. Nor is there one while more events have gone than had come: what goes is counted outside of the graph, and a
/// number that is wrong must not keep a process from ever starting again.
fn recount(count: &mut i64, diff: isize) -> [Option<(u64, isize)>; 2] {
    let before = *count;
    *count += diff as i64;
    let row = |events: i64, diff| (events > 0).then_some((events.unsigned_abs(), diff));
    let (gone, come) = (row(before, -1), row(*count, 1));
    if diff > 0 { [gone, come] } else { [come, gone] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Layer;

    #[test]
    fn a_row_goes_with_its_old_number_and_comes_with_the_new_one() {
        let mut count = 0;
        assert_eq!(recount(&mut count, 3), [None, Some((3, 1))]);
        assert_eq!(recount(&mut count, 2), [Some((3, -1)), Some((5, 1))]);
        // In the order of the numbers, which is the order of an arrangement.
        assert_eq!(recount(&mut count, -4), [Some((1, 1)), Some((5, -1))]);
        assert_eq!(recount(&mut count, -1), [None, Some((1, -1))]);
        assert_eq!(count, 0);
        // More go than there are.
        assert_eq!(recount(&mut count, -2), [None, None]);
        assert_eq!(recount(&mut count, 3), [None, Some((1, 1))]);
    }

    #[test]
    fn a_class_takes_the_sums_of_its_signatures_with_it() {
        let class = |name: &str| Label { class: name.into(), layer: Layer::Kind, shape: None };
        let hour = |hour| Some(EventTime::from_micros(hour).unwrap());
        let [one, other] = [1, 2].map(SignatureId);
        let mut resolver = Resolver::default();
        let first = resolver.tick(
            vec![((one, hour(0)), 2), ((other, hour(0)), 3), ((one, None), 1)],
            vec![((one, class("a")), 1), ((other, class("a")), 1)],
        );
        assert_eq!(first, [((class("a"), None), 1), ((class("a"), hour(0)), 5)]);
        // The sums of this tick are of the new class.
        let second = resolver.tick(vec![((one, hour(0)), 4)], vec![((one, class("b")), 1), ((one, class("a")), -1)]);
        let expected = [
            ((class("a"), None), -1),
            ((class("a"), hour(0)), -2),
            ((class("b"), None), 1),
            ((class("b"), hour(0)), 6),
        ];
        assert_eq!(second, expected);
        // A class of the same name as the one before is no change of the sums.
        let third = resolver.tick(vec![], vec![((other, class("a")), -1), ((other, class("a")), 1)]);
        assert_eq!(third, []);
        // What was not classified yet is counted when it is.
        assert_eq!(resolver.tick(vec![((SignatureId(3), None), 7)], vec![]), []);
        assert_eq!(resolver.tick(vec![], vec![((SignatureId(3), class("c")), 1)]), [((class("c"), None), 7)]);
    }
}
