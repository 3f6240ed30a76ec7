//! The mistakes of a configuration, each with its place and a correction.

use super::typed::SECTIONS;
use crate::text::nearest::nearest;
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;

/// Why no plan could be made. Nothing has been read or written then.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ConfigError {
    #[error("cannot read the configuration {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },

    #[error("{} is {what}: it is neither a configuration nor a log that headwater reads", path.display())]
    #[diagnostic(help("{help}"))]
    Neither { path: PathBuf, what: &'static str, help: &'static str },

    #[error("{} is a log, not a configuration", path.display())]
    #[diagnostic(help("make a configuration with `headwater init {} > headwater.toml`", path.display()))]
    IsLog { path: PathBuf },

    #[error("cannot read the file of tokens {}: {source}", path.display())]
    #[diagnostic(help("make it as cluster/tokens.toml.example says, or name another one with `tokens` of [cluster]"))]
    UnreadableTokens { path: PathBuf, source: std::io::Error },

    #[error("cannot read {}: {source}", path.display())]
    #[diagnostic(help("--hosts, or `hosts_file` of [cluster], names a file with the address of each host"))]
    UnreadableHosts { path: PathBuf, source: std::io::Error },

    #[error("the file of hosts {} does not say which host this is: {why}", list.display())]
    #[diagnostic(help("say the number of this host's line with --host, from 1 on"))]
    Host { list: PathBuf, why: String },

    #[error("the key file {} cannot be used: {why}", path.display())]
    #[diagnostic(help("{help}"))]
    Key { path: PathBuf, why: String, help: String },

    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(Box<Invalid>),

    #[error("nothing to read: the configuration has no [[source]] and no files were given")]
    #[diagnostic(help("add FILES to the command line, or a [[source]] with `paths` to {}", config.display()))]
    NothingToRead { config: PathBuf },

    #[error("nothing to read: the sources of the configuration are for a run, and no files were given")]
    #[diagnostic(help("take events as they come with `headwater run {}`, or add FILES to the command line", config.display()))]
    OnlyPosted { config: PathBuf },

    #[error("no source of kind \"kafka\" has the name `{name}`, which --accept-gap names")]
    #[diagnostic(help("those sources are: {sources}"))]
    NoGap { name: String, sources: String },

    #[error("{} belongs to no source: it fits none of their `paths`", file.display())]
    #[diagnostic(help("the sources are: {sources}"))]
    UnmatchedFile { file: PathBuf, sources: String },

    #[error("{} belongs to several sources: it fits the `paths` of {sources}", file.display())]
    #[diagnostic(help("make their `paths` exclude each other, so that it is clear how to read the file"))]
    AmbiguousFile { file: PathBuf, sources: String },
}

/// A configuration file with mistakes: all that could be found at once, in the order of the file.
#[derive(Debug)]
pub struct Invalid {
    what: &'static str,
    file: NamedSource<String>,
    /// Never empty.
    problems: Vec<Problem>,
}

/// One mistake. Shown with the place underlined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    message: String,
    span: Range<usize>,
    help: String,
}

/// Collects mistakes while the conversion goes on.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn push(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.0.push(Problem { message: message.into(), span, help: help.into() });
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the error that shows them all, in the order of `text`.
    pub(super) fn into_error(self, name: &str, text: &str) -> ConfigError {
        self.into_error_of("configuration", name, text)
    }

    /// As [`Problems::into_error`], of another file in the same notation: `what` it is.
    pub(crate) fn into_error_of(mut self, what: &'static str, name: &str, text: &str) -> ConfigError {
        self.0.sort_by_key(|problem| problem.span.start);
        let file = NamedSource::new(name, text.to_owned()).with_language("toml");
        ConfigError::Invalid(Box::new(Invalid { what, file, problems: self.0 }))
    }
}

impl Problem {
    /// Translates an error in `text` of the TOML reader, which knows types and names of keys but not how to help.
    pub(super) fn of_toml(error: &toml::de::Error, text: &str) -> Problem {
        Problem::of_toml_with(error, text, SECTIONS)
    }

