//! Finds the files of the output log that belong together: the sets of earlier starts, their writers, and the blocks of
//! large ticks.

use crate::Tick;
use crate::error::LogError;
use crate::partition::{Context, Place};
use crate::vfs::Role;
use std::collections::BTreeMap;
use std::path::Path;

/// The partitions that one start has begun, in the order of starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetName {
    pub base: Tick,
    pub epoch: u64,
    pub workers: u32,
}

/// The files of one worker, sorted.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub ticks: Vec<String>,
    /// By large tick: the files of its blocks.
    pub blocks: BTreeMap<Tick, Vec<String>>,
}

impl SetName {
    /// Returns the partition with a record for each tick of `worker`.
    pub fn place(&self, dir: &Path, worker: u32) -> Place {
        Place {
            dir: dir.to_path_buf(),
            prefix: self.prefix(worker),
            role: Role::Output,
            part: worker,
            start: self.base,
        }
    }

    /// Returns the partition with the blocks of a large tick of `worker`.
    pub fn blocks(&self, dir: &Path, worker: u32, tick: Tick) -> Place {
        let prefix = format!("{}{tick:020}-", self.prefix(worker));
        Place { dir: dir.to_path_buf(), prefix, role: Role::Output, part: worker, start: 0 }
    }

    fn prefix(&self, worker: u32) -> String {
        let SetName { base, epoch, workers } = self;
        format!("{base:020}-{epoch:020}-{worker:05}of{workers:05}-")
    }

    /// Returns the set and the worker of a file, and the tick if it holds blocks of a large one.
    fn parse(file: &str) -> Option<(SetName, u32, Option<Tick>)> {
        let fields: Vec<&str> = file.strip_suffix(".seg")?.split('-').collect();
        let (base, epoch) = (fields.first()?.parse().ok()?, fields.get(1)?.parse().ok()?);
        let (worker, workers) = fields.get(2)?.split_once("of")?;
        let tick = match fields.len() {
            4 => None,
            5 => Some(fields[3].parse().ok()?),
            _ => return None,
        };
        Some((SetName { base, epoch, workers: workers.parse().ok()? }, worker.parse().ok()?, tick))
    }
}

/// Returns the sets that have files, with those of each worker. Removes the files of sets that have nothing but blocks:
/// the set was removed, and a crash has brought some of its files back.
pub(super) fn list(context: &Context, dir: &Path) -> Result<BTreeMap<SetName, BTreeMap<u32, Files>>, LogError> {
    let mut sets: BTreeMap<SetName, BTreeMap<u32, Files>> = BTreeMap::new();
    for file in context.vfs.list(dir).map_err(LogError::Read)? {
        let Some((set, worker, tick)) = SetName::parse(&file) else { continue };
        let files = sets.entry(set).or_default().entry(worker).or_default();
        tick.map_or(&mut files.ticks, |tick| files.blocks.entry(tick).or_default()).push(file);
    }
    let removed = |files: &BTreeMap<u32, Files>| files.values().all(|files| files.ticks.is_empty());
    for (_, files) in sets.extract_if(.., |_, files| removed(files)) {
        remove_all(context, dir, &files)?;
    }
    Ok(sets)
}

/// Removes every file of a set.
pub(super) fn remove_all(context: &Context, dir: &Path, workers: &BTreeMap<u32, Files>) -> Result<(), LogError> {
    let of_worker = |files: &Files| remove(context, dir, files.blocks.values().chain([&files.ticks]).flatten());
    workers.values().try_for_each(of_worker)
}

/// Removes files by name.
pub(super) fn remove<'f>(
    context: &Context,
    dir: &Path,
    files: impl IntoIterator<Item = &'f String>,
) -> Result<(), LogError> {
    let paths: Vec<_> = files.into_iter().map(|file| dir.join(file)).collect();
    context.remove(&paths)
}
