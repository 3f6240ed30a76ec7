//! Measures each stage of a replay on one thread, beside the whole replay on one worker.
#![allow(clippy::unwrap_used, reason = "a bench that fails has to stop")]

use dataflows::engine::Input;
use dataflows::pipeline::Settings;
use dataflows::sessionize::{Session, Visit};
use dataflows::users::UserTotals;
use dataflows::views::Views;
use dataflows::{Event, Record, UserKey};
use harness::clock::{Clock, Took, median, repeat};
use harness::graph::Feed;
use harness::job::{Arguments, Log, block};
use harness::sessions::{Graph, Together, exchange, run};
use harness::table::{Table, number, thousands};
use headwater::collections::sessions::{SessionRow, SessionSchema};
use headwater::replay::{Options, outcome, replay};
use headwater::tables::{
    self, OutputFormat, Staging, TableWriter, session_table, session_values, user_table, user_values,
};
use headwater::text::progress::ProgressMode;
use headwater_decode::Decoder;
use headwater_decode::interpret::{Batch, Interpreter, Range};
use headwater_decode::json::JsonReader;
use headwater_decode::reading::Reading;
use headwater_decode::spec::Format;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

fn main() {
    let arguments: Arguments = harness::arguments();
    let (log, runs) = (Log::new(&arguments), arguments.runs);
    let events: usize = log.decoded().values().flatten().map(|input| input.records.len()).sum();
    let whole = whole(&log, 1, runs);
    let title = format!("One thread, {} events; each stage alone, above the one before:", thousands(events));
    let table = Table::new(&title, &["stage", "µs CPU/event", "share of the replay"]);
    let mut sum = 0.0;
    let row = |name: &str, cpu: f64| {
        let of_whole = format!("{:.0} %", 100.0 * cpu / whole.cpu);
        table.row(&[name.into(), number(cpu * 1e6 / events as f64), of_whole]);
    };
    let mut stage = |name: &str, cpu: f64| {
        sum += cpu;
        row(name, cpu);
    };

    let read = read(&log, runs).cpu;
    let split = split(&log, runs).cpu;
    let parse = parse(&log, runs).cpu;
    let decode = decode(&log, runs).cpu;
    stage("read, in chunks of whole lines", read);
    stage("split into records", split - read);
    stage("parse: values and shape", parse - split);
    stage("interpret: user, time, signature", decode - parse);
    let graph = graph(&log, runs);
    stage("graph, with records at hand", graph.fed.cpu);
    stage("resolve names and classes", graph.resolved_and_written.cpu - graph.written.cpu);
    stage("write Parquet", graph.written.cpu);
    row("sum of these stages", sum);
    row("whole replay, 1 worker", whole.cpu);
    let whole = self::whole(&log, 2, runs);
    row("whole replay, 2 workers", whole.cpu);
    row("of the graph: `sessionize` alone, 1 worker", sessionize(&log, runs).cpu);
    row("of the graph: exchange alone, 1 worker", exchanged(&log, 1, runs).cpu);
    row("of the graph: exchange alone, 2 workers", exchanged(&log, 2, runs).cpu);
}

fn read(log: &Log, runs: usize) -> Took {
    repeat(runs, || log.chunks(|_| {})).0
}

fn split(log: &Log, runs: usize) -> Took {
    let count = || {
        let mut records = 0;
        log.chunks(|chunk| records += chunk.framing.records(&chunk.bytes).count());
        records
    };
    repeat(runs, count).0
}

fn parse(log: &Log, runs: usize) -> Took {
    let plan = log.plan(1);
    let interpreter = Interpreter::new(Arc::new(plan.spec()), 0, Format::Json, Range::default());
    let read = || {
        let mut reader = JsonReader::new(Arc::clone(interpreter.paths()), None, plan.sources[0].events.limits);
        let (mut reading, mut values) = (Reading::default(), 0);
        log.chunks(|chunk| {
            for (_, record) in chunk.framing.records(&chunk.bytes) {
                reader.read(record, &mut reading, |_, read| values += read.unwrap().len());
            }
        });
        values
    };
    repeat(runs, read).0
}

