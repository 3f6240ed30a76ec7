//! `headwater init`: looks into files, and proposes a configuration for them.

use crate::collections::place::SourceIndex;
use crate::config::sketch::{Role as RoleSketch, Sketch, SourceSketch};
use crate::error::Error;
use crate::plan::Plan;
use crate::replay::guess::{self, Guessed};
use crate::replay::parts_of;
use crate::source::{self, Part, SourceError};
use crate::text::plural;
use dataflows::{SignatureId, UserKey};
use headwater_decode::defaults::{self, Meaning};
use headwater_decode::interpret::{self, Role};
use headwater_decode::spec::{Candidate, Format};
use indicatif::{DecimalBytes, HumanCount};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Chunks of 1 MiB that are read of each file.
const CHUNKS: usize = 8;
/// Files of one format that are read: the others are of the same kind.
const FILES: usize = 20;
/// Classes that are listed.
const CLASSES: usize = 20;

/// Proposes a configuration for the files of a plan without one. `given` is how the command line names them.
///
/// # Errors
/// If a file cannot be read, or is of no known format.
pub fn init(plan: &Plan, given: &[String]) -> Result<String, Error> {
    let parts: Vec<Part> = parts_of(SourceIndex(0), &plan.sources[0])?;
    let mut by_format: BTreeMap<Format, Vec<Part>> = BTreeMap::new();
    let mut bytes = 0;
    let mut unread = Vec::new();
    for part in parts {
        let event_bytes = plan.sources[0].events.limits.event_bytes;
        let probed = match source::probe(&part, event_bytes) {
            // Files of events have others beside them.
            Err(SourceError::UnknownFormat { path, advice }) => {
                unread.push((path, advice));
                continue;
            }
            probed => probed.map_err(Error::run("look into the files"))?,
        };
        bytes += probed.bytes;
        if let Some(content) = probed.content {
            by_format.entry(content.format).or_default().push(part);
        }
    }
    if by_format.is_empty()
        && let Some((path, advice)) = unread.pop()
    {
        return Err(Error::run("look into the files")(SourceError::UnknownFormat { path, advice }));
    }
    let files: usize = by_format.values().map(Vec::len).sum();
    let mut sketch = Sketch::default();
    let mut seen = Seen::default();
    let one = by_format.len() == 1 && unread.is_empty();
    for (format, parts) in by_format {
        let paths = match one {
            true => given.to_vec(),
            false => {
                let mut paths: Vec<_> = parts.iter().map(|part| shown(part.file(), given)).collect();
                // Files of one archive follow each other.
                paths.dedup();
                paths
            }
        };
        let read = &parts[..parts.len().min(FILES)];
        sketch.sources.push(look(plan, format, paths, read, &mut seen).map_err(Error::run("look into the files"))?);
    }
    sketch.head = vec![
        format!(
            "Made by `headwater init` from {} {}, {}: {} events were looked at.",
            HumanCount(files as u64),
            plural(files as u64, "file"),
            DecimalBytes(bytes),
            HumanCount(seen.events)
        ),
        "Edit it, and replay with `headwater replay headwater.toml`.".into(),
    ];
    let not_read = |(path, advice): &(PathBuf, String)| format!("Not read: {}: {advice}", shown(path, given));
    sketch.head.extend(unread.iter().take(FILES).map(not_read));
    if unread.len() > FILES {
        sketch.head.push(format!("Not read: {} more files.", HumanCount((unread.len() - FILES) as u64)));
    }
    let (gap, share) = seen.gap();
    sketch.gap = gap.into();
    sketch.gap_remark = match share {
        Some(share) => format!("{share:.0}% of the pauses of a user are not longer"),
        None => "the usual gap of web analytics".into(),
    };
    sketch.tail = seen.classes();
    Ok(sketch.text())
}

/// Returns how to name a file: as the command line does, if it does.
fn shown(path: &std::path::Path, given: &[String]) -> String {
    let absolute = |name: &String| std::path::absolute(name).is_ok_and(|known| known == path);
    given.iter().find(|name| absolute(name)).cloned().unwrap_or_else(|| path.to_string_lossy().into_owned())
}

/// What the events have that were looked at.
#[derive(Default)]
struct Seen {
    events: u64,
    times: BTreeMap<UserKey, Vec<i64>>,
    classes: BTreeMap<String, u64>,
}

