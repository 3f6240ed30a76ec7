//! The verbs that ask a running process.

use clap::{Args, ValueEnum};
use dataflows::Tick;
use headwater_client::{Builder, Query, Subscription};
use std::path::PathBuf;

/// Where a process that runs is, and by what right it is asked
#[derive(Debug, Args)]
pub struct Server {
    /// The address of its HTTP server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7474")]
    pub url: String,

    /// A token, where tokens are needed: its scope is `subscribe:COLLECTION`, or `admin` for the status
    #[arg(long, value_name = "TOKEN", env = "HEADWATER_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Follows a collection: every change of its rows, as it happens
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater subscribe sessions                          a table that is kept up to date
  headwater subscribe sessions --key u42                sessions of one user
  headwater subscribe sessions --filter 'events > 10' --columns user,events
  headwater subscribe late --from 0 | jq .updates       late events, from the beginning
  headwater subscribe sessions --resume-file at >> sessions.ndjson
  headwater subscribe counts --until-caught-up --json   the rows of now, and then the end

On a terminal it shows the rows that changed last, and their number. Elsewhere it prints
the frames, one JSON object on each line, after each `progress`. So it never takes back
a line. It connects again after a lost connection, and leaves out or repeats nothing.
With --resume-file the next run goes on where this one ends. After a kill, it may print
the last frames again.

Exit codes: 0 ended as asked, 1 it cannot go on, 2 wrong usage.")]
pub struct Subscribe {
    /// The collection: sessions, users, counts, closings, activities, funnels, late, session_lineage, dead_letters, actions, label_changes, identities, identity_changes
    pub collection: String,

    #[command(flatten)]
    pub server: Server,

    /// All rows first, and then changes; the default for views
    #[arg(long, overrides_with = "no_snapshot")]
    pub snapshot: bool,

    /// Changes only, from now on
    #[arg(long, overrides_with = "snapshot")]
    pub no_snapshot: bool,

    /// Changes from this tick on, if they are still kept; for a journal the default is from now on
    #[arg(long, value_name = "TICK")]
    pub from: Option<Tick>,

    /// The form of updates: row and difference, or key and value; `upsert` implies --json
    #[arg(long, value_enum, default_value_t)]
    pub envelope: Envelope,

    /// Only rows for which this holds, such as 'events > 10'
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,

    /// Only rows with this key, or with one of several; for sessions a session id or a user
    #[arg(long = "key", value_name = "KEY")]
    pub keys: Vec<String>,

    /// Only these fields of each row
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub columns: Vec<String>,

    /// Keeps the position in this file, and goes on from there; implies --json
    #[arg(long, value_name = "FILE")]
    pub resume_file: Option<PathBuf>,

    /// End after everything that had been published at the beginning
    #[arg(long)]
    pub until_caught_up: bool,

    /// JSON lines, also on a terminal
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Envelope {
    #[default]
    Diff,
    Upsert,
}

/// Shows rows of a collection as they are now
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater peek sessions --key u42                       sessions of a user
  headwater peek counts --filter 'events > 1000'
  headwater peek sessions --limit 20
  headwater peek sessions --key u42 --wait-for \"$TOKEN\"   with the events of a post

It prints a table on a terminal, else one JSON object for each row. All rows are of one
tick. If reading them takes longer than the tick is kept, it fails with a message.

Exit codes: 0 fine, 1 they cannot be read, 2 wrong usage.")]
pub struct Peek {
    /// The collection: sessions, users, counts, closings, activities, funnels, identities, state.NAME
    pub collection: String,

    #[command(flatten)]
    pub server: Server,

    /// Only rows with this key, or with one of several; for sessions a session id or a user
    #[arg(long = "key", value_name = "KEY")]
    pub keys: Vec<String>,

    /// Only rows for which this holds, such as 'events > 10'
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,

    /// Only these fields of each row
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub columns: Vec<String>,

    /// At most N rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,

    /// Wait until the events of a post count; the token is from the answer of `POST /v1/events`
    #[arg(long, value_name = "TOKEN")]
    pub wait_for: Option<String>,

    /// JSON lines, also on a terminal
    #[arg(long)]
    pub json: bool,
}

/// Shows how far the users of a running process come in a sequence
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater funnel checkout
  headwater funnel checkout --filter 'by = \"country=DE\"'
  headwater funnel checkout --filter 'hour >= \"2024-05-01\"' --json

It prints how many have reached each step, their share of those of the first step and of
those of the step before, and the time that matches take. A step with `?` is optional, so
it is left out of the shares of others. The numbers are of one tick.

Exit codes: 0 fine, 1 it cannot be read, 2 wrong usage.")]
pub struct Funnel {
    /// The name of the sequence
    pub sequence: String,

    #[command(flatten)]
    pub server: Server,

    /// Only rows of `funnels` for which this holds, such as 'by = \"country=DE\"'
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,

    /// Wait until the events of a post count; the token is from the answer of `POST /v1/events`
    #[arg(long, value_name = "TOKEN")]
    pub wait_for: Option<String>,

    /// Print one JSON object, and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Shows the state of a running process
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater status
  headwater status --url http://127.0.0.1:8080 --json

Exit codes: 0 ready, 1 not ready or not reachable, 2 wrong usage.")]
pub struct Status {
    #[command(flatten)]
    pub server: Server,

    /// Print one JSON object, and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Shows what the actions of a running process have decided, what waits, and how long it took
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater actions
  headwater actions review-payment --json

Counts and latencies are of the process: they begin with it.

Exit codes: 0 fine, 1 not reachable, or no action of that name, 2 wrong usage.")]
pub struct Actions {
    /// Only this action
    pub name: Option<String>,

    #[command(flatten)]
    pub server: Server,

    /// Print one JSON array, and nothing else
    #[arg(long)]
    pub json: bool,
}

impl Subscribe {
    /// Returns the subscription that the arguments describe.
    pub fn wanted(&self) -> Builder {
        let mut wanted = Subscription::builder(&self.server.url, &self.collection);
        if let Some(token) = &self.server.token {
            wanted = wanted.bearer(token);
        }
        if self.snapshot || self.no_snapshot {
            wanted = wanted.snapshot(self.snapshot);
        }
        if let Some(tick) = self.from {
            wanted = wanted.from(tick);
        }
        if self.envelope == Envelope::Upsert {
            wanted = wanted.upsert();
        }
        if let Some(expression) = &self.filter {
            wanted = wanted.filter(expression);
        }
        for key in &self.keys {
            wanted = wanted.key(key);
        }
        if !self.columns.is_empty() {
            wanted = wanted.columns(&self.columns);
        }
        wanted.until_caught_up(self.until_caught_up)
    }

    /// Returns whether the output is lines. A table has no other envelope, and does not go on where another one ended.
    pub fn as_lines(&self) -> bool {
        self.json || self.envelope == Envelope::Upsert || self.resume_file.is_some()
    }
}

impl Peek {
    pub fn query(&self) -> Query {
        Query {
            keys: self.keys.clone(),
            filter: self.filter.clone(),
            columns: (!self.columns.is_empty()).then(|| self.columns.join(",")),
            limit: self.limit,
            wait_for: self.wait_for.clone(),
            ..Query::default()
        }
    }
}
