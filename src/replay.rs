//! `headwater replay`: finite sources through the graph, and its views as files.

mod dates;
pub mod durations;
pub mod events;
pub mod facts;
pub mod gather;
mod groups;
pub mod guess;
pub mod notice;
pub mod outcome;
mod recover;
pub mod sequences;
mod states;
pub mod summary;
pub mod survey;
pub mod told;
pub mod worker;

use crate::collections::place::SourceIndex;
use crate::config;
use crate::error::Error;
use crate::landing::history::{self, History};
use crate::observe::memory;
use crate::plan::{Plan, SourcePlan};
use crate::replay::summary::{Note, Skips, Summary, Unmatched};
use crate::source::{self, Chunking, Chunks, Part};
use crate::tables::{self, DeadLetterSpool, OutputFormat, Staging, Table, TableWriter, state_table, user_table};
use crate::text::nearest::nearest;
use crate::text::progress::{Progress, ProgressMode};
use dataflows::classify::Class;
use dataflows::sequence::{Counts, FunnelKey};
use dataflows::shapes::ShapeTotals;
use dataflows::{DeadLetter, EventTime, Position, Rule, Sessionless, ShapeId};
use events::{First, Index};
use headwater_decode::account::{Account, Skip};
use headwater_decode::interpret::Range;
use outcome::Totals;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Instant;
use told::Findings;
use worker::{Feed, Observer, Tally};

/// The options of the command line, beside the plan.
#[derive(Clone, Debug)]
pub struct Options {
    pub range: Range,
    /// By default the largest event time.
    pub now: Option<EventTime>,
    /// Event times after this one are hard to believe: a day after the clock of the command.
    pub latest: Option<EventTime>,
    pub out: PathBuf,
    pub format: OutputFormat,
    pub progress: ProgressMode,
    /// Whether to write `session_events` too.
    pub events: bool,
    /// Whether to read the landing of the configuration instead of its sources.
    pub landing: bool,
}

/// What a replay reads.
enum Input {
    Files(Box<Chunks>),
    Landing(Arc<History>),
}

impl Input {
    /// Returns the stored bytes that were read, and those there are.
    fn bytes(&self) -> (u64, u64) {
        match self {
            Input::Files(chunks) => {
                let progress = chunks.progress();
                (progress.bytes_read, progress.bytes_total)
            }
            Input::Landing(history) => history.bytes(),
        }
    }
}

