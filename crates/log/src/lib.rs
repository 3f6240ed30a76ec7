//! The log keeps everything that has to survive, and makes it durable. It is also the embedded queue: with it,
//! headwater takes events without any other service.
//!
//! ```text
//! LOG                      which log this is; written once
//! LOCK                     held by the process that has it open
//! wal/PART/OFFSET.seg      queue: the records of each part, with the time they were received
//! control/OFFSET.seg       control partition: what changes the computation itself
//! remap/TICK.seg           tick -> upper offset of each part: the commit point
//! out/…-TICK.seg           output log: what each worker published of each tick
//! state/…                  snapshots: what is accumulated at a tick, so that the log need not reach back to the first
//! ```
//!
//! All but the snapshots ([`state`]) are partitions ([`partition`]), and all lie on a file system ([`vfs`]) that can be
//! made to lose and tear writes. `docs/log.md` has the formats and the reason for each sync.

#![warn(missing_docs)]

use error::LogError;
use group::Group;
use output::OutputLog;
use partition::{Context, Limits, Partition, Place};
use remap::{Binding, Remap, Uppers};
use segment::{HEADER, Header, LogId};
use state::{Damage, StateStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vfs::{LockGuard, Role, SyncSite, SyncStep, Vfs};

pub mod durable;
pub mod epoch;
pub mod error;
pub mod follow;
pub mod group;
pub mod histories;
pub mod inspect;
pub mod output;
pub mod partition;
pub mod remap;
pub mod reserve;
pub mod seal;
pub mod segment;
pub mod state;
mod sync;
#[cfg(test)]
mod tests;
pub mod vfs;

/// A number of the sequencer. The inputs that it binds together are computed, published and read as one.
pub type Tick = u64;

/// The remap's name for the queue of the log. Sources of the plan are numbered from 0.
pub const QUEUE: u16 = u16::MAX - 1;
/// The remap's name for the control partition, which has part 0 alone.
pub const CONTROL: u16 = u16::MAX;

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of a log that is created: unique. Of one that is there: its own.
    pub id: LogId,
    /// Generation of this process: higher than that of every process before it.
    pub epoch: u64,
    /// Parts of the queue: fixed when the log is created.
    pub parts: u32,
    /// Workers that write outputs: may differ at each start.
    pub workers: u32,
    /// Sizes of segments, blocks and pieces.
    pub limits: Limits,
}

/// An open log.
///
/// What is acknowledged, bound or published survives the end of the process and the loss of power; not the loss of the
/// disk. One process has it open at a time.
#[derive(Debug)]
pub struct Log {
    /// By partition. Shared with the threads that append.
    pub queue: Vec<Arc<Group>>,
    /// Its payloads are written and read by the owner of the log. They say what changes the computation.
    pub control: Partition,
    /// Which records each tick has taken.
    pub remap: Remap,
    /// Shared with the publisher and the readers.
    pub outputs: Arc<OutputLog>,
    root: PathBuf,
    /// Until the snapshots are opened.
    unopened: Option<Context>,
    _lock: LockGuard,
}

impl Log {
    /// Opens the log in the folder `root`, or creates it there; the folder that `root` lies in has to exist. Reads and
    /// checks everything that is kept.
    ///
    /// # Errors
    /// Any [`LogError`] but `Gone`. [`LogError::Corrupt`] also if the remap binds what the queue does not hold.
    pub fn open(vfs: Arc<dyn Vfs>, root: &Path, settings: &Settings) -> Result<Log, LogError> {
        let lock = Log::lock(&*vfs, root)?;
        Log::open_locked(vfs, root, settings, lock)
    }

    /// Takes the lock of the log in the folder `root`, and creates that folder if need be. Changes nothing else.
    ///
    /// # Errors
    /// [`LogError::Locked`] if another process has it; [`LogError::Full`]; [`LogError::Poisoned`].
    pub fn lock(vfs: &dyn Vfs, root: &Path) -> Result<LockGuard, LogError> {
        let poison = error::Poison::default();
        let failed = |error: vfs::VfsError| if error.is_full() { LogError::Full(error) } else { poison.set(error) };
        vfs.create_dir(root).map_err(failed)?;
        let lock = vfs.lock(&root.join("LOCK")).map_err(failed)?;
        lock.ok_or_else(|| LogError::Locked(root.to_path_buf()))
    }

    /// Opens the log as [`Log::open`] does, for the process that has the lock.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_locked(vfs: Arc<dyn Vfs>, root: &Path, settings: &Settings, lock: LockGuard) -> Result<Log, LogError> {
        let Settings { id, epoch, parts, workers, limits } = settings.clone();
        let context = Context { vfs, id, epoch, limits, poison: Default::default() };
        let folders = Folders::create(&context, root, parts)?;
        identify(&context, root, parts)?;

