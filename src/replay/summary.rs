//! The summary of a replay: [`Summary`], as one JSON object or as text for a person.

use super::notice::{Given, Notice, ReadFrom};
use super::sequences::{FunnelOf, StepOf};
use crate::text::rfc3339;
use crate::text::{COLUMNS, Text, plural, printable, printable_lines, span, wrap};
use dataflows::{EventTime, Reason, Sessionless};
use headwater_decode::account::{Skip, Skipped};
use indicatif::{DecimalBytes, HumanCount};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;
use table::Table;

mod table;

/// The figures of one replay. Its fields are an interface: add to them, don't rename them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Events that count: decoded, within the range, duplicates left out.
    pub events: u64,
    pub users: u64,
    pub sessions: u64,
    /// Sessions whose gap had not passed at `now`.
    pub open_sessions: u64,
    /// Sessions of one event.
    pub bounces: u64,
    /// The first start and the last end of all sessions.
    #[serde(serialize_with = "serialize_time")]
    pub first: Option<EventTime>,
    #[serde(serialize_with = "serialize_time")]
    pub last: Option<EventTime>,
    /// Durations of the sessions; `None` if there are none. The median is right to 0.03 %.
    pub duration_mean_s: Option<f64>,
    pub duration_median_s: Option<f64>,
    pub dead_letters: u64,
    /// Events that were left out since one with the same id and payload counts.
    pub duplicates: u64,
    /// Events with an id that was not checked against ids further back than the horizon.
    pub duplicates_unchecked: u64,
    /// Events that held a path both as a dotted key and nested; the nested one counts.
    pub ambiguous: u64,
    /// Events outside `--from` and `--to`.
    pub outside: u64,
    /// Users, types and carried texts that were too long, and were cut.
    pub texts_cut: u64,
    /// Events of which something unreadable was mended: a byte that is no UTF-8, half of a pair, a repeated key.
    pub repaired: u64,
    pub classes: BTreeMap<String, u64>,
    /// By [`Reason::code`].
    pub dead_letter_reasons: BTreeMap<String, u64>,
    /// Rules that no event fits.
    pub unmatched: Vec<Unmatched>,
    /// By source and format: which candidates gave the values.
    pub read: Vec<ReadFrom>,
    /// Rows of each state.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub states: BTreeMap<String, u64>,
    /// What looks wrong.
    pub notices: Vec<Notice>,
    /// The configuration that was used, if there is none in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// Events with a class but without a session.
    pub sessionless: BTreeMap<String, u64>,
    /// Input files, and their bytes as stored.
    pub files: u64,
    pub bytes: u64,
    /// Bytes that were read, decompressed and with padding: those of records that gave events, those of records that
    /// gave dead letters only, and those that were skipped.
    pub bytes_read: u64,
    pub bytes_events: u64,
    pub bytes_dead_letters: u64,
    /// By [`Skip::code`].
    pub skipped: BTreeMap<String, Skips>,
    /// How files were read, where that may not be expected.
    pub notes: Vec<Note>,
    pub workers: u64,
    pub gap_s: f64,
    /// What ends sessions beside the gap.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<&'static str>,
    /// The time at which the replay ends; `None` if no event had one.
    #[serde(serialize_with = "serialize_time")]
    pub now: Option<EventTime>,
    pub elapsed_s: f64,
    pub events_per_s: f64,
    /// `None` where the system does not say.
    pub peak_rss_bytes: Option<u64>,
    /// Files that were written.
    pub out: Vec<String>,
    /// Sinks of the configuration, none of which was written to: they act in a run only.
    pub sinks: u64,
    /// What was recognised of each sequence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub funnels: Vec<FunnelOf>,
}

/// How files were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    pub message: String,
    /// How many.
    pub files: u64,
    /// The first of them.
    pub path: String,
}

/// What was skipped for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Skips {
    /// Lines, marks, objects, or runs of bytes.
    pub times: u64,
    pub bytes: u64,
}

impl Skips {
    pub fn of(Skipped { times, bytes }: Skipped) -> Skips {
        Skips { times, bytes }
    }
}

