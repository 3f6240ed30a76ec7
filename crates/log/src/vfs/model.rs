//! A file system in memory that forgets. It separates visible from durable state, for each file's bytes and for each
//! name in a folder. A test can crash it before, in and after every operation.
//!
//! ```text
//!            write            sync               kill            power loss
//! visible    changes          -                  stays           becomes what is durable then
//! pending    one change more  becomes durable    stays           any of it survives, in part, torn at sectors
//! durable    -                takes the pending  stays           takes what survives
//! ```
//!
//! It is worse than a disk: changes survive in any order, and a name may be lost alone. It is part of the library, so
//! that code on top of the log can be crashed in the same way.

use super::{Held, LockGuard, Outcome, SyncSite, Vfs, VfsError, VfsFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod state;

pub use state::Rng;
use state::{Change, Inode, State};

/// Unit that a disk writes or does not write.
const SECTOR: usize = 512;

/// The kind of a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: what is visible stays, and what is pending stays pending.
    Kill,
    /// Nothing that is pending survives.
    PowerClean,
    /// Everything that is pending survives, and is durable.
    PowerKept,
    /// Each pending change survives, or does not, or is torn.
    PowerTorn,
}

/// The effect of an operation that has to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk fails: writes have written a part; syncs have made nothing durable, and what was pending will not become
    /// durable by another sync.
    Io,
    /// There is no space: appends have written a part, nothing can be created; everything else works.
    Full,
}

/// The model. Clones are the same file system; [`ModelFs::fork`] makes another one.
#[derive(Clone, Debug)]
pub struct ModelFs(Arc<Mutex<State>>);

impl ModelFs {
    /// Makes an empty file system. `seed` decides which changes survive crashes.
    pub fn new(seed: u64) -> ModelFs {
        ModelFs(Arc::new(Mutex::new(State::new(seed))))
    }

    /// Returns an independent copy.
    pub fn fork(&self, seed: u64) -> ModelFs {
        let state = State { rng: Rng::new(seed), ..self.state().clone() };
        ModelFs(Arc::new(Mutex::new(state)))
    }

    /// Returns the number of operations that have changed something or synced.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Ends the process in operation number `at`, counted from 0. The operation may have happened, or in part. All
    /// later ones fail, until [`ModelFs::crash`].
    pub fn crash_at(&self, at: u64) {
        self.state().crash_at = Some(at);
    }

    /// Returns whether the operation given to [`ModelFs::crash_at`] has been reached.
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Operations number `at` fail.
    pub fn fail(&self, at: Range<u64>, fault: Fault) {
        self.state().fault = Some((at, fault));
    }

    /// Makes syncs at `site` do nothing, and report success.
    pub fn skip(&self, site: SyncSite) {
        self.state().skipped = Some(site);
    }

    /// Returns every site that has synced.
    pub fn sites(&self) -> BTreeSet<SyncSite> {
        self.state().sites.clone()
    }

    /// Ends the process, so that another one can begin. Open files can no longer be used.
    pub fn crash(&self, crash: Crash) {
        self.state().crash(crash);
    }

