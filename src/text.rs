//! Text for people on a terminal: the parts of summaries, plans and reports.

pub mod nearest;
pub mod progress;
pub mod units;

use dataflows::EventTime;
use headwater_client::text::is_unfit;
pub use headwater_client::text::printable;
use jiff::SignedDuration;
use jiff::civil::DateTime;
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::io::{self, IsTerminal};

/// Width of a text.
pub(crate) const COLUMNS: usize = 80;

/// The escape sequences for a terminal.
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

    /// Returns the sequences that begin and end a style; empty without colours.
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

/// Returns whether standard output takes colour: a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
pub fn wants_color() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

pub(crate) fn plural(count: u64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

/// Returns a text of several lines, in which colours may stand if `color` says so: all else that [`printable`] escapes
/// is escaped.
pub(crate) fn printable_lines(text: &str, color: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, char) in text.char_indices() {
        match is_unfit(char) && char != '\n' && !(color && is_color(&text[at..])) {
            true => out.extend(char.escape_default()),
            false => out.push(char),
        }
    }
    out
}

/// Returns a text of JSON in which all that [`printable`] escapes is escaped as JSON does it, but for line ends between
/// values: serializers leave some of it as it is. Equal to `json` for every reader of JSON.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.contains(|char| char != '\n' && is_unfit(char)) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for char in json.chars() {
        match is_unfit(char) && char != '\n' {
            // None of them needs more than 16 bits.
            true => out += &format!("\\u{:04x}", u32::from(char)),
            false => out.push(char),
        }
    }
    Cow::Owned(out)
}

/// Returns whether a text begins with a sequence that sets a colour or a style, such as `ESC [ 33 m`.
fn is_color(text: &str) -> bool {
    let parameters = text.strip_prefix("\x1b[");
    parameters
        .is_some_and(|text| text.trim_start_matches(|char: char| char.is_ascii_digit() || char == ';').starts_with('m'))
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

/// Returns a setting: exact, in the largest unit that divides it.
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

/// RFC 3339 in UTC, with as many digits after the second as it takes.
pub(crate) fn rfc3339(time: EventTime) -> String {
    const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    // Saturation does not happen: civil times reach from year -9999 to 9999, as event times do.
    format!("{}Z", EPOCH.saturating_add(SignedDuration::from_micros(time.micros())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_neither_ends_a_line_nor_steers_a_terminal() {
        let evil = "é\r\n\x1b[2J\x1b[31m\u{9b}2J\x07\u{2028}\u{202e}txt";
        let escaped = "é\\r\\n\\u{1b}[2J\\u{1b}[31m\\u{9b}2J\\u{7}\\u{2028}\\u{202e}txt";
        assert_eq!(printable(evil), escaped);
        let lines = printable_lines(evil, false);
        assert_eq!(lines, escaped.replace("\\n", "\n"));
        assert_eq!(printable_lines(evil, true), lines.replace("\\u{1b}[31m", "\x1b[31m"));

        let json = serde_json::to_string_pretty(&[evil]).unwrap();
        let escaped = printable_json(&json);
        assert!(!escaped.contains(|char| char != '\n' && is_unfit(char)), "{escaped:?}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&escaped).unwrap(), [evil]);
        assert_eq!(printable_json("[1,\n\"é\"]"), "[1,\n\"é\"]");
    }
}
