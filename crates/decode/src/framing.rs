//! Finds the records in a stream of bytes: pure functions over slices, which know no files and read no events.
//!
//! ```text
//! Lines       {"a":1}⏎{"a":2}⏎            a record ends with its line
//! Csv         a,"b⏎c"⏎d,e⏎                a record ends with a line end outside of quotes
//! JsonValues  [{"a":1},⏎ {"a":⏎2}⏎]       a record is an element of a top-level array, or a top-level value
//! ```
//! A stream may be cut at any [`Framing::boundary`], and each side be split on its own.

use memchr::{memchr, memchr2, memchr3, memrchr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One record per line.
    Lines,
    /// Rows of RFC 4180: line ends inside of quotes do not end a row. A quote opens a field only at its start, which is
    /// behind a line end or any of the delimiters that detection knows (`,` `;` tab `|`).
    Csv,
    /// JSON values one after the other, over any number of lines. There may be top-level arrays around them, and
    /// blanks, commas or RS (RFC 7464) between them. Since brackets outside of objects are skipped, arrays in arrays
    /// are flattened. What is no value comes out as a record of its own, up to its line end or the next value. A raw
    /// line end inside of a string is no JSON: it ends the record, so that a lost quote harms one record only.
    JsonValues,
}

impl Framing {
    /// Returns the end of the last whole record in `bytes`, which starts at a record boundary; `None` if no record ends
    /// in it.
    pub fn boundary(self, bytes: &[u8]) -> Option<usize> {
        if self == Framing::Lines {
            return memrchr(b'\n', bytes).map(|at| at + 1);
        }
        let mut scanner = Scanner::new(self);
        let mut boundary = 0;
        while let Some(length) = scanner.end(&bytes[boundary..]) {
            boundary += length;
        }
        (boundary > 0).then_some(boundary)
    }

    /// Returns the records of `bytes`, which starts at a record boundary: each with its offset and its exact bytes,
    /// without terminator. Blank ones are skipped; the last one may lack its end.
    pub fn records(self, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
        let mut scanner = Scanner::new(self);
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < bytes.len() {
                let length = scanner.end(&bytes[at..]).unwrap_or(bytes.len() - at);
                let span = &bytes[at..at + length];
                let start = at + self.separators(span);
                at += length;
                let record = self.content(span);
                if !record.is_empty() {
                    return Some((start, record));
                }
            }
            None
        })
    }

    /// Returns the length of the bytes before the record in `span` that belong to no record.
    pub fn separators(self, span: &[u8]) -> usize {
        match self {
            Framing::Lines | Framing::Csv => 0,
            Framing::JsonValues => span.iter().position(|byte| !is_separator(*byte)).unwrap_or(span.len()),
        }
    }

    /// Returns the length of the line end of `span`.
    pub fn terminator(self, span: &[u8]) -> usize {
        match (self, span) {
            (Framing::JsonValues, _) => 0,
            (_, [.., b'\r', b'\n']) => 2,
            (_, [.., b'\r' | b'\n']) => 1,
            _ => 0,
        }
    }

    /// Returns the record in `span`; empty if that is blank. A row of blanks is a row, a line of blanks is none.
    fn content(self, span: &[u8]) -> &[u8] {
        let record = &span[self.separators(span)..span.len() - self.terminator(span)];
        match self {
            Framing::Lines if record.trim_ascii_start().is_empty() => &[],
            Framing::Lines | Framing::Csv => record,
            Framing::JsonValues => record.trim_ascii_end(),
        }
    }
}

/// Finds the ends of records in a stream that arrives in pieces; what it keeps between them does not grow.
pub struct Scanner {
    framing: Framing,
    csv: Csv,
    json: Json,
}

/// Where in a row.
enum Csv {
    FieldStart,
    Field,
    Quoted,
    /// Behind a quote in a quoted field: the field's end, or the first half of a quote that is part of it.
    Quote,
}

/// Where among values.
enum Json {
    Between,
    /// In what is no value: a number, a literal, garbage.
    Loose,
    /// In an object, with this number of objects and arrays open.
    Object(u64),
    /// In a string, of an object or, at depth zero, by itself.
    Text(u64),
    /// Behind a backslash in such a string.
    Escape(u64),
}

impl Scanner {
    /// Returns a scanner at a record boundary.
    pub fn new(framing: Framing) -> Scanner {
        Scanner { framing, csv: Csv::FieldStart, json: Json::Between }
    }

