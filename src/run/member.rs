//! The other processes of a run than process 0: they have workers alone. What these work on they read from the data
//! folder by themselves, as process 0 says; what they hear and say goes through the link.

use super::program::program_of;
use super::{PARTS, fail, spawn};
use crate::cluster::files::Remote;
use crate::cluster::join::Joined;
use crate::cluster::link::{self, Down};
use crate::cluster::link::{Begin, Incoming, Outgoing, pass_on};
use crate::cluster::sealed::{SILENCE, Sealed};
use crate::cluster::socket::Socket;
use crate::ending::end;
use crate::error::{EXIT_AGAIN, Error};
use crate::observe::memory::rss_bytes;
use crate::plan::Plan;
use crate::queue::definitions;
use crate::queue::numbers::Numbers;
use crate::worker::port::{Desk, Line, Local};
use crate::worker::roots::STATES;
use crate::worker::{self, Resume, Start};
use headwater_log::follow::Follow;
use headwater_log::segment::LogId;
use headwater_log::vfs::{RealFs, Vfs};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};
use timely::WorkerConfig;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::{Hooks, WorkerGuards};
use timely::worker::Worker;

/// How long a host that is asked to end waits for the whole run to end.
const LEAVING: Duration = Duration::from_secs(5);

/// Works until process 0 says that there are no more ticks.
///
/// # Errors
/// What keeps it from starting. What fails later ends the process.
pub(super) fn run(plan: &Arc<Plan>, mut sockets: Joined) -> Result<(), Error> {
    let process = sockets.process;
    let of_host = sockets.files.iter_mut().find_map(Option::take);
    if of_host.is_some() {
        leave_when_asked()?;
    } else {
        // Process 0 is asked to end, and lets its workers and these come to an end.
        for signal in [SIGTERM, SIGINT] {
            let ignored = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, ignored).map_err(Error::run("handle signals"))?;
        }
    }
    const FAILED: &str = "hear from process 0 of this run";
    let stream = sockets.links[0].take().ok_or_else(|| Error::run(FAILED)("there is no socket"))?;
    let mut incoming = Incoming::new(stream.try_clone().map_err(Error::run(FAILED))?);
    let begin = match incoming.receive().map_err(Error::run(FAILED))? {
        Some(Down::Begin(begin)) => begin,
        Some(Down::Worker(..)) => return Err(Error::run(FAILED)("it says something else first")),
        // Its own error says why, and how the supervisor ends.
        None => end(EXIT_AGAIN),
    };
    let several_hosts = of_host.is_some();
    let start = Arc::new(start(plan, begin, of_host)?);
    let desk = Arc::new(Outgoing::new(stream));
    let lines: Vec<Arc<Line>> = (0..plan.workers).map(|_| Arc::default()).collect();
    let first = process * plan.workers;
    let of_link = lines.clone();
    // Until the end of the process: process 0 closes the link when it has heard that all ports are closed.
    let link = spawn("link", move || pass_on(&mut incoming, first, &of_link).map_err(Error::run(FAILED)));
    let memory = Arc::clone(&desk);
    spawn("memory", move || -> Result<(), Error> {
        while memory.resident(rss_bytes().unwrap_or_default()).is_ok() {
            sleep(Duration::from_secs(1));
        }
        Ok(())
    });
    let guards = workers(plan.workers, Some(sockets), move |worker| {
        let desk = Arc::clone(&desk) as Arc<dyn Desk>;
        let index = worker.index();
        let mut port = Local::open(index, Arc::clone(&lines[index - first]), desk);
        if let Err(error) = worker::run(worker, &start, &mut port) {
            fail(&error);
        }
    })?;
    let outcomes = guards.join();
    outcomes.into_iter().try_for_each(|outcome| outcome.map_err(Error::run("run a worker")))?;
    // The other end has read everything by then. If this host ended before, the network could lose the last of it.
    let ended = Instant::now();
    while several_hosts && !link.is_finished() && ended.elapsed() < SILENCE {
        sleep(Duration::from_millis(5));
    }
    tracing::debug!(process, "the workers have come to their end");
    Ok(())
}

/// Ends this process on SIGTERM or SIGINT, after some seconds in which the host that leads may end the whole run. The
/// other hosts then wait for this one, and nothing is lost.
fn leave_when_asked() -> Result<(), Error> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Error::run("handle signals"))?;
    spawn("signals", move || {
        if signals.forever().next().is_some() {
            tracing::info!(seconds = LEAVING.as_secs(), "this host leaves: the others will wait for it");
            sleep(LEAVING);
            end(0);
        }
        Ok(())
    });
    Ok(())
}

/// Returns what the workers of this process begin with.
fn start(plan: &Arc<Plan>, begin: Begin, of_host: Option<Sealed>) -> Result<Start, Error> {
    if (begin.program, begin.threads, begin.parts) != (program_of(plan), plan.workers, PARTS) {
        let why = "the configuration has changed while they were started";
        return Err(Error::run("work together with the other processes of this run")(why));
    }
    let control = begin.resume.as_ref().map_or(0, |resume| resume.control);
    let definitions = definitions::plans(&begin.definitions, plan, control);
    let (vfs, log): (Arc<dyn Vfs>, _) = match of_host {
        Some(connection) => (Arc::new(Remote::new(connection)), PathBuf::new()),
        None => (Arc::new(RealFs), plan.data_dir.join("log")),
    };
    let follow = Follow::new(vfs, &log, LogId(begin.log), begin.epoch);
    let resume = begin.resume.map(|link::Resume { sequence, tick, now_ms, control }| {
        let reader = follow.snapshot(sequence).map_err(Error::run("read the snapshot"))?;
        let read = move |shard, each: &mut dyn FnMut(&str, &[u8], i64)| {
            STATES.iter().try_for_each(|state| reader.read(state, shard, &mut |row, count| each(state, row, count)))
        };
        Ok::<_, Error>(Resume { tick, now_ms, control, read: Box::new(read) })
    });
    Ok(Start {
        plan: Arc::clone(plan),
        readers: follow.queue(begin.parts),
        control: Some(follow.control()),
        sources: Arc::new(Numbers::new(begin.numbers)),
        definitions: definitions.map_err(Error::run("read the definitions"))?,
        begins: begin.begins,
        resume: resume.transpose()?,
        memory: begin.memory,
    })
}

/// Starts the workers of this process. `sockets`: if there are other processes.
pub(super) fn workers(
    threads: usize,
    sockets: Option<Joined>,
    work: impl Fn(&mut Worker) + Send + Sync + 'static,
) -> Result<WorkerGuards<()>, Error> {
    const FAILED: &str = "start the workers";
    // What a worker waits for takes longer than its spinning would last: the other workers, or the next tick.
    let config = WorkerConfig::default().idle_spin(Duration::ZERO);
    let (builders, others) = match sockets {
        None => timely::CommunicationConfig::Process(threads).try_build().map_err(Error::run(FAILED))?,
        Some(Joined { process, mesh, .. }) => {
            let hooks = Hooks::default();
            let within = ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), None);
            let started = initialize_networking_from_sockets::<Socket>(within, mesh, process, threads, hooks);
            let (builders, guard) = started.map_err(Error::run(FAILED))?;
            let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
            (builders, Box::new(guard) as Box<dyn std::any::Any + Send>)
        }
    };
    timely::execute::execute_from(builders, others, config, work).map_err(Error::run(FAILED))
}
