//! The verbs that change the rules of a run.

use crate::backfill;
use crate::config::{self, Overrides};
use crate::error::Error;
use crate::observe::rules::{Changed, RulesReport, Shown};
use crate::plan::Plan;
use clap::Args;
use headwater_client::{ClientError, Rules};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;

/// The run whose rules are meant
#[derive(Debug, Args)]
pub struct Target {
    /// The configuration of the run (TOML), or the URL of its HTTP server
    pub target: String,

    /// The address of the HTTP server [default: as the configuration listens]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// A token with the scope `admin`, where tokens are needed
    #[arg(long, value_name = "TOKEN", env = "HEADWATER_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// Print one JSON value, and nothing else
    #[arg(long)]
    pub json: bool,
}

/// How a change is made
#[derive(Debug, Args)]
pub struct Making {
    /// Change nothing unless this version holds: so two people do not undo each other's work
    #[arg(long, value_name = "VERSION")]
    pub expect: Option<u64>,

    /// Who makes the change, for `rules list`; where tokens are needed, the name of the token is there too
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// Lets the rules of a file hold in a run, for all of its events: no event is read again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater rules apply shop.toml new-rules.toml
  headwater rules apply shop.toml new-rules.toml --expect 3 --by ann
  headwater rules apply http://127.0.0.1:7474 new-rules.toml

The file has all rules that are to hold, as [[class]] blocks, and [fields] that they name.
A whole configuration is such a file too. The rules hold from a tick on. Sessions and
counts are retracted and asserted as they would be after a restart with these rules. They
hold after restarts too, until the rules of the configuration change. Rules that ask what
no rule has asked before are refused.

Exit codes: 0 they hold, 1 the run refuses or cannot be reached, 2 wrong usage or file.")]
pub struct RulesApply {
    #[command(flatten)]
    pub run: Target,

    /// The file with the rules
    pub rules: PathBuf,

    #[command(flatten)]
    pub making: Making,
}

/// Lists the versions of the rules of a run: when, by whom, and what each has changed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater rules list shop.toml
  headwater rules list http://127.0.0.1:7474 --json

Exit codes: 0 fine, 1 the run cannot be reached, 2 wrong usage.")]
pub struct RulesList {
    #[command(flatten)]
    pub run: Target,
}

/// Shows the rules of a version, as a file that `rules apply` takes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater rules show shop.toml 3
  headwater rules show shop.toml 3 > rules.toml

Exit codes: 0 fine, 1 the run cannot be reached or has no such version, 2 wrong usage.")]
pub struct RulesShow {
    #[command(flatten)]
    pub run: Target,

    /// The number of the version
    pub version: u64,
}

/// Lets the rules of an older version hold again, as a new version
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater rules rollback shop.toml 2
  headwater rules rollback shop.toml 2 --expect 3 --by ann

Exit codes: 0 they hold, 1 the run refuses or cannot be reached, 2 wrong usage.")]
pub struct RulesRollback {
    #[command(flatten)]
    pub run: Target,

    /// The number of the version
    pub version: u64,

    #[command(flatten)]
    pub making: Making,
}

impl Target {
    /// Returns the plan, if the target is a configuration, and the address of its server.
    pub(super) fn find(&self) -> Result<(Option<Plan>, String), Error> {
        let is_url = self.target.starts_with("http://") || self.target.starts_with("https://");
        let overrides = Overrides { without_files: true, live: true, ..Overrides::default() };
        let plan = (!is_url).then(|| config::load(self.target.as_ref(), &overrides)).transpose()?;
        let url = match (&self.url, &plan) {
            (Some(url), _) => url.clone(),
            (None, Some(plan)) => backfill::url_of(plan)?,
            (None, None) => self.target.clone(),
        };
        Ok((plan, url))
    }

    fn client(&self, url: &str) -> Result<Rules, Error> {
        let client = Rules::new(url, self.token.as_deref());
        client.map_err(|error| Error::usage(error.to_string(), "write http://HOST:PORT"))
    }

    /// Asks the server for something, and prints it.
    fn ask<R: DeserializeOwned + Serialize>(
        &self,
        attempt: &str,
        ask: impl FnOnce(&Rules) -> Result<R, ClientError>,
        render: impl FnOnce(&R) -> String,
    ) -> Result<String, Error> {
        let (_, url) = self.find()?;
        let answer = ask(&self.client(&url)?).map_err(Error::run(attempt.to_owned()))?;
        self.print(&answer, render)
    }

    pub(super) fn print<R: Serialize>(&self, answer: &R, render: impl FnOnce(&R) -> String) -> Result<String, Error> {
        match self.json {
            true => {
                let text = serde_json::to_string_pretty(answer).map_err(Error::run("print the rules"))?;
                Ok(crate::text::printable_json(&text).into_owned() + "\n")
            }
            false => Ok(render(answer)),
        }
    }
}

impl Making {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let expect = self.expect.map(|version| ("expect", version.to_string()));
        let by = self.by.clone().map(|by| ("by", by));
        expect.into_iter().chain(by).collect()
    }
}

impl RulesApply {
    /// Applies the rules. Returns what is printed.
    ///
    /// # Errors
    /// [`Error::Config`] before anything is sent; [`Error::Run`] if the run refuses.
    pub fn run(&self) -> Result<String, Error> {
        let (plan, url) = self.run.find()?;
        let text = std::fs::read_to_string(&self.rules);
        let text = text.map_err(Error::run(format!("read {}", self.rules.display())))?;
        // What is wrong by itself is shown with its place. What fields mean in the run, only the run knows.
        let base = match plan {
            Some(plan) => plan,
            None => config::parse(config::BUILT_IN, "", std::path::Path::new("/"), &bare())?,
        };
        config::parse_rules(&self.rules.to_string_lossy(), &text, &base)?;
        let name = self.rules.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let mut parameters = self.making.parameters();
        parameters.push(("file", name));
        let changed: Changed = self
            .run
            .client(&url)?
            .apply(&parameters, text.as_bytes())
            .map_err(Error::run(format!("apply {}", self.rules.display())))?;
        self.run.print(&changed, Changed::render)
    }
}

/// Nothing is read: the plan is for its defaults.
fn bare() -> Overrides {
    Overrides { without_files: true, live: true, ..Overrides::default() }
}

impl RulesList {
    /// Returns what is printed.
    ///
    /// # Errors
    /// [`Error::Run`] if the run does not answer.
    pub fn run(&self) -> Result<String, Error> {
        self.run.ask("list the rules", Rules::list, RulesReport::render)
    }
}

impl RulesShow {
    /// Returns what is printed.
    ///
    /// # Errors
    /// [`Error::Run`] if the run does not answer, or has no such version.
    pub fn run(&self) -> Result<String, Error> {
        let show = |client: &Rules| client.show(self.version);
        self.run.ask("show the rules", show, |shown: &Shown| shown.text.clone())
    }
}

impl RulesRollback {
    /// Rolls back. Returns what is printed.
    ///
    /// # Errors
    /// [`Error::Run`] if the run refuses.
    pub fn run(&self) -> Result<String, Error> {
        let parameters = self.making.parameters();
        let roll_back = |client: &Rules| client.roll_back(self.version, &parameters);
        self.run.ask("roll the rules back", roll_back, Changed::render)
    }
}
