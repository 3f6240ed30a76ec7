//! What `GET /v1/forget` says of a user who is forgotten.

use crate::text::{plural, printable};
use dataflows::Tick;
use indicatif::HumanCount;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForgetStage {
    /// It was asked for, and no view has changed yet.
    Pending,
    /// The views are those without the user.
    Done,
    /// No view has changed, and none will.
    Refused,
}

impl ForgetStage {
    pub fn name(self) -> &'static str {
        match self {
            ForgetStage::Pending => "pending",
            ForgetStage::Done => "done",
            ForgetStage::Refused => "refused",
        }
    }
}

/// The receipt of a user who is forgotten. It has the key of the user, and not the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetReport {
    /// Its number.
    pub forget: u64,
    /// The user key, in hexadecimal digits.
    pub user: String,
    pub state: ForgetStage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether what could not be read back was to stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub asked_ms: i64,
    /// The tick at which the user has gone from the views, and its clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<Tick>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten_ms: Option<i64>,
    /// Events that have gone from the counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// Rows that were retracted, by collection.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rows: BTreeMap<String, u64>,
    /// What events of the user are still in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stays: Vec<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What has been rewritten on disk, and what is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
}

/// The bytes of a user on disk. Times are in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The rows that have gone from the landing, with those of users who were forgotten at the same time; absent if there is
    /// no landing, or while some are still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed_rows: Option<u64>,
    /// Files of the landing that were rewritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed_files: Option<u64>,
    /// By then the former files of the landing are removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landing_until_ms: Option<i64>,
    /// Rows of the landing wait to be rewritten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub landing_waits: bool,
    /// By then the output log has dropped the rows, if it is bounded by age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs_until_ms: Option<i64>,
}

/// The answer of `GET /v1/forget`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetListing {
    pub forgets: Vec<ForgetReport>,
}

impl ForgetReport {
    /// Returns lines for people.
    pub fn render(&self) -> String {
        let when = |ms: i64| Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string());
        let mut text = format!("forget {} of user key {}: {}", self.forget, printable(&self.user), self.state.name());
        if let (Some(tick), Some(ms)) = (self.tick, self.forgotten_ms) {
            text += &format!(" at tick {tick}, {}", when(ms));
        } else {
            text += &format!(", asked for at {}", when(self.asked_ms));
        }
        text += "\n";
        if let Some(reason) = &self.reason {
            text += &format!("  reason: {}\n", printable(reason));
        }
        if let Some(events) = self.events {
            text += &format!("  {} {} no longer counted\n", HumanCount(events), plural(events, "event"));
        }
        for (name, rows) in &self.rows {
            text += &format!("  {} {} of `{}` retracted\n", HumanCount(*rows), plural(*rows, "row"), printable(name));
        }
        for stays in &self.stays {
            text += &format!("  stays: {}\n", printable(stays));
        }
        if let Some(why) = &self.why {
            text += &format!("  {}\n", printable(why));
        }
        if let Some(disk) = &self.disk {
            if let (Some(rows), Some(files)) = (disk.landed_rows, disk.landed_files) {
                let (rows, of_rows) = (HumanCount(rows), plural(rows, "row"));
                let (files, of_files) = (HumanCount(files), plural(files, "file"));
                text += &format!("  on disk: {rows} {of_rows} gone from the landing, {files} {of_files} rewritten\n");
            }
            if let Some(until) = disk.landing_until_ms {
                text += &format!("  on disk: former files of the landing until {}\n", when(until));
            }
            if disk.landing_waits {
                text += "  on disk: rows of the landing wait to be rewritten\n";
            }
            if let Some(until) = disk.outputs_until_ms {
                text += &format!("  on disk: the output log until {}\n", when(until));
            }
            text += "  on disk: queue and checkpoints until the second checkpoint from then on\n";
        }
        text
    }
}
