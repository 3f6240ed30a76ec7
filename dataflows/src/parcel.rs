//! What enters the graph together, through one input: with an input for each kind of thing, the progress of each would be
//! tracked, tick by tick, by every worker.

use crate::identity::{SignatureId, UserKey};
use crate::record::Record;
use crate::rules::{Descriptor, Rule};
use crate::time::Tick;
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;
use timely::progress::operate::FrontierInterest;

/// A part of what enters at a tick.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parcel {
    pub records: Vec<Record>,
    pub names: Vec<Update<(UserKey, Arc<str>)>>,
    pub signatures: Vec<Update<(SignatureId, Descriptor)>>,
    pub rules: Vec<Update<Rule>>,
    pub now_ms: Option<i64>,
}

type Update<R> = (R, Tick, isize);

/// What parcels hold, each kind by itself. Fields as in [`crate::pipeline::Inputs`].
pub(crate) struct Unpacked<'s> {
    pub records: Stream<'s, Tick, Vec<Record>>,
    pub names: Stream<'s, Tick, Vec<Update<(UserKey, Arc<str>)>>>,
    pub signatures: Stream<'s, Tick, Vec<Update<(SignatureId, Descriptor)>>>,
    pub rules: Stream<'s, Tick, Vec<Update<Rule>>>,
    pub clock: Stream<'s, Tick, Vec<i64>>,
}

pub(crate) fn unpack<'s>(parcels: Stream<'s, Tick, Vec<Parcel>>) -> Unpacked<'s> {
    let mut builder = OperatorBuilder::new("Unpack".to_string(), parcels.scope());
    let mut parcels = builder.new_input(parcels, Pipeline);
    // Parcels are all that it waits for.
    builder.set_notify_for(0, FrontierInterest::Never);
    let (records, record_stream) = builder.new_output();
    let (names, name_stream) = builder.new_output();
    let (signatures, signature_stream) = builder.new_output();
    let (rules, rule_stream) = builder.new_output();
    let (clock, clock_stream) = builder.new_output();
    let mut records = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(records);
    let mut names = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(names);
    let mut signatures = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(signatures);
    let mut rules = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(rules);
    let mut clock = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(clock);
    builder.build(move |_capabilities| {
        move |_frontiers: &[MutableAntichain<Tick>]| {
            let (mut records, mut names) = (records.activate(), names.activate());
            let (mut signatures, mut rules, mut clock) = (signatures.activate(), rules.activate(), clock.activate());
            parcels.for_each(|capability, data: &mut Vec<Parcel>| {
                for mut parcel in data.drain(..) {
                    records.session(&capability).give_container(&mut parcel.records);
                    names.session(&capability).give_container(&mut parcel.names);
                    signatures.session(&capability).give_container(&mut parcel.signatures);
                    rules.session(&capability).give_container(&mut parcel.rules);
                    clock.session(&capability).give_iterator(parcel.now_ms.into_iter());
                }
            });
        }
    });
    Unpacked {
        records: record_stream,
        names: name_stream,
        signatures: signature_stream,
        rules: rule_stream,
        clock: clock_stream,
    }
}
