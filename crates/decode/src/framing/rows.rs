//! Where a row of delimited text ends.
//!
//! RFC 4180 lets a quoted field span lines, so one quote too many would swallow what follows. Which it is shows in
//! what follows: a quote that closes a field is followed by a delimiter or a line end, and the row then has as many
//! fields as the header. If that does not come about, the row ends before the first line behind it that has as many
//! fields as the header by itself.

use memchr::{memchr, memchr2};

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// Stands between fields. An ASCII character.
    pub delimiter: u8,
    /// Opens and closes a field that holds delimiters or line ends; doubled, it is part of the field. `None`: no
    /// character does.
    pub quote: Option<u8>,
    /// Inside of quotes, makes the next character part of the field.
    pub escape: Option<u8>,
    /// Blanks behind a delimiter are not part of the field: `a, "b, c"`.
    pub spaced: bool,
    /// A line that begins with it is no row.
    pub comment: Option<u8>,
    /// Line feed, or carriage return where that ends lines by itself.
    pub line_end: u8,
    /// Of the header. 0: not known.
    pub fields: u32,
    /// Bytes of the largest row. Behind them a quote that is still open counts as lost.
    pub limit: u32,
}

impl Default for Dialect {
    fn default() -> Dialect {
        Dialect {
            delimiter: b',',
            quote: Some(b'"'),
            escape: None,
            spaced: false,
            comment: None,
            line_end: b'\n',
            fields: 0,
            limit: 1 << 20,
        }
    }
}

/// Lines of the right number of fields, one after the other, behind a quote that is still open: enough to show that it
/// is lost. A followed file is read on after them, and not only after the largest row.
const LINES: usize = 32;

/// The same, if the quote is closed after all.
const LINES_BEFORE_CLOSE: usize = 4;

/// The place behind a quoted field.
enum Close {
    /// The quote at this place closes the field.
    At(usize),
    /// It does not, and the row ends here.
    Lost(usize),
    /// The bytes end before that is clear.
    Open,
}

impl Dialect {
    /// Returns the end of the row that `bytes` begins with, its line end included. `None`: it does not end in them, or
    /// what follows may still show where. `is_whole`: nothing follows.
    pub fn end(&self, bytes: &[u8], is_whole: bool) -> Option<usize> {
        let line = |from: usize| memchr(self.line_end, &bytes[from..]).map(|at| from + at + 1);
        let Some(quote) = self.quote.filter(|_| !self.is_comment(bytes)) else { return line(0) };
        let mut row = None;
        let end = self.quoted_end(quote, bytes, is_whole, &mut row);
        // A row goes no further than its limit if there is another end: however much is there, the answer is the same.
        let is_long = |row: &[u8]| row.len() - super::Framing::Rows(*self).terminator(row) > self.limit as usize;
        if is_long(&bytes[..end.unwrap_or(bytes.len())]) { row.or(end) } else { end }
    }

    /// As [`Dialect::end`], of a row that may have quotes. `row` becomes the start of the first line that is a row by
    /// itself, once a field spans lines.
    fn quoted_end(&self, quote: u8, bytes: &[u8], is_whole: bool, row: &mut Option<usize>) -> Option<usize> {
        let mut at = 0;
        loop {
            let next = memchr2(quote, self.line_end, &bytes[at..]).map(|next| at + next);
            let ends = next.is_none_or(|next| bytes[next] == self.line_end);
            if let (true, Some(row)) = (ends && (next.is_some() || is_whole), *row)
                && self.count(&bytes[..next.unwrap_or(bytes.len())]) != Some(self.fields as usize)
            {
                return Some(row);
            }
            at = next?;
            if ends {
                return Some(at + 1);
            }
            if !self.opens(bytes, at) {
                at += 1;
                continue;
            }
            match self.close(quote, bytes, at + 1, is_whole, row) {
                Close::At(close) => at = close + 1,
                Close::Lost(end) => return Some(end),
                Close::Open => return None,
            }
        }
    }

    /// Returns whether a row is a comment.
    pub fn is_comment(&self, row: &[u8]) -> bool {
        self.comment.is_some() && row.first() == self.comment.as_ref()
    }