    /// As [`Problem::of_toml`]. `sections`: the keys of each section, for those that are in the wrong one.
    pub(crate) fn of_toml_with(error: &toml::de::Error, text: &str, sections: &[(&str, &[&str])]) -> Problem {
        let span = error.span().unwrap_or(0..0);
        let (message, help) = if let Some(known) = error.message().strip_prefix("unknown field ") {
            unknown_key(known, text.get(..span.start).unwrap_or_default(), sections)
        } else if let Some((found, expected)) =
            error.message().strip_prefix("invalid ").and_then(|message| message.split_once(", expected "))
        {
            let found = found.strip_prefix("type: ").or_else(|| found.strip_prefix("value: ")).unwrap_or(found);
            let found = match found {
                "map" => "a table",
                "sequence" => "a list",
                other => other,
            };
            let expected = match expected {
                "f64" => "a number",
                "i64" => "a whole number",
                "a boolean" => "true or false",
                "a sequence" => "a list",
                "a map" => "a table",
                other => other,
            };
            (format!("wrong type: {found}"), format!("write {expected}"))
        } else {
            let at_end = span.start >= text.trim_end().len();
            let place = if at_end { "the text ends too early" } else { "this is not TOML" };
            (format!("{place}: {}", error.message()), "see https://toml.io for the notation".into())
        };
        Problem { message, span, help }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(vec![problem])
    }
}

impl ConfigError {
    /// Returns the text of an error on one line, as an answer to a request has it: with the lines of mistakes.
    pub fn on_one_line(&self) -> String {
        const SHOWN: usize = 20;
        let ConfigError::Invalid(invalid) = self else { return self.to_string() };
        let (text, all) = (invalid.file.inner(), &invalid.problems);
        let line = |problem: &Problem| text.bytes().take(problem.span.start).filter(|byte| *byte == b'\n').count() + 1;
        let one = |problem: &Problem| format!("line {}: {} ({})", line(problem), problem.message, problem.help);
        let shown = all.iter().take(SHOWN).map(one).collect::<Vec<_>>().join("; ");
        let more = all.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{}: {shown}{more}", invalid.file.name())
    }
}

/// `message` is serde's: "`gapp`, expected one of `gap`, `sum`, `carry`"; `before` is the text in front of the key.
fn unknown_key(message: &str, before: &str, sections: &[(&str, &[&str])]) -> (String, String) {
    let (key, known) = message.split_once(", expected ").unwrap_or((message, ""));
    let key = key.trim_matches('`');
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    if key.starts_with("$__toml_private_datetime") {
        return ("wrong type: a date".into(), "write it in quotes: events hold texts".into());
    }
    let near = nearest(key, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
    let help = if known.contains(&"prefix") {
        // A dotted key of TOML is a table in a table. Here, its writer meant a path.
        let dotted = before.strip_suffix('.').map(|parent| {
            let bare = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
            let parent = &parent[parent.trim_end_matches(bare).len()..];
            format!("a path with dots is written in quotes: \"{parent}.{key}\"")
        });
        dotted.or(near).unwrap_or_else(|| format!("known here: {}", list(&known)))
    } else if let Some((section, _)) = sections.iter().find(|(_, keys)| keys.contains(&key)) {
        format!("`{key}` belongs in {section}")
    } else {
        near.unwrap_or_else(|| format!("known here: {}", list(&known)))
    };
    (format!("unknown key `{key}`"), help)
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => only.fmt(f),
            several => write!(f, "the {} has {} mistakes", self.what, several.len()),
        }
    }
}

impl std::error::Error for Invalid {}

/// One mistake is shown as the error itself; several as related ones, which share the text of the file.
impl Diagnostic for Invalid {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.file)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        if let [only] = self.problems.as_slice() { only.help() } else { None }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if let [only] = self.problems.as_slice() { only.labels() } else { None }
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let several = self.problems.len() > 1;
        several.then(|| Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)) as Box<_>)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.help))
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::underline(self.span.clone()))))
    }
}

/// Returns what a word stands for; `None`: it is absent, or none of those that `key` can be.
pub(super) fn one_of<T: Copy>(
    typed: Option<&Spanned<String>>,
    key: &str,
    known: &[(&str, T)],
    problems: &mut Problems,
) -> Option<T> {
    let typed = typed?;
    let found = known.iter().find(|(name, _)| name == typed.get_ref()).map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<_> = known.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let message = format!("`{}` is nothing that `{key}` can be", typed.get_ref());
        problems.push(typed.span(), message, format!("write {}", names.join(" or ")));
    }
    found
}

/// Returns the correction of a word that is none of the known ones: the nearest of them, if one is near.
pub(super) fn choose(word: &str, known: &[&str], otherwise: &str) -> String {
    nearest(word, known.iter().copied()).map_or(otherwise.into(), |near| format!("did you mean \"{near}\"?"))
}
