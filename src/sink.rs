//! The sinks of a run. The output log is their outbox. Each sink reads it in a thread of its own, hands over the
//! changes that it takes, and then moves its cursor.
//!
//! ```text
//! output log ─▶ ChangeReader ── batch ─▶ file, receiver or topic  what was handed over …
//!                                        └─▶ cursor                … is known after that: at least once, in order
//! ```
//! A change has the same key however often it is handed over. Nothing waits for a sink: neither the graph, nor another
//! sink, nor the retention of the log.

mod address;
mod changes;
mod cursor;
pub(crate) mod cursors;
mod dead_letters;
mod file;
mod http;
mod kafka;
mod stop;
#[cfg(test)]
mod tests;

use crate::collections::Schemas;
use crate::error::Error;
use crate::observe::actions::Actions;
use crate::observe::metrics::{Metrics, SinkMetrics};
use crate::observe::status::Status;
use crate::plan::{Plan, SinkPlan, SinkStart, SinkTarget};
use crate::queue::intake::wall_ms;
use changes::{Change, ChangeReader, Next, Position, Unreadable};
use cursor::{Cursor, CursorFile};
use dead_letters::DeadLetters;
use file::File;
use headwater_client::Backoff;
use headwater_log::histories::Histories;
use headwater_log::output::OutputLog;
use headwater_log::segment::LogId;
use http::Http;
use kafka::Kafka;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use stop::Stop;

/// In the data folder: a folder for each sink.
pub const FOLDER: &str = "sinks";

/// The time between two looks of a sink that has delivered everything.
const POLL: Duration = Duration::from_millis(20);
/// The time between two writes of the cursor of a sink that finds no change to take. So retention does not overtake it.
const IDLE_CURSOR: Duration = Duration::from_secs(5);
/// The longest time that sinks have when the process stops. They hand over the rest after the next start.
const DRAIN: Duration = Duration::from_secs(5);
/// Between two attempts: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// All sinks of a process.
pub struct Outbox {
    threads: Vec<(String, JoinHandle<()>)>,
    stop: Arc<Stop>,
}

/// The state that all sinks share.
pub struct Shared<'s> {
    pub log: LogId,
    pub histories: &'s Arc<Histories>,
    pub outputs: &'s Arc<OutputLog>,
    pub schemas: &'s Arc<Schemas>,
    pub status: &'s Arc<Status>,
    pub metrics: &'s Metrics,
}

impl Outbox {
    /// Starts all sinks where they have left off. They go on until [`Outbox::stop`].
    ///
    /// # Errors
    /// If a sink's folder or file cannot be used, or what is remembered of it is of another collection or log.
    pub fn start(plan: &Plan, shared: &Shared<'_>) -> Result<Outbox, Error> {
        let stop = Arc::new(Stop::default());
        // None runs before all are open, so that this can be tried again.
        let open = |of: &SinkPlan| Sink::open(of, &plan.data_dir.join(FOLDER), shared);
        let sinks = plan.sinks.iter().map(open).collect::<Result<Vec<_>, Error>>()?;
        let start = |sink: Sink| {
            let (stop, name) = (Arc::clone(&stop), sink.name.clone());
            let thread = thread::Builder::new().name(format!("sink {name}")).spawn(move || sink.run(&stop));
            let thread = thread.map_err(Error::run(format!("start the sink `{name}`")))?;
            Ok((name, thread))
        };
        let threads = sinks.into_iter().map(start).collect::<Result<Vec<_>, Error>>()?;
        Ok(Outbox { threads, stop })
    }

    /// Lets the sinks hand over what is published, within a few seconds. One that hangs is left alone: its cursor says
    /// what was handed over.
    pub fn stop(self) {
        let until = self.stop.ask(DRAIN) + Duration::from_secs(1);
        for (sink, thread) in self.threads {
            while !thread.is_finished() && Instant::now() < until {
                thread::sleep(Duration::from_millis(2));
            }
            if !thread.is_finished() {
                tracing::warn!(sink, "a sink waits for an answer: it goes on after the next start");
            }
        }
    }
}

/// One sink.
struct Sink {
    name: String,
    batch: usize,
    changes: ChangeReader,
    target: Target,
    cursor: Cursor,
    store: CursorFile,
    stored: Instant,
    /// The cursor that is stored is not this one.
    ahead: bool,
    dead_letters: DeadLetters,
    status: Arc<Status>,
    metrics: SinkMetrics,
    actions: Arc<Actions>,
}

