//! Users who are forgotten, as a worker hears of them in the control partition: what it passes on to the graph, and what it
//! says of them.

use crate::collections::Collection;
use crate::plan::Plan;
use crate::queue::control::Control;
use crate::queue::forgotten::{ReadBack, Seen, comes_back};
use crate::queue::sequencer::Bound;
use dataflows::UserKey;
use dataflows::changes::Changes;
use dataflows::engine::{Engine, Input};
use dataflows::forget::Forgotten;
use dataflows::{Record, SignatureId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What happens to a user at a tick.
pub(super) struct At {
    forget: u64,
    user: UserKey,
    what: What,
    /// History that was held back, and counts after all.
    records: Vec<Record>,
}

enum What {
    /// Events are noted from here on.
    Note,
    /// The user is not forgotten after all.
    Keep,
    Forget(ReadBack),
}

/// The users who are forgotten, as of a tick.
#[derive(Default)]
pub(super) struct Forgetting {
    /// By number: those that may be.
    asked: BTreeMap<u64, (UserKey, i64)>,
    /// History of these, which waits for what becomes of the user.
    waiting: BTreeMap<UserKey, Vec<Record>>,
    /// When the forget was asked for, in milliseconds: history from before does not come back.
    forgotten: BTreeMap<UserKey, i64>,
    /// Names that were held back with history, and that the decoder does not say again.
    unsaid: BTreeMap<UserKey, Arc<str>>,
}

impl Forgetting {
    /// Takes a control record.
    pub fn take(&mut self, record: Control) -> Option<At> {
        match record {
            Control::Forget { asked } => {
                let user = asked.key()?;
                self.asked.insert(asked.forget, (user, asked.asked_ms));
                Some(At { forget: asked.forget, user, what: What::Note, records: Vec::new() })
            }
            Control::Forgotten { read } => {
                let (user, at) = self.asked.remove(&read.forget)?;
                self.forgotten.insert(user, at);
                // History that waited does not come back, nor does the name with it.
                self.waiting.remove(&user);
                Some(At { forget: read.forget, user, what: What::Forget(read), records: Vec::new() })
            }
            Control::Remembered { forget, .. } => {
                let (user, _) = self.asked.remove(&forget)?;
                let records = self.waiting.remove(&user).unwrap_or_default();
                Some(At { forget, user, what: What::Keep, records })
            }
            _ => None,
        }
    }

    /// Takes the records of history from the index `from` on out that are of users who were forgotten after they happened. Those
    /// of users who may be forgotten wait.
    pub fn hold_back(&mut self, input: &mut Input, from: usize) {
        let mut since: BTreeMap<UserKey, (i64, bool)> = BTreeMap::new();
        since.extend(self.forgotten.iter().map(|(user, asked_ms)| (*user, (*asked_ms, false))));
        since.extend(self.asked.values().map(|(user, asked_ms)| (*user, (*asked_ms, true))));
        if since.is_empty() {
            return;
        }
        let mut held = BTreeSet::new();
        for record in input.records.split_off(from) {
            let of = record.event.user.and_then(|user| Some((user, *since.get(&user)?)));
            match of.filter(|(_, (asked_ms, _))| !comes_back(record.event.at(), *asked_ms)) {
                None => input.records.push(record),
                Some((user, (_, waits))) => {
                    held.insert(user);
                    if waits {
                        self.waiting.entry(user).or_default().push(record);
                    }
                }
            }
        }
        for record in &input.records {
            record.event.user.iter().for_each(|user| _ = held.remove(user));
        }
        if held.is_empty() {
            return;
        }
        let unsaid = &mut self.unsaid;
        input.names.retain(|(user, name)| {
            let stays = !held.contains(user);
            if !stays {
                unsaid.insert(*user, Arc::clone(name));
            }
            stays
        });
    }

    /// Says the names that were held back, of the records from the index `from` on.
    pub fn say(&mut self, input: &mut Input, from: usize) {
        if self.unsaid.is_empty() {
            return;
        }
        for record in &input.records[from..] {
            let name = record.event.user.and_then(|user| self.unsaid.remove_entry(&user));
            input.names.extend(name);
        }
    }
}

impl At {
    /// Adds it to what enters the graph. `plan`: with the definitions in force.
    pub fn enter(&self, plan: &Plan, input: &mut Input) {
        match &self.what {
            What::Note => input.noted.push(self.user),
            What::Keep => {
                input.kept.push(self.user);
                input.records.extend(self.records.iter().cloned());
            }
            What::Forget(read) => {
                let sequences = (0..).zip(&plan.sequences).filter(|(_, sequence)| sequence.spec.per.is_none());
                let states = (0..).zip(&plan.states).filter(|(_, state)| state.per.is_none());
                input.forgotten.push(Forgotten {
                    user: Some(self.user),
                    sums: read.sums.clone(),
                    sequences: sequences.map(|(index, _)| index).collect(),
                    steps: Vec::new(),
                    states: states.map(|(index, _)| index).collect(),
                });
            }
        }
    }

    /// Returns what this worker has of the user before the tick, or has no longer after it; `None`: nothing.
    pub fn see(&self, plan: &Plan, engine: &mut Engine, bound: &Bound, changes: &Changes) -> Option<Seen> {
        match &self.what {
            What::Note => {
                let mut events: BTreeMap<SignatureId, u64> = BTreeMap::new();
                let mut scan = engine.views().scan(bound.tick);
                scan.seek(self.user);
                if scan.user() == Some(self.user) {
                    scan.step(&mut |_, _, session| {
                        session.counts().for_each(|(signature, many)| *events.entry(signature).or_default() += many);
                    });
                }
                (!events.is_empty()).then(|| Seen::Sessions(self.forget, events.into_iter().collect()))
            }
            What::Keep => None,
            What::Forget(_) => {
                let rows = self.gone(plan, engine, bound, changes);
                (!rows.is_empty()).then_some(Seen::Gone(self.forget, rows))
            }
        }
    }

    /// Counts the rows that go at this worker, by collection.
    fn gone(&self, plan: &Plan, engine: &mut Engine, bound: &Bound, changes: &Changes) -> BTreeMap<String, u64> {
        let user = self.user;
        let mut rows = BTreeMap::new();
        let mut count = |name: &str, of: &mut dyn Iterator<Item = (UserKey, isize)>| {
            let many = of.filter(|(of, diff)| *of == user && *diff < 0).count() as u64;
            if many > 0 {
                rows.insert(name.to_owned(), many);
            }
        };
        let of = Collection::SESSIONS.name();
        count(of, &mut changes.sessions.iter().map(|((user, _), diff)| (*user, *diff)));
        count(Collection::USERS.name(), &mut changes.users.iter().map(|((user, _), diff)| (*user, *diff)));
        let of = Collection::CLOSINGS.name();
        count(of, &mut changes.closings.iter().map(|(closing, diff)| (closing.user, *diff)));
        let of = Collection::ACTIVITIES.name();
        count(of, &mut changes.activities.iter().map(|((track, _), diff)| (track.key, *diff)));
        if let Some(kind) = plan.identity.as_ref().and_then(|identity| identity.rules.user) {
            let own = changes.identities.iter().filter(|(identity, _)| identity.alias.kind == kind);
            count(Collection::IDENTITIES.name(), &mut own.map(|(identity, diff)| (identity.alias.key(), *diff)));
        }
        for (index, state) in plan.states.iter().enumerate().filter(|(_, state)| state.per.is_none()) {
            if engine.views().touched(index, bound.tick).binary_search(&user).is_ok() {
                rows.insert(state.schema.collection_name(), 1);
            }
        }
        rows
    }
}