fn decode(log: &Log, runs: usize) -> Took {
    let decode = || {
        let (mut decoder, mut batch) = (Decoder::new(log.plan(1).spec(), Range::default()), Batch::default());
        let mut records = 0;
        log.chunks(|chunk| {
            decoder.read(&block(chunk), &mut batch);
            records += batch.input.records.len();
            let Input { records, names, signatures, .. } = &mut batch.input;
            records.clear();
            names.clear();
            signatures.clear();
        });
        records
    };
    repeat(runs, decode).0
}

struct GraphTook {
    fed: Took,
    resolved_and_written: Took,
    written: Took,
}

/// The graph, fed as the worker's loop feeds it, and its views written.
fn graph(log: &Log, runs: usize) -> GraphTook {
    let took = (0..runs).map(|_| {
        let plan = log.plan(1);
        let decoded = Mutex::new(Some(log.decoded()));
        let mut shares = run(1, None, move |worker| {
            let decoded = decoded.lock().unwrap().take().unwrap();
            let clock = Clock::start();
            let mut feed = Feed::new(worker, Settings { gap: plan.sessions.gap, ..Settings::default() });
            feed.tick([Input { rules: plan.rules.clone(), ..Input::default() }]);
            decoded.into_values().for_each(|inputs| feed.tick(inputs));
            let mut views = feed.close();
            let fed = clock.took();

            let schema = SessionSchema::default();
            let folder = tempfile::tempdir().unwrap();
            let clock = Clock::start();
            write(&folder.path().join("1"), &schema, |sessions, users| {
                outcome::write(&mut views, sessions, users).unwrap();
            });
            let resolved_and_written = clock.took();
            let resolved = resolved(&mut views);
            let classes: Vec<Vec<_>> = resolved
                .iter()
                .map(|row| row.classes.iter().map(|(class, events)| (&**class, *events)).collect())
                .collect();
            let rows: Vec<_> = resolved
                .iter()
                .zip(&classes)
                .map(|(row, classes)| SessionRow {
                    key: row.user,
                    user: &row.name,
                    start: row.session.start,
                    end: row.session.end,
                    events: row.session.events,
                    classes,
                    first_class: &row.first,
                    last_class: &row.last,
                    sums: &[],
                    carried: &[],
                    ended_by: None,
                })
                .collect();
            let of_users = resolved.chunk_by(|one, other| one.user == other.user);
            let totals = |own: &[Resolved]| UserTotals::of(own.iter().map(|row| &row.session)).unwrap();
            let of_users: Vec<_> = of_users.map(|own| (&*own[0].name, totals(own))).collect();
            let clock = Clock::start();
            write(&folder.path().join("2"), &schema, |sessions, users| {
                rows.iter().for_each(|row| sessions.write(session_values(row)).unwrap());
                of_users.iter().for_each(|(user, totals)| users.write(user_values(user, totals)).unwrap());
            });
            GraphTook { fed, resolved_and_written, written: clock.took() }
        });
        shares.remove(0)
    });
    let took: Vec<_> = took.collect();
    let median_of = |of: fn(&GraphTook) -> Took| median(took.iter().map(of).collect());
    GraphTook {
        fed: median_of(|took| took.fed),
        resolved_and_written: median_of(|took| took.resolved_and_written),
        written: median_of(|took| took.written),
    }
}