/// Reads all sources from beginning to end. The output folder changes only when all is complete.
pub fn replay(plan: &Arc<Plan>, options: &Options) -> Result<Summary, Error> {
    let started = Instant::now();
    let history = if options.landing { Some(history(plan, options)?) } else { None };
    let parts = if options.landing { Vec::new() } else { parts(plan)? };
    let guessed = match plan.sources[..] {
        [SourcePlan { is_implied: true, .. }] => {
            guess::without_source(plan, &parts).map_err(Error::run("read the sources"))?
        }
        _ => None,
    };
    let (plan, guesses) = match guessed {
        Some((plan, guesses)) => (&Arc::new(plan), guesses),
        None => (plan, Vec::new()),
    };
    let staging = Staging::open(&options.out).map_err(Error::run("write the output"))?;
    let limits = plan.sources.iter().map(|source| source.events.limits.event_bytes);
    let chunking = Chunking { event_bytes: limits.max().unwrap_or_default(), ..Chunking::default() };
    let open = || Chunks::open(parts.clone(), chunking).map_err(Error::run("read the sources"));
    if options.events {
        refuse_pipes(&parts)?;
    }
    let input = history
        .clone()
        .map_or_else(|| open().map(|chunks| Input::Files(Box::new(chunks))), |history| Ok(Input::Landing(history)))?;
    let table = tables::session_table(&plan.session_schema());
    let (mut shares, notes, bytes) = run(plan, options, &table, &staging, input)?;

    let conflicts: Vec<_> = shares.iter_mut().flat_map(|share| std::mem::take(&mut share.tally.conflicts)).collect();
    if options.events {
        shares[0].tally.repeats.extend(&conflicts);
    }
    let spool = &mut shares[0].spool;
    match &history {
        Some(history) => recover::landed(history, conflicts, spool)?,
        None => recover::read(plan, &parts, chunking, conflicts, spool)?,
    }
    let mut summary = summarize(plan, options, &shares);
    tell(plan, &parts, &shares, &mut summary)?;
    summary.notices.splice(0..0, guesses);
    let files = history.as_ref().map_or(parts.len(), |history| history.files());
    (summary.files, summary.bytes) = (files as u64, bytes);
    summary.notes = notes;
    let counts = shares.iter().flat_map(|share| &share.counts).map(|(class, hour, events)| (&**class, *hour, *events));
    tables::write_counts(counts, options.format, &staging).map_err(Error::run("write the output"))?;
    let shapes = shares.iter_mut().flat_map(|share| std::mem::take(&mut share.shapes)).collect();
    tables::write_shapes(shapes, options.format, &staging).map_err(Error::run("write the output"))?;
    write_groups(plan, options, &mut shares, &mut summary, &staging).map_err(Error::run("write the output"))?;
    write_sequences(plan, options, &mut shares, &mut summary, &staging).map_err(Error::run("write the output"))?;
    let paths: Vec<_> = parts.iter().map(|part| part.path.to_string_lossy().into_owned()).collect();
    if options.events {
        let indexes = shares.iter_mut().filter_map(|share| share.index.take()).collect();
        let repeats = shares.iter_mut().flat_map(|share| std::mem::take(&mut share.tally.repeats)).collect();
        let first = First { indexes, repeats, events: summary.events };
        let written = events::write(plan, (options.range, options.format), &open()?, &paths, &staging, first)?;
        let table = events::event_table(plan);
        tables::assemble(written, options.format, &table, &staging).map_err(Error::run("write the output"))?;
    }
    let (mut sessions, mut users, mut spools, mut identities) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut states: Vec<Vec<tables::Part>> = plan.states.iter().map(|_| Vec::new()).collect();
    for share in shares {
        states.iter_mut().zip(share.states).for_each(|(parts, state)| parts.push(state.part));
        identities.extend(share.identities);
        sessions.push(share.sessions);
        users.push(share.users);
        spools.push(share.spool);
    }
    let mut tables = vec![(sessions, table), (users, user_table())];
    tables.extend(states.into_iter().zip(plan.state_schemas()).map(|(parts, schema)| (parts, state_table(&schema))));
    tables.extend(plan.identity.as_ref().map(|_| (identities, tables::identity_table())));
    for (parts, table) in tables {
        tables::assemble(parts, options.format, &table, &staging).map_err(Error::run("write the output"))?;
    }
    // A record that has landed is known by its place in the queue.
    let path = |at: Position| paths.get(at.part as usize).map_or("", String::as_str);
    let resolve = |at: Position| (plan.sources[at.source as usize].name.as_str(), path(at));
    tables::merge(spools, &staging, resolve).map_err(Error::run("write the output"))?;
    let written = staging.commit().map_err(Error::run("write the output"))?;
    summary.out = written.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    summary.peak_rss_bytes = memory::peak_rss_bytes();
    summary.took(started.elapsed());
    Ok(summary)
}

/// Opens the landing of the plan.
fn history(plan: &Plan, options: &Options) -> Result<Arc<History>, Error> {
    let Some(landing) = &plan.landing else {
        let message = format!("{} has no [landing]", plan.config.display());
        return Err(Error::usage(message, "add the section of the run whose landing is to be read"));
    };
    if options.events {
        return Err(Error::usage("--events reads files, and no landing", "leave out --events or --landing"));
    }
    let history = History::open(&landing.path, plan, Chunking::default().tick_bytes);
    history.map(Arc::new).map_err(Error::run("read the landing"))
}

