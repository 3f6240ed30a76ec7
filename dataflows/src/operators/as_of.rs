//! Answers questions about what another operator writes, as of the tick of each question.
//!
//! ```text
//! questions ── (exchange) ──▶ wait for their tick ──▶ answer from the table, at the same tick
//! table written ── frontier ─────────▲
//! ```
//! A question waits until its tick is complete, and until the writer has folded that tick at all workers. Then the answer
//! sees every change of that tick, and none of a later one, however many ticks are in flight: the table keeps the changes of
//! ticks that are not settled apart. So an answer is a function of the inputs up to its tick.

use crate::operators::{Capabilities, Fold, Keyed, Output, Turn};
use crate::time::TotalTime;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};

/// Returns the answer to each question, at its tick. `place` names the worker that answers it. `written` is a stream whose
/// frontier says how far the table is written that `answer` reads; `None`: it reads none.
pub fn as_of<'s, T, Q, A, W>(
    questions: Stream<'s, T, Vec<Q>>,
    place: impl Fn(&Q) -> u64 + 'static,
    written: Option<Stream<'s, T, Vec<W>>>,
    answer: impl FnMut(&T, Q) -> A + 'static,
) -> Stream<'s, T, Vec<(A, T)>>
where
    T: TotalTime,
    Q: timely::ExchangeData + Clone,
    A: Clone + 'static,
    W: Clone + 'static,
{
    let mut operator = Keyed::<T, AsOf<T, Q, A>>::new("AsOf", questions.scope());
    let (answers, stream) = operator.output();
    operator.input(questions, Exchange::new(place), |_, arrivals| {
        arrivals.each(|waiting, _, questions| waiting.append(questions));
    });
    if let Some(written) = written {
        // Its frontier alone matters.
        operator.input(written, Pipeline, |_, arrivals| arrivals.at_once(Vec::clear));
    }
    operator.build(AsOf { answers, answer: Box::new(answer) });
    stream
}

struct AsOf<T: TotalTime, Q, A: Clone + 'static> {
    answers: Output<T, (A, T)>,
    answer: Box<dyn FnMut(&T, Q) -> A>,
}

impl<T: TotalTime, Q: 'static, A: Clone + 'static> Fold<T> for AsOf<T, Q, A> {
    type Waiting = Vec<Q>;

    fn tick(&mut self, tick: &T, questions: &mut Vec<Q>, at: &Capabilities<T>) -> Turn {
        let AsOf { answers, answer } = self;
        answers.give(at, questions.drain(..).map(|question| (answer(tick, question), tick.clone())));
        Turn::Done
    }
}

#[cfg(test)]
mod tests;