/// One worker's parts, put together as tables.
fn write(out: &std::path::Path, schema: &SessionSchema, rows: impl FnOnce(&mut TableWriter, &mut TableWriter)) {
    let staging = Staging::open(out).unwrap();
    let tables = [session_table(schema), user_table()];
    let writer = |table: &tables::Table| TableWriter::new(table, OutputFormat::Parquet, staging.scratch(), 0).unwrap();
    let [mut sessions, mut users] = tables.each_ref().map(writer);
    rows(&mut sessions, &mut users);
    for (writer, table) in [sessions, users].into_iter().zip(&tables) {
        tables::assemble(vec![writer.finish().unwrap()], OutputFormat::Parquet, table, &staging).unwrap();
    }
}

/// A session with what its names resolve to.
struct Resolved {
    user: UserKey,
    name: Arc<str>,
    session: Session,
    /// By name.
    classes: BTreeMap<Arc<str>, u64>,
    first: Arc<str>,
    last: Arc<str>,
}

fn resolved(views: &mut Views) -> Vec<Resolved> {
    let (mut names, mut classes) = (BTreeMap::new(), BTreeMap::new());
    views.names(&mut |user, name| {
        names.insert(user, Arc::clone(name));
    });
    views.classes(&mut |signature, class| {
        classes.insert(signature, Arc::clone(class));
    });
    let mut rows = Vec::new();
    views.sessions(&mut |user, session| {
        let mut of_session = BTreeMap::new();
        for (signature, events) in session.counts() {
            *of_session.entry(Arc::clone(&classes[&signature])).or_insert(0) += events;
        }
        rows.push(Resolved {
            user,
            name: Arc::clone(&names[&user]),
            session: session.clone(),
            classes: of_session,
            first: Arc::clone(&classes[&session.first]),
            last: Arc::clone(&classes[&session.last]),
        });
    });
    rows
}

/// The operator alone, with the visits that the log holds.
fn sessionize(log: &Log, runs: usize) -> Took {
    let took = (0..runs).map(|_| {
        let (ticks, gap, together) = (Mutex::new(Some(visits(log))), log.plan(1).sessions.gap, Together::new(1));
        let shares = run(1, None, move |worker| {
            let ticks = ticks.lock().unwrap().take().unwrap();
            let mut graph = Graph::new(worker, gap);
            together.measure(|| {
                ticks.into_iter().for_each(|batches| graph.tick(batches, Vec::new()));
                graph.finish();
            })
        });
        shares[0]
    });
    median(took.collect())
}

/// Visits sent to the workers that own their users, and dropped there.
fn exchanged(log: &Log, workers: usize, runs: usize) -> Took {
    let took = (0..runs).map(|_| {
        let batches: Vec<_> = visits(log).into_iter().flatten().collect();
        let (batches, together) = (Arc::new(Mutex::new(batches)), Together::new(workers));
        let shares = run(workers, None, move |worker| {
            let own: Vec<_> = {
                let mut batches = batches.lock().unwrap();
                let others = batches.len() * worker.index() / workers;
                batches.drain(others..).collect()
            };
            together.measure(|| exchange(worker, own))
        });
        shares[0]
    });
    median(took.collect())
}

/// By tick and chunk.
fn visits(log: &Log) -> Vec<Vec<Vec<Visit>>> {
    let visit = |record: Record| {
        let Event { user, time, signature, details, .. } = record.event;
        Some(Visit { user: user?, time: time.ok()?, signature, details })
    };
    let of_input = |input: Input| input.records.into_iter().filter_map(visit).collect();
    log.decoded().into_values().map(|inputs| inputs.into_iter().map(of_input).collect()).collect()
}

/// All of it, from the file to the output folder.
fn whole(log: &Log, workers: usize, runs: usize) -> Took {
    let run = || {
        let out = tempfile::tempdir().unwrap();
        let options = Options {
            range: Range::default(),
            latest: None,
            now: None,
            out: out.path().to_owned(),
            format: OutputFormat::Parquet,
            progress: ProgressMode::Silent,
            landing: false,
            events: false,
        };
        replay(&log.plan(workers), &options).unwrap().sessions
    };
    repeat(runs, run).0
}