    /// Finds the end of the field that was opened before `from`. `row`: see [`Dialect::end`].
    fn close(&self, quote: u8, bytes: &[u8], from: usize, is_whole: bool, row: &mut Option<usize>) -> Close {
        let (mut line, mut first) = (from, true);
        let mut regular = 0;
        loop {
            let limit = self.limit as usize;
            let end = memchr(self.line_end, &bytes[line..]).map(|at| line + at);
            if line >= limit && !first {
                return row.or(end.map(|end| end + 1)).map_or(Close::Open, Close::Lost);
            }
            // A row may go no further than its limit, wherever it is cut.
            let is_long = !first && end.unwrap_or(bytes.len()) > limit;
            let full = &bytes[line..end.unwrap_or(bytes.len())];
            let text = if is_long { &bytes[line..limit] } else { full };
            if end.is_none() && !is_whole && !is_long {
                // It may close on this line, all the same.
                return match self.quote_in(quote, &bytes[line..]) {
                    Some(at) if first && line + at + 1 < bytes.len() => Close::At(line + at),
                    _ => Close::Open,
                };
            }
            // Of the first line, only what is behind the quote.
            let is_row = !first && !is_long && self.count(text) == Some(self.fields as usize);
            let mut searched = 0;
            while let Some(at) = self.quote_in(quote, &text[searched..]).map(|at| searched + at) {
                if first || self.ends_field(&full[at + 1..]) {
                    let is_lost = regular >= LINES_BEFORE_CLOSE && self.fields > 2 && self.has_all_fields(text);
                    return match row {
                        Some(row) if is_lost => Close::Lost(*row),
                        _ => Close::At(line + at),
                    };
                }
                // Nothing that closes a field: another row opens one.
                if is_row || self.fields > 1 && at > 0 && self.opens(text, at) {
                    return Close::Lost(row.unwrap_or(line));
                }
                searched = at + 1;
            }
            if is_long {
                return row.or(end.map(|end| end + 1)).map_or(Close::Open, Close::Lost);
            }
            if is_row {
                regular += 1;
                row.get_or_insert(line);
            } else {
                regular = 0;
            }
            let Some(end) = end else { return row.map_or(Close::Open, Close::Lost) };
            if regular >= LINES && self.fields > 1 || end >= self.limit as usize {
                return Close::Lost(row.unwrap_or(end + 1));
            }
            (line, first) = (end + 1, false);
            if line == bytes.len() && is_whole {
                return row.map_or(Close::Open, Close::Lost);
            }
        }
    }

    /// Returns whether the quote at `at`, outside of quotes, opens a field.
    fn opens(&self, bytes: &[u8], at: usize) -> bool {
        let mut before = &bytes[..at];
        while let [rest @ .., b' '] = before
            && self.spaced
        {
            before = rest;
        }
        before.last().is_none_or(|byte| *byte == self.delimiter)
    }

    /// Returns whether what follows a quote shows that it closes a field.
    fn ends_field(&self, rest: &[u8]) -> bool {
        let rest = if self.spaced { rest.trim_ascii_start() } else { rest };
        matches!(rest, [] | [b'\r']) || rest[0] == self.delimiter
    }

    /// Returns the place of the first quote that is neither doubled nor escaped, inside of a quoted field.
    fn quote_in(&self, quote: u8, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            at += match self.escape {
                Some(escape) => memchr2(quote, escape, &text[at..])?,
                None => memchr(quote, &text[at..])?,
            };
            let is_pair = text[at] != quote || text.get(at + 1) == Some(&quote);
            if !is_pair {
                return Some(at);
            }
            at = (at + 2).min(text.len());
        }
    }

    /// Returns the number of fields of a row without its line end; `None` if its quotes do not fit.
    pub fn count(&self, row: &[u8]) -> Option<usize> {
        let (mut fields, mut at) = (1, 0);
        while at < row.len() {
            let quoted = self.quote.filter(|quote| row[at] == *quote && self.opens(row, at));
            if let Some(quote) = quoted {
                at += 1 + self.quote_in(quote, &row[at + 1..])? + 1;
                if !self.ends_field(&row[at..]) {
                    return None;
                }
                continue;
            }
            fields += usize::from(row[at] == self.delimiter);
            at += 1;
        }
        Some(fields)
    }

    /// Returns whether a line has as many fields as the header, if no quote in it means anything.
    fn has_all_fields(&self, line: &[u8]) -> bool {
        1 + memchr::memchr_iter(self.delimiter, line).count() == self.fields as usize
    }

    /// Returns it as a delivery of the queue holds it.
    pub fn encode(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let flags = [self.quote.is_some(), self.escape.is_some(), self.comment.is_some(), self.spaced];
        bytes[0] = self.delimiter;
        bytes[1] = (0..).zip(flags).map(|(bit, flag)| u8::from(flag) << bit).sum();
        bytes[2] = self.quote.unwrap_or(0);
        bytes[3] = self.escape.unwrap_or(0);
        bytes[4] = self.comment.unwrap_or(0);
        bytes[5] = self.line_end;
        bytes[8..12].copy_from_slice(&self.fields.to_le_bytes());
        bytes[12..].copy_from_slice(&self.limit.to_le_bytes());
        bytes
    }

    /// `None` if this program does not know the form.
    pub fn decode(bytes: &[u8; 16]) -> Option<Dialect> {
        let flag = |bit: u8, value: u8| (bytes[1] >> bit & 1 == 1).then_some(value);
        let number = |from: usize| Some(u32::from_le_bytes(*bytes[from..].first_chunk()?));
        let dialect = Dialect {
            delimiter: bytes[0],
            quote: flag(0, bytes[2]),
            escape: flag(1, bytes[3]),
            comment: flag(2, bytes[4]),
            spaced: flag(3, 0).is_some(),
            line_end: bytes[5],
            fields: number(8)?,
            limit: number(12)?,
        };
        (dialect.encode() == *bytes).then_some(dialect)
    }
}