/// Writes what was recognised, if there are sequences.
fn write_sequences(
    plan: &Plan,
    options: &Options,
    shares: &mut [Share],
    summary: &mut Summary,
    staging: &Staging,
) -> Result<(), tables::Error> {
    if plan.sequences.is_empty() {
        return Ok(());
    }
    let (mut parts, mut funnels) = (Vec::new(), BTreeMap::<FunnelKey, Counts>::new());
    let mut keyless = BTreeMap::<u16, u64>::new();
    for share in shares {
        if let Some((part, counts)) = share.activities.take() {
            parts.push(part);
            counts.iter().for_each(|(key, counts)| funnels.entry(key.clone()).or_default().merge(counts));
        }
        share.tally.keyless.iter().for_each(|(sequence, events)| *keyless.entry(*sequence).or_default() += events);
    }
    tables::assemble(parts, options.format, &tables::activity_table(), staging)?;
    tables::write_funnels(&funnels, &plan.sequence_schemas(), options.format, staging)?;
    summary.funnels = sequences::funnels(&plan.sequences, &funnels);
    summary.notices.extend(sequences::notices(plan, &summary.classes, &keyless));
    Ok(())
}

/// Writes the groups of each count.
fn write_groups(
    plan: &Plan,
    options: &Options,
    shares: &mut [Share],
    summary: &mut Summary,
    staging: &Staging,
) -> Result<(), tables::Error> {
    if plan.counts.is_empty() {
        return Ok(());
    }
    let mut funnels = BTreeMap::<FunnelKey, Counts>::new();
    for (_, counts) in shares.iter().filter_map(|share| share.activities.as_ref()) {
        counts.iter().for_each(|(key, counts)| funnels.entry(key.clone()).or_default().merge(counts));
    }
    let sums = shares.iter_mut().map(|share| std::mem::take(&mut share.groups));
    let rows = groups::rows(plan, sums, &funnels);
    for (count, rows) in plan.counts.iter().zip(rows) {
        tables::write_groups(&rows, &count.schema, options.format, staging)?;
        summary.notices.extend(groups::notice(count, &rows));
        summary.counts.insert(count.schema.name.clone(), rows.len() as u64);
    }
    Ok(())
}

/// Returns the files of all sources, in log order: sources as configured, files by name.
fn parts(plan: &Plan) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    // The plan has checked that there are at most 2^16 sources.
    for (index, source) in (0..).map(SourceIndex).zip(&plan.sources) {
        parts.extend(parts_of(index, source)?);
    }
    Ok(parts)
}

/// Returns the files of the source of this index, in log order. What is posted to a running cluster is in none.
pub fn parts_of(index: SourceIndex, source: &SourcePlan) -> Result<Vec<Part>, Error> {
    let doing = format!("find the files of source `{}`", source.name);
    let paths = source::expand(&source.paths).map_err(Error::run(doing))?;
    let parts = paths.into_iter().map(|path| Part::of(index, path, source.format, &source.syntax));
    Ok(parts.collect::<Result<Vec<_>, _>>().map_err(Error::run("read the sources"))?.concat())
}

/// Refuses what cannot be read twice.
fn refuse_pipes(parts: &[Part]) -> Result<(), Error> {
    let is_file = |part: &&Part| matches!(part.stored(), Ok(Some(_)));
    let once = |part: &Part| {
        let message = format!("--events reads its sources twice, and {} can be read once", part.path.display());
        Error::usage(message, "write it to a file first, or leave out --events")
    };
    parts.iter().find(|part| !is_file(part)).map_or(Ok(()), |part| Err(once(part)))
}

/// One worker's share of the outcome.
struct Share {
    /// With `--events`.
    index: Option<Index>,
    tally: Tally,
    totals: Totals,
    /// Ends of the sessions that may be open.
    open: Vec<EventTime>,
    counts: Vec<(Class, Option<EventTime>, u64)>,
    shapes: Vec<(Option<ShapeId>, ShapeTotals)>,
    sessionless: BTreeMap<Sessionless, u64>,
    sessions: tables::Part,
    users: tables::Part,
    /// If there are sequences: the activities, and their counts.
    activities: Option<(tables::Part, BTreeMap<FunnelKey, Counts>)>,
    /// If ids are joined.
    identities: Option<tables::Part>,
    /// By state.
    states: Vec<states::Share>,
    /// What its rows add to counts.
    groups: groups::Sums,
    spool: DeadLetterSpool,
}

