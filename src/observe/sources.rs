//! What the sources of a run do, as their threads write it down and `GET /v1/status` shows it.

use crate::observe::metrics::{Metrics, SourceMetrics};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a source is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    #[default]
    Reading,
    /// Its deliveries are refused for now.
    Paused,
    /// It, or a part of it, cannot be read for now. It is tried again.
    Failing,
    /// It does not go on by itself.
    Halted,
    /// Everything was read.
    Ended,
}

impl SourceState {
    const ALL: [SourceState; 5] =
        [SourceState::Reading, SourceState::Paused, SourceState::Failing, SourceState::Halted, SourceState::Ended];

    pub fn name(self) -> &'static str {
        match self {
            SourceState::Reading => "reading",
            SourceState::Paused => "paused",
            SourceState::Failing => "failing",
            SourceState::Halted => "halted",
            SourceState::Ended => "ended",
        }
    }
}

/// A source in the answer of `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    pub name: String,
    pub state: SourceState,
    /// The reason, unless the source reads or has ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// Of a source that knows how much there is to read.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub partitions: Vec<PartitionReport>,
}

/// How far a partition was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// `TOPIC/NUMBER`
    pub partition: String,
    /// The offset of the next record.
    pub position: i64,
    /// The offset behind the last record, as of a few seconds ago.
    pub end: i64,
    /// `end - position`: an upper bound of the records that are still to be read. Offsets are no count: compaction and
    /// transactions leave holes.
    pub lag: i64,
}

/// The status of one source. Its thread writes it.
#[derive(Debug)]
pub struct SourceStatus {
    report: Mutex<SourceReport>,
    pub metrics: SourceMetrics,
}

impl SourceStatus {
    pub fn new(name: &str, metrics: &Metrics) -> SourceStatus {
        let report = SourceReport { name: name.to_owned(), ..SourceReport::default() };
        let status = SourceStatus { report: Mutex::new(report), metrics: metrics.source(name) };
        status.show(SourceState::Reading);
        status
    }

    /// Enters a state. Returns whether state or reason have changed, so that the change is logged once.
    pub fn enter(&self, state: SourceState, why: Option<String>) -> bool {
        let mut report = self.lock();
        let changed = report.state != state || report.why != why;
        if report.state != state && state == SourceState::Failing {
            self.metrics.failures.inc();
        }
        (report.state, report.why) = (state, why);
        drop(report);
        self.show(state);
        changed
    }

    /// Replaces what is known of the partitions.
    pub fn partitions(&self, partitions: Vec<PartitionReport>) {
        for partition in &partitions {
            self.metrics.lag(&partition.partition, partition.lag);
        }
        self.lock().partitions = partitions;
    }

    pub fn report(&self) -> SourceReport {
        self.lock().clone()
    }

    fn show(&self, state: SourceState) {
        for other in SourceState::ALL {
            self.metrics.state(other.name(), other == state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, SourceReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status of every source that has a thread.
#[derive(Debug, Default)]
pub struct Sources(Mutex<Vec<Arc<SourceStatus>>>);

impl Sources {
    pub fn add(&self, status: Arc<SourceStatus>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(status);
    }

    pub fn reports(&self) -> Vec<SourceReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|status| status.report()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_once_and_in_the_metrics() {
        let metrics = Metrics::new();
        let status = SourceStatus::new("orders", &metrics);
        assert!(!status.enter(SourceState::Reading, None));
        assert!(status.enter(SourceState::Failing, Some("gone".into())));
        assert!(!status.enter(SourceState::Failing, Some("gone".into())));
        let partition = PartitionReport { partition: "orders/0".into(), position: 3, end: 10, lag: 7 };
        status.partitions(vec![partition]);
        let text = metrics.text();
        for line in [
            "headwater_source_state{source=\"orders\",state=\"failing\"} 1",
            "headwater_source_state{source=\"orders\",state=\"reading\"} 0",
            "headwater_source_failures_total{source=\"orders\"} 1",
            "headwater_source_lag{source=\"orders\",partition=\"orders/0\"} 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
