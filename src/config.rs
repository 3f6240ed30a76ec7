//! The configuration file: first as typed (`typed`), then as it will run ([`Plan`]). One conversion between the two
//! makes every check, and reports each mistake with its place.

mod actions;
pub(crate) mod address;
mod argument;
mod counts;
mod error;
mod events;
mod expression;
mod fields;
pub mod hosts;
mod http;
mod identity;
mod kafka;
mod landing;
mod log;
mod rules;
mod sequences;
mod sessions;
mod sinks;
pub mod sketch;
mod sources;
mod states;
mod syntax;
mod tables;
pub mod tokens;
mod typed;

pub use argument::{Argument, argument};
pub use error::{ConfigError, Invalid, Problem};
pub use http::check_listen;

use crate::collections::Schemas;
use crate::plan::{Plan, SourceKind, SourcePlan};
pub(crate) use error::Problems;
use events::{Keys, within};
use fields::Fields;
use indicatif::HumanCount;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// More threads than that is a slip of the finger.
pub const WORKERS: RangeInclusive<i64> = 1..=1024;
/// Processes of a run. The sockets between them bound it: see `cluster/mesh.rs`.
pub const PROCESSES: RangeInclusive<i64> = 1..=64;

const DEFAULT_DATA_DIR: &str = "data";

/// The settings of the command line that override the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub workers: Option<usize>,
    pub processes: Option<usize>,
    /// The file of hosts, and that of their key.
    pub hosts: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Microseconds.
    pub gap: Option<i64>,
    /// Read in place of the sources' paths; relative to the current folder.
    pub files: Vec<PathBuf>,
    /// Host and port of the HTTP server.
    pub listen: Option<String>,
    /// A source that is posted to is something to read.
    pub live: bool,
    /// The plan will be run, whatever its sources are: what only a run refuses is a mistake.
    pub run: bool,
    /// Sources of Kafka that go on behind a gap.
    pub accept_gap: Vec<String>,
    /// Nothing will be read from the sources, so it is fine if they name no files.
    pub without_files: bool,
}

/// Reads and checks a configuration file. Relative paths in it are meant in its folder.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Plan, ConfigError> {
    if argument(path)? == Argument::Logs {
        return Err(ConfigError::IsLog { path: path.to_owned() });
    }
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    // An absolute path that could be read as a file has a parent.
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    parse(&path.to_string_lossy(), &text, folder, overrides)
}

