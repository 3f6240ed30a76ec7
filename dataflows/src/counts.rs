//! Events by class and hour of their event time: a view, maintained by signature and resolved through the classes.
//! Beside it, how many events belong to no session and why, and on its way the events that do: one pass does it all.

use crate::classify::Class;
use crate::identity::SignatureId;
use crate::record::{Event, Sessionless};
use crate::sessionize::Visit;
use crate::time::{EventTime, Tick};
use differential_dataflow::consolidation::consolidate;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::implementations::KeySpine;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::progress::operate::FrontierInterest;

/// A class and the start of an hour; `None` for events without a time. The number of events is the multiplicity.
pub type ClassHour = (Class, Option<EventTime>);

pub type SessionlessTrace = TraceAgent<KeySpine<Sessionless, Tick, isize>>;

pub type CountTrace = TraceAgent<KeySpine<ClassHour, Tick, isize>>;

/// A signature and the start of an hour; `None` for events without a time.
pub type SignatureHour = (SignatureId, Option<EventTime>);

/// What one pass over the events gives: those that can belong to a session, and sums of all.
pub struct Tally<'s> {
    /// Events with a user and a time.
    pub visits: Stream<'s, Tick, Vec<Visit>>,
    /// The number of events, as multiplicities.
    pub by_signature: Stream<'s, Tick, Vec<(SignatureHour, Tick, isize)>>,
    /// The number of events that belong to no session, as multiplicities.
    pub by_reason: Stream<'s, Tick, Vec<(Sessionless, Tick, isize)>>,
    /// The number of events, as multiplicities: of this worker's events.
    pub by_class: Stream<'s, Tick, Vec<(ClassHour, Tick, isize)>>,
}

/// Sums the events of a tick where they are, so that one update per key goes on, and not three copies of each event. The
/// classes are whole on each worker, so the sums stay where they are until they are resolved.
///
/// `past` are the sums of a snapshot; they come at a tick before those of all events, and are of no output but `by_class`.
pub fn tally<'s>(
    events: Stream<'s, Tick, Vec<Event>>,
    past: Stream<'s, Tick, Vec<(SignatureHour, Tick, isize)>>,
    classes: Stream<'s, Tick, Vec<((SignatureId, Class), Tick, isize)>>,
) -> Tally<'s> {
    let mut builder = OperatorBuilder::new("Tally".to_string(), events.scope());
    let mut events = builder.new_input(events, Pipeline);
    let mut past = builder.new_input(past, Pipeline);
    let mut classes = builder.new_input(classes, Pipeline);
    // Without anything that waits, progress is no news.
    (0..3).for_each(|input| builder.set_notify_for(input, FrontierInterest::IfCapability));
    let (visits, visit_stream) = builder.new_output();
    let (by_signature, signature_stream) = builder.new_output();
    let (by_reason, reason_stream) = builder.new_output();
    let (by_class, class_stream) = builder.new_output();
    let mut visits = OutputBuilder::<_, CapacityContainerBuilder<Vec<Visit>>>::from(visits);
    let mut by_signature = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(by_signature);
    let mut by_reason = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(by_reason);
    let mut by_class = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(by_class);
    builder.build(move |_capabilities| {
        let mut pending: BTreeMap<Tick, Sums> = BTreeMap::new();
        let mut resolver = Resolver::default();
        move |frontiers| {
            let mut visits = visits.activate();
            // Messages have a stamp: these inputs are fed with capabilities only.
            events.for_each(|capability, data: &mut Vec<Event>| {
                let Some(sums) = Sums::at(&mut pending, &capability) else { return };
                let mut session = visits.session(&capability);
                for event in data.drain(..) {
                    let hour = event.time.ok().map(EventTime::hour);
                    *sums.by_signature.entry((event.signature, hour)).or_insert(0) += 1;
                    match Visit::of(event) {
                        Ok(visit) => session.give(visit),
                        Err(reason) => *sums.by_reason.entry(reason).or_insert(0) += 1,
                    }
                }
            });
            past.for_each(|capability, data| {
                if let Some(sums) = Sums::at(&mut pending, &capability) {
                    sums.past.extend(data.drain(..).map(|(row, _, diff)| (row, diff)));
                }
            });
            classes.for_each(|capability, data| {
                if let Some(sums) = Sums::at(&mut pending, &capability) {
                    sums.classes.extend(data.drain(..).map(|(row, _, diff)| (row, diff)));
                }
            });
            let (mut by_signature, mut by_reason) = (by_signature.activate(), by_reason.activate());
            let mut by_class = by_class.activate();
            let complete = |tick: &Tick| frontiers.iter().all(|frontier| !frontier.less_equal(tick));
            while let Some(entry) = pending.first_entry().filter(|entry| complete(entry.key())) {
                let (
                    tick,
                    Sums {
                        at: [at_signatures, at_reasons, at_classes],
                        by_signature: mut sums,
                        by_reason: reasons,
                        past,
                        classes,
                    },
                ) = entry.remove_entry();
                #[expect(clippy::disallowed_methods, reason = "sorted before it goes on")]
                let mut counts: Vec<_> = sums.drain().collect();
                counts.sort_unstable();
                let rows = counts.iter().map(|(row, count)| (*row, tick, *count));
                by_signature.session(&at_signatures).give_iterator(rows);
                let rows = reasons.into_iter().map(|(reason, count)| (reason, tick, count));
                by_reason.session(&at_reasons).give_iterator(rows);
                let rows = resolver.tick(counts.into_iter().chain(past), classes).into_iter();
                by_class.session(&at_classes).give_iterator(rows.map(|(row, diff)| (row, tick, diff)));
            }
        }
    });
    Tally { visits: visit_stream, by_signature: signature_stream, by_reason: reason_stream, by_class: class_stream }
}

/// What has arrived for a tick that is not complete yet.
struct Sums {
    /// By signature, by reason, by class.
    at: [Capability<Tick>; 3],
    by_signature: HashMap<SignatureHour, isize, foldhash::fast::FixedState>,
    by_reason: BTreeMap<Sessionless, isize>,
    past: Vec<(SignatureHour, isize)>,
    classes: Vec<((SignatureId, Class), isize)>,
}

impl Sums {
    /// What waits for the tick of a message; `None` if that makes no claim.
    fn at<'p>(pending: &'p mut BTreeMap<Tick, Sums>, capability: &InputCapability<Tick>) -> Option<&'p mut Sums> {
        Some(match pending.entry(*capability.least()?) {
            Entry::Occupied(waiting) => waiting.into_mut(),
            Entry::Vacant(place) => {
                let [signatures, reasons, classes] = [1, 2, 3].map(|port| capability.retain_least(port));
                place.insert(Sums {
                    at: [signatures?, reasons?, classes?],
                    by_signature: HashMap::default(),
                    by_reason: BTreeMap::new(),
                    past: Vec::new(),
                    classes: Vec::new(),
                })
            }
        })
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
