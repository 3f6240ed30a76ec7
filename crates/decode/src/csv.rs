//! Rows of delimited text with a header (RFC 4180: quoted fields, doubled quotes) -> [`Reading`].
//!
//! Framing decides where a row ends: a row comes here as its exact bytes.

use crate::fault::Fault;
use crate::framing::{DELIMITERS, Dialect, MARK};
use crate::path_set::PathSet;
use crate::reading::Reading;
use crate::spec::Limits;
use crate::tabular::Columns;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};
use dataflows::Reason;
use std::collections::{HashMap, HashSet};

/// Reads the rows of one file.
#[derive(Debug)]
pub struct CsvReader {
    columns: Columns,
    fields: Fields,
}

impl CsvReader {
    /// `header` is the first row, with or without a byte order mark and a line end; a column without a name is called
    /// `column_N`, counted from 1, and one whose name is taken `NAME_2`. What is no UTF-8 in it becomes U+FFFD.
    ///
    /// A header is at fault when it names more columns than `limits.keys`.
    pub fn new(header: &[u8], dialect: Dialect, paths: &PathSet, limits: &Limits) -> Result<CsvReader, Fault> {
        let names = names(header, dialect)?;
        let count = names.len();
        if count > limits.keys {
            let message = format!("the header names {count} columns, more than the limit of {}", limits.keys);
            return Err(Fault::new(Reason::TooManyKeys, message));
        }
        let names = unique(names);
        Ok(CsvReader { columns: Columns::new(&names, paths), fields: Fields::new(dialect, count) })
    }

    /// Replaces what `reading` holds by `row`: one row's exact bytes, with or without its line end. After a fault
    /// `reading` is empty.
    pub fn read(&mut self, row: &[u8], reading: &mut Reading) -> Result<(), Fault> {
        reading.clear();
        let (count, expected) = (self.fields.split(row)?, self.columns.count());
        if count != expected {
            let plural = if count == 1 { "" } else { "s" };
            let message = format!("the row has {count} field{plural}, the header has {expected}");
            return Err(Fault::new(Reason::WrongFieldCount, message));
        }
        self.columns.read(self.fields.texts(count)?, reading);
        Ok(())
    }
}

/// Returns the names in a header as they are written, in order. One without a name is `column_N`.
pub fn names(header: &[u8], dialect: Dialect) -> Result<Vec<String>, Fault> {
    let header = header.strip_prefix(MARK).unwrap_or(header);
    let header = String::from_utf8_lossy(header);
    let most = 1 + header.bytes().filter(|byte| *byte == dialect.delimiter).count();
    let mut fields = Fields::new(dialect, most);
    let count = fields.split(header.as_bytes())?;
    let name = |(index, name): (usize, &str)| match name {
        "" => format!("column_{}", index + 1),
        name => name.to_owned(),
    };
    Ok(fields.texts(count)?.enumerate().map(name).collect())
}

/// Returns the names, with a number behind each that another column has already.
pub fn unique(names: Vec<String>) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    // The number that each name was given last: a header may repeat one very often.
    let mut last: HashMap<String, usize> = HashMap::new();
    let mut unique = Vec::with_capacity(names.len());
    for name in names {
        let mut free = name.clone();
        while !taken.insert(free.clone()) {
            let number = last.entry(name.clone()).or_insert(1);
            *number += 1;
            free = format!("{name}_{number}");
        }
        unique.push(free);
    }
    unique
}

/// Returns a header row of these names, or of `column_1` and so on.
pub fn header(names: &[String], dialect: Dialect) -> Vec<u8> {
    let mut row = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            row.push(dialect.delimiter);
        }
        let is_plain =
            |byte: &u8| *byte != dialect.delimiter && Some(*byte) != dialect.quote && !b"\r\n".contains(byte);
        match dialect.quote {
            Some(quote) if !name.bytes().all(|byte| is_plain(&byte)) => {
                row.push(quote);
                for byte in name.bytes() {
                    row.extend(std::iter::repeat_n(byte, if byte == quote { 2 } else { 1 }));
                }
                row.push(quote);
            }
            _ => row.extend_from_slice(name.as_bytes()),
        }
    }
    row
}

/// Returns the most frequent of `,` `;` tab and `|` outside of quotes in a header; the first of them if there is none.
pub fn delimiter(header_line: &[u8]) -> u8 {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut quoted = false;
    for byte in header_line {
        quoted ^= *byte == b'"';
        if let Some(index) = DELIMITERS.iter().position(|candidate| !quoted && candidate == byte) {
            counts[index] += 1;
        }
    }
    // The first one wins a tie, so a later one has to be strictly more frequent.
    let best = (1..DELIMITERS.len()).fold(0, |best, index| if counts[index] > counts[best] { index } else { best });
    DELIMITERS[best]
}

