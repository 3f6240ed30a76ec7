//! Events by class and hour of their event time: a view, maintained by signature and resolved through the classes.
//! Beside it, how many events belong to no session and why, and on its way the events that do: one pass does it all.

use crate::classify::{Class, ClassTrace};
use crate::identity::SignatureId;
use crate::record::{Event, Sessionless};
use crate::sessionize::Visit;
use crate::time::{EventTime, Tick};
use differential_dataflow::collection::AsCollection;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{KeySpine, ValBatcher, ValSpine};
use std::collections::{BTreeMap, HashMap};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, Concat};

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
}

/// Sums the events of a tick where they are, so that one update per key goes on, and not three copies of each event.
pub fn tally<'s>(events: Stream<'s, Tick, Vec<Event>>) -> Tally<'s> {
    let mut builder = OperatorBuilder::new("Tally".to_string(), events.scope());
    let mut events = builder.new_input(events, Pipeline);
    let (visits, visit_stream) = builder.new_output();
    let (by_signature, signature_stream) = builder.new_output();
    let (by_reason, reason_stream) = builder.new_output();
    let mut visits = OutputBuilder::<_, CapacityContainerBuilder<Vec<Visit>>>::from(visits);
    let mut by_signature = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(by_signature);
    let mut by_reason = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(by_reason);
    builder.build(move |_capabilities| {
        let mut pending: BTreeMap<Tick, Sums> = BTreeMap::new();
        move |frontiers| {
            let mut visits = visits.activate();
            events.for_each(|capability, data: &mut Vec<Event>| {
                // A message without a stamp makes no claim; this input is fed with capabilities only.
                let (Some(signatures), Some(reasons)) = (capability.retain_least(1), capability.retain_least(2)) else {
                    return;
                };
                let sums = pending.entry(*signatures.time()).or_insert_with(|| Sums::new(signatures, reasons));
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
            let (mut by_signature, mut by_reason) = (by_signature.activate(), by_reason.activate());
            while let Some(entry) = pending.first_entry().filter(|entry| !frontiers[0].less_equal(entry.key())) {
                let (tick, mut sums) = entry.remove_entry();
                #[expect(clippy::disallowed_methods, reason = "sorted before it goes on")]
                let mut counts: Vec<_> = sums.by_signature.drain().map(|(key, count)| (key, tick, count)).collect();
                counts.sort_unstable();
                by_signature.session(&sums.signatures).give_iterator(counts.into_iter());
                let reasons = sums.by_reason.into_iter().map(|(reason, count)| (reason, tick, count));
                by_reason.session(&sums.reasons).give_iterator(reasons);
            }
        }
    });
    Tally { visits: visit_stream, by_signature: signature_stream, by_reason: reason_stream }
}

/// The sums of a tick that is not complete yet.
struct Sums {
    signatures: Capability<Tick>,
    reasons: Capability<Tick>,
    by_signature: HashMap<SignatureHour, isize, foldhash::fast::FixedState>,
    by_reason: BTreeMap<Sessionless, isize>,
}

impl Sums {
    fn new(signatures: Capability<Tick>, reasons: Capability<Tick>) -> Sums {
        Sums { signatures, reasons, by_signature: HashMap::default(), by_reason: BTreeMap::new() }
    }
}

impl<'s> Tally<'s> {
    /// The same, with the sums of a snapshot added.
    pub fn restore(
        self,
        by_signature: Stream<'s, Tick, Vec<(SignatureHour, Tick, isize)>>,
        by_reason: Stream<'s, Tick, Vec<(Sessionless, Tick, isize)>>,
    ) -> Tally<'s> {
        Tally {
            visits: self.visits,
            by_signature: self.by_signature.concat(by_signature),
            by_reason: self.by_reason.concat(by_reason),
        }
    }

    /// The number of events of each class and hour, as multiplicities.
    pub fn counts(&self, classes: Arranged<'s, ClassTrace>) -> Arranged<'s, CountTrace> {
        // The classes are whole on each worker, so the sums stay where they are until they are resolved.
        let by_signature = arrange_core::<
            _,
            _,
            ValBatcher<_, _, _, _>,
            ValSpine<SignatureId, Option<EventTime>, Tick, isize>,
        >(self.by_signature.clone(), Pipeline, "CountsBySignature", ValBatcher::new);
        by_signature
            .join_core(classes, |_, hour, class| Some((Class::clone(class), *hour)))
            .arrange_by_self_named("Counts")
    }

    /// The number of events that belong to no session, by reason, as multiplicities.
    pub fn sessionless(&self) -> Arranged<'s, SessionlessTrace> {
        self.by_reason.clone().as_collection().arrange_by_self_named("Sessionless")
    }
}
