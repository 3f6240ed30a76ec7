//! The state of the landing, for metrics and the status.

use indicatif::{DecimalBytes, HumanCount};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// What the landing has done in this process, and what waits for it.
#[derive(Debug, Default)]
pub struct LandingStatus {
    /// Rows of both tables.
    pub rows: Counter,
    pub files: Counter,
    pub bytes: Counter,
    /// Attempts that failed and are made again.
    pub failures: Counter,
    /// Records of the queue that were released before they had landed.
    pub lost: Counter,
    /// How often the queue was released before it had landed.
    pub releases: Counter,
    /// Files that were joined into others, and attempts that failed.
    pub joined: Counter,
    pub unjoined: Counter,
    /// Files of days that are no longer retained.
    pub expired: Counter,
    /// Files that were removed from disk.
    pub vacuumed: Counter,
    /// Ticks that are published and have not landed.
    pub lag_ticks: Gauge,
    pub lag_seconds: Gauge<f64, AtomicU64>,
    /// Bytes of the queue that are kept for the landing.
    pub held: Gauge,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Ticks before this one have landed.
    landed: u64,
    /// Why the last attempt failed, until one succeeds.
    why: Option<String>,
}

/// The landing in the answer of `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LandingReport {
    /// Why it does not get on; absent if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Ticks below this one have landed.
    pub landed: u64,
    /// Ticks that are published and have not landed.
    pub lag_ticks: u64,
    pub lag_seconds: f64,
    /// By this process.
    pub rows: u64,
    pub files: u64,
    pub bytes: u64,
    /// Files that were joined into others, by this process.
    #[serde(default)]
    pub joined_files: u64,
    /// Attempts to join files that failed, by this process: the files stay as they are.
    #[serde(default)]
    pub join_failures: u64,
    /// Bytes of the queue that are kept for the landing.
    pub held_bytes: u64,
    /// Records that were released before they had landed.
    pub lost_records: u64,
}

impl LandingReport {
    /// Returns the lines for people.
    pub fn render(&self) -> String {
        let LandingReport { why, landed, lag_ticks, lag_seconds, rows, files, bytes, held_bytes, lost_records, .. } =
            self;
        let LandingReport { joined_files, join_failures, .. } = self;
        let mut text = format!(
            "landing  {} rows in {} files, {}; before tick {landed}, {lag_ticks} ticks and {lag_seconds:.1} s behind, \
             {} of the queue kept for it\n",
            HumanCount(*rows),
            HumanCount(*files),
            DecimalBytes(*bytes),
            DecimalBytes(*held_bytes),
        );
        if *joined_files > 0 {
            text += &format!("landing  {} files were joined into larger ones\n", HumanCount(*joined_files));
        }
        if *join_failures > 0 {
            text += &format!("landing  {join_failures} times files could not be joined: the log says why\n");
        }
        if *lost_records > 0 {
            text += &format!("landing  {lost_records} records of the queue were released before they had landed\n");
        }
        if let Some(why) = why {
            text += &format!("landing  fails, and is tried again: {}\n", crate::text::printable(why));
        }
        text
    }
}

impl LandingStatus {
    /// Adds its series to the text of the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("landing_rows", "Rows that were landed", self.rows.clone());
        registry.register("landing_files", "Files that were landed", self.files.clone());
        registry.register_with_unit("landing_written", "Landed", Unit::Bytes, self.bytes.clone());
        registry.register("landing_failures", "Attempts of the landing that failed", self.failures.clone());
        let help = "Records of the queue that were released before they had landed";
        registry.register("landing_lost_records", help, self.lost.clone());
        let help = "How often the queue was released before it had landed";
        registry.register("landing_releases", help, self.releases.clone());
        registry.register("landing_joined_files", "Files that were joined into others", self.joined.clone());
        let help = "Attempts to join files that failed: they stay as they are";
        registry.register("landing_join_failures", help, self.unjoined.clone());
        let help = "Files of days that are no longer retained";
        registry.register("landing_expired_files", help, self.expired.clone());
        let help = "Files that no version needs and that were removed from disk";
        registry.register("landing_vacuumed_files", help, self.vacuumed.clone());
        let help = "Ticks that are published and have not landed";
        registry.register("landing_lag_ticks", help, self.lag_ticks.clone());
        let help = "From the clock of the last tick that landed to that of the last one that is published";
        registry.register_with_unit("landing_lag", help, Unit::Seconds, self.lag_seconds.clone());
        let help = "Bytes of the queue that are kept for the landing";
        registry.register_with_unit("landing_held", help, Unit::Bytes, self.held.clone());
    }

    /// Notes that ticks before `landed` have landed, and that nothing is wrong.
    pub fn landed(&self, landed: u64) {
        *self.lock() = State { landed, why: None };
    }

    /// Notes that an attempt has failed. Returns whether it failed for another reason than the one before.
    pub fn failed(&self, why: &str) -> bool {
        self.failures.inc();
        let mut state = self.lock();
        let is_new = state.why.as_deref() != Some(why);
        state.why = Some(why.to_owned());
        is_new
    }

    /// Notes that the queue was released before it had landed.
    pub fn gave_up(&self) {
        self.releases.inc();
    }

    /// `published`: ticks below it can land.
    pub fn report(&self, published: u64) -> LandingReport {
        let State { landed, why } = &*self.lock();
        LandingReport {
            why: why.clone(),
            landed: *landed,
            lag_ticks: published.saturating_sub(*landed),
            lag_seconds: self.lag_seconds.get(),
            rows: self.rows.get(),
            files: self.files.get(),
            bytes: self.bytes.get(),
            joined_files: self.joined.get(),
            join_failures: self.unjoined.get(),
            held_bytes: self.held.get().unsigned_abs(),
            lost_records: self.lost.get(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