    /// Goes on in `bytes` to where the current record ends, terminator included; `None` if it does not end in them.
    /// After an end, the scanner is at a record boundary again.
    #[inline]
    pub fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.framing {
            Framing::Lines => memchr(b'\n', bytes).map(|at| at + 1),
            Framing::Csv => self.csv.end(bytes),
            Framing::JsonValues => self.json.end(bytes),
        }
    }
}

impl Csv {
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            match self {
                Csv::FieldStart | Csv::Field => {
                    let Some(length) = memchr2(b'"', b'\n', &bytes[at..]) else {
                        if let Some(last) = bytes[at..].last() {
                            *self = Csv::behind(*last);
                        }
                        return None;
                    };
                    let opens = match length {
                        0 => matches!(self, Csv::FieldStart),
                        _ => is_delimiter(bytes[at + length - 1]),
                    };
                    at += length + 1;
                    if bytes[at - 1] == b'\n' {
                        *self = Csv::FieldStart;
                        return Some(at);
                    }
                    *self = if opens { Csv::Quoted } else { Csv::Field };
                }
                Csv::Quoted => {
                    at += memchr(b'"', &bytes[at..])? + 1;
                    *self = Csv::Quote;
                }
                Csv::Quote => {
                    let byte = *bytes.get(at)?;
                    at += 1;
                    *self = if byte == b'"' { Csv::Quoted } else { Csv::behind(byte) };
                    if byte == b'\n' {
                        return Some(at);
                    }
                }
            }
        }
    }

    /// Returns the state behind a byte outside quotes.
    fn behind(byte: u8) -> Csv {
        if byte == b'\n' || is_delimiter(byte) { Csv::FieldStart } else { Csv::Field }
    }
}

impl Json {
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            match *self {
                Json::Between => {
                    at += bytes[at..].iter().position(|byte| !is_separator(*byte))?;
                    *self = match bytes[at] {
                        b'{' => Json::Object(1),
                        b'"' => Json::Text(0),
                        _ => Json::Loose,
                    };
                    at += 1;
                }
                Json::Loose => {
                    at += bytes[at..].iter().position(|byte| ends_loose(*byte))?;
                    *self = Json::Between;
                }
                Json::Object(depth) => {
                    at += bytes[at..].iter().position(|byte| STRUCTURE[usize::from(*byte)])? + 1;
                    *self = match bytes[at - 1] {
                        b'"' => Json::Text(depth),
                        b'{' | b'[' => Json::Object(depth + 1),
                        _ if depth > 1 => Json::Object(depth - 1),
                        _ => Json::Between,
                    };
                }
                Json::Text(depth) => {
                    at += memchr3(b'"', b'\\', b'\n', &bytes[at..])? + 1;
                    *self = match bytes[at - 1] {
                        b'\\' => Json::Escape(depth),
                        b'"' if depth > 0 => Json::Object(depth),
                        _ => Json::Between,
                    };
                }
                Json::Escape(depth) => {
                    let byte = *bytes.get(at)?;
                    at += 1;
                    *self = if byte == b'\n' { Json::Between } else { Json::Text(depth) };
                }
            }
            if matches!(self, Json::Between) {
                return Some(at);
            }
        }
    }
}

/// The bytes that open or close a part of an object.
const STRUCTURE: [bool; 256] = {
    let mut table = [false; 256];
    table[b'"' as usize] = true;
    table[b'{' as usize] = true;
    table[b'}' as usize] = true;
    table[b'[' as usize] = true;
    table[b']' as usize] = true;
    table
};

/// Delimiters of rows that detection knows.
pub(crate) const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

fn is_delimiter(byte: u8) -> bool {
    DELIMITERS.contains(&byte)
}

/// Between JSON values: blanks, commas, brackets of top-level arrays, the record separator of RFC 7464.
fn is_separator(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b',' | b'[' | b']' | 0x1e)
}

