//! Log lines in a layout: that of a server's configuration, one with a name, or the fields that a file names itself ->
//! [`Reading`].
//!
//! - `-` is absent, and so is a text in quotes that is empty.
//! - Inside quotes, escapes are decoded as in [`crate::clf`]. A quote that is not followed by what the layout has behind
//!   it belongs to the text.
//! - A line may go on behind the layout: its further fields are `extra_1`, `extra_2` and so on. It may also end before
//!   it, but not before the last of its host, time, request and status.

pub mod layout;
pub mod named;
mod w3c;

use crate::clf::{ClfReader, EXTRAS};
use crate::fault::Fault;
use crate::path_set::PathSet;
use crate::prefix::Prefix;
use crate::reading::Reading;
use crate::tabular::Columns;
use dataflows::Reason;
use layout::Layout;
use named::Named;
pub use w3c::FIELDS;
use w3c::W3cReader;

/// What heads the lines of a log: how they are laid out, and what stands before each of them. Its text travels with the
/// lines, as the header of rows does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// Directives, a name, or a `#Fields:` line. Of JSON: empty.
    pub layout: String,
    /// What stands before each line.
    pub prefix: Option<Prefix>,
}

/// Separates the layout from the prefix: no text of a configuration has it.
const SEPARATOR: char = '\u{1f}';

impl Heading {
    /// Returns its text, which [`Heading::parse`] reads.
    pub fn text(&self) -> String {
        match &self.prefix {
            Some(prefix) => format!("{}{SEPARATOR}{}", self.layout, prefix.name()),
            None => self.layout.clone(),
        }
    }

    /// Reads the text of a heading.
    pub fn parse(text: &[u8]) -> Heading {
        let text = String::from_utf8_lossy(text);
        let (layout, prefix) = text.split_once(SEPARATOR).map_or((&*text, None), |(layout, name)| (layout, Some(name)));
        Heading { layout: layout.to_owned(), prefix: prefix.map(Prefix::of) }
    }
}

/// Reads the lines of one file.
#[derive(Debug)]
pub struct LogReader {
    prefix: Option<Prefix>,
    lines: Lines,
}

#[derive(Debug)]
enum Lines {
    Clf(ClfReader),
    Layout(LayoutReader),
    W3c(W3cReader),
}

#[derive(Debug)]
struct LayoutReader {
    layout: Layout,
    columns: Columns,
}

impl LogReader {
    /// `paths` must be complete: a path that is added later is not found.
    ///
    /// # Errors
    /// A layout that cannot be understood, in words.
    pub fn new(heading: &Heading, paths: &PathSet) -> Result<LogReader, String> {
        let of = |layout: Layout| {
            let extras = (1..=EXTRAS).map(|number| format!("extra_{number}"));
            let names: Vec<String> = layout.names().iter().cloned().chain(extras).collect();
            Lines::Layout(LayoutReader { columns: Columns::new(&names, paths), layout })
        };
        let lines = if heading.layout.starts_with(FIELDS) {
            Lines::W3c(W3cReader::new(&heading.layout, paths))
        } else {
            match Named::of(&heading.layout) {
                Some(Named::Common | Named::Combined) => Lines::Clf(ClfReader::new(paths)),
                Some(named) => of(named.layout().clone()),
                None => of(Layout::parse(&heading.layout)?),
            }
        };
        Ok(LogReader { prefix: heading.prefix.clone(), lines })
    }

    /// Returns whether the line is a directive of the file or a comment, and no record.
    pub fn is_comment(&self, line: &[u8]) -> bool {
        matches!(self.lines, Lines::W3c(_)) && line.first() == Some(&b'#')
    }

    /// Returns whether the line names the fields.
    pub fn is_header(&self, line: &[u8]) -> bool {
        matches!(&self.lines, Lines::W3c(reader) if reader.is_header(line))
    }

    /// Replaces what `reading` holds by `line`, with or without its line end. After a fault (not UTF-8, no log line)
    /// `reading` is empty.
    pub fn read(&mut self, line: &[u8], reading: &mut Reading) -> Result<(), Fault> {
        reading.clear();
        let prefix = self.prefix.as_ref().and_then(|prefix| prefix.of_line(line)).unwrap_or(0);
        let line = &line[prefix..];
        if let Lines::Clf(reader) = &mut self.lines {
            return reader.read(line, reading);
        }
        let text =
            simdutf8::basic::from_utf8(line).map_err(|_| Fault::new(Reason::NotUtf8, "the line is not valid UTF-8"))?;
        let text = text.trim_end_matches(['\r', '\n']);
        match &mut self.lines {
            Lines::Clf(_) => Ok(()),
            Lines::Layout(LayoutReader { layout, columns }) => {
                let cells = layout.cells(text).map_err(|message| Fault::new(Reason::NoLogLine, message))?;
                columns.read(cells.iter().map(|cell| cell.as_ref()), reading);
                Ok(())
            }
            Lines::W3c(reader) => reader.read(text, reading),
        }
    }
}
