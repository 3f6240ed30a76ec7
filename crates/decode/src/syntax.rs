//! How the bytes of a source are written, as far as the configuration says so. Everything else is recognised by the
//! content of each file ([`crate::detect`]).

use crate::path::Path;
use crate::prefix::Prefix;
use crate::wanted::Wanted;

/// How the bytes of one source are written.
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
    /// Of the text.
    pub encoding: Encoding,
    /// Of log lines: directives, or a name ([`crate::log`]).
    pub layout: Option<String>,
    /// What stands before each record on its line.
    pub prefix: Option<Prefix>,
    /// The field of a JSON object that holds the event as a text.
    pub unwrap: Option<Path>,
    /// Tells a header from a row of values.
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
    /// Here: the file has none.
    Names(Vec<String>),
}

/// How characters are written as bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-16 where a file begins with its mark, else UTF-8.
    #[default]
    Utf8,
    /// UTF-16, the lower byte first.
    Utf16Le,
    /// UTF-16, the higher byte first.
    Utf16Be,
    /// ISO 8859-1.
    Latin1,
    /// Latin 1 with printable characters from 0x80 to 0x9f.
    Windows1252,
}

impl Encoding {
    /// Every encoding.
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
