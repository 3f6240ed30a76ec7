//! Snapshots (checkpoints) of the root states at a tick, so that a restart replays only the ticks after it.
//!
//! A state is a multiset of rows. The engine hands over the changes since the last snapshot. The store writes them as
//! one more **run** and merges runs, in the calling thread, with one block of each in memory.
//!
//! ```text
//! SEQUENCE.gen          generation: a tick, what belongs to it, and which runs each state consists of
//! SEQUENCE-STATE.run    run: rows in the order of their bytes, each with what it adds to its multiplicity
//!
//! sessions   ███████████████████ █████ █     the sum of its runs; each has more than twice the rows of all behind it
//! ```
//!
//! Two generations are kept, so that the older one can be replayed from when the newest is damaged. The store does not
//! know the meaning of rows, nor any worker: rows are read by shard, which is their first byte.

use super::error::LogError;
use super::failed;
use super::output::Rows;
use super::partition::Context;
use super::segment::PAYLOAD_BYTES;
use super::vfs::{Role, SyncSite, SyncStep, VfsError};
use crate::Tick;
use merge::{Source, merge};
use run::{Run, RunWriter};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod manifest;
mod merge;
mod open;
mod run;
#[cfg(test)]
mod tests;

pub use manifest::{Generation, Listed};
pub use open::Examined;
pub(crate) use open::{examine, newest_tick};

/// Shards of a state: the values of a row's first byte, which has to be evenly distributed. A row is owned by the same
/// shard for ever, a shard by any worker.
pub const SHARDS: usize = 256;

/// Largest row in bytes. A block holds at least one row, and is in memory as a whole.
pub const ROW_BYTES: usize = 16 << 20;

/// The input of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The state is that after this tick.
    pub tick: Tick,
    /// The tick's clock: milliseconds since 1970-01-01T00:00:00Z.
    pub now_ms: i64,
    /// Of the tick's remap record.
    pub remap_digest: [u8; 32],
    /// Fingerprint of code semantics and graph configuration.
    pub program: [u8; 32],
    /// Further data of the engine, such as cursors. Opaque, and small, since it is kept in memory.
    pub extra: Vec<u8>,
    /// By state: what is added to the multiplicities since the snapshot before. In any order, a row any number of times.
    pub changes: BTreeMap<String, Rows>,
}

/// Something on disk that is not as it was written. The snapshot that it belongs to is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file that is damaged.
    pub file: PathBuf,
    /// Offset of the first byte that is wrong.
    pub at: u64,
    /// What is wrong, in words.
    pub what: String,
}

/// The runs of each state, oldest first. A state without rows is not there.
type Runs = BTreeMap<String, Vec<Arc<Run>>>;

/// The snapshots of a log, with their one writer. The caller holds the lock of the log.
///
/// - **Durable.** When [`StateStore::write`] has returned, every later [`StateStore::open`] gives that snapshot or a later
///   one, unless the medium damages it. Until then it may give that one or the one before, and never a part of one.
/// - **Exact.** What is read is the sum of all changes up to the snapshot, or an error.
/// - **Two are kept.** The log may be released behind the older one, and not further.
/// - **No space** ([`LogError::Full`]): nothing has changed, and the changes are part of the next write.
#[derive(Debug)]
pub struct StateStore {
    context: Context,
    dir: PathBuf,
    newest: Option<Generation>,
    /// Of the newest generation.
    runs: Arc<Runs>,
    older: Option<Generation>,
    /// Rows that were handed over and are in no snapshot yet.
    pending: BTreeMap<String, Rows>,
    /// The next snapshot does not build on the newest.
    anew: bool,
    /// The next snapshot merges all runs of what has changed.
    whole: bool,
    /// Sequence number of the next generation. None is used twice, so that what a crash brings back is no file of another.
    next: u64,
}

impl StateStore {
    /// Returns the newest whole snapshot.
    pub fn generation(&self) -> Option<&Generation> {
        self.newest.as_ref()
    }

    /// Returns the tick that the log may be released behind: that of the older snapshot. `None` as long as there is
    /// none: then everything is needed.
    pub fn release_tick(&self) -> Option<Tick> {
        let (newest, older) = (self.newest.as_ref()?, self.older.as_ref()?);
        // A program that has begun again may have taken its first snapshot at an earlier tick.
        Some(older.tick.min(newest.tick))
    }

