//! `[landing]`: raw events as tables. Without the section, nothing lands.

use super::error::Problems;
use super::events::{duration, size, within};
use super::typed::{Duration as Typed, Landing};
use crate::plan::LandingPlan;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;
use toml::Spanned;

const DEFAULT_PATH: &str = "landing";
/// A commit has a file for each class.
const DEFAULT_VISIBLE_EVERY: Duration = Duration::from_secs(60);
const VISIBLE_EVERY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
/// The rows of a commit wait in memory.
const DEFAULT_TARGET: u64 = 64 << 20;
const TARGET: RangeInclusive<u64> = 64 << 10..=1 << 30;
const RETAIN: RangeInclusive<Duration> = Duration::from_secs(24 * 3600)..=Duration::from_secs(36_500 * 24 * 3600);
/// As long as a reader may take that began before.
const DEFAULT_VACUUM: Duration = Duration::from_secs(24 * 3600);
/// The log of a table knows for a week what it has removed.
const VACUUM: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);
const DEFAULT_HOLD: u64 = 16 << 30;
const HOLD: RangeInclusive<u64> = 1 << 20..=1 << 50;
const DEFAULT_CLASSES: usize = 100;
const CLASSES: RangeInclusive<i64> = 1..=1000;

/// `folder`: of the configuration. `data_dir`: of the data. `fields`: how many have a name.
pub(super) fn check(
    typed: &Option<Spanned<Landing>>,
    folder: &Path,
    data_dir: &Path,
    fields: usize,
    problems: &mut Problems,
) -> Option<LandingPlan> {
    let Landing { path, visible_every, target_file, retain_for, vacuum_after, hold, max_classes } =
        typed.as_ref()?.get_ref();
    if let Some(path) = path.as_ref().filter(|path| path.get_ref().is_empty()) {
        problems.push(path.span(), "an empty path", "name a folder, such as \"landing\"");
    }
    let mut time = |typed: &Option<Spanned<Typed>>, name: &str, range: &RangeInclusive<Duration>, help: &str| {
        let typed = typed.as_ref()?;
        let time = Duration::from_micros(duration(typed, problems)?.unsigned_abs());
        if !range.contains(&time) {
            problems.push(typed.span(), format!("{name} `{}` is out of range", typed.get_ref().0), help);
        }
        Some(time)
    };
    let every = time(visible_every, "visible every", &VISIBLE_EVERY, "write a duration from \"100ms\" to \"24h\"");
    let retain_for = time(retain_for, "retain for", &RETAIN, "write at least \"1d\": rows are removed by whole days");
    let vacuum = time(vacuum_after, "vacuum after", &VACUUM, "write a duration from \"1s\" to \"7d\"");
    let target = target_file.as_ref().and_then(|typed| size(typed, TARGET, problems));
    let hold = hold.as_ref().and_then(|typed| size(typed, HOLD, problems));
    let classes = max_classes.as_ref().and_then(|typed| within(typed, CLASSES, problems));
    Some(LandingPlan {
        path: match path {
            Some(path) => folder.join(path.get_ref()),
            None => data_dir.join(DEFAULT_PATH),
        },
        visible_every: every.unwrap_or(DEFAULT_VISIBLE_EVERY),
        target_file: target.map_or(DEFAULT_TARGET, |bytes| bytes as u64),
        retain_for,
        vacuum_after: vacuum.unwrap_or(DEFAULT_VACUUM),
        hold: hold.map_or(DEFAULT_HOLD, |bytes| bytes as u64),
        folders: classes.unwrap_or(DEFAULT_CLASSES),
        fields,
    })
}
