//! Measures sequences: a step event in ticks of each size, beside an arrangement of the same events, and a lone change of a
//! key with very many of them.
#![allow(clippy::unwrap_used, reason = "a bench that fails has to stop")]

use clap::Parser;
use dataflows::sequence::{Definition, Repeat, Sequences, StepEvent, StepRow, Ties, Track, sequence};
use dataflows::{EventTime, Tick, UserKey};
use differential_dataflow::AsCollection;
use harness::clock::{Clock, Took, median};
use harness::table::{Table, number, thousands};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::operator::empty;
use timely::dataflow::operators::vec::{Input as _, Map};
use timely::dataflow::{InputHandle, ProbeHandle};

#[derive(Parser)]
struct Arguments {
    /// Step events.
    #[arg(long, default_value_t = 5_000_000)]
    events: usize,
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// Over which the events lie.
const DAYS: i64 = 30;
/// Lone changes, each a tick.
const LONE: usize = 1000;

type Sender<R> = InputHandle<Tick, CapacityContainerBuilder<Vec<R>>>;

fn main() {
    let Arguments { events, runs } = harness::arguments();
    let title = format!("Sequence of 4 steps within an hour, {} step events, 1 worker:", thousands(events));
    let table = Table::new(&title, &["ticks", "µs CPU/event", "arranged alone", "ratio"]);
    let log = log(events);
    for size in [1_000_000, 10_000, 1_000] {
        // Of small ticks, the second half is measured.
        let from = if size < 1_000_000 { events / 2 } else { 0 };
        let of = |what: What| {
            let took = median((0..runs).map(|_| run(what, &log, from, size).0).collect());
            took.cpu_us(events - from)
        };
        let (sequences, arranged) = (of(What::Sequences), of(What::Arranged));
        let ratio = sequences / arranged;
        table.row(&[format!("of {} events", thousands(size)), number(sequences), number(arranged), number(ratio)]);
    }
    let table = Table::new("One key with all events, a change a tick:", &["steps", "µs CPU/change", "events read"]);
    for (name, steps) in [("random", 4), ("never the last", 3), ("only the first", 1)] {
        let mut log = one_key(events.min(1_000_000), steps);
        let all = log.len() - LONE;
        // Late, and apart from each other.
        log[all..].iter_mut().for_each(|((_, event), _)| *event = at(event.time.micros() + 1, event.steps));
        let (took, read) = run(What::Sequences, &log, all, 1);
        table.row(&[name.into(), number(took.cpu_us(LONE)), thousands(read / LONE as u64)]);
    }
}

#[derive(Clone, Copy)]
enum What {
    Sequences,
    Arranged,
}

/// Sends `log` in ticks, all before `from` in one, and measures what follows. Returns the events that were read for it.
fn run(what: What, log: &[StepRow], from: usize, size: usize) -> (Took, u64) {
    let log = log.to_vec();
    timely::execute_directly(move |worker| {
        let mut steps: Sender<StepRow> = Sender::new();
        let probe = ProbeHandle::new();
        let definition =
            Definition::new(HOUR, &[false, true, false, false], &[], Repeat::Tight, Ties::Ordered).unwrap();
        let effort = worker.dataflow::<Tick, _, _>(|scope| {
            let input = scope.input_from(&mut steps);
            match what {
                What::Sequences => {
                    let sequenced =
                        sequence((input, empty(scope)), None, (None, None), Sequences::new(vec![definition]));
                    sequenced.activities.stream.probe_with(&probe);
                    Some(sequenced.effort)
                }
                What::Arranged => {
                    let rows = input.map(|(row, diff)| (row, Tick::default(), diff)).as_collection();
                    rows.arrange_by_key().stream.probe_with(&probe);
                    None
                }
            }
        });
        let mut tick = 0;
        let mut send = |rows: &[StepRow], worker: &mut timely::worker::Worker| {
            steps.send_batch(&mut rows.to_vec());
            tick += 1;
            steps.advance_to(tick);
            worker.step_while(|| probe.less_than(&tick));
        };
        if from > 0 {
            send(&log[..from], worker);
        }
        let read = || effort.as_ref().map_or(0, |effort| effort.read.get());
        let (before, clock) = (read(), Clock::start());
        log[from..].chunks(size).for_each(|rows| send(rows, worker));
        (clock.took(), read() - before)
    })
}

fn at(micros: i64, steps: u8) -> StepEvent {
    StepEvent::new(EventTime::from_micros(micros).unwrap(), steps, 0, 0, None)
}

/// Numbers that look random: SplitMix64.
fn numbers(seed: u64) -> impl Iterator<Item = i64> {
    (seed..).map(|n| {
        let mut mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 1) as i64
    })
}

/// A bot has a tenth of the events, and 1 % are late by up to 3 days.
fn log(events: usize) -> Vec<StepRow> {
    let users: Vec<UserKey> = (0..events / 10 + 1).map(|user| UserKey::of(&user.to_string())).collect();
    let events = events as i64;
    let row = |(n, number): (i64, i64)| {
        let late = if number % 100 == 0 { number / 7 % (3 * DAY) } else { 0 };
        let user = if number / 100 % 10 == 0 { 0 } else { (number / 1000) as usize % users.len() };
        let time = DAYS * DAY / events * n - late;
        ((Track { key: users[user], sequence: 0 }, at(time, 1 << (number / 11 % 4))), 1)
    };
    (0..events).zip(numbers(1)).map(row).collect()
}

/// One key, with the first `steps` steps at random.
fn one_key(events: usize, steps: i64) -> Vec<StepRow> {
    let track = Track { key: UserKey::of("bot"), sequence: 0 };
    let all = (events + LONE) as i64;
    let times = (0..all).zip(numbers(1)).map(|(n, number)| match n < events as i64 {
        true => (DAYS * DAY / all * n, number),
        false => (number / 5 % (DAYS * DAY), number),
    });
    times.map(|(time, number)| ((track, at(time, 1 << (number % steps))), 1)).collect()
}
