//! What the control partition and the workers say of users who are forgotten.

use dataflows::counts::CountedBy;
use dataflows::{EventTime, SignatureId, Tick, UserKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Each has a higher number than those before.
    pub forget: u64,
    /// The bytes of the user key, in hexadecimal digits.
    pub user: String,
    /// Milliseconds since 1970.
    pub asked_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What cannot be read back stays in the counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

impl Asked {
    /// Returns the key of the user.
    pub fn key(&self) -> Option<UserKey> {
        let bytes = u128::from_str_radix(&self.user, 16).ok()?.to_be_bytes();
        UserKey::from_bytes(bytes)
    }
}

/// What was read back of the events that go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadBack {
    pub forget: u64,
    /// Those of ticks before this one go.
    pub before: Tick,
    /// By part of the queue: the offset at which that tick begins.
    pub queue: Vec<u64>,
    /// What they were counted by, and how many of them.
    pub sums: Vec<(CountedBy, u64)>,
    /// Names of what they stay in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stays: Vec<String>,
}

impl ReadBack {
    /// Returns the number of events.
    pub fn events(&self) -> u64 {
        let signature = |(by, events): &(CountedBy, u64)| matches!(by, CountedBy::Signature(_)).then_some(*events);
        self.sums.iter().filter_map(signature).sum()
    }
}

/// What has gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    pub forget: u64,
    pub tick: Tick,
    pub now_ms: i64,
    /// Rows that were retracted, by collection.
    pub rows: BTreeMap<String, u64>,
}

/// What has gone from the landing with a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// When no file of the table had any row of the user: milliseconds since 1970.
    pub at_ms: i64,
    /// Rows that have gone, with those of users who were forgotten at the same time.
    pub rows: u64,
    /// Files that were rewritten.
    pub files: u64,
    /// When the part of the table's log was removed that had described the former files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_ms: Option<i64>,
}

/// What a worker says of a user at the tick from which on events are noted, or at that at which they go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// The events of the user's sessions before the tick, by signature.
    Sessions(u64, Vec<(SignatureId, u64)>),
    /// Rows that were retracted, by collection.
    Gone(u64, BTreeMap<String, u64>),
}

/// Returns whether an event of history counts although its user was forgotten: it happened after that was asked for. An
/// event without a time may have happened before.
pub fn comes_back(time: Option<EventTime>, asked_ms: i64) -> bool {
    time.is_some_and(|time| time.micros() >= asked_ms.saturating_mul(1000))
}
