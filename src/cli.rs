//! The grammar of the command line. The verbs themselves are in other modules.

mod asking;
mod backfilling;
mod forgetting;
mod inspecting;
mod labelling;
pub mod print;
mod ruling;
mod trying;

pub use asking::{Actions, Envelope, Funnel, Peek, Server, Status, Subscribe};
pub use backfilling::{Act, Backfill};
pub use forgetting::Forget;
pub use inspecting::{Doctor, Explain, Init, Plan};
pub use labelling::Label;
pub use ruling::{RulesApply, RulesList, RulesRollback, RulesShow};
pub use trying::{Rules, RulesDiff, RulesPropose, RulesVerb, Test};

use crate::config::{self, Argument, ConfigError, Overrides, PROCESSES, WORKERS};
use crate::generate::workload::Workload;
use crate::plan;
use crate::tables::OutputFormat;
use crate::text::units;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use dataflows::{EventTime, ValueKind};
use headwater_decode::reading::Value;
use headwater_decode::time::TimeReader;
use std::ffi::OsString;
use std::path::PathBuf;

/// Turns raw user events into sessions: incrementally and exactly.
#[derive(Debug, Parser)]
#[command(
    name = "headwater",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  headwater explain shop.toml event.json            how one event is read
  headwater plan shop.toml                          what a replay or a run would do
  headwater replay events.jsonl access.log.gz       logs without a configuration
  headwater init events.jsonl > headwater.toml      a configuration for them, to be edited
  headwater replay shop.toml --out result           sessions, counts and dead letters
  headwater test shop.test.toml                     whether its cases give what they should
  headwater run shop.toml --workers 2               sessions of events as they come
  headwater backfill shop.toml archive/*.gz         history, into the process that runs
  headwater forget shop.toml u42                    a user, out of the process that runs
  headwater subscribe sessions                      sessions as they change
  headwater peek sessions --key u42                 sessions of a user, now
  headwater doctor data                             the content of its folder, and damages
  headwater generate --events 1000000 --out load    synthetic events
  headwater help replay                             everything about one command

Exit codes:
  0    success, also if records became dead letters
  1    the run failed (a file is missing, the disk is full); earlier output is unchanged
  2    wrong usage or configuration; nothing was read or written
  101  a fault in headwater itself

NO_COLOR=1 turns colours off. If the output is not a terminal, there are none."
)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    Replay(Replay),
    Run(Run),
    Backfill(Backfill),
    Forget(Forget),
    Subscribe(Subscribe),
    Peek(Peek),
    Funnel(Funnel),
    Status(Status),
    Actions(Actions),
    Doctor(Doctor),
    Plan(Plan),
    Explain(Explain),
    Init(Init),
    Test(Test),
    Rules(Rules),
    Label(Label),
    Generate(Box<Workload>),
    Completions(Completions),
}

/// Reads event logs from beginning to end and writes their sessions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater replay events.jsonl access.log.gz     logs without a configuration
  headwater replay shop.toml                      the files of the configuration
  headwater replay shop.toml logs/*.jsonl.gz      these files instead
  headwater replay shop.toml --gap 5m --out five  sessions with another gap
  headwater replay shop.toml --from 2024-05-01 --to 2024-06-01 --format csv
  headwater replay shop.toml --landing            what a run has landed

Writes the tables sessions, users, counts and shapes (.parquet, or as --format says),
with --events also session_events, and dead_letters.jsonl. A run that fails does not touch
the output of the run before it.

Exit codes: 0 fine, 1 the run failed, 2 wrong usage or configuration.")]
pub struct Replay {
    #[command(flatten)]
    pub job: Job,

    /// Only events at or after this time: RFC 3339, a date, or epoch (s, ms, us or ns); UTC if it has no zone
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub from: Option<EventTime>,

    /// Only events before this time
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub to: Option<EventTime>,

    /// The time of the replay, which decides which sessions are over [default: the largest event time]
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub now: Option<EventTime>,

    /// Write every event with its session, as the table session_events: reads the files twice
    #[arg(long)]
    pub events: bool,

    /// Read the landing of the configuration instead of its sources: all events that a run has landed
    #[arg(long, conflicts_with = "files")]
    pub landing: bool,

    /// Print the summary as one JSON object, and nothing else
    #[arg(long)]
    pub json: bool,

    /// Print no progress
    #[arg(long)]
    pub no_progress: bool,
}

/// What to read, how, and where the result goes: the same for doing it and for showing what would be done
#[derive(Debug, Args)]
pub struct Job {
    /// The configuration file (TOML), or a log to be read without one
    pub config: PathBuf,

    /// Files, folders or globs, read in place of the `paths` of the sources
    pub files: Vec<PathBuf>,

    /// Worker threads [default: as configured, else one per core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(WORKERS))]
    pub workers: Option<u16>,

    /// Folder for the output [default: `data_dir` of the configuration]
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Longest pause within a session, such as 30m or 1h30m [default: as configured, else 30m]
    #[arg(long, value_name = "DURATION", value_parser = gap)]
    pub gap: Option<i64>,

    /// Format of the tables
    #[arg(long, value_enum, default_value_t)]
    pub format: OutputFormat,
}

/// Takes events as they come, over HTTP and from files that grow, and keeps sessions up to date
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater run shop.toml
  headwater run shop.toml --workers 4 --data-dir /var/lib/headwater
  curl -d '{\"user_id\":\"u42\",\"event_type\":\"login\",\"time_utc\":\"2024-05-01T12:00:00Z\"}' \\
       http://127.0.0.1:7474/v1/events

An event that was answered with 202 survives kill -9 and a loss of power. After SIGTERM
the process computes the events that it has, and ends. A process that fails is started
again, but not after five failures within a minute.

Exit codes: 0 stopped as asked, 1 could not start, 2 wrong usage or configuration,
75 failed five times within a minute.")]
pub struct Run {
    /// The configuration file (TOML)
    pub config: PathBuf,

    /// Worker threads; may differ at each start [default: as configured, else one per core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(WORKERS))]
    pub workers: Option<u16>,

    /// Processes with that many worker threads each; may differ at each start [default: as configured, else 1]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(PROCESSES))]
    pub processes: Option<u16>,

    /// Run on several hosts, whose addresses this file lists, one a line; the first one leads [default: as configured]
    #[arg(long, value_name = "FILE", conflicts_with = "processes")]
    pub hosts: Option<PathBuf>,

    /// The line of this host in the file of hosts, from 1 on [default: the line with an address of this machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(PROCESSES))]
    pub host: Option<u16>,

    /// The key that all hosts have; required unless all addresses are loopback [default: as configured]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// Folder for log, state and outputs [default: `data_dir` of the configuration]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Address of the HTTP server [default: as configured, else 127.0.0.1:7474]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,

    /// A source of Kafka that goes on although records are gone that it has not read; may be given several times
    #[arg(long, value_name = "NAME")]
    pub accept_gap: Vec<String>,

    /// Log lines as JSON objects
    #[arg(long)]
    pub log_json: bool,

    /// End when the process fails, for supervisors of your own
    #[arg(long)]
    pub no_restart: bool,
}

/// Prints the completion script of a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater completions bash > ~/.local/share/bash-completion/completions/headwater
  headwater completions zsh > ~/.zfunc/_headwater        with ~/.zfunc in $fpath
  headwater completions fish > ~/.config/fish/completions/headwater.fish

Exit codes: 0 fine, 2 wrong usage.")]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

impl Cli {
    /// Parses arguments, the program's name first. The error prints itself, `--help` and `--version` included, and
    /// knows its exit code ([`clap::Error::exit`]).
    pub fn read<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> Result<Cli, clap::Error> {
        let cli = Cli::try_parse_from(args)?;
        if let Verb::Replay(Replay { from: Some(from), to: Some(to), .. })
        | Verb::Backfill(Backfill { from: Some(from), to: Some(to), .. }) = &cli.verb
            && from >= to
        {
            return Err(Cli::command().error(ErrorKind::ValueValidation, "--from has to be before --to"));
        }
        Ok(cli)
    }
}

impl Job {
    /// Returns the settings that the command line overrides.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            workers: self.workers.map(usize::from),
            gap: self.gap,
            files: self.files.clone(),
            ..Overrides::default()
        }
    }
}

impl Job {
    /// Returns the plan: that of the configuration, or the built-in one if the first argument is a log.
    ///
    /// # Errors
    /// As [`config::load`].
    pub fn plan(&self, overrides: &Overrides) -> Result<plan::Plan, ConfigError> {
        match config::argument(&self.config)? {
            Argument::Config => config::load(&self.config, overrides),
            Argument::Logs => config::built_in(&self.config, overrides),
        }
    }
}

impl Run {
    /// Returns the settings that the command line overrides.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            workers: self.workers.map(usize::from),
            processes: self.processes.map(usize::from),
            hosts: self.hosts.clone(),
            key: self.key.clone(),
            listen: self.listen.clone(),
            accept_gap: self.accept_gap.clone(),
            live: true,
            run: true,
            ..Overrides::default()
        }
    }
}

impl Completions {
    /// Returns the script for the shell.
    pub fn script(&self) -> String {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "headwater", &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}

fn gap(text: &str) -> Result<i64, String> {
    units::duration(text).map_err(|wrong| format!("{wrong}: {}", units::DURATION_HELP))
}

/// Parses a time as people type it: read as in events ([`TimeReader`]), in UTC if it says no zone.
fn time(text: &str) -> Result<EventTime, String> {
    let value = Value { kind: ValueKind::String, text };
    let help = "write RFC 3339 (2024-05-01T12:00:00Z), a date (2024-05-01) or an epoch, in the years -9999 to 9999";
    TimeReader::new("UTC")?.read(value).ok_or_else(|| help.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(arguments: &str) -> Result<Replay, clap::Error> {
        let words = ["headwater", "replay"].into_iter().chain(arguments.split_whitespace());
        match Cli::read(words)?.verb {
            Verb::Replay(replay) => Ok(replay),
            verb => panic!("asked for a replay: {verb:?}"),
        }
    }

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn replay_takes_every_option() {
        let replay = replay(
            "shop.toml a.csv b.csv --workers 3 --out out --gap 1h30m --from 2024-05-01 --to 2024-06-01T00:00:00Z \
             --now 1717200000 --format csv --json --no-progress",
        )
        .unwrap();
        assert_eq!(replay.job.config, PathBuf::from("shop.toml"));
        assert_eq!(replay.job.files, [PathBuf::from("a.csv"), PathBuf::from("b.csv")]);
        assert_eq!(replay.job.out, Some(PathBuf::from("out")));
        assert_eq!(replay.from.unwrap().micros(), 1_714_521_600_000_000);
        assert_eq!(replay.to.unwrap().micros(), 1_717_200_000_000_000);
        assert_eq!(replay.now, replay.to);
        assert_eq!(replay.job.format, OutputFormat::Csv);
        assert!(replay.json && replay.no_progress);
        let overrides = replay.job.overrides();
        assert_eq!((overrides.workers, overrides.gap), (Some(3), Some(5_400_000_000)));
        assert_eq!(overrides.files.len(), 2);
    }

    #[test]
    fn explain_reads_standard_input_and_no_source() {
        let Verb::Explain(explain) =
            Cli::read(["headwater", "explain", "shop.toml", "-", "--source", "web"]).unwrap().verb
        else {
            panic!("asked to explain")
        };
        assert_eq!(explain.event, PathBuf::from("-"));
        assert_eq!(explain.source.as_deref(), Some("web"));
        assert!(explain.overrides().without_files);
    }

    #[test]
    fn wrong_usage_exits_with_2_and_help_with_0() {
        for wrong in [
            "",
            "c.toml --workers 0",
            "c.toml --workers 1025",
            "c.toml --gap 30",
            "c.toml --gap=-30m",
            "c.toml --from yesterday",
            "c.toml --from 2024-05-02 --to 2024-05-01",
            "c.toml --from 2024-05-01 --to 2024-05-01",
            "c.toml --format xml",
            "c.toml --unknown",
        ] {
            assert_eq!(replay(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
        assert_eq!(replay("--help").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn times() {
        let cases = [
            ("2015-05-17T10:05:03Z", Some(1_431_857_103_000_000)),
            ("2015-05-17T12:05:03.5+02:00", Some(1_431_857_103_500_000)),
            ("2015-05-17T10:05:03", Some(1_431_857_103_000_000)),
            ("2015-05-17 10:05", Some(1_431_857_100_000_000)),
            ("2015-05-17", Some(1_431_820_800_000_000)),
            ("1431857103", Some(1_431_857_103_000_000)),
            ("1431857103001", Some(1_431_857_103_001_000)),
            ("1431857103000001", Some(1_431_857_103_000_001)),
            ("1431857103000001999", Some(1_431_857_103_000_001)),
            ("-1", Some(-1_000_000)),
            ("1969-12-31T23:59:59.9999999Z", Some(-1)),
            ("0", Some(0)),
            ("9223372036854775807", Some(9_223_372_036_854_775)),
            ("17/May/2015", Some(1_431_820_800_000_000)),
            ("20150517", Some(1_431_820_800_000_000)),
            ("17/05/2015", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(time(text).ok().map(EventTime::micros), expected, "{text}");
        }
    }
}
