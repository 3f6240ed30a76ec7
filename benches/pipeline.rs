//! The whole graph, with records in memory: several sizes of ticks, duplicates, and a rule that changes at the end.
#![allow(clippy::unwrap_used, reason = "a bench that fails has to stop")]

use clap::Parser;
use dataflows::ingest::Dedupe;
use dataflows::pipeline::Settings;
use harness::clock::{Took, median};
use harness::graph::{Feed, Share};
use harness::sessions::{Together, run};
use harness::table::{self, Table, number, thousands};
use harness::visits::{DAY, GAP, Workload};

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 5_000_000)]
    events: usize,
    #[arg(long, default_value_t = 1)]
    workers: usize,
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// The way in which a log is fed.
#[derive(Clone, Copy)]
struct Case {
    /// Events that are loaded in bulk before measuring.
    warm: usize,
    /// Events per tick, of all workers together.
    tick: usize,
    dedupe: bool,
}

struct Outcome {
    fed: Took,
    /// For a rule more that claims half of the signatures.
    relabelled: Took,
    sessions: usize,
    /// Rows of the view of counts.
    counts: usize,
}

fn main() {
    let Arguments { events, workers, runs } = harness::arguments();
    let workload = Workload::new(events, false);
    let title = format!("{}, {} events, 1 % late, and a bot:", table::workers(workers), thousands(events));
    let columns = ["events in", "µs CPU/event", "µs wall/event", "sessions", "a rule more, ms CPU", "count rows"];
    let table = Table::new(&title, &columns);
    let warm = events / 2;
    for (name, case) in [
        ("1M-event ticks", Case { warm: 0, tick: 1_000_000, dedupe: false }),
        ("1M-event ticks, duplicates recognised", Case { warm: 0, tick: 1_000_000, dedupe: true }),
        ("10,000-event ticks", Case { warm, tick: 10_000, dedupe: false }),
        ("10,000-event ticks, duplicates recognised", Case { warm, tick: 10_000, dedupe: true }),
        ("1,000-event ticks", Case { warm, tick: 1_000, dedupe: false }),
    ] {
        let outcomes: Vec<_> = (0..runs).map(|_| measure(&workload, case, workers)).collect();
        let fed = median(outcomes.iter().map(|outcome| outcome.fed).collect());
        let relabelled = median(outcomes.iter().map(|outcome| outcome.relabelled).collect());
        let measured = events - case.warm;
        table.row(&[
            name.into(),
            number(fed.cpu_us(measured)),
            number(fed.wall_us(measured)),
            thousands(outcomes[0].sessions),
            number(relabelled.cpu * 1e3),
            thousands(outcomes[0].counts),
        ]);
    }
}

fn measure(workload: &Workload, case: Case, workers: usize) -> Outcome {
    let (workload, together) = (workload.clone(), Together::new(workers));
    let shares = run(workers, None, move |worker| {
        let horizon = case.dedupe.then_some(7 * DAY);
        let mut share = Share::new(&workload, worker.index(), worker.peers(), horizon);
        let dedupe = case.dedupe.then_some(Dedupe { ids: usize::MAX });
        let mut feed = Feed::new(worker, Settings { gap: GAP, dedupe, ..Settings::default() });
        share.ticks(0..case.warm, 1_000_000).into_iter().for_each(|tick| feed.tick(tick));
        feed.finish();
        let ticks = share.ticks(case.warm..workload.events(), case.tick);
        let fed = together.measure(|| {
            ticks.into_iter().for_each(|tick| feed.tick(tick));
            feed.finish();
        });
        let relabelled = together.measure(|| {
            feed.relabel("changed");
            feed.finish();
        });
        let mut views = feed.close();
        let (mut sessions, mut counts) = (0, 0);
        views.sessions(&mut |_, _| sessions += 1);
        views.counts(&mut |_, _, _| counts += 1);
        Outcome { fed, relabelled, sessions, counts }
    });
    let sum = |of: fn(&Outcome) -> usize| shares.iter().map(of).sum();
    Outcome {
        fed: shares[0].fed,
        relabelled: shares[0].relabelled,
        sessions: sum(|share| share.sessions),
        counts: sum(|share| share.counts),
    }
}
