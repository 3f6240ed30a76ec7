//! The cursors of all sinks that a data folder has ever had, for the doctor, which only reads.

use super::cursor::{Cursor, CursorFile};
use dataflows::Tick;
use headwater_log::histories::Histories;
use headwater_log::segment::LogId;
use std::io;
use std::path::{Path, PathBuf};

/// The content of a sink's folder.
pub(crate) struct Found {
    file: PathBuf,
    cursor: io::Result<Cursor>,
}

/// Reads the cursors in the folder of all sinks, in the order of their names.
pub(crate) fn read(sinks: &Path) -> Vec<Found> {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(sinks).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    let found = |folder: PathBuf| {
        let file = CursorFile::new(&folder);
        Some(Found { file: file.path(), cursor: file.load().transpose()? })
    };
    folders.into_iter().filter_map(found).collect()
}

impl Found {
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the reason why a start cannot go on from the cursor, if there is one. An argument that is `None` is not
    /// known.
    pub(crate) fn problem(
        &self,
        log: Option<LogId>,
        histories: Option<&Histories>,
        upper: Option<Tick>,
    ) -> Option<String> {
        match &self.cursor {
            Err(error) => Some(error.to_string()),
            Ok(cursor) => {
                let log = log.unwrap_or(cursor.log);
                cursor.check(log, histories, upper.unwrap_or(Tick::MAX)).err().map(str::to_owned)
            }
        }
    }
}
