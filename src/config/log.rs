//! The keys of `[cluster]` that say how often a snapshot is taken and how large the files of the log are: together, how long
//! a restart takes and how much disk is used.

use super::error::Problems;
use super::events::{duration, size};
use super::typed;
use crate::plan::LogPlan;
use std::ops::RangeInclusive;
use std::time::Duration;

const DEFAULT_SNAPSHOT: Duration = Duration::from_secs(60);
/// More often, there would be little but snapshots; less often, starting again would take longer than anybody waits.
const SNAPSHOT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
const DEFAULT_SEGMENT: u64 = 64 << 20;
/// Opening reads one file at a time into memory.
const SEGMENT: RangeInclusive<u64> = 64 << 10..=1 << 30;

pub(super) fn check(cluster: &typed::Cluster, problems: &mut Problems) -> LogPlan {
    let snapshot = cluster.snapshot.as_ref().and_then(|typed| {
        let every = Duration::from_micros(duration(typed, problems)?.unsigned_abs());
        if !SNAPSHOT.contains(&every) {
            let message = format!("a snapshot every `{}` is out of range", typed.get_ref().0);
            problems.push(typed.span(), message, "write a duration from \"100ms\" to \"24h\"");
        }
        Some(every)
    });
    let segment = cluster.segment.as_ref().and_then(|typed| size(typed, SEGMENT, problems));
    LogPlan {
        snapshot: snapshot.unwrap_or(DEFAULT_SNAPSHOT),
        segment: segment.map_or(DEFAULT_SEGMENT, |bytes| bytes as u64),
    }
}