/// Splits one row after the other into unquoted fields. Reused: no allocation once warm.
#[derive(Debug)]
struct Fields {
    core: Reader,
    dialect: Dialect,
    /// A row without the blanks behind its delimiters.
    tight: Vec<u8>,
    /// The texts of the fields, one after the other, in the first `written` bytes.
    text: Vec<u8>,
    written: usize,
    /// Where each field ends in `text`, and one to spare: fields above the expected number are only counted.
    ends: Vec<usize>,
}

impl Fields {
    fn new(dialect: Dialect, expected: usize) -> Fields {
        // The line end is not part of the rows, so a carriage return inside of one is data.
        let mut core = ReaderBuilder::new();
        core.delimiter(dialect.delimiter).terminator(Terminator::Any(b'\n')).escape(dialect.escape);
        match dialect.quote {
            Some(quote) => core.quote(quote),
            None => core.quoting(false),
        };
        let core = core.build();
        let (tight, text) = (Vec::new(), Vec::new());
        let mut fields = Fields { core, dialect, tight, text, written: 0, ends: vec![0; expected + 1] };
        fields.reset();
        fields
    }

    /// Returns the number of fields in `row`.
    fn split(&mut self, row: &[u8]) -> Result<usize, Fault> {
        if simdutf8::basic::from_utf8(row).is_err() {
            return Err(Fault::new(Reason::NotUtf8, "the row is not valid UTF-8"));
        }
        let row = row.strip_suffix(b"\n").unwrap_or(row);
        let row = row.strip_suffix(b"\r").unwrap_or(row);
        if self.dialect.spaced {
            let mut tight = std::mem::take(&mut self.tight);
            tighten(row, self.dialect, &mut tight);
            let count = self.split_tight(&tight);
            self.tight = tight;
            return count;
        }
        self.split_tight(row)
    }

    fn split_tight(&mut self, row: &[u8]) -> Result<usize, Fault> {
        self.written = 0;
        // To csv-core an empty line is no row at all.
        match row.first() {
            None => {
                self.ends[0] = 0;
                return Ok(1);
            }
            Some(b'\n') => return Err(line_break()),
            Some(_) => {}
        }
        // A field is never longer than it was written, so with room for the line end the text is never full.
        if self.text.len() < row.len() + 2 {
            self.text.resize(row.len() + 2, 0);
        }
        // The line end comes apart, since a row that does not end with it has an open quote.
        let mut count = 0;
        for (mut input, is_last) in [(row, false), (b"\n", true)] {
            while !input.is_empty() {
                let spare = self.ends.len() - 1;
                let ends = &mut self.ends[count.min(spare)..];
                let (result, read, written, ended) = self.core.read_record(input, &mut self.text[self.written..], ends);
                input = &input[read..];
                self.written += written;
                count += ended;
                if let ReadRecordResult::Record = result {
                    if is_last {
                        return Ok(count);
                    }
                    self.reset();
                    return Err(line_break());
                }
            }
        }
        self.reset();
        Err(Fault::new(Reason::WrongFieldCount, "a quote in the row is never closed"))
    }

    /// Returns the fields of the row that was split last, which had `count` of them, no more than expected.
    fn texts(&self, count: usize) -> Result<impl Iterator<Item = &str>, Fault> {
        // Cutting valid UTF-8 at ASCII characters leaves valid UTF-8.
        let fault = || Fault::new(Reason::NotUtf8, "the delimiter cuts a character in two");
        let text = simdutf8::basic::from_utf8(&self.text[..self.written]).map_err(|_| fault())?;
        let ends = &self.ends[..count];
        if !ends.iter().all(|end| text.is_char_boundary(*end)) {
            return Err(fault());
        }
        let mut start = 0;
        Ok(ends.iter().map(move |end| &text[std::mem::replace(&mut start, *end)..*end]))
    }

    /// Makes the next byte the first of a row.
    fn reset(&mut self) {
        self.core.reset();
        // csv-core takes a byte order mark off whatever it reads first, but in a row it is data. An empty line counts
        // as something read.
        self.core.read_record(b"\n", &mut [0], &mut [0]);
    }
}

/// Copies a row without the blanks on both sides of its delimiters.
fn tighten(row: &[u8], dialect: Dialect, tight: &mut Vec<u8>) {
    tight.clear();
    let mut quoted = false;
    for (at, byte) in row.iter().enumerate() {
        quoted ^=
            Some(*byte) == dialect.quote && (at == 0 || dialect.escape.is_none_or(|escape| row[at - 1] != escape));
        let is_outer = |rest: &[u8]| rest.first().is_none_or(|byte| *byte == dialect.delimiter);
        let is_blank = *byte == b' '
            && !quoted
            && (tight.last().is_none_or(|last| *last == dialect.delimiter) || is_outer(row[at..].trim_ascii_start()));
        if !is_blank {
            tight.push(*byte);
        }
    }
}