/// Spaces and tabs do not: a line of prose is one record.
fn ends_loose(byte: u8) -> bool {
    byte == b'{' || is_separator(byte) && !matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod oracle;

#[cfg(test)]
mod tests {
    use super::oracle::spans;
    use super::*;
    use proptest::prelude::*;

    const ALL: [Framing; 3] = [Framing::Lines, Framing::Csv, Framing::JsonValues];

    fn texts(framing: Framing, text: &str) -> Vec<&str> {
        framing.records(text.as_bytes()).map(|(_, record)| std::str::from_utf8(record).unwrap()).collect()
    }

    #[test]
    fn lines_end_in_lf_or_crlf_or_with_the_input() {
        assert_eq!(texts(Framing::Lines, "a\r\n\n  \t\r\n b \nc"), ["a", " b ", "c"]);
        assert_eq!(Framing::Lines.records(b"\na\r\nb").collect::<Vec<_>>(), [(1, &b"a"[..]), (4, b"b")]);
        assert_eq!(Framing::Lines.boundary(b"a\nb"), Some(2));
        assert_eq!(Framing::Lines.boundary(b"a"), None);
    }

    #[test]
    fn a_line_end_inside_of_quotes_does_not_end_a_row() {
        let rows = "a,\"b\nc\"\r\n\"say \"\"x\ny\"\"\",d\n\n  \n5\" pipe,e\n";
        assert_eq!(texts(Framing::Csv, rows), ["a,\"b\nc\"", "\"say \"\"x\ny\"\"\",d", "  ", "5\" pipe,e"]);
        assert_eq!(Framing::Csv.boundary(b"a,b\nc,\"d\n"), Some(4));
        assert_eq!(Framing::Csv.boundary(b"\"a\n"), None);
    }

    #[test]
    fn json_values_are_split_wherever_they_stand() {
        assert_eq!(
            texts(Framing::JsonValues, "[{\"a\": \"}]\\\"\"},\n {\"b\":\n [[{}]]}\n]{}{\"c\":1}\u{1e}{ }"),
            ["{\"a\": \"}]\\\"\"}", "{\"b\":\n [[{}]]}", "{}", "{\"c\":1}", "{ }"],
        );
        assert_eq!(texts(Framing::JsonValues, " [ ]\n[\"x,{y\", 1, null ]"), ["\"x,{y\"", "1", "null"]);
        assert_eq!(Framing::JsonValues.boundary(b"[{},{\"a\":"), Some(3));
        assert_eq!(Framing::JsonValues.boundary(b"[{"), None);
    }

    #[test]
    fn what_is_no_value_is_a_record_and_harms_no_other() {
        assert_eq!(
            texts(Framing::JsonValues, "nonsense {\"a\":1}\nmore of it\r\n}{\"b\":2}"),
            ["nonsense", "{\"a\":1}", "more of it", "}", "{\"b\":2}"],
        );
        assert_eq!(texts(Framing::JsonValues, "{\"a\":\"lost}\n{\"b\":2}"), ["{\"a\":\"lost}", "{\"b\":2}"]);
        assert_eq!(texts(Framing::JsonValues, "{\"a\":\"\\\n{\"b\":2}"), ["{\"a\":\"\\", "{\"b\":2}"]);
        assert_eq!(texts(Framing::JsonValues, "{\"a\":1},\n{\"b\": [1, "), ["{\"a\":1}", "{\"b\": [1,"]);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            text in "([\\[\\]{},:;\" \\\\\n]|\r\n|\"\"|a|\u{1e}|\\{\"a\":1\\}|,\"){0,40}",
            piece in 1_usize..8,
        ) {
            let bytes = text.as_bytes();
            for framing in ALL {
                let ends = spans(framing, bytes);
                prop_assert_eq!(framing.boundary(bytes), ends.last().copied(), "{:?}", framing);

                // The same ends, when the bytes come in pieces.
                let mut scanner = Scanner::new(framing);
                let mut found = Vec::new();
                for (index, piece_bytes) in bytes.chunks(piece).enumerate() {
                    let mut at = 0;
                    while let Some(length) = scanner.end(&piece_bytes[at..]) {
                        at += length;
                        found.push(index * piece + at);
                    }
                }
                prop_assert_eq!(&found, &ends, "{:?}", framing);

                // The same records, when the stream is cut at any boundary.
                let records: Vec<_> = framing.records(bytes).collect();
                for end in &ends {
                    let (left, right) = bytes.split_at(*end);
                    let halves = framing.records(left).chain(framing.records(right).map(|(at, record)| (at + end, record)));
                    prop_assert_eq!(&halves.collect::<Vec<_>>(), &records, "{:?} at {}", framing, end);
                }

                // Nothing is lost: what is in no record separates records.
                let mut rest = bytes.to_vec();
                for (at, record) in &records {
                    prop_assert_eq!(&bytes[*at..at + record.len()], *record);
                    rest[*at..at + record.len()].fill(b' ');
                }
                let blank: &[u8] = if framing == Framing::JsonValues { b" \n\r\t,[]\x1e" } else { b" \n\r\t" };
                prop_assert!(rest.iter().all(|byte| blank.contains(byte)), "{:?}", framing);
            }
        }
    }
}
