//! The counts and measures of a running process, and their text for Prometheus. All parts write here, and `/metrics`
//! reads.

use super::actions::Actions;
use super::landing::LandingStatus;
use dataflows::Reason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The HTTP statuses that the server answers with. Another one is counted too, but its first answer raises no alert.
const STATUSES: [u16; 17] = [200, 202, 400, 401, 403, 404, 405, 408, 409, 410, 413, 414, 415, 421, 429, 500, 503];

/// From the arrival of a delivery to the end of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Durable in the queue, that is, acknowledged.
    Durable,
    /// Its effect can be read.
    Published,
}

impl Stage {
    const ALL: [Stage; 2] = [Stage::Durable, Stage::Published];

    fn name(self) -> &'static str {
        match self {
            Stage::Durable => "durable",
            Stage::Published => "published",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStage {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySink {
    sink: String,
}

/// The metrics of one sink.
#[derive(Clone, Debug, Default)]
pub struct SinkMetrics {
    /// Changes that were handed over.
    pub delivered: Counter,
    /// Attempts that failed and are made again.
    pub retries: Counter,
    pub dead_letters: Counter,
    /// Ticks that were not kept until the sink came to them.
    pub lost_ticks: Counter,
    /// Ticks that are published and not handed over.
    pub lag_ticks: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySource {
    source: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySourceState {
    source: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySourceReason {
    source: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPartition {
    source: String,
    partition: String,
}

/// The metrics of one source that a run reads.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    source: String,
    /// Records of a broker that are durable.
    pub records: Counter,
    /// How often it began to fail.
    pub failures: Counter,
    /// Gaps that were accepted.
    pub gaps: Counter,
    passed: Family<BySourceReason, Counter>,
    states: Family<BySourceState, Gauge>,
    lags: Family<ByPartition, Gauge>,
}

impl SourceMetrics {
    /// Counts a record, or a part of one, that will be in no event.
    pub fn passed(&self, reason: &'static str) {
        self.passed.get_or_create(&BySourceReason { source: self.source.clone(), reason }).inc();
    }

    pub fn state(&self, state: &'static str, is_so: bool) {
        self.states.get_or_create(&BySourceState { source: self.source.clone(), state }).set(i64::from(is_so));
    }

    pub fn lag(&self, partition: &str, lag: i64) {
        let of = ByPartition { source: self.source.clone(), partition: partition.to_owned() };
        self.lags.get_or_create(&of).set(lag);
    }
}

/// The metrics of one process. Cheap to write from any thread.
pub struct Metrics {
    registry: Registry,
    /// Events that the graph took, of this process's life. Duplicates are among them.
    pub events: Counter,
    /// Sessions that there are, after what the workers have done.
    pub sessions: Gauge,
    /// Bytes of deliveries that are durable.
    pub bytes: Counter,
    backfill_records: Counter,
    backfill_bytes: Counter,
    pub duplicates: Counter,
    /// Users, types and carried texts that were too long, and were cut.
    pub texts_cut: Counter,
    /// Events of which something unreadable was mended.
    pub repaired: Counter,
    pub ticks: Counter,
    /// Rows that were published, added or removed.
    pub updates: Counter,
    /// From the time of the newest event of a delivery to its publication.
    pub event_seconds: Histogram,
    /// From binding a tick to its publication.
    pub tick_seconds: Histogram,
    /// Bytes that are durable and not bound.
    pub backlog_bytes: Gauge,
    /// The age of the oldest acknowledged events that cannot be read yet, at most.
    pub frontier_age: Gauge<f64, AtomicU64>,
    pub subscribers: Gauge,
    pub subscribers_waiting: Gauge,
    /// Of all processes of the run.
    pub resident_bytes: Gauge,
    /// How many processes the run has.
    pub processes: Gauge,
    pub snapshot_seconds: Histogram,
    /// The tick of the newest snapshot.
    pub snapshot_tick: Gauge,
    pub landing: Arc<LandingStatus>,
    pub actions: Arc<Actions>,
    stages: Family<ByStage, Histogram>,
    dead_letters: Family<ByReason, Counter>,
    requests: Family<ByStatus, Counter>,
    sinks_delivered: Family<BySink, Counter>,
    sinks_retries: Family<BySink, Counter>,
    sinks_dead_letters: Family<BySink, Counter>,
    sinks_lost_ticks: Family<BySink, Counter>,
    sinks_lag_ticks: Family<BySink, Gauge>,
    sources_records: Family<BySource, Counter>,
    sources_failures: Family<BySource, Counter>,
    sources_gaps: Family<BySource, Counter>,
    sources_passed: Family<BySourceReason, Counter>,
    sources_states: Family<BySourceState, Gauge>,
    sources_lags: Family<ByPartition, Gauge>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("headwater"),
            events: Counter::default(),
            sessions: Gauge::default(),
            bytes: Counter::default(),
            backfill_records: Counter::default(),
            backfill_bytes: Counter::default(),
            duplicates: Counter::default(),
            texts_cut: Counter::default(),
            repaired: Counter::default(),
            ticks: Counter::default(),
            updates: Counter::default(),
            // From 1 ms to 12 days.
            event_seconds: Histogram::new(exponential_buckets(0.001, 4.0, 16)),
            tick_seconds: latencies(),
            backlog_bytes: Gauge::default(),
            frontier_age: Gauge::default(),
            subscribers: Gauge::default(),
            subscribers_waiting: Gauge::default(),
            resident_bytes: Gauge::default(),
            processes: Gauge::default(),
            snapshot_seconds: latencies(),
            snapshot_tick: Gauge::default(),
            landing: Arc::default(),
            actions: Arc::default(),
            stages: Family::new_with_constructor(latencies),
            dead_letters: Family::default(),
            requests: Family::default(),
            sinks_delivered: Family::default(),
            sinks_retries: Family::default(),
            sinks_dead_letters: Family::default(),
            sinks_lost_ticks: Family::default(),
            sinks_lag_ticks: Family::default(),
            sources_records: Family::default(),
            sources_failures: Family::default(),
            sources_gaps: Family::default(),
            sources_passed: Family::default(),
            sources_states: Family::default(),
            sources_lags: Family::default(),
        };
        metrics.register();
        metrics.begin();
        metrics
    }

    /// Begins every series whose labels are known at 0: an `increase` sees the first one only if there was a 0 before it.
    /// The series of a sink begin in [`Metrics::sink`].
    fn begin(&self) {
        for reason in Reason::ALL {
            drop(self.dead_letters.get_or_create(&ByReason { reason: reason.code() }));
        }
        for status in STATUSES {
            drop(self.requests.get_or_create(&ByStatus { status }));
        }
        for stage in Stage::ALL {
            drop(self.stages.get_or_create(&ByStage { stage: stage.name() }));
        }
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("events", "Events that the graph took, duplicates included", self.events.clone());
        registry.register("sessions", "Sessions, open and closed", self.sessions.clone());
        registry.register_with_unit("delivered", "Events as they came, durable", Unit::Bytes, self.bytes.clone());
        registry.register("backfill_records", "Records of backfills, durable", self.backfill_records.clone());
        let help = "Chunks of backfills as they came, durable";
        registry.register_with_unit("backfill", help, Unit::Bytes, self.backfill_bytes.clone());
        registry.register("duplicates", "Events that had been taken before", self.duplicates.clone());
        let help = "Users, types and carried texts above 1 KiB, which were cut";
        registry.register("texts_cut", help, self.texts_cut.clone());
        let help = "Events of which something unreadable was mended";
        registry.register("repaired", help, self.repaired.clone());
        registry.register("dead_letters", "Records that could not become events", self.dead_letters.clone());
        registry.register("requests", "Answers of the HTTP server", self.requests.clone());
        registry.register("ticks", "Ticks that were bound", self.ticks.clone());
        registry.register("updates", "Rows that were published, added or removed", self.updates.clone());
        let help = "From the arrival of events to the end of a stage";
        registry.register_with_unit("latency", help, Unit::Seconds, self.stages.clone());
        let help = "From the time of the newest event of a delivery to its publication";
        registry.register_with_unit("event_latency", help, Unit::Seconds, self.event_seconds.clone());
        let help = "From the binding of a tick to its publication";
        registry.register_with_unit("tick_latency", help, Unit::Seconds, self.tick_seconds.clone());
        let help = "Bytes that are durable and in no tick yet";
        registry.register_with_unit("backlog", help, Unit::Bytes, self.backlog_bytes.clone());
        let help = "Age of the last tick that can be read, 0 if nothing waits to be";
        registry.register_with_unit("frontier_age", help, Unit::Seconds, self.frontier_age.clone());
        registry.register("processes", "Processes of the run", self.processes.clone());
        registry.register_with_unit("resident_memory", "Memory in use", Unit::Bytes, self.resident_bytes.clone());
        registry.register("subscribers", "Subscribers that keep up", self.subscribers.clone());
        let help = "Changes that wait for subscribers";
        registry.register_with_unit("subscribers_waiting", help, Unit::Bytes, self.subscribers_waiting.clone());
        registry.register_with_unit("snapshot", "Writing a snapshot", Unit::Seconds, self.snapshot_seconds.clone());
        registry.register("snapshot_tick", "Tick of the newest snapshot", self.snapshot_tick.clone());
        self.landing.register(registry);
        self.actions.register(registry);
        registry.register("sink_delivered", "Changes that a sink has handed over", self.sinks_delivered.clone());
        registry.register("sink_retries", "Attempts of a sink that failed", self.sinks_retries.clone());
        registry.register(
            "sink_dead_letters",
            "Changes that a sink could not hand over",
            self.sinks_dead_letters.clone(),
        );
        let help = "Ticks that were not kept until a sink came to them";
        registry.register("sink_lost_ticks", help, self.sinks_lost_ticks.clone());
        let help = "Ticks that are published and not handed over";
        registry.register("sink_lag_ticks", help, self.sinks_lag_ticks.clone());
        let help = "Records of brokers that are durable here";
        registry.register("source_records", help, self.sources_records.clone());
        registry.register("source_failures", "How often a source began to fail", self.sources_failures.clone());
        registry.register("source_gaps", "Gaps in a source that were accepted", self.sources_gaps.clone());
        let help = "Records of brokers, or parts of them, that are in no event";
        registry.register("source_passed", help, self.sources_passed.clone());
        registry.register("source_state", "1 for the present state of a source", self.sources_states.clone());
        let help = "Offsets between the position and the end of a partition, some of which may have no record";
        registry.register("source_lag", help, self.sources_lags.clone());
    }

    pub fn took(&self, stage: Stage, seconds: f64) {
        self.stages.get_or_create(&ByStage { stage: stage.name() }).observe(seconds);
    }

    /// Counts a chunk of a backfill that is durable.
    pub fn backfilled(&self, records: u64, bytes: u64) {
        self.backfill_records.inc_by(records);
        self.backfill_bytes.inc_by(bytes);
    }

    /// Returns the number of dead letters of all reasons.
    pub fn all_dead_letters(&self) -> u64 {
        let of = |reason: Reason| self.dead_letters.get_or_create(&ByReason { reason: reason.code() }).get();
        Reason::ALL.into_iter().map(of).sum()
    }

    pub fn dead_letters(&self, reason: Reason, letters: u64) {
        self.dead_letters.get_or_create(&ByReason { reason: reason.code() }).inc_by(letters);
    }

    pub fn answered(&self, status: u16) {
        self.requests.get_or_create(&ByStatus { status }).inc();
    }

    /// Returns those of the sink with this name, from now on in the text.
    pub fn sink(&self, name: &str) -> SinkMetrics {
        let sink = BySink { sink: name.to_owned() };
        SinkMetrics {
            delivered: self.sinks_delivered.get_or_create(&sink).clone(),
            retries: self.sinks_retries.get_or_create(&sink).clone(),
            dead_letters: self.sinks_dead_letters.get_or_create(&sink).clone(),
            lost_ticks: self.sinks_lost_ticks.get_or_create(&sink).clone(),
            lag_ticks: self.sinks_lag_ticks.get_or_create(&sink).clone(),
        }
    }

    /// Returns those of the source with this name, from now on in the text.
    pub fn source(&self, name: &str) -> SourceMetrics {
        let source = BySource { source: name.to_owned() };
        SourceMetrics {
            source: name.to_owned(),
            records: self.sources_records.get_or_create(&source).clone(),
            failures: self.sources_failures.get_or_create(&source).clone(),
            gaps: self.sources_gaps.get_or_create(&source).clone(),
            passed: self.sources_passed.clone(),
            states: self.sources_states.clone(),
            lags: self.sources_lags.clone(),
        }
    }

    /// Returns the metrics in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("text can be written to memory");
        text
    }
}

/// Returns a histogram from 0.5 ms to 16 s.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, std::f64::consts::SQRT_2, 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An alert on `increase(…)` never saw the first poison record: its series began with it, at 1, and nothing had
    /// increased. All siblings are looked at: every counter that has labels.
    #[test]
    fn every_series_whose_labels_are_known_begins_at_0() {
        let metrics = Metrics::new();
        let _sink = metrics.sink("crm");
        let text = metrics.text();
        let mut expected: Vec<String> = Vec::new();
        for reason in Reason::ALL {
            expected.push(format!("headwater_dead_letters_total{{reason=\"{}\"}} 0", reason.code()));
        }
        for status in [202, 400, 429, 500, 503] {
            expected.push(format!("headwater_requests_total{{status=\"{status}\"}} 0"));
        }
        for stage in ["durable", "published"] {
            expected.push(format!("headwater_latency_seconds_count{{stage=\"{stage}\"}} 0"));
        }
        for counter in ["delivered", "retries", "dead_letters", "lost_ticks"] {
            expected.push(format!("headwater_sink_{counter}_total{{sink=\"crm\"}} 0"));
        }
        for line in expected {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn what_was_counted_is_said() {
        let metrics = Metrics::new();
        metrics.events.inc_by(7);
        metrics.dead_letters(Reason::NoJson, 1);
        metrics.answered(202);
        metrics.took(Stage::Published, 0.003);
        let text = metrics.text();
        for line in [
            "headwater_events_total 7",
            "headwater_dead_letters_total{reason=\"no_json\"} 1",
            "headwater_requests_total{status=\"202\"} 1",
            "headwater_latency_seconds_count{stage=\"published\"} 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