        let place =
            |dir: &Path, role, part| Place { dir: dir.to_path_buf(), prefix: String::new(), role, part, start: 0 };
        let open =
            |(part, dir): (usize, &PathBuf)| Partition::open(context.clone(), place(dir, Role::Queue, part as u32));
        let queue = folders.parts.iter().enumerate().map(open).collect::<Result<Vec<_>, _>>()?;
        let control = Partition::open(context.clone(), place(&folders.control, Role::Control, 0))?;
        let mut remap = Remap::open(context.clone(), &folders.remap)?;
        let start = first_published(&context, root, &remap)?;
        let outputs = OutputLog::open(&context, &folders.out, workers, start)?;
        restore(&mut remap, &outputs)?;
        check_bound(&queue, &control, &remap)?;
        let queue = queue.into_iter().map(|part| Arc::new(Group::new(part))).collect();
        let (root, unopened) = (root.to_path_buf(), Some(context));
        Ok(Log { queue, control, remap, outputs: Arc::new(outputs), root, unopened, _lock: lock })
    }

    /// Opens the snapshots as [`StateStore::open`] does. Called once, for the one thread that will write them. This log
    /// has to outlive it, since it holds the lock.
    ///
    /// # Errors
    /// As [`StateStore::open`]; [`LogError::Corrupt`] also if the snapshot and the remap are not of one history; if
    /// ticks between them are gone; or if the outputs end before the snapshot; [`LogError::Refused`] if it has been
    /// opened.
    pub fn state_store(&mut self) -> Result<(StateStore, Vec<Damage>), LogError> {
        let opened = || LogError::Refused("the snapshots are open already".into());
        let context = self.unopened.clone().ok_or_else(opened)?;
        let (store, damages) = StateStore::open(context, &self.root.join("state"))?;
        store.check_history(&self.remap)?;
        store.check_published(&self.outputs)?;
        self.unopened = None;
        Ok((store, damages))
    }

    /// Mints the next tick: it takes everything that is durable in queue and control partition, and of `others`, whose
    /// records are durable elsewhere, what is below their uppers. When this returns, the tick has happened.
    ///
    /// # Errors
    /// As [`Remap::bind`] and [`Remap::sync`]: after [`LogError::Full`], [`Remap::next`] says whether it is minted.
    pub fn mint(&mut self, now_ms: i64, others: &Uppers) -> Result<&Binding, LogError> {
        let mut uppers = others.clone();
        uppers.extend(self.queue.iter().zip(0..).map(|(part, number)| ((QUEUE, number), part.partition().durable())));
        self.bind(now_ms, uppers)?;
        self.remap.sync()?;
        self.remap.last().ok_or_else(|| LogError::Refused("no tick was minted".into()))
    }

    /// Mints the next tick: it takes what is below `uppers`, and everything that is durable in the control partition. When
    /// it is durable, it has happened: see [`Remap::bind`].
    ///
    /// # Errors
    /// As [`Remap::bind`].
    pub fn bind(&mut self, now_ms: i64, mut uppers: Uppers) -> Result<&Binding, LogError> {
        uppers.insert((CONTROL, 0), self.control.durable());
        self.remap.bind(now_ms, &uppers)
    }

    /// Releases the records that ticks before `from` took: no restart will replay them. The control partition is kept.
    ///
    /// The remap goes first: a log that has more than the remap asks for can be replayed, the reverse cannot.
    ///
    /// # Errors
    /// [`LogError::Refused`] if `from` is beyond the next tick; and as [`Partition::truncate_prefix`].
    pub fn release(&mut self, from: Tick) -> Result<(), LogError> {
        // The uppers of the tick before are where the first one that is replayed begins.
        let Some(before) = from.checked_sub(1).filter(|before| *before >= self.remap.low()) else { return Ok(()) };
        if from > self.remap.next() {
            return Err(LogError::Refused(format!("tick {before} has not happened")));
        }
        if before >= self.remap.durable() {
            self.remap.sync()?;
        }
        let uppers = self.remap.reader().binding(before)?.uppers;
        self.remap.truncate_prefix(before)?;
        for (part, number) in self.queue.iter().zip(0..) {
            part.partition().truncate_prefix(uppers.get(&(QUEUE, number)).copied().unwrap_or(0))?;
        }
        Ok(())
    }
}

struct Folders {
    parts: Vec<PathBuf>,
    control: PathBuf,
    remap: PathBuf,
    out: PathBuf,
}

