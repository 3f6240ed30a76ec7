//! Events by class and hour of their event time: a view, maintained by signature and resolved through the classes.

use crate::classify::{Class, ClassTrace};
use crate::identity::SignatureId;
use crate::record::{Event, Sessionless};
use crate::time::{EventTime, Tick};
use differential_dataflow::Data;
use differential_dataflow::collection::AsCollection;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{KeySpine, ValBatcher, ValSpine};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// A class and the start of an hour; `None` for events without a time. The number of events is the multiplicity.
pub type ClassHour = (Class, Option<EventTime>);

pub type SessionlessTrace = TraceAgent<KeySpine<Sessionless, Tick, isize>>;

pub type CountTrace = TraceAgent<KeySpine<ClassHour, Tick, isize>>;

/// Returns the number of events of each class and hour, as multiplicities.
pub fn counts<'s>(events: Stream<'s, Tick, Vec<Event>>, classes: Arranged<'s, ClassTrace>) -> Arranged<'s, CountTrace> {
    let by_signature =
        sum_locally(events, |event| Some((event.signature, event.time.ok().map(EventTime::hour)))).as_collection();
    // The classes are whole on each worker, so the sums stay where they are until they are resolved.
    let by_signature = arrange_core::<
        _,
        _,
        ValBatcher<_, _, _, _>,
        ValSpine<SignatureId, Option<EventTime>, Tick, isize>,
    >(by_signature.inner, Pipeline, "CountsBySignature", ValBatcher::new);
    by_signature.join_core(classes, |_, hour, class| Some((Class::clone(class), *hour))).arrange_by_self_named("Counts")
}

/// Returns the number of events that belong to no session, by reason, as multiplicities.
pub fn sessionless<'s>(events: Stream<'s, Tick, Vec<Event>>) -> Arranged<'s, SessionlessTrace> {
    sum_locally(events, Event::sessionless).as_collection().arrange_by_self_named("Sessionless")
}

/// Counts the events of a tick by key where they are, so that one update per key goes on.
fn sum_locally<'s, K: Data + Hash>(
    events: Stream<'s, Tick, Vec<Event>>,
    key: impl Fn(&Event) -> Option<K> + 'static,
) -> Stream<'s, Tick, Vec<(K, Tick, isize)>> {
    events.unary_frontier::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "SumLocally", |_, _| {
        let mut pending = BTreeMap::new();
        move |(input, frontier), output| {
            input.for_each(|capability, data: &mut Vec<Event>| {
                // A message without a stamp makes no claim; this input is fed with capabilities only.
                let Some(tick) = capability.least().copied() else { return };
                let (_, sums) = pending.entry(tick).or_insert_with(|| {
                    (capability.retain_stamp(0), HashMap::<K, isize, foldhash::fast::FixedState>::default())
                });
                for key in data.drain(..).filter_map(|event| key(&event)) {
                    *sums.entry(key).or_insert(0) += 1;
                }
            });
            while let Some(entry) = pending.first_entry().filter(|entry| !frontier.less_equal(entry.key())) {
                let (tick, (capability, mut sums)) = entry.remove_entry();
                #[expect(clippy::disallowed_methods, reason = "sorted before it goes on")]
                let mut sums: Vec<_> = sums.drain().map(|(key, count)| (key, tick, count)).collect();
                sums.sort_unstable();
                output.session(&capability).give_iterator(sums.into_iter());
            }
        }
    })
}
