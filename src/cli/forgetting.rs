//! The verb that forgets a user.

use clap::Args;

/// Forgets a user: retracts all that a running process has made of the user's events
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater forget shop.toml u42 --reason \"ticket 1234\"
  headwater forget shop.toml u42 --partial            although some events cannot be read back
  headwater forget http://127.0.0.1:7474 u42
  headwater forget shop.toml --list                   all users who were forgotten

The views become those of all events but the user's, at one tick: subscribers and sinks
get ordinary retractions. Events of the user that come later count again. The receipt
and the log have the user's key, a hash, and not the name.

Exit codes: 0 the user is forgotten, 1 it could not be done, 2 wrong usage or
configuration.")]
pub struct Forget {
    /// The configuration of the run (TOML), or the URL of its HTTP server
    pub target: String,

    /// The user, as events name it
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    pub user: Option<String>,

    /// Why, for the receipt: do not name the user here
    #[arg(long, value_name = "TEXT", conflicts_with = "list")]
    pub reason: Option<String>,

    /// Forget the user although some events cannot be read back, and stay in the counts
    #[arg(long, conflicts_with = "list")]
    pub partial: bool,

    /// List the users who were forgotten
    #[arg(long)]
    pub list: bool,

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

impl Forget {
    /// Returns whether the target is a URL, and no configuration.
    pub fn is_url(&self) -> bool {
        self.target.starts_with("http://") || self.target.starts_with("https://")
    }
}
