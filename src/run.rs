//! `headwater run`: one process that takes events, computes, publishes and writes snapshots. Opens the data folder,
//! starts the threads, and stops them again.
//!
//! ```text
//! server, sources ─▶ intake ─▶ sequencer ─▶ workers ─▶ publisher ─▶ output log
//!                                    ▲             └────▶ snapshots ─▶ state
//!                                    └──── release ───────────┘
//!                         reads ◀─▶ workers     publisher ─▶ hub ─▶ subscribers
//!                                               output log ─▶ outbox ─▶ files, receivers
//! ```

mod bounds;
mod checks;
mod desk;
#[cfg(test)]
pub(crate) use desk::announce;
#[cfg(all(test, feature = "models"))]
pub(crate) use desk::ask;
mod feeds;
mod former;
mod history;
mod links;
mod member;
pub(crate) mod opening;
mod program;
mod publisher;
mod snapshots;
mod spill;
pub mod supervise;
mod tables;
pub(crate) mod watch;

pub use checks::check;

use crate::cluster::gate::Gate;
use crate::cluster::join::{self, Joined};
use crate::cluster::link::{self, Begin};
use crate::collections;
use crate::ending::end;
use crate::error::{EXIT_AGAIN, EXIT_FAILED, Error};
use crate::forget;
use crate::landing::{self, Landing};
use crate::observe::metrics::Metrics;
use crate::observe::status::{Phase, Status};
use crate::plan::{HostsPlan, Plan};
use crate::queue::backfills::Backfills;
use crate::queue::definitions::{self, Definitions};
use crate::queue::intake::Intake;
use crate::queue::labels::Labelbook;
use crate::queue::rulebook::Rulebook;
use crate::queue::sequencer::{Sequencer, Ticks};
use crate::read::reads::Reads;
use crate::read::subscribe::hub::Hub;
use crate::read::subscribe::subscriber::Subscriptions;
use crate::read::subscribe::token::ResumeTokens;
use crate::server::{self, Services};
use crate::sink::{self, Outbox};
use crate::worker::port::{self, Line, Local};
use crate::worker::roots::STATES;
use crate::worker::{self, Resume, Start};
use bounds::Bounds;
use desk::Desk;
use headwater_log::error::LogError;
use headwater_log::error::chain;
use headwater_log::remap::Uppers;
use opening::Opened;
use spill::Overflow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// Parts of the queue of a new log: as many workers can read at once.
pub(crate) const PARTS: u32 = 16;

