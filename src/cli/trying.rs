//! The verbs that try a configuration out.

use clap::Args;
use std::path::PathBuf;

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
