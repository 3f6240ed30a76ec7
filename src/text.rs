//! Text for people on a terminal: what summaries, plans and reports are written with.

use std::fmt::{self, Write};
use std::io::{self, IsTerminal};

/// Width of a text.
pub(crate) const COLUMNS: usize = 80;

/// How a terminal is told to write so.
pub(crate) const BOLD: &str = "\x1b[1m";
pub(crate) const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// A text in the making.
pub(crate) struct Text {
    pub out: String,
    color: bool,
}

impl Text {
    pub fn new(color: bool) -> Text {
        Text { out: String::new(), color }
    }

    /// What begins and what ends a style; nothing without colours.
    pub fn style(&self, on: &'static str) -> (&'static str, &'static str) {
        if self.color { (on, PLAIN) } else { ("", "") }
    }

    pub fn heading(&mut self, text: &str) -> fmt::Result {
        let (bold, plain) = self.style(BOLD);
        writeln!(self.out, "{bold}{}{plain}", printable(text))
    }

    /// A label of at most `width` characters and its value, which goes on below itself.
    pub fn row(&mut self, label: &str, width: usize, value: &str) -> fmt::Result {
        let indent = 2 + width + 2;
        let mut lines = wrap(&printable(value), COLUMNS.saturating_sub(indent)).into_iter();
        writeln!(self.out, "  {label:<width$}  {}", lines.next().unwrap_or_default())?;
        lines.try_for_each(|line| writeln!(self.out, "{:indent$}{line}", ""))
    }
}

/// Whether standard output takes colour: a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
pub fn wants_color() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

pub(crate) fn plural(count: u64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

/// Names come from events: what would steer the terminal is replaced.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

/// Breaks at blanks into lines of at most `width` characters where words allow.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A setting: exact, in the largest unit that divides it.
pub(crate) fn span(seconds: f64) -> String {
    let whole = |unit: f64| seconds >= unit && seconds % unit == 0.0;
    if whole(86_400.0) {
        format!("{} d", seconds / 86_400.0)
    } else if whole(3600.0) {
        format!("{} h", seconds / 3600.0)
    } else if whole(60.0) {
        format!("{} min", seconds / 60.0)
    } else {
        format!("{seconds} s")
    }
}
