//! The verbs that look into files, configurations and data folders, and change nothing.

use super::Job;
use crate::config::Overrides;
use clap::Args;
use std::path::PathBuf;

/// Examines the data folder of `run`: its content, its damages, and what a start would do
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater doctor /var/lib/headwater
  headwater doctor data --json | jq .damages

It reads every file, and changes nothing. You may use it while a process has the folder
open. It reports the damage from which a start recovers by itself: an unfinished write,
or a damaged snapshot beside a whole one. For other damage it prints the meaning, and
what you can do by hand. Before that, stop the process and copy the whole folder with
`cp -a`.

Exit codes: 0 fine, 1 something is damaged or cannot be read, 2 wrong usage.")]
pub struct Doctor {
    /// The data folder: `data_dir` of the configuration, or the value of --data-dir
    pub folder: PathBuf,

    /// Print one JSON object, and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Shows what a replay or a run would read and do, without doing it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater plan shop.toml
  headwater plan shop.toml logs/*.jsonl.gz --workers 4
  headwater plan shop.toml --json

It reads the beginning of each file to recognise its format. It reads no event and writes
nothing.

Exit codes: 0 fine, 1 a file cannot be read, 2 wrong usage or configuration.")]
pub struct Plan {
    #[command(flatten)]
    pub job: Job,

    /// Print one JSON object, and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Shows how one event is read: its values, where they come from, and its class
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater explain shop.toml event.json
  zcat logs/2024.jsonl.gz | sed -n 17p | headwater explain shop.toml -
  headwater explain shop.toml event.json --learned    also what it learns from other events

Exit codes: 0 fine, 1 the run failed, 2 wrong usage or configuration.")]
pub struct Explain {
    /// The configuration file (TOML)
    pub config: PathBuf,

    /// A file that holds one event; `-` for standard input
    pub event: PathBuf,

    /// The source by whose settings the event is read; needed when the configuration has several
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,

    /// Read the sources of the configuration first, and say which class the event learns from their events
    #[arg(long)]
    pub learned: bool,

    /// Read the landing of the configuration instead of its sources
    #[arg(long, requires = "learned")]
    pub landing: bool,
}

/// Looks into files, and prints a configuration for them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater init events.jsonl > headwater.toml
  headwater init logs/*.gz exports > headwater.toml

It reads the beginning of each file. The configuration has the formats, the paths of users,
times and types that it found with their shares, a gap, and the classes as remarks.

Exit codes: 0 fine, 1 a file cannot be read, 2 wrong usage.")]
pub struct Init {
    /// Files, folders or globs
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

impl Explain {
    /// Explaining reads no source, unless the class is learned from one.
    pub fn overrides(&self) -> Overrides {
        let without_files = !self.learned || self.landing;
        Overrides { without_files, live: self.landing, ..Overrides::default() }
    }
}
