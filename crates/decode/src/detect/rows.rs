//! Recognises how rows of delimited text are written: by their header, and by what fits most rows below it.

use super::{Opened, Refused, most, whole};
use crate::account::{Account, Skip};
use crate::csv;
use crate::framing::{Dialect, Framing};
use crate::spec::Format;
use crate::syntax::{Header, Syntax};
use memchr::memchr;
use std::sync::Arc;

/// Begins a comment, where lines above the header begin with it.
const COMMENT: u8 = b'#';

/// Returns how rows are written that `head` begins with, if that is configured.
pub(super) fn open(
    head: &[u8],
    syntax: &Syntax,
    limit: usize,
    line_end: u8,
    is_whole: bool,
) -> Result<Opened, Refused> {
    let mut above = Above::of(head, syntax, line_end);
    if syntax.header == Header::First
        && let Some(lines) = prose_above(head, &above, syntax, limit, line_end, is_whole)
    {
        above.take(Skip::Above, lines);
    }
    let rest = &head[above.end..];
    let (first, end, dialect) = above.dialect(rest, syntax, limit, line_end, is_whole)?;
    let names = csv::names(first, dialect).unwrap_or_default();
    let by_number = || (1..=names.len()).map(|number| format!("column_{number}")).collect::<Vec<_>>();
    let synthesised = match &syntax.header {
        Header::Names(names) => Some(names.clone()),
        Header::Absent => Some(by_number()),
        Header::First if names.iter().any(|name| syntax.wanted.has(name)) => None,
        // Nothing shows that it names columns, and it is no name that begins with a digit.
        Header::First if first.is_empty() => None,
        Header::First => {
            let is_value = |name: &String| name.starts_with(|first: char| first.is_ascii_digit());
            let by_number = by_number();
            let is_row = by_number.iter().any(|name| syntax.wanted.has(name)) || names.iter().any(is_value);
            is_row.then_some(by_number)
        }
    };
    let is_silent = syntax.header == Header::First;
    Ok(match synthesised {
        Some(names) => {
            let dialect = Dialect { fields: names.len() as u32, ..dialect };
            let mut opened = above.opened(csv::header(&names, dialect), 0, dialect);
            if is_silent {
                opened.notes = vec!["its first row is no header: columns are called `column_1` and so on".into()];
            }
            opened
        }
        None => above.opened(first.to_vec(), end, dialect),
    })
}

/// Returns how rows are written that `head` begins with, if they have a header that names something that is asked for.
pub(super) fn recognise(
    head: &[u8],
    syntax: &Syntax,
    limit: usize,
    line_end: u8,
    is_whole: bool,
) -> Result<Opened, Refused> {
    let mut above = Above::of(head, syntax, line_end);
    let prose = prose_above(head, &above, syntax, limit, line_end, is_whole);
    if let Some(lines) = prose {
        above.take(Skip::Above, lines);
    }
    let rest = &head[above.end..];
    let Ok((first, end, dialect)) = above.dialect(rest, syntax, limit, line_end, is_whole) else {
        return Err(if goes_on(rest, syntax, line_end) { Refused::More } else { Refused::Unknown(None) });
    };
    let names = csv::names(first, dialect).unwrap_or_default();
    let body = &rest[end.min(rest.len())..];
    let rows = || whole(Framing::Rows(dialect), body).filter(|row| !dialect.is_comment(row));
    let fits = |row: &[u8]| dialect.count(row) == Some(names.len());
    // A row below a long header is long too.
    let is_cut = !is_whole && head.len() < limit && Framing::Rows(dialect).boundary(body).is_none();
    if is_cut && names.len() >= MANY {
        return Err(Refused::More);
    }
    let is_table =
        names.len() > 1 && (rows().next().is_none() || most(rows(), fits) || rows().any(fits) && words(&names));
    if !is_table {
        return Err(Refused::Unknown(None));
    }
    if names.iter().all(|name| is_name(name)) && names.iter().any(|name| syntax.wanted.has(name)) {
        return Ok(above.opened(first.to_vec(), end, dialect));
    }
    // Prose with commas is no table. Of one, many rows have many fields.
    let is_sure = names.len() > 2 && rows().next().is_some() && rows().all(fits);
    Err(Refused::Unknown(is_sure.then(|| {
        let delimiter = char::from(dialect.delimiter).escape_default();
        format!(
            "it looks like rows of {} fields, separated by `{delimiter}`, but its first row names nothing that is asked \
             for: set `user`, `time` and `type` to names of columns, or, if there is no header, `header = false` \
             (columns are then `column_1`, `column_2` …) or `header = [\"…\", …]`; if these are lines of text, \
             `format = \"text\"`",
            names.len(),
        )
    })))
}

/// Lines that may stand above a header, as reports have them.
const PROSE: usize = 20;

