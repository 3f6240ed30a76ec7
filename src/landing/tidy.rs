//! Keeps the tables small in files and bytes: joins files, forgets old days, and removes what no version needs.

use super::files::Encoder;
use super::table::Table;
use super::{Error, compaction, lander, merge};
use crate::observe::landing::LandingStatus;
use crate::plan::LandingPlan;
use crate::queue::intake::wall_ms;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// The shortest time between two turns.
const PAUSE: Duration = Duration::from_secs(1);
/// The length of a pause, in turns: at most a quarter of a core is used.
const PAUSE_TIMES: u32 = 3;

/// What a thread that lands does in between. One turn is one join of files at most, so that landing waits for no more.
#[derive(Debug, Default)]
pub struct Tidy {
    /// The end of the pause.
    rests: Option<Instant>,
    /// Files that could not be joined. They stay as they are until the next start.
    without: BTreeSet<String>,
}

impl Tidy {
    /// Does what is due.
    ///
    /// # Errors
    /// If a table cannot be written.
    pub fn turn(
        &mut self,
        tables: [&mut Table; 2],
        encoders: &[Encoder; 2],
        plan: &LandingPlan,
        status: &LandingStatus,
    ) -> Result<(), Error> {
        let began = Instant::now();
        if self.rests.is_some_and(|until| began < until) {
            return Ok(());
        }
        let now_ms = wall_ms();
        for (table, encoder) in tables.into_iter().zip(encoders) {
            if let Some(retain) = plan.retain_for {
                let day = (now_ms - retain.as_millis() as i64).div_euclid(DAY_MS) as i32;
                let files = table.expire(&lander::date(day), now_ms)?;
                status.expired.inc_by(files);
            }
            if self.join(table, encoder, plan.target_file, now_ms, status)? {
                break;
            }
            let files = table.vacuum(now_ms - plan.vacuum_after.as_millis() as i64)?;
            status.vacuumed.inc_by(files);
        }
        self.rests = Some(Instant::now() + PAUSE.max(began.elapsed() * PAUSE_TIMES));
        Ok(())
    }

    /// Joins some files. Returns whether there were any.
    fn join(
        &mut self,
        table: &mut Table,
        encoder: &Encoder,
        target: u64,
        now_ms: i64,
        status: &LandingStatus,
    ) -> Result<bool, Error> {
        let Some(paths) = compaction::next(table.adds(), &self.without, now_ms, target) else { return Ok(false) };
        let began = Instant::now();
        let merged = table.read(&paths).and_then(|files| merge::merge(files, encoder.columns()));
        let merged = match merged {
            Ok(merged) => merged,
            Err(error) => {
                // Landing can go on without. A reader of the table meets the same trouble.
                tracing::error!(%error, first = paths[0], files = paths.len(), "files of the landing cannot be joined");
                self.without.extend(paths);
                status.unjoined.inc();
                return Ok(true);
            }
        };
        let stats: Vec<&str> = paths.iter().filter_map(|path| table.adds().get(path)?.stats.as_deref()).collect();
        let stats = if stats.len() == paths.len() { merge::statistics(&stats, encoder.columns()) } else { None };
        table.replace(&paths, &merged.bytes, stats, now_ms)?;
        status.joined.inc_by(paths.len() as u64);
        let (files, bytes, ms) = (paths.len(), merged.bytes.len(), began.elapsed().as_millis() as u64);
        tracing::debug!(files, rows = merged.rows, bytes, ms, first = paths[0], "joined files of the landing");
        Ok(true)
    }
}
