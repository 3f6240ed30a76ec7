//! The rules of a run: which version holds, and the way to another one.
//!
//! ```text
//! PUT /v1/rules ─▶ change ─▶ Step ─ durable in the control partition ─▶ taken ─ a tick ─▶ took: what changed
//! ```
//! One change is on its way at a time. So a client that names the version that it knows changes that one, or nothing.

use crate::observe::rules::{HoldsReport, RulesReport, VersionReport};
use crate::plan::{Plan, shown};
use crate::queue::applied::{Applied, Origin, Taken};
use crate::queue::control::Control;
use crate::queue::definitions::{Definitions, Missing, rules_fingerprint};
use crate::queue::versions::{Version, Versions};
use dataflows::Tick;
use dataflows::rules::Rule;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Versions of one data folder: each is kept for ever, so that it can come back.
const MOST: usize = 10_000;
/// Bytes of all their records together.
const BYTES: usize = 256 << 20;
/// Bytes of the record of one version.
const RECORD_BYTES: usize = 8 << 20;

/// Why rules are not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no version {0} of the rules")]
    Unknown(u64),
    #[error(
        "the rules are at version {is}, {how}, and not at {expected}: look at them with `headwater rules list`, and decide \
         again"
    )]
    Expected { expected: u64, is: u64, how: String },
    #[error("{}", missing(.0))]
    Missing(Vec<Missing>),
    #[error("the rules take {0} bytes as a record, and {RECORD_BYTES} is the most")]
    Large(usize),
    #[error(
        "the data folder has {MOST} versions of rules, or {} MiB of them, which is all that it can have: rules change at a \
         restart, by the configuration",
        BYTES >> 20
    )]
    Many,
    /// Another change is about to become durable.
    #[error("another change of the rules is being stored")]
    Busy,
}

fn missing(missing: &[Missing]) -> String {
    const SHOWN: usize = 20;
    let each = missing.iter().take(SHOWN).map(|Missing { rules, test }| format!("`{test}` ({})", rules.join(", ")));
    let tests = each.collect::<Vec<_>>().join("; ");
    let more = missing.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!(
        "the rules ask what no rule of this data folder has asked before, and its events have no answer to it: {tests}{more}. \
         Nothing has changed. Leave these out, or put the rules into the configuration and start again: such a rule then \
         holds for the events that come from the start on. To have it for all events, replay into another data folder"
    )
}

/// What a client wants to hold.
pub struct Change {
    pub rules: Vec<Rule>,
    pub by: String,
    pub origin: Origin,
    /// The version that the client takes to hold.
    pub expected: Option<u64>,
    pub now_ms: i64,
}

/// The answer to a change.
#[derive(Debug)]
pub enum Asked {
    /// It has to become durable.
    Step(Step),
    /// The version that holds has these rules.
    Already(u64),
}

/// The rules of a run.
pub struct Rulebook {
    /// The plan with all tests that were ever made.
    plan: Arc<Plan>,
    tests: Definitions,
    /// The rules of the configuration, and their fingerprint.
    own: Vec<Rule>,
    configured: String,
    state: Mutex<State>,
    /// The last version that a published tick has taken.
    taken: watch::Sender<u64>,
}

struct State {
    versions: Versions,
    is_busy: bool,
    bytes: usize,
}

impl Rulebook {
    /// `configuration`: the plan as it is configured. `plan` and `definitions`: of the start.
    pub fn new(configuration: &Plan, plan: &Arc<Plan>, definitions: &Definitions, versions: Versions) -> Arc<Rulebook> {
        let bytes = versions.all().iter().filter(|version| version.is_recorded).map(size).sum();
        let taken = versions.all().iter().filter(|version| version.taken.is_some()).map(|version| version.number).max();
        Arc::new(Rulebook {
            plan: Arc::clone(plan),
            tests: definitions.clone(),
            // The definitions of a start have all tests of its configuration.
            own: definitions.rules_of(configuration).unwrap_or_default(),
            configured: rules_fingerprint(configuration),
            state: Mutex::new(State { versions, is_busy: false, bytes }),
            taken: watch::Sender::new(taken.unwrap_or(0)),
        })
    }

    /// Returns the rules of `plan` over the tests of the data folder.
    ///
    /// # Errors
    /// [`Refused::Missing`].
    pub fn bind(&self, plan: &Plan) -> Result<Vec<Rule>, Refused> {
        self.tests.rules_of(plan).map_err(Refused::Missing)
    }

    /// Returns the rules of a version.
    ///
    /// # Errors
    /// [`Refused::Unknown`].
    pub fn rules(&self, number: u64) -> Result<Vec<Rule>, Refused> {
        let state = self.lock();
        let version = state.versions.get(number).ok_or(Refused::Unknown(number))?;
        Ok(Vec::clone(&version.rules))
    }