/// A rule that no event fits, or that other rules precede for every event that fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unmatched {
    pub class: String,
    /// From 1, in the order of the configuration.
    pub rule: u32,
    /// Fields of the rule that no event has.
    pub missing: Vec<String>,
    /// A field that is spelled almost as one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub near: Option<String>,
}

/// Largest classes that the text shows; the others are counted. JSON has them all.
const CLASSES_SHOWN: usize = 10;
/// Columns of a share, such as ` 46.7%`.
const SHARE_WIDTH: usize = 6;
/// Longest name that does not widen the column of all labels.
const NAME_WIDTH: usize = 32;

impl Summary {
    /// Sets `elapsed_s` and what follows from it.
    pub fn took(&mut self, elapsed: Duration) {
        self.elapsed_s = elapsed.as_secs_f64();
        self.events_per_s = if self.elapsed_s > 0.0 { self.events as f64 / self.elapsed_s } else { 0.0 };
    }

    /// Returns one JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// Writes the text for a person, within 80 columns except for the paths of outputs.
    pub fn render(&self, color: bool) -> String {
        let mut table = Table { text: Text::new(color), width: self.label_width(), digits: self.number_width() };
        // Writing into a string does not fail.
        let _ = self.write(&mut table);
        table.text.out
    }

    fn write(&self, table: &mut Table) -> fmt::Result {
        table.text.heading(&format!(
            "{} {} of {} {} from {} {}",
            HumanCount(self.sessions),
            plural(self.sessions, "session"),
            HumanCount(self.users),
            plural(self.users, "user"),
            HumanCount(self.events),
            plural(self.events, "event"),
        ))?;

        table.blank()?;
        let files =
            format!("in {} {}, {}", HumanCount(self.files), plural(self.files, "file"), DecimalBytes(self.bytes));
        table.count("events", self.events, &files)?;
        table.some("duplicates", self.duplicates, "the same id and payload again; left out")?;
        table.some("not checked", self.duplicates_unchecked, "for duplicates beyond the horizon")?;
        table.some("ambiguous", self.ambiguous, "a path both dotted and nested; nested counts")?;
        table.some("out of range", self.outside, "outside --from and --to; left out")?;
        table.some("repaired", self.repaired, "something in it was unreadable; U+FFFD")?;
        table.some("texts cut", self.texts_cut, "users, types, carried: over 1 KiB")?;
        table.count("users", self.users, "")?;
        let or = if self.policies.is_empty() { "" } else { ", or by " };
        let split = format!("split where a gap exceeds {}{or}{}", span(self.gap_s), self.policies.join(", "));
        table.count("sessions", self.sessions, &split)?;
        let share = format!("{:.1}% of them have one event", 100.0 * self.bounces as f64 / self.sessions.max(1) as f64);
        table.some("bounces", self.bounces, &share)?;
        if let (Some(mean), Some(median)) = (self.duration_mean_s, self.duration_median_s) {
            table.say("duration", &format!("mean {}, median {}", duration(mean), duration(median)))?;
        }
        if let (Some(first), Some(last)) = (self.first, self.last) {
            table.say("range", &format!("{} to {}", rfc3339(first), rfc3339(last)))?;
        }
        if let Some(now) = self.now {
            table.some("open", self.open_sessions, &format!("may go on after {}", rfc3339(now)))?;
        }

        self.write_read(table)?;
        self.write_classes(table)?;
        self.write_funnels(table)?;
        self.write_unmatched(table)?;
        self.write_skipped(table)?;
        self.write_notes(table)?;
        table.reasons(
            "dead letters",
            "records that could not become events",
            &self.dead_letter_reasons,
            dead_letter_meaning,
        )?;
        table.reasons(
            WIDEST_LABEL,
            "events that have a class, but belong to no session",
            &self.sessionless,
            sessionless_meaning,
        )?;

        if !self.notices.is_empty() {
            table.blank()?;
            writeln!(table.text.out, "look at")?;
            for Notice { message, .. } in &self.notices {
                for (number, line) in wrap(&printable(message), COLUMNS - 4).into_iter().enumerate() {
                    writeln!(table.text.out, "{}{line}", if number == 0 { "  - " } else { "    " })?;
                }
            }
        }

        table.blank()?;
        let rate = HumanCount(self.events_per_s.round() as u64);
        write!(table.text.out, "{}, {rate} events/s", elapsed(self.elapsed_s))?;
        write!(table.text.out, ", {} {}", self.workers, plural(self.workers, "worker"))?;
        if let Some(bytes) = self.peak_rss_bytes {
            write!(table.text.out, ", peak memory {}", DecimalBytes(bytes))?;
        }
        table.text.out.push('\n');
        for path in &self.out {
            writeln!(table.text.out, "{}", printable(path))?;
        }
        if self.sinks > 0 {
            let act = if self.sinks == 1 { "acts" } else { "act" };
            let sinks = plural(self.sinks, "sink");
            writeln!(table.text.out, "{} {sinks} {act} in `headwater run` only", HumanCount(self.sinks))?;
        }
        if let Some(configuration) = &self.configuration {
            writeln!(
                table.text.out,
                "\nread without a configuration; this one reads the same:\n\n{}",
                printable_lines(configuration, false).trim_end()
            )?;
        }
        Ok(())
    }

