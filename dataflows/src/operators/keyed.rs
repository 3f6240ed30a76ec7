//! Turns a fold over complete ticks into an operator: the one scaffold of all stateful operators.
//!
//! ```text
//!  inputs ──▶ stash by tick ──▶ tick complete? ──▶ fold ──▶ outputs, at the tick's capability
//!     │                          (frontiers)      ▲   │
//!     └─ passed on at once ──▶                past │   ▼ batch
//!                                              own traces ──▶ seal, insert, compact
//! ```
//!
//! # Contract
//!
//! - **Stash.** A message waits under its own tick, in the fold's [`Fold::Waiting`]. Every message has a time: one without
//!   would be neither in a tick nor counted as in flight. Such a message, and one behind its input's frontier, stops the
//!   process and prints both sides.
//! - **Capabilities.** The first message of a tick retains one capability for each output that was made by
//!   [`Keyed::output`], and the operator holds them until the fold of that tick is done. An output made by
//!   [`Keyed::passage`] is never held: it takes rows only while their message is read. Inputs made by [`Keyed::input`] are
//!   declared as not connected to such outputs, so that readers do not wait for these inputs.
//! - **Complete.** A tick is complete when the frontiers of all inputs have passed it. An input made by
//!   [`Keyed::following`] counts as passed when the operator in front of it, at the same worker, has written that tick: all
//!   of its messages have then been queued here, and asking all workers would take another round of progress.
//! - **Order.** Ticks are folded one at a time, in their order, which is asserted. A fold that has too much to do for one turn says
//!   [`Turn::Again`]: other operators work, and the same tick is folded further.
//! - **Own traces.** A fold may read what it has written *before* its tick ([`Own::past`]) and may write one batch for its
//!   tick ([`Own::write`]). When the fold is done, the scaffold seals `[lower, upper)` around that batch. `upper` is the next
//!   complete tick that waits, or else the frontier of the inputs. It then inserts the batch into the trace, sends it to
//!   readers, and lets the fold's own reader compact up to `upper`. Without a tick to fold, traces are sealed up to the
//!   frontier all the same.
//! - **Wake-ups.** An operator without traces asks for `FrontierInterest::IfCapability`: it holds capabilities exactly while
//!   a tick waits, and at other times progress is no news to it. An operator with traces is always woken, since readers of
//!   its traces follow how far they are sealed.
//!
//! The scaffold is generic in its time, which has to be totally ordered: "the ticks before this one" is then one set.
//!
//! Deliberately absent: timers (a clock is an input like any other) and the routing of rows (the pact of each input says
//! which worker owns a key).
//!
//! # Example
//!
//! Sums by key, kept from tick to tick:
//!
//! ```
//! use dataflows::operators::{Capabilities, Fold, Keyed, Output, Turn};
//! use std::collections::BTreeMap;
//! use timely::dataflow::channels::pact::Exchange;
//! use timely::dataflow::operators::vec::ToStream;
//! use timely::dataflow::operators::{Capture, capture::Extract};
//!
//! struct Sum {
//!     totals: BTreeMap<u64, u64>,
//!     sums: Output<u64, (u64, u64)>,
//! }
//!
//! impl Fold<u64> for Sum {
//!     type Waiting = Vec<(u64, u64)>;
//!     fn tick(&mut self, _: &u64, waiting: &mut Self::Waiting, at: &Capabilities<u64>) -> Turn {
//!         for (key, value) in waiting.drain(..) {
//!             *self.totals.entry(key).or_default() += value;
//!         }
//!         self.sums.give(at, self.totals.iter().map(|(key, total)| (*key, *total)));
//!         Turn::Done
//!     }
//! }
//!
//! let captured = timely::example(|scope| {
//!     let rows = vec![(7, 1), (7, 2)].to_stream(scope);
//!     let mut operator = Keyed::<u64, Sum>::new("Sum", scope);
//!     let (sums, stream) = operator.output();
//!     let by_key = Exchange::new(|(key, _): &(u64, u64)| *key);
//!     operator.input(rows, by_key, |_, arrivals| arrivals.each(|waiting, _, rows| waiting.append(rows)));
//!     operator.build(Sum { totals: BTreeMap::new(), sums });
//!     stream.capture()
//! });
//! assert_eq!(captured.extract(), [(0, vec![(7, 3)])]);
//! ```