impl Folders {
    fn create(context: &Context, root: &Path, parts: u32) -> Result<Folders, LogError> {
        let wal = root.join("wal");
        let folders = Folders {
            parts: (0..parts).map(|part| wal.join(format!("{part:02}"))).collect(),
            control: root.join("control"),
            remap: root.join("remap"),
            out: root.join("out"),
        };
        let others = [&folders.control, &folders.remap, &folders.out];
        for dir in [&root.to_path_buf(), &wal].into_iter().chain(&folders.parts).chain(others) {
            context.vfs.create_dir(dir).map_err(failed(context))?;
        }
        let site = SyncSite { role: Role::Queue, step: SyncStep::Folders };
        context.vfs.sync_dir(&wal, site).map_err(|error| context.poison.set(error))?;
        Ok(folders)
    }
}

/// Reads which log this is, or writes it down. In both cases what is in the folder is durable afterwards.
fn identify(context: &Context, root: &Path, parts: u32) -> Result<(), LogError> {
    let (path, draft) = (root.join("LOG"), root.join("LOG.draft"));
    let names = context.vfs.list(root).map_err(LogError::Read)?;
    if names.iter().any(|name| name == "LOG") {
        let file = context.vfs.open(&path).map_err(LogError::Read)?;
        let bytes = vfs::read_all(&*file).map_err(LogError::Read)?;
        let header = Header::decode(&bytes, Role::Root, parts).map_err(|what| LogError::corrupt(&path, 0, what))?;
        if header.id != context.id || bytes.len() != HEADER {
            let name = |id: LogId| format!("log {:032x}", u128::from_be_bytes(id.0));
            let (ours, theirs) = (name(context.id), name(header.id));
            return Err(LogError::Foreign { dir: root.to_path_buf(), ours, theirs });
        }
    } else {
        if names.iter().any(|name| name == "LOG.draft") {
            context.vfs.remove(&draft).map_err(failed(context))?;
        }
        let (id, epoch) = (context.id, context.epoch);
        let header = Header { role: Role::Root, part: parts, id, epoch, base: 0, low: 0 };
        let mut file = context.vfs.create(&draft).map_err(failed(context))?;
        file.append(&header.encode()).map_err(failed(context))?;
        let site = SyncSite { role: Role::Root, step: SyncStep::Identity };
        file.sync(site).map_err(|error| context.poison.set(error))?;
        context.vfs.rename(&draft, &path).map_err(failed(context))?;
    }
    let site = SyncSite { role: Role::Root, step: SyncStep::Folders };
    context.vfs.sync_dir(root, site).map_err(|error| context.poison.set(error))
}

/// Maps lack of space while a log is created to a plain error: the next attempt begins again.
fn failed(context: &Context) -> impl Fn(vfs::VfsError) -> LogError {
    let poison = context.poison.clone();
    move |error| if error.is_full() { LogError::Full(error) } else { poison.set(error) }
}

/// Checks that everything that the remap binds is there.
fn check_bound(queue: &[Partition], control: &Partition, remap: &Remap) -> Result<(), LogError> {
    let Some(last) = remap.last() else { return Ok(()) };
    let parts = queue.iter().zip(0..).map(|(part, number)| ((QUEUE, number), part));
    for (key, partition) in parts.chain([((CONTROL, 0), control)]) {
        let bound = last.uppers.get(&key).copied().unwrap_or(0);
        if bound > partition.durable() {
            let what = format!("it ends before offset {}, tick {} took up to {bound}", partition.durable(), last.tick);
            return Err(LogError::corrupt(&partition.last_file(), 0, what));
        }
    }
    Ok(())
}

/// Returns the tick that outputs begin with if there are none: behind the newest snapshot. Earlier ticks are not
/// computed again, and no start retracts them either.
fn first_published(context: &Context, root: &Path, remap: &Remap) -> Result<Tick, LogError> {
    let snapshot = state::newest_tick(context, &root.join("state"))?;
    Ok(snapshot.map_or(0, |tick| tick.saturating_add(1)).min(remap.next()))
}

/// Brings back the ticks that were published and whose records are lost: what is published of a tick says what it took.
///
/// # Errors
/// [`LogError::Corrupt`] if it does not say that, or something else; as [`Remap::sync`].
fn restore(remap: &mut Remap, outputs: &OutputLog) -> Result<(), LogError> {
    let from = remap.next();
    for (tick, (now_ms, step)) in (from..).zip(outputs.steps(from)?) {
        let what = || format!("tick {tick} was published and never happened");
        let step = step.ok_or_else(|| LogError::corrupt(outputs.dir(), tick, what()))?;
        remap.restore(now_ms, &step)?;
    }
    remap.sync()
}
