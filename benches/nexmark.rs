//! Nexmark q11 through the graph: bids to sessions of users, gap 10 s. By the benchmark's convention all generated events
//! count, also the persons and auctions that the query has no use for; here they go through the graph too, as events
//! without a user. `peers/nexmark.py` runs the same on whole processes, beside Flink.
#![allow(clippy::unwrap_used, reason = "a bench that fails has to stop")]

use clap::Parser;
use dataflows::engine::Input;
use dataflows::pipeline::Settings;
use dataflows::{Descriptor, EventTime, Record, ShapeId, SignatureId, UserKey};
use harness::auctions::{self, GAP};
use harness::clock::{Clock, Took, median};
use harness::graph::Feed;
use harness::sessions::{BATCH, Together, run};
use harness::table::{self, Table, number, thousands};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 10_000_000)]
    events: usize,
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// An event of the benchmark, as far as the query looks at it.
#[derive(Clone, Copy)]
struct Happening {
    /// None of persons and auctions.
    bidder: Option<u32>,
    /// Milliseconds.
    time: i64,
}

fn main() {
    let Arguments { events, runs } = harness::arguments();
    let happenings: Arc<Vec<Happening>> = Arc::new(auctions::events(events).map(happening).collect());
    let title = format!("{} events, of which 92 % are bids; by hand is one pass over a hash table:", thousands(events));
    let columns = ["", "M events/s", "µs CPU/event", "sessions"];
    let table = Table::new(&title, &columns);
    let row = |name: &str, took: Took, sessions: usize| {
        let rate = number(events as f64 / took.wall / 1e6);
        table.row(&[name.into(), rate, number(took.cpu_us(events)), thousands(sessions)]);
    };
    let (took, sessions) = by_hand(&happenings, runs);
    row("by hand, in order, 1 thread", took, sessions);
    for (workers, tick) in [(1, 1_000_000), (2, 1_000_000), (1, 10_000), (2, 10_000)] {
        let (took, found) = graph(&happenings, workers, tick, runs);
        row(&format!("graph, {}, {}-event ticks", table::workers(workers), thousands(tick)), took, found);
        assert_eq!(sessions, found);
    }
}

fn happening(event: auctions::Event) -> Happening {
    let bidder = match &event {
        auctions::Event::Bid(bid) => Some(bid.bidder as u32),
        _ => None,
    };
    Happening { bidder, time: event.timestamp() as i64 }
}

/// The fastest way by hand, which works because the log is in order.
fn by_hand(happenings: &[Happening], runs: usize) -> (Took, usize) {
    let mut sessions = 0;
    let took = (0..runs).map(|_| {
        let clock = Clock::start();
        let mut open: HashMap<u32, (i64, i64, u64), foldhash::fast::FixedState> = HashMap::default();
        let mut closed = Vec::new();
        for Happening { bidder, time } in happenings {
            let Some(bidder) = *bidder else { continue };
            let session = open.entry(bidder).or_insert((*time, *time, 0));
            if time - session.1 > GAP / 1000 {
                closed.push((bidder, std::mem::replace(session, (*time, *time, 0))));
            }
            (session.1, session.2) = (*time, session.2 + 1);
        }
        let took = clock.took();
        sessions = std::hint::black_box(closed).len() + open.len();
        took
    });
    (median(took.collect()), sessions)
}

fn graph(happenings: &Arc<Vec<Happening>>, workers: usize, tick: usize, runs: usize) -> (Took, usize) {
    let mut sessions = 0;
    let took = (0..runs).map(|_| {
        let (happenings, together) = (Arc::clone(happenings), Together::new(workers));
        let shares = run(workers, None, move |worker| {
            let ticks = ticks(&happenings, tick, worker.index(), worker.peers());
            let mut feed = Feed::new(worker, Settings { gap: GAP, ..Settings::default() });
            let took = together.measure(|| {
                ticks.into_iter().for_each(|tick| feed.tick(tick));
                feed.finish();
            });
            let mut sessions = 0;
            feed.close().sessions(&mut |_, _| sessions += 1);
            (took, sessions)
        });
        sessions = shares.iter().map(|(_, sessions)| sessions).sum();
        shares[0].0
    });
    (median(took.collect()), sessions)
}

/// One worker's share of each tick, in batches, as decoding would leave it.
fn ticks(happenings: &[Happening], tick: usize, worker: usize, workers: usize) -> Vec<Vec<Input>> {
    let mut users: BTreeMap<u32, UserKey> = BTreeMap::new();
    let mut share = |start: usize| {
        let end = (start + tick).min(happenings.len());
        let at = |worker: usize| start + (end - start) * worker / workers;
        let own = &happenings[at(worker)..at(worker + 1)];
        own.chunks(BATCH).map(|batch| input(batch, &mut users)).collect()
    };
    let mut ticks: Vec<Vec<Input>> = (0..happenings.len()).step_by(tick).map(&mut share).collect();
    let descriptor = |shape| Descriptor { shape: ShapeId(shape), kind: None, answers: Vec::new() };
    ticks[0][0].signatures = vec![(BID, descriptor(1)), (OTHER, descriptor(2))];
    ticks
}

const BID: SignatureId = SignatureId(1);
const OTHER: SignatureId = SignatureId(2);

fn input(batch: &[Happening], users: &mut BTreeMap<u32, UserKey>) -> Input {
    let mut input = Input::default();
    for Happening { bidder, time } in batch {
        let user = bidder.map(|bidder| {
            *users.entry(bidder).or_insert_with(|| {
                let name = bidder.to_string();
                let key = UserKey::of(&name);
                input.names.push((key, Arc::from(name)));
                key
            })
        });
        let signature = if user.is_some() { BID } else { OTHER };
        let time = Ok(EventTime::from_micros(time * 1000).unwrap());
        let event = dataflows::Event {
            user,
            time,
            signature,
            details: None,
            steps: None,
            contributions: None,
            calls: None,
            counted: None,
            links: None,
        };
        input.records.push(Record { event, identity: None });
    }
    input
}
