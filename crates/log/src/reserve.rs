//! Reserved space in the data folder. With it, a process on a full disk can still compute and publish acknowledged
//! events and write a snapshot. That makes the log shorter, and may free space.
//!
//! ```text
//! held ── no space for anything: the file is removed ──▶ spent: nothing new is taken in
//!  ▲                                                           │
//!  └──── there is space for twice as much: it is made ◀────────┘
//! ```

use crate::error::{LogError, chain};
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, open, statvfs};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// Name of the file in the data folder.
pub const NAME: &str = "reserve";
/// Until the next attempt when there was no space.
const PATIENCE: Duration = Duration::from_secs(1);

/// With less than this part of the reserve free, a start spends it: opening a log writes, too.
const SCARCE: u64 = 8;
/// Fewer free bytes than this are no space.
const NONE: u64 = 64 << 10;

/// A file that takes up space, and holds nothing.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: AtomicBool,
}

impl Reserve {
    /// Makes the reserve of a data folder, if there is space for it. With 0 bytes there is none, and no thread waits
    /// for it.
    ///
    /// # Errors
    /// If the file cannot be made or removed, other than for lack of space.
    pub fn of(data_dir: &Path, bytes: u64) -> io::Result<Reserve> {
        let reserve = Reserve { path: data_dir.join(NAME), bytes, held: AtomicBool::new(false) };
        if bytes == 0 && reserve.path.exists() {
            std::fs::remove_file(&reserve.path)?;
        }
        if !reserve.take()? {
            tracing::warn!(bytes, "no space for a `reserve` and as much again: events are refused until there is");
        } else if reserve.free()? < bytes / SCARCE {
            reserve.spend();
        }
        Ok(reserve)
    }

    /// Makes an empty reserve: no space is reserved, and no thread waits for any.
    pub fn none() -> Reserve {
        Reserve { path: PathBuf::new(), bytes: 0, held: AtomicBool::new(false) }
    }

    /// Returns whether the reserve still holds space for acknowledged events.
    pub fn is_held(&self) -> bool {
        self.bytes == 0 || self.held.load(Ordering::Acquire)
    }

    /// Deletes the reserve file. Returns whether it existed.
    pub fn spend(&self) -> bool {
        if !self.held.swap(false, Ordering::AcqRel) {
            return false;
        }
        // The caller tries again, and gets the error if this did not help.
        let removed = std::fs::remove_file(&self.path);
        tracing::warn!(
            bytes = self.bytes,
            removed = removed.is_ok(),
            "no space: the reserve is spent, events are refused"
        );
        true
    }

    /// Tries again with the reserve when there is no space, if it is held.
    ///
    /// # Errors
    /// Those of the last `attempt`.
    pub fn with<R>(&self, mut attempt: impl FnMut() -> Result<R, LogError>) -> Result<R, LogError> {
        match attempt() {
            Err(LogError::Full(_)) if self.spend() => attempt(),
            outcome => outcome,
        }
    }

    /// Acts as [`Reserve::with`], and tries again while there is no space. Nothing is lost, and senders get 503.
    ///
    /// # Errors
    /// Those of `attempt` but [`LogError::Full`].
    pub fn patiently<R>(&self, mut attempt: impl FnMut() -> Result<R, LogError>) -> Result<R, LogError> {
        loop {
            match self.with(&mut attempt) {
                Err(LogError::Full(error)) => {
                    tracing::warn!(%error, "no space: nothing is processed until there is");
                    sleep(PATIENCE);
                }
                outcome => return outcome,
            }
        }
    }

    /// Acts as [`Reserve::patiently`], for a process that starts, whichever of its parts has found no space.
    ///
    /// # Errors
    /// Those of `attempt` that are not for lack of space.
    pub fn until_space<R, E: std::error::Error + 'static>(
        &self,
        mut attempt: impl FnMut() -> Result<R, E>,
    ) -> Result<R, E> {
        loop {
            match attempt() {
                Err(error) if self.is_for_space(&error) => {
                    if !self.spend() {
                        tracing::warn!(error = %chain(&error), "no space: the start waits until there is");
                        sleep(PATIENCE);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Returns whether an attempt has failed as there is no space.
    fn is_for_space(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        let mut error = Some(error);
        while let Some(cause) = error {
            let io = cause
                .downcast_ref::<io::Error>()
                .or_else(|| cause.downcast_ref::<Arc<io::Error>>().map(|error| &**error));
            if io.is_some_and(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
            {
                return true;
            }
            match cause.downcast_ref::<LogError>() {
                Some(LogError::Full(_)) => return true,
                // It does not say what has failed; the next attempt reads what is there.
                Some(LogError::Poisoned(_)) => return self.free().is_ok_and(|free| free < NONE),
                _ => error = cause.source(),
            }
        }
        false
    }

    /// Makes the file if it is missing and there is space for twice as much. Returns whether it exists now.
    ///
    /// # Errors
    /// As [`Reserve::of`].
    pub fn take(&self) -> io::Result<bool> {
        if self.is_held() {
            return Ok(true);
        }
        let there = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        let whole = there == self.bytes;
        if whole || there + self.free()? >= self.bytes.saturating_mul(2) && self.allocate()? {
            self.held.store(true, Ordering::Release);
        }
        Ok(self.is_held())
    }

    /// Bytes that are free on the disk.
    fn free(&self) -> io::Result<u64> {
        let disk = statvfs(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn allocate(&self) -> io::Result<bool> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = match open(&self.path, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::NOSPC | Errno::DQUOT) => return Ok(false),
            file => file?,
        };
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => Ok(true),
            Err(error) => {
                // A part of it would look like the whole.
                std::fs::remove_file(&self.path)?;
                if matches!(error, Errno::NOSPC | Errno::DQUOT) { Ok(false) } else { Err(error.into()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_spent_once_and_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path(), 1 << 20).unwrap();
        let file = || std::fs::metadata(folder.path().join(NAME)).map(|file| file.len()).ok();
        assert!(reserve.is_held() && file() == Some(1 << 20));
        assert!(reserve.spend() && !reserve.spend());
        assert!(!reserve.is_held() && file().is_none());
        assert!(reserve.take().unwrap() && reserve.is_held() && file() == Some(1 << 20));
        // What another process has left is its own.
        assert!(Reserve::of(folder.path(), 1 << 20).unwrap().is_held());
        let none = Reserve::of(folder.path(), 0).unwrap();
        assert!(none.is_held() && !none.spend());
    }

    #[test]
    fn more_than_there_is_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path(), 1 << 60).unwrap();
        assert!(!reserve.is_held() && !reserve.take().unwrap());
        assert!(!folder.path().join(NAME).exists());
    }
}
