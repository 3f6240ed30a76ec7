//! The operator `sessionize` alone, with rows as in production. Measures an event at several sizes of ticks, a late
//! event in a long history, and the memory of a session. Baselines of the same run: sorting and scanning the same
//! visits in memory, and `reduce` over all events of each user.
#![allow(clippy::unwrap_used, reason = "a bench that fails has to stop")]

use clap::Parser;
use dataflows::sessionize::{Replacement, Visit};
use dataflows::{EventTime, SignatureId, UserKey};
use differential_dataflow::input::InputSession;
use harness::clock::{self, Took, median, resident};
use harness::sessions::{BATCH, Graph, IN_FLIGHT, Together, allow_compaction, each_row, run};
use harness::table::{self, Table, number, thousands};
use harness::visits::{GAP, Workload};
use headwater::generate::random::Random;
use std::time::Duration;

#[derive(Clone, Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 10_000_000)]
    events: usize,
    #[arg(long, default_value_t = 1)]
    workers: usize,
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Sessions in the history that late events fall into.
    #[arg(long, default_value_t = 1_000_000)]
    history: usize,
    /// Only these parts: bulk, ticks, details, late, replacements, memory, naive.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    #[arg(long, hide = true)]
    memory_case: Option<MemoryCase>,
}

impl Arguments {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

fn main() {
    let arguments: Arguments = harness::arguments();
    if let Some(case) = arguments.memory_case {
        return memory_of(&arguments, case);
    }
    println!("\n{}, {} events", table::workers(arguments.workers), thousands(arguments.events));
    throughput(&arguments);
    if arguments.wants("late") {
        late(&arguments);
    }
    if arguments.wants("replacements") {
        replacements(&arguments);
    }
    if arguments.wants("memory") {
        memory(&arguments);
    }
}

/// Cost per event over the whole log, and over its second half in small ticks.
fn throughput(arguments: &Arguments) {
    let columns = ["events in", "µs CPU/event", "µs wall/event", "sessions"];
    let table = Table::new("Every event of a log with 1 % late ones and a bot:", &columns);
    let row = |name: &str, events: usize, took: Took, sessions: usize| {
        table.row(&[name.into(), number(took.cpu_us(events)), number(took.wall_us(events)), thousands(sessions)]);
    };
    let Arguments { events, workers, runs, .. } = *arguments;
    if arguments.wants("bulk") || arguments.wants("ticks") {
        let workload = Workload::new(events, false);
        let (took, sessions) = floor(&workload, runs);
        row("sort and scan in memory (floor)", events, took, sessions);
        let row = |name: &str, events, took, found| {
            assert_eq!(sessions, found, "the floor has as many sessions");
            row(name, events, took, found);
        };
        if arguments.wants("bulk") {
            let (took, sessions) = feed(&workload, Feed { warm: 0, tick: 1_000_000 }, workers, runs);
            row("1M-event ticks", events, took, sessions);
        }
        if arguments.wants("ticks") {
            // The history is loaded first; measured are the ticks on top of it.
            let warm = events / 2;
            for tick in [10_000, 1_000] {
                let (took, sessions) = feed(&workload, Feed { warm, tick }, workers, runs);
                row(&format!("{}-event ticks", thousands(tick)), events - warm, took, sessions);
            }
        }
    }
    if arguments.wants("details") {
        let events = events / 4;
        let workload = Workload::new(events, true);
        let (took, sessions) = floor(&workload, runs);
        row("with a sum and a carried field: floor", events, took, sessions);
        let (took, found) = feed(&workload, Feed { warm: 0, tick: 1_000_000 }, workers, runs);
        assert_eq!(sessions, found);
        row("with a sum and a carried field: 1M-event ticks", events, took, sessions);
    }
    if arguments.wants("naive") {
        let events = (events / 20).min(500_000);
        let workload = Workload::new(events, false);
        for tick in [100_000, 10_000, 1_000] {
            let name = |what: &str| format!("{what}, {} events in {}-event ticks", thousands(events), thousands(tick));
            let feed_ticks = Feed { warm: events / 2, tick };
            let (took, sessions) = feed(&workload, feed_ticks, workers, 1);
            row(&name("sessionize"), events / 2, took, sessions);
            let (took, found) = naive(&workload, feed_ticks);
            assert_eq!(sessions, found);
            row(&name("`reduce` over users"), events / 2, took, sessions);
        }
    }
}

/// The way in which a log is cut into ticks.
#[derive(Clone, Copy, Debug)]
struct Feed {
    /// Events that are loaded in bulk before measuring.
    warm: usize,
    /// Events per tick, of all workers together.
    tick: usize,
}

/// Returns the cost of the events after `warm`, and the number of sessions in the end.
fn feed(workload: &Workload, feed: Feed, workers: usize, runs: usize) -> (Took, usize) {
    let mut sessions = 0;
    let took = (0..runs).map(|_| {
        let (workload, together) = (workload.clone(), Together::new(workers));
        let shares = run(workers, None, move |worker| {
            let mut graph = Graph::new(worker, GAP);
            let warm = ticks(&workload, 0..feed.warm, 1_000_000, graph.index(), graph.peers());
            drive(&mut graph, warm);
            let ticks = ticks(&workload, feed.warm..workload.events(), feed.tick, graph.index(), graph.peers());
            let took = together.measure(|| drive(&mut graph, ticks));
            let mut sessions = 0;
            graph.sessions(|_, _| sessions += 1);
            (took, sessions)
        });
        sessions = shares.iter().map(|(_, sessions)| sessions).sum();
        shares[0].0
    });
    (median(took.collect()), sessions)
}

fn drive(graph: &mut Graph<'_>, ticks: Vec<Vec<Vec<Visit>>>) {
    ticks.into_iter().for_each(|batches| graph.tick(batches, Vec::new()));
    graph.finish();
}

/// One worker's share of each tick, in batches.
fn ticks(
    workload: &Workload,
    range: std::ops::Range<usize>,
    tick: usize,
    worker: usize,
    workers: usize,
) -> Vec<Vec<Vec<Visit>>> {
    let share = |start: usize| {
        let end = (start + tick).min(range.end);
        let at = |worker: usize| start + (end - start) * worker / workers;
        let (from, to) = (at(worker), at(worker + 1));
        (from..to).step_by(BATCH).map(|from| workload.visits(from..(from + BATCH).min(to))).collect()
    };
    range.clone().step_by(tick).map(share).collect()
}

/// The least that sessions cost when all visits are in memory: sort, then scan.
fn floor(workload: &Workload, runs: usize) -> (Took, usize) {
    let mut sessions = 0;
    let took = (0..runs).map(|_| {
        let mut visits = workload.visits(0..workload.events());
        let clock = clock::Clock::start();
        visits.sort_unstable_by_key(|visit| (visit.user, visit.time));
        let found = scan(&visits);
        let took = clock.took();
        sessions = std::hint::black_box(found).len();
        took
    });
    (median(took.collect()), sessions)
}

struct Scanned {
    user: UserKey,
    start: EventTime,
    end: EventTime,
    counts: Vec<(SignatureId, u64)>,
    /// Sum in millionths.
    sum: i128,
}

fn scan(visits: &[Visit]) -> Vec<Scanned> {
    let mut sessions: Vec<Scanned> = Vec::new();
    for visit in visits {
        let same = |last: &&mut Scanned| last.user == visit.user && visit.time.micros() - last.end.micros() <= GAP;
        let last = match sessions.last_mut().filter(same) {
            Some(last) => last,
            None => {
                let Visit { user, time, .. } = *visit;
                sessions.push(Scanned { user, start: time, end: time, counts: Vec::new(), sum: 0 });
                sessions.last_mut().unwrap()
            }
        };
        last.end = visit.time;
        match last.counts.iter_mut().find(|(signature, _)| *signature == visit.signature) {
            Some((_, count)) => *count += 1,
            None => last.counts.push((visit.signature, 1)),
        }
        last.sum += visit.details.as_ref().map_or(0, |details| details.sums[0].sum.millionths());
    }
    assert!(sessions.iter().all(|session| session.start <= session.end));
    sessions
}

/// Plain differential dataflow: all events of a user are reduced to sessions, again whenever one comes.
fn naive(workload: &Workload, feed: Feed) -> (Took, usize) {
    let workload = workload.clone();
    let mut shares = run(1, None, move |worker| {
        let mut input = InputSession::<u64, (UserKey, (EventTime, SignatureId)), isize>::new();
        let (probe, trace) = worker.dataflow(|scope| {
            let sessions = input.to_collection(scope).reduce(|_user, visits, output| {
                let mut session: Option<(EventTime, EventTime, isize)> = None;
                for ((time, _), copies) in visits {
                    session = match session {
                        Some((start, end, events)) if time.micros() - end.micros() <= GAP => {
                            Some((start, *time, events + copies))
                        }
                        other => {
                            output.extend(other.map(|session| (session, 1)));
                            Some((*time, *time, *copies))
                        }
                    };
                }
                output.extend(session.map(|session| (session, 1)));
            });
            let arranged = sessions.arrange_by_key();
            let (probe, _) = timely::dataflow::operators::Probe::probe(arranged.stream);
            (probe, arranged.trace)
        });
        let mut trace = trace;
        let mut tick = 0;
        let mut drive = |range: std::ops::Range<usize>, size: usize| {
            for start in range.clone().step_by(size) {
                for visit in workload.visits(start..(start + size).min(range.end)) {
                    input.insert((visit.user, (visit.time, visit.signature)));
                }
                tick += 1;
                input.advance_to(tick);
                input.flush();
                while probe.less_than(&tick.saturating_sub(IN_FLIGHT)) {
                    worker.step_or_park(Some(Duration::from_millis(1)));
                }
                allow_compaction(&mut trace, &probe);
            }
            while probe.less_than(&tick) {
                worker.step_or_park(Some(Duration::from_millis(1)));
            }
        };
        drive(0..feed.warm, 100_000);
        let took = Together::new(1).measure(|| drive(feed.warm..workload.events(), feed.tick));
        let mut sessions = 0;
        each_row(&mut trace, |_, _| sessions += 1);
        (took, sessions)
    });
    shares.remove(0)
}

/// Random late events of one user among 1,001, at several lengths of that user's history.
fn late(arguments: &Arguments) {
    let Arguments { workers, runs, history, .. } = *arguments;
    let title = format!("Random late events of one user; {} sessions in all:", thousands(history));
    let table = Table::new(&title, &["sessions of the user", "events per tick", "µs CPU/event", "µs wall/event"]);
    let per_tick = [(history, 1), (history, 100), (history, 1000)];
    // What a tick of one event costs by itself, and whether the length of the history matters.
    let flat = [(history / 1000, 1), (history / 1000, 100), (history / 10, 100)];
    for (sessions, tick) in per_tick.into_iter().chain(flat) {
        let events = if tick == 1 { 5_000 } else { 50_000 };
        let loaded = Workload::hot(sessions, history);
        let late = loaded.late(sessions, events);
        let took = (0..runs).map(|_| {
            let (loaded, late, together) = (loaded.clone(), late.clone(), Together::new(workers));
            let shares = run(workers, None, move |worker| {
                let mut graph = Graph::new(worker, GAP);
                let (index, peers) = (graph.index(), graph.peers());
                drive(&mut graph, ticks(&loaded, 0..loaded.events(), 1_000_000, index, peers));
                let ticks = ticks(&late, 0..late.events(), tick, index, peers);
                together.measure(|| drive(&mut graph, ticks))
            });
            shares[0]
        });
        let took = median(took.collect());
        table.row(&[thousands(sessions), thousands(tick), number(took.cpu_us(events)), number(took.wall_us(events))]);
    }
}

/// Deletions: each takes one session away.
fn replacements(arguments: &Arguments) {
    let Arguments { workers, runs, history, .. } = *arguments;
    let title = format!("Replacements, each of one session of {}:", thousands(history));
    let table = Table::new(&title, &["replacements per tick", "µs CPU each", "µs wall each"]);
    let loaded = Workload::hot(history / 10, history);
    for tick in [1, 100, 1000] {
        let wanted = if tick == 1 { 2_000 } else { 20_000 };
        let took = (0..runs).map(|_| {
            let (loaded, together) = (loaded.clone(), Together::new(workers));
            let shares = run(workers, None, move |worker| {
                let mut graph = Graph::new(worker, GAP);
                let (index, peers) = (graph.index(), graph.peers());
                drive(&mut graph, ticks(&loaded, 0..loaded.events(), 1_000_000, index, peers));
                let mut random = Random::new(11, 0);
                let every = (history / wanted).max(1) as u64;
                let mut chosen = Vec::new();
                graph.sessions(|user, session| {
                    if random.below(every) == 0 && chosen.len() < wanted / peers {
                        let (from, to, sessions) = (session.start, session.end, vec![session.id(*user)]);
                        chosen.push(Replacement {
                            user: *user,
                            from,
                            to,
                            sessions: Some(sessions),
                            survivors: Vec::new(),
                        });
                    }
                });
                for one in (1..chosen.len()).rev() {
                    chosen.swap(one, random.below(one as u64 + 1) as usize);
                }
                chosen.truncate(wanted / peers / 2);
                let count = chosen.len();
                let share = (tick / peers).max(1);
                let took = together.measure(|| {
                    while !chosen.is_empty() {
                        let rest = chosen.split_off(share.min(chosen.len()));
                        graph.tick([], std::mem::replace(&mut chosen, rest));
                    }
                    graph.finish();
                });
                (took, count)
            });
            let count: usize = shares.iter().map(|(_, count)| count).sum();
            (shares[0].0, count)
        });
        let (took, counts): (Vec<_>, Vec<_>) = took.unzip();
        let took = median(took);
        table.row(&[thousands(tick), number(took.cpu_us(counts[0])), number(took.wall_us(counts[0]))]);
    }
}

/// Prints the memory per session when the whole log is in. Each figure is of a process of its own.
fn memory(arguments: &Arguments) {
    let columns = ["100k-event ticks", "sessions", "bytes per session", "batches"];
    let table = Table::new("Memory of the arrangement, and of all else that the operator keeps:", &columns);
    for case in [
        MemoryCase { details: false, merged: false },
        MemoryCase { details: false, merged: true },
        MemoryCase { details: true, merged: false },
        MemoryCase { details: true, merged: true },
    ] {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--events", &arguments.events.to_string(), "--workers", &arguments.workers.to_string()])
            .args(["--memory-case", &format!("{},{}", case.details, case.merged)])
            // What is freed goes back to the system at once.
            .env("MIMALLOC_PURGE_DELAY", "0")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        let figures: Vec<usize> = printed.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
        let [sessions, bytes, batches] = figures[..] else { panic!("not three figures: {printed}") };
        let rows = if case.details { "with a sum and a carried field" } else { "counts by signature" };
        let when = if case.merged { "merged" } else { "as left by a replay" };
        let bytes = number(bytes as f64 / sessions as f64);
        table.row(&[format!("{rows}, {when}"), thousands(sessions), bytes, thousands(batches)]);
    }
}

/// Which figure of memory a child process is to print.
#[derive(Clone, Copy, Debug)]
struct MemoryCase {
    details: bool,
    /// With exertion, until all batches are one; else without, as in a replay.
    merged: bool,
}

impl std::str::FromStr for MemoryCase {
    type Err = String;

