//! Records of the control partition that apply rules to a run, and that say what they have changed.

use crate::queue::definitions::written;
use dataflows::Tick;
use dataflows::rules::Rule;
use serde::{Deserialize, Serialize};

/// Rules that hold from here on, as a record of the control partition. Their tests are those of the definitions before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    pub version: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: i64,
    /// Who asked for it; empty if that is not known.
    pub by: String,
    pub origin: Origin,
    /// The fingerprint of the rules that the configuration had by then.
    pub configured: String,
    /// Their conditions name tests by their place in the definitions.
    #[serde(with = "written")]
    pub rules: Vec<Rule>,
}

/// Where the rules of a version come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The configuration, at a start.
    Configuration,
    /// A file of this name.
    File(String),
    /// An older version.
    Version(u64),
}

/// What a version has changed, as a record of the control partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    pub version: u64,
    /// The tick from which on it holds.
    pub tick: Tick,
    /// Sessions with an event that got another class.
    pub sessions: u64,
    /// Events that got another class.
    pub events: u64,
}
