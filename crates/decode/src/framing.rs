//! Finds the records in a stream of bytes: pure functions over slices, which know no files and read no events.
//!
//! ```text
//! Lines       {"a":1}⏎{"a":2}⏎            a record ends with its line
//! Rows        a,"b⏎c"⏎d,e⏎                a record ends with a line end outside of quotes
//! JsonValues  [{"a":1},⏎ {"a":⏎2}⏎]       a record is an element of a top-level array, or a top-level value
//! ```
//! A stream may be cut at any [`Framing::boundary`], and each side be split on its own.
//!
//! In every framing, NUL bytes and byte order marks before a record are not part of it, nor are NUL bytes behind it. A
//! run of [`RUN`] NUL bytes ends a record wherever it stands: a crash, or a truncation under a writer that does not
//! append, leaves such runs, and what follows them is another record.

use memchr::{memchr, memchr3, memmem, memrchr};
pub use rows::Dialect;

mod rows;

/// How records follow each other in a file or a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// One record per line.
    Lines,
    /// One record per line, where lines end with a carriage return alone.
    CrLines,
    /// Rows of delimited text: line ends inside of quotes do not end a row.
    Rows(Dialect),
    /// JSON values one after the other, over any number of lines. There may be top-level arrays around them, and
    /// blanks, commas or RS (RFC 7464) between them. Since brackets outside of objects are skipped, arrays in arrays
    /// are flattened. What is no value comes out as a record of its own, up to its line end or the next value. A raw
    /// line end inside of a string is no JSON: it ends the record, so that a lost quote harms one record only.
    JsonValues,
}

/// NUL bytes in a row that end a record. Fewer of them are part of it: they are seen in what an attacker sends.
pub const RUN: usize = 4;

const NULS: [u8; RUN] = [0; RUN];

/// UTF-8's byte order mark.
pub const MARK: &[u8] = b"\xef\xbb\xbf";

impl Framing {
    /// Returns the end of the last whole record in `bytes`, which starts at a record boundary; `None` if no record ends
    /// in it.
    pub fn boundary(self, bytes: &[u8]) -> Option<usize> {
        let mut ends = Ends::new(self, bytes);
        if self == Framing::Lines && ends.run.is_none() {
            return memrchr(b'\n', bytes).map(|at| at + 1);
        }
        let mut boundary = None;
        while let Some(end) = ends.next(false) {
            boundary = Some(end);
        }
        boundary
    }

    /// Returns the end of the record that `bytes` begins with, separators and terminator included; `None` if it does
    /// not end in them, or if what follows may still show where it ends. `is_whole`: nothing follows.
    pub fn end(self, bytes: &[u8], is_whole: bool) -> Option<usize> {
        Ends::new(self, bytes).next(is_whole)
    }

    /// Returns the records of `bytes`, which starts at a record boundary: each with its offset and its exact bytes,
    /// without terminator. Blank ones are skipped; the last one may lack its end.
    pub fn records(self, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
        let mut ends = Ends::new(self, bytes);
        std::iter::from_fn(move || {
            while ends.at < bytes.len() {
                let from = ends.at;
                let end = ends.next(true).unwrap_or(bytes.len());
                ends.at = end;
                let span = &bytes[from..end];
                if let Some(record) = self.plain(span) {
                    return Some((from, record));
                }
                let start = from + self.separators(span);
                let record = self.content(span);
                if !record.is_empty() {
                    return Some((start, record));
                }
            }
            None
        })
    }

    /// Returns the length of the bytes before the record in `span` that belong to no record.
    #[inline]
    pub fn separators(self, span: &[u8]) -> usize {
        let is_json = self == Framing::JsonValues;
        let mut at = 0;
        while let Some(byte) = span.get(at) {
            match *byte {
                0 => at += 1,
                0xef if span[at..].starts_with(MARK) => at += MARK.len(),
                byte if is_json && is_separator(byte) => at += 1,
                _ => break,
            }
        }
        at
    }

    /// Returns the length of what ends the record of `span`: its line end, and NUL bytes before that.
    pub fn terminator(self, span: &[u8]) -> usize {
        let line_end = match (self, span) {
            (Framing::JsonValues, _) => 0,
            (_, [.., b'\r', b'\n']) => 2,
            (_, [.., b'\r' | b'\n']) => 1,
            _ => 0,
        };
        let rest = &span[..span.len() - line_end];
        line_end + rest.iter().rev().take_while(|byte| **byte == 0).count()
    }

    /// Returns the record of a line as nearly every line is: no blank, mark or NUL byte at its start, and a newline alone
    /// at its end.
    #[inline]
    fn plain(self, span: &[u8]) -> Option<&[u8]> {
        match span {
            [first, .., last, b'\n']
                if self == Framing::Lines && *first > b' ' && *first != MARK[0] && !matches!(last, 0 | b'\r') =>
            {
                Some(&span[..span.len() - 1])
            }
            _ => None,
        }
    }