    fn from_str(text: &str) -> Result<MemoryCase, String> {
        let (details, merged) = text.split_once(',').ok_or("details,merged")?;
        let flag = |text: &str| text.parse::<bool>().map_err(|error| error.to_string());
        Ok(MemoryCase { details: flag(details)?, merged: flag(merged)? })
    }
}

/// Prints sessions, bytes, batches.
fn memory_of(arguments: &Arguments, case: MemoryCase) {
    let Arguments { events, workers, .. } = *arguments;
    let workload = Workload::new(events, case.details);
    let together = Together::new(workers);
    let before = resident();
    let shares = run(workers, case.merged.then_some(1_000_000), move |worker| {
        let mut graph = Graph::new(worker, GAP);
        let (index, peers, tick) = (graph.index(), graph.peers(), 100_000);
        for start in (0..workload.events()).step_by(tick) {
            let share = ticks(&workload, start..(start + tick).min(workload.events()), tick, index, peers);
            share.into_iter().for_each(|batches| graph.tick(batches, Vec::new()));
        }
        graph.finish();
        if case.merged {
            graph.merge();
        }
        let mut after = 0;
        together.measure(|| after = resident());
        let mut sessions = 0;
        graph.sessions(|_, _| sessions += 1);
        (after, sessions, graph.batches())
    });
    let sessions: usize = shares.iter().map(|(_, sessions, _)| sessions).sum();
    println!("{sessions} {} {}", shares[0].0.saturating_sub(before), shares[0].2);
}
