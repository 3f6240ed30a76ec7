//! State per entity: ten columns over three windows and all time, and a reader by key. The operator alone in a dataflow,
//! beside a hash table that is filled by hand with two of the columns.
#![allow(clippy::unwrap_used, reason = "a bench that fails has to stop")]

use clap::Parser;
use dataflows::record::Rank;
use dataflows::state::{
    Aggregate, Contribution, Definition, Fold, Follow, Given, Inputs, Item, Read, States, Value, Window, accumulate,
};
use dataflows::{Decimal, EventTime, Tick, UserKey};
use harness::clock::{Clock, Took, median, resident};
use harness::sessions::{BATCH, Together};
use harness::table::{Table, number, thousands};
use harness::visits::{Arrival, DAY, HOUR, Workload};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::operator::empty;
use timely::dataflow::operators::vec::Input as _;
use timely::dataflow::{InputHandle, ProbeHandle};

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 5_000_000)]
    events: usize,
    #[arg(long, default_value_t = 3)]
    runs: usize,
    #[arg(long, default_value_t = 100_000)]
    reads: usize,
}

/// Ticks whose past is kept, as in a process that runs.
const HISTORY: Tick = 100;

fn main() {
    let Arguments { events, runs, reads } = harness::arguments();
    let workload = Workload::new(events, false);
    let table = Table::new(
        &format!("{} events, a tenth of them of one bot, 1 % late:", thousands(events)),
        &["", "µs CPU/event", "entities", "bytes per entity", "µs per read"],
    );
    let took = median((0..runs).map(|_| by_hand(&workload)).collect());
    table.row(&[
        "by hand, count and sum".into(),
        number(took.cpu_us(events)),
        String::new(),
        String::new(),
        String::new(),
    ]);
    for (workers, tick) in [(1, 1_000_000), (2, 1_000_000), (1, 10_000), (1, 1_000)] {
        let mut all: Vec<Outcome> = (0..runs).map(|_| measure(&workload, workers, tick, reads, false)).collect();
        let took = median(all.iter().map(|outcome| outcome.took).collect());
        let Outcome { entities, bytes, read, .. } = all.remove(0);
        table.row(&[
            format!("{workers} worker{}, {}-event ticks", if workers > 1 { "s" } else { "" }, thousands(tick)),
            number(took.cpu_us(events)),
            thousands(entities),
            if workers > 1 { String::new() } else { thousands(bytes / entities.max(1)) },
            number(read),
        ]);
    }
    // The value of what decays changes all the time, so it cannot be followed.
    let table = Table::new(
        "Each change of a row given to one who follows the state, without the columns of `decay` and `distinct`:",
        &["", "µs CPU/event alone", "followed", "changes per event", "µs per change"],
    );
    for tick in [10_000, 1_000, 100] {
        let arrivals = Arc::new(workload.arrivals[..events.min(tick * 500)].to_vec());
        let some = Workload { arrivals, ..workload.clone() };
        let of = |follow| (0..runs).map(|_| measure(&some, 1, tick, 0, follow)).collect::<Vec<_>>();
        let (alone, followed) = (of(false), of(true));
        let cpu = |all: &[Outcome]| median(all.iter().map(|one| one.took).collect()).cpu_us(some.arrivals.len());
        let per_event = followed[0].changes as f64 / some.arrivals.len() as f64;
        let (alone, followed) = (cpu(&alone), cpu(&followed));
        table.row(&[
            format!("{}-event ticks", thousands(tick)),
            number(alone),
            number(followed),
            number(per_event),
            number((followed - alone) / per_event),
        ]);
    }
}

struct Outcome {
    took: Took,
    entities: usize,
    bytes: usize,
    /// Microseconds.
    read: f64,
    /// Rows that went or came.
    changes: u64,
}

/// Columns as in docs/guide/state.md.
fn definition(follow: bool) -> Arc<Definition> {
    let of = |fold, length: Option<i64>| Aggregate { fold, window: length.map(Window::new) };
    let aggregates = vec![
        of(Fold::Count, None),
        of(Fold::Sum, None),
        of(Fold::First, None),
        of(Fold::Last, None),
        of(Fold::Decay { half_life: 7 * DAY }, None),
        of(Fold::Count, Some(HOUR)),
        of(Fold::Sum, Some(30 * DAY)),
        of(Fold::Max, Some(30 * DAY)),
        of(Fold::Values { cap: 1000 }, Some(7 * DAY)),
    ];
    let columns = match follow {
        true => [0, 1, 2, 3, 5, 6, 7].into_iter().map(Read::Whole).collect(),
        false => (0..9).map(Read::Whole).chain([Read::Top { aggregate: 8, k: 3 }]).collect(),
    };
    Arc::new(Definition { aggregates, columns })
}