    /// Reads the newest snapshot as [`Reader::read`] does.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read(&self, state: &str, shard: u8, each: &mut dyn FnMut(&[u8], i64)) -> Result<(), LogError> {
        self.reader().read(state, shard, each)
    }

    /// Reads the newest snapshot, also when there is a newer one by then.
    pub fn reader(&self) -> Reader {
        Reader { runs: self.runs.clone() }
    }

    /// Makes the next snapshot a new beginning: its changes are the whole of all states. Until it is written, the
    /// newest one stays as it is.
    pub fn restart(&mut self) {
        self.anew = true;
        self.pending.clear();
    }

    /// Lets the next snapshot merge all runs of each state that has changed: what has gone from it is then in no file of it.
    /// With the one after that, no file has it.
    pub fn merge_all(&mut self) {
        self.whole = true;
    }

    /// Writes a snapshot; when this returns, it is durable. Gives [`StateStore::release_tick`].
    ///
    /// After an error the store is as it was, but for the changes: those of [`LogError::Refused`] because of `tick`, a name
    /// or a row have not been taken; all others are part of the next write.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the tick is not later than the newest snapshot's (unless it is a new beginning); if a
    /// state's name is not of `a-z`, `0-9` and `_`; if a row is empty or larger than [`ROW_BYTES`]; or if a
    /// multiplicity leaves `i64`; [`LogError::Full`]; [`LogError::Corrupt`] or [`LogError::Read`] if a run that is to
    /// be merged cannot be read; [`LogError::Poisoned`]: the snapshot may be durable or not.
    pub fn write(&mut self, snapshot: Snapshot) -> Result<Option<Tick>, LogError> {
        self.context.poison.check()?;
        self.check(&snapshot)?;
        let Snapshot { tick, now_ms, remap_digest, program, extra, changes } = snapshot;
        for (state, rows) in changes {
            self.pending.entry(state).or_default().extend(rows);
        }
        for (state, rows) in &mut self.pending {
            consolidate(state, rows)?;
        }
        let sequence = self.next;
        self.next += 1;
        let written = self.write_runs(sequence, tick).and_then(|runs| {
            let states = manifest::list(&runs);
            let epoch = self.context.epoch;
            let generation = Generation { sequence, epoch, tick, now_ms, remap_digest, program, states, extra };
            self.publish(&generation)?;
            Ok((generation, runs))
        });
        match written {
            Ok((generation, runs)) => {
                self.older = self.newest.replace(generation);
                self.runs = Arc::new(runs);
                self.pending.clear();
                (self.anew, self.whole) = (false, false);
                self.collect()?;
                Ok(self.release_tick())
            }
            Err(error @ LogError::Poisoned(_)) => Err(error),
            Err(error) => {
                self.collect()?;
                Err(error)
            }
        }
    }

    /// Makes the checks that can refuse a snapshot before any of it is taken.
    fn check(&self, snapshot: &Snapshot) -> Result<(), LogError> {
        let refuse = |what: String| Err(LogError::Refused(what));
        if let Some(newest) = self.newest.as_ref().filter(|newest| !self.anew && newest.tick >= snapshot.tick) {
            return refuse(format!("a snapshot of tick {} after one of tick {}", snapshot.tick, newest.tick));
        }
        if snapshot.extra.len() > PAYLOAD_BYTES {
            return refuse(format!("a snapshot with {} bytes besides its states", snapshot.extra.len()));
        }
        for (state, rows) in &snapshot.changes {
            if !is_state(state) {
                return refuse(format!("`{state}` cannot be the name of a state"));
            }
            if let Some((row, _)) = rows.iter().find(|(row, _)| row.is_empty() || row.len() > ROW_BYTES) {
                return refuse(format!("a row of `{state}` has {} bytes, not 1 to {ROW_BYTES}", row.len()));
            }
        }
        Ok(())
    }

    /// Writes a run for each state that has changed, merged with those of its runs that are not much longer. Gives all
    /// runs of the next generation.
    fn write_runs(&self, sequence: u64, tick: Tick) -> Result<Runs, LogError> {
        let mut states = if self.anew { Runs::new() } else { Runs::clone(&self.runs) };
        for (state, rows) in self.pending.iter().filter(|(_, rows)| !rows.is_empty()) {
            let runs = states.entry(state.clone()).or_default();
            let first = if self.whole { 0 } else { first_merged(runs, rows.len() as u64) };
            let merged = runs.split_off(first);
            let mut writer = RunWriter::new(&self.context, &self.dir, state, sequence, tick);
            let mut rest = rows.as_slice();
            for shard in 0..=u8::MAX {
                let (own, others) = rest.split_at(rest.partition_point(|(row, _)| row[0] == shard));
                rest = others;
                let mut sources = vec![Source::memory(own)];
                for run in &merged {
                    sources.push(Source::run(run, shard)?);
                }
                merge(sources, &mut |row, diff| writer.push(row, diff))?;
            }
            runs.extend(writer.finish()?.map(Arc::new));
            if runs.is_empty() {
                states.remove(state);
            }
        }
        Ok(states)
    }

    /// Commits: gives the generation's manifest its name. All runs are durable before, with name and bytes.
    fn publish(&self, generation: &Generation) -> Result<(), LogError> {
        let vfs = &self.context.vfs;
        let (path, draft) =
            (manifest::path(&self.dir, generation.sequence), manifest::draft(&self.dir, generation.sequence));
        vfs.sync_dir(&self.dir, site(SyncStep::RunEntries)).map_err(self.poison())?;
        let mut file = vfs.create(&draft).map_err(failed(&self.context))?;
        file.append(&generation.encode(self.context.id)).map_err(failed(&self.context))?;
        file.sync(site(SyncStep::Manifest)).map_err(self.poison())?;
        vfs.rename(&draft, &path).map_err(failed(&self.context))?;
        vfs.sync_dir(&self.dir, site(SyncStep::Generation)).map_err(self.poison())
    }

    /// Removes what neither generation lists. Not synced: what comes back is removed again.
    fn collect(&self) -> Result<(), LogError> {
        let kept = self.kept();
        for name in self.context.vfs.list(&self.dir).map_err(LogError::Read)? {
            if manifest::sequence(&name).is_some() && !kept.contains(&name) {
                self.context.vfs.remove(&self.dir.join(&name)).map_err(self.poison())?;
            }
        }
        Ok(())
    }

    /// Names of the files of both generations.
    fn kept(&self) -> BTreeSet<String> {
        self.newest.iter().chain(&self.older).flat_map(Generation::files).collect()
    }

    fn poison(&self) -> impl Fn(VfsError) -> LogError {
        let poison = self.context.poison.clone();
        move |error| poison.set(error)
    }
}

