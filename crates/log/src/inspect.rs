//! Reports the content of a log, and what opening it would do, without changing a byte. The code of a start opens each
//! part in a [`Picture`] of the folder. Unlike a start, this reads everything, and goes on behind damaged bytes.

use super::error::{LogError, Poison};
use super::output::{Kept, OutputLog};
use super::partition::{Context, Limits, Partition, Place};
use super::remap::{Remap, Uppers};
use super::segment::{self, Fault, HEADER, Header, LogId, u32_at};
use super::state::{self, Examined, StateStore};
use super::vfs::picture::{Change, Picture};
use super::vfs::{Role, Vfs, read_all};
use super::{CONTROL, QUEUE, check_bound, first_published, identify, restore};
use crate::Tick;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// In this order a log is looked at while it grows: what refers to something comes before it.
const ORDER: [&str; 5] = ["state", "out", "remap", "control", "wal"];

/// The result of an inspection. A part that could not be opened is absent, and a [`Trouble`] has the reason. `C`: a
/// record of the control partition.
#[derive(Debug)]
pub struct Inspection<C> {
    /// By part.
    pub queue: Vec<Option<Extent>>,
    /// The control partition.
    pub control: Option<Extent>,
    /// Of the control partition.
    pub records: Vec<C>,
    /// The remap.
    pub remap: Option<Minted>,
    /// The output log.
    pub outputs: Option<Published>,
    /// Newest first.
    pub snapshots: Vec<Examined>,
    /// Sequence number of the one that a start would go on from.
    pub used: Option<u64>,
    /// `None` if a start would get nowhere.
    pub replay: Option<Replay>,
    /// In the order in which they were found.
    pub troubles: Vec<Trouble>,
    /// The changes that a start would make to existing files, up to the point where it would fail.
    pub changes: Vec<Change>,
    /// The highest that any file was written in.
    pub highest_epoch: u64,
}

impl<C> Default for Inspection<C> {
    fn default() -> Inspection<C> {
        Inspection {
            queue: Vec::new(),
            control: None,
            records: Vec::new(),
            remap: None,
            outputs: None,
            snapshots: Vec::new(),
            used: None,
            replay: None,
            troubles: Vec::new(),
            changes: Vec::new(),
            highest_epoch: 0,
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug)]
pub struct Trouble {
    /// Where it was found.
    pub of: Area,
    /// What it is.
    pub error: LogError,
    /// A start is refused because of it.
    pub refused: bool,
}

/// A part of the log that a trouble is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Which log it is.
    Identity,
    /// The queue.
    Queue,
    /// The control partition.
    Control,
    /// The remap.
    Remap,
    /// The output log.
    Outputs,
    /// One snapshot; a start may go on from another.
    Snapshot,
    /// All of them.
    Snapshots,
    /// Files that belong together are not of one time.
    History,
}

/// The content of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The low watermark: records below it are not needed.
    pub low: u64,
    /// Offset after the last record.
    pub next: u64,
    /// Files.
    pub segments: usize,
    /// Of all files.
    pub bytes: u64,
}

/// The ticks that have happened.
#[derive(Clone, Debug)]
pub struct Minted {
    /// Of their records.
    pub extent: Extent,
    /// The epochs of the starts that minted them.
    pub epochs: BTreeSet<u64>,
    /// Of the last one.
    pub now_ms: Option<i64>,
}

/// The readable part of the outputs.
#[derive(Clone, Debug)]
pub struct Published {
    /// Of ticks.
    pub extent: Extent,
    /// One for each start that wrote some of them.
    pub sets: Vec<Kept>,
}

/// The ticks that a start would compute again, and the records that no tick has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The first tick.
    pub from: Tick,
    /// Behind the last tick.
    pub upto: Tick,
    /// Deliveries that these ticks took.
    pub records: u64,
    /// Bytes of those deliveries.
    pub bytes: u64,
    /// Deliveries that no tick has taken.
    pub waiting: u64,
}

/// Reads the file `LOG`: the identity of the log, and the number of parts of its queue. `None` if there is no such
/// file.
///
/// # Errors
/// [`LogError::Read`]; [`LogError::Corrupt`].
pub fn identity(root: &Path) -> Result<Option<(LogId, u32)>, LogError> {
    let path = root.join("LOG");
    let picture = Picture::take(root, &ORDER).map_err(LogError::Read)?;
    if picture.open(&path).is_err() {
        return Ok(None);
    }
    let bytes = picture.open(&path).and_then(|file| read_all(&*file)).map_err(LogError::Read)?;
    let parts = if bytes.len() < 16 { 0 } else { u32_at(&bytes, 12) };
    let header = Header::decode(&bytes, Role::Root, parts).map_err(|what| LogError::corrupt(&path, 0, what))?;
    Ok(Some((header.id, parts)))
}

