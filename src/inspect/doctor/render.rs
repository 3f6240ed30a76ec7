//! A report for a person: within 80 columns, but for names that are longer.

use super::{FileChange, Partition, Report, Snapshot, Start};
use crate::text::rfc3339;
use crate::text::{Text, plural, span};
use dataflows::EventTime;
use indicatif::{DecimalBytes, HumanCount};
use std::fmt::{self, Write};

const LABEL_WIDTH: usize = 11;

impl Report {
    pub fn render(&self, color: bool) -> String {
        let mut text = Text::new(color);
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
        row(text, "in use", in_use)?;
        row(text, "epoch", &self.epoch.map_or("-".into(), |epoch| format!("{epoch}, the number of starts")))?;
        row(text, "log", self.log.as_deref().unwrap_or("-"))?;
        self.write_damages(text)?;
        self.write_log(text)?;
        self.write_snapshots(text)?;
        self.start.write(text)
    }

    fn write_damages(&self, text: &mut Text) -> fmt::Result {
        for damage in &self.damages {
            section(text, if damage.harmless { "damage, harmless" } else { "damage" })?;
            let at = damage.at.map(|at| format!(", byte {at}")).unwrap_or_default();
            if let Some(file) = &damage.file {
                row(text, "file", &format!("{file}{at}"))?;
            }
            row(text, "what", &damage.what)?;
            row(text, "means", &damage.means)?;
            row(text, "to do", &damage.to_do)?;
        }
        Ok(())
    }

    fn write_log(&self, text: &mut Text) -> fmt::Result {
        section(text, "queue")?;
        for part in self.queue.iter().filter(|part| part.upto > 0) {
            row(text, &format!("part {}", part.part), &extent(part, "record"))?;
        }
        let empty = self.queue.iter().filter(|part| part.upto == 0).count() as u64;
        if empty > 0 {
            row(text, "", &format!("{empty} {} without records", plural(empty, "part")))?;
        }
        section(text, "control")?;
        if let Some(control) = &self.control {
            row(text, "kept", &extent(control, "record"))?;
        }
        let sources: Vec<_> = self.sources.iter().map(|source| format!("{} {}", source.number, source.name)).collect();
        row(text, "sources", &or_none(sources.join(", ")))?;
        for (index, program) in self.programs.iter().enumerate() {
            let label = if index == 0 { "programs" } else { "" };
            row(text, label, &format!("{} from epoch {} on", &program.program[..12], program.epoch))?;
        }
        row(text, "rules", &or_none(self.rules.join(", ")))?;
        if let Some(applied) = &self.applied {
            row(text, "", &format!("version {}, {}", applied.version, applied.how()))?;
        }
        section(text, "ticks")?;
        if let Some(ticks) = &self.ticks {
            let kept =
                Partition { part: 0, from: ticks.from, upto: ticks.upto, segments: ticks.segments, bytes: ticks.bytes };
            row(text, "kept", &extent(&kept, "tick"))?;
            let epochs: Vec<_> = ticks.epochs.iter().map(u64::to_string).collect();
            row(text, "epochs", &or_none(epochs.join(", ")))?;
            if let (Some(now_ms), Some(age_s)) = (ticks.now_ms, ticks.age_s) {
                row(text, "now", &format!("{}, {} ago", time(now_ms), span(age_s.max(0.0).round())))?;
            }
        }
        section(text, "outputs")?;
        let Some(outputs) = &self.outputs else { return Ok(()) };
        let ticks = format!("ticks {} to {}, {}", outputs.from, outputs.upto, DecimalBytes(outputs.bytes));
        row(text, "kept", if outputs.upto > outputs.from { &ticks } else { "none" })?;
        for set in &outputs.sets {
            let files = format!("{} {}", set.partitions, plural(set.partitions as u64, "partition"));
            row(text, "set", &format!("ticks {} to {}, in {files}", set.from, set.upto))?;
        }
        Ok(())
    }

    fn write_snapshots(&self, text: &mut Text) -> fmt::Result {
        section(text, "snapshots")?;
        if self.snapshots.is_empty() {
            row(text, "kept", "none")?;
        }
        self.snapshots.iter().try_for_each(|snapshot| row(text, &snapshot.sequence.to_string(), &snapshot.line()))
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
        section(text, "a start")?;
        if !self.possible {
            return row(text, "", "is refused, see above");
        }
        let ticks = self.upto - self.from;
        let from = match self.snapshot {
            Some(sequence) => format!("goes on from snapshot {sequence}"),
            None => "begins with the first tick".into(),
        };
        row(text, "", &from)?;
        let records = format!("{} {}", HumanCount(self.records), plural(self.records, "record"));
        let ticks = format!("{} {}", HumanCount(ticks), plural(ticks, "tick"));
        row(text, "again", &format!("{ticks} with {records}, {}", DecimalBytes(self.bytes)))?;
        if self.waiting > 0 {
            let records = format!("{} {}", HumanCount(self.waiting), plural(self.waiting, "record"));
            row(text, "then", &format!("{records} that no tick has taken yet"))?;
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
        row(text, self.what, &format!("{}{remark}", self.file))
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

fn section(text: &mut Text, name: &str) -> fmt::Result {
    writeln!(text.out)?;
    text.heading(name)
}

fn row(text: &mut Text, label: &str, value: &str) -> fmt::Result {
    text.row(label, LABEL_WIDTH, value)
}
