//! `headwater doctor`: reports the content of a data folder, its damages with advice, and what a start would do. It
//! only reads, so the folder may be in use or damaged. It repairs nothing.

mod advice;
mod beside;
mod render;

use crate::error::Error;
use crate::observe::rules::VersionReport;
use crate::queue::applied::Applied;
use crate::queue::control::Control;
use crate::queue::definitions::Definitions;
use crate::queue::intake::wall_ms;
use crate::queue::versions::{Version, Versions};
use crate::run::PARTS;
use advice::Advice;
use beside::Beside;
use headwater_log::epoch::{self, Epoch};
use headwater_log::error::LogError;
use headwater_log::inspect::{self, Area, Extent, Inspection, Trouble};
use headwater_log::segment::LogId;
use headwater_log::state::Examined;
use headwater_log::vfs::is_locked;
use headwater_log::vfs::picture::Change;
use serde::Serialize;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// The number of attempts when files vanish during the examination, as they do when a process releases them.
const LOOKS: usize = 10;
const BETWEEN: Duration = Duration::from_millis(50);

/// A data folder. Its fields are an interface: add to them, don't rename them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub folder: String,
    /// A process has it open, so that this may be a moment behind.
    pub in_use: bool,
    /// How often a process was started in it.
    pub epoch: Option<u64>,
    /// Identity of the log, in hexadecimal digits.
    pub log: Option<String>,
    pub queue: Vec<Partition>,
    pub control: Option<Partition>,
    pub sources: Vec<Source>,
    pub programs: Vec<Program>,
    /// Names of the declared classes in force.
    pub rules: Vec<String>,
    /// The version in force, if it was applied to a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<VersionReport>,
    pub ticks: Option<Ticks>,
    pub outputs: Option<Outputs>,
    /// Newest first.
    pub snapshots: Vec<Snapshot>,
    pub start: Start,
    pub damages: Vec<Damage>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Partition {
    pub part: u32,
    /// The low watermark: records from here on are needed.
    pub from: u64,
    /// Offset after the last record.
    pub upto: u64,
    pub segments: usize,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    pub number: u16,
    pub name: String,
}

/// From this start on, another program computed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Program {
    pub epoch: u64,
    /// Fingerprint, in hexadecimal digits.
    pub program: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ticks {
    pub from: u64,
    /// The next one.
    pub upto: u64,
    pub segments: usize,
    pub bytes: u64,
    /// Starts that minted what is kept.
    pub epochs: Vec<u64>,
    /// Of the last one: milliseconds since 1970-01-01T00:00:00Z.
    pub now_ms: Option<i64>,
    /// How far that lies behind this machine's clock.
    pub age_s: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outputs {
    /// Ticks that can be read.
    pub from: u64,
    pub upto: u64,
    pub bytes: u64,
    pub sets: Vec<Set>,
}

/// The outputs of one start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Set {
    pub from: u64,
    pub upto: u64,
    /// One; up to release 0.1.0 one for each worker.
    pub partitions: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    pub sequence: u64,
    /// The following are absent where the manifest is damaged.
    pub tick: Option<u64>,
    pub epoch: Option<u64>,
    pub now_ms: Option<i64>,
    pub runs: usize,
    pub rows: u64,
    pub bytes: u64,
    pub whole: bool,
    /// A start would go on from this one.
    pub used: bool,
}

