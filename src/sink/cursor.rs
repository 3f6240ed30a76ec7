//! The durable cursor of a sink: a file that is replaced as a whole after each batch.

use super::changes::Position;
use super::file::Written;
use dataflows::Tick;
use headwater_log::durable;
use headwater_log::histories::{Histories, StartId};
use headwater_log::segment::LogId;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The position of a sink: everything before it was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Ticks are of this log.
    pub log: LogId,
    pub collection: String,
    /// The start that has written this; absent in those of releases up to 0.1.0.
    #[serde(default)]
    pub start: StartId,
    /// All that the sink takes before it has been handed over.
    pub position: Position,
    /// Of a sink that is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Written>,
}

impl Cursor {
    pub fn new(log: LogId, start: StartId, collection: &str, tick: Tick) -> Cursor {
        Cursor { log, start, collection: collection.into(), position: Position { tick, index: 0 }, file: None }
    }

    /// Checks that this is a cursor of the log and history that are here, where `upper` is the next tick.
    ///
    /// # Errors
    /// What it is of.
    pub fn check(&self, log: LogId, histories: Option<&Histories>, upper: Tick) -> Result<(), &'static str> {
        let Position { tick, index } = self.position;
        let begun = tick.saturating_add(u64::from(index > 0));
        if self.log != log || begun > upper {
            Err("it has followed another log than the one that is here")
        } else if histories.is_some_and(|histories| !histories.has_ticks(self.start, begun)) {
            Err("it has followed another copy of this data folder, as before a backup was restored")
        } else {
            Ok(())
        }
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

    /// Replaces the cursor, durably. After an error the cursor before it is still there.
    pub fn store(&self, cursor: &Cursor) -> io::Result<()> {
        durable::replace(&self.path(), &serde_json::to_vec(cursor)?)
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join("cursor.json")
    }
}

/// Makes a folder and those above it, so that they survive a loss of power.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    folder.ancestors().skip(1).take(2).try_for_each(durable::sync_folder)
}