    /// Writes which candidates gave users, times, types and ids: of all sources together.
    fn write_read(&self, table: &mut Table) -> fmt::Result {
        if self.read.is_empty() {
            return Ok(());
        }
        table.blank()?;
        let roles: [(&str, fn(&ReadFrom) -> &[Given]); 4] = [
            ("user", |read| &read.user),
            ("time", |read| &read.time),
            ("type", |read| &read.kind),
            ("id", |read| &read.id),
        ];
        for (label, of) in roles {
            let mut paths: BTreeMap<&str, u64> = BTreeMap::new();
            for given in self.read.iter().flat_map(of) {
                if let Some(path) = &given.path {
                    *paths.entry(path).or_default() += given.events;
                }
            }
            if paths.is_empty() && label == "id" {
                continue;
            }
            let mut paths: Vec<_> = paths.into_iter().collect();
            paths.sort_by_key(|(path, events)| (std::cmp::Reverse(*events), *path));
            let shown: Vec<String> = match paths.as_slice() {
                [] => vec!["from none of the paths".into()],
                [(only, _)] => vec![format!("from {}", printable(only))],
                several => several
                    .iter()
                    .enumerate()
                    .map(|(number, (path, events))| {
                        format!("{}{} {}", if number == 0 { "from " } else { "" }, printable(path), HumanCount(*events))
                    })
                    .collect(),
            };
            table.count(label, paths.iter().map(|(_, events)| events).sum(), &shown.join(", "))?;
        }
        Ok(())
    }

    fn write_classes(&self, table: &mut Table) -> fmt::Result {
        if self.classes.is_empty() {
            return Ok(());
        }
        table.blank()?;
        table.count("classes", self.classes.len() as u64, "")?;
        let total: u64 = self.classes.values().sum();
        let share = |events: u64| format!("{:>5.1}%", 100.0 * events as f64 / total.max(1) as f64);
        let classes = self.largest_classes();
        let (shown, rest) = classes.split_at(classes.len().min(CLASSES_SHOWN));
        // Names are whole as long as the line has room for them.
        let digits = table.digits;
        let names: Vec<String> =
            shown.iter().map(|(class, _)| cut(class, COLUMNS - "  ".len() * 3 - digits - SHARE_WIDTH)).collect();
        let widest = names.iter().map(|name| name.chars().count() + 2).max().unwrap_or_default();
        let width = table.width;
        table.width = width.max(widest);
        for (name, (_, events)) in names.iter().zip(shown) {
            table.count(&format!("  {name}"), *events, &share(*events))?;
        }
        if !rest.is_empty() {
            let events = rest.iter().map(|(_, events)| events).sum();
            table.count(&format!("  {} more", HumanCount(rest.len() as u64)), events, &share(events))?;
        }
        table.width = width;
        Ok(())
    }

