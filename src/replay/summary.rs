//! The summary of a replay: [`Summary`], as one JSON object or as text for a person.

use super::notice::{Notice, ReadFrom};
use super::sequences::FunnelOf;
use crate::text::rfc3339;
use dataflows::EventTime;
use headwater_decode::account::Skipped;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;

mod table;
mod text;

/// The figures of one replay. Its fields are an interface: add to them, don't rename them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Events that count: decoded, within the range, duplicates left out.
    pub events: u64,
    pub users: u64,
    pub sessions: u64,
    /// Sessions whose gap had not passed at `now`.
    pub open_sessions: u64,
    /// Sessions of one event.
    pub bounces: u64,
    /// The first start and the last end of all sessions.
    #[serde(serialize_with = "serialize_time")]
    pub first: Option<EventTime>,
    #[serde(serialize_with = "serialize_time")]
    pub last: Option<EventTime>,
    /// Durations of the sessions; `None` if there are none. The median is right to 0.03 %.
    pub duration_mean_s: Option<f64>,
    pub duration_median_s: Option<f64>,
    pub dead_letters: u64,
    /// Events that were left out since one with the same id and payload counts.
    pub duplicates: u64,
    /// Events with an id that was not checked against ids further back than the horizon.
    pub duplicates_unchecked: u64,
    /// Events that held a path both as a dotted key and nested; the nested one counts.
    pub ambiguous: u64,
    /// Events outside `--from` and `--to`.
    pub outside: u64,
    /// Users, types and carried texts that were too long, and were cut.
    pub texts_cut: u64,
    /// Events of which something unreadable was mended: a byte that is no UTF-8, half of a pair, a repeated key.
    pub repaired: u64,
    pub classes: BTreeMap<String, u64>,
    /// By [`dataflows::Reason::code`].
    pub dead_letter_reasons: BTreeMap<String, u64>,
    /// Rules that no event fits.
    pub unmatched: Vec<Unmatched>,
    /// By source and format: which candidates gave the values.
    pub read: Vec<ReadFrom>,
    /// Rows of each state.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub states: BTreeMap<String, u64>,
    /// Rows of each count.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// What looks wrong.
    pub notices: Vec<Notice>,
    /// The configuration that was used, if there is none in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// Events with a class but without a session.
    pub sessionless: BTreeMap<String, u64>,
    /// Input files, and their bytes as stored.
    pub files: u64,
    pub bytes: u64,
    /// Bytes that were read, decompressed and with padding: those of records that gave events, those of records that
    /// gave dead letters only, and those that were skipped.
    pub bytes_read: u64,
    pub bytes_events: u64,
    pub bytes_dead_letters: u64,
    /// By [`headwater_decode::account::Skip::code`].
    pub skipped: BTreeMap<String, Skips>,
    /// How files were read, where that may not be expected.
    pub notes: Vec<Note>,
    pub workers: u64,
    pub gap_s: f64,
    /// What ends sessions beside the gap.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<&'static str>,
    /// The time at which the replay ends; `None` if no event had one.
    #[serde(serialize_with = "serialize_time")]
    pub now: Option<EventTime>,
    pub elapsed_s: f64,
    pub events_per_s: f64,
    /// `None` where the system does not say.
    pub peak_rss_bytes: Option<u64>,
    /// Files that were written.
    pub out: Vec<String>,
    /// Sinks of the configuration, none of which was written to: they act in a run only.
    pub sinks: u64,
    /// What was recognised of each sequence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub funnels: Vec<FunnelOf>,
}

/// How files were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    pub message: String,
    /// How many.
    pub files: u64,
    /// The first of them.
    pub path: String,
}

/// What was skipped for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Skips {
    /// Lines, marks, objects, or runs of bytes.
    pub times: u64,
    pub bytes: u64,
}

impl Skips {
    pub fn of(Skipped { times, bytes }: Skipped) -> Skips {
        Skips { times, bytes }
    }
}

/// A rule that no event fits, or that other rules precede for every event that fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unmatched {
    pub class: String,
    /// From 1, in the order of the configuration.
    pub rule: u32,
    /// Fields of the rule that no event has.
    pub missing: Vec<String>,
    /// A field that is spelled almost as one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub near: Option<String>,
    /// The rules that come first for the events that it fits, from 1. None: it fits no event.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preceded_by: Vec<u32>,
}

impl Summary {
    /// Sets `elapsed_s` and what follows from it.
    pub fn took(&mut self, elapsed: Duration) {
        self.elapsed_s = elapsed.as_secs_f64();
        self.events_per_s = if self.elapsed_s > 0.0 { self.events as f64 / self.elapsed_s } else { 0.0 };
    }

    /// Returns one JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

fn serialize_time<S: Serializer>(time: &Option<EventTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(rfc3339).serialize(serializer)
}

#[cfg(test)]
mod tests;
