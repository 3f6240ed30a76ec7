//! A report for a person: within 80 columns, but for names that are longer.

use super::{FileChange, Partition, Report, Snapshot, Start};
use crate::sink::rfc3339;
use crate::summary::{COLUMNS, plural, printable, span, wrap};
use dataflows::EventTime;
use indicatif::{DecimalBytes, HumanCount};
use std::fmt::{self, Write};

const LABEL_WIDTH: usize = 11;
const INDENT: usize = LABEL_WIDTH + 4;

impl Report {
    pub fn render(&self, color: bool) -> String {
        let mut text = Text { out: String::new(), color };
        // Writing into a string does not fail.
        let _ = self.write(&mut text);
        text.out
    }

    fn write(&self, text: &mut Text) -> fmt::Result {
        let verdict = match (self.damages.len(), self.damages.iter().all(|damage| damage.harmless)) {
            (0, _) => "whole".to_owned(),
            (_, true) => "damaged where it does no harm".to_owned(),
            _ => "damaged".to_owned(),
        };
        text.heading(&format!("{}: {verdict}", self.folder))?;
        let in_use = match self.in_use {
            true => "a process has it open: this may be a moment behind",
            false => "no process has it open",
        };
        text.row("in use", in_use)?;
        text.row("epoch", &self.epoch.map_or("-".into(), |epoch| format!("{epoch}, the number of starts")))?;
        text.row("log", self.log.as_deref().unwrap_or("-"))?;
        self.write_damages(text)?;
        self.write_log(text)?;
        self.write_snapshots(text)?;
        self.start.write(text)
    }

    fn write_damages(&self, text: &mut Text) -> fmt::Result {
        for damage in &self.damages {
            text.section(if damage.harmless { "damage, harmless" } else { "damage" })?;
            let at = damage.at.map(|at| format!(", byte {at}")).unwrap_or_default();
            if let Some(file) = &damage.file {
                text.row("file", &format!("{file}{at}"))?;
            }
            text.row("what", &damage.what)?;
            text.row("means", &damage.means)?;
            text.row("to do", &damage.to_do)?;
        }
        Ok(())
    }

    fn write_log(&self, text: &mut Text) -> fmt::Result {
        text.section("queue")?;
        for part in self.queue.iter().filter(|part| part.upto > 0) {
            text.row(&format!("part {}", part.part), &extent(part, "record"))?;
        }
        let empty = self.queue.iter().filter(|part| part.upto == 0).count() as u64;
        if empty > 0 {
            text.row("", &format!("{empty} {} without records", plural(empty, "part")))?;
        }
        text.section("control")?;
        if let Some(control) = &self.control {
            text.row("kept", &extent(control, "record"))?;
        }
        let sources: Vec<_> = self.sources.iter().map(|source| format!("{} {}", source.number, source.name)).collect();
        text.row("sources", &or_none(sources.join(", ")))?;
        for (index, program) in self.programs.iter().enumerate() {
            let label = if index == 0 { "programs" } else { "" };
            text.row(label, &format!("{} from epoch {} on", &program.program[..12], program.epoch))?;
        }
        text.row("rules", &or_none(self.rules.join(", ")))?;
        text.section("ticks")?;
        if let Some(ticks) = &self.ticks {
            let kept =
                Partition { part: 0, from: ticks.from, upto: ticks.upto, segments: ticks.segments, bytes: ticks.bytes };
            text.row("kept", &extent(&kept, "tick"))?;
            let epochs: Vec<_> = ticks.epochs.iter().map(u64::to_string).collect();
            text.row("epochs", &or_none(epochs.join(", ")))?;
            if let (Some(now_ms), Some(age_s)) = (ticks.now_ms, ticks.age_s) {
                text.row("now", &format!("{}, {} ago", time(now_ms), span(age_s.max(0.0).round())))?;
            }
        }
        text.section("outputs")?;
        let Some(outputs) = &self.outputs else { return Ok(()) };
        let ticks = format!("ticks {} to {}, {}", outputs.from, outputs.upto, DecimalBytes(outputs.bytes));
        text.row("kept", if outputs.upto > outputs.from { &ticks } else { "none" })?;
        for set in &outputs.sets {
            let workers = format!("{} {}", set.workers, plural(set.workers as u64, "worker"));
            text.row("set", &format!("ticks {} to {}, by {workers}", set.from, set.upto))?;
        }
        Ok(())
    }

