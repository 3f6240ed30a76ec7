//! What a summary says to a person, section by section.

use super::table::Table;
use super::{Note, Skips, Summary, Unmatched};
use crate::replay::notice::{Given, Notice, ReadFrom};
use crate::replay::sequences::{FunnelOf, StepOf};
use crate::text::{COLUMNS, Text, plural, printable, printable_lines, rfc3339, span, wrap};
use dataflows::{Reason, Sessionless};
use headwater_decode::account::Skip;
use indicatif::{DecimalBytes, HumanCount};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// Largest classes that the text shows; the others are counted. JSON has them all.
const CLASSES_SHOWN: usize = 10;
/// Columns of a share, such as ` 46.7%`.
const SHARE_WIDTH: usize = 6;
/// Longest name that does not widen the column of all labels.
const NAME_WIDTH: usize = 32;

impl Summary {
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
        for Unmatched { class, rule, missing, near, preceded_by } in self.unmatched.iter().take(CLASSES_SHOWN) {
            let missing: Vec<_> = missing.iter().map(|field| format!("`{}`", shorten(field))).collect();
            let remark = match (missing.is_empty(), near) {
                (true, _) if !preceded_by.is_empty() => {
                    let before = preceded_by.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                    let noun = plural(preceded_by.len() as u64, "rule");
                    let verb = if preceded_by.len() == 1 { "comes" } else { "come" };
                    format!("rule {rule}: {noun} {before} {verb} first where it holds")
                }
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

pub(super) fn dead_letter_meaning(code: &str) -> &'static str {
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
pub(super) fn elapsed(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.2} s");
    }
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}