use crate::operators::outputs::{Build, Capabilities, Output, Passage};
use crate::operators::trace::{self, Own, Seal, Written};
use crate::time::TotalTime;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::Trace;
use std::collections::BTreeMap;
use timely::communication::Pull;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::InputCapability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{InputHandleCore, OutputBuilder};
use timely::dataflow::{Scope, Stream};
use timely::progress::Antichain;
use timely::progress::frontier::MutableAntichain;
use timely::progress::operate::FrontierInterest;

/// Folds complete ticks into state and output. It sees values only, and can be tested without a worker.
pub trait Fold<T>: Sized + 'static {
    /// What has arrived for one tick.
    type Waiting: Default;

    /// Takes a complete tick: what has arrived for it, and the capabilities to answer with.
    fn tick(&mut self, tick: &T, waiting: &mut Self::Waiting, at: &Capabilities<T>) -> Turn
    where
        T: TotalTime;
}

/// Says whether a fold has finished its tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The tick is done: its capabilities are released and its batches are sealed.
    Done,
    /// Other operators get a turn, then [`Fold::tick`] is called for the same tick again.
    Again,
}

/// What waits for each tick that is not complete, with the capabilities of that tick.
struct Stash<T: TotalTime, W> {
    waiting: BTreeMap<T, (Capabilities<T>, W)>,
    /// Ports for which capabilities are held.
    held: Vec<usize>,
}

impl<T: TotalTime, W: Default> Stash<T, W> {
    /// Returns what waits for the tick of a message. Stops the process if the message has none, or comes too late.
    fn at(&mut self, capability: &InputCapability<T>, from: &Origin<'_, T>) -> &mut W {
        let Some(tick) = capability.least() else { from.unstamped() };
        if !from.frontier.less_equal(tick) {
            from.late(tick);
        }
        let held = &self.held;
        let waiting = self.waiting.entry(tick.clone()).or_insert_with(|| {
            let capabilities = held.iter().map(|port| capability.delayed(tick, *port)).collect();
            (Capabilities(capabilities), W::default())
        });
        &mut waiting.1
    }
}

/// Where a message came in, for the words with which a broken invariant stops the process.
struct Origin<'a, T: TotalTime> {
    operator: &'a str,
    input: usize,
    frontier: &'a MutableAntichain<T>,
}

impl<T: TotalTime> Origin<'_, T> {
    #[cold]
    fn unstamped(&self) -> ! {
        let Origin { operator, input, frontier } = self;
        panic!("{operator}: a message of input {input} has no tick; the input's frontier is {:?}", frontier.frontier())
    }

    #[cold]
    fn late(&self, tick: &T) -> ! {
        let Origin { operator, input, frontier } = self;
        panic!(
            "{operator}: a message of input {input} is of tick {tick:?}, behind the frontier {:?}",
            frontier.frontier()
        )
    }
}

/// The messages of one input that have come, one turn's worth.
pub struct Arrivals<'a, T: TotalTime, W, D, P: Pull<Message<T, Vec<D>>>> {
    input: &'a mut InputHandleCore<T, Vec<D>, P>,
    stash: &'a mut Stash<T, W>,
    from: Origin<'a, T>,
}

impl<T: TotalTime, W: Default, D: 'static, P: Pull<Message<T, Vec<D>>>> Arrivals<'_, T, W, D, P> {
    /// Calls `take` for each message, with what waits for its tick, its capability and its rows.
    pub fn each(&mut self, mut take: impl FnMut(&mut W, &InputCapability<T>, &mut Vec<D>)) {
        let Arrivals { input, stash, from } = self;
        input.for_each(|capability, rows| take(stash.at(&capability, from), &capability, rows));
    }

    /// Calls `take` with the rows of each message, which wait for nothing: only for what may be taken in any order, before
    /// the first tick that needs it is complete.
    pub fn at_once(&mut self, mut take: impl FnMut(&mut Vec<D>)) {
        self.input.for_each(|_, rows| take(rows));
    }
}