/// Inspects the log in the folder `root`, as a process of this epoch would find it. `decode` reads a record of the
/// control partition, or returns its mistake.
///
/// # Errors
/// [`LogError::Read`] if the folder cannot be listed; or if files vanish meanwhile, as they do while a process has it
/// open: then it can be tried again.
pub fn inspect<C>(
    root: &Path,
    id: LogId,
    parts: u32,
    epoch: u64,
    decode: fn(&[u8]) -> Result<C, String>,
) -> Result<Inspection<C>, LogError> {
    let picture = Picture::take(root, &ORDER).map_err(LogError::Read)?;
    let mut look = Look { picture, root, id, epoch, decode, found: Inspection::default() };
    look.found.highest_epoch = look.highest_epoch()?;
    look.log(parts)?;
    look.found.changes = look.picture.changes();
    Ok(look.found)
}

struct Look<'r, C> {
    picture: Picture,
    root: &'r Path,
    id: LogId,
    epoch: u64,
    decode: fn(&[u8]) -> Result<C, String>,
    found: Inspection<C>,
}

impl<C> Look<'_, C> {
    /// Each part gets a picture of its own, so that it does not see the changes of others.
    fn context(&self) -> Context {
        let vfs: Arc<dyn Vfs> = Arc::new(self.picture.clone());
        Context { vfs, id: self.id, epoch: self.epoch, limits: Limits::default(), poison: Poison::default() }
    }

    fn log(&mut self, parts: u32) -> Result<(), LogError> {
        let dirs: Vec<PathBuf> = (0..parts).map(|part| self.root.join(format!("wal/{part:02}"))).collect();
        let others = ["control", "remap", "out", "state"].map(|name| self.root.join(name));
        for dir in dirs.iter().chain(&others) {
            self.picture.create_dir(dir).map_err(LogError::Read)?;
        }
        let [control_dir, remap_dir, out_dir, state_dir] = others;
        let identified = identify(&self.context(), self.root, parts);
        self.tried(Area::Identity, identified)?;

        let mut queue = Vec::new();
        for (part, dir) in (0..).zip(&dirs) {
            queue.push(self.partition(Area::Queue, dir, Role::Queue, part)?);
        }
        let extents = queue.iter().zip(&dirs).map(|(part, dir)| part.as_ref().map(|part| self.extent_of(part, dir)));
        self.found.queue = extents.collect();
        let control = self.partition(Area::Control, &control_dir, Role::Control, 0)?;
        if let Some(control) = &control {
            self.found.control = Some(self.extent_of(control, &control_dir));
            self.control(control, &control_dir)?;
        }
        let remap = Remap::open(self.context(), &remap_dir);
        let mut remap = self.opened(Area::Remap, remap, &remap_dir)?;
        if let Some(remap) = &remap {
            let minted = minted(remap, self.extent(&remap_dir, remap.low(), remap.next()));
            self.found.remap = self.tried(Area::Remap, minted)?;
        }
        let start = remap.as_ref().map_or(Ok(0), |remap| first_published(&self.context(), self.root, remap));
        let start = start.unwrap_or_default();
        let outputs = OutputLog::open(&self.context(), &out_dir, 1, start);
        let outputs = self.opened(Area::Outputs, outputs, &out_dir)?;
        self.found.outputs = outputs.as_ref().map(|outputs| Published {
            extent: self.extent(&out_dir, outputs.oldest(), outputs.upper()),
            sets: outputs.earlier(),
        });
        let store = self.snapshots(&state_dir)?;
        let mut fits = true;
        if let (Some(remap), Some(outputs), Some(found)) = (&mut remap, &outputs, &self.found.remap) {
            // The files are those that were found; the ticks are those that a start has.
            let extent = found.extent;
            let restored = restore(remap, outputs);
            let restored = restored.and_then(|()| minted(remap, Extent { next: remap.next(), ..extent }));
            let restored = self.tried(Area::History, restored)?;
            fits = restored.is_some();
            self.found.remap = restored.or(self.found.remap.take());
        }
        let queue: Option<Vec<Partition>> = queue.into_iter().collect();
        let (Some(queue), Some(control), Some(remap)) = (queue, control, remap) else { return Ok(()) };
        let bound = check_bound(&queue, &control, &remap);
        fits &= self.tried(Area::History, bound)?.is_some();
        let Some(store) = store else { return Ok(()) };
        let history = store.check_history(&remap);
        fits &= self.tried(Area::History, history)?.is_some();
        let published = outputs.as_ref().map_or(Ok(()), |outputs| store.check_published(outputs));
        self.tried(Area::Outputs, published)?;
        self.found.used = store.generation().map(|generation| generation.sequence);
        if fits {
            let first = store.generation().map_or(0, |generation| generation.tick + 1);
            let replay = replay(&queue, &control, &remap, first);
            self.found.replay = self.tried(Area::History, replay)?;
            // What is computed again is compared with what was published.
            let published = outputs.map_or(Ok(()), |outputs| {
                (first.max(outputs.oldest())..outputs.upper()).try_for_each(|tick| outputs.verify(tick))
            });
            self.tried(Area::Outputs, published)?;
        }
        Ok(())
    }

    fn partition(&mut self, of: Area, dir: &Path, role: Role, part: u32) -> Result<Option<Partition>, LogError> {
        let place = Place { dir: dir.to_path_buf(), prefix: String::new(), role, part, start: 0 };
        let opened = Partition::open(self.context(), place);
        self.opened(of, opened, dir)
    }

    fn extent_of(&self, partition: &Partition, dir: &Path) -> Extent {
        self.extent(dir, partition.low(), partition.durable())
    }

    fn extent(&self, dir: &Path, low: u64, next: u64) -> Extent {
        let files = self.picture.files();
        let own = files.iter().filter(|(file, _)| file.parent() == Some(dir));
        let (segments, bytes) = own.fold((0, 0), |(files, bytes), (_, length)| (files + 1, bytes + length));
        Extent { low, next, segments, bytes }
    }

    fn control(&mut self, control: &Partition, dir: &Path) -> Result<(), LogError> {
        let decode = self.decode;
        let (mut records, mut unknown) = (Vec::new(), Vec::new());
        let read = control.reader().read(control.low(), control.durable(), |record| match decode(record.payload) {
            Ok(record) => records.push(record),
            Err(what) => {
                unknown.push(LogError::corrupt(dir, record.offset, format!("record {}: {what}", record.offset)))
            }
        });
        self.tried(Area::Control, read)?;
        self.found.records = records;
        self.found.troubles.extend(unknown.into_iter().map(|error| Trouble {
            of: Area::Control,
            error,
            refused: true,
        }));
        Ok(())
    }

    fn snapshots(&mut self, dir: &Path) -> Result<Option<StateStore>, LogError> {
        let examined = state::examine(&self.context(), dir)?;
        for one in &examined {
            if let Some(error) = one.error.clone() {
                self.tried(Area::Snapshot, Err::<(), _>(error))?;
            }
        }
        self.found.snapshots = examined;
        match StateStore::open(self.context(), dir) {
            // Each was reported above.
            Ok((store, _damages)) => Ok(Some(store)),
            Err(error) => self.tried(Area::Snapshots, Err(error)),
        }
    }

    /// `None`: there was an error, which has been noted.
    fn tried<R>(&mut self, of: Area, result: Result<R, LogError>) -> Result<Option<R>, LogError> {
        match result {
            Ok(result) => Ok(Some(result)),
            Err(LogError::Read(error)) if vanished(error.source.kind()) => Err(LogError::Read(error)),
            Err(error) => {
                let troubles = &mut self.found.troubles;
                // What was damaged anyhow is what a start needs to read.
                let by_reading = |known: &&mut Trouble| !known.refused && known.of != Area::Snapshot;
                match troubles.iter_mut().filter(by_reading).find(|known| same_file(&known.error, &error)) {
                    Some(known) => known.refused = true,
                    None => troubles.push(Trouble { of, error, refused: of != Area::Snapshot }),
                }
                Ok(None)
            }
        }
    }

    /// Acts as [`Look::tried`]. Then reads all files of `dir`, and records further damages.
    fn opened<R>(&mut self, of: Area, result: Result<R, LogError>, dir: &Path) -> Result<Option<R>, LogError> {
        let first = self.found.troubles.len();
        let opened = self.tried(of, result)?;
        let refused = opened.is_none();
        for error in self.damages(dir)? {
            if !self.found.troubles[first..].iter().any(|known| same_file(&known.error, &error)) {
                self.found.troubles.push(Trouble { of, error, refused });
            }
        }
        self.found.troubles[first..].sort_by(|one, other| file(&one.error).cmp(&file(&other.error)));
        Ok(opened)
    }

    /// Returns the first fault of each segment in a folder, but for torn writes.
    fn damages(&self, dir: &Path) -> Result<Vec<LogError>, LogError> {
        let mut damages = Vec::new();
        for name in self.picture.list(dir).map_err(LogError::Read)?.iter().filter(|name| name.ends_with(".seg")) {
            let path = dir.join(name);
            let bytes = self.picture.open(&path).and_then(|file| read_all(&*file)).map_err(LogError::Read)?;
            let Some(header) = header(&bytes) else {
                // Without a header it holds nothing: it was being created.
                if bytes.len() > HEADER {
                    damages.push(LogError::corrupt(&path, 0, "the header is not that of a segment"));
                }
                continue;
            };
            let scan = segment::scan(&bytes, &header);
            let torn =
                |fault: &Fault| !matches!(fault, Fault::Content(_)) && !segment::was_durable(&bytes, scan.end, &header);
            if let Some(fault) = scan.fault.filter(|fault| !torn(fault)) {
                damages.push(LogError::corrupt(&path, scan.end, fault.what()));
            }
        }
        Ok(damages)
    }

    fn highest_epoch(&self) -> Result<u64, LogError> {
        let mut highest = 0;
        for (path, length) in self.picture.files() {
            let mut bytes = vec![0; HEADER.min(length as usize)];
            let file = self.picture.open(&path).map_err(LogError::Read)?;
            file.read_at(0, &mut bytes).map_err(LogError::Read)?;
            highest = highest.max(header(&bytes).map_or(0, |header| header.epoch));
        }
        Ok(highest)
    }
}