/// Runs until SIGTERM or SIGINT, then computes what has been taken, takes a snapshot and returns.
///
/// # Errors
/// What keeps it from starting. What fails later ends the process with [`EXIT_AGAIN`]; where the log is damaged, with
/// [`EXIT_FAILED`].
pub fn run(plan: &Arc<Plan>, hosts: Option<Arc<HostsPlan>>) -> Result<(), Error> {
    let started = Instant::now();
    let others = match hosts {
        None if plan.processes == 1 => Others::None,
        None => Others::Here(supervise::sockets(plan.processes)?.into()),
        Some(hosts) => Others::Hosts(Gate::open(&hosts)?, hosts),
    };
    let others = match others {
        Others::Here(joined) if joined.process > 0 => return member::run(plan, joined),
        Others::Hosts(gate, hosts) if hosts.own > 0 => return member::run(plan, join::follow(&hosts, gate)?),
        others => others,
    };
    let bounds = Bounds::of_environment()?;
    let Opened { epoch, reserve, log, store, history, histories } = opening::open(plan, &bounds)?;
    let first = store.generation().map_or(0, |generation| generation.tick + 1);
    let uppers = match store.generation() {
        Some(generation) => {
            let binding = log.remap.reader().binding(generation.tick).map_err(Error::run("read the ticks"))?;
            binding.uppers.clone()
        }
        None => Uppers::default(),
    };
    let upper = |part| uppers.get(&part).copied().unwrap_or(0);
    let control = upper((headwater_log::CONTROL, 0));
    let definitions = definitions::plans(&history.definitions, plan, control);
    let definitions = definitions.map_err(Error::run("read the control partition"))?;
    let ends = (0..PARTS).map(|part| upper((headwater_log::QUEUE, part))).collect();
    let last = store.generation().map(|generation| (generation.tick, generation.now_ms));
    let local: Vec<Arc<Line>> = (0..plan.workers).map(|_| Arc::default()).collect();
    let workers = plan.all_workers();
    let (messages, lines) = links::lines(&local, plan.processes - 1);
    let reads = Reads::new(workers, last, ends, desk::ask(&lines));
    let publish_from = log.outputs.upper();
    let recovered = log.remap.next();
    if let Some(generation) = store.generation() {
        tracing::info!(tick = generation.tick, ticks = recovered - first, "goes on from a snapshot");
    }
    let (metrics, status) = (Arc::new(Metrics::new()), Arc::new(Status::default()));
    let objectives = plan.actions.iter().map(|action| (action.name.clone(), action.objective));
    metrics.actions.begin(objectives.collect(), collections::actions::Verdict::ALL.map(|one| one.name()).to_vec());
    let intake = Arc::new(Intake::new(log.queue.clone(), workers, Arc::clone(&reserve)));
    intake.forgets().load(&history.forgets, history.definitions.iter().map(|(offset, _)| *offset), control);
    let forget = forget::Shared::new(&log, plan, &definitions, &history.numbers);
    let ticks = Arc::new(Ticks::new(workers, first, desk::announce(&lines)));
    let outputs = Arc::clone(&log.outputs);
    status.published.store(publish_from, Ordering::Release);
    let schemas = Arc::new(plan.schemas());
    let tokens =
        Arc::new(ResumeTokens::new(epoch.log, history.program, history.former_program, Arc::clone(&histories)));
    let outbox = sink::Shared {
        log: epoch.log,
        histories: &histories,
        outputs: &outputs,
        schemas: &schemas,
        status: &status,
        metrics: &metrics,
    };
    let outbox = reserve.until_space(|| Outbox::start(plan, &outbox))?;
    let (hub, hub_feed) = Hub::spawn(Arc::clone(&schemas), Arc::clone(&tokens), publish_from);
    let subscriptions = Arc::new(Subscriptions::new(hub, Arc::clone(&outputs), schemas, tokens));
    let (latest, bound) = (history.definitions.last(), definitions.last());
    let latest = latest.map_or_else(Definitions::default, |(_, latest)| latest.clone());
    let bound = bound.map_or_else(|| Arc::clone(plan), |(_, bound)| Arc::clone(bound));
    let rules = Rulebook::new(plan, &bound, &latest, history.versions.clone());
    let labels = Labelbook::new(&history.labels);
    let server = server::start(Services {
        plan: Arc::clone(plan),
        intake: Arc::clone(&intake),
        metrics: Arc::clone(&metrics),
        status: Arc::clone(&status),
        reads: Arc::clone(&reads),
        subscriptions,
        epoch: epoch.number,
        sources: Arc::clone(&history.numbers),
        backfills: Backfills::new(&history.cursors, epoch.number),
        rules: Arc::clone(&rules),
        labels: Arc::clone(&labels),
    })?;
    let landing = Landing::start(&landing::Shared {
        id: epoch.log,
        log: &log,
        plan,
        definitions: &definitions,
        sources: &history.numbers,
        histories: &histories,
        forgets: intake.forgets(),
        status: &status,
        metrics: &metrics,
    })?;
    let follow = landing.as_ref().map(Landing::follow);
    status.enter(Phase::Recovering);
    let control_reader = log.control.reader();
    let sequencer = Sequencer::recover(
        log,
        first,
        plan.log,
        Arc::clone(&intake),
        Arc::clone(&ticks),
        Arc::clone(&status),
        Arc::clone(&metrics),
    );
    let sequencer = sequencer.map_err(Error::run("read the ticks"))?;

    let (published, to_publish) = mpsc::channel();
    let (contributed, contributions) = mpsc::channel();
    let at = store.generation().map(|generation| link::Resume {
        sequence: generation.sequence,
        tick: generation.tick,
        now_ms: generation.now_ms,
        control,
    });
    let resume = store.generation().map(|generation| {
        let reader = store.reader();
        let read = move |shard, each: &mut dyn FnMut(&str, &[u8], i64)| {
            STATES.iter().try_for_each(|state| reader.read(state, shard, &mut |row, count| each(state, row, count)))
        };
        Resume { tick: generation.tick, now_ms: generation.now_ms, control, read: Box::new(read) }
    });
    let publisher = publisher::Publisher {
        outputs: Arc::clone(&outputs),
        status: Arc::clone(&status),
        metrics: Arc::clone(&metrics),
        reads: Arc::clone(&reads),
        hub: hub_feed,
        reserve: Arc::clone(&reserve),
        memory: bounds.memory,
        from: publish_from,
        same_program: history.same_program,
        landing: follow.clone(),
        rules,
        labels,
        intake: Arc::clone(&intake),
    };
    let publisher = publisher.spawn(to_publish);
    let snapshots = snapshots::Snapshots {
        store,
        outputs,
        ticks: Arc::clone(&ticks),
        metrics: Arc::clone(&metrics),
        reserve: Arc::clone(&reserve),
        workers,
        retention: plan.log.retention,
        program: history.program,
        memory: history.memory.clone(),
        landing: follow,
        forgets: Arc::clone(intake.forgets()),
    };
    let snapshots = snapshots.spawn(contributions);
    let begins = history.begins.values().any(|offset| *offset >= sequencer.control());
    let sequencer = spawn("sequencer", move || sequencer.run().map_err(Error::run("go on with the log")));
    watch::space(Arc::clone(&reserve));
    // Other hosts may come hours later. Until then a signal ends the process at once, and no tick can be done.
    let joined = others.join(epoch.number)?;
    watch::progress(&ticks, bounds.stuck());
    watch::signals(&status, &intake)?;
    watch::ready(&ticks, recovered, begins, &reads, &status, started);
    let feeds = feeds::start(plan, &history, &intake, &status, &metrics)?;
    let forgets = forget.start(&intake)?;
    let follows_tables = tables::follow(plan, &history.tables, &intake, &status);

    let overflow = Overflow { folder: plan.data_dir.clone(), reserve: Arc::clone(&reserve) };
    let desk = Arc::new(Desk::new(workers, (ticks, reads, metrics), overflow, published, contributed));
    let begin = Begin {
        program: history.program,
        threads: plan.workers,
        log: epoch.log.0,
        epoch: epoch.number,
        parts: PARTS,
        numbers: history.numbers.all().to_vec(),
        definitions: history.definitions.clone(),
        begins: history.begins.clone(),
        resume: at,
        memory: bounds.memory,
    };
    let (sockets, links) = match joined {
        None => (None, links::Links::default()),
        Some(mut joined) => {
            let links = links::start(&mut joined, messages, &plan.data_dir, &begin, &desk, &status)?;
            (Some(joined), links)
        }
    };
    let start = Arc::new(Start {
        plan: Arc::clone(plan),
        readers: intake.readers(),
        control: Some(control_reader),
        sources: Arc::clone(&history.numbers),
        definitions,
        begins: history.begins.clone(),
        resume,
        memory: bounds.memory,
    });
    let guards = member::workers(plan.workers, sockets, move |worker| {
        let (index, desk) = (worker.index(), Arc::clone(&desk) as Arc<dyn port::Desk>);
        let mut port = Local::open(index, Arc::clone(&local[index]), desk);
        if let Err(error) = worker::run(worker, &start, &mut port) {
            fail(&error);
        }
    })?;
    let outcomes = guards.join();
    outcomes.into_iter().try_for_each(|outcome| outcome.map_err(Error::run("run a worker")))?;
    let panicked = |_| Error::run("stop")("a thread has panicked");
    for thread in
        links.reading.into_iter().chain([publisher, snapshots]).chain(feeds).chain(follows_tables).chain([forgets])
    {
        thread.join().map_err(panicked)?;
    }
    links.hosts.iter().for_each(links::say_end);
    landing.into_iter().for_each(Landing::stop);
    outbox.stop();
    server.stop();
    // This releases the lock: by now no thread writes any more.
    drop(sequencer.join().map_err(panicked)?);
    tracing::info!(seconds = started.elapsed().as_secs(), "stopped");
    Ok(())
}

