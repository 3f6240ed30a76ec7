//! The file system as the log sees it: few operations, each with a promise about durability. The log uses [`Vfs`]
//! alone, so the code that runs on disks is the code that tests crash.
//!
//! ```text
//! real    files and folders of the operating system
//! model   durable and volatile state kept apart: tears writes, loses folder entries, injects errors
//! picture a folder of the operating system as it was, in which nothing can be changed
//! ```

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod model;
pub mod picture;
mod real;

pub use real::{RealFs, is_locked};

/// A file system.
///
/// - **Durable** is what survives a loss of power. A file's bytes and length are durable after [`VfsFile::sync`], what a
///   folder lists after [`Vfs::sync_dir`]: two things, and neither implies the other. Everything else may survive in
///   part, in any order.
/// - **Visible** is what later calls see: every operation that returned, whether or not it is durable. It survives the
///   end of the process.
/// - **Errors** say whether anything may have happened ([`Outcome`]). After a failed sync, the state of the bytes is
///   unknown. Syncing again would report a false success, since Linux marks the pages clean.
pub trait Vfs: Send + Sync + Debug {
    /// Creates a folder; fine if there is one.
    fn create_dir(&self, path: &Path) -> Result<(), VfsError>;

    /// Creates an empty file. An error of kind `AlreadyExists` if there is one.
    fn create(&self, path: &Path) -> Result<Box<dyn VfsFile>, VfsError>;

    /// Opens a file for reading and writing. An error of kind `NotFound` if there is none.
    fn open(&self, path: &Path) -> Result<Box<dyn VfsFile>, VfsError>;

    /// Names of the files and folders in a folder, sorted. Names that are not UTF-8 are left out.
    fn list(&self, dir: &Path) -> Result<Vec<String>, VfsError>;

    /// Moves a file over whatever is at `to`, within one folder.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), VfsError>;

    /// Gives a file a second name, within one folder. An error of kind `AlreadyExists` if there is a file of that name:
    /// of several that try, one succeeds.
    fn link(&self, from: &Path, to: &Path) -> Result<(), VfsError>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<(), VfsError>;

    /// Makes durable what the folder lists. `site` says which call this is, for tests that leave one out.
    fn sync_dir(&self, dir: &Path, site: SyncSite) -> Result<(), VfsError>;

    /// Takes the lock that the file at `path` (created if need be) stands for, until the guard is dropped or the process
    /// ends. `None` if another process or guard has it.
    fn lock(&self, path: &Path) -> Result<Option<LockGuard>, VfsError>;
}

/// A lock, held until this and all its clones are dropped.
#[derive(Clone, Debug)]
pub struct LockGuard {
    _held: Arc<dyn Held>,
}

/// The object that a [`LockGuard`] keeps.
trait Held: Send + Sync + Debug {}

/// An open file, with one writer.
pub trait VfsFile: Send + Sync + Debug {
    /// Writes behind the last byte. After an error any part of `bytes` may be there, until [`VfsFile::truncate`] cuts it.
    fn append(&mut self, bytes: &[u8]) -> Result<(), VfsError>;

    /// Writes over bytes that exist.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), VfsError>;

    /// Fills `buffer` with the bytes from `at`; an error of kind `UnexpectedEof` if there are fewer.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), VfsError>;

    /// Returns the length in bytes.
    fn size(&self) -> Result<u64, VfsError>;

    /// Cuts the file to `size` bytes; never extends it.
    fn truncate(&mut self, size: u64) -> Result<(), VfsError>;

    /// Makes bytes and length durable.
    fn sync(&mut self, site: SyncSite) -> Result<(), VfsError>;
}

/// Every place that syncs, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SyncSite {
    /// The role of what is synced.
    pub role: Role,
    /// The step of it.
    pub step: SyncStep,
}

/// The role of a file or folder of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The root folder and the file that names the log.
    Root,
    /// Records of the embedded queue.
    Queue,
    /// Records of the control partition.
    Control,
    /// Records of ticks.
    Remap,
    /// Published rows.
    Output,
    /// Snapshots of the states.
    State,
    /// Tables of the landing, which are no part of the log.
    Landing,
}

impl Role {
    /// Those that have segments.
    pub const PARTITIONED: [Role; 4] = [Role::Queue, Role::Control, Role::Remap, Role::Output];

    pub(crate) fn code(self) -> u8 {
        match self {
            Role::Root => 0,
            Role::Queue => 1,
            Role::Control => 2,
            Role::Remap => 3,
            Role::Output => 4,
            Role::State => 5,
            Role::Landing => 6,
        }
    }
}

/// Why something is synced; `docs/log.md` argues each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SyncStep {
    /// The file that names the log, before it gets its name.
    Identity,
    /// A folder that holds folders of the log or the file that names it, before anything is written into those.
    Folders,
    /// Records, before they are acknowledged.
    Group,
    /// A segment that was cut because there was no space, before any sender gets the answer that nothing is stored.
    Forget,
    /// The segment that is full, before there is a next one.
    Rotate,
    /// The header of a new segment, before it holds records.
    Header,
    /// The folder, before a new segment holds records.
    Entry,
    /// The last segment, before anything that was read from it is acted upon.
    Reopen,
    /// The folder, before anything that was read from its files is acted upon.
    ReopenEntries,
    /// The low watermark, before the segments below it are removed.
    LowWatermark,
    /// The folder, before the last segment of a partition is removed: it says that the others may be missing.
    Destroy,
    /// A run of a state, before a manifest lists it.
    Run,
    /// The folder, before a manifest that lists new runs gets its name.
    RunEntries,
    /// A manifest, before it gets its name.
    Manifest,
    /// The folder, before a snapshot counts: the log is released behind it, and runs that it has replaced are removed.
    Generation,
}

impl SyncStep {
    /// Those of any partition.
    pub const PARTITION: [SyncStep; 7] = [
        SyncStep::Group,
        SyncStep::Rotate,
        SyncStep::Header,
        SyncStep::Entry,
        SyncStep::Reopen,
        SyncStep::ReopenEntries,
        SyncStep::LowWatermark,
    ];

    /// Those of the snapshots.
    pub const STATE: [SyncStep; 6] = [
        SyncStep::Folders,
        SyncStep::Run,
        SyncStep::RunEntries,
        SyncStep::Manifest,
        SyncStep::Generation,
        SyncStep::ReopenEntries,
    ];
}

/// Whether a failed operation may have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It changed nothing.
    Failed,
    /// It may have happened, wholly or in part.
    Unknown,
}

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {doing} `{}`", path.display())]
pub struct VfsError {
    /// A verb: `append to`.
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What is known of the operation.
    pub outcome: Outcome,
    /// The error of the operating system.
    pub source: Arc<io::Error>,
}

impl VfsError {
    /// Makes an error: `doing` is a verb, as in "cannot append to".
    pub fn new(doing: &'static str, path: &Path, outcome: Outcome, source: io::Error) -> VfsError {
        VfsError { doing, path: path.to_path_buf(), outcome, source: Arc::new(source) }
    }

    /// Returns whether there was no space: the operation may succeed when there is.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Returns all bytes of a file.
///
/// # Errors
/// If it cannot be read.
pub fn read_all(file: &dyn VfsFile) -> Result<Vec<u8>, VfsError> {
    let mut bytes = vec![0; file.size()? as usize];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}