fn line_break() -> Fault {
    Fault::new(Reason::WrongFieldCount, "the row has a line break outside of quotes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tabular::tests::{path_set, shape_of, texts};
    use proptest::prelude::*;

    fn reader(header: &str) -> Result<CsvReader, Fault> {
        let limits = Limits { keys: 4, ..Limits::default() };
        CsvReader::new(header.as_bytes(), Dialect::default(), &path_set(&["a", "b", "c.d"]), &limits)
    }

    #[test]
    fn rows() {
        let cases = [
            ("a,b,c.d", "1,2,3", ["1", "2", "3"]),
            ("a,b,c.d", "1,2,3\n", ["1", "2", "3"]),
            ("\u{feff}a,b,c.d\r\n", "1,2,3\r\n", ["1", "2", "3"]),
            ("c.d,x,\"a\"", "1,2,3", ["3", "", "1"]),
            ("a,b,c.d", ",,", ["", "", ""]),
            ("a,b,c.d", " 1 , \"2\",é", [" 1 ", " \"2\"", "é"]),
            ("a,b,c.d", "\"1,\r\n\"\"2\"\"\",\"\",\"3\"", ["1,\r\n\"2\"", "", "3"]),
            ("a,b,c.d", "\u{feff}1,2\r3,4", ["\u{feff}1", "2\r3", "4"]),
            ("a", "1", ["1", "", ""]),
            ("a", "\r\n", ["", "", ""]),
        ];
        for (header, row, expected) in cases {
            let paths = path_set(&["a", "b", "c.d"]);
            let mut reading = Reading::default();
            reader(header).unwrap().read(row.as_bytes(), &mut reading).unwrap();
            assert_eq!(texts(&reading, &paths), expected, "{header:?} {row:?}");
        }
    }

    #[test]
    fn a_column_without_a_name_is_called_by_its_number() {
        let mut reading = Reading::default();
        reader("a,,b,").unwrap().read(b"1,2,,4", &mut reading).unwrap();
        assert_eq!(reading.shape, shape_of(&["a", "column_2", "column_4"]));
    }

    #[test]
    fn faults_of_rows() {
        let cases: [(&[u8], Reason, &str); 9] = [
            (b"1", Reason::WrongFieldCount, "the row has 1 field, the header has 2"),
            (b"", Reason::WrongFieldCount, "the row has 1 field, the header has 2"),
            (b"1,2,3", Reason::WrongFieldCount, "the row has 3 fields, the header has 2"),
            (b"1,2,3,4,5,6,,\n", Reason::WrongFieldCount, "the row has 8 fields, the header has 2"),
            (b"1,\"2\n", Reason::WrongFieldCount, "a quote in the row is never closed"),
            (b"1,\"2\n3,4,5,6", Reason::WrongFieldCount, "a quote in the row is never closed"),
            (b"1,a\"2\n3\",4", Reason::WrongFieldCount, "the row has a line break outside of quotes"),
            (b"\n\n", Reason::WrongFieldCount, "the row has a line break outside of quotes"),
            (b"1,\xff", Reason::NotUtf8, "the row is not valid UTF-8"),
        ];
        let mut reader = reader("a,b").unwrap();
        let mut reading = Reading::default();
        for (row, reason, message) in cases {
            assert_eq!(reader.read(row, &mut reading), Err(Fault::new(reason, message)), "{row:?}");
            assert!(reading.first(0).is_none() && reading.shape.is_none());
            // The next row is none the worse for it.
            reader.read("\u{feff}1,2".as_bytes(), &mut reading).unwrap();
            assert_eq!(texts(&reading, &path_set(&["a", "b"])), ["\u{feff}1", "2"]);
        }
    }

    #[test]
    fn faults_of_headers() {
        let cases = [
            ("a,b,c,d,e", Reason::TooManyKeys, "the header names 5 columns, more than the limit of 4"),
            ("a,\"b", Reason::WrongFieldCount, "a quote in the row is never closed"),
        ];
        for (header, reason, message) in cases {
            assert_eq!(reader(header).err(), Some(Fault::new(reason, message)), "{header:?}");
        }
        let cut = Dialect { delimiter: 0xa9, ..Dialect::default() };
        let cut = CsvReader::new("é".as_bytes(), cut, &PathSet::default(), &Limits::default());
        assert_eq!(cut.unwrap_err().reason, Reason::NotUtf8);
    }

    #[test]
    fn names_that_are_taken_or_no_utf_8_are_mended() {
        let mut reading = Reading::default();
        let read = |header: &[u8], reading: &mut Reading| {
            let paths = path_set(&["a"]);
            let mut reader = CsvReader::new(header, Dialect::default(), &paths, &Limits::default()).unwrap();
            reader.read(b"1,2,3", reading).unwrap();
        };
        read(b"a,b,a", &mut reading);
        assert_eq!((reading.shape, texts(&reading, &path_set(&["a"]))), (shape_of(&["a", "b", "a_2"]), vec!["1"]));
        read(b"column_2,,x", &mut reading);
        assert_eq!(reading.shape, shape_of(&["column_2", "column_2_2", "x"]));
        read(b"a,st\xe4dt,x", &mut reading);
        assert_eq!(reading.shape, shape_of(&["a", "st\u{fffd}dt", "x"]));
    }

    #[test]
    fn dialects() {
        let cases = [
            (Dialect { spaced: true, ..Dialect::default() }, "a, b, c.d", "1, \"2, x\" ,3 4 ", ["1", "2, x", "3 4"]),
            (
                Dialect { escape: Some(b'\\'), ..Dialect::default() },
                "a,b,c.d",
                r#""{\"x\":1}","",3"#,
                [r#"{"x":1}"#, "", "3"],
            ),
            (Dialect { quote: None, ..Dialect::default() }, "a,b,c.d", "\"1,2\",3", ["\"1", "2\"", "3"]),
            (Dialect { quote: Some(b'\''), ..Dialect::default() }, "a,b,c.d", "'1,2','x''y',3", ["1,2", "x'y", "3"]),
        ];
        for (dialect, header, row, expected) in cases {
            let paths = path_set(&["a", "b", "c.d"]);
            let mut reading = Reading::default();
            let mut reader = CsvReader::new(header.as_bytes(), dialect, &paths, &Limits::default()).unwrap();
            reader.read(row.as_bytes(), &mut reading).unwrap();
            assert_eq!(texts(&reading, &paths), expected, "{row}");
        }
    }

    #[test]
    fn delimiters() {
        for (header, expected) in [
            ("a,b;c,d", b','),
            ("a;b;c,d", b';'),
            ("a\tb", b'\t'),
            ("a|b|c", b'|'),
            ("\"a,b,c\";d", b';'),
            ("a;b,c", b','),
            ("a", b','),
            ("", b','),
        ] {
            assert_eq!(delimiter(header.as_bytes()), expected, "{header}");
        }
    }

    proptest! {
        /// A row of an RFC 4180 writer is read back, after any broken rows.
        #[test]
        fn what_was_written_is_read(
            delimiter in prop_oneof![Just(','), Just(';'), Just('\t'), Just('|')],
            rows in prop::collection::vec(
                (prop::collection::vec(("[ab,;\t|\"\r\né\u{feff} ]{0,5}", any::<bool>()), 3), "[ab,;\"\n]{0,8}", "\r?\n|"),
                1..6,
            ),
        ) {
            let paths = path_set(&["a", "b", "c"]);
            let header = ["a", "b", "c"].join(&delimiter.to_string());
            let dialect = Dialect { delimiter: delimiter as u8, ..Dialect::default() };
            let mut reader = CsvReader::new(header.as_bytes(), dialect, &paths, &Limits::default()).unwrap();
            let written: Vec<String> = ["a", "b;\"", ""].map(str::to_owned).into();
            let again = super::names(&super::header(&written, dialect), dialect);
            prop_assert_eq!(again.unwrap(), ["a", "b;\"", "column_3"]);
            let mut reading = Reading::default();
            for (cells, broken, line_end) in &rows {
                let write = |(cell, quote): &(String, bool)| match *quote || cell.contains([delimiter, '"', '\r', '\n']) {
                    true => format!("\"{}\"", cell.replace('"', "\"\"")),
                    false => cell.clone(),
                };
                let row = cells.iter().map(write).collect::<Vec<_>>().join(&delimiter.to_string()) + line_end;
                _ = reader.read(broken.as_bytes(), &mut reading);
                prop_assert_eq!(reader.read(row.as_bytes(), &mut reading), Ok(()), "{:?}", row);
                prop_assert_eq!(texts(&reading, &paths), cells.iter().map(|(cell, _)| cell).collect::<Vec<_>>(), "{:?}", row);
            }
        }

        #[test]
        fn no_bytes_panic(header: Vec<u8>, rows: Vec<Vec<u8>>, delimiter: u8, spaced: bool) {
            let dialect = Dialect { delimiter, spaced, ..Dialect::default() };
            let Ok(mut reader) = CsvReader::new(&header, dialect, &PathSet::default(), &Limits::default()) else {
                return Ok(());
            };
            let mut reading = Reading::default();
            for row in rows {
                prop_assert_eq!(reader.read(&row, &mut reading).is_ok(), reading.shape.is_some());
            }
        }
    }
}
