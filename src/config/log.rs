//! The keys of `[cluster]` for ticks, snapshots, the files of the log, and retention. Together they set the latency of
//! results, the time of a restart, and the use of disk.

use super::error::Problems;
use super::events::{duration, size};
use super::typed;
use crate::plan::LogPlan;
use headwater_log::output::Retention;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::Spanned;

const DEFAULT_TICK: Duration = Duration::from_millis(10);
/// A sync takes as long as the shortest. With the longest, a client that waits for its events does not give up yet.
const TICK: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);
const DEFAULT_SNAPSHOT: Duration = Duration::from_secs(60);
/// More often, the process would do little but write snapshots. Less often, a start would take too long.
const SNAPSHOT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
const DEFAULT_SEGMENT: u64 = 64 << 20;
/// Opening reads one file at a time into memory.
const SEGMENT: RangeInclusive<u64> = 64 << 10..=1 << 30;

const DEFAULT_RETENTION: Retention = Retention { bytes: 16 << 30, ms: 24 * 3600 * 1000 };
const RETAIN: RangeInclusive<u64> = 64 << 10..=1 << 50;
/// Ticks, blocks and a snapshot of millions of sessions.
const DEFAULT_RESERVE: u64 = 64 << 20;
const RESERVE: RangeInclusive<u64> = 0..=1 << 40;
const RETAIN_FOR: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3650 * 24 * 3600);

pub(super) fn check(cluster: &typed::Cluster, problems: &mut Problems) -> LogPlan {
    let mut within = |typed: &Option<Spanned<typed::Duration>>, range: RangeInclusive<Duration>, what, help| {
        let typed = typed.as_ref()?;
        let time = Duration::from_micros(duration(typed, problems)?.unsigned_abs());
        if !range.contains(&time) {
            problems.push(typed.span(), format!("{what} `{}` is out of range", typed.get_ref().0), help);
        }
        Some(time)
    };
    let help = "write a duration from \"100ms\" to \"24h\"";
    let tick = within(&cluster.tick, TICK, "a tick every", "write a duration from \"1ms\" to \"10s\"");
    let snapshot = within(&cluster.snapshot, SNAPSHOT, "a snapshot every", help);
    let retain_for = within(&cluster.retain_for, RETAIN_FOR, "to keep changes for", "write a duration from \"1s\" on");
    let retain = cluster.retain.as_ref().and_then(|typed| size(typed, RETAIN, problems));
    let segment = cluster.segment.as_ref().and_then(|typed| size(typed, SEGMENT, problems));
    let reserve = cluster.reserve.as_ref().and_then(|typed| size(typed, RESERVE, problems));
    LogPlan {
        tick: tick.unwrap_or(DEFAULT_TICK),
        snapshot: snapshot.unwrap_or(DEFAULT_SNAPSHOT),
        reserve: reserve.map_or(DEFAULT_RESERVE, |bytes| bytes as u64),
        segment: segment.map_or(DEFAULT_SEGMENT, |bytes| bytes as u64),
        retention: Retention {
            bytes: retain.map_or(DEFAULT_RETENTION.bytes, |bytes| bytes as u64),
            ms: retain_for.map_or(DEFAULT_RETENTION.ms, |time| time.as_millis() as i64),
        },
    }
}
