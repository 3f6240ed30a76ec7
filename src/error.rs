//! The errors that end the program early. An error of a part becomes one of these where it is handled: once, in `main`.

use crate::config::ConfigError;
use crate::text::{printable, printable_lines};
use miette::{Diagnostic, LabeledSpan, Severity, SourceCode};
use std::fmt::{self, Display};
use std::io::{self, IsTerminal};

/// Exit code of a process whose state cannot be trusted any more, or that got nowhere: start it again.
pub const EXIT_AGAIN: i32 = 70;

/// Exit code of a process that has lost another host of its run: start it again, it waits for the other one.
pub const EXIT_ELSEWHERE: i32 = 69;

/// Exit code of a process that failed for a reason that another start would meet again.
pub const EXIT_FAILED: i32 = 1;

/// Printed by miette; [`Error::exit_code`] says what the shell sees.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Error {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Config(#[from] ConfigError),

    /// The command line asks for something that the configuration does not allow.
    #[error("{message}")]
    Usage {
        message: String,
        #[help]
        help: String,
    },

    /// The run began and could not go on.
    #[error("cannot {attempt}")]
    Run {
        /// The action that failed, as a verb: "write sessions.parquet".
        attempt: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Error {
        Error::Usage { message: message.into(), help: help.into() }
    }

    /// For `map_err`: `.map_err(Error::run("read the files"))`.
    pub fn run<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        attempt: impl Into<String>,
    ) -> impl FnOnce(E) -> Error {
        let attempt = attempt.into();
        move |source| Error::Run { attempt, source: source.into() }
    }

    /// Returns 1 if the run failed, and 2 if it never began because of the command line or the configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Run { .. } => 1,
            Error::Config(_) | Error::Usage { .. } => 2,
        }
    }
}

/// Returns an error for a person, with its causes, as miette shows it. File names and what servers say are in it:
/// nothing in them ends a line or steers the terminal.
pub fn shown(error: Error) -> String {
    let cause = std::error::Error::source(&error).map(Cause::of);
    let report = miette::Report::new(Shown { error, cause });
    printable_lines(&format!("{report:?}"), io::stderr().is_terminal())
}

/// An error whose texts are fit for a terminal.
#[derive(Debug)]
struct Shown {
    error: Error,
    cause: Option<Cause>,
}

#[derive(Debug)]
struct Cause {
    text: String,
    cause: Option<Box<Cause>>,
}

impl Cause {
    fn of(error: &(dyn std::error::Error + 'static)) -> Cause {
        let cause = error.source().map(|cause| Box::new(Cause::of(cause)));
        Cause { text: printable(&error.to_string()), cause }
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.error.to_string()))
    }
}

impl std::error::Error for Shown {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

impl Diagnostic for Shown {
    fn code<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.error.code()
    }

    fn severity(&self) -> Option<Severity> {
        self.error.severity()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.error.help().map(|help| Box::new(printable(&help.to_string())) as _)
    }

    fn url<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.error.url()
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.error.source_code()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.error.labels()
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        self.error.related()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_neither_forges_a_line_nor_steers_a_terminal() {
        let cause = std::io::Error::other("no\u{9b}2J\nError: forged");
        let error = Error::run("read a\r\nError: forged\x1b[2J")(Error::run("open b\n\x1b[31m")(cause));
        for error in
            [error, Error::usage("unknown source `a\nError: forged\x1b[2J`", "the sources are `b\x07\nError: forged`")]
        {
            let shown = shown(error);
            assert!(!shown.contains(|char: char| char.is_control() && char != '\n'), "{shown:?}");
            assert!(!shown.lines().any(|line| line.trim_start().starts_with("Error: forged")), "{shown}");
            assert_eq!(shown.matches("forged").count(), 2, "{shown}");
        }
    }

    #[test]
    fn says_what_was_attempted_and_why_it_failed() {
        let error = Error::run("write sessions.parquet")(std::io::Error::other("no space left"));
        assert_eq!(error.to_string(), "cannot write sessions.parquet");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no space left");
        assert_eq!(error.exit_code(), 1);
        assert_eq!(Error::usage("unknown source `a`", "the sources are `b`").exit_code(), 2);
    }
}