    /// Returns all files and their visible bytes.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let files = state.names.iter().filter_map(|(path, name)| Some((path, &state.inodes[name.current()?])));
        files.filter(|(_, inode)| !inode.folder).map(|(path, inode)| (path.into(), inode.visible.clone())).collect()
    }

    /// Flips a bit of a file that has no pending changes there.
    pub fn flip(&self, path: &Path, byte: usize, bit: u8) {
        let mut state = self.state();
        if let Some(inode) = state.find(path) {
            let inode = &mut state.inodes[inode];
            for bytes in [&mut inode.visible, &mut inode.durable] {
                if let Some(byte) = bytes.get_mut(byte) {
                    *byte ^= 1 << bit;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn error(doing: &'static str, path: &Path, kind: io::ErrorKind) -> VfsError {
    let outcome = if kind == io::ErrorKind::Other { Outcome::Unknown } else { Outcome::Failed };
    VfsError::new(doing, path, outcome, io::Error::from(kind))
}

/// The outcome of an operation.
enum Fate {
    Happens,
    /// Fails like this, with this number of thousandths done.
    Fails(VfsError, u64),
}

impl State {
    /// Counts an operation, and decides.
    fn begin(&mut self, doing: &'static str, path: &Path) -> Fate {
        let number = self.operations;
        self.operations += 1;
        if self.crashed || self.crash_at.is_some_and(|at| number >= at) {
            let first = !self.crashed;
            self.crashed = true;
            // An end in the middle of it: nothing, all, or a part.
            let done = if first { [0, 1000, self.rng.below(1001)][self.rng.below(3) as usize] } else { 0 };
            return Fate::Fails(error(doing, path, io::ErrorKind::Other), done);
        }
        match &self.fault {
            Some((at, Fault::Io)) if at.contains(&number) => {
                Fate::Fails(error(doing, path, io::ErrorKind::Other), self.rng.below(1001))
            }
            Some((at, Fault::Full)) if at.contains(&number) && (doing == "append to" || doing == "create") => {
                Fate::Fails(error(doing, path, io::ErrorKind::StorageFull), self.rng.below(1000))
            }
            _ => Fate::Happens,
        }
    }

    /// Decides the fate of an operation that happens or not.
    fn decide(&mut self, doing: &'static str, path: &Path) -> (bool, Result<(), VfsError>) {
        match self.begin(doing, path) {
            Fate::Happens => (true, Ok(())),
            Fate::Fails(error, done) => (done >= 500 && !error.is_full(), Err(error)),
        }
    }
}

impl Vfs for ModelFs {
    fn create_dir(&self, path: &Path) -> Result<(), VfsError> {
        let mut state = self.state();
        if state.find(path).is_some() {
            return Ok(());
        }
        let (happens, result) = state.decide("create the folder", path);
        if happens {
            state.link(path, Inode { folder: true, ..Inode::default() });
        }
        result
    }

    fn create(&self, path: &Path) -> Result<Box<dyn VfsFile>, VfsError> {
        let mut state = self.state();
        if state.find(path).is_some() {
            return Err(error("create", path, io::ErrorKind::AlreadyExists));
        }
        let (happens, result) = state.decide("create", path);
        if happens {
            state.link(path, Inode::default());
        }
        drop(state);
        result.and_then(|()| self.open(path))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn VfsFile>, VfsError> {
        let state = self.state();
        let inode = state.find(path).filter(|inode| !state.inodes[*inode].folder);
        let inode = inode.ok_or_else(|| error("open", path, io::ErrorKind::NotFound))?;
        let process = state.process;
        Ok(Box::new(ModelFile { fs: self.clone(), inode, process, path: path.to_path_buf() }))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, VfsError> {
        let state = self.state();
        state.find(dir).ok_or_else(|| error("list", dir, io::ErrorKind::NotFound))?;
        Ok(state.children(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), VfsError> {
        let mut state = self.state();
        let inode = state.find(from).ok_or_else(|| error("rename", from, io::ErrorKind::NotFound))?;
        let (happens, result) = state.decide("rename", from);
        if happens {
            state.point(from, None);
            state.point(to, Some(inode));
        }
        result
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), VfsError> {
        let mut state = self.state();
        let inode = state.find(from).ok_or_else(|| error("name", to, io::ErrorKind::NotFound))?;
        if state.find(to).is_some() {
            return Err(error("name", to, io::ErrorKind::AlreadyExists));
        }
        let (happens, result) = state.decide("name", to);
        if happens {
            state.point(to, Some(inode));
        }
        result
    }

    fn remove(&self, path: &Path) -> Result<(), VfsError> {
        let mut state = self.state();
        state.find(path).ok_or_else(|| error("remove", path, io::ErrorKind::NotFound))?;
        let (happens, result) = state.decide("remove", path);
        if happens {
            state.point(path, None);
        }
        result
    }

    fn sync_dir(&self, dir: &Path, site: SyncSite) -> Result<(), VfsError> {
        let mut state = self.state();
        let (happens, result) = state.decide("sync the folder", dir);
        state.sites.insert(site);
        if happens && state.skipped != Some(site) {
            state.sync_names(dir);
        }
        result
    }

    fn lock(&self, path: &Path) -> Result<Option<LockGuard>, VfsError> {
        let mut state = self.state();
        if state.find(path).is_none() {
            let (happens, result) = state.decide("create", path);
            if happens {
                state.link(path, Inode::default());
            }
            result?;
        }
        let process = state.process;
        if !state.locks.insert(path.to_path_buf()) {
            return Ok(None);
        }
        let held = ModelLock { fs: self.clone(), path: path.to_path_buf(), process };
        Ok(Some(LockGuard { _held: std::sync::Arc::new(held) }))
    }
}

#[derive(Debug)]
struct ModelLock {
    fs: ModelFs,
    path: PathBuf,
    process: u64,
}

impl Held for ModelLock {}

impl Drop for ModelLock {
    fn drop(&mut self) {
        let mut state = self.fs.state();
        if state.process == self.process {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct ModelFile {
    fs: ModelFs,
    inode: usize,
    process: u64,
    path: PathBuf,
}

impl ModelFile {
    /// # Panics
    /// If the file was opened before a crash: its process does not exist any more.
    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.fs.state();
        assert_eq!(state.process, self.process, "`{}` was opened before a crash", self.path.display());
        state
    }

    /// Writes the part of `bytes` that fate lets through.
    fn write(&self, doing: &'static str, at: Option<u64>, bytes: &[u8]) -> Result<(), VfsError> {
        let mut state = self.state();
        let (done, result) = match state.begin(doing, &self.path) {
            Fate::Happens => (bytes.len(), Ok(())),
            Fate::Fails(error, done) => ((bytes.len() as u64 * done / 1000) as usize, Err(error)),
        };
        if done > 0 {
            let inode = &mut state.inodes[self.inode];
            let at = at.map_or(inode.visible.len(), |at| at as usize);
            inode.change(Change::Write { at, bytes: bytes[..done].into() });
        }
        result
    }
}

impl VfsFile for ModelFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), VfsError> {
        self.write("append to", None, bytes)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), VfsError> {
        self.write("write to", Some(at), bytes)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), VfsError> {
        let state = self.state();
        let bytes = state.inodes[self.inode].visible.get(at as usize..at as usize + buffer.len());
        let bytes = bytes.ok_or_else(|| error("read", &self.path, io::ErrorKind::UnexpectedEof))?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn size(&self) -> Result<u64, VfsError> {
        Ok(self.state().inodes[self.inode].visible.len() as u64)
    }

    fn truncate(&mut self, size: u64) -> Result<(), VfsError> {
        let mut state = self.state();
        let (happens, result) = state.decide("truncate", &self.path);
        let inode = &mut state.inodes[self.inode];
        if happens && (size as usize) < inode.visible.len() {
            inode.change(Change::Truncate(size as usize));
        }
        result
    }

    fn sync(&mut self, site: SyncSite) -> Result<(), VfsError> {
        let mut state = self.state();
        let failing = matches!(&state.fault, Some((at, Fault::Io)) if at.contains(&state.operations));
        let (happens, result) = state.decide("sync", &self.path);
        state.sites.insert(site);
        let skipped = state.skipped == Some(site);
        let inode = &mut state.inodes[self.inode];
        if failing {
            // The kernel marks the pages clean: they stay visible, and no later sync writes them.
            inode.pending.clear();
        } else if happens && !skipped {
            inode.sync();
        }
        result
    }
}
