//! The dry run of rules as text.

use super::{Counted, Difference, Moved, SessionRow, ShapeRow, Shown};
use crate::text::{COLUMNS, DIM, Text, plural, printable, wrap};
use indicatif::HumanCount;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// Rows of each part that are shown. `--json` has all of them.
const SHOWN: usize = 20;

/// Characters of a payload that are shown.
const PAYLOAD: usize = 160;

impl Difference {
    /// Returns the text, with styles for a terminal if `color` says so.
    pub fn render(&self, color: bool) -> String {
        let mut text = Text::new(color);
        // Writing into a string does not fail.
        let _ = self.write(&mut text);
        text.out
    }

    fn write(&self, text: &mut Text) -> fmt::Result {
        let count = |number: u64, noun: &str| format!("{} {}", HumanCount(number), plural(number, noun));
        text.heading(&format!("rules of {} in place of those of {}", self.after, self.before))?;
        for (label, changed, all, noun) in [
            ("events", self.changed_events, self.events, "event"),
            ("sessions", self.changed_sessions, self.sessions, "session"),
            ("shapes", self.changed_shapes, self.shapes, "shape"),
        ] {
            let of = if changed == 0 { "none".to_owned() } else { HumanCount(changed).to_string() };
            text.row(label, 8, &format!("{of} of {} would change", count(all, noun)))?;
        }
        if self.dead_letters > 0 {
            text.row("also", 8, &format!("{} that no rule sees", count(self.dead_letters, "dead letter")))?;
        }
        self.write_classes(text)?;
        section(text, "counts", &self.counts, |text, Counted { class, before, after }| {
            text.row(class, width(&self.counts), &format!("{} -> {}", HumanCount(*before), HumanCount(*after)))
        })?;
        section(text, "shapes", &self.shape_rows, |text, ShapeRow { shape, events, before, after, paths }| {
            let shape = shape.as_deref().unwrap_or("others");
            text.row(shape, 16, &format!("{}: {} -> {}", count(*events, "event"), numbers(before), numbers(after)))?;
            if paths.is_empty() { Ok(()) } else { text.row("", 16, paths) }
        })?;
        section(text, "sessions, the first of them", &self.session_rows, |text, row| {
            let SessionRow { user, start, before, after, .. } = row;
            let value = format!("{start}  {} -> {}", numbers(before), numbers(after));
            text.row(user, user.chars().count(), &value)
        })?;
        if !self.notes.is_empty() {
            writeln!(text.out)?;
            text.heading("note")?;
        }
        for note in &self.notes {
            for (number, line) in wrap(&printable(note), COLUMNS - 4).into_iter().enumerate() {
                writeln!(text.out, "{}{line}", if number == 0 { "  - " } else { "    " })?;
            }
        }
        Ok(())
    }

    fn write_classes(&self, text: &mut Text) -> fmt::Result {
        section(text, "classes", &self.classes, |text, moved| {
            let Moved { before, after, why_before, why_after, events, example } = moved;
            let (before, after) = (printable(before), printable(after));
            let (dim, plain) = text.style(DIM);
            let noun = plural(*events, "event");
            writeln!(
                text.out,
                "  {before} -> {after}: {} {noun}  {dim}{why_before} -> {why_after}{plain}",
                HumanCount(*events)
            )?;
            let Some(Shown { source, path, offset, payload }) = example else { return Ok(()) };
            let place = path.as_ref().unwrap_or(source);
            writeln!(text.out, "    {dim}{} at {offset}{plain}", printable(place))?;
            let cut: String = payload.chars().take(PAYLOAD).collect();
            let cut = if cut.len() < payload.len() && !cut.ends_with('…') { cut + "…" } else { cut };
            writeln!(text.out, "    {}", printable(&cut))
        })
    }
}

fn section<T>(
    text: &mut Text,
    name: &str,
    rows: &[T],
    mut each: impl FnMut(&mut Text, &T) -> fmt::Result,
) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(text.out)?;
    text.heading(name)?;
    rows.iter().take(SHOWN).try_for_each(|row| each(text, row))?;
    match rows.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(text.out, "  … and {more} more"),
    }
}

fn width(counts: &[Counted]) -> usize {
    counts.iter().take(SHOWN).map(|row| printable(&row.class).chars().count()).max().unwrap_or_default()
}

fn numbers(numbers: &BTreeMap<String, u64>) -> String {
    let each = numbers.iter().map(|(class, events)| format!("{class} {}", HumanCount(*events)));
    each.collect::<Vec<_>>().join(", ")
}
