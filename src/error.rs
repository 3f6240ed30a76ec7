//! What ends the program early. Errors of the parts become one of these where they are handled: once, in `main`.

use crate::config::ConfigError;
use miette::Diagnostic;

/// Exit code of a process whose state cannot be trusted any more, or that got nowhere: start it again.
pub const EXIT_AGAIN: i32 = 70;

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
        /// What was being attempted, as a verb: "write sessions.parquet".
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

    /// 1: the run failed. 2: it never began, because of the command line or the configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Run { .. } => 1,
            Error::Config(_) | Error::Usage { .. } => 2,
        }
    }
}

/// What an error says, with what caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_attempted_and_why_it_failed() {
        let error = Error::run("write sessions.parquet")(std::io::Error::other("no space left"));
        assert_eq!(error.to_string(), "cannot write sessions.parquet");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no space left");
        assert_eq!(error.exit_code(), 1);
        assert_eq!(Error::usage("unknown source `a`", "the sources are `b`").exit_code(), 2);
    }
}
