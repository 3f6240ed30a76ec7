//! The file system of the operating system.

use super::{Held, LockGuard, Outcome, SyncSite, SyncStep, Vfs, VfsError, VfsFile};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files and folders on disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl Vfs for RealFs {
    fn create_dir(&self, path: &Path) -> Result<(), VfsError> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            result => result.map_err(entry("create the folder", path)),
        }
    }

    fn create(&self, path: &Path) -> Result<Box<dyn VfsFile>, VfsError> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(entry("create", path))?;
        Ok(Box::new(RealFile { file, path: path.to_path_buf(), end: 0 }))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn VfsFile>, VfsError> {
        let failed = |source| VfsError::new("open", path, Outcome::Failed, source);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let end = file.metadata().map_err(failed)?.len();
        Ok(Box::new(RealFile { file, path: path.to_path_buf(), end }))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, VfsError> {
        let failed = |source| VfsError::new("list", dir, Outcome::Failed, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), VfsError> {
        fs::rename(from, to).map_err(entry("rename", from))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), VfsError> {
        fs::hard_link(from, to).map_err(entry("name", to))
    }

    fn remove(&self, path: &Path) -> Result<(), VfsError> {
        fs::remove_file(path).map_err(entry("remove", path))
    }

    fn sync_dir(&self, dir: &Path, _site: SyncSite) -> Result<(), VfsError> {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| VfsError::new("sync the folder", dir, Outcome::Unknown, source))
    }

    fn lock(&self, path: &Path) -> Result<Option<LockGuard>, VfsError> {
        let failed = |source| VfsError::new("lock", path, Outcome::Failed, source);
        // Kept for the next process: removing a lock file would let two processes hold two files of one name.
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let mut locked = file.try_lock();
        if matches!(locked, Err(TryLockError::WouldBlock)) {
            // It may only be looked at: see `is_locked`.
            std::thread::sleep(LOOK);
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => Ok(Some(LockGuard { _held: std::sync::Arc::new(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// More than [`is_locked`] takes.
const LOOK: Duration = Duration::from_millis(20);

/// Returns whether a process has the lock that the file at `path` stands for. Without such a file, no process has it.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Held for File {}

/// Maps errors of operations on folder entries. An operation that the kernel refuses has not happened. One that the
/// disk fails may have.
fn entry(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VfsError {
    let path = path.to_path_buf();
    move |source| {
        let refused = matches!(
            source.kind(),
            io::ErrorKind::AlreadyExists
                | io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
        );
        VfsError::new(doing, &path, if refused { Outcome::Failed } else { Outcome::Unknown }, source)
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    path: PathBuf,
    /// Where the next append goes: behind the last one that succeeded.
    end: u64,
}

impl RealFile {
    fn error(&self, doing: &'static str, outcome: Outcome, source: io::Error) -> VfsError {
        VfsError::new(doing, &self.path, outcome, source)
    }
}

impl VfsFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), VfsError> {
        let written = self.file.write_all_at(bytes, self.end);
        written.map_err(|source| self.error("append to", Outcome::Unknown, source))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), VfsError> {
        self.file.write_all_at(bytes, at).map_err(|source| self.error("write to", Outcome::Unknown, source))
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), VfsError> {
        self.file.read_exact_at(buffer, at).map_err(|source| self.error("read", Outcome::Failed, source))
    }

    fn size(&self) -> Result<u64, VfsError> {
        let metadata = self.file.metadata().map_err(|source| self.error("measure", Outcome::Failed, source))?;
        Ok(metadata.len())
    }

    fn truncate(&mut self, size: u64) -> Result<(), VfsError> {
        self.file.set_len(size).map_err(|source| self.error("truncate", Outcome::Unknown, source))?;
        self.end = size;
        Ok(())
    }

    fn sync(&mut self, site: SyncSite) -> Result<(), VfsError> {
        // The records of a group need no times of the file, and are what is waited for.
        let synced = if site.step == SyncStep::Group { self.file.sync_data() } else { self.file.sync_all() };
        synced.map_err(|source| self.error("sync", Outcome::Unknown, source))
    }
}