/// Reads the rules of a file, in place of those of `base`: its `[fields]`, `[classes]` and `[[class]]`. A whole configuration
/// is such a file too. What it does not say of fields and learning is as `base` says. Returns a plan with the fields, tests
/// and rules of the file, and nothing else that asks for fields.
///
/// # Errors
/// As [`load`].
pub fn load_rules(path: &Path, base: &Plan) -> Result<Plan, ConfigError> {
    if argument(path)? == Argument::Logs {
        return Err(ConfigError::IsLog { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    rules_of(&path.to_string_lossy(), &text, base, &mut Problems::default())
}

/// Rules that can be applied to a run at once: each of its signatures is compared with each of them.
const APPLIED_RULES: usize = 10_000;
/// Bytes of a file of rules that are applied.
pub const APPLIED_BYTES: usize = 4 << 20;

/// Rules that are to hold in place of others.
pub struct RulesFile {
    /// With the fields, tests and rules of the file: see [`load_rules`].
    pub plan: Plan,
    /// The tables of the file that are none of rules.
    pub others: Vec<String>,
}

/// Reads the text of a file as [`load_rules`] does, to apply its rules to a run. `name` stands for it in errors.
///
/// # Errors
/// As [`parse`]. A file without rules is one too: it is more likely the wrong file than a wish for no rules.
pub fn parse_rules(name: &str, text: &str, base: &Plan) -> Result<RulesFile, ConfigError> {
    let mut problems = Problems::default();
    if text.len() > APPLIED_BYTES {
        let [size, most] = [text.len(), APPLIED_BYTES].map(|bytes| HumanCount(bytes as u64));
        let message = format!("the file has {size} bytes, and at most {most} can be applied");
        problems.push(0..0, message, "name a file with the rules that are to hold");
        return Err(problems.into_error(name, ""));
    }
    let table: toml::Table =
        toml::from_str(text).map_err(|error| Problems::from(Problem::of_toml(&error, text)).into_error(name, text))?;
    match table.get("class").and_then(toml::Value::as_array).map_or(0, Vec::len) {
        0 if !table.contains_key("class") => {
            problems.push(0..0, "the file has no [[class]]", "name a file with the rules that are to hold");
        }
        many if many > APPLIED_RULES => problems.push(
            0..0,
            format!(
                "the file has {} rules, and at most {} can be applied",
                HumanCount(many as u64),
                HumanCount(APPLIED_RULES as u64)
            ),
            "ask for several values in one rule: when = { page = { in = [\"a\", \"b\"] } }",
        ),
        _ => {}
    }
    let plan = rules_of(name, text, base, &mut problems)?;
    let is_other = |name: &&String| !matches!(name.as_str(), "class" | "fields" | "classes");
    let mut others: Vec<String> = table.keys().filter(is_other).cloned().collect();
    others.extend((plan.learn != base.learn).then(|| "classes".to_owned()));
    Ok(RulesFile { plan, others })
}

fn rules_of(name: &str, text: &str, base: &Plan, problems: &mut Problems) -> Result<Plan, ConfigError> {
    let typed: typed::File =
        toml::from_str(text).map_err(|error| Problems::from(Problem::of_toml(&error, text)).into_error(name, text))?;
    let mut fields = Fields::check(&typed.fields, problems);
    fields.inherit(&base.fields[..base.shown.len()]);
    let mut tests = rules::Tests::default();
    let rules = rules::compile(text, &typed.class.0, &mut fields, &mut tests, problems);
    if !problems.is_empty() {
        return Err(std::mem::take(problems).into_error(name, text));
    }
    let mut plan = Plan {
        config: name.into(),
        fields: fields.into_plan(),
        tests: tests.tests,
        rules,
        learn: typed.classes.map_or(base.learn, |classes| classes.learn),
        sequences: Vec::new(),
        states: Vec::new(),
        counts: Vec::new(),
        identity: None,
        tables: Vec::new(),
        actions: Vec::new(),
        shown: Vec::new(),
        sinks: Vec::new(),
        ..base.clone()
    };
    (plan.sessions.sums, plan.sessions.carry) = (Vec::new(), Vec::new());
    Ok(plan)
}

/// The folder for the output of a replay without a configuration.
const DEFAULT_OUT: &str = "headwater-out";

/// Makes the plan that reads `first` and the files of `overrides` with the built-in candidates.
///
/// # Errors
/// As [`parse`].
pub fn built_in(first: &Path, overrides: &Overrides) -> Result<Plan, ConfigError> {
    let files = std::iter::once(first.to_owned()).chain(overrides.files.iter().cloned()).collect();
    let here = std::env::current_dir().unwrap_or_default();
    let overrides = Overrides { files, ..overrides.clone() };
    Ok(Plan { data_dir: here.join(DEFAULT_OUT), ..parse(BUILT_IN, "", &here, &overrides)? })
}

/// The name of the configuration that is not in a file.
pub const BUILT_IN: &str = "the built-in configuration";

/// Checks the text of a configuration. `name` stands for it in errors; `folder` is where its relative paths begin.
pub fn parse(name: &str, text: &str, folder: &Path, overrides: &Overrides) -> Result<Plan, ConfigError> {
    let typed: typed::File =
        toml::from_str(text).map_err(|error| Problems::from(Problem::of_toml(&error, text)).into_error(name, text))?;
    let mut problems = Problems::default();
    let problems = &mut problems;

    let cluster = &typed.cluster;
    check_cluster(cluster, problems);
    let http = http::check(cluster, &typed.http, overrides.listen.as_deref(), folder, problems);
    let log = log::check(cluster, problems);
    let workers = cluster.workers.as_ref().and_then(|workers| within(workers, WORKERS, problems));
    let processes = cluster.processes.as_ref().and_then(|processes| within(processes, PROCESSES, problems));
    let hosts = hosts::files(cluster, overrides, folder, problems);
    let base = Keys::check(&typed.events, problems);
    let needs_paths = overrides.files.is_empty() && !overrides.without_files;
    let mut sources = sources::check(&typed.source.0, &base, folder, needs_paths, problems);
    let mut fields = Fields::check(&typed.fields, problems);
    let mut sessions = sessions::check(&typed.sessions, &typed.class.0, &sources, &mut fields, problems);
    let mut tests = rules::Tests::default();
    let rules = rules::compile(text, &typed.class.0, &mut fields, &mut tests, problems);
    let sequences = sequences::check(&typed.sequence.0, &mut fields, problems);
    let identity = identity::check(typed.identity.as_ref(), &mut fields, problems);
    let mut states = states::check(text, &typed.state.0, &mut fields, &mut tests, problems);
    let of_states: Vec<_> = states.iter().map(|state| state.schema.clone()).collect();
    let has_sequences = !typed.sequence.0.is_empty();
    let schemas = Schemas::new(&sessions.schema(fields.all()), has_sequences, &of_states);
    let schemas = schemas.with_identities(typed.identity.is_some());
    let known = counts::Known { text, schemas: &schemas, fields: &mut fields, tests: &mut tests };
    let counts = counts::check(&typed.count.0, known, problems);
    let of_counts: Vec<_> = counts.iter().map(|count| count.schema.clone()).collect();
    let schemas = schemas.with_counts(&of_counts);
    let tables = tables::check(&typed.table.0, &fields, folder, problems);
    let known = actions::Known { states: &states, tables: &tables, schemas: &schemas, sinks: &typed.sink.0 };
    let actions = actions::check(text, (&typed.action.0, &typed.decorate.0), &known, &mut fields, &mut tests, problems);
    let fields = fields.into_plan();
    sources::want(&mut sources, &fields);
    let data_dir = folder.join(cluster.data_dir.as_ref().map_or(DEFAULT_DATA_DIR, |dir| dir.get_ref()));
    let landing = landing::check(&typed.landing, folder, &data_dir, typed.fields.len(), problems);
    let acting = sinks::Acting { plans: &actions, typed: &typed.action.0 };
    let sinks = sinks::check(text, &typed.sink.0, (&schemas, &acting), &mut states, folder, problems);
    actions::check_loops(&typed.action.0, &sinks, &sources, problems);
    if overrides.run || (overrides.live && overrides.files.is_empty() && sources.iter().any(SourcePlan::is_of_run)) {
        sources::check_for_run(&typed, &sources, problems);
    }
    if !problems.is_empty() {
        return Err(std::mem::take(problems).into_error(name, text));
    }

    sources::assign(&overrides.files, &mut sources)?;
    sources::accept_gaps(&overrides.accept_gap, &mut sources)?;
    let reads = |source: &SourcePlan| match source.kind {
        SourceKind::File { .. } => !source.paths.is_empty(),
        SourceKind::Http | SourceKind::Kafka => overrides.live,
    };
    if needs_paths && !sources.iter().any(reads) {
        let config = name.into();
        return Err(match sources.iter().any(|source| matches!(source.kind, SourceKind::Http | SourceKind::Kafka)) {
            true => ConfigError::OnlyPosted { config },
            false => ConfigError::NothingToRead { config },
        });
    }
    if let Some(gap) = overrides.gap {
        sessions.gap = gap;
    }
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Plan {
        config: name.into(),
        workers: overrides.workers.or(workers).unwrap_or_else(available),
        processes: overrides.processes.or(processes).unwrap_or(1),
        hosts,
        data_dir,
        log,
        landing,
        http,
        sources,
        fields,
        sessions,
        tests: tests.tests,
        rules,
        learn: typed.classes.is_some_and(|classes| classes.learn),
        labels: BTreeMap::new(),
        sequences,
        identity,
        states,
        counts,
        tables,
        actions,
        shown: (0..typed.fields.len()).collect(),
        sinks,
    })
}

/// Keys of `[cluster]` that only have to be legal.
fn check_cluster(cluster: &typed::Cluster, problems: &mut Problems) {
    if let Some(dir) = &cluster.data_dir
        && dir.get_ref().is_empty()
    {
        problems.push(dir.span(), "`data_dir` is empty", "name a folder, such as \"data\"");
    }
}