fn contribution(arrival: &Arrival, users: &[UserKey], pages: &[Arc<str>]) -> Contribution {
    let page = || Given::Text(Arc::clone(&pages[usize::from(arrival.signature)]));
    let price = || Given::Number(Decimal::from_millionths(i128::from(arrival.time % 100_000_000)));
    let given = [Given::Event, price(), page(), page(), price(), Given::Event, price(), price(), page()];
    let time = EventTime::from_micros(arrival.time).unwrap();
    let item = Item { time, rank: Rank::default(), given: (0..).zip(given).collect() };
    Contribution { state: 0, entity: Some(users[arrival.user as usize]), item }
}

fn by_hand(workload: &Workload) -> Took {
    let clock = Clock::start();
    let mut totals: HashMap<UserKey, (u64, i128), foldhash::fast::FixedState> = HashMap::default();
    for arrival in &*workload.arrivals {
        let total = totals.entry(workload.users[arrival.user as usize]).or_default();
        *total = (total.0 + 1, total.1 + i128::from(arrival.time % 100_000_000));
    }
    std::hint::black_box(totals.len());
    clock.took()
}

fn measure(workload: &Workload, workers: usize, tick: usize, reads: usize, follow: bool) -> Outcome {
    let workload = workload.clone();
    let together = Together::new(workers);
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let pages: Vec<Arc<str>> = (0..=u8::MAX).map(|page| Arc::from(format!("/page/{page}"))).collect();
        let mut input = InputHandle::<Tick, CapacityContainerBuilder<Vec<Contribution>>>::new();
        let probe = ProbeHandle::new();
        let tables = worker.dataflow::<Tick, _, _>(|scope| {
            let contributions = scope.input_from(&mut input);
            let inputs = Inputs { contributions, replacements: empty(scope), restored: empty(scope) };
            let states = accumulate(inputs, &States { definitions: vec![definition(follow)], now: None }, true);
            states.rejections.probe_with(&probe);
            states.tables
        });
        let before = resident();
        let (mut now, mut changes) = (EventTime::MIN, 0);
        let mut followed = follow.then(|| Follow::new(&tables[0].borrow(), 0, now));
        let name: Arc<str> = Arc::from("somebody");
        let took = together.measure(|| {
            for (number, arrivals) in (1..).zip(workload.arrivals.chunks(tick)) {
                for batch in arrivals.chunks(BATCH * peers) {
                    let own = batch.iter().skip(index).step_by(peers);
                    own.for_each(|arrival| input.send(contribution(arrival, &workload.users, &pages)));
                    worker.step();
                }
                now = arrivals.last().and_then(|arrival| EventTime::from_micros(arrival.time)).unwrap_or(now);
                input.advance_to(number);
                while probe.less_than(&number) {
                    worker.step_or_park(Some(Duration::from_millis(1)));
                }
                if let Some(followed) = &mut followed {
                    let mut row = |_: &str, values: &[Value<'_>], _| {
                        changes += u64::from(!std::hint::black_box(values).is_empty());
                        ControlFlow::Continue(())
                    };
                    let of_tick = (number - 1, now);
                    let told = followed.tick(&tables[0].borrow(), &mut |_| Arc::clone(&name), of_tick, &mut row);
                    assert!(told.is_continue());
                }
                // Large ticks take what would be many.
                let kept = if tick >= 100_000 { 0 } else { HISTORY };
                tables[0].borrow_mut().compact(&number.saturating_sub(kept), now);
            }
            tables[0].borrow_mut().compact(input.time(), now);
        });
        let bytes = resident().saturating_sub(before);
        let table = tables[0].borrow();
        let entities = workload.users.iter().filter(|user| table.row(**user, &Tick::MAX, now, |_| ())).count();
        let clock = Clock::start();
        for read in 0..reads {
            // As the events do: mostly of users with many.
            let user = workload.users[workload.arrivals[read * 7919 % workload.arrivals.len()].user as usize];
            table.row(user, &Tick::MAX, now, |values| _ = std::hint::black_box(values.len()));
        }
        let read = clock.took().wall_us(reads);
        (took, entities, bytes, read, changes)
    });
    let all: Vec<_> = guards.unwrap().join().into_iter().map(|outcome| outcome.unwrap()).collect();
    Outcome {
        took: all[0].0,
        entities: all.iter().map(|one| one.1).sum(),
        bytes: all[0].2,
        read: all[0].3,
        changes: all.iter().map(|one| one.4).sum(),
    }
}
