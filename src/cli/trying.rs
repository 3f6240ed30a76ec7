//! The verbs that try a configuration out.

use super::{RulesApply, RulesList, RulesRollback, RulesShow};
use crate::config::{self, Argument, ConfigError, Overrides, WORKERS};
use crate::plan::Plan;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Shows what other rules would change, proposes rules, and applies them to a run
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater rules diff shop.toml new-rules.toml
  headwater rules propose events.jsonl > rules.toml
  headwater rules apply shop.toml new-rules.toml  for all events of the run
  headwater rules list shop.toml                  the versions of its rules
  headwater rules rollback shop.toml 2            an older version
  headwater help rules diff                       everything about one of them

Exit codes: 0 fine, 1 it failed, 2 wrong usage or configuration.")]
pub struct Rules {
    #[command(subcommand)]
    pub verb: RulesVerb,
}

#[derive(Debug, Subcommand)]
pub enum RulesVerb {
    Diff(RulesDiff),
    Propose(RulesPropose),
    Apply(RulesApply),
    List(RulesList),
    Show(RulesShow),
    Rollback(RulesRollback),
}

/// Looks into events, and prints rules for those that have no class
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater rules propose events.jsonl > rules.toml
  headwater rules propose shop.toml > rules.toml && headwater rules diff shop.toml rules.toml

It reads the beginning of each file. It looks for the path whose value best predicts the
structure of events, and for kinds of events that their paths tell from all others. Each
[[class]] has the number of its events and an example as a remark.

Exit codes: 0 fine, 1 a file cannot be read, 2 wrong usage or configuration.")]
pub struct RulesPropose {
    /// The configuration file (TOML), or a log to be read without one
    pub config: PathBuf,

    /// Files, folders or globs, read in place of the `paths` of the sources
    pub files: Vec<PathBuf>,
}

impl RulesPropose {
    /// Returns the plan: that of the configuration, or the built-in one if the first argument is a log.
    ///
    /// # Errors
    /// As [`config::load`].
    pub fn plan(&self) -> Result<Plan, ConfigError> {
        let overrides = Overrides { files: self.files.clone(), ..Overrides::default() };
        match config::argument(&self.config)? {
            Argument::Config => config::load(&self.config, &overrides),
            Argument::Logs => config::built_in(&self.config, &overrides),
        }
    }
}

/// Reads events, and shows which classes, sessions and shapes other rules would change
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater rules diff shop.toml new-rules.toml
  headwater rules diff shop.toml new-rules.toml logs/2024-05*.gz
  headwater rules diff shop.toml new-rules.toml --landing
  git show HEAD:shop.toml > old.toml && headwater rules diff old.toml shop.toml

It writes nothing. The file of rules has [fields], [classes] and [[class]]; a whole
configuration is such a file too.

Exit codes: 0 fine, 1 the events cannot be read, 2 wrong usage or configuration.")]
pub struct RulesDiff {
    /// The configuration with the rules of before, which also says how events are read
    pub config: PathBuf,

    /// The file with the other rules
    pub rules: PathBuf,

    /// Files, folders or globs, read in place of the `paths` of the sources
    pub files: Vec<PathBuf>,

    /// Read the landing of the configuration instead of its sources
    #[arg(long, conflicts_with = "files")]
    pub landing: bool,

    /// Worker threads [default: as configured, else one per core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(WORKERS))]
    pub workers: Option<u16>,

    /// Print one JSON object, and nothing else
    #[arg(long)]
    pub json: bool,
}

impl RulesDiff {
    /// Returns the settings that the command line overrides.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            workers: self.workers.map(usize::from),
            files: self.files.clone(),
            // A landing has the events of all sources of a run.
            live: self.landing,
            ..Overrides::default()
        }
    }
}

/// Runs the cases of a file: events in, and the rows that they have to give
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater test shop.test.toml
  headwater test tests/*.toml --junit results.xml
  headwater test shop.test.toml --only coupon

A file of cases:
  config = \"headwater.toml\"            # from the folder of this file on

  [[case]]
  name = \"a pause of more than 30 minutes splits\"
  events = '''
  {\"user_id\":\"ann\",\"ts\":\"2024-05-01T10:00:00Z\",\"type\":\"click\"}
  {\"user_id\":\"ann\",\"ts\":\"2024-05-01T10:31:00Z\",\"type\":\"click\"}
  '''
  classes = [\"click\", \"click\"]
  sessions = [{ user = \"ann\", events = 1 }, { user = \"ann\", events = 1 }]

Exit codes: 0 all cases pass, 1 some fail, 2 wrong usage, file or configuration.")]
pub struct Test {
    /// Files of cases (TOML)
    #[arg(required = true)]
    pub files: Vec<PathBuf>,

    /// Only the cases that have this text in their name
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,

    /// Write the results to this file too, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}