/// The state that all workers share.
struct Shared {
    plan: Arc<Plan>,
    options: Options,
    /// Of sessions.
    table: Table,
    scratch: PathBuf,
    input: Input,
    progress: Progress,
    /// Bytes of which the progress has heard.
    reported: AtomicU64,
    /// The largest time of events with a user, in microseconds, if there are sequences.
    last: AtomicI64,
    /// The latest event time so far in microseconds, if there are states.
    latest: AtomicI64,
    /// Some worker has failed.
    stopped: AtomicBool,
}

fn summarize(plan: &Plan, options: &Options, shares: &[Share]) -> Summary {
    let now = options.now.or(shares.iter().filter_map(|share| share.totals.last).max());
    let mut summary = Summary {
        workers: plan.workers as u64,
        gap_s: plan.sessions.gap as f64 / 1e6,
        policies: plan.sessions.policy_names(),
        now,
        ..Summary::default()
    };
    summary.sinks = plan.sinks.len() as u64;
    let mut account = Account::default();
    let mut totals = Totals::default();
    for share in shares {
        totals.add(&share.totals);
        account.add(&share.tally.account);
        summary.repaired += share.tally.repaired;
        summary.users += share.totals.users;
        summary.sessions += share.totals.sessions;
        let open = |end: &&EventTime| now.is_some_and(|now| outcome::is_open(**end, now, plan.sessions.gap));
        summary.open_sessions += share.open.iter().filter(open).count() as u64;
        summary.duplicates += share.tally.duplicates;
        summary.duplicates_unchecked += share.tally.duplicates_unchecked;
        summary.ambiguous += share.tally.ambiguous;
        summary.outside += share.tally.outside;
        summary.texts_cut += share.tally.texts_cut;
        for (class, _, events) in &share.counts {
            summary.events += events;
            *summary.classes.entry(class.to_string()).or_default() += events;
        }
        for (reason, events) in &share.sessionless {
            *summary.sessionless.entry(reason.code().into()).or_default() += events;
        }
        for (reason, letters) in share.spool.reasons() {
            summary.dead_letters += letters;
            *summary.dead_letter_reasons.entry(reason.code().into()).or_default() += letters;
        }
    }
    (summary.first, summary.last, summary.bounces) = (totals.first, totals.last, totals.bounces);
    (summary.duration_mean_s, summary.duration_median_s) = (totals.durations.mean(), totals.durations.median());
    summary.unmatched = unmatched(plan, shares);
    (summary.bytes_read, summary.bytes_events) = (account.total(), account.events);
    summary.bytes_dead_letters = account.dead_letters;
    let skipped = Skip::ALL.map(|skip| (skip.code().to_owned(), Skips::of(account.of(skip))));
    summary.skipped = skipped.into_iter().filter(|(_, skips)| skips.bytes > 0).collect();
    summary
}

/// Adds what was read from where, and what looks wrong.
fn tell(plan: &Plan, parts: &[Part], shares: &[Share], summary: &mut Summary) -> Result<(), Error> {
    let usage = told::usage_of(shares);
    let (mut totals, mut sessionless) = (Totals::default(), BTreeMap::new());
    for share in shares {
        totals.add(&share.totals);
        share.sessionless.iter().for_each(|(reason, events)| *sessionless.entry(*reason).or_default() += events);
    }
    summary.read = told::read_from(plan, &usage);
    if plan.config.as_os_str() == config::BUILT_IN {
        summary.configuration =
            Some(told::configuration(plan, parts, &usage).map_err(Error::run("look into the files"))?);
    }
    let findings = Findings::new(plan, parts, &usage, &totals, &sessionless);
    summary.notices = findings.notices().map_err(Error::run("look at the sources again"))?;
    summary.notices.splice(0..0, told::nothing_read(summary));
    summary.notices.extend(told::classes_not_met(plan, summary));
    summary.notices.extend(told::faults_of_rules(plan));
    summary.notices.extend(states::notices(plan, shares.iter().map(|share| &share.states[..])));
    for (at, state) in plan.states.iter().enumerate() {
        let rows = shares.iter().map(|share| share.states[at].rows).sum();
        summary.states.insert(state.schema.name.clone(), rows);
    }
    Ok(())
}

