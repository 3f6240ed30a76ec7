//! What a tick costs by itself, with nothing or little in it: the whole graph as a process runs it, one tick at a time.
#![allow(clippy::unwrap_used, reason = "a bench that fails has to stop")]

use clap::Parser;
use dataflows::engine::{Engine, Input};
use dataflows::ingest::Dedupe;
use dataflows::pipeline::Settings;
use harness::clock::{Took, median};
use harness::graph::Share;
use harness::sessions::Together;
use harness::table::{Table, number, thousands};
use harness::visits::{DAY, GAP, Workload};
use std::time::Duration;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 10_000)]
    ticks: usize,
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only this many events per tick.
    #[arg(long)]
    events: Option<usize>,
    /// Only this many workers.
    #[arg(long)]
    workers: Option<usize>,
    /// Only without duplicates recognised, or only with.
    #[arg(long)]
    dedupe: Option<bool>,
}

#[derive(Clone, Copy)]
struct Case {
    workers: usize,
    events: usize,
    ticks: usize,
    dedupe: bool,
}

fn main() {
    let Arguments { ticks, runs, events, workers, dedupe } = harness::arguments();
    let title = format!("One tick at a time, {} of each kind:", thousands(ticks));
    let table = Table::new(&title, &["workers", "duplicates", "events per tick", "µs CPU/tick", "µs wall/tick"]);
    for workers in workers.map_or(vec![1, 2], |only| vec![only]) {
        for dedupe in dedupe.map_or(vec![false, true], |only| vec![only]) {
            for events in events.map_or(vec![0, 10, 100], |only| vec![only]) {
                let case = Case { workers, events, ticks, dedupe };
                let took = median((0..runs).map(|_| measure(case)).collect());
                table.row(&[
                    workers.to_string(),
                    if dedupe { "recognised" } else { "kept" }.into(),
                    events.to_string(),
                    number(took.cpu_us(ticks)),
                    number(took.wall_us(ticks)),
                ]);
            }
        }
    }
}

fn measure(case: Case) -> Took {
    let Case { workers, events, ticks, dedupe } = case;
    let workload = Workload::new((events * ticks).max(1000), false);
    let together = Together::new(workers);
    let mut config = timely::Config::process(workers);
    // As in a process that runs.
    config.worker = config.worker.idle_spin(Duration::ZERO);
    let guards = timely::execute(config, move |worker| {
        let mut share = Share::new(&workload, worker.index(), worker.peers(), dedupe.then_some(7 * DAY));
        let dedupe = dedupe.then_some(Dedupe { ids: usize::MAX });
        let mut engine = Engine::new(worker, Settings { gap: GAP, dedupe, clock: true, ..Settings::default() });
        let inputs = match events {
            0 => (0..ticks).map(|_| Vec::new()).collect(),
            _ => share.ticks(0..events * ticks, events),
        };
        let took = together.measure(|| {
            for (tick, inputs) in (1..).zip(inputs) {
                engine.now(tick as i64);
                inputs.into_iter().for_each(|mut input: Input| engine.send(&mut input));
                engine.advance_to(tick);
                while engine.settled() < tick {
                    Engine::park(worker, Duration::from_millis(100));
                }
                engine.changes(tick);
                engine.compact(tick);
            }
        });
        engine.close(worker);
        took
    });
    guards.unwrap().join().remove(0).unwrap()
}
