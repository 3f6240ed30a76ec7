//! Which files are joined into one. Small commits make small files, and each file costs a reader some milliseconds.
//!
//! Files of a partition are joined when many of them are of similar size, so that a row is written again a few times only
//! (size-tiered compaction: O'Neil et al., The Log-Structured Merge-Tree, 1996, and Cassandra's strategy of that name).
//! When a partition gets no more files, what is left of it is joined too.

use super::action::Add;
use super::table::ticks;
use std::collections::{BTreeMap, BTreeSet};

/// Files that are joined at once, at most: each is open while they are merged.
const FAN_IN: usize = 32;
/// Files of similar size that are worth joining.
const ENOUGH: usize = 16;
/// Files up to this size are of the first tier. Those of each further tier are 8 times as large.
const FIRST_TIER: u64 = 16 << 10;
/// A partition without a new file for so long is taken for complete.
const COMPLETE_MS: i64 = 3600 * 1000;

/// Returns the paths of the files to be joined next, in order of path; `None` if there are none. All lie in one folder.
///
/// `target`: a file of half as many bytes stays as it is, and the joined ones have no more together. `without`: paths that
/// are left out.
pub fn next(adds: &BTreeMap<String, Add>, without: &BTreeSet<String>, now_ms: i64, target: u64) -> Option<Vec<String>> {
    let mut partitions: BTreeMap<&str, Partition<'_>> = BTreeMap::new();
    for add in adds.values().filter(|add| ticks(&add.path).is_some() && !without.contains(&add.path)) {
        let Some((folder, _)) = add.path.rsplit_once('/') else { continue };
        let partition = partitions.entry(folder).or_default();
        partition.newest = partition.newest.max(add.modification_time);
        if size(add) < target / 2 {
            partition.small.push(add);
        }
    }
    // The one with the most: what it gives is worth the most.
    let chosen = partitions.into_values().filter_map(|partition| partition.next(now_ms, target));
    let mut chosen = chosen.max_by_key(Vec::len)?;
    chosen.sort_unstable();
    Some(chosen)
}

#[derive(Default)]
struct Partition<'a> {
    small: Vec<&'a Add>,
    /// Milliseconds since 1970 of the last commit with a file of it.
    newest: i64,
}

impl Partition<'_> {
    fn next(mut self, now_ms: i64, target: u64) -> Option<Vec<String>> {
        // Those of a tier, and within it, lie together. A path begins with the first tick.
        self.small.sort_by_key(|add| (tier(size(add)), &add.path));
        let mut tiers = self.small.chunk_by(|one, other| tier(size(one)) == tier(size(other)));
        let files = match tiers.find(|files| files.len() >= ENOUGH) {
            Some(files) => files,
            None if now_ms - self.newest >= COMPLETE_MS => &self.small,
            None => return None,
        };
        let mut room = target;
        let fits = |add: &&&Add| {
            let fits = size(add) <= room;
            room = room.saturating_sub(size(add));
            fits
        };
        let paths: Vec<String> = files.iter().take(FAN_IN).take_while(fits).map(|add| add.path.clone()).collect();
        (paths.len() > 1).then_some(paths)
    }
}

fn size(add: &Add) -> u64 {
    add.size.unsigned_abs()
}

fn tier(size: u64) -> u32 {
    (size / FIRST_TIER).checked_ilog2().map_or(0, |doublings| 1 + doublings / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(path: String, size: i64, modification_time: i64) -> (String, Add) {
        let add = Add {
            path: path.clone(),
            partition_values: BTreeMap::new(),
            size,
            modification_time,
            data_change: true,
            stats: None,
        };
        (path, add)
    }

    fn path(folder: &str, from: u64, to: u64) -> String {
        format!("class={folder}/dt=2026-11-30/part-{from:020}-{to:020}.parquet")
    }

    /// Joins until nothing is left to join. Returns the number of files, and how many bytes were written for one byte.
    fn settle(adds: &mut BTreeMap<String, Add>, now_ms: i64, target: u64) -> (usize, f64) {
        let all: i64 = adds.values().map(|add| add.size).sum();
        let mut written = 0;
        while let Some(paths) = next(adds, &BTreeSet::new(), now_ms, target) {
            let joined: Vec<Add> = paths.iter().map(|path| adds.remove(path).unwrap()).collect();
            let folder = paths[0].rsplit_once('/').unwrap().0;
            assert!(paths.iter().all(|path| path.starts_with(folder)), "{paths:?}");
            let size = joined.iter().map(|add| add.size).sum();
            assert!(size as u64 <= target && joined.len() <= FAN_IN);
            written += size;
            let ends: Vec<_> = paths.iter().map(|path| ticks(path).unwrap()).collect();
            let (from, to) = (ends.iter().map(|ends| ends.0).min().unwrap(), ends.iter().map(|ends| ends.1).max());
            let path = format!("{folder}/part-{from:020}-{:020}-{written:020}.parquet", to.unwrap());
            adds.extend([add(path, size, joined.iter().map(|add| add.modification_time).max().unwrap())]);
        }
        assert_eq!(adds.values().map(|add| add.size).sum::<i64>(), all);
        (adds.len(), written as f64 / all as f64)
    }

    #[test]
    fn a_thousand_files_become_one_and_each_byte_is_written_twice() {
        let files = || (0..1000).map(|tick| add(path("a", tick, tick), 9_000, tick as i64)).collect();
        let mut adds: BTreeMap<String, Add> = files();
        assert_eq!(settle(&mut adds, 2 * COMPLETE_MS, 64 << 20).0, 1);
        // With a partition that grows.
        let mut adds: BTreeMap<String, Add> = files();
        let (left, written) = settle(&mut adds, 1000, 64 << 20);
        assert!(left < 2 * ENOUGH && written < 2.1, "{left} files, {written} times");
        // Up to the target only.
        let mut adds: BTreeMap<String, Add> = files();
        let (left, _) = settle(&mut adds, 2 * COMPLETE_MS, 1_000_000);
        assert!((9..=18).contains(&left), "{left}");
    }

    #[test]
    fn few_files_are_joined_when_their_partition_is_complete() {
        let mut adds: BTreeMap<String, Add> = (0..5).map(|tick| add(path("a", tick, tick), 9_000, 7)).collect();
        adds.extend([add(path("b", 0, 9), 9_000, 7), add("class=b/dt=2026-11-30/other.parquet".into(), 10, 7)]);
        assert_eq!(next(&adds, &BTreeSet::new(), COMPLETE_MS, 64 << 20), None);
        let without = BTreeSet::from([path("a", 2, 2)]);
        let paths = next(&adds, &without, COMPLETE_MS + 7, 64 << 20).unwrap();
        assert_eq!(paths, [0, 1, 3, 4].map(|tick| path("a", tick, tick)));
        // Those that are large enough stay.
        assert_eq!(next(&adds, &BTreeSet::new(), COMPLETE_MS + 7, 18_000), None);
    }
}
