//! How far a sink has come, durably: a file that is replaced as a whole after each batch.

use super::changes::Position;
use super::file::Written;
use crate::durable;
use crate::log::segment::LogId;
use dataflows::Tick;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was handed over, and what is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Ticks are of this log.
    pub log: LogId,
    pub collection: String,
    /// All that the sink takes before it has been handed over.
    pub position: Position,
    /// Of a sink that is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Written>,
}

impl Cursor {
    pub fn new(log: LogId, collection: &str, tick: Tick) -> Cursor {
        Cursor { log, collection: collection.into(), position: Position { tick, index: 0 }, file: None }
    }
}

/// Where a cursor is kept.
#[derive(Clone, Debug)]
pub(super) struct CursorFile {
    folder: PathBuf,
}

impl CursorFile {
    pub fn new(folder: &Path) -> CursorFile {
        CursorFile { folder: folder.to_owned() }
    }

    /// `None` if there is none yet.
    pub fn load(&self) -> io::Result<Option<Cursor>> {
        match fs::read(self.path()) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Durable when it returns; after an error the one before it is.
    pub fn store(&self, cursor: &Cursor) -> io::Result<()> {
        durable::replace(&self.path(), &serde_json::to_vec(cursor)?)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("cursor.json")
    }
}

/// Makes a folder and those above it, so that they survive a loss of power.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    folder.ancestors().skip(1).take(2).try_for_each(durable::sync_folder)
}