/// Returns the length of lines above a header that are neither rows nor comments: titles, dates of an export. The header
/// names something that is asked for, and all rows below it fit.
fn prose_above(
    head: &[u8],
    above: &Above,
    syntax: &Syntax,
    limit: usize,
    line_end: u8,
    is_whole: bool,
) -> Option<usize> {
    let rest = &head[above.end..];
    let names_of = |from: usize| {
        let (first, end, dialect) = above.dialect(&rest[from..], syntax, limit, line_end, is_whole).ok()?;
        Some((csv::names(first, dialect).ok()?, from + end, dialect))
    };
    let is_header = |names: &[String]| names.iter().any(|name| syntax.wanted.has(name));
    let first = names_of(0).map(|(names, ..)| names).unwrap_or_default();
    if is_header(&first) {
        return None;
    }
    let mut at = 0;
    for _ in 0..PROSE {
        at += memchr(line_end, &rest[at..])? + 1;
        let Some((names, end, dialect)) = names_of(at) else { continue };
        if names.len() < 2
            || names.len() <= first.len()
            || !is_header(&names)
            || !names.iter().all(|name| is_name(name))
        {
            continue;
        }
        let mut rows =
            whole(Framing::Rows(dialect), rest.get(end..)?).filter(|row| !row.trim_ascii().is_empty()).peekable();
        return (rows.peek().is_some() && rows.all(|row| dialect.count(row) == Some(names.len()))).then_some(at);
    }
    None
}

/// Names of a header that is longer than those that are usual.
const MANY: usize = 64;

/// Returns whether text without a line end is the beginning of a header of very many names.
fn goes_on(head: &[u8], syntax: &Syntax, line_end: u8) -> bool {
    if memchr(line_end, head).is_some() {
        return false;
    }
    let delimiter = syntax.delimiter.unwrap_or_else(|| csv::delimiter(head));
    let names: Vec<&[u8]> = head.split(|byte| *byte == delimiter).collect();
    let is_wanted =
        |name: &&[u8]| std::str::from_utf8(name).is_ok_and(|name| syntax.wanted.has(name.trim().trim_matches('"')));
    names.len() >= MANY && names.iter().any(is_wanted)
}

/// Single words: it is enough that one row below them fits.
fn words(names: &[String]) -> bool {
    names.iter().all(|name| !name.is_empty() && !name.contains(char::is_whitespace))
}

/// Names do not begin with digits (rows without a header, lines of a log) or with markup.
fn is_name(name: &str) -> bool {
    !name.trim().starts_with(|first: char| first.is_ascii_digit() || "<{[".contains(first))
}

/// What stands above the header.
struct Above {
    end: usize,
    account: Account,
    /// As a `sep=` line says.
    delimiter: Option<u8>,
    comment: Option<u8>,
    /// The header begins with the mark of a comment.
    is_marked: bool,
}