enum Target {
    File(File),
    Http(Box<Http>),
    Kafka(Box<Kafka>),
}

/// The outcome of a batch.
#[derive(Debug)]
enum Outcome {
    Delivered,
    /// It never will be.
    Refused {
        reason: String,
        message: String,
    },
    /// The change of this index never will be; the others may.
    Unfit {
        at: usize,
        reason: String,
        message: String,
    },
    /// It may have been delivered, or not yet.
    Later {
        why: String,
        /// Not earlier than that.
        after: Option<Duration>,
    },
}

impl Sink {
    /// `folder`: of all sinks.
    fn open(plan: &SinkPlan, folder: &Path, shared: &Shared<'_>) -> Result<Sink, Error> {
        let SinkPlan { name, collection, .. } = plan;
        let failed = |what: &str| Error::run(format!("{what} the sink `{name}`"));
        let folder = folder.join(name);
        cursor::create_folder(&folder).map_err(failed("make a folder for"))?;
        let store = CursorFile::new(&folder);
        let outputs = shared.outputs;
        let mut cursor = match store.load().map_err(failed("read the cursor of"))? {
            Some(cursor) => {
                check(&cursor, plan, shared, &folder).map_err(std::io::Error::other).map_err(failed("go on with"))?;
                cursor
            }
            None => {
                let tick = match plan.from {
                    SinkStart::Now => outputs.upper(),
                    SinkStart::Start => outputs.oldest(),
                };
                Cursor::new(shared.log, shared.histories.current(), collection.name(), tick)
            }
        };
        let target = match &plan.target {
            SinkTarget::File(path) => {
                let (file, written) =
                    File::open(path.clone(), cursor.file.take()).map_err(failed("open the file of"))?;
                cursor.file = Some(written);
                Target::File(file)
            }
            SinkTarget::Http(http) => Target::Http(Box::new(Http::new(name, http))),
            SinkTarget::Kafka(kafka) => Target::Kafka(Box::new(Kafka::new(plan, kafka, shared.log, shared.histories))),
        };
        cursor.start = shared.histories.current();
        store.store(&cursor).map_err(failed("write the cursor of"))?;
        let changes = ChangeReader::new(
            shared.log,
            Arc::clone(shared.histories),
            plan,
            Arc::clone(outputs),
            Arc::clone(shared.schemas),
            cursor.position,
        );
        tracing::info!(sink = name, tick = cursor.position.tick, "a sink goes on");
        Ok(Sink {
            name: name.clone(),
            batch: plan.batch,
            changes,
            target,
            cursor,
            store,
            stored: Instant::now(),
            ahead: false,
            dead_letters: DeadLetters::new(&folder),
            status: Arc::clone(shared.status),
            metrics: shared.metrics.sink(name),
            actions: Arc::clone(&shared.metrics.actions),
        })
    }

    fn run(mut self, stop: &Stop) {
        while !stop.is_over() && self.step(stop) {}
        if self.ahead
            && let Err(error) = self.store.store(&self.cursor)
        {
            tracing::warn!(sink = self.name, %error, "cannot write the cursor: some changes come again");
        }
    }

    /// Hands over one batch. Returns `false` if the sink has to end.
    fn step(&mut self, stop: &Stop) -> bool {
        self.measure();
        match self.changes.next(self.batch) {
            Ok(Next::Batch(batch)) => self.hand_over(&batch.changes, stop) && self.advance(batch.upto, stop),
            Ok(Next::Gap { from, oldest }) => self.lose(from, oldest, stop),
            Ok(Next::Unreadable(Unreadable { change, upto })) => {
                let message = "its bytes are no row of the collection";
                self.set_aside(&[change], "unreadable_row", message, stop) && self.advance(upto, stop)
            }
            Ok(Next::Nothing { more }) => {
                let position = self.changes.position();
                self.ahead |= self.cursor.position != position;
                self.cursor.position = position;
                let written = !self.ahead || self.stored.elapsed() < IDLE_CURSOR || self.advance(position, stop);
                written && (more || (!stop.is_asked() && stop.wait(POLL)))
            }
            Err(error) => {
                self.changes.restart(self.cursor.position);
                self.retry(&mut backoff(), "read the output log", &error.to_string(), Some(BACK_OFF.1), stop)
            }
        }
    }