/// Returns the rules that no event fits, each with its fields that no event has.
fn unmatched(plan: &Plan, shares: &[Share]) -> Vec<Unmatched> {
    let met = |rule: &Rule| shares.iter().any(|share| share.tally.rules.contains(&rule.order));
    let is_there = |field: &usize| shares.iter().any(|share| share.tally.fields.contains(field));
    let without = plan.rules.iter().filter(|rule| !met(rule));
    let unmatched = without.map(|rule| {
        let mut fields = BTreeSet::new();
        rule.when.each(&mut |condition| _ = fields.insert(plan.tests[condition.test as usize].field));
        let name = |field: &usize| plan.fields[*field].name.clone();
        let missing: Vec<String> = fields.iter().filter(|field| !is_there(field)).map(name).collect();
        let others = || {
            plan.fields.iter().map(|field| field.name.as_str()).filter(|name| !missing.iter().any(|one| one == name))
        };
        let near = missing.iter().find_map(|name| nearest(name, others())).map(str::to_owned);
        let before = shares.iter().filter_map(|share| share.tally.preceded.get(&rule.order)).flatten();
        let preceded_by = before.map(|order| order + 1).collect::<BTreeSet<_>>().into_iter().collect();
        Unmatched { class: rule.name.clone(), rule: rule.order + 1, missing, near, preceded_by }
    });
    unmatched.collect()
}

/// Runs the graph on all workers; shares come in the order of workers. Returns the bytes that were read, too, as they are
/// stored: of a pipe, no length says them before.
fn run(
    plan: &Arc<Plan>,
    options: &Options,
    table: &Table,
    staging: &Staging,
    input: Input,
) -> Result<(Vec<Share>, Vec<Note>, u64), Error> {
    let shared = Arc::new(Shared {
        plan: Arc::clone(plan),
        options: options.clone(),
        table: table.clone(),
        scratch: staging.scratch().to_owned(),
        progress: Progress::start(input.bytes().1, options.progress),
        input,
        reported: AtomicU64::new(0),
        last: AtomicI64::new(EventTime::MIN.micros()),
        latest: AtomicI64::new(i64::MIN),
        stopped: AtomicBool::new(false),
    });
    let config = timely::Config::process(plan.workers);
    let of_all = Arc::clone(&shared);
    let guards = timely::execute(config, move |worker| share(worker, &shared));
    let guards = guards.map_err(Error::run("start the workers"))?;
    let outcomes = guards.join().into_iter().map(|outcome| outcome.map_err(Error::run("run a worker")).flatten());
    let shares = outcomes.collect::<Result<_, _>>()?;
    let note = |(message, (files, first)): (String, (u64, PathBuf))| {
        let path = first.to_string_lossy().into_owned();
        Note { message, files, path }
    };
    let notes = match &of_all.input {
        Input::Files(chunks) => chunks.notes(),
        Input::Landing(_) => BTreeMap::new(),
    };
    Ok((shares, notes.into_iter().map(note).collect(), of_all.input.bytes().0))
}

