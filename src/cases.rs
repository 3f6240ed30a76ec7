//! `headwater test`: cases of a file, each with events and the rows that they give.
//!
//! ```text
//! text ─▶ typed ─▶ expected, checked against the plan ─┐
//!           └─ events ─▶ replay ─▶ tables in a folder ─┴─▶ compare ─▶ report
//! ```
//! Each case is a replay of its own ([`crate::replay`]), whose tables are read back. So a case says what a replay writes.

mod compare;
mod expected;
mod report;
mod typed;
mod value;

pub use report::Report;

use crate::config::{self, Overrides, Problem, Problems};
use crate::error::Error;
use crate::plan::{Plan, SourceKind};
use crate::replay::{self, Options};
use crate::tables::{DEAD_LETTERS_FILE, OutputFormat};
use crate::text::progress::ProgressMode;
use compare::Got;
use expected::{Case, Content};
use headwater_decode::interpret::Range;
use headwater_decode::spec::Format;
use report::{Outcome, Suite};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The configuration of a file of cases that names none.
const CONFIG: &str = "headwater.toml";

/// Characters of a payload that a failure shows.
const PAYLOAD: usize = 200;

/// Dead letters that a failure shows.
const LETTERS: usize = 5;

/// Runs the cases of all files, or the cases with the text `only` in their name. All files are checked before the first case
/// runs.
///
/// # Errors
/// If a file or its configuration is wrong. A case that fails is part of the report.
pub fn test(files: &[PathBuf], only: Option<&str>) -> Result<Report, Error> {
    let mut suites = Vec::new();
    for file in files {
        let (plan, mut cases) = load(file)?;
        cases.retain(|case| only.is_none_or(|only| case.name.contains(only)));
        suites.push((file, plan, cases));
    }
    if let Some(only) = only
        && suites.iter().all(|(_, _, cases)| cases.is_empty())
    {
        return Err(Error::usage(format!("no case has `{only}` in its name"), "leave out --only to run all of them"));
    }
    let mut report = Report::default();
    for (file, plan, cases) in suites {
        let cases = cases.iter().map(|case| outcome(&plan, case)).collect::<Result<_, _>>()?;
        report.suites.push(Suite { file: file.to_string_lossy().into_owned(), cases });
    }
    Ok(report)
}

fn load(file: &Path) -> Result<(Plan, Vec<Case>), Error> {
    let unreadable = |error: std::io::Error| {
        let message = format!("cannot read the test file {}: {error}", file.display());
        Error::usage(message, "name a file of cases, as `headwater help test` shows one")
    };
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let absolute = std::path::absolute(file).map_err(unreadable)?;
    // An absolute path that could be read as a file has a parent.
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let name = file.to_string_lossy();
    let typed: typed::File = toml::from_str(&text).map_err(|error| {
        let problems = Problems::from(Problem::of_toml_with(&error, &text, &[]));
        problems.into_error_of("test file", &name, &text)
    })?;
    let config = folder.join(typed.config.as_ref().map_or(CONFIG, |config| config.get_ref()));
    if !config.exists() {
        let at = typed.config.as_ref().map_or(0..0, toml::Spanned::span);
        let mut problems = Problems::default();
        let help = "name the configuration with `config`, from the folder of this file on";
        problems.push(at, format!("there is no configuration {}", config.display()), help);
        return Err(problems.into_error_of("test file", &name, &text).into());
    }
    let overrides = Overrides { workers: Some(1), without_files: true, ..Overrides::default() };
    let plan = config::load(&config, &overrides)?;
    let cases = typed.case.unwrap_or_else(|| toml::Spanned::new(0..0, Vec::new()));
    let cases = expected::check(&cases, &plan, (&name, &text, folder))?;
    Ok((plan, cases))
}

fn outcome(plan: &Plan, case: &Case) -> Result<Outcome, Error> {
    let started = Instant::now();
    let failures = run(plan, case)?;
    Ok(Outcome { name: case.name.clone(), line: case.line, failures, seconds: started.elapsed().as_secs_f64() })
}

