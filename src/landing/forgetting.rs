//! Takes the rows of users who are forgotten out of the table of events, file by file, between two commits.
//!
//! ```text
//! forgotten in the views ─▶ all of it has landed ─▶ each file: its rows go, in a commit ─▶ no file has any: said
//! ```
//! A file that has gone from the table stays on disk for `vacuum_after`, as any other.

use super::Error;
use super::files::Encoder;
use super::rewrite::{Rewritten, Users, without};
use super::table::{Table, ticks};
use crate::queue::forgets::Forgotten;
use crate::queue::forgotten::Landed;
use dataflows::Tick;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Landing waits no longer than this, and for one file.
const TURN: Duration = Duration::from_millis(300);

/// The work on some users.
#[derive(Debug, Default)]
pub struct Forgetting {
    /// The numbers of their forgets.
    of: Vec<u64>,
    /// Files that have none of their rows.
    examined: BTreeSet<String>,
    rows: u64,
    files: u64,
}

impl Forgetting {
    /// Goes on. `pending`: users whose rows are to go, of whom all that goes has landed. Returns what has become of them when
    /// no file has any of their rows.
    ///
    /// # Errors
    /// If the table cannot be read or written.
    pub fn turn(
        &mut self,
        table: &mut Table,
        encoder: &Encoder,
        pending: &[Forgotten],
        now_ms: i64,
    ) -> Result<Option<Landed>, Error> {
        if pending.is_empty() {
            return Ok(None);
        }
        let of: Vec<u64> = pending.iter().map(|one| one.forget).collect();
        if of != self.of {
            *self = Forgetting { of, ..Forgetting::default() };
        }
        let mut users = Users::new();
        for one in pending {
            let gone = users.entry(one.user).or_default();
            gone.before = one.before.max(gone.before);
            (gone.at, gone.asked_ms) = (one.at.max(gone.at), one.asked_ms.max(gone.asked_ms));
        }
        let before: Tick = users.values().map(|gone| gone.before.max(gone.at)).max().unwrap_or(0);
        let began = Instant::now();
        let due = |path: &String| ticks(path).is_none_or(|(from, _)| from < before);
        let paths: Vec<String> = table.adds().keys().filter(|path| due(path)).cloned().collect();
        for path in paths {
            if self.examined.contains(&path) {
                continue;
            }
            if began.elapsed() > TURN {
                return Ok(None);
            }
            let file = table.read(std::slice::from_ref(&path))?.pop().unwrap_or_default();
            match without(file, &users, encoder.columns())? {
                Rewritten::Same => _ = self.examined.insert(path),
                Rewritten::Empty { gone } => {
                    table.rewrite(&path, None, now_ms)?;
                    (self.rows, self.files) = (self.rows + gone as u64, self.files + 1);
                }
                Rewritten::Other { bytes, rows, gone } => {
                    let new = table.rewrite(&path, Some((&bytes, rows as u64)), now_ms)?;
                    self.examined.extend(new);
                    (self.rows, self.files) = (self.rows + gone as u64, self.files + 1);
                }
            }
        }
        let done = std::mem::take(self);
        Ok(Some(Landed { at_ms: now_ms, rows: done.rows, files: done.files, log_ms: None }))
    }
}