    /// Writes how many came how far in each sequence.
    fn write_funnels(&self, table: &mut Table) -> fmt::Result {
        for FunnelOf { sequence, steps, matched, open, expired, broken, median_within } in &self.funnels {
            table.blank()?;
            let attempts = matched + open + expired;
            let others = [(*matched, "matched"), (*expired, "expired"), (*open, "open"), (*broken, "broken")];
            let others = others.iter().filter(|(number, _)| *number > 0);
            let others: Vec<_> = others.map(|(number, state)| format!("{} {state}", HumanCount(*number))).collect();
            table.count(&shorten(sequence), attempts + broken, &others.join(", "))?;
            for StepOf { step, reached } in steps {
                let share = 100.0 * *reached as f64 / attempts.max(1) as f64;
                table.count(&format!("  {}", shorten(step)), *reached, &format!("{share:>5.1}%"))?;
            }
            if let Some(within) = median_within {
                table.say("", &format!("half of the matches took {within}"))?;
            }
        }
        Ok(())
    }

    fn write_unmatched(&self, table: &mut Table) -> fmt::Result {
        if self.unmatched.is_empty() {
            return Ok(());
        }
        table.blank()?;
        table.count("matched nothing", self.unmatched.len() as u64, "rules that give no event its class")?;
        for Unmatched { class, rule, missing, near } in self.unmatched.iter().take(CLASSES_SHOWN) {
            let missing: Vec<_> = missing.iter().map(|field| format!("`{}`", shorten(field))).collect();
            let remark = match (missing.is_empty(), near) {
                (true, _) => format!("rule {rule}"),
                (false, None) => format!("rule {rule}: no event has {}", missing.join(", ")),
                (false, Some(near)) => {
                    format!("rule {rule}: no event has {}; did you mean `{}`?", missing.join(", "), shorten(near))
                }
            };
            table.count(&format!("  {}", shorten(class)), 0, &remark)?;
        }
        let more = self.unmatched.len().saturating_sub(CLASSES_SHOWN) as u64;
        if more > 0 { table.count(&format!("  {} more", HumanCount(more)), 0, "") } else { Ok(()) }
    }

    fn write_notes(&self, table: &mut Table) -> fmt::Result {
        if self.notes.is_empty() {
            return Ok(());
        }
        table.blank()?;
        for Note { message, files, path } in self.notes.iter().take(CLASSES_SHOWN) {
            let name = path.rsplit('/').next().unwrap_or(path);
            let more = match files - 1 {
                0 => String::new(),
                more => format!(" and {} more", HumanCount(more)),
            };
            for line in wrap(&format!("{}{more}: {message}", printable(name)), COLUMNS) {
                writeln!(table.text.out, "{line}")?;
            }
        }
        Ok(())
    }

    /// Line ends are part of every file, so that they say nothing.
    fn skipped(&self) -> impl Iterator<Item = (Skip, Skips)> {
        let skips = Skip::ALL.into_iter().filter(|skip| *skip != Skip::Separator);
        skips.filter_map(|skip| Some((skip, *self.skipped.get(skip.code())?)))
    }

    fn write_skipped(&self, table: &mut Table) -> fmt::Result {
        let bytes: u64 = self.skipped().map(|(_, skips)| skips.bytes).sum();
        if bytes == 0 {
            return Ok(());
        }
        table.blank()?;
        table.count("skipped bytes", bytes, "of the input, that belong to no record")?;
        for (skip, Skips { times, bytes }) in self.skipped() {
            let meaning = match skip {
                Skip::Separator => "line ends",
                Skip::Blank => "blank lines",
                Skip::Header => "rows that name the columns",
                Skip::Comment => "lines that are comments",
                Skip::Above => "lines above the first record",
                Skip::Mark => "byte order marks",
                Skip::Padding => "runs of NUL bytes",
                Skip::NoElements => "objects with an empty array of events",
            };
            table.some(skip.code(), bytes, &format!("{} {meaning}", HumanCount(times)))?;
        }
        Ok(())
    }

    /// Returns the classes by falling number of events, then by name.
    fn largest_classes(&self) -> Vec<(&str, u64)> {
        let mut classes: Vec<_> = self.classes.iter().map(|(class, events)| (class.as_str(), *events)).collect();
        classes.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        classes
    }