/// The actions of a start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Start {
    /// As far as the folder shows.
    pub possible: bool,
    /// The snapshot that it would go on from.
    pub snapshot: Option<u64>,
    /// Ticks that it would compute again: from the first up to, not including, the second.
    pub from: u64,
    pub upto: u64,
    /// Records and bytes that these took.
    pub records: u64,
    pub bytes: u64,
    /// Records that no tick has taken yet.
    pub waiting: u64,
    /// The changes that it would make to existing files.
    pub changes: Vec<FileChange>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileChange {
    pub file: String,
    /// `cut`: a write that was not completed. `remove`: not needed any more. `rename`: damaged, and set aside.
    pub what: &'static str,
    /// Of `cut`: where, and how many bytes.
    pub at: Option<u64>,
    pub bytes: Option<u64>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Damage {
    pub file: Option<String>,
    pub at: Option<u64>,
    pub what: String,
    pub means: String,
    pub to_do: String,
    /// A start gets over it by itself.
    pub harmless: bool,
}

impl Report {
    /// Returns whether nothing is damaged.
    pub fn is_whole(&self) -> bool {
        self.damages.is_empty()
    }

    /// Returns one JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// Examines the data folder `folder`.
///
/// # Errors
/// If it is no data folder, or cannot be read.
pub fn examine(folder: &Path) -> Result<Report, Error> {
    let root = folder.join("log");
    if !root.is_dir() && !folder.join(epoch::FILE).exists() {
        let help = match folder.join("LOG").exists() {
            true => "this is the log in a data folder: name the folder that it lies in",
            false => "name the `data_dir` of the configuration, or the --data-dir, of a `headwater run`",
        };
        return Err(Error::usage(format!("{} is no data folder", folder.display()), help));
    }
    let mut looks = 1;
    loop {
        match look(folder, &root) {
            Err(LogError::Read(_)) if looks < LOOKS => looks += 1,
            looked => return looked.map_err(Error::run(format!("read {}", folder.display()))),
        }
        sleep(BETWEEN);
    }
}

fn look(folder: &Path, root: &Path) -> Result<Report, LogError> {
    let mut report = Report { folder: folder.display().to_string(), ..Report::default() };
    let missing = beside::missing(folder);
    if !root.is_dir() {
        // The first start ended before it had a log, or that is gone.
        report.start.possible = missing.is_none();
        report.damages.extend(missing);
        report.epoch = epoch::last(folder).ok().flatten().map(|epoch| epoch.number);
        return Ok(report);
    }
    let beside = Beside::read(folder);
    report.in_use = is_locked(&root.join("LOCK")).unwrap_or(false);
    let identity = inspect::identity(root);
    let last = epoch::last(folder);
    let known = identity.as_ref().ok().copied().flatten();
    let epoch = match &last {
        Ok(Some(epoch)) => Some(*epoch),
        _ => None,
    };
    report.epoch = epoch.map(|epoch| epoch.number);
    let id = epoch.map(|epoch| epoch.log).or(known.map(|(id, _)| id));
    report.log = id.map(|id| hex(&id.0));
    let parts = known.map_or(PARTS, |(_, parts)| parts);
    // Without an epoch, whatever there is may be looked at.
    let number = epoch.map_or(u64::MAX, |epoch| epoch.number + 1);
    let found = inspect::inspect(root, id.unwrap_or(LogId([0; 16])), parts, number, Control::decode)?;
    let is_missing = missing.is_some();
    report.damages.extend(missing);
    let stopped = epoch_damage(folder, &last.map_err(|error| error.to_string()), known, &found, &mut report);
    fill(&mut report, &found);
    let (damages, refused) = beside.check(epoch, &found);
    report.damages.extend(damages);
    report.start.possible &= !(stopped || refused || is_missing);
    Ok(report)
}

/// Returns whether the epoch is what keeps a start from going on.
fn epoch_damage(
    folder: &Path,
    last: &Result<Option<Epoch>, String>,
    log: Option<(LogId, u32)>,
    found: &Inspection<Control>,
    report: &mut Report,
) -> bool {
    let what = match last {
        Ok(Some(epoch)) if epoch.number >= found.highest_epoch => return false,
        Ok(Some(epoch)) => {
            format!("it says {}, files of the log were written in {}", epoch.number, found.highest_epoch)
        }
        Ok(None) if log.is_none() && found.highest_epoch == 0 => return false,
        Ok(None) => "it is missing".to_owned(),
        Err(error) => error.clone(),
    };
    let id = log.map(|(id, _)| id).or(last.as_ref().ok().copied().flatten().map(|epoch| epoch.log));
    let repaired =
        id.and_then(|log| serde_json::to_string(&Epoch { number: found.highest_epoch, log, logged: true }).ok());
    let Advice { means, to_do } = advice::epoch(&folder.join(epoch::FILE), repaired.as_deref());
    let file = Some(folder.join(epoch::FILE).display().to_string());
    report.damages.push(Damage { file, at: None, what, means, to_do, harmless: false });
    true
}

fn fill(report: &mut Report, found: &Inspection<Control>) {
    let partition = |(part, extent): (u32, &Option<Extent>)| extent.map(|extent| of(part, extent));
    report.queue = (0..).zip(&found.queue).filter_map(partition).collect();
    report.control = found.control.map(|extent| of(0, extent));
    let mut versions = Versions::default();
    for (offset, record) in (0..).zip(&found.records) {
        versions.record(offset, 0, record);
        match record {
            Control::Source { source, name } => report.sources.push(Source { number: source.0, name: name.clone() }),
            Control::Generation { epoch, program } => {
                report.programs.push(Program { epoch: *epoch, program: hex(program) })
            }
            // Where a collection begins, what a table holds and who was forgotten is no matter of an operator here.
            Control::Collection { .. } | Control::Table { .. } | Control::Taken { .. } | Control::Label { .. } => {}
            Control::Forget { .. } | Control::Forgotten { .. } => {}
            Control::Remembered { .. } | Control::Receipt { .. } => {}
            // The last ones are in force.
            Control::Definitions { definitions: Definitions { rules, .. } }
            | Control::Rules { applied: Applied { rules, .. } } => {
                report.rules = rules.iter().map(|rule| rule.name.clone()).collect();
            }
        }
    }
    report.applied = versions.last().filter(|last| last.is_applied()).map(Version::report);
    report.ticks = found.remap.as_ref().map(|minted| Ticks {
        from: minted.extent.low,
        upto: minted.extent.next,
        segments: minted.extent.segments,
        bytes: minted.extent.bytes,
        epochs: minted.epochs.iter().copied().collect(),
        now_ms: minted.now_ms,
        age_s: minted.now_ms.map(|now_ms| wall_ms().saturating_sub(now_ms) as f64 / 1e3),
    });
    report.outputs = found.outputs.as_ref().map(|outputs| Outputs {
        from: outputs.extent.low,
        upto: outputs.extent.next,
        bytes: outputs.extent.bytes,
        sets: outputs.sets.iter().map(|set| Set { from: set.base, upto: set.end, partitions: set.workers }).collect(),
    });
    report.snapshots = found.snapshots.iter().map(|one| snapshot(one, found.used)).collect();
    let changes = found.changes.iter().map(change).collect();
    report.start = match found.replay {
        None => Start { changes, ..Start::default() },
        Some(replay) => Start {
            possible: !found.troubles.iter().any(|trouble| trouble.refused),
            snapshot: found.used,
            from: replay.from,
            upto: replay.upto,
            records: replay.records,
            bytes: replay.bytes,
            waiting: replay.waiting,
            changes,
        },
    };
    report.damages.extend(found.troubles.iter().map(|trouble| damage(trouble, found)));
}

fn of(part: u32, extent: Extent) -> Partition {
    let Extent { low, next, segments, bytes } = extent;
    Partition { part, from: low, upto: next, segments, bytes }
}

fn snapshot(one: &Examined, used: Option<u64>) -> Snapshot {
    let generation = one.generation.as_ref();
    let runs = || generation.iter().flat_map(|generation| generation.states.values().flatten());
    Snapshot {
        sequence: one.sequence,
        tick: generation.map(|generation| generation.tick),
        epoch: generation.map(|generation| generation.epoch),
        now_ms: generation.map(|generation| generation.now_ms),
        runs: runs().count(),
        rows: runs().map(|run| run.rows).sum(),
        bytes: runs().map(|run| run.bytes).sum(),
        whole: one.error.is_none(),
        used: used == Some(one.sequence),
    }
}

fn change(change: &Change) -> FileChange {
    let of = |file: &Path, what| FileChange { file: file.display().to_string(), what, at: None, bytes: None };
    match change {
        Change::Cut { file, at, bytes } => FileChange { at: Some(*at), bytes: Some(*bytes), ..of(file, "cut") },
        Change::Removed(file) => of(file, "remove"),
        Change::Renamed { file, .. } => of(file, "rename"),
    }
}

fn damage(trouble: &Trouble, found: &Inspection<Control>) -> Damage {
    let (file, at, what) = match &trouble.error {
        LogError::Corrupt { file, at, what } => (Some(file.display().to_string()), Some(*at), what.clone()),
        LogError::Read(error) => (Some(error.path.display().to_string()), None, format!("{error}: {}", error.source)),
        error => (None, None, error.to_string()),
    };
    let Advice { means, to_do } = advice::of(trouble, found);
    let harmless = trouble.of == Area::Snapshot && found.used.is_some();
    Damage { file, at, what, means, to_do, harmless }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
