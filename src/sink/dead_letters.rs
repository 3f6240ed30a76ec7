//! The changes that a sink could not hand over: JSON lines in its folder, for an operator to inspect and to send again.

use super::changes::Change;
use crate::queue::intake::wall_ms;
use crate::text::rfc3339;
use dataflows::{EventTime, Tick};
use headwater_log::durable::sync_folder;
use serde::Serialize;
use serde_json::value::RawValue;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

pub(super) const FILE: &str = "dead_letters.jsonl";

pub(super) struct DeadLetters {
    folder: PathBuf,
}

#[derive(Serialize)]
struct Refused<'r> {
    at: &'r str,
    reason: &'r str,
    message: &'r str,
    change: &'r RawValue,
}

#[derive(Serialize)]
struct Gap<'g> {
    at: &'g str,
    reason: &'g str,
    message: &'g str,
    /// The first one that is lost, and the first one that is not.
    from_tick: Tick,
    to_tick: Tick,
}

impl DeadLetters {
    pub fn new(folder: &Path) -> DeadLetters {
        DeadLetters { folder: folder.to_owned() }
    }

    /// Appends dead letters, durably. After an error or a crash, some may be there twice.
    pub fn changes(&self, changes: &[Change], reason: &str, message: &str) -> io::Result<()> {
        let at = now();
        let mut lines = Vec::new();
        for change in changes {
            let change = serde_json::from_slice::<&RawValue>(&change.json)?;
            line(&Refused { at: &at, reason, message, change }, &mut lines)?;
        }
        self.append(&lines)
    }

    /// Ticks that were removed from the output log before the sink came to them.
    pub fn gap(&self, from_tick: Tick, to_tick: Tick) -> io::Result<()> {
        let message = "the output log was shortened before the sink had read these ticks: their changes are lost to it";
        let mut lines = Vec::new();
        line(&Gap { at: &now(), reason: "sink_gap", message, from_tick, to_tick }, &mut lines)?;
        self.append(&lines)
    }

    fn append(&self, lines: &[u8]) -> io::Result<()> {
        let path = self.folder.join(FILE);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        // A crash may have left a line without its end.
        if file.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        file.write_all(lines)?;
        file.sync_data()?;
        sync_folder(&self.folder)
    }
}

fn line(letter: &impl Serialize, out: &mut Vec<u8>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, letter)?;
    out.push(b'\n');
    Ok(())
}

fn now() -> String {
    EventTime::from_micros(wall_ms().saturating_mul(1000)).map(rfc3339).unwrap_or_default()
}
