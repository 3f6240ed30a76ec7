//! The errors of a log, separated by what the caller may do next.

use super::vfs::VfsError;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// There is no space. Nothing that was not durable before is kept, nothing of it may be acknowledged, and the log
    /// goes on as soon as there is space.
    #[error("no space for the log")]
    Full(#[source] VfsError),

    /// The disk failed while something was being made durable. Its content is unknown: the process has to exit, and the
    /// next one reads what is there. Every later call fails like this one.
    #[error("the log cannot be trusted any more; restart: {0}")]
    Poisoned(Arc<str>),

    /// Reading failed; nothing has changed.
    #[error(transparent)]
    Read(VfsError),

    /// The bytes on disk are not those that were written.
    #[error("`{}` is damaged at byte {at}: {what}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Offset of the first byte that is wrong, or the record's number.
        at: u64,
        /// What is wrong.
        what: String,
    },

    /// The position was removed by retention.
    #[error("{position} is gone: the oldest is {oldest}")]
    Gone {
        /// The tick or offset that was asked for.
        position: u64,
        /// The first one that is kept.
        oldest: u64,
    },

    /// Another process has the log.
    #[error("`{}` is in use by another process", .0.display())]
    Locked(PathBuf),

    /// A newer generation has written to the log, or the log is another one.
    #[error("the log in `{}` belongs to {theirs}, not to {ours}", dir.display())]
    Foreign {
        /// The folder of the log.
        dir: PathBuf,
        /// What this process opened.
        ours: String,
        /// What the files say.
        theirs: String,
    },

    /// The caller broke the contract; nothing has changed.
    #[error("{0}")]
    Refused(String),
}

impl LogError {
    pub(crate) fn corrupt(file: &Path, at: u64, what: impl Into<String>) -> LogError {
        LogError::Corrupt { file: file.to_path_buf(), at, what: what.into() }
    }
}

/// Set by the first failure after which the state of the disk is unknown; shared by all parts of a log.
#[derive(Clone, Debug, Default)]
pub struct Poison(Arc<OnceLock<Arc<str>>>);

impl Poison {
    /// # Errors
    /// [`LogError::Poisoned`] once something has failed.
    pub fn check(&self) -> Result<(), LogError> {
        self.0.get().map_or(Ok(()), |why| Err(LogError::Poisoned(why.clone())))
    }

    /// For `map_err`: keeps the first failure as the one that is reported.
    pub(crate) fn set(&self, error: VfsError) -> LogError {
        LogError::Poisoned(self.0.get_or_init(|| format!("{error}: {}", error.source).into()).clone())
    }
}

/// Returns the text of an error, with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