    /// Returns the record in `span`; empty if that is blank. A row of blanks is a row, a line of blanks is none.
    #[inline]
    fn content(self, span: &[u8]) -> &[u8] {
        let start = self.separators(span);
        let record = &span[start..];
        let record = &record[..record.len() - self.terminator(record)];
        match self {
            Framing::Lines | Framing::CrLines if record.trim_ascii_start().is_empty() => &[],
            Framing::Lines | Framing::CrLines | Framing::Rows(_) => record,
            Framing::JsonValues => record.trim_ascii_end(),
        }
    }

    /// As [`Framing::end`], without a look at separators and NUL bytes.
    fn plain_end(self, bytes: &[u8], is_whole: bool) -> Option<usize> {
        match self {
            Framing::Lines => memchr(b'\n', bytes).map(|at| at + 1),
            Framing::CrLines => memchr(b'\r', bytes).map(|at| at + 1),
            Framing::Rows(dialect) => dialect.end(bytes, is_whole),
            Framing::JsonValues => Json::Between.end(bytes),
        }
    }
}

/// The ends of records, one after the other.
pub struct Ends<'b> {
    framing: Framing,
    bytes: &'b [u8],
    /// Where the next record starts.
    at: usize,
    /// The first run of NUL bytes from there on. It is remembered, so that no search goes over the same bytes again.
    run: Option<usize>,
}

impl<'b> Ends<'b> {
    /// `bytes` starts at a record boundary.
    pub fn new(framing: Framing, bytes: &'b [u8]) -> Ends<'b> {
        let run = memchr(0, bytes).and_then(|first| Some(first + memmem::find(&bytes[first..], &NULS)?));
        Ends { framing, bytes, at: 0, run }
    }

    /// Returns the end of the next record, as [`Framing::end`] does.
    #[inline]
    pub fn next(&mut self, is_whole: bool) -> Option<usize> {
        let rest = &self.bytes[self.at..];
        if self.framing == Framing::Lines && self.run.is_none() {
            self.at += memchr(b'\n', rest)? + 1;
            return Some(self.at);
        }
        let start = self.at + self.framing.separators(rest);
        if self.run.is_some_and(|run| run < start) {
            self.run = memmem::find(&self.bytes[start..], &NULS).map(|run| start + run);
        }
        let end = match self.run {
            // Nothing goes on behind it.
            Some(run) => self.framing.plain_end(&self.bytes[start..run], true).map_or(run + RUN, |end| start + end),
            None => start + self.framing.plain_end(&self.bytes[start..], is_whole)?,
        };
        self.at = end;
        Some(end)
    }
}

/// Finds the end of a record that is too large, in pieces; what it keeps between them does not grow.
///
/// A row that is too large ends with the first line behind its limit, whatever is in quotes.
pub struct Scanner {
    framing: Framing,
    json: Json,
    /// Bytes of the record so far.
    passed: usize,
    /// NUL bytes that the last piece ended with.
    nuls: usize,
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
        Scanner { framing, json: Json::Between, passed: 0, nuls: 0 }
    }

    /// Goes on in `bytes` to where the record ends, terminator included; `None` if it does not end in them.
    pub fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let start = if self.passed == 0 { self.framing.separators(bytes) } else { 0 };
        let rest = &bytes[start..];
        if rest.is_empty() {
            return None;
        }
        let run = self.run(rest);
        let upto = &rest[..run.unwrap_or(rest.len())];
        let end = match self.framing {
            Framing::Lines => memchr(b'\n', upto).map(|at| at + 1),
            Framing::CrLines => memchr(b'\r', upto).map(|at| at + 1),
            Framing::Rows(Dialect { line_end, limit, .. }) => {
                let from = (limit as usize).saturating_sub(self.passed).min(upto.len());
                memchr(line_end, &upto[from..]).map(|at| from + at + 1)
            }
            Framing::JsonValues => self.json.end(upto),
        };
        self.passed += rest.len();
        Some(start + end.or(run)?)
    }

    /// Returns the end of the first NUL bytes that make a run, together with those that came last.
    fn run(&mut self, bytes: &[u8]) -> Option<usize> {
        let leading = bytes.iter().take_while(|byte| **byte == 0).count();
        if self.nuls + leading >= RUN {
            return Some(RUN - self.nuls);
        }
        let found = memmem::find(bytes, &NULS).map(|at| at + RUN);
        let trailing = bytes.iter().rev().take(RUN).take_while(|byte| **byte == 0).count();
        self.nuls = if trailing == bytes.len() { self.nuls + trailing } else { trailing };
        found
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
mod tests;
