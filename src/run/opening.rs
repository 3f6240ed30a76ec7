//! Opens the data folder. First comes the lock, so that a refused process has changed nothing. Then come the reserve,
//! the epoch, the log, and the records of earlier starts.
//!
//! ```text
//! lock ─▶ reserve ─▶ EPOCH ─▶ log ─▶ snapshots ─▶ control partition ─▶ HISTORY ─▶ events are taken
//! ```
//! Each step is durable before the next one, and is idempotent. So a start that is killed anywhere leaves a folder that
//! the next one opens.

use super::PARTS;
use super::bounds::Bounds;
use super::history::History;
use crate::error::Error;
use crate::plan::Plan;
use headwater_log::epoch::{self, Epoch};
use headwater_log::histories::{self, Histories, Place};
use headwater_log::reserve::Reserve;
use headwater_log::state::StateStore;
use headwater_log::vfs::{LockGuard, RealFs};
use headwater_log::{self, Log};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// An open data folder.
pub(super) struct Opened {
    pub epoch: Epoch,
    pub reserve: Arc<Reserve>,
    pub log: Log,
    pub store: StateStore,
    pub history: History,
    pub histories: Arc<Histories>,
}

/// Opens the data folder of `plan`, and waits for as long as there is no space for that.
///
/// # Errors
/// What keeps the process from starting. If another one has the folder, or its log is gone, nothing has been changed.
pub(super) fn open(plan: &Plan, bounds: &Bounds) -> Result<Opened, Error> {
    let (folder, root) = (&plan.data_dir, plan.data_dir.join("log"));
    let opening = || Error::run(format!("open the log {}", root.display()));
    fs::create_dir_all(folder).map_err(Error::run(format!("create {}", folder.display())))?;
    // Before the lock makes a folder for the log.
    refuse_lost(folder)?;
    let lock = Log::lock(&RealFs, &root).map_err(opening())?;
    refuse_lost(folder)?;
    let reserve = Reserve::of(folder, plan.log.reserve);
    let reserve =
        Arc::new(reserve.map_err(Error::run("set space aside: `reserve = \"0\"` in [cluster] does without"))?);
    let epoch = reserve.until_space(|| epoch::next(folder).map_err(Error::run("take the next epoch")))?;
    reserve.until_space(|| open_at(plan, bounds, epoch, &reserve, &root, lock.clone()))
}

fn open_at(
    plan: &Plan,
    bounds: &Bounds,
    epoch: Epoch,
    reserve: &Arc<Reserve>,
    root: &Path,
    lock: LockGuard,
) -> Result<Opened, Error> {
    let settings = headwater_log::Settings {
        id: epoch.log,
        epoch: epoch.number,
        parts: PARTS,
        // Of outputs: the publisher alone, however many workers there are.
        workers: 1,
        limits: bounds.limits(plan.log.segment),
    };
    let log = Log::open_locked(Arc::new(RealFs), root, &settings, lock);
    let mut log = log.map_err(Error::run(format!("open the log {}", root.display())))?;
    let (store, damages) = log.state_store().map_err(Error::run("open the snapshots"))?;
    for damage in damages {
        tracing::error!(file = %damage.file.display(), at = damage.at, what = damage.what, "a snapshot is damaged and not used");
    }
    let history = History::read(&mut log, plan, epoch.number, store.generation())
        .inspect_err(|error| _ = super::tell_damage(error))?;
    let histories = begin(&plan.data_dir, epoch, &log)
        .map_err(Error::run(format!("go on with the history in {}", plan.data_dir.join(histories::FILE).display())))?;
    Ok(Opened { epoch, reserve: Arc::clone(reserve), log, store, history, histories: Arc::new(histories) })
}

fn begin(folder: &Path, epoch: Epoch, log: &Log) -> io::Result<Histories> {
    let queue = log.queue.iter().map(|part| part.partition().durable()).collect();
    let at = Place { tick: log.remap.next(), queue };
    let found = Histories::load(folder)?;
    if let Some(found) = &found {
        let why = found.check(epoch.log, &at);
        why.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, format!("{why}: put all of the folder back")))?;
    }
    Histories::begin(folder, found, epoch.log, epoch.number, at, log.outputs.oldest())
}

/// # Errors
/// If a log was here, and parts of it that a start cannot do without are gone.
fn refuse_lost(folder: &Path) -> Result<(), Error> {
    let found = lost(folder).map_err(Error::run(format!("read {}", folder.display())))?;
    found.map_or(Ok(()), |what| Err(Error::usage(what, ANEW)))
}

/// How to begin with an empty folder on purpose.
pub(crate) const ANEW: &str = "put the whole folder back from a backup, as its files belong together. To begin with \
                               nothing, with no events and no sessions, name another data_dir or remove this one as \
                               a whole";

/// Says what is missing of a log that has been here, if anything is. A start would take the rest for a new log, and lose
/// what was acknowledged in silence. Outputs and snapshots are not among it: the log says whether it can do without.
///
/// # Errors
/// If the folder cannot be read.
pub(crate) fn lost(folder: &Path) -> io::Result<Option<String>> {
    let root = folder.join("log");
    let is_there = |path: &Path| path.try_exists();
    let Some(last) = epoch::last(folder)? else {
        let orphan = is_there(&root.join("LOG"))?.then(|| {
            let file = folder.join(epoch::FILE);
            format!("{} is missing beside a log: `headwater doctor` says what belongs there", file.display())
        });
        return Ok(orphan);
    };
    if !last.logged && !is_there(&folder.join(histories::FILE))? {
        return Ok(None);
    }
    let gone = |path: &Path| {
        let (path, starts) = (path.display(), last.number);
        Some(format!("{path} is missing, and there were {starts} starts in this data folder"))
    };
    let identity = root.join("LOG");
    if !is_there(&identity)? {
        return Ok(gone(if is_there(&root)? { &identity } else { &root }));
    }
    // Damage of `LOG` is for the log to say.
    let header = fs::read(&identity)?;
    let parts = header.get(12..16).and_then(|bytes| bytes.try_into().ok()).map_or(PARTS, u32::from_le_bytes);
    let parts = (0..parts.min(PARTS)).map(|part| root.join(format!("wal/{part:02}")));
    for dir in parts.chain(["control", "remap"].map(|name| root.join(name))) {
        if !has_segment(&dir)? {
            return Ok(gone(&dir.join("*.seg")));
        }
    }
    Ok(None)
}

fn has_segment(dir: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        if entry?.path().extension().is_some_and(|end| end == "seg") {
            return Ok(true);
        }
    }
    Ok(false)
}