    fn label_width(&self) -> usize {
        let classes = self.largest_classes();
        let classes = classes.iter().take(CLASSES_SHOWN).map(|(class, _)| shorten(class).chars().count());
        let reasons = self.dead_letter_reasons.keys().chain(self.sessionless.keys()).map(|code| code.chars().count());
        let unmatched = self.unmatched.iter().take(CLASSES_SHOWN).map(|rule| shorten(&rule.class).chars().count());
        let skipped = self.skipped().map(|(skip, _)| skip.code().len());
        let funnels = self.funnels.iter().flat_map(|funnel| &funnel.steps);
        let steps = funnels.map(|step| shorten(&step.step).chars().count());
        let indented = classes.chain(reasons).chain(unmatched).chain(skipped).chain(steps).map(|width| width + 2);
        let names = self.funnels.iter().map(|funnel| shorten(&funnel.sequence).chars().count());
        indented.chain(names).chain([WIDEST_LABEL.len()]).max().unwrap_or_default()
    }

    fn number_width(&self) -> usize {
        let counts = [
            self.events,
            self.duplicates,
            self.duplicates_unchecked,
            self.ambiguous,
            self.outside,
            self.texts_cut,
            self.users,
            self.sessions,
            self.classes.values().sum(),
            self.dead_letter_reasons.values().sum(),
            self.sessionless.values().sum(),
            self.repaired,
            self.skipped().map(|(_, skips)| skips.bytes).sum(),
        ];
        let activities = self.funnels.iter().map(|of| of.matched + of.open + of.expired + of.broken);
        counts.into_iter().chain(activities).map(|count| HumanCount(count).to_string().len()).max().unwrap_or_default()
    }
}

/// Label of a section: no other is longer.
const WIDEST_LABEL: &str = "without session";

fn dead_letter_meaning(code: &str) -> &'static str {
    let reason = Reason::ALL.into_iter().find(|reason| reason.code() == code);
    reason.map_or("", |reason| match reason {
        Reason::NotUtf8 => "not valid UTF-8",
        Reason::NoJson => "not valid JSON, or cut short",
        Reason::NotAnObject => "JSON, but not an object",
        Reason::DuplicateKey => "an object names a key twice",
        Reason::TooLarge => "more bytes than max_bytes",
        Reason::TooDeep => "nested deeper than max_depth",
        Reason::TooManyKeys => "more keys than max_keys",
        Reason::WrongFieldCount => "a row with more or fewer fields than the header",
        Reason::NoLogLine => "not in the layout of its log",
        Reason::DamagedInput => "the rest of the input could not be read",
        Reason::ConflictingDuplicate => "an id seen before, with another payload",
        Reason::Poison => "a defect of the decoder: please report it",
    })
}

fn sessionless_meaning(code: &str) -> &'static str {
    match Sessionless::ALL.into_iter().find(|reason| reason.code() == code) {
        Some(Sessionless::NoUser) => "no value at the user paths",
        Some(Sessionless::NoTime) => "no value at the time paths",
        Some(Sessionless::UnreadableTime) => "the value at the time path is no time",
        Some(Sessionless::Apart) => "a class with sessions = false",
        Some(Sessionless::KeepAlive) => "a keepalive class, and no session to extend",
        None => "",
    }
}

fn shorten(name: &str) -> String {
    cut(name, NAME_WIDTH)
}

/// Returns a name of at most `width` characters. What is longer lacks its middle: names often begin alike.
fn cut(name: &str, width: usize) -> String {
    let name = printable(name);
    let length = name.chars().count();
    if length <= width {
        return name;
    }
    let end = (width - 1) / 2;
    name.chars().take(width - 1 - end).chain(['…']).chain(name.chars().skip(length - end)).collect()
}

/// Returns a duration of sessions: in whole seconds from ten seconds on.
fn duration(seconds: f64) -> String {
    match seconds {
        ..0.05 => "0 s".into(),
        ..10.0 => format!("{seconds:.1} s"),
        ..59.5 => format!("{seconds:.0} s"),
        _ => elapsed(seconds.max(60.0)),
    }
}

/// Returns a measurement: as exact as a person wants it.
fn elapsed(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.2} s");
    }
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

fn serialize_time<S: Serializer>(time: &Option<EventTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(rfc3339).serialize(serializer)
}

#[cfg(test)]
mod tests;
