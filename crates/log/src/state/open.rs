//! Opens the snapshots: chooses one, and cleans up the rest.
//!
//! 1. From the newest manifest on, takes the first whose own bytes and whose runs are unchanged. Until that is known,
//!    nothing on disk changes: if none is whole, everything stays as it is.
//! 2. The older one that is also kept has to be readable, and its runs have to exist. They are verified when they are
//!    needed.
//! 3. The folder is synced: the process before may have been killed between the rename of a manifest and its sync. The
//!    bytes of a renamed file were synced before.
//! 4. A damaged file gets another name, so that an operator can look at it. Files that no kept manifest lists are
//!    removed: drafts, runs of a snapshot that was not completed, and files that a crash has brought back.

use super::run::{MISSING, Run};
use super::{Damage, Generation, Runs, StateStore, manifest, site};
use crate::Tick;
use crate::error::LogError;
use crate::failed;
use crate::output::OutputLog;
use crate::partition::Context;
use crate::remap::Remap;
use crate::vfs::SyncStep;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

impl StateStore {
    /// Opens the snapshots in the folder `dir`, or creates it; the folder that it lies in has to exist. Takes the newest
    /// that is whole, all of which is read for that, and gives what is wrong with those that are not: the caller has to
    /// say so, as what was snapshotted is computed again.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if there are snapshots and none is whole; [`LogError::Foreign`] if they belong to another log
    /// or to a later generation; [`LogError::Full`]; [`LogError::Read`]; [`LogError::Poisoned`].
    pub fn open(context: Context, dir: &Path) -> Result<(StateStore, Vec<Damage>), LogError> {
        context.poison.check()?;
        let poison = |error| context.poison.set(error);
        context.vfs.create_dir(dir).map_err(failed(&context))?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            context.vfs.sync_dir(parent, site(SyncStep::Folders)).map_err(poison)?;
        }
        let names: BTreeSet<String> = context.vfs.list(dir).map_err(LogError::Read)?.into_iter().collect();
        let Found { newest, older, damages, unusable } = find(&context, dir, &names)?;

