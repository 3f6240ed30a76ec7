//! The verb that brings history into a running process.

use super::time;
use clap::{Args, Subcommand};
use dataflows::EventTime;
use std::path::PathBuf;

/// Brings files of history into a running process, each event once
#[derive(Debug, Args)]
#[command(
    subcommand_precedence_over_arg = true,
    after_help = "\
Examples:
  headwater backfill shop.toml archive/*.jsonl.gz
  headwater backfill shop.toml archive --name 2023 --source web --from 2023-01-01 --to 2024-01-01
  headwater backfill shop.toml archive --rate 5000        at most 5,000 records a second
  headwater backfill shop.toml status                     all backfills, with the time left
  headwater backfill http://127.0.0.1:7474 pause --name 2023
  headwater backfill shop.toml resume --name 2023

It reads all files once before it sends anything, and refuses damaged ones. Each chunk is
durable and in the views before the next one is sent. After a kill, of this command or of
the engine, the same command goes on where it was: no event is lost, and none counts
twice. Other files under the same --name are refused, and the same files under another.

Exit codes: 0 all is in, 1 it could not go on, 2 wrong usage or configuration."
)]
pub struct Backfill {
    /// The configuration of the run (TOML); to ask and to pause, the URL of its HTTP server will do
    pub target: String,

    /// Files, folders or globs
    pub files: Vec<PathBuf>,

    /// The name under which the engine remembers it [default: history]
    #[arg(long, value_name = "NAME", global = true)]
    pub name: Option<String>,

    /// The source that the events are of; needed when the configuration has several
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,

    /// Only events at or after this time, as in a replay
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub from: Option<EventTime>,

    /// Only events before this time
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub to: Option<EventTime>,

    /// Records per second, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,

    /// The percentage of the time that the engine spends on history, at most
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub share: u8,

    /// The address of the HTTP server [default: as the configuration listens]
    #[arg(long, value_name = "URL", global = true)]
    pub url: Option<String>,

    /// A token with the scope `admin`, where tokens are needed
    #[arg(long, value_name = "TOKEN", env = "HEADWATER_TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,

    /// Print one JSON value, and nothing else
    #[arg(long, global = true)]
    pub json: bool,

    /// Print no progress
    #[arg(long)]
    pub no_progress: bool,

    #[command(subcommand)]
    pub act: Option<Act>,
}

/// What is done with a backfill that has begun
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Act {
    /// Show how far it is, or how far all are
    Status,
    /// Let the engine refuse its chunks until it is resumed; its client waits
    Pause,
    /// Let it go on
    Resume,
    /// Is refused: events that are in cannot be taken back
    Cancel,
}

impl Act {
    /// Returns the word of what changes a backfill.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Act::Status => None,
            Act::Pause => Some("pause"),
            Act::Resume => Some("resume"),
            Act::Cancel => Some("cancel"),
        }
    }
}

impl Backfill {
    /// Returns whether the target is a URL, and no configuration.
    pub fn is_url(&self) -> bool {
        self.target.starts_with("http://") || self.target.starts_with("https://")
    }
}
