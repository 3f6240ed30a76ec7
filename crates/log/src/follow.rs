//! Reading a log that another process of the same run has open. Changes nothing, and takes no lock.

use crate::error::LogError;
use crate::partition::{Context, Limits, Place, Reader};
use crate::segment::LogId;
use crate::state;
use crate::vfs::{Role, Vfs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The log of another process, which says what of it is durable.
#[derive(Clone, Debug)]
pub struct Follow {
    context: Context,
    root: PathBuf,
}

impl Follow {
    /// Of the log `id` in the folder `root`, which the other process has opened as generation `epoch`.
    pub fn new(vfs: Arc<dyn Vfs>, root: &Path, id: LogId, epoch: u64) -> Follow {
        let context = Context { vfs, id, epoch, limits: Limits::default(), poison: Default::default() };
        Follow { context, root: root.to_path_buf() }
    }

    /// Returns the reading end of each part of the queue. Opens no file yet.
    pub fn queue(&self, parts: u32) -> Vec<Reader> {
        let place = |part| {
            let dir = self.root.join(format!("wal/{part:02}"));
            Place { dir, prefix: String::new(), role: Role::Queue, part, start: 0 }
        };
        (0..parts).map(|part| Reader::of_other(self.context.clone(), place(part))).collect()
    }

    /// Returns the reading end of the control partition. Opens no file yet.
    pub fn control(&self) -> Reader {
        let dir = self.root.join("control");
        Reader::of_other(
            self.context.clone(),
            Place { dir, prefix: String::new(), role: Role::Control, part: 0, start: 0 },
        )
    }

    /// Opens a snapshot, all bytes of which are verified. The other process must not take another one meanwhile.
    ///
    /// # Errors
    /// [`LogError::Corrupt`]; [`LogError::Foreign`]; [`LogError::Read`].
    pub fn snapshot(&self, sequence: u64) -> Result<state::Reader, LogError> {
        state::Reader::open(&self.context, &self.root.join("state"), sequence)
    }
}
