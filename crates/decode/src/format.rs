//! The formats of events.

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// JSON Lines, JSON arrays, concatenated JSON objects.
    Json,
    /// Delimited rows with a header.
    Csv,
    /// Common and Combined Log Format.
    Clf,
    /// Log lines in a layout that has a name, that is configured, or that the file names.
    Log,
    /// Labeled Tab-separated Values.
    Ltsv,
    /// Pairs `key=value`, separated by blanks.
    Logfmt,
    /// Lines of text, with a time and pairs `key=value` anywhere in them.
    Text,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 7] =
        [Format::Json, Format::Csv, Format::Clf, Format::Log, Format::Ltsv, Format::Logfmt, Format::Text];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Clf => "clf",
            Format::Log => "log",
            Format::Ltsv => "ltsv",
            Format::Logfmt => "logfmt",
            Format::Text => "text",
        }
    }
}
