use super::*;
use crate::operators::{Past, Rows};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use std::cell::RefCell;
use std::rc::Rc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::vec::{Input as _, ToStream};
use timely::dataflow::operators::{CapabilitySet, Inspect, Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

type Sender<T, D> = InputHandle<T, CapacityContainerBuilder<Vec<D>>>;
type Builder = ValBuilder<u64, u64, u32, isize>;
type Spine = ValSpine<u64, u64, u32, isize>;
type Row = (u64, u64);

/// Keeps the greatest value of each key in a trace of its own, and tells what it replaces.
struct Greatest {
    own: Own<Spine>,
    rows: Rows<u64, u64, u32>,
    replaced: Output<u32, (u32, Row)>,
    /// Rows that one turn takes.
    turn: usize,
    changes: Vec<(Row, isize)>,
    turns: Rc<RefCell<usize>>,
}

impl Fold<u32> for Greatest {
    type Waiting = Vec<Row>;

    fn tick(&mut self, tick: &u32, waiting: &mut Vec<Row>, at: &Capabilities<u32>) -> Turn {
        *self.turns.borrow_mut() += 1;
        waiting.sort_unstable();
        let batches = self.own.past();
        let mut past = Past::new(&batches);
        let taken = waiting.len().min(self.turn);
        for of_key in waiting.drain(..taken).collect::<Vec<_>>().chunk_by(|one, other| one.0 == other.0) {
            let (key, new) = of_key[of_key.len() - 1];
            past.key(&key);
            let old = past.peek().copied();
            if old < Some(new) {
                self.changes.extend(old.map(|old| ((key, old), -1)));
                self.replaced.give(at, old.map(|old| (*tick, (key, old))));
                self.changes.push(((key, new), 1));
            }
        }
        if !waiting.is_empty() {
            return Turn::Again;
        }
        let mut builder = Builder::default();
        self.changes.sort_unstable();
        self.rows.extend(&mut builder, self.changes.drain(..).map(|(row, diff)| (row, *tick, diff)));
        self.own.write(self.rows.finish(builder).map(Rc::new));
        Turn::Done
    }
}

/// What is seen of [`Greatest`]: replaced rows, changes of the arrangement with their times, and turns.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    replaced: Vec<(u32, Row)>,
    changes: Vec<(Row, u32, isize)>,
    turns: usize,
}

/// Sends each tick's rows, all ticks at once or each when the one before is done.
fn greatest(ticks: &[&[Row]], at_once: bool, turn: usize) -> Seen {
    let rows: Vec<Vec<Row>> = ticks.iter().map(|rows| rows.to_vec()).collect();
    timely::execute_directly(move |worker| {
        let (seen, turns) = (Rc::<RefCell<Seen>>::default(), Rc::<RefCell<usize>>::default());
        let (told, counted) = (Rc::clone(&seen), Rc::clone(&turns));
        let (mut sender, probe) = (Sender::<u32, Row>::new(), ProbeHandle::new());
        worker.dataflow(|scope| {
            let mut operator = Keyed::<u32, Greatest>::new("Greatest", scope);
            let (own, arranged) = operator.arranged();
            let (replaced, stream) = operator.output();
            operator.input(scope.input_from(&mut sender), Pipeline, |_, arrivals| {
                arrivals.each(|waiting, _, rows| waiting.append(rows));
            });
            operator.build(Greatest {
                own,
                rows: Rows::default(),
                replaced,
                turn,
                changes: Vec::new(),
                turns: counted,
            });
            let replaced = Rc::clone(&told);
            stream.inspect(move |row| replaced.borrow_mut().replaced.push(*row)).probe_with(&probe);
            let changed = arranged.as_collection(|key, value| (*key, *value));
            changed.inspect(move |change| told.borrow_mut().changes.push(*change)).probe_with(&probe);
        });
        for (tick, mut rows) in (0..).zip(rows) {
            sender.advance_to(tick);
            sender.send_batch(&mut rows);
            if !at_once {
                sender.advance_to(tick + 1);
                while probe.less_than(&(tick + 1)) {
                    worker.step();
                }
            }
        }
        drop(sender);
        while !probe.done() {
            worker.step();
        }
        Seen { turns: turns.take(), ..seen.take() }
    })
}

