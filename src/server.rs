//! The HTTP server of a run: takes events, gives out collections, and reports the state of the process.
//!
//! ```text
//! connections ── routes ─┬─ collect: body ── check ── Intake::append ── 202
//!                        ├─ backfills: chunks of history ── Intake::append ── published
//!                        ├─ collections, changes, rows: subscribe, reads
//!                        └─ health:  /healthz /readyz /metrics /v1/status
//! ```
//! Each client costs bounded memory (`Bounds`), whatever it does, and holds up no other client. It speaks HTTP/1.1
//! without TLS: that is for a proxy in front.

mod access;
mod backfills;
mod body;
mod budget;
mod changes;
mod check;
mod collect;
mod collections;
mod connections;
mod exports;
mod forget;
mod health;
mod hosts;
mod labels;
mod parameters;
mod problem;
mod rate;
mod routes;
mod rows;
mod rules;
mod seats;
#[cfg(test)]
mod tests;
mod threads;
pub mod token;

use crate::config::tokens;
use crate::error::Error;
use crate::observe::metrics::Metrics;
use crate::observe::status::Status;
use crate::plan::Plan;
use crate::queue::backfills::Backfills;
use crate::queue::intake::Intake;
use crate::queue::labels::Labelbook;
use crate::queue::numbers::Numbers;
use crate::queue::rulebook::Rulebook;
use crate::read::reads::Reads;
use crate::read::subscribe::spools::{self, Spools};
use crate::read::subscribe::subscriber::Subscriptions;
use access::Access;
use budget::Budget;
use check::Decoders;
use exports::Exports;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use threads::Threads;
use token::IngestTokens;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// Threads that move bytes. What computes or waits for a disk has threads of its own.
const THREADS: usize = 2;
/// Threads for readers of a disk. They are separate, so they never keep events from getting a thread.
const READING_THREADS: usize = 32;

/// The time between two comparisons of unread snapshots with the free space. An idle process pays for it.
const TIDY: Duration = Duration::from_secs(1);

/// The services behind the routes.
pub struct Services {
    pub plan: Arc<Plan>,
    pub intake: Arc<Intake>,
    pub metrics: Arc<Metrics>,
    pub status: Arc<Status>,
    pub reads: Arc<Reads>,
    pub subscriptions: Arc<Subscriptions>,
    pub epoch: u64,
    /// By index of the plan's sources: the number that deliveries carry.
    pub sources: Arc<Numbers>,
    pub backfills: Arc<Backfills>,
    pub rules: Arc<Rulebook>,
    pub labels: Arc<Labelbook>,
}

/// The bounds on the cost of clients.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Open connections; for further ones, those that have been idle for longest are closed.
    connections: usize,
    /// A client that takes longer to send the head of a request, or sends none, is disconnected.
    head: Duration,
    /// A client that takes longer to send a body gets 408.
    body: Duration,
    /// A client that takes nothing of its answer for so long is disconnected.
    stall: Duration,
    /// Bytes of all bodies in flight, as sent and decompressed. Above that, 503. The copies that go into the log are
    /// not counted: at worst it is three times as much.
    bodies: usize,
    /// A body that takes longer than this is given up with 503 when others need its room, the slowest first.
    quick: Duration,
    /// Requests that wait for a disk together. Further ones wait for `turn`, then they get 503.
    appending: usize,
    turn: Duration,
    /// Snapshots that are taken together. Further ones wait for `snapshot_turn`, then they get 503.
    snapshots: usize,
    snapshot_turn: Duration,
    /// Disk that snapshots may take until they are read.
    spools: spools::Bounds,
    /// A subscriber that takes nothing for so long is disconnected: what it would get is on disk.
    idle: Duration,
    /// The time that requests in flight have to finish when the server stops.
    grace: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            connections: 4096,
            head: Duration::from_secs(30),
            body: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            bodies: 128 << 20,
            quick: Duration::from_secs(1),
            appending: 256,
            turn: Duration::from_secs(1),
            snapshots: 4,
            snapshot_turn: Duration::from_secs(20),
            spools: spools::Bounds::default(),
            idle: Duration::from_secs(900),
            grace: Duration::from_secs(5),
        }
    }
}

/// The state that all requests share.
struct Shared {
    services: Services,
    bounds: Bounds,
    access: Access,
    ingest_tokens: IngestTokens,
    decoders: Decoders,
    bodies: Budget,
    appending: Arc<Semaphore>,
    snapshots: Arc<Semaphore>,
    spools: Arc<Spools>,
    exports: Exports,
    /// There was no space for the last delivery.
    full: AtomicBool,
    started: Instant,
}

/// A server that runs, until it is stopped or dropped.
pub struct Server {
    address: SocketAddr,
    running: Running,
}

struct Running {
    threads: Threads,
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<()>,
}

/// Reads the tokens, binds, and serves on threads of its own.
///
/// # Errors
/// [`Error::Config`] of the file of tokens; [`Error::Run`] if the address cannot be bound.
pub fn start(services: Services) -> Result<Server, Error> {
    start_within(services, Bounds::default())
}

fn start_within(services: Services, bounds: Bounds) -> Result<Server, Error> {
    let plan = Arc::clone(&services.plan);
    let tokens = plan.http.tokens.as_ref().map(|path| tokens::load(path, &plan.sources)).transpose()?;
    assert_eq!(services.sources.count(), plan.sources.len(), "each source of the plan has its number");
    let log = services.intake.parts()[0].partition().log();
    let shared = Arc::new(Shared {
        access: Access::new(tokens, &plan.http),
        ingest_tokens: IngestTokens::new(log, Arc::clone(&services.subscriptions.tokens.histories)),
        decoders: Decoders::new(&plan),
        bodies: Budget::new(bounds.bodies, bounds.quick),
        appending: Arc::new(Semaphore::new(bounds.appending)),
        snapshots: Arc::new(Semaphore::new(bounds.snapshots)),
        spools: Spools::new(&plan.data_dir, bounds.spools),
        exports: Exports::new(&plan.data_dir),
        full: AtomicBool::new(false),
        started: Instant::now(),
        services,
        bounds,
    });

    let threads = Threads::start(THREADS, bounds.appending + READING_THREADS)?;
    let runtime = &threads.places[0].runtime;
    let listen = plan.http.listen.as_str();
    let bound = runtime.block_on(TcpListener::bind(listen));
    let listener = bound.map_err(Error::run(format!("listen on {listen}")))?;
    let address = listener.local_addr().map_err(Error::run(format!("listen on {listen}")))?;
    let bounds = Bounds { connections: connections::raise_file_limit(bounds.connections), ..bounds };
    let tidied = Arc::downgrade(&shared.spools);
    runtime.spawn(async move {
        while let Some(spools) = tidied.upgrade() {
            spools.tidy();
            drop(spools);
            tokio::time::sleep(TIDY).await;
        }
    });
    let (stop, stopped) = oneshot::channel();
    let places = threads.places.clone();
    let accepting = runtime.spawn(connections::serve(listener, routes::router(shared), bounds, places, stopped));
    tracing::info!(%address, "listening");
    Ok(Server { address, running: Running { threads, stop, accepting } })
}

impl Server {
    /// Returns the address that it listens on. For port 0 it has the assigned port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connections, lets requests in flight finish for a few seconds, and ends. Must not be called from
    /// within a runtime.
    pub fn stop(self) {
        let Running { threads, stop, accepting } = self.running;
        let _ = stop.send(());
        // The task ends on its own, at the latest after the grace.
        let _ = threads.places[0].runtime.block_on(accepting);
    }
}
