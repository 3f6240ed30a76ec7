//! What `GET /v1/rules` and `GET /v1/status` say of the rules that hold, and of those of before.

use crate::text::{plural, printable, rfc3339};
use dataflows::{EventTime, Tick};
use indicatif::HumanCount;
use serde::{Deserialize, Serialize};

/// The answer of `GET /v1/rules`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesReport {
    /// In order: the last one holds.
    pub versions: Vec<VersionReport>,
}

/// One version of the rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionReport {
    pub version: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: i64,
    /// Who asked for it; empty if that is not known.
    pub by: String,
    /// It was applied to the run. Others are of the configuration, at a start.
    pub is_applied: bool,
    /// The name of the file that was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The version that was brought back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<u64>,
    /// How many there are.
    pub rules: usize,
    /// The tick from which on it holds; `None` if that is not known.
    pub tick: Option<Tick>,
    /// What it has changed: sessions with an event that got another class, and such events.
    pub sessions: Option<u64>,
    pub events: Option<u64>,
}

/// The answer of `GET /v1/rules/VERSION`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    #[serde(flatten)]
    pub version: VersionReport,
    /// The rules as a file: its `[[class]]` blocks.
    pub text: String,
}

/// The answer to what changes the rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The version that holds.
    #[serde(flatten)]
    pub version: VersionReport,
    /// Whether the request has made it. If not, the same rules held before.
    pub changed: bool,
    /// What else the client should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl VersionReport {
    /// Returns who made it, and how.
    pub fn how(&self) -> String {
        let by = if self.by.is_empty() { String::new() } else { format!(" by {}", printable(&self.by)) };
        let at = self.at();
        match (&self.file, self.rolled_back) {
            _ if !self.is_applied => format!("of the configuration since {at}"),
            (_, Some(version)) => format!("rolled back to version {version}{by} at {at}"),
            (Some(file), None) => format!("applied from {}{by} at {at}", printable(file)),
            (None, None) => format!("applied{by} at {at}"),
        }
    }

    fn at(&self) -> String {
        EventTime::from_micros(self.at_ms.saturating_mul(1000)).map(rfc3339).unwrap_or_default()
    }

    fn rules(&self) -> String {
        format!("{} {}", self.rules, plural(self.rules as u64, "rule"))
    }

    /// Returns what it has changed, for people.
    pub fn effect(&self) -> String {
        match (self.tick, self.sessions, self.events) {
            (Some(tick), Some(sessions), Some(events)) => format!(
                "{} {} and {} {} changed, at tick {tick}",
                HumanCount(sessions),
                plural(sessions, "session"),
                HumanCount(events),
                plural(events, "event"),
            ),
            _ => "what it changed is not known".to_owned(),
        }
    }
}

/// What `GET /v1/status` says of the rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldsReport {
    /// The version that holds.
    #[serde(flatten)]
    pub version: VersionReport,
    /// Its rules are those of the configuration.
    pub as_configured: bool,
}

impl HoldsReport {
    /// Returns the line for people; none while the rules are those of the configuration.
    pub fn render(&self) -> String {
        if self.as_configured {
            return String::new();
        }
        let VersionReport { version, .. } = self.version;
        format!("rules    version {version}, {}, in place of those of the configuration\n", self.version.how())
    }
}

impl RulesReport {
    /// Returns the list for people.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for version in self.versions.iter().rev() {
            let holds = if Some(version) == self.versions.last() { "  holds" } else { "" };
            let VersionReport { version: number, .. } = version;
            text += &format!("version {number}: {}, {}{holds}\n", version.rules(), version.how());
            if version.is_applied || version.events.is_some_and(|events| events > 0) {
                text += &format!("  {}\n", version.effect());
            }
        }
        text
    }
}

impl Changed {
    /// Returns the outcome for people.
    pub fn render(&self) -> String {
        let VersionReport { version, .. } = &self.version;
        if !self.changed {
            return format!("nothing has changed: version {version} has these rules, {}\n", self.version.how());
        }
        let effect = match self.version.tick {
            Some(_) => self.version.effect(),
            None => {
                "it is stored, and its tick is still computed: `headwater rules list` shows when it holds".to_owned()
            }
        };
        let notes = self.notes.iter().map(|note| format!("note: {}\n", printable(note))).collect::<String>();
        format!("version {version}: {}\n  {effect}\n{notes}", self.version.rules())
    }
}