fn look(
    plan: &Plan,
    format: Format,
    paths: Vec<String>,
    parts: &[Part],
    seen: &mut Seen,
) -> Result<SourceSketch, source::SourceError> {
    let Guessed { plan, explode, time_format, paths: guesses, survey } = guess::guessed(plan, format, parts, CHUNKS)?;
    let event_bytes = plan.sources[0].events.limits.event_bytes;
    let unwrap = parts.first().map_or(Ok(None), |part| guess::unwrapped(part, event_bytes))?;
    let mut kinds: BTreeMap<SignatureId, Option<String>> = BTreeMap::new();
    let (format_inside, used) = guess::beginning(&plan, format, parts, CHUNKS, |input| {
        for (signature, descriptor) in input.signatures.drain(..) {
            kinds.insert(signature, descriptor.kind.map(|kind| kind.to_string()));
        }
        for record in input.records.drain(..) {
            seen.events += 1;
            if let (Some(user), Ok(time)) = (record.event.user, record.event.time) {
                seen.times.entry(user).or_default().push(time.micros());
            }
            if let Some(Some(kind)) = kinds.get(&record.event.signature) {
                *seen.classes.entry(kind.clone()).or_default() += 1;
            }
        }
    })?;
    let role = |role: Role| {
        let candidates = interpret::candidates(&plan.sources[0].events, format_inside, role);
        let counts = &used.roles[role as usize];
        let total: u64 = counts.iter().sum();
        let share = |count: u64| 100.0 * count as f64 / total.max(1) as f64;
        let mut given: Vec<(u64, &Candidate)> =
            counts.iter().copied().zip(&candidates).filter(|(count, _)| *count > 0).collect();
        // Where a few events have another name, that is another kind of event.
        given.retain(|(count, _)| share(*count) >= 0.1);
        let mut left_out = String::new();
        if role == Role::User
            && let Some(meaning) = main_meaning(&given)
        {
            let is_other = |candidate: &Candidate| meaning_of(candidate) != Some(meaning);
            let others: Vec<String> =
                given.iter().filter(|(_, one)| is_other(one)).map(|(_, one)| one.parts[0].to_string()).collect();
            given.retain(|(_, candidate)| !is_other(candidate));
            left_out = format!("; also there, of another meaning: {}", others.join(", "));
        }
        let shares: Vec<String> = given
            .iter()
            .map(|(count, candidate)| format!("{} {:.1}%", candidate.parts[0].without_transforms(), share(*count)))
            .collect();
        let remark = match (given.is_empty(), guesses[role as usize].is_some()) {
            (true, _) => {
                let keys: Vec<&str> = survey.nearest(role.name()).into_iter().take(8).collect();
                format!("none of the built-in names is there; the records have {}", keys.join(", "))
            }
            (_, true) => format!("a guess by its name and values: {}", shares.join(", ")),
            _ => shares.join(", ") + &left_out,
        };
        RoleSketch { candidates: given.into_iter().map(|(_, candidate)| candidate.clone()).collect(), remark }
    };
    Ok(SourceSketch {
        name: format.name().into(),
        paths,
        format,
        unwrap,
        explode,
        time_formats: time_format.into_iter().collect(),
        user: role(Role::User),
        time: role(Role::Time),
        kind: role(Role::Kind),
    })
}

fn meaning_of(candidate: &Candidate) -> Option<Meaning> {
    defaults::meaning(&candidate.parts[0].to_string())
}

/// Returns the meaning of nearly all users, if a few of them have another one: they would be other users.
fn main_meaning(given: &[(u64, &Candidate)]) -> Option<Meaning> {
    let mut events: BTreeMap<Meaning, u64> = BTreeMap::new();
    for (count, candidate) in given {
        *events.entry(meaning_of(candidate)?).or_default() += count;
    }
    let total: u64 = events.values().sum();
    let (meaning, most) = events.iter().max_by_key(|(_, count)| **count)?;
    (events.len() > 1 && *most as f64 > 0.8 * total as f64).then_some(*meaning)
}

impl Seen {
    /// Returns the gap that suits the pauses, and the percentage of pauses that are not longer.
    fn gap(&mut self) -> (&'static str, Option<f64>) {
        const MINUTE: i64 = 60_000_000;
        const GAPS: [(&str, i64); 6] = [
            ("30m", 30 * MINUTE),
            ("1h", 60 * MINUTE),
            ("4h", 240 * MINUTE),
            ("12h", 720 * MINUTE),
            ("1d", 1440 * MINUTE),
            ("7d", 10_080 * MINUTE),
        ];
        let mut pauses = Vec::new();
        for times in self.times.values_mut() {
            times.sort_unstable();
            pauses.extend(times.windows(2).map(|pair| pair[1] - pair[0]));
        }
        if pauses.is_empty() {
            return ("30m", None);
        }
        pauses.sort_unstable();
        let within = |gap: i64| pauses.partition_point(|pause| *pause <= gap) as f64 / pauses.len() as f64;
        // The usual one, unless it would cut most users into single events.
        let fits = GAPS.iter().find(|(_, gap)| within(*gap) >= 0.5).unwrap_or(&GAPS[0]);
        (fits.0, Some(100.0 * within(fits.1)))
    }

    /// Returns the classes as lines of a remark.
    fn classes(&self) -> Vec<String> {
        let total: u64 = self.classes.values().sum();
        let mut classes: Vec<_> = self.classes.iter().collect();
        classes.sort_by_key(|(name, events)| (std::cmp::Reverse(**events), *name));
        let mut lines = Vec::new();
        if !classes.is_empty() {
            lines.push(format!("Each type is a class. The events that were looked at have {}:", classes.len()));
        }
        for (class, events) in classes.iter().take(CLASSES) {
            let share = 100.0 * **events as f64 / total.max(1) as f64;
            lines.push(format!("  {} {share:.1}%", class.chars().take(60).collect::<String>()));
        }
        lines.push("A rule gives a class of your own:".into());
        lines.push("[[class]]".into());
        lines.push("name = \"purchase\"".into());
        lines.push("when = \"price >= 0.01\"".into());
        lines
    }
}
