//! Recognises the format of a file by the first part of its content, never by its name.

use crate::framing::{DELIMITERS, Framing};
use crate::spec::Format;
use memchr::{memchr, memchr_iter};

/// Bytes of content that are worth looking at: enough lines for a majority, small beside any chunk.
pub const HEAD_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detected {
    pub format: Format,
    pub framing: Framing,
}

/// Returns the format of a file that begins with `head` (decompressed, without byte order mark; the last record may be
/// cut).
///
/// By majority, so that a bad first line does not mislead. `None` if the format cannot be recognised safely: binary
/// data, XML, prose, rows without a header.
pub fn detect(head: &[u8]) -> Option<Detected> {
    if memchr(0, head).is_some() {
        return None;
    }
    if most(whole_lines(head), is_log_line) {
        return Some(Detected { format: Format::Clf, framing: Framing::Lines });
    }
    if let Some(framing) = json(head) {
        return Some(Detected { format: Format::Json, framing });
    }
    has_header(head).then_some(Detected { format: Format::Csv, framing: Framing::Csv })
}

/// Returns the framing of a file whose format is configured.
pub fn framing(format: Format, head: &[u8]) -> Framing {
    match format {
        Format::Json => json(head).unwrap_or(Framing::Lines),
        Format::Csv => Framing::Csv,
        Format::Clf => Framing::Lines,
    }
}

/// `None` if most of it is no JSON.
fn json(head: &[u8]) -> Option<Framing> {
    if most(whole_lines(head), is_object) {
        return Some(Framing::Lines);
    }
    let text = head.trim_ascii();
    let is_array =
        matches!(text, [b'[', rest @ ..] if rest.trim_ascii_start().first().is_none_or(|b| b"{[]".contains(b)));
    let mut values = Framing::JsonValues.records(text).map(|(_, value)| value);
    let is_json = match is_array {
        true => values.next().is_none_or(|value| value.starts_with(b"{")),
        false => most(values, |value| value.starts_with(b"{")),
    };
    // One long line that is cut may be the first of many.
    let is_cut_line =
        text.starts_with(b"{") && memchr(b'\n', text).is_none() && Framing::JsonValues.boundary(text).is_none();
    is_json.then_some(if is_cut_line { Framing::Lines } else { Framing::JsonValues })
}

/// Returns whether the line is one JSON object and nothing else.
pub fn is_object(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.starts_with(b"{") && Framing::JsonValues.boundary(line) == Some(line.len()) && {
        let mut values = Framing::JsonValues.records(line);
        values.next().is_some() && values.next().is_none()
    }
}

/// Returns whether the line has what only Common and Combined Log Format have: `[17/May/2015:10:05:03 +0000] "`.
fn is_log_line(line: &[u8]) -> bool {
    const FORM: &[u8; 30] = b"[00/Aaa/0000:00:00:00 +0000] \"";
    memchr_iter(b'[', line).any(|at| {
        line.get(at..at + FORM.len()).is_some_and(|text| {
            FORM.iter().zip(text).all(|(form, byte)| match form {
                b'0' => byte.is_ascii_digit(),
                b'A' => byte.is_ascii_uppercase(),
                b'a' => byte.is_ascii_lowercase(),
                b'+' => matches!(byte, b'+' | b'-'),
                other => byte == other,
            })
        })
    })
}

/// Returns whether the first row names columns and most of the others have as many cells, for one of the delimiters; if
/// all of the names are single words, it is enough that one other row has. Names do not begin with digits (rows without
/// a header, lines of a log) or with markup.
fn has_header(head: &[u8]) -> bool {
    let rows = || whole(Framing::Csv, head);
    let Some(header) = rows().next() else { return false };
    DELIMITERS.into_iter().any(|delimiter| {
        let names = || header.split(|byte| *byte == delimiter).map(<[u8]>::trim_ascii);
        let count = cells(header, delimiter);
        let is_name = |name: &[u8]| !matches!(name, [b'0'..=b'9' | b'<' | b'{' | b'[', ..]);
        let is_word = |name: &[u8]| !name.is_empty() && !name.iter().any(u8::is_ascii_whitespace);
        let fits = |row: &[u8]| cells(row, delimiter) == count;
        let mut others = rows().skip(1).peekable();
        count > 1
            && names().all(is_name)
            && (others.peek().is_none() || most(others, fits) || (names().all(is_word) && rows().skip(1).any(fits)))
    })
}

