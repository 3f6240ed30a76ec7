//! A folder as it was at one moment. Code that opens a log in the picture sees what a start would see, and does what a
//! start would do, in memory. Nothing on disk changes.

use super::{Held, LockGuard, Outcome, SyncSite, Vfs, VfsError, VfsFile};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A picture of a folder.
///
/// - **Still.** Files have the length that they had when it was taken. Those of a log are only appended to, so it stays
///   true while a process writes; of one that has been removed since, reading fails.
/// - **Read-only.** Files are opened for reading alone; everything else happens in memory.
#[derive(Clone, Debug)]
pub struct Picture(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    folders: BTreeSet<PathBuf>,
    /// Lengths when the picture was taken.
    taken: BTreeMap<PathBuf, u64>,
}

#[derive(Debug, Default)]
struct Content {
    /// The file on disk, if this is one.
    disk: Option<PathBuf>,
    /// The number of its bytes that count,
    kept: u64,
    /// and these follow.
    added: Vec<u8>,
}

/// A change of a file on disk, made in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The bytes from `at` on were cut off.
    Cut {
        /// The file.
        file: PathBuf,
        /// Its new length.
        at: u64,
        /// Number of the bytes that are gone.
        bytes: u64,
    },
    /// The file was removed.
    Removed(PathBuf),
    /// The file has another name.
    Renamed {
        /// Its name before.
        file: PathBuf,
        /// Its name now.
        to: PathBuf,
    },
}

impl Picture {
    /// Looks at everything below `root`; at its entries of these names in this order, and at the others before them.
    /// What refers to something is to come before it: it may grow while this looks.
    ///
    /// # Errors
    /// What cannot be listed or measured. A file that vanishes meanwhile is not in the picture.
    pub fn take(root: &Path, order: &[&str]) -> Result<Picture, VfsError> {
        let mut state = State::default();
        state.folders.insert(root.to_path_buf());
        let mut names = list(root)?;
        names.sort_by_key(|name| order.iter().position(|ordered| name == ordered).map_or(0, |rank| rank + 1));
        names.iter().try_for_each(|name| state.add(root.join(name)))?;
        Ok(Picture(Arc::new(Mutex::new(state))))
    }

    /// Returns the changes that the files on disk would have by now.
    pub fn changes(&self) -> Vec<Change> {
        let state = self.lock();
        let mut changes = Vec::new();
        for (file, length) in &state.taken {
            let is_it = |content: &Arc<Mutex<Content>>| lock(content).disk.as_ref() == Some(file);
            match state.files.iter().find(|(_, content)| is_it(content)) {
                None => changes.push(Change::Removed(file.clone())),
                Some((to, _)) if to != file => changes.push(Change::Renamed { file: file.clone(), to: to.clone() }),
                Some((_, content)) => {
                    let at = lock(content).kept;
                    if at < *length {
                        changes.push(Change::Cut { file: file.clone(), at, bytes: length - at });
                    }
                }
            }
        }
        changes
    }

    /// Returns all files that were there, with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.lock().taken.iter().map(|(file, length)| (file.clone(), *length)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    fn add(&mut self, path: PathBuf) -> Result<(), VfsError> {
        let metadata = match fs::symlink_metadata(&path).and_then(|_| fs::metadata(&path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            metadata => metadata.map_err(|source| VfsError::new("measure", &path, Outcome::Failed, source))?,
        };
        if metadata.is_dir() {
            self.folders.insert(path.clone());
            return list(&path)?.iter().try_for_each(|name| self.add(path.join(name)));
        }
        self.taken.insert(path.clone(), metadata.len());
        let content = Content { disk: Some(path.clone()), kept: metadata.len(), added: Vec::new() };
        self.files.insert(path, Arc::new(Mutex::new(content)));
        Ok(())
    }
}

