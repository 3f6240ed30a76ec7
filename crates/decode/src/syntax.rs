//! How the bytes of a source are written, as far as the configuration says so. Everything else is recognised by the
//! content of each file ([`crate::detect`]).

use crate::defaults;
use crate::path::Path;
use crate::prefix::Prefix;
use crate::spec::{Candidate, EventsPlan, FieldPlan, Format};
use dataflows::PathHash;
use std::collections::BTreeSet;
use std::fmt;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Syntax {
    /// Of rows. An ASCII character.
    pub delimiter: Option<u8>,
    /// Of rows. `Some(None)`: no character quotes.
    pub quote: Option<Option<u8>>,
    /// Of rows: inside of quotes, makes the next character part of the field.
    pub escape: Option<u8>,
    /// Of rows.
    pub header: Header,
    /// Lines above the header, or above the first record.
    pub skip: usize,
    /// Of rows: a line that begins with it is none.
    pub comment: Option<u8>,
    pub encoding: Encoding,
    /// Of log lines: directives, or a name ([`crate::log`]).
    pub layout: Option<String>,
    /// What stands before each record on its line.
    pub prefix: Option<Prefix>,
    /// The field of a JSON object that holds the event as a text.
    pub unwrap: Option<Path>,
    pub wanted: Wanted,
}

impl Syntax {
    /// Returns whether the configuration says anything about how bytes are written.
    pub fn is_silent(&self) -> bool {
        *self == Syntax { wanted: self.wanted.clone(), ..Syntax::default() }
    }
}

/// Where the names of columns are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// In the first row, if that has names.
    #[default]
    First,
    /// Nowhere: columns are called by their number.
    Absent,
    Names(Vec<String>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-16 where a file begins with its mark, else UTF-8.
    #[default]
    Utf8,
    Utf16Le,
    Utf16Be,
    Latin1,
    Windows1252,
}

impl Encoding {
    pub const ALL: [Encoding; 5] =
        [Encoding::Utf8, Encoding::Utf16Le, Encoding::Utf16Be, Encoding::Latin1, Encoding::Windows1252];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf-8",
            Encoding::Utf16Le => "utf-16le",
            Encoding::Utf16Be => "utf-16be",
            Encoding::Latin1 => "latin1",
            Encoding::Windows1252 => "windows-1252",
        }
    }

    /// Returns whether each byte is a character.
    pub fn is_of_bytes(self) -> bool {
        matches!(self, Encoding::Latin1 | Encoding::Windows1252)
    }

    /// Returns the character of a byte.
    pub fn character(self, byte: u8) -> char {
        match (self, byte) {
            (Encoding::Windows1252, 0x80..0xa0) => WINDOWS_1252[usize::from(byte - 0x80)],
            _ => char::from(byte),
        }
    }
}

/// 0x80 to 0x9f, after the index of the WHATWG Encoding Standard.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// The paths that settings ask for: a row that has none of them is no header.
#[derive(Clone, PartialEq, Eq)]
pub struct Wanted(BTreeSet<u64>);

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} paths", self.0.len())
    }
}

impl Default for Wanted {
    /// Returns the built-in candidates.
    fn default() -> Wanted {
        let all = [defaults::user(Format::Csv), defaults::time(Format::Csv), defaults::kind(Format::Csv)];
        Wanted::of(all.iter().flatten().flat_map(|candidate| &candidate.parts))
    }
}

impl Wanted {
    /// Returns what the events of a source and the fields ask for.
    pub fn new(events: &EventsPlan, fields: &[FieldPlan]) -> Wanted {
        let chosen = |configured: &Option<Vec<Candidate>>, built_in: fn(Format) -> Vec<Candidate>| {
            configured.clone().unwrap_or_else(|| built_in(Format::Csv))
        };
        let candidates = [
            chosen(&events.user, defaults::user),
            chosen(&events.time, defaults::time),
            chosen(&events.kind, defaults::kind),
            events.id.clone(),
        ];
        let fields = fields.iter().flat_map(|field| &field.candidates);
        Wanted::of(candidates.iter().flatten().flat_map(|candidate| &candidate.parts).chain(fields))
    }

    fn of<'p>(paths: impl Iterator<Item = &'p Path>) -> Wanted {
        // Of a value that is derived from another one, that other one.
        let plain = |path: &Path| match path.is_plain() {
            true => Some(path.hash().bits()),
            false => path.parts().0.map(|base| base.hash().bits()),
        };
        Wanted(paths.filter_map(plain).collect())
    }

    /// Returns whether a column of this name is asked for.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(&PathHash::ROOT.key(name).bits())
    }
}