    /// Returns the rules that hold.
    pub fn holding(&self) -> Arc<Vec<Rule>> {
        self.lock().versions.last().map_or_else(Arc::default, |version| Arc::clone(&version.rules))
    }

    /// Begins a change.
    ///
    /// # Errors
    /// All of [`Refused`] but for [`Refused::Unknown`] and [`Refused::Missing`].
    pub fn change(self: &Arc<Rulebook>, change: Change) -> Result<Asked, Refused> {
        let Change { rules, by, origin, expected, now_ms } = change;
        let mut state = self.lock();
        if state.is_busy {
            return Err(Refused::Busy);
        }
        let last = state.versions.last();
        let is = last.map_or(0, |last| last.number);
        if let Some(expected) = expected.filter(|expected| *expected != is) {
            let how = last.map_or(String::new(), |last| last.report().how());
            return Err(Refused::Expected { expected, is, how });
        }
        if last.is_some_and(|last| *last.rules == rules) {
            return Ok(Asked::Already(is));
        }
        let configured = self.configured.clone();
        let applied = Applied { version: is + 1, at_ms: now_ms, by, origin, configured, rules };
        let record = Control::Rules { applied: applied.clone() }.encode();
        if record.len() > RECORD_BYTES {
            return Err(Refused::Large(record.len()));
        }
        if state.versions.all().len() >= MOST || state.bytes + record.len() > BYTES {
            return Err(Refused::Many);
        }
        state.is_busy = true;
        Ok(Asked::Step(Step { of: Arc::clone(self), applied, record }))
    }

    /// Records what the versions of a published tick have changed. `control`: the records that the tick has taken. Returns
    /// what is to be made durable.
    pub fn took(&self, control: &Range<u64>, tick: Tick, sessions: u64, events: u64) -> Vec<Taken> {
        if control.is_empty() {
            return Vec::new();
        }
        let mut state = self.lock();
        let within = state.versions.within(control);
        let Some((last, _)) = within.last().copied() else { return Vec::new() };
        let mut durable = Vec::new();
        for (version, is_recorded) in within {
            // Of several in one tick, the last one has changed everything.
            let (sessions, events) = if version == last { (sessions, events) } else { (0, 0) };
            let taken = Taken { version, tick, sessions, events };
            state.versions.took(taken);
            durable.extend(is_recorded.then_some(taken));
        }
        drop(state);
        self.taken.send_if_modified(|taken| std::mem::replace(taken, last) != last);
        durable
    }

    /// Returns what says which version the published ticks have taken.
    pub fn taken(&self) -> watch::Receiver<u64> {
        self.taken.subscribe()
    }

    /// Returns the version that holds, for the status; `None` before there is one.
    pub fn holds(&self) -> Option<HoldsReport> {
        let state = self.lock();
        let last = state.versions.last()?;
        Some(HoldsReport { version: last.report(), as_configured: !last.is_applied() || *last.rules == self.own })
    }

    /// Returns a version.
    pub fn version(&self, number: u64) -> Option<VersionReport> {
        self.lock().versions.get(number).map(Version::report)
    }

    /// Returns all versions, in order.
    pub fn report(&self) -> RulesReport {
        let state = self.lock();
        RulesReport { versions: state.versions.all().iter().map(Version::report).collect() }
    }

    /// Returns the rules of a version as they are written in a file.
    pub fn text(&self, number: u64) -> Option<String> {
        let rules = Arc::clone(&self.lock().versions.get(number)?.rules);
        Some(shown::file(&self.plan, &rules))
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Rulebook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rulebook").finish_non_exhaustive()
    }
}

/// A version on its way into the log. Dropped, nothing has happened.
#[derive(Debug)]
pub struct Step {
    of: Arc<Rulebook>,
    applied: Applied,
    /// Of the control partition.
    pub record: Vec<u8>,
}

impl Step {
    pub fn number(&self) -> u64 {
        self.applied.version
    }

    /// Records that the version is durable, at this offset of the control partition.
    /// `bytes`: of the record.
    pub fn durable(self, offset: u64, bytes: usize) {
        let mut state = self.of.lock();
        state.bytes += bytes;
        state.versions.push(Version::of(&self.applied, offset));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.of.lock().is_busy = false;
    }
}

fn size(version: &Version) -> usize {
    let Version { number, at_ms, by, origin, rules, .. } = version;
    let configured = version.configured.clone().unwrap_or_default();
    let (by, origin, rules) = (by.clone(), origin.clone(), Vec::clone(rules));
    let applied = Applied { version: *number, at_ms: *at_ms, by, origin, configured, rules };
    Control::Rules { applied }.encode().len()
}

#[cfg(test)]
mod tests;