/// What a fold may read is what it wrote in the ticks before, whether these are complete one by one or all at once.
#[test]
fn a_tick_reads_what_the_ticks_before_wrote() {
    let ticks: [&[Row]; 4] = [&[(1, 5), (2, 1), (1, 3)], &[(1, 4)], &[], &[(1, 9), (2, 2)]];
    let expected = Seen {
        replaced: vec![(3, (1, 5)), (3, (2, 1))],
        changes: vec![((1, 5), 0, 1), ((2, 1), 0, 1), ((1, 5), 3, -1), ((1, 9), 3, 1), ((2, 1), 3, -1), ((2, 2), 3, 1)],
        turns: 3,
    };
    assert_eq!(greatest(&ticks, false, usize::MAX), expected);
    assert_eq!(greatest(&ticks, true, usize::MAX), expected);
}

/// Others work between the turns of a tick, and later ticks wait for it.
#[test]
fn a_fold_may_take_several_turns() {
    let ticks: [&[Row]; 2] = [&[(1, 1), (2, 1), (3, 1)], &[(1, 2)]];
    let whole = greatest(&ticks, true, usize::MAX);
    let some = greatest(&ticks, true, 1);
    assert_eq!((some.replaced, some.changes), (whole.replaced, whole.changes));
    assert_eq!((whole.turns, some.turns), (2, 4));
}

/// Passes numbers on, and counts them when both inputs are complete.
struct Count {
    passed: Passage<u64, u64>,
    counted: Output<u64, usize>,
}

impl Fold<u64> for Count {
    type Waiting = usize;

    fn tick(&mut self, _: &u64, waiting: &mut usize, at: &Capabilities<u64>) -> Turn {
        self.counted.give(at, [*waiting]);
        Turn::Done
    }
}

/// Readers of what is passed on wait for the input that it comes from; readers of the rest for all.
#[test]
fn a_passage_waits_for_no_other_input() {
    timely::execute_directly(move |worker| {
        let counts = Rc::<RefCell<Vec<usize>>>::default();
        let told = Rc::clone(&counts);
        let (mut numbers, mut others) = (Sender::<u64, u64>::new(), Sender::<u64, u64>::new());
        let (passed_on, counted_all) = (ProbeHandle::new(), ProbeHandle::new());
        worker.dataflow(|scope| {
            let mut operator = Keyed::<u64, Count>::new("Count", scope);
            let (passed, passed_stream) = operator.passage();
            let (counted, count_stream) = operator.output();
            operator.passing(scope.input_from(&mut numbers), Pipeline, |fold, arrivals| {
                let mut passed = fold.passed.activate();
                arrivals.each(|waiting, capability, numbers| {
                    *waiting += numbers.len();
                    passed.session(capability).give_container(numbers);
                });
            });
            operator.input(scope.input_from(&mut others), Pipeline, |_, arrivals| {
                arrivals.each(|waiting, _, numbers| *waiting += numbers.len());
            });
            operator.build(Count { passed, counted });
            passed_stream.probe_with(&passed_on);
            count_stream.inspect(move |count| told.borrow_mut().push(*count)).probe_with(&counted_all);
        });
        numbers.send_batch(&mut vec![1, 2, 3]);
        numbers.advance_to(1);
        for _ in 0..10 {
            worker.step();
        }
        assert!(!passed_on.less_than(&1) && counted_all.less_than(&1));
        others.send_batch(&mut vec![4]);
        others.advance_to(1);
        while counted_all.less_than(&1) {
            worker.step();
        }
        assert_eq!(counts.take(), [4]);
    });
}

/// It would wait in no tick and no frontier would count it: a fault of the operator in front.
#[test]
#[should_panic(expected = "Count: a message of input 0 has no tick; the input's frontier is")]
fn a_message_without_a_tick_stops_the_process() {
    timely::example(|scope| {
        let numbers = vec![1_u64, 2].to_stream(scope).unary::<CapacityContainerBuilder<Vec<u64>>, _, _, _>(
            Pipeline,
            "Unstamp",
            |_, _| |input, output| input.for_each(|_, rows| output.session(&CapabilitySet::new()).give_container(rows)),
        );
        let mut operator = Keyed::<u64, Count>::new("Count", scope);
        let (passed, _) = operator.passage();
        let (counted, _) = operator.output();
        operator.input(numbers, Pipeline, |_, arrivals| arrivals.each(|waiting, _, rows| *waiting += rows.len()));
        operator.build(Count { passed, counted });
    });
}

/// A trace takes rows as they come: rows out of order would be lost when they are sought.
#[test]
#[should_panic(expected = "rows of 1 come behind those of 2")]
fn rows_out_of_order_are_refused() {
    let mut rows = Rows::default();
    let mut builder = Builder::default();
    rows.extend(&mut builder, [((2, 0), 0, 1)]);
    rows.extend(&mut builder, [((1, 0), 0, 1)]);
}