    /// Delivers changes, or sets them aside. `false`: neither.
    fn hand_over(&mut self, changes: &[Change], stop: &Stop) -> bool {
        let mut backoff = backoff();
        loop {
            let outcome = match &mut self.target {
                Target::File(file) => file.deliver(changes, &mut self.cursor.file),
                Target::Http(http) => http.deliver(changes),
                Target::Kafka(kafka) => kafka.deliver(changes),
            };
            let (why, after) = match outcome {
                Outcome::Delivered => {
                    self.metrics.delivered.inc_by(changes.len() as u64);
                    let wall = wall_ms();
                    for (change, decided) in changes.iter().filter_map(|one| Some((one, one.decided.as_ref()?))) {
                        self.actions.handed_over(change.tick, wall, decided);
                    }
                    return true;
                }
                Outcome::Refused { reason, message } => return self.set_aside(changes, &reason, &message, stop),
                Outcome::Unfit { at, reason, message } => {
                    let (before, rest) = changes.split_at(at);
                    let (unfit, behind) = rest.split_at(1);
                    return (before.is_empty() || self.hand_over(before, stop))
                        && self.set_aside(unfit, &reason, &message, stop)
                        && (behind.is_empty() || self.hand_over(behind, stop));
                }
                Outcome::Later { why, after } => (why, after),
            };
            if !self.retry(&mut backoff, "deliver", &why, after, stop) {
                return false;
            }
        }
    }

    /// Keeps changes that cannot be delivered as dead letters, durably.
    fn set_aside(&mut self, changes: &[Change], reason: &str, message: &str, stop: &Stop) -> bool {
        let letters = changes.len();
        tracing::error!(sink = self.name, reason, message, letters, "changes are not taken: they become dead letters");
        let mut backoff = backoff();
        while let Err(error) = self.dead_letters.changes(changes, reason, message) {
            if !self.retry(&mut backoff, "write dead letters", &error.to_string(), None, stop) {
                return false;
            }
        }
        self.metrics.dead_letters.inc_by(letters as u64);
        true
    }

    /// Reports the gap that retention has left, and goes on behind it.
    fn lose(&mut self, from: Position, oldest: Position, stop: &Stop) -> bool {
        let lost = oldest.tick - from.tick;
        let message = "a sink is slower than the output log is kept: the changes of these ticks are lost to it";
        tracing::error!(sink = self.name, from = from.tick, to = oldest.tick, ticks = lost, "{message}");
        let mut backoff = backoff();
        while let Err(error) = self.dead_letters.gap(from.tick, oldest.tick) {
            if !self.retry(&mut backoff, "write dead letters", &error.to_string(), None, stop) {
                return false;
            }
        }
        self.metrics.lost_ticks.inc_by(lost);
        self.metrics.dead_letters.inc();
        self.advance(oldest, stop)
    }

    /// Remembers how far it has come.
    fn advance(&mut self, position: Position, stop: &Stop) -> bool {
        self.cursor.position = position;
        self.ahead = true;
        let mut backoff = backoff();
        while let Err(error) = self.store.store(&self.cursor) {
            if !self.retry(&mut backoff, "write the cursor", &error.to_string(), None, stop) {
                return false;
            }
        }
        (self.stored, self.ahead) = (Instant::now(), false);
        true
    }

    /// Waits for the next attempt. `false`: there will be none, as the process stops.
    fn retry(&self, backoff: &mut Backoff, what: &str, why: &str, after: Option<Duration>, stop: &Stop) -> bool {
        self.metrics.retries.inc();
        self.measure();
        let wait = backoff.wait().max(after.unwrap_or_default());
        let (sink, attempt, wait_ms) = (&self.name, backoff.failed(), wait.as_millis() as u64);
        tracing::warn!(sink, attempt, wait_ms, "cannot {what}: {why}");
        !stop.is_asked() && stop.wait(wait) && !stop.is_asked()
    }

    fn measure(&self) {
        let published = self.status.published.load(Ordering::Acquire);
        self.metrics.lag_ticks.set(published.saturating_sub(self.cursor.position.tick) as i64);
    }
}

/// Checks that a cursor is of this log and this collection.
fn check(cursor: &Cursor, plan: &SinkPlan, shared: &Shared<'_>, folder: &Path) -> Result<(), String> {
    let upper = shared.outputs.upper();
    let instead = format!("give the sink another name, or remove {} to begin again", folder.display());
    cursor.check(shared.log, Some(shared.histories), upper).map_err(|why| format!("{why}: {instead}"))?;
    if cursor.collection != plan.collection.name() {
        return Err(format!("it has followed `{}`: {instead}", cursor.collection));
    }
    Ok(())
}

fn backoff() -> Backoff {
    Backoff::new(BACK_OFF.0, BACK_OFF.1)
}