/// Reads the header of a file of any role and part.
fn header(bytes: &[u8]) -> Option<Header> {
    let part = u32_at(bytes.get(..HEADER)?, 12);
    let roles = [Role::Root, Role::Queue, Role::Control, Role::Remap, Role::Output, Role::State];
    let role = roles.into_iter().find(|role| role.code() == bytes[10])?;
    Header::decode(bytes, role, part).ok()
}

/// Returns the damaged file.
fn file(error: &LogError) -> Option<&PathBuf> {
    if let LogError::Corrupt { file, .. } = error { Some(file) } else { None }
}

fn same_file(one: &LogError, other: &LogError) -> bool {
    file(one).is_some_and(|one| file(other) == Some(one))
}

/// Returns whether an error means that a listed file has vanished.
fn vanished(kind: std::io::ErrorKind) -> bool {
    matches!(kind, std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof)
}

fn minted(remap: &Remap, extent: Extent) -> Result<Minted, LogError> {
    let mut epochs = BTreeSet::new();
    remap.reader().bindings(remap.low(), remap.next(), |binding| {
        epochs.insert(binding.epoch);
        Ok(())
    })?;
    Ok(Minted { extent, epochs, now_ms: remap.last().map(|last| last.now_ms) })
}

/// Reads the records that ticks from `first` on took, and the waiting records that the next tick takes.
fn replay(queue: &[Partition], control: &Partition, remap: &Remap, first: Tick) -> Result<Replay, LogError> {
    let mut reader = remap.reader();
    let before = first.checked_sub(1).map(|before| reader.binding(before)).transpose()?;
    let before = before.map_or_else(Uppers::new, |binding| binding.uppers);
    let last = remap.last().map_or_else(Uppers::new, |last| last.uppers.clone());
    let upper = |uppers: &Uppers, key| uppers.get(&key).copied().unwrap_or(0);
    let mut replay = Replay { from: first, upto: remap.next(), ..Replay::default() };
    for (part, number) in queue.iter().zip(0..) {
        let (from, upto) = (upper(&before, (QUEUE, number)), upper(&last, (QUEUE, number)));
        part.reader().read(from, part.durable(), |record| {
            let taken = record.offset < upto;
            replay.bytes += if taken { record.payload.len() as u64 } else { 0 };
        })?;
        replay.records += upto - from;
        replay.waiting += part.durable() - upto;
    }
    replay.waiting += control.durable() - upper(&last, (CONTROL, 0));
    Ok(replay)
}