/// Returns what is wrong with a case.
///
/// # Errors
/// If there is no folder for it.
fn run(plan: &Plan, case: &Case) -> Result<Vec<String>, Error> {
    let failed = || Error::run("make a folder for the case");
    let folder = tempfile::tempdir().map_err(failed())?;
    let mut plan = plan.clone();
    for source in &mut plan.sources {
        source.paths.clear();
        // Clients post nothing else.
        if source.kind == SourceKind::Http {
            source.format = Some(Format::Json);
        }
    }
    for input in &case.inputs {
        let paths = match &input.content {
            Content::Files(files) => files.clone(),
            Content::Text(text) => {
                let path = folder.path().join(format!("events-{}", input.source));
                fs::write(&path, text).map_err(failed())?;
                vec![path]
            }
        };
        plan.sources[input.source].paths = paths;
    }
    let plan = Arc::new(plan);
    let out = folder.path().join("out");
    let options = Options {
        range: Range::default(),
        now: case.now,
        latest: None,
        out: out.clone(),
        format: OutputFormat::Jsonl,
        progress: ProgressMode::Silent,
        events: case.wants_events(),
        landing: false,
    };
    let summary = match replay::replay(&plan, &options) {
        Ok(summary) => summary,
        Err(error) => return Ok(vec![causes(&error)]),
    };
    let mut failures = Vec::new();
    let expected = case.dead_letters.clone().unwrap_or_default();
    if summary.dead_letter_reasons != expected {
        let letters = rows(&out.join(DEAD_LETTERS_FILE))?;
        let shown = letters.iter().take(LETTERS).map(|letter| {
            let column = |name: &str| letter.get(name).map_or("", |value| value.get());
            format!("\n+ {}: {} {}", column("reason"), column("message"), cut(column("payload")))
        });
        let more = if letters.len() > LETTERS { "\n+ …" } else { "" };
        let (expected, found) = (numbers(&expected), numbers(&summary.dead_letter_reasons));
        let shown: String = shown.collect();
        failures.push(format!("dead_letters: expected {expected}, found {found}{shown}{more}"));
    }
    if let Some(expected) = &case.sessionless
        && summary.sessionless != *expected
    {
        failures.push(format!("sessionless: expected {}, found {}", numbers(expected), numbers(&summary.sessionless)));
    }
    if let Some(expected) = &case.classes {
        failures.extend(classes(&plan, expected, rows(&out.join("session_events.jsonl"))?));
    }
    for table in &case.tables {
        let got = rows(&out.join(OutputFormat::Jsonl.file(&table.name)))?;
        failures.extend(compare::differ(table, &got));
    }
    Ok(failures)
}

/// Returns the rows of a file of JSON Lines; none if it is not there.
fn rows(path: &Path) -> Result<Vec<Got>, Error> {
    let failed = || format!("read back {}", path.display());
    let text = fs::read_to_string(path).map_err(Error::run(failed()))?;
    text.lines().map(|line| serde_json::from_str(line).map_err(Error::run(failed()))).collect()
}

/// Compares the class of each event, in the order of the input: sources as configured, then files by name.
fn classes(plan: &Plan, expected: &[String], mut events: Vec<Got>) -> Option<String> {
    let text = |event: &Got, name: &str| -> String {
        event.get(name).and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default()
    };
    events.sort_by_cached_key(|event| {
        let source = text(event, "source");
        let source = plan.sources.iter().position(|known| known.name == source);
        let offset = event.get("offset").and_then(|offset| offset.get().parse::<u64>().ok());
        (source, text(event, "path"), offset)
    });
    let got: Vec<String> = events.iter().map(|event| text(event, "class")).collect();
    if got == expected {
        return None;
    }
    let mut failure = match got.len() == expected.len() {
        true => "classes: not those that were expected".to_owned(),
        false => format!("classes: expected those of {} events, found {} events", expected.len(), got.len()),
    };
    for index in 0..got.len().max(expected.len()) {
        let (wanted, found) = (expected.get(index), got.get(index));
        if wanted != found {
            let shown = |class: Option<&String>| class.map_or("no event".to_owned(), |class| format!("\"{class}\""));
            let payload = events.get(index).map_or(String::new(), |event| cut(&text(event, "payload")));
            let (number, wanted, found) = (index + 1, shown(wanted), shown(found));
            failure += &format!("\nevent {number}: expected {wanted}, found {found}  {payload}");
        }
    }
    Some(failure.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
}

fn numbers(numbers: &std::collections::BTreeMap<String, u64>) -> String {
    if numbers.is_empty() {
        return "none".into();
    }
    numbers.iter().map(|(name, number)| format!("{name} = {number}")).collect::<Vec<_>>().join(", ")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(PAYLOAD) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns an error with its causes on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
