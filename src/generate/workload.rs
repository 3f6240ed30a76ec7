//! The knobs of the workload. Together with the version of headwater they determine every byte.

use super::random::{Share, Zipf};
use crate::text::units;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Writes synthetic events, and the sessions that a replay has to find
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
SHARE is a number from 0 to 1, or a percentage such as 1%.

Examples:
  headwater generate --events 1000000 --out load
  headwater replay load/headwater.toml --json    compare with expected.json
  headwater generate --events 1000000 --clean --out clean
  headwater generate -n 50000 --seed 7 --users 20 --late 20% --out late

Writes into DIR
  events.jsonl    the events, in the order of their arrival
  headwater.toml  how to read them
  sessions.csv    their sessions: user, start_us, end_us, events, purchases
  expected.json   the totals that the summary of a replay has to show

The same arguments give the same bytes on any machine.

Exit codes: 0 fine, 1 the run failed, 2 wrong usage.")]
pub struct Workload {
    /// Events that count; repeats and malformed records come on top
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    pub events: u32,

    /// Any number: another seed gives other events
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Folder for the files; created if it is missing
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// Replace the files of an earlier workload
    #[arg(long)]
    pub force: bool,

    /// Compress the events
    #[arg(long, value_enum, value_name = "HOW")]
    pub compress: Option<Compression>,

    /// Only valid events with user and time, none twice, all times in one form
    #[arg(long)]
    pub clean: bool,

    /// Print no progress
    #[arg(long)]
    pub no_progress: bool,

    /// People who may visit [default: one for 50 events]
    #[arg(long, value_name = "N", help_heading = "People", value_parser = clap::value_parser!(u32).range(1..=i64::from(Zipf::MOST)))]
    pub users: Option<u32>,

    /// Inequality: person k visits in proportion to 1 / k^S; 0 makes all equal
    #[arg(long, value_name = "S", help_heading = "People", default_value = "1.0", value_parser = exponent)]
    pub zipf: f64,

    /// Days over which visits begin
    #[arg(long, value_name = "N", help_heading = "People", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,

    /// Longest pause within a session
    #[arg(long, value_name = "DURATION", help_heading = "People", default_value = "30m", value_parser = gap)]
    pub gap: i64,

    /// Events of one more user, a bot that never pauses
    #[arg(long, value_name = "SHARE", help_heading = "People", default_value = "1%")]
    pub bot: Share,

    /// Events that arrive late; the others do within 30 seconds
    #[arg(long, value_name = "SHARE", help_heading = "Arrival", default_value = "1%")]
    pub late: Share,

    /// The longest delay of late events
    #[arg(long, value_name = "DURATION", help_heading = "Arrival", default_value = "2d", value_parser = late_by)]
    pub late_by: i64,

    /// Events that are sent again, byte for byte
    #[arg(long, value_name = "SHARE", help_heading = "Arrival", default_value = "1%")]
    pub duplicates: Share,

    /// Events whose id is sent again with other content
    #[arg(long, value_name = "SHARE", help_heading = "Arrival", default_value = "0.05%")]
    pub conflicts: Share,

    /// Events whose details are a nested object; the others are flat
    #[arg(long, value_name = "SHARE", help_heading = "Forms", default_value = "50%")]
    pub nested: Share,

    /// Of the nested ones: with dotted keys instead
    #[arg(long, value_name = "SHARE", help_heading = "Forms", default_value = "10%")]
    pub dotted: Share,

    /// Times as RFC 3339 or microseconds; the others are seconds as text
    #[arg(long, value_name = "SHARE", help_heading = "Forms", default_value = "20%")]
    pub mixed_times: Share,

    /// Events without a user
    #[arg(long, value_name = "SHARE", help_heading = "Defects", default_value = "0.5%")]
    pub no_user: Share,

    /// Events without a time
    #[arg(long, value_name = "SHARE", help_heading = "Defects", default_value = "0.2%")]
    pub no_time: Share,

    /// Events whose time cannot be read
    #[arg(long, value_name = "SHARE", help_heading = "Defects", default_value = "0.2%")]
    pub unreadable_time: Share,

    /// Malformed records, for each event
    #[arg(long, value_name = "SHARE", help_heading = "Defects", default_value = "0.1%", value_parser = malformed)]
    pub malformed: Share,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    Gzip,
    Zstd,
}

impl Workload {
    pub fn people(&self) -> u32 {
        self.users.unwrap_or((self.events / 50).clamp(1, Zipf::MOST))
    }

    /// Returns the workload without defects and repeats if `clean` is set.
    pub fn settled(mut self) -> Workload {
        if self.clean {
            for share in [
                &mut self.duplicates,
                &mut self.conflicts,
                &mut self.dotted,
                &mut self.mixed_times,
                &mut self.no_user,
                &mut self.no_time,
                &mut self.unreadable_time,
                &mut self.malformed,
            ] {
                *share = Share::NONE;
            }
        }
        self
    }

    /// Returns whether an id may come again.
    pub fn repeats(&self) -> bool {
        self.duplicates > Share::NONE || self.conflicts > Share::NONE
    }

    pub fn events_file(&self) -> &'static str {
        match self.compress {
            None => "events.jsonl",
            Some(Compression::Gzip) => "events.jsonl.gz",
            Some(Compression::Zstd) => "events.jsonl.zst",
        }
    }
}

fn exponent(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=4.0).contains(number));
    number.ok_or_else(|| "write a number from 0 to 4, such as 1.1".into())
}

fn gap(text: &str) -> Result<i64, String> {
    within(text, 1000, 7 * DAY, "from 1ms to 7d")
}

/// Parses the longest delay. Event times are never later than the arrival, which has to fit a 32-bit number of
/// milliseconds after them.
fn late_by(text: &str) -> Result<i64, String> {
    within(text, 60_000_000, 30 * DAY, "from 1m to 30d")
}

/// Parses a share of malformed records. A higher share would not look like JSON any more.
fn malformed(text: &str) -> Result<Share, String> {
    let share: Share = text.parse()?;
    let most = "25%".parse()?;
    if share <= most { Ok(share) } else { Err("write a share of at most 25%".into()) }
}

/// Microseconds.
const DAY: i64 = 86_400_000_000;

fn within(text: &str, least: i64, most: i64, range: &str) -> Result<i64, String> {
    let duration = units::duration(text).map_err(|wrong| format!("{wrong}: {}", units::DURATION_HELP))?;
    if (least..=most).contains(&duration) { Ok(duration) } else { Err(format!("write a duration {range}")) }
}