/// Reads one snapshot; for any number of threads. It can be read for as long as this lives.
#[derive(Clone, Debug)]
pub struct Reader {
    runs: Arc<Runs>,
}

impl Reader {
    /// Opens the snapshot of this sequence number in the folder `dir`. Changes nothing.
    pub(crate) fn open(context: &Context, dir: &Path, sequence: u64) -> Result<Reader, LogError> {
        let generation = manifest::read(context, dir, sequence)?;
        Ok(Reader { runs: Arc::new(open::open_runs(context, dir, &generation)?) })
    }

    /// Calls `each` with the rows of one shard of a state, in the order of their bytes, with their multiplicities, none
    /// of which is 0. An unknown state has no rows. Checksums are verified again.
    ///
    /// # Errors
    /// [`LogError::Corrupt`]; [`LogError::Read`]; [`LogError::Refused`] if a multiplicity leaves `i64`. `each` may have
    /// been called.
    pub fn read(&self, state: &str, shard: u8, each: &mut dyn FnMut(&[u8], i64)) -> Result<(), LogError> {
        let runs = self.runs.get(state).map_or(&[][..], Vec::as_slice);
        let sources = runs.iter().map(|run| Source::run(run, shard)).collect::<Result<_, _>>()?;
        merge(sources, &mut |row, diff| {
            each(row, diff);
            Ok(())
        })
    }
}

/// Returns the first of `runs` that is merged with `rows` new rows: the oldest that has at most twice the rows of all
/// behind it. So runs stay few, and a row is rewritten a number of times that grows with the logarithm of all rows.
fn first_merged(runs: &[Arc<Run>], rows: u64) -> usize {
    let mut first = runs.len();
    let mut behind = rows;
    for (at, run) in runs.iter().enumerate().rev() {
        if run.listed.rows <= 2 * behind {
            first = at;
        }
        behind += run.listed.rows;
    }
    first
}

/// Sorts rows and sums their multiplicities. If one leaves `i64`, all rows are still there.
fn consolidate(state: &str, rows: &mut Rows) -> Result<(), LogError> {
    rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    for same in rows.chunk_by(|(one, _), (other, _)| one == other).filter(|same| same.len() > 1) {
        let sum: i128 = same.iter().map(|(_, diff)| i128::from(*diff)).sum();
        i64::try_from(sum).map_err(|_| LogError::Refused(format!("a row of `{state}` is there too often")))?;
    }
    rows.dedup_by(|row, kept| {
        let same = row.0 == kept.0;
        if same {
            // The sum is in range, so that what overflows on the way comes back.
            kept.1 = kept.1.wrapping_add(row.1);
        }
        same
    });
    rows.retain(|(_, diff)| *diff != 0);
    Ok(())
}

fn is_state(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn site(step: SyncStep) -> SyncSite {
    SyncSite { role: Role::State, step }
}

fn run_name(state: &str, sequence: u64) -> String {
    format!("{sequence:020}-{state}.run")
}

fn run_path(dir: &Path, state: &str, sequence: u64) -> PathBuf {
    dir.join(run_name(state, sequence))
}
