//! Questions and what they ask about enter in random order, with several ticks in flight, at one to three workers. Each
//! answer is what the table says after the tick of its question, whatever came later.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::mpsc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::vec::Input as _;
use timely::dataflow::operators::{Inspect, Probe};

type Sender<D> = InputHandle<u64, CapacityContainerBuilder<Vec<D>>>;
/// Additions by tick and key: a table that keeps what it was.
type Sums = Rc<RefCell<BTreeMap<(u64, u64), u64>>>;

/// Writes the sums of its keys.
struct Write {
    sums: Sums,
    /// Turns that it takes for a tick: answers have to wait.
    turns: u64,
    left: u64,
}

impl Fold<u64> for Write {
    type Waiting = Vec<(u64, u64)>;

    fn tick(&mut self, tick: &u64, waiting: &mut Self::Waiting, _: &Capabilities<u64>) -> Turn {
        if self.left > 0 {
            self.left -= 1;
            return Turn::Again;
        }
        self.left = self.turns;
        for (key, value) in waiting.drain(..) {
            *self.sums.borrow_mut().entry((*tick, key)).or_default() += value;
        }
        Turn::Done
    }
}

/// By tick: additions of keys, and keys that are asked for.
type Ticks = Vec<(Vec<(u64, u64)>, Vec<u64>)>;

/// Returns tick, key and answer of each question, sorted.
fn answers(ticks: &Ticks, workers: usize, in_flight: u64, turns: u64) -> Vec<(u64, u64, u64)> {
    let (sender, receiver) = mpsc::channel();
    let ticks = ticks.clone();
    let run = move |worker: &mut timely::worker::Worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let (mut additions, mut questions) = (Sender::<(u64, u64)>::new(), Sender::<u64>::new());
        let (probe, answered, sums) = (ProbeHandle::new(), sender.clone(), Sums::default());
        worker.dataflow::<u64, _, _>(|scope| {
            let mut operator = Keyed::<u64, Write>::new("Write", scope);
            let (_, stream) = operator.output::<()>();
            let by_key = Exchange::new(|(key, _): &(u64, u64)| *key);
            operator.input(scope.input_from(&mut additions), by_key, |_, arrivals| {
                arrivals.each(|waiting, _, rows| waiting.append(rows));
            });
            operator.build(Write { sums: Rc::clone(&sums), turns, left: turns });
            let answer = move |tick: &u64, key: u64| {
                let sums = sums.borrow();
                (key, sums.iter().filter(|((at, of), _)| at <= tick && *of == key).map(|(_, sum)| sum).sum())
            };
            as_of(scope.input_from(&mut questions), |key| *key, Some(stream), answer)
                .inspect(move |((key, sum), tick)| answered.send((*tick, *key, *sum)).unwrap())
                .probe_with(&probe);
        });
        for (tick, (own, asked)) in (0..).zip(&ticks) {
            let mine = |at: usize| at % peers == index;
            // The questions come first.
            asked.iter().enumerate().filter(|(at, _)| mine(*at)).for_each(|(_, key)| questions.send(*key));
            questions.advance_to(tick + 1);
            worker.step();
            own.iter().enumerate().filter(|(at, _)| mine(*at + 1)).for_each(|(_, row)| additions.send(*row));
            additions.advance_to(tick + 1);
            while probe.less_than(&(tick + 1).saturating_sub(in_flight)) {
                worker.step();
            }
        }
    };
    timely::execute(timely::Config::process(workers), run).unwrap().join().into_iter().for_each(|one| one.unwrap());
    let mut answers: Vec<_> = receiver.try_iter().collect();
    answers.sort_unstable();
    answers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn each_answer_is_as_of_the_tick_of_its_question(
        ticks in prop::collection::vec(
            (prop::collection::vec((0..4_u64, 1..9_u64), 0..5), prop::collection::vec(0..4_u64, 0..5)),
            1..12,
        ),
        workers in 1..4_usize,
        in_flight in 0..6_u64,
        turns in 0..3_u64,
    ) {
        let mut expected = Vec::new();
        let mut sums = [0_u64; 4];
        for (tick, (additions, asked)) in (0..).zip(&ticks) {
            additions.iter().for_each(|(key, value)| sums[*key as usize] += value);
            expected.extend(asked.iter().map(|key| (tick, *key, sums[*key as usize])));
        }
        expected.sort_unstable();
        prop_assert_eq!(answers(&ticks, workers, in_flight, turns), expected);
    }
}
