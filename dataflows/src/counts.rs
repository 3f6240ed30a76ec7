//! Events by class and hour of their event time: a view, maintained by signature and resolved through the classes.
//! Beside it, how many events belong to no session and why, and on its way the events that do: one pass does it all.

use crate::classify::Class;
use crate::identity::SignatureId;
use crate::operators::{Capabilities, Fold, Keyed, Output, Passage, Turn};
use crate::record::{Event, Sessionless};
use crate::sessionize::Visit;
use crate::time::{EventTime, Tick, TotalTime};
use differential_dataflow::consolidation::consolidate;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::implementations::KeySpine;
use std::collections::{BTreeMap, HashMap};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;

/// A class and the start of an hour; `None` for events without a time. The number of events is the multiplicity.
pub type ClassHour = (Class, Option<EventTime>);

pub type SessionlessTrace = TraceAgent<KeySpine<Sessionless, Tick, isize>>;

pub type CountTrace = TraceAgent<KeySpine<ClassHour, Tick, isize>>;

/// A signature and the start of an hour; `None` for events without a time.
pub type SignatureHour = (SignatureId, Option<EventTime>);

/// What one pass over the events gives: those that can belong to a session, and sums of all.
pub struct Tally<'s, T: TotalTime = Tick> {
    /// Events with a user and a time.
    pub visits: Stream<'s, T, Vec<Visit>>,
    /// The number of events, as multiplicities.
    pub by_signature: Stream<'s, T, Vec<(SignatureHour, T, isize)>>,
    /// The number of events that belong to no session, as multiplicities.
    pub by_reason: Stream<'s, T, Vec<(Sessionless, T, isize)>>,
    /// The number of events, as multiplicities: of this worker's events.
    pub by_class: Stream<'s, T, Vec<(ClassHour, T, isize)>>,
}

/// Sums the events of a tick where they are, so that one update per key goes on, and not three copies of each event. The
/// classes are whole on each worker, so the sums stay where they are until they are resolved.
///
/// `past` are the sums of a snapshot; they come at a tick before those of all events, and are of no output but `by_class`.
pub fn tally<'s, T: TotalTime>(
    events: Stream<'s, T, Vec<Event>>,
    past: Stream<'s, T, Vec<(SignatureHour, T, isize)>>,
    classes: Stream<'s, T, Vec<((SignatureId, Class), T, isize)>>,
) -> Tally<'s, T> {
    let mut operator = Keyed::<T, Tallying<T>>::new("Tally", events.scope());
    let (visits, visit_stream) = operator.passage();
    let (by_signature, signature_stream) = operator.output();
    let (by_reason, reason_stream) = operator.output();
    let (by_class, class_stream) = operator.output();
    operator.passing(events, Pipeline, |fold, arrivals| {
        let mut visits = fold.visits.activate();
        arrivals.each(|sums, capability, events| {
            let mut session = visits.session(capability);
            events.drain(..).filter_map(|event| sums.event(event)).for_each(|visit| session.give(visit));
        });
    });
    operator.input(past, Pipeline, |_, arrivals| {
        arrivals.each(|sums, _, rows| sums.past.extend(rows.drain(..).map(|(row, _, diff)| (row, diff))));
    });
    operator.input(classes, Pipeline, |_, arrivals| {
        arrivals.each(|sums, _, rows| sums.classes.extend(rows.drain(..).map(|(row, _, diff)| (row, diff))));
    });
    operator.build(Tallying { visits, by_signature, by_reason, by_class, resolver: Resolver::default() });
    Tally { visits: visit_stream, by_signature: signature_stream, by_reason: reason_stream, by_class: class_stream }
}

/// One worker's sums.
struct Tallying<T: TotalTime> {
    visits: Passage<T, Visit>,
    by_signature: Output<T, (SignatureHour, T, isize)>,
    by_reason: Output<T, (Sessionless, T, isize)>,
    by_class: Output<T, (ClassHour, T, isize)>,
    resolver: Resolver,
}

impl<T: TotalTime> Fold<T> for Tallying<T> {
    type Waiting = Sums;

    fn tick(&mut self, tick: &T, sums: &mut Sums, at: &Capabilities<T>) -> Turn {
        let Sums { by_signature, by_reason, past, classes } = std::mem::take(sums);
        let mut counts: Vec<_> = by_signature.into_iter().collect();
        counts.sort_unstable();
        self.by_signature.give(at, counts.iter().map(|(row, count)| (*row, tick.clone(), *count)));
        self.by_reason.give(at, by_reason.into_iter().map(|(reason, count)| (reason, tick.clone(), count)));
        let changes = self.resolver.tick(counts.into_iter().chain(past), classes);
        self.by_class.give(at, changes.into_iter().map(|(row, diff)| (row, tick.clone(), diff)));
        Turn::Done
    }
}

/// What has arrived for a tick that is not complete yet.
#[derive(Default)]
struct Sums {
    by_signature: HashMap<SignatureHour, isize, foldhash::fast::FixedState>,
    by_reason: BTreeMap<Sessionless, isize>,
    past: Vec<(SignatureHour, isize)>,
    classes: Vec<((SignatureId, Class), isize)>,
}

impl Sums {
    /// Counts an event, and returns it as a visit if it can belong to a session.
    #[inline]
    fn event(&mut self, event: Event) -> Option<Visit> {
        let hour = event.time.ok().map(EventTime::hour);
        *self.by_signature.entry((event.signature, hour)).or_insert(0) += 1;
        let visit = Visit::of(event);
        visit.map_err(|reason| *self.by_reason.entry(reason).or_insert(0) += 1).ok()
    }
}

/// The sums of one worker's events, and the classes.
#[derive(Default)]
struct Resolver {
    sums: BTreeMap<SignatureHour, isize>,
    classes: BTreeMap<SignatureId, Class>,
}

impl Resolver {
    /// Takes what came with a tick. Returns how the sums by class change, consolidated.
    fn tick(
        &mut self,
        sums: impl IntoIterator<Item = (SignatureHour, isize)>,
        classes: Vec<((SignatureId, Class), isize)>,
    ) -> Vec<(ClassHour, isize)> {
        let mut changes = Vec::new();
        // Removals first: what replaces a class comes with it.
        for removed in [true, false] {
            for ((signature, class), _) in classes.iter().filter(|(_, diff)| (*diff < 0) == removed) {
                let sign = if removed { -1 } else { 1 };
                let hours = (*signature, None)..=(*signature, Some(EventTime::MAX));
                let of_class =
                    self.sums.range(hours).map(|((_, hour), sum)| ((Class::clone(class), *hour), sign * sum));
                changes.extend(of_class);
                if removed {
                    self.classes.remove(signature);
                } else {
                    self.classes.insert(*signature, Class::clone(class));
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
            changes.extend(self.classes.get(&signature).map(|class| ((Class::clone(class), hour), diff)));
        }
        consolidate(&mut changes);
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_takes_the_sums_of_its_signatures_with_it() {
        let class = |name: &str| Class::from(name);
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