        // Everything above only looked.
        context.vfs.sync_dir(dir, site(SyncStep::ReopenEntries)).map_err(poison)?;
        let (newest, runs) = newest.unzip();
        let last = names.iter().filter_map(|name| manifest::sequence(name.strip_suffix(DAMAGED).unwrap_or(name))).max();
        let store = StateStore {
            dir: dir.to_path_buf(),
            newest,
            runs: Arc::new(runs.unwrap_or_default()),
            older,
            pending: BTreeMap::new(),
            anew: false,
            whole: false,
            next: last.map_or(0, |last| last + 1),
            context,
        };
        let kept = store.kept();
        for name in unusable.iter().filter(|name| names.contains(*name) && !kept.contains(*name)) {
            let (from, to) = (dir.join(name), dir.join(format!("{name}{DAMAGED}")));
            store.context.vfs.rename(&from, &to).map_err(store.poison())?;
        }
        store.collect()?;
        Ok((store, damages))
    }

    /// Checks that the ticks after the newest snapshot can be replayed, and that they continue its history.
    pub(crate) fn check_history(&self, remap: &Remap) -> Result<(), LogError> {
        let low = remap.low();
        let Some(Generation { sequence, tick, remap_digest, .. }) = self.newest else {
            let what = || format!("the log begins at tick {low}, and there is no snapshot");
            return if low == 0 { Ok(()) } else { Err(LogError::corrupt(&self.dir, 0, what())) };
        };
        let what = if tick >= remap.next() {
            format!("this is a snapshot of tick {tick}, which never happened")
        } else if tick < low {
            format!("this is a snapshot of tick {tick}, and the log begins at tick {low}")
        } else if remap.reader().binding(tick)?.digest() != remap_digest {
            format!("this is a snapshot of another tick {tick} than the log's")
        } else {
            return Ok(());
        };
        Err(LogError::corrupt(&manifest::path(&self.dir, sequence), 0, what))
    }

    /// Checks that everything up to the newest snapshot was published, since it is not computed again.
    pub(crate) fn check_published(&self, outputs: &OutputLog) -> Result<(), LogError> {
        let upper = outputs.upper();
        match self.newest.as_ref().map(|newest| newest.tick) {
            Some(tick) if upper <= tick => {
                let what =
                    format!("what was published ends before tick {upper}, and there is a snapshot of tick {tick}");
                Err(LogError::corrupt(outputs.dir(), 0, what))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the tick of the newest snapshot in the folder `dir` whose manifest can be read; its runs are not looked at.
/// `None` if there is none. Changes nothing.
///
/// # Errors
/// As [`StateStore::open`], but not if all are damaged.
pub(crate) fn newest_tick(context: &Context, dir: &Path) -> Result<Option<Tick>, LogError> {
    let names = match context.vfs.list(dir) {
        Err(error) if error.source.kind() == ErrorKind::NotFound => return Ok(None),
        names => names.map_err(LogError::Read)?,
    };
    for sequence in names.iter().rev().filter(|name| name.ends_with(".gen")).filter_map(|name| manifest::sequence(name))
    {
        match manifest::read(context, dir, sequence) {
            Err(LogError::Corrupt { .. }) => {}
            read => return Ok(Some(read?.tick)),
        }
    }
    Ok(None)
}

/// A snapshot that is there.
#[derive(Debug)]
pub struct Examined {
    /// Its number: later ones have higher numbers.
    pub sequence: u64,
    /// If its manifest can be read.
    pub generation: Option<Generation>,
    /// Why it cannot be used.
    pub error: Option<LogError>,
}

/// Reads all snapshots in the folder `dir`, newest first, whether they would be used or not. Changes nothing.
///
/// # Errors
/// If the folder cannot be listed.
pub(crate) fn examine(context: &Context, dir: &Path) -> Result<Vec<Examined>, LogError> {
    let mut all = Vec::new();
    for name in context.vfs.list(dir).map_err(LogError::Read)?.iter().rev().filter(|name| name.ends_with(".gen")) {
        let Some(sequence) = manifest::sequence(name) else { continue };
        let (generation, error) = match manifest::read(context, dir, sequence) {
            Ok(generation) => {
                let error = open_runs(context, dir, &generation).err();
                (Some(generation), error)
            }
            Err(error) => (None, Some(error)),
        };
        all.push(Examined { sequence, generation, error });
    }
    Ok(all)
}

/// The ending of a file that is not used any more. The operator may remove such files.
const DAMAGED: &str = ".damaged";

#[derive(Default)]
struct Found {
    newest: Option<(Generation, Runs)>,
    older: Option<Generation>,
    damages: Vec<Damage>,
    /// Files of generations that are not whole: their manifests, and what is damaged.
    unusable: Vec<String>,
}

fn find(context: &Context, dir: &Path, names: &BTreeSet<String>) -> Result<Found, LogError> {
    let mut found = Found::default();
    for name in names.iter().rev().filter(|name| name.ends_with(".gen")) {
        let Some(sequence) = manifest::sequence(name) else { continue };
        let looked = manifest::read(context, dir, sequence).and_then(|generation| {
            if found.newest.is_none() {
                let runs = open_runs(context, dir, &generation)?;
                found.newest = Some((generation, runs));
            } else {
                let missing = generation.files().find(|file| !names.contains(file));
                missing.map_or(Ok(()), |file| Err(LogError::corrupt(&dir.join(file), 0, MISSING)))?;
                found.older = Some(generation);
            }
            Ok(())
        });
        match looked {
            Ok(()) => {}
            Err(LogError::Corrupt { file, at, what }) => {
                found.unusable.push(name.clone());
                let damaged = file.file_name().and_then(|damaged| damaged.to_str()).filter(|damaged| damaged != name);
                found.unusable.extend(damaged.map(str::to_owned));
                found.damages.push(Damage { file, at, what });
            }
            Err(error) => return Err(error),
        }
        if found.older.is_some() {
            break;
        }
    }
    match found.damages.first() {
        Some(Damage { file, at, what }) if found.newest.is_none() => {
            let number = found.damages.len();
            Err(LogError::corrupt(file, *at, format!("{what}; there are {number} snapshots, and none is whole")))
        }
        _ => Ok(found),
    }
}

/// Returns the runs of a generation, all bytes of which have been verified.
pub(super) fn open_runs(context: &Context, dir: &Path, generation: &Generation) -> Result<Runs, LogError> {
    let mut all = Runs::new();
    for (state, listed) in &generation.states {
        let mut runs = Vec::new();
        for listed in listed {
            runs.push(Arc::new(Run::open(context, dir, state, *listed)?));
        }
        all.insert(state.clone(), runs);
    }
    Ok(all)
}