/// Returns the number of cells of a row. Delimiters inside quotes do not separate cells.
fn cells(row: &[u8], delimiter: u8) -> usize {
    let mut quoted = false;
    let separates = |byte: &&u8| {
        quoted ^= **byte == b'"';
        !quoted && **byte == delimiter
    };
    1 + row.iter().filter(separates).count()
}

fn whole_lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    whole(Framing::Lines, head)
}

/// Returns the records of `head` but the last one if it may be cut, unless it is all there is.
fn whole(framing: Framing, head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = framing.boundary(head).filter(|end| !head[..*end].trim_ascii().is_empty()).unwrap_or(head.len());
    framing.records(&head[..end]).map(|(_, record)| record)
}

/// Returns whether there are any, and more than half of them are as expected.
fn most<'b>(records: impl Iterator<Item = &'b [u8]>, expected: impl Fn(&[u8]) -> bool) -> bool {
    let (hits, all) = records.fold((0, 0), |(hits, all), record| (hits + usize::from(expected(record)), all + 1));
    2 * hits > all
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str =
        r#"83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a, HTTP/1.1" 200 203023 "-" "Mozilla/5.0 (X, Y)""#;

    #[test]
    fn formats_are_told_by_their_content() {
        const LINES: &str = "Json Lines";
        const VALUES: &str = "Json JsonValues";
        let long = format!("{{\"a\":\"{}", "x".repeat(HEAD_BYTES));
        let log = format!("{LOG}\n{LOG}\n");
        let bad_log = format!("restarted\n{log}");
        let cases: &[(&str, &str)] = &[
            ("{\"a\":1}\n{\"a\":2}\n", LINES),
            ("{\"a\":1}\r\n\r\n{\"a\":2}", LINES),
            ("{\"a\":1}", LINES),
            ("rubbish\n{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n{\"a\"", LINES),
            ("{\"a\":1\n{\"a\":2}\n{\"a\":3}\n", LINES),
            (&long, LINES),
            ("[{\"a\":1},{\"a\":2}]", VALUES),
            ("  [\n  {\"a\":1},\n  {\"a\":2}\n]\n", VALUES),
            ("[{\"a\":1}]\n[{\"a\":2}]\n", VALUES),
            ("[]", VALUES),
            ("[{\"a\":[1,2,3,", VALUES),
            ("{\n  \"a\": 1\n}\n{\n  \"a\": 2\n}\n", VALUES),
            ("{\n  \"a\": [1,\n", VALUES),
            ("{\"a\":1}{\"a\":2}", VALUES),
            ("\u{1e}{\"a\":1}\n\u{1e}{\"a\":2}\n", VALUES),
            ("rubbish\n[\n{\n\"a\":1\n},\n{\n\"a\":2\n}]", VALUES),
            ("user,time\nu1,2024-01-01\nu2,\"2024,01\n02\"\n", "Csv Csv"),
            ("user;time\nu1;1,5\nu2;2,5\n", "Csv Csv"),
            ("\ta\tb\n0\tx\ty\n", "Csv Csv"),
            ("user|time\n", "Csv Csv"),
            ("\"user\",\"time\"\r\nu1,1\r\noops\r\nu2,2\r\nu3,", "Csv Csv"),
            ("user,payload\nu1,\"{\"\"a\"\":1}\"\nu2,\"{\"\"a\"\":2}\"\n", "Csv Csv"),
            (&log, "Clf Lines"),
            (&bad_log, "Clf Lines"),
            ("<?xml version=\"1.0\"?>\n<log a=\"1\", b=\"2\">\n<event/>\n", "none"),
            ("some prose\nwithout any form\n", "none"),
            ("2024-01-01 10:00:00,123 INFO start\n2024-01-01 10:00:01,456 INFO stop\n", "none"),
            ("[Fri Sep 09 10:42:29 2011] [error] oops\n", "none"),
            ("PAR1\0\0\u{15}\0", "none"),
            ("1\n2\n3\n", "none"),
            ("", "none"),
            (" \n\n", "none"),
        ];
        for (head, expected) in cases {
            let found = match detect(head.as_bytes()) {
                Some(Detected { format, framing }) => format!("{format:?} {framing:?}"),
                None => "none".to_string(),
            };
            assert_eq!(&found, expected, "{head:.80}");
        }
    }

    #[test]
    fn a_configured_format_is_believed() {
        assert_eq!(framing(Format::Json, b"rubbish"), Framing::Lines);
        assert_eq!(framing(Format::Json, b"[{\"a\":1}]"), Framing::JsonValues);
        assert_eq!(framing(Format::Csv, b"{}"), Framing::Csv);
        assert_eq!(framing(Format::Clf, b"{}"), Framing::Lines);
    }
}