impl Above {
    fn of(head: &[u8], syntax: &Syntax, line_end: u8) -> Above {
        let account = Account::default();
        let mut above = Above { end: 0, account, delimiter: None, comment: syntax.comment, is_marked: false };
        let line = |from: usize| {
            let rest = &head[from..];
            &rest[..memchr(line_end, rest).map_or(rest.len(), |at| at + 1)]
        };
        let first = line(0);
        let text = first.trim_ascii().trim_ascii_start();
        let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
        if let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] = text {
            above.delimiter = Some(*delimiter);
            above.take(Skip::Above, first.len());
        } else if first.eq_ignore_ascii_case(b"sep=\t\n") || first.eq_ignore_ascii_case(b"sep=\t\r\n") {
            above.delimiter = Some(b'\t');
            above.take(Skip::Above, first.len());
        }
        let mark = syntax.comment.unwrap_or(COMMENT);
        let comments = || {
            let mut at = above.end;
            std::iter::from_fn(move || {
                let line = line(at);
                at += line.len();
                (line.first() == Some(&mark) || !line.is_empty() && line.trim_ascii().is_empty()).then_some(line)
            })
        };
        let lines: Vec<&[u8]> = comments().collect();
        let Some(last) = lines.iter().rposition(|line| line.first() == Some(&mark)) else { return above };
        // Blank lines behind them are not the header.
        let mut lines = &lines[..];
        let header = line(above.end + lines.iter().map(|line| line.len()).sum::<usize>());
        let wanted = |line: &[u8]| {
            let dialect = Dialect { delimiter: above.delimiter.unwrap_or(csv::delimiter(line)), ..Dialect::default() };
            let names = csv::names(line.trim_ascii(), dialect).unwrap_or_default();
            names.iter().any(|name| syntax.wanted.has(name.trim()))
        };
        // `#user_id,ts` is a header, if what follows is none.
        if syntax.comment.is_none() && !wanted(header) && wanted(&lines[last][1..]) {
            (lines, above.is_marked) = (&lines[..last], true);
        } else {
            above.comment = Some(mark);
        }
        for line in lines {
            let skip = if line.first() == Some(&mark) { Skip::Comment } else { Skip::Blank };
            above.take(skip, line.len());
        }
        above
    }

    fn take(&mut self, skip: Skip, bytes: usize) {
        self.account.skip(skip, bytes);
        self.end += bytes;
    }

    /// Returns the first row of `rest` without line end, its whole length, and the dialect of which it is the header.
    fn dialect<'h>(
        &self,
        rest: &'h [u8],
        syntax: &Syntax,
        limit: usize,
        line_end: u8,
        is_whole: bool,
    ) -> Result<(&'h [u8], usize, Dialect), Refused> {
        let line = &rest[..memchr(line_end, rest).unwrap_or(rest.len())];
        let delimiter = syntax.delimiter.or(self.delimiter).unwrap_or_else(|| csv::delimiter(line));
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let quote = syntax.quote.unwrap_or(Some(b'"'));
        let escape = syntax.escape;
        let comment = self.comment;
        let plain = Dialect { delimiter, quote, escape, spaced: false, comment, line_end, fields: 0, limit };
        let end = match plain.end(rest, is_whole) {
            Some(end) => end,
            None if is_whole => rest.len(),
            None => return Err(Refused::More),
        };
        let row = &rest[..end - Framing::Rows(plain).terminator(&rest[..end])];
        let row = if self.is_marked { row[1.min(row.len())..].trim_ascii_start() } else { row };
        let dialect = plain.settled(row, &rest[end..], syntax);
        let fields = csv::names(row, dialect).map_or(0, |names| names.len());
        Ok((row, end, Dialect { fields: fields as u32, ..dialect }))
    }

    fn opened(mut self, header: Vec<u8>, length: usize, dialect: Dialect) -> Opened {
        self.take(Skip::Header, length);
        let names = csv::names(&header, dialect).unwrap_or_default();
        let unique = csv::unique(names.clone());
        let renamed = names.iter().zip(&unique).filter(|(name, unique)| name != unique);
        let renamed: Vec<String> = renamed.map(|(_, unique)| format!("`{unique}`")).collect();
        let note = || format!("its header names columns twice: the later ones are {}", renamed.join(", "));
        let notes = (!renamed.is_empty()).then(note).into_iter().collect();
        Opened {
            format: Format::Csv,
            framing: Framing::Rows(dialect),
            header: Some(Arc::from(header)),
            start: self.end,
            above: self.account,
            notes,
        }
    }
}

impl Dialect {
    /// Returns the dialect in which most rows of `body` have as many fields as `header`. What is configured stays.
    fn settled(self, header: &[u8], body: &[u8], syntax: &Syntax) -> Dialect {
        let is_spaced = self.delimiter != b' ' && {
            let mut cells = header.split(|byte| *byte == self.delimiter).skip(1).peekable();
            cells.peek().is_some() && cells.all(|cell| cell.starts_with(b" "))
        };
        let mut all = vec![Dialect { spaced: is_spaced, ..self }];
        if syntax.escape.is_none() && memchr::memmem::find(body, b"\\\"").is_some() {
            all.push(Dialect { escape: Some(b'\\'), ..all[0] });
        }
        let fitting = |dialect: &Dialect| {
            let fields = csv::names(header, *dialect).map_or(0, |names| names.len());
            let rows = whole(Framing::Rows(Dialect { fields: fields as u32, ..*dialect }), body);
            rows.filter(|row| dialect.count(row) == Some(fields)).count()
        };
        // Tabs hardly occur in values, so most writers of them quote nothing.
        if syntax.quote.is_none() && self.delimiter == b'\t' {
            let none = Dialect { quote: None, ..all[0] };
            let (with, without) = (fitting(&all[0]), fitting(&none));
            if with < without || with == without && !is_quoted(header, body, self) {
                return none;
            }
        }
        // The first one wins a tie.
        all.iter().copied().rev().max_by_key(fitting).unwrap_or(self)
    }
}

/// Returns whether some fields of rows are in quotes, and all that begin with one.
fn is_quoted(header: &[u8], body: &[u8], dialect: Dialect) -> bool {
    let lines = std::iter::once(header).chain(body.split(|byte| *byte == dialect.line_end));
    let fields = lines.flat_map(|line| line.split(|byte| *byte == dialect.delimiter)).map(<[u8]>::trim_ascii);
    let mut quoted = fields.filter(|field| field.starts_with(b"\"")).peekable();
    quoted.peek().is_some() && quoted.all(|field| field.len() > 1 && field.ends_with(b"\""))
}