fn share(worker: &mut timely::worker::Worker, shared: &Shared) -> Result<Share, Error> {
    let index = worker.index();
    let failed = |error| Error::run("write the output")(error);
    let mut spool = DeadLetterSpool::new(&shared.scratch, index).map_err(failed)?;
    let mut observer = Watch { shared, spool: &mut spool };
    let feed = match &shared.input {
        Input::Files(chunks) => Feed::of_files(chunks),
        Input::Landing(history) => Feed::Landing(history.reader()),
    };
    let range = (shared.options.range, shared.options.now);
    let (tally, mut views) = worker::run(worker, &shared.plan, range, shared.options.latest, feed, &mut observer)?;
    let writer = |table: &Table| TableWriter::new(table, shared.options.format, &shared.scratch, index);
    let (mut sessions, mut users) = (writer(&shared.table).map_err(failed)?, writer(&user_table()).map_err(failed)?);
    let totals = outcome::write(&mut views, &mut sessions, &mut users).map_err(failed)?;
    // All workers have closed their inputs by now, so each has said what it has read.
    let latest = EventTime::from_micros(shared.latest.load(Ordering::SeqCst));
    let now = shared.options.now.or(latest).unwrap_or(EventTime::MIN);
    let states = states::write(&mut views, &shared.plan, now, writer).map_err(failed)?;
    let groups = groups::sums(&mut views, &shared.plan, now);
    let open = outcome::ends(&mut views, shared.options.now.or(totals.last), shared.plan.sessions.gap);
    let sequences = &shared.plan.sequence_schemas();
    let activities = (!sequences.is_empty()).then(|| -> Result<_, tables::Error> {
        // The graph is at its end, so all workers have read all.
        let last = || EventTime::from_micros(shared.last.load(Ordering::Acquire)).unwrap_or(EventTime::MIN);
        let now = shared.options.now.unwrap_or_else(last);
        let mut table = writer(&tables::activity_table())?;
        let counts = outcome::activities(&mut views, sequences, now, &mut table)?;
        Ok((table.finish()?, counts))
    });
    let activities = activities.transpose().map_err(failed)?;
    let identities = shared.plan.identity.as_ref().map(|identity| -> Result<_, tables::Error> {
        let (schema, mut table, mut written) = (identity.schema(), writer(&tables::identity_table())?, Ok(()));
        views.identities(&mut |row| {
            if written.is_ok() {
                written = table.write(tables::identity_values(&schema, row));
            }
        });
        written?;
        table.finish()
    });
    let identities = identities.transpose().map_err(failed)?;
    Ok(Share {
        index: shared.options.events.then(|| Index::read(&mut views)),
        tally,
        totals,
        open,
        counts: outcome::counts(&mut views),
        shapes: outcome::shapes(&mut views),
        sessionless: outcome::sessionless(&mut views),
        sessions: sessions.finish().map_err(failed)?,
        users: users.finish().map_err(failed)?,
        activities,
        identities,
        states,
        groups,
        spool,
    })
}

/// Sees what a worker meets on its way.
struct Watch<'s> {
    shared: &'s Shared,
    spool: &'s mut DeadLetterSpool,
}

impl Observer for Watch<'_> {
    fn dead_letter(&mut self, letter: &DeadLetter) -> Result<(), Error> {
        let pushed = match self.shared.input {
            Input::Files(_) => self.spool.push(letter),
            Input::Landing(_) => {
                self.spool.push(&DeadLetter { position: history::in_queue(letter.position), ..letter.clone() })
            }
        };
        pushed.map_err(|error| {
            // At once: this worker goes on to wait for the others, which have to stop reading.
            self.shared.stopped.store(true, Ordering::Relaxed);
            Error::run("write the output")(error)
        })
    }

    fn decoded(&mut self, events: u64) {
        let (read, _) = self.shared.input.bytes();
        let before = self.shared.reported.fetch_max(read, Ordering::Relaxed);
        self.shared.progress.tick(read.saturating_sub(before), events);
    }

    fn at(&mut self, time: EventTime) {
        self.shared.last.fetch_max(time.micros(), Ordering::AcqRel);
    }

    fn happened(&mut self, latest: EventTime) {
        self.shared.latest.fetch_max(latest.micros(), Ordering::SeqCst);
    }

    fn stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed)
    }

    fn wants_repeats(&self) -> bool {
        self.shared.options.events
    }
}