/// The other processes of a run.
enum Others {
    None,
    /// On this host.
    Here(Joined),
    /// On other hosts: this one is first.
    Hosts(Gate, Arc<HostsPlan>),
}

impl Others {
    /// Waits until all are there.
    fn join(self, epoch: u64) -> Result<Option<Joined>, Error> {
        match self {
            Others::None => Ok(None),
            Others::Here(joined) => Ok(Some(joined)),
            Others::Hosts(gate, hosts) => join::lead(&hosts, gate, epoch).map(Some),
        }
    }
}

/// Starts a thread whose failure ends the process.
fn spawn<R: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<R, Error> + Send + 'static,
) -> thread::JoinHandle<R> {
    let work = move || work().unwrap_or_else(|error| fail(&error));
    thread::Builder::new().name(name.into()).spawn(work).expect("the system has threads when a process starts")
}

/// Ends the process at once: what could not be done may be half done, and the next one finds out. If the log is damaged,
/// each next one would find the same: that is as if this one could not start.
pub(crate) fn fail(error: &Error) -> ! {
    if tell_damage(error) {
        end(EXIT_FAILED);
    }
    let why = miette::Report::msg(chain(error));
    tracing::error!(error = ?why, "the process ends and has to be started again");
    end(EXIT_AGAIN);
}

/// Logs the error if it says that the log is damaged. Returns whether it does.
fn tell_damage(error: &Error) -> bool {
    let is_damaged = is_damage(error);
    if is_damaged {
        tracing::error!(error = ?miette::Report::msg(chain(error)), "the log is damaged: the process ends");
    }
    is_damaged
}

fn is_damage(error: &Error) -> bool {
    let Error::Run { source, .. } = error else { return false };
    matches!(source.downcast_ref(), Some(LogError::Corrupt { .. }))
}
