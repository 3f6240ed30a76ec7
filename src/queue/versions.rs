//! Versions of the rules of a data folder: the control record that applies rules, and the list of versions that follows from
//! the control partition.
//!
//! ```text
//! start with other rules in the configuration ─ Definitions ─┐
//! `rules apply`, `rules rollback` ───────────── Rules ───────┴─▶ version N ─ bound to a tick ─ Taken: what changed
//! ```
//! The last version holds. One that was applied holds also after a restart, until the rules of the configuration are others
//! than they were by then.

use crate::observe::rules::VersionReport;
use crate::plan::Plan;
use crate::queue::applied::{Applied, Origin, Taken};
use crate::queue::control::Control;
use crate::queue::definitions::{Definitions, rules_fingerprint};
use dataflows::rules::Rule;
use std::sync::Arc;

/// One version.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub number: u64,
    pub at_ms: i64,
    pub by: String,
    pub origin: Origin,
    /// Of one that was applied: see [`Applied::configured`].
    pub configured: Option<String>,
    pub rules: Arc<Vec<Rule>>,
    /// Of its record in the control partition.
    pub offset: u64,
    /// It has a record of its own, and so has what it changes.
    pub is_recorded: bool,
    pub taken: Option<Taken>,
}

impl Version {
    /// Returns whether it was applied, and is not of the configuration.
    pub fn is_applied(&self) -> bool {
        self.origin != Origin::Configuration
    }

    /// Returns what an operator sees of it.
    pub fn report(&self) -> VersionReport {
        let Version { number, at_ms, by, origin, rules, taken, .. } = self;
        let (file, rolled_back) = match origin {
            Origin::Configuration => (None, None),
            Origin::File(name) => (Some(name.clone()), None),
            Origin::Version(number) => (None, Some(*number)),
        };
        VersionReport {
            version: *number,
            at_ms: *at_ms,
            by: by.clone(),
            is_applied: self.is_applied(),
            file,
            rolled_back,
            rules: rules.len(),
            tick: taken.map(|taken| taken.tick),
            sessions: taken.map(|taken| taken.sessions),
            events: taken.map(|taken| taken.events),
        }
    }
}

/// All versions of a data folder, in order.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    all: Vec<Version>,
}

impl Versions {
    /// Takes a record of the control partition. They come in order.
    pub fn record(&mut self, offset: u64, received_ms: i64, record: &Control) {
        match record {
            Control::Definitions { definitions } => {
                let last = self.all.last();
                if last.is_some_and(|last| *last.rules == definitions.rules) {
                    return;
                }
                self.all.push(Version {
                    number: last.map_or(0, |last| last.number) + 1,
                    at_ms: received_ms,
                    by: String::new(),
                    origin: Origin::Configuration,
                    configured: None,
                    rules: Arc::new(definitions.rules.clone()),
                    offset,
                    is_recorded: false,
                    taken: None,
                });
            }
            Control::Rules { applied } => self.all.push(Version::of(applied, offset)),
            Control::Taken { taken } => self.took(*taken),
            _ => {}
        }
    }

    /// Returns the version that holds; `None` in a folder without definitions.
    pub fn last(&self) -> Option<&Version> {
        self.all.last()
    }

    pub fn get(&self, number: u64) -> Option<&Version> {
        self.all.iter().find(|version| version.number == number)
    }

    pub fn all(&self) -> &[Version] {
        &self.all
    }

    pub(super) fn push(&mut self, version: Version) {
        self.all.push(version);
    }

    pub(super) fn took(&mut self, taken: Taken) {
        let of = self.all.iter_mut().find(|version| version.number == taken.version);
        of.into_iter().for_each(|version| version.taken = Some(taken));
    }

    /// Returns the versions without [`Taken`] whose records are among these of the control partition.
    pub(super) fn within(&self, control: &std::ops::Range<u64>) -> Vec<(u64, bool)> {
        let within = self.all.iter().filter(|version| version.taken.is_none() && control.contains(&version.offset));
        within.map(|version| (version.number, version.is_recorded)).collect()
    }
}

impl Version {
    pub(super) fn of(applied: &Applied, offset: u64) -> Version {
        let Applied { version, at_ms, by, origin, configured, rules } = applied.clone();
        let configured = (origin != Origin::Configuration).then_some(configured);
        let rules = Arc::new(rules);
        Version { number: version, at_ms, by, origin, configured, rules, offset, is_recorded: true, taken: None }
    }
}

/// Returns the definitions from which the rules of a start follow: those of the configuration in `wanted`, or those that were
/// applied. With them comes the record that says so, where no other one does.
pub fn at_start(
    versions: &Versions,
    known: Option<&Definitions>,
    mut wanted: Definitions,
    plan: &Plan,
    now_ms: i64,
) -> (Definitions, Option<Applied>) {
    // Applied rules make do with the tests that there were, and mean the same: they stay when the configuration has them.
    let as_applied = known.and_then(|known| known.rules_of(plan).ok());
    if let Some(last) = versions.last().filter(|last| as_applied.as_ref() == Some(&*last.rules)) {
        wanted.rules.clone_from(&last.rules);
    }
    let Some((last, applied)) = versions.last().and_then(|last| Some((last, last.configured.as_ref()?))) else {
        return (wanted, None);
    };
    let configured = rules_fingerprint(plan);
    if *applied == configured {
        let (version, by) = (last.number, &last.by);
        let differ = *last.rules != wanted.rules;
        if differ {
            tracing::warn!(
                version,
                by,
                "rules that were applied hold, and not those of the configuration: `headwater rules list` shows them. They \
                 hold until others are applied, or the [[class]] blocks of the configuration change"
            );
        }
        wanted.rules.clone_from(&last.rules);
        return (wanted, None);
    }
    let number = last.number + 1;
    if *last.rules == wanted.rules {
        tracing::info!(
            version = number,
            "the configuration has the rules that were applied: they are its own from now on"
        );
        let (by, origin, rules) = (String::new(), Origin::Configuration, wanted.rules.clone());
        let own = Applied { version: number, at_ms: now_ms, by, origin, configured, rules };
        return (wanted, Some(own));
    }
    tracing::warn!(
        version = number,
        before = last.number,
        by = last.by,
        "the [[class]] blocks of the configuration have changed since rules were applied: they hold from now on. \
         `headwater rules rollback` brings the version before back"
    );
    (wanted, None)
}

#[cfg(test)]
mod tests;