/// How one input is read, and how far it is complete.
struct Intake<T: TotalTime, F: Fold<T>> {
    take: Box<dyn FnMut(&mut F, &mut Stash<T, F::Waiting>, Origin<'_, T>)>,
    /// `None`: as far as its frontier.
    follows: Option<Written<T>>,
}

/// Builds a stateful operator around a [`Fold`]: outputs first, then inputs, then [`Keyed::build`].
pub struct Keyed<'s, T: TotalTime, F: Fold<T>> {
    name: &'static str,
    scope: Scope<'s, T>,
    builder: OperatorBuilder<'s, T>,
    held: Vec<usize>,
    inputs: Vec<Intake<T, F>>,
    traces: Vec<Box<dyn Seal<T>>>,
}

impl<'s, T: TotalTime, F: Fold<T>> Keyed<'s, T, F> {
    /// Begins an operator. Its name is what profiles, logs and broken invariants show.
    pub fn new(name: &'static str, scope: Scope<'s, T>) -> Self {
        let builder = OperatorBuilder::new(name.to_owned(), scope);
        Keyed { name, scope, builder, held: Vec::new(), inputs: Vec::new(), traces: Vec::new() }
    }

    /// Adds an output for which a capability is held from the first message of a tick until the tick is folded.
    ///
    /// # Panics
    /// After the first input.
    pub fn output<D: Clone + 'static>(&mut self) -> (Output<T, D>, Stream<'s, T, Vec<D>>) {
        let held = self.held.len();
        self.held.push(self.builder.shape().outputs());
        let (builder, stream) = self.port();
        (Output { builder, held }, stream)
    }

    /// Adds an output that takes rows only while the messages of a passing input are read: see [`Keyed::passing`].
    ///
    /// # Panics
    /// After the first input.
    pub fn passage<D: Clone + 'static>(&mut self) -> (Passage<T, D>, Stream<'s, T, Vec<D>>) {
        let (builder, stream) = self.port();
        (Passage(builder), stream)
    }

    fn port<D: Clone + 'static>(&mut self) -> (OutputBuilder<T, Build<D>>, Stream<'s, T, Vec<D>>) {
        assert!(
            self.inputs.is_empty(),
            "{}: outputs come before inputs, of which there are {}",
            self.name,
            self.inputs.len()
        );
        let (output, stream) = self.builder.new_output();
        (OutputBuilder::from(output), stream)
    }

    /// Adds a trace that the fold writes and may read, and that others read and follow as an arrangement.
    ///
    /// # Panics
    /// After the first input.
    pub fn arranged<Tr>(&mut self) -> (Own<Tr>, Arranged<'s, TraceAgent<Tr>>)
    where
        Tr: Trace<Time = T> + 'static,
    {
        let (output, stream) = self.output();
        let (own, trace) = self.own(Some(output));
        (own, Arranged { stream, trace })
    }

    /// Adds a trace that the fold writes and may read. Others may read it too, but it has no stream, which would be one more
    /// thing whose progress every worker tracks.
    pub fn trace<Tr>(&mut self) -> (Own<Tr>, TraceAgent<Tr>)
    where
        Tr: Trace<Time = T> + 'static,
    {
        self.own(None)
    }

    fn own<Tr>(&mut self, spans: Option<Output<T, trace::SpanOf<Tr>>>) -> (Own<Tr>, TraceAgent<Tr>)
    where
        Tr: Trace<Time = T> + 'static,
    {
        let (own, agent) = Own::new(self.name, self.scope, self.builder.operator_info(), spans);
        self.traces.push(Box::new(own.clone()));
        (own, agent)
    }

    /// Adds an input whose rows wait for their tick to be complete. It is not connected to passages.
    pub fn input<D: Clone + 'static, P>(
        &mut self,
        stream: Stream<'s, T, Vec<D>>,
        pact: P,
        take: impl FnMut(&mut F, &mut Arrivals<'_, T, F::Waiting, D, P::Puller>) + 'static,
    ) where
        P: ParallelizationContract<T, Vec<D>>,
    {
        let ports = self.held.clone();
        self.intake(stream, pact, ports, None, take);
    }

    /// Adds an input whose rows may be passed on while they are read.
    pub fn passing<D: Clone + 'static, P>(
        &mut self,
        stream: Stream<'s, T, Vec<D>>,
        pact: P,
        take: impl FnMut(&mut F, &mut Arrivals<'_, T, F::Waiting, D, P::Puller>) + 'static,
    ) where
        P: ParallelizationContract<T, Vec<D>>,
    {
        let ports = (0..self.builder.shape().outputs()).collect();
        self.intake(stream, pact, ports, None, take);
    }

    /// Adds an input from an operator of the same worker, complete as far as that operator has written.
    pub fn following<D: Clone + 'static>(
        &mut self,
        stream: Stream<'s, T, Vec<D>>,
        written: Written<T>,
        take: impl FnMut(
            &mut F,
            &mut Arrivals<'_, T, F::Waiting, D, <Pipeline as ParallelizationContract<T, Vec<D>>>::Puller>,
        ) + 'static,
    ) {
        let ports = self.held.clone();
        self.intake(stream, Pipeline, ports, Some(written), take);
    }

    fn intake<D: Clone + 'static, P>(
        &mut self,
        stream: Stream<'s, T, Vec<D>>,
        pact: P,
        ports: Vec<usize>,
        follows: Option<Written<T>>,
        mut take: impl FnMut(&mut F, &mut Arrivals<'_, T, F::Waiting, D, P::Puller>) + 'static,
    ) where
        P: ParallelizationContract<T, Vec<D>>,
    {
        let connected = ports.into_iter().map(|port| (port, Antichain::from_elem(T::Summary::default())));
        let mut input = self.builder.new_input_connection(stream, pact, connected.collect::<Vec<_>>());
        let take = move |fold: &mut F, stash: &mut Stash<T, F::Waiting>, from: Origin<'_, T>| {
            take(fold, &mut Arrivals { input: &mut input, stash, from });
        };
        self.inputs.push(Intake { take: Box::new(take), follows });
    }

    /// Finishes the operator. The fold lives as long as it.
    ///
    /// # Panics
    /// If nothing is held: timely would then never wake the operator when a tick is complete.
    pub fn build(self, mut fold: F) {
        let Keyed { name, scope, mut builder, held, mut inputs, traces } = self;
        assert!(
            !held.is_empty(),
            "{name}: without a held output, timely never wakes an operator when a tick is complete"
        );
        let interest = if traces.is_empty() { FrontierInterest::IfCapability } else { FrontierInterest::Always };
        (0..inputs.len()).for_each(|input| builder.set_notify_for(input, interest));
        let activator = scope.activator_for(builder.operator_info().address);
        builder.build(move |_initial| {
            let mut stash = Stash { waiting: BTreeMap::new(), held };
            let mut upper = Antichain::new();
            let mut folded: Option<T> = None;
            move |frontiers: &[MutableAntichain<T>]| {
                upper.clear();
                for (input, (intake, frontier)) in inputs.iter_mut().zip(frontiers).enumerate() {
                    (intake.take)(&mut fold, &mut stash, Origin { operator: name, input, frontier });
                    match &intake.follows {
                        Some(written) => _ = upper.extend(written.frontier().iter().cloned()),
                        None => _ = upper.extend(frontier.frontier().iter().cloned()),
                    }
                }
                while let Some(mut first) = stash.waiting.first_entry() {
                    let tick = first.key().clone();
                    if upper.less_equal(&tick) {
                        break;
                    }
                    let again = folded.as_ref().is_some_and(|folded| tick <= *folded);
                    assert!(!again, "{name}: something came for tick {tick:?} when {folded:?} was folded already");
                    let (capabilities, waiting) = first.get_mut();
                    if fold.tick(&tick, waiting, capabilities) == Turn::Again {
                        activator.activate();
                        break;
                    }
                    let (capabilities, _) = first.remove();
                    folded = Some(tick.clone());
                    let next = stash.waiting.first_key_value().map(|(next, _)| next);
                    let next = next.filter(|next| !upper.less_equal(next)).cloned();
                    let end = next.map_or_else(|| upper.clone(), Antichain::from_elem);
                    traces.iter().for_each(|trace| trace.seal(&tick, &capabilities, &end));
                }
                let waits = stash.waiting.first_key_value().is_some_and(|(tick, _)| !upper.less_equal(tick));
                if !waits {
                    traces.iter().for_each(|trace| trace.advance(&upper));
                }
                traces.iter().for_each(|trace| trace.exert());
            }
        });
    }
}

#[cfg(test)]
mod tests;
