//! The trace that an operator writes for itself and for others: what may be read of it, when it is sealed and compacted.

use crate::operators::outputs::{Capabilities, Output};
use crate::time::TotalTime;
use differential_dataflow::logging::DifferentialEventBuilder;
use differential_dataflow::operators::arrange::{TraceAgent, TraceWriter};
use differential_dataflow::trace::{Description, ExertionLogic, Span, Trace, TraceReader};
use std::cell::{Ref, RefCell};
use std::rc::Rc;
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::OperatorInfo;
use timely::progress::{Antichain, Stamp, Timestamp};

/// What the stream of an arrangement carries: a batch, and the ticks that it is all of.
pub type SpanOf<Tr> = Span<<Tr as TraceReader>::Time, <Tr as TraceReader>::Batch>;

/// Says how far an operator has written its trace, at this worker: shared with the operator behind it.
#[derive(Clone, Debug)]
pub struct Written<T: TotalTime>(Rc<RefCell<Antichain<T>>>);

impl<T: TotalTime> Written<T> {
    /// Returns the frontier before which all has been written.
    pub(crate) fn frontier(&self) -> Ref<'_, Antichain<T>> {
        self.0.borrow()
    }
}

/// A fold's handle on a trace that its operator writes. Sealing and compaction are the scaffold's.
pub struct Own<Tr: Trace<Time: TotalTime>>(Rc<RefCell<State<Tr>>>);

struct State<Tr: Trace<Time: TotalTime>> {
    operator: &'static str,
    reader: TraceAgent<Tr>,
    writer: TraceWriter<Tr>,
    /// Up to here it is sealed.
    lower: Written<Tr::Time>,
    /// Of the tick that is folded.
    batch: Option<Tr::Batch>,
    spans: Option<Output<Tr::Time, SpanOf<Tr>>>,
}

impl<Tr: Trace<Time: TotalTime> + 'static> Own<Tr> {
    pub(crate) fn new(
        operator: &'static str,
        scope: Scope<'_, Tr::Time>,
        info: OperatorInfo,
        spans: Option<Output<Tr::Time, SpanOf<Tr>>>,
    ) -> (Own<Tr>, TraceAgent<Tr>) {
        let worker = scope.worker();
        let logger = worker.logger_for::<DifferentialEventBuilder>("differential/arrange").map(Into::into);
        let activator = scope.activator_for(Rc::clone(&info.address));
        let mut trace = Tr::new(info.clone(), logger.clone(), Some(activator));
        if let Some(exert) = worker.config().get::<ExertionLogic>("differential/default_exert_logic") {
            trace.set_exert_logic(exert.clone());
        }
        let (reader, writer) = TraceAgent::new(trace, info, logger);
        let agent = reader.clone();
        let lower = Written(Rc::new(RefCell::new(Antichain::from_elem(Tr::Time::minimum()))));
        (Own(Rc::new(RefCell::new(State { operator, reader, writer, lower, batch: None, spans }))), agent)
    }

    /// Returns the batches of all ticks before the one that is folded.
    pub fn past(&self) -> Vec<Tr::Batch> {
        let State { reader, lower, .. } = &mut *self.0.borrow_mut();
        // The frontier is where a batch ends: the scaffold has cut there. Nothing is compacted beyond it.
        reader
            .batches_through(lower.frontier().borrow())
            .expect("an operator's own trace has all batches that it wrote")
    }

    /// Writes the batch of the tick that is folded; `None`: it changes nothing.
    ///
    /// # Panics
    /// If the tick has a batch.
    pub fn write(&self, batch: Option<impl Into<Tr::Batch>>) {
        let State { operator, batch: of_tick, .. } = &mut *self.0.borrow_mut();
        let before = std::mem::replace(of_tick, batch.map(Into::into));
        assert!(before.is_none(), "{operator}: a tick writes one batch, not two");
    }

    /// Returns how far the trace is written, to be followed by an operator of the same worker.
    pub fn written(&self) -> Written<Tr::Time> {
        self.0.borrow().lower.clone()
    }
}

impl<Tr: Trace<Time: TotalTime>> Clone for Own<Tr> {
    fn clone(&self) -> Self {
        Own(Rc::clone(&self.0))
    }
}

/// What the scaffold does to the traces of its fold.
pub(crate) trait Seal<T: TotalTime> {
    /// Closes the interval around the batch of a tick that was folded.
    fn seal(&self, tick: &T, at: &Capabilities<T>, upper: &Antichain<T>);
    /// Closes the interval up to a frontier before which nothing waits.
    fn advance(&self, upper: &Antichain<T>);
    /// Merges batches, if the configuration asks for it.
    fn exert(&self);
}

impl<Tr: Trace<Time: TotalTime> + 'static> Seal<Tr::Time> for Own<Tr> {
    fn seal(&self, tick: &Tr::Time, at: &Capabilities<Tr::Time>, upper: &Antichain<Tr::Time>) {
        let state = &mut *self.0.borrow_mut();
        let Some(batch) = state.batch.take() else { return };
        let from = state.lower.frontier().clone();
        assert!(from.less_equal(tick), "{}: tick {tick:?} is written behind the frontier {from:?}", state.operator);
        let since = Antichain::from_elem(Tr::Time::minimum());
        let span = Span::new(Description::new(from, upper.clone(), since), Some(batch));
        if let Some(spans) = &mut state.spans {
            spans.give(at, [span.clone()]);
        }
        state.writer.insert(span, Stamp::from_elem(tick.clone()));
        state.sealed(upper);
    }

    fn advance(&self, upper: &Antichain<Tr::Time>) {
        let state = &mut *self.0.borrow_mut();
        if *state.lower.frontier() != *upper {
            state.writer.seal(upper.clone());
            state.sealed(upper);
        }
    }

    fn exert(&self) {
        self.0.borrow_mut().writer.exert();
    }
}

impl<Tr: Trace<Time: TotalTime> + 'static> State<Tr> {
    /// Of what lies before `upper` the fold reads sums only.
    fn sealed(&mut self, upper: &Antichain<Tr::Time>) {
        self.lower.0.borrow_mut().clone_from(upper);
        self.reader.set_logical_compaction(upper.borrow());
        self.reader.set_physical_compaction(upper.borrow());
    }
}
