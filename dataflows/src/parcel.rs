//! What enters the graph together, through one input: with an input for each kind of thing, the progress of each would be
//! tracked, tick by tick, by every worker.

use crate::describe::Fact;
use crate::forget::{Dropped, Withdrawal};
use crate::identity::UserKey;
use crate::record::Record;
use crate::time::Tick;
use crate::{sessionize, state};
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
    pub facts: Vec<Fact>,
    pub now_ms: Option<i64>,
    /// Sequences that are not followed any more.
    pub ended: Vec<u16>,
    /// Sessions of users that go.
    pub replacements: Vec<sessionize::Replacement>,
    /// Entities that go.
    pub replaced_entities: Vec<state::Replacement>,
    /// What goes from sequences.
    pub dropped: Vec<Dropped>,
    /// Users whose links go from this worker.
    pub unlinked: Vec<UserKey>,
    /// What goes from the sums.
    pub withdrawals: Vec<Withdrawal>,
}

/// What parcels hold, each kind by itself. Fields as in [`crate::pipeline::Inputs`].
pub(crate) struct Unpacked<'s> {
    pub records: Stream<'s, Tick, Vec<Record>>,
    pub facts: Stream<'s, Tick, Vec<Fact>>,
    /// If it was asked for.
    pub clock: Option<Stream<'s, Tick, Vec<i64>>>,
    /// If it was asked for.
    pub ended: Option<Stream<'s, Tick, Vec<u16>>>,
    /// With a clock.
    pub replacements: Option<Stream<'s, Tick, Vec<sessionize::Replacement>>>,
    /// If it was asked for.
    pub replaced_entities: Option<Stream<'s, Tick, Vec<state::Replacement>>>,
    /// As `ended`.
    pub dropped: Option<Stream<'s, Tick, Vec<Dropped>>>,
    /// If it was asked for.
    pub unlinked: Option<Stream<'s, Tick, Vec<UserKey>>>,
    /// With a clock.
    pub withdrawals: Option<Stream<'s, Tick, Vec<Withdrawal>>>,
}

/// The kinds that are there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kinds {
    pub clock: bool,
    pub sequences: bool,
    pub states: bool,
    pub links: bool,
}

/// Takes parcels apart. Without a clock, their times are dropped, as nothing is forgotten without one; and without sequences,
/// states and links, what they say of those.
pub(crate) fn unpack<'s>(parcels: Stream<'s, Tick, Vec<Parcel>>, kinds: Kinds) -> Unpacked<'s> {
    let Kinds { clock, sequences, states, links } = kinds;
    let mut builder = OperatorBuilder::new("Unpack".to_string(), parcels.scope());
    let mut parcels = builder.new_input(parcels, Pipeline);
    // Parcels are all that it waits for.
    builder.set_notify_for(0, FrontierInterest::Never);
    let (records, record_stream) = builder.new_output();
    let (facts, fact_stream) = builder.new_output();
    let (replacements, replacement_stream) = clock.then(|| builder.new_output()).unzip();
    let (replaced_entities, replaced_stream) = states.then(|| builder.new_output()).unzip();
    let (withdrawals, withdrawal_stream) = clock.then(|| builder.new_output()).unzip();
    let (clock, clock_stream) = clock.then(|| builder.new_output()).unzip();
    let (ended, ended_stream) = sequences.then(|| builder.new_output()).unzip();
    let (dropped, dropped_stream) = sequences.then(|| builder.new_output()).unzip();
    let (unlinked, unlinked_stream) = links.then(|| builder.new_output()).unzip();
    let mut records = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(records);
    let mut facts = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(facts);
    let mut clock = clock.map(OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from);
    let mut ended = ended.map(OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from);
    let mut dropped = dropped.map(OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from);
    let mut unlinked = unlinked.map(OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from);
    let mut replacements = replacements.map(OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from);
    let mut replaced_entities = replaced_entities.map(OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from);
    let mut withdrawals = withdrawals.map(OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from);
    builder.build(move |_capabilities| {
        move |_frontiers: &[MutableAntichain<Tick>]| {
            let (mut records, mut facts) = (records.activate(), facts.activate());
            let mut clock = clock.as_mut().map(OutputBuilder::activate);
            let mut ended = ended.as_mut().map(OutputBuilder::activate);
            let mut dropped = dropped.as_mut().map(OutputBuilder::activate);
            let mut unlinked = unlinked.as_mut().map(OutputBuilder::activate);
            let mut replacements = replacements.as_mut().map(OutputBuilder::activate);
            let mut replaced_entities = replaced_entities.as_mut().map(OutputBuilder::activate);
            let mut withdrawals = withdrawals.as_mut().map(OutputBuilder::activate);
            parcels.for_each(|capability, data: &mut Vec<Parcel>| {
                for mut parcel in data.drain(..) {
                    records.session(&capability).give_container(&mut parcel.records);
                    facts.session(&capability).give_container(&mut parcel.facts);
                    if let Some(clock) = &mut clock {
                        clock.session(&capability).give_iterator(parcel.now_ms.into_iter());
                    }
                    if let Some(ended) = &mut ended {
                        ended.session(&capability).give_container(&mut parcel.ended);
                    }
                    // Nearly all parcels have none of these.
                    if let Some(dropped) = dropped.as_mut().filter(|_| !parcel.dropped.is_empty()) {
                        dropped.session(&capability).give_container(&mut parcel.dropped);
                    }
                    if let Some(unlinked) = unlinked.as_mut().filter(|_| !parcel.unlinked.is_empty()) {
                        unlinked.session(&capability).give_container(&mut parcel.unlinked);
                    }
                    if let Some(gone) = replacements.as_mut().filter(|_| !parcel.replacements.is_empty()) {
                        gone.session(&capability).give_container(&mut parcel.replacements);
                    }
                    if let Some(gone) = replaced_entities.as_mut().filter(|_| !parcel.replaced_entities.is_empty()) {
                        gone.session(&capability).give_container(&mut parcel.replaced_entities);
                    }
                    if let Some(gone) = withdrawals.as_mut().filter(|_| !parcel.withdrawals.is_empty()) {
                        gone.session(&capability).give_container(&mut parcel.withdrawals);
                    }
                }
            });
        }
    });
    Unpacked {
        records: record_stream,
        facts: fact_stream,
        clock: clock_stream,
        ended: ended_stream,
        replacements: replacement_stream,
        replaced_entities: replaced_stream,
        dropped: dropped_stream,
        unlinked: unlinked_stream,
        withdrawals: withdrawal_stream,
    }
}