    fn write_snapshots(&self, text: &mut Text) -> fmt::Result {
        text.section("snapshots")?;
        if self.snapshots.is_empty() {
            text.row("kept", "none")?;
        }
        self.snapshots.iter().try_for_each(|snapshot| text.row(&snapshot.sequence.to_string(), &snapshot.line()))
    }
}

impl Snapshot {
    fn line(&self) -> String {
        let Snapshot { tick, runs, rows, bytes, whole, used, .. } = self;
        let Some(tick) = tick else { return "damaged".into() };
        let state = match (whole, used) {
            (false, _) => "damaged",
            (true, true) => "whole; a start goes on from here",
            (true, false) => "whole",
        };
        let runs = format!("{runs} {}", plural(*runs as u64, "run"));
        let rows = format!("{} {}", HumanCount(*rows), plural(*rows, "row"));
        format!("tick {tick}, {rows} in {runs}, {}, {state}", DecimalBytes(*bytes))
    }
}

impl Start {
    fn write(&self, text: &mut Text) -> fmt::Result {
        text.section("a start")?;
        if !self.possible {
            return text.row("", "is refused, see above");
        }
        let ticks = self.upto - self.from;
        let from = match self.snapshot {
            Some(sequence) => format!("goes on from snapshot {sequence}"),
            None => "begins with the first tick".into(),
        };
        text.row("", &from)?;
        let records = format!("{} {}", HumanCount(self.records), plural(self.records, "record"));
        let ticks = format!("{} {}", HumanCount(ticks), plural(ticks, "tick"));
        text.row("again", &format!("{ticks} with {records}, {}", DecimalBytes(self.bytes)))?;
        if self.waiting > 0 {
            let records = format!("{} {}", HumanCount(self.waiting), plural(self.waiting, "record"));
            text.row("then", &format!("{records} that no tick has taken yet"))?;
        }
        self.changes.iter().try_for_each(|change| change.write(text))
    }
}

impl FileChange {
    fn write(&self, text: &mut Text) -> fmt::Result {
        let remark = match (self.what, self.at, self.bytes) {
            ("cut", Some(at), Some(bytes)) => {
                format!(" at byte {at}: {bytes} {} of a write that was not completed", plural(bytes, "byte"))
            }
            ("remove", ..) => ": nothing needs it any more".into(),
            _ => ": it is set aside".into(),
        };
        text.row(self.what, &format!("{}{remark}", self.file))
    }
}

fn extent(of: &Partition, noun: &str) -> String {
    let Partition { from, upto, segments, bytes, .. } = of;
    let count = upto - from;
    let segments = format!("{segments} {}", plural(*segments as u64, "segment"));
    format!("{} {} from {from} to {upto}, {segments}, {}", HumanCount(count), plural(count, noun), DecimalBytes(*bytes))
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".into() } else { text }
}

fn time(ms: i64) -> String {
    EventTime::from_micros(ms.saturating_mul(1000)).map_or_else(|| format!("{ms} ms"), rfc3339)
}

/// A text in the making.
struct Text {
    out: String,
    color: bool,
}

impl Text {
    fn heading(&mut self, text: &str) -> fmt::Result {
        let (bold, plain) = if self.color { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        writeln!(self.out, "{bold}{}{plain}", printable(text))
    }

    fn section(&mut self, name: &str) -> fmt::Result {
        writeln!(self.out)?;
        self.heading(name)
    }

    /// A label and its value, which goes on below itself.
    fn row(&mut self, label: &str, value: &str) -> fmt::Result {
        write!(self.out, "  {label:<LABEL_WIDTH$}")?;
        let mut lines = wrap(&printable(value), COLUMNS.saturating_sub(INDENT)).into_iter();
        writeln!(self.out, "  {}", lines.next().unwrap_or_default())?;
        lines.try_for_each(|line| writeln!(self.out, "{:INDENT$}{line}", ""))
    }
}
