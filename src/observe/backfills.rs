//! What `GET /v1/backfills` and `GET /v1/status` say of a backfill.

use crate::text::{plural, printable};
use indicatif::{DecimalBytes, HumanCount, HumanDuration};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a backfill is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillStage {
    /// A client sends chunks.
    Running,
    /// No client has sent any for a while: the same command goes on.
    Waiting,
    /// Its chunks are refused until it is resumed.
    Paused,
    /// All of it is in.
    Done,
}

impl BackfillStage {
    pub fn name(self) -> &'static str {
        match self {
            BackfillStage::Running => "running",
            BackfillStage::Waiting => "waiting",
            BackfillStage::Paused => "paused",
            BackfillStage::Done => "done",
        }
    }
}

/// How far a backfill is. Bytes are decompressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillReport {
    pub name: String,
    /// The source that its events are of.
    pub source: String,
    pub state: BackfillStage,
    /// The file that comes next, from 0, and the place in it.
    pub file: u32,
    pub offset: u64,
    pub files: u32,
    /// Durable so far.
    pub records: u64,
    pub records_total: u64,
    pub bytes: u64,
    pub bytes_total: u64,
    /// In milliseconds since 1970-01-01T00:00:00Z.
    pub began_ms: i64,
    /// Seconds until it is done, at the speed of its client so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u64>,
}

/// The answer of `GET /v1/backfills`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listing {
    /// Those that history can be of.
    pub sources: Vec<Listed>,
    pub backfills: Vec<BackfillReport>,
}

/// A source, for clients that cut its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    pub name: String,
    /// The fingerprint of the settings by which files are cut.
    pub settings: String,
}

/// The answer to what changes a backfill.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Changed {
    #[serde(flatten)]
    pub report: BackfillReport,
    /// Of a client that has opened it: goes with each chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

impl BackfillReport {
    /// Returns a line for people.
    pub fn render(&self) -> String {
        let BackfillReport { name, state, records, records_total, bytes, bytes_total, files, eta_s, .. } = self;
        let eta = eta_s.map_or(String::new(), |eta| format!(", {} left", HumanDuration(Duration::from_secs(eta))));
        let percent = if *bytes_total == 0 { 100 } else { bytes.saturating_mul(100) / bytes_total };
        format!(
            "backfill {} of `{}`: {}, {percent} %, {} of {} records, {} of {}, {files} {}{eta}\n",
            printable(name),
            printable(&self.source),
            state.name(),
            HumanCount(*records),
            HumanCount(*records_total),
            DecimalBytes(*bytes),
            DecimalBytes(*bytes_total),
            plural(u64::from(*files), "file"),
        )
    }
}
