//! Sinks: the receivers of changes, and of decisions.

use crate::collections::Collection;
use crate::collections::filter::Filter;
use std::path::PathBuf;

/// A sink: the receiver of a collection's changes in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkPlan {
    /// Also of its folder in the data folder.
    pub name: String,
    pub collection: Collection,
    /// It hands over decisions because actions name it.
    pub of_actions: bool,
    /// Rows that it takes; `None`: all.
    pub when: Option<When>,
    pub changes: ChangeKind,
    pub from: SinkStart,
    /// Changes of one write or request, at most.
    pub batch: usize,
    pub target: SinkTarget,
}

impl SinkPlan {
    /// Returns whether rows take the place of those before.
    pub fn upserts(&self) -> bool {
        matches!(&self.target, SinkTarget::Kafka(KafkaTarget { envelope: Envelope::Upsert, .. }))
    }
}

/// A predicate as it was typed, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct When {
    pub text: String,
    pub filter: Filter,
}

/// Which changes a sink takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Removed,
    All,
}

impl ChangeKind {
    pub const ALL: [ChangeKind; 3] = [ChangeKind::Added, ChangeKind::Removed, ChangeKind::All];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::All => "all",
        }
    }

    /// `diff`: how often a row is added; negative: removed.
    pub fn takes(self, diff: i64) -> bool {
        match self {
            ChangeKind::Added => diff > 0,
            ChangeKind::Removed => diff < 0,
            ChangeKind::All => true,
        }
    }
}

/// Where a sink begins that has not been there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkStart {
    /// With what is published next.
    Now,
    /// With the oldest tick that is kept.
    Start,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SinkTarget {
    /// A file that is appended to.
    File(PathBuf),
    Http(HttpTarget),
    Kafka(KafkaTarget),
}

/// The topic that a sink writes.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaTarget {
    /// Hosts and ports, separated by commas.
    pub brokers: String,
    pub topic: String,
    pub envelope: Envelope,
    /// Settings of librdkafka.
    pub settings: Vec<(String, String)>,
    /// Settings that are secrets, each with the file of its value.
    pub secrets: Vec<(String, PathBuf)>,
}

/// What the records of a topic hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// The row under its key; no value if it is gone.
    Upsert,
    /// Each change.
    Changes,
}

/// Whom a sink posts to.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpTarget {
    /// `http` or `https`, with a host and without a password.
    pub url: String,
    /// By name, in lower case.
    pub headers: Vec<(String, HeaderValue)>,
    /// Addresses that only a private network has may be connected to.
    pub allow_private: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    Text(String),
    /// The file has it, and is read at each request.
    File(PathBuf),
}
