//! Finds the place of a mistake in a predicate within the file that has it as a text.

use crate::collections::predicate::PredicateError;
use std::ops::Range;

pub(super) const HELP: &str = "a condition is field = 'text' or 1.5, <>, <, <=, >, >=, in ('a', 'b'), between 1 and 2, like 'x%', \
                               contains 'x', matches 'x', is null; combine them with and, or, not";

/// Returns the place of an error within a text of TOML that is at `literal` in the file, with its quotes.
pub(super) fn place(file: &str, literal: Range<usize>, error: &PredicateError) -> Range<usize> {
    let Some(raw) = file.get(literal.clone()) else { return literal };
    // The closing quote follows the last character.
    let (start, end) = (error.bytes.start, error.bytes.end.max(error.bytes.start + 1));
    let mut start_at = None;
    for (decoded, at) in places(raw) {
        if start_at.is_none() && decoded >= start {
            start_at = Some(at);
        }
        if decoded >= end {
            return literal.start + start_at.unwrap_or(at)..literal.start + at;
        }
    }
    let closing = literal.end - 1;
    start_at.map_or(closing..literal.end, |start| {
        let start = literal.start + start;
        start..if start < closing { closing } else { literal.end }
    })
}

/// Returns for each character of the text behind a TOML literal, and for its end, two numbers: the bytes of the text
/// before it, and its byte in the literal.
fn places(raw: &str) -> impl Iterator<Item = (usize, usize)> {
    let quote = raw.chars().next().unwrap_or_default();
    let long = raw.len() >= 6 && raw.chars().take(3).all(|c| c == quote);
    let quotes = if long { 3 } else { 1 };
    let mut at = quotes.min(raw.len());
    if long {
        // A line break right after the quotes is none of the text.
        let body = &raw[at..];
        at += body.len() - body.strip_prefix("\r\n").or(body.strip_prefix('\n')).unwrap_or(body).len();
    }
    let end = raw.len().saturating_sub(quotes).max(at);
    let (mut decoded, mut done) = (0, false);
    std::iter::from_fn(move || {
        let body = &raw[at..end];
        // A backslash at the end of a line takes the white space that follows.
        if quote == '"' && body.starts_with('\\') && body[1..].trim_start_matches([' ', '\t']).starts_with(['\n', '\r'])
        {
            at += 1 + body[1..].len() - body[1..].trim_start().len();
        }
        let body = &raw[at..end];
        let here = (decoded, at);
        let Some(first) = body.chars().next() else { return (!std::mem::replace(&mut done, true)).then_some(here) };
        let (length, written) = match (first, quote) {
            ('\\', '"') => escape(body),
            ('\r', _) if body.starts_with("\r\n") => (1, 2),
            _ => (first.len_utf8(), first.len_utf8()),
        };
        decoded += length;
        at = (at + written).min(end);
        Some(here)
    })
}

/// Returns the number of bytes that an escape stands for, and the number that it takes.
fn escape(body: &str) -> (usize, usize) {
    let digits = match body.as_bytes().get(1) {
        Some(b'x') => 2,
        Some(b'u') => 4,
        Some(b'U') => 8,
        _ => return (1, 2),
    };
    let char = body.get(2..2 + digits).and_then(|hex| char::from_u32(u32::from_str_radix(hex, 16).ok()?));
    (char.map_or(1, char::len_utf8), 2 + digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Spanned;

    /// The reader of TOML returns each text, so each place can be compared with it.
    #[test]
    fn each_character_is_found_where_it_is_written() {
        for literal in [
            r#""page = 'a'""#,
            r#"'page = "ü"'"#,
            r#""a\t\"\u00fc\U0001d11e\\b""#,
            "'''\npage\n  = 1'''",
            "\"\"\"\npage \\\n   = \\\"1\\\"\"\"\"",
            "''",
            "''''''",
        ] {
            let file = format!("x = {literal}\n");
            #[derive(serde::Deserialize)]
            struct File {
                x: Spanned<String>,
            }
            let File { x } = toml::from_str(&file).unwrap();
            let raw = &file[x.span()];
            assert_eq!(raw, literal);
            let all: Vec<_> = places(raw).collect();
            let expected = x.get_ref().char_indices().map(|(at, _)| at).chain([x.get_ref().len()]);
            assert!(all.iter().map(|(decoded, _)| *decoded).eq(expected), "{literal}: {all:?}");
            for ((at, place), char) in all.iter().zip(x.get_ref().chars()) {
                let written = &raw[*place..];
                assert!(written.starts_with(char) || written.starts_with('\\'), "{literal}: {at} {written}");
            }
        }
    }
}