fn list(dir: &Path) -> Result<Vec<String>, VfsError> {
    super::RealFs.list(dir)
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(doing: &'static str, path: &Path, kind: io::ErrorKind) -> VfsError {
    VfsError::new(doing, path, Outcome::Failed, kind.into())
}

impl Vfs for Picture {
    fn create_dir(&self, path: &Path) -> Result<(), VfsError> {
        self.lock().folders.insert(path.to_path_buf());
        Ok(())
    }

    fn create(&self, path: &Path) -> Result<Box<dyn VfsFile>, VfsError> {
        let content = Arc::<Mutex<Content>>::default();
        if self.lock().files.insert(path.to_path_buf(), content.clone()).is_some() {
            return Err(failed("create", path, io::ErrorKind::AlreadyExists));
        }
        Ok(Box::new(PictureFile { path: path.to_path_buf(), content }))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn VfsFile>, VfsError> {
        let content = self.lock().files.get(path).cloned();
        let content = content.ok_or_else(|| failed("open", path, io::ErrorKind::NotFound))?;
        Ok(Box::new(PictureFile { path: path.to_path_buf(), content }))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, VfsError> {
        let state = self.lock();
        if !state.folders.contains(dir) {
            return Err(failed("list", dir, io::ErrorKind::NotFound));
        }
        let own = state.files.keys().chain(&state.folders).filter(|path| path.parent() == Some(dir));
        let names: BTreeSet<&str> = own.filter_map(|path| path.file_name()?.to_str()).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), VfsError> {
        let mut state = self.lock();
        let content = state.files.remove(from).ok_or_else(|| failed("rename", from, io::ErrorKind::NotFound))?;
        state.files.insert(to.to_path_buf(), content);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), VfsError> {
        let mut state = self.lock();
        if state.files.contains_key(to) {
            return Err(failed("name", to, io::ErrorKind::AlreadyExists));
        }
        let content = state.files.get(from).cloned().ok_or_else(|| failed("name", to, io::ErrorKind::NotFound))?;
        state.files.insert(to.to_path_buf(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), VfsError> {
        let removed = self.lock().files.remove(path);
        removed.map(drop).ok_or_else(|| failed("remove", path, io::ErrorKind::NotFound))
    }

    fn sync_dir(&self, _dir: &Path, _site: SyncSite) -> Result<(), VfsError> {
        Ok(())
    }

    /// Always gives the lock: a picture belongs to the caller that took it.
    fn lock(&self, _path: &Path) -> Result<Option<LockGuard>, VfsError> {
        Ok(Some(LockGuard { _held: std::sync::Arc::new(Nothing) }))
    }
}

#[derive(Debug)]
struct Nothing;

impl Held for Nothing {}

/// Holds no file open: a log may have more of them than a process.
#[derive(Debug)]
struct PictureFile {
    path: PathBuf,
    content: Arc<Mutex<Content>>,
}

impl VfsFile for PictureFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), VfsError> {
        lock(&self.content).added.extend_from_slice(bytes);
        Ok(())
    }

    /// Overwrites bytes with the same ones only: opening a log writes existing bytes again to make them durable.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), VfsError> {
        let mut there = vec![0; bytes.len()];
        self.read_at(at, &mut there)?;
        if there == bytes { Ok(()) } else { Err(failed("write to", &self.path, io::ErrorKind::Unsupported)) }
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), VfsError> {
        let content = lock(&self.content);
        let (on_disk, added) = buffer.split_at_mut(content.kept.saturating_sub(at).min(buffer.len() as u64) as usize);
        if let Some(disk) = content.disk.as_ref().filter(|_| !on_disk.is_empty()) {
            let read = File::open(disk).and_then(|file| file.read_exact_at(on_disk, at));
            read.map_err(|source| VfsError::new("read", &self.path, Outcome::Failed, source))?;
        }
        let from = at.saturating_sub(content.kept) as usize;
        let bytes = content.added.get(from..from + added.len());
        let bytes = bytes.ok_or_else(|| failed("read", &self.path, io::ErrorKind::UnexpectedEof));
        added.copy_from_slice(if added.is_empty() { &[] } else { bytes? });
        Ok(())
    }

    fn size(&self) -> Result<u64, VfsError> {
        let content = lock(&self.content);
        Ok(content.kept + content.added.len() as u64)
    }

    fn truncate(&mut self, size: u64) -> Result<(), VfsError> {
        let content = &mut *lock(&self.content);
        content.kept = content.kept.min(size);
        content.added.truncate((size - content.kept) as usize);
        Ok(())
    }

    fn sync(&mut self, _site: SyncSite) -> Result<(), VfsError> {
        Ok(())
    }
}
