//! Users who are forgotten: what was asked for, how far it is, and what has gone. All of it is in the control partition, by
//! the key of a user and never by the name.
//!
//! ```text
//! asked ─ Forget ─▶ tick P: noted ─ read back ─ Forgotten ─▶ tick T: forgotten ─ counted ─ Receipt ─▶ done
//!                                       └────── Remembered ─▶ refused
//! ```
//! From `Forget` to `Receipt` no checkpoint is taken: what is noted is in no checkpoint, and a start computes it again.

use crate::fingerprint::hex;
use crate::observe::forgets::{ForgetReport, ForgetStage};
use crate::queue::control::Control;
use crate::queue::forgotten::{Asked, Gone, Landed, ReadBack, Seen};
use crate::sync::{Condvar, Mutex, MutexGuard};
use dataflows::{SignatureId, Tick, UserKey};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Bytes of a reason.
const REASON_BYTES: usize = 1000;
/// Users who are forgotten at once. Further ones wait.
const AT_ONCE: usize = 64;

/// A user whose events are to be read back.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub asked: Asked,
    pub user: UserKey,
    /// Events of ticks before this one go.
    pub before: Tick,
    /// By part of the queue: where that tick begins.
    pub queue: Vec<u64>,
    /// Where the user was forgotten last: events before are gone already.
    pub after: Option<(Tick, Vec<u64>)>,
    /// Since then, history from before this time was held back: milliseconds since 1970.
    pub held: Option<i64>,
    /// Events of sessions, by signature.
    pub sessions: BTreeMap<SignatureId, u64>,
    /// The ticks of this process before that one which took rules, in order.
    pub ruled: Vec<Ruled>,
}

/// A tick from which on other rules may hold.
#[derive(Clone, Debug)]
pub struct Ruled {
    pub tick: Tick,
    /// The records that it takes of the control partition.
    pub control: Range<u64>,
    /// By part of the queue: where it begins.
    pub queue: Vec<u64>,
}

/// A user who goes from the views, or has gone.
#[derive(Clone, Copy, Debug)]
pub struct Forgotten {
    pub forget: u64,
    pub user: UserKey,
    /// The tick at which the user goes.
    pub at: Tick,
    /// What has gone is counted.
    pub is_done: bool,
    /// Events of ticks before this one have gone.
    pub before: Tick,
    /// History from before this time does not come back: milliseconds since 1970.
    pub asked_ms: i64,
}

/// Why a user is not forgotten.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("`user` is empty: name the user as events do")]
    Empty,
    #[error("`reason` has more than {REASON_BYTES} bytes")]
    Reason,
    #[error("{AT_ONCE} users are being forgotten: try again when some are done")]
    Many,
}

/// The users who are forgotten, of one data folder.
#[derive(Debug, Default)]
pub struct Forgets {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    all: BTreeMap<u64, Known>,
    /// Offsets of records that no tick has taken yet.
    unbound: BTreeMap<u64, What>,
    ruled: Vec<Ruled>,
    /// What has gone from the landing.
    landed: BTreeMap<u64, Landed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Note(u64),
    Forget(u64),
    Rules,
}

#[derive(Debug)]
struct Known {
    asked: Asked,
    /// The first record is durable.
    is_durable: bool,
    /// The tick from which on events are noted, and where it begins in the queue.
    noted: Option<(Tick, Vec<u64>)>,
    /// What the workers said of it.
    sessions: Option<BTreeMap<SignatureId, u64>>,
    read_back: Option<ReadBack>,
    /// The tick at which the user is forgotten, and its clock.
    at: Option<(Tick, i64)>,
    gone: Option<BTreeMap<String, u64>>,
    /// The last record is on its way, or durable.
    receipt: Option<Gone>,
    is_done: bool,
    /// The record that refuses it is on its way, or durable.
    is_answered: bool,
    refused: Option<String>,
}

impl Known {
    fn new(asked: Asked) -> Known {
        Known {
            asked,
            is_durable: false,
            noted: None,
            sessions: None,
            read_back: None,
            at: None,
            gone: None,
            receipt: None,
            is_done: false,
            is_answered: false,
            refused: None,
        }
    }

    fn is_pending(&self) -> bool {
        !self.is_done && self.refused.is_none()
    }

    fn report(&self) -> ForgetReport {
        let Asked { forget, user, asked_ms, reason, partial } = self.asked.clone();
        let stage = match (&self.refused, self.is_done) {
            (Some(_), _) => ForgetStage::Refused,
            (None, true) => ForgetStage::Done,
            (None, false) => ForgetStage::Pending,
        };
        let receipt = self.receipt.as_ref().filter(|_| self.is_done);
        ForgetReport {
            forget,
            user,
            state: stage,
            reason,
            partial,
            asked_ms,
            tick: receipt.map(|gone| gone.tick),
            forgotten_ms: receipt.map(|gone| gone.now_ms),
            events: self.read_back.as_ref().filter(|_| self.is_done).map(ReadBack::events),
            rows: receipt.map(|gone| gone.rows.clone()).unwrap_or_default(),
            stays: self.read_back.as_ref().map(|read| read.stays.clone()).unwrap_or_default(),
            why: self.refused.clone(),
            disk: None,
        }
    }
}

impl Forgets {
    /// Takes the records of earlier starts, with their offsets in the control partition, and the offsets of those that have
    /// rules. Those from `bound` on are taken by ticks that are still to come.
    pub fn load(&self, records: &[(u64, Control)], rules: impl IntoIterator<Item = u64>, bound: u64) {
        let mut state = self.lock();
        state.unbound.extend(rules.into_iter().filter(|offset| *offset >= bound).map(|offset| (offset, What::Rules)));
        for (offset, record) in records {
            state.take(*offset, record.clone(), *offset >= bound);
        }
    }

    /// Asks for a user to be forgotten. Returns the number, and what has to become durable: nothing if it is asked for already.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn ask(
        &self,
        user: UserKey,
        reason: Option<String>,
        partial: bool,
        now_ms: i64,
    ) -> Result<(u64, Option<Vec<u8>>), Refused> {
        if reason.as_ref().is_some_and(|reason| reason.len() > REASON_BYTES) {
            return Err(Refused::Reason);
        }
        let mut state = self.lock();
        let user = hex(&user.bytes());
        let pending = || state.all.values().filter(|known| known.is_pending());
        if let Some(known) = pending().find(|known| known.asked.user == user) {
            return Ok((known.asked.forget, None));
        }
        if pending().count() >= AT_ONCE {
            return Err(Refused::Many);
        }
        let forget = state.all.last_key_value().map_or(1, |(last, _)| last + 1);
        let asked = Asked { forget, user, asked_ms: now_ms, reason, partial };
        state.all.insert(forget, Known::new(asked.clone()));
        Ok((forget, Some(Control::Forget { asked }.encode())))
    }

    /// Records that a record of the control partition is durable.
    pub fn durable(&self, offset: u64, payload: &[u8]) {
        let Ok(record) = Control::decode(payload) else { return };
        self.lock().take(offset, record, true);
        self.bell.notify_all();
    }

    /// Records the offsets of the control partition that a tick has taken. `queue`: what it takes of each part of the queue.
    pub fn bound(&self, tick: Tick, now_ms: i64, control: &Range<u64>, queue: &[Range<u64>]) {
        if control.is_empty() {
            return;
        }
        let mut state = self.lock();
        let rest = state.unbound.split_off(&control.end);
        let begins = || queue.iter().map(|range| range.start).collect();
        let taken = std::mem::replace(&mut state.unbound, rest);
        if taken.values().any(|what| *what == What::Rules) {
            state.ruled.push(Ruled { tick, control: control.clone(), queue: begins() });
        }
        for what in taken.into_values() {
            match what {
                What::Note(forget) => {
                    state.all.get_mut(&forget).into_iter().for_each(|known| known.noted = Some((tick, begins())));
                }
                What::Forget(forget) => {
                    state.all.get_mut(&forget).into_iter().for_each(|known| known.at = Some((tick, now_ms)));
                }
                What::Rules => {}
            }
        }
        drop(state);
        self.bell.notify_all();
    }

    /// Records what the workers have said of a tick that is published: all of them have.
    pub fn published(&self, tick: Tick, seen: Vec<Seen>) {
        let mut state = self.lock();
        // A worker that has nothing of a user says nothing.
        for known in state.all.values_mut().filter(|known| known.is_pending()) {
            if known.noted.as_ref().is_some_and(|(noted, _)| *noted <= tick) {
                known.sessions.get_or_insert_default();
            }
            if known.at.is_some_and(|(at, _)| at <= tick) {
                known.gone.get_or_insert_default();
            }
        }
        for seen in seen {
            match seen {
                Seen::Sessions(forget, events) => {
                    let known = state.all.get_mut(&forget);
                    let sessions = known.map(|known| known.sessions.get_or_insert_default());
                    sessions.into_iter().for_each(|sessions| {
                        events.iter().for_each(|(by, many)| *sessions.entry(*by).or_default() += many);
                    });
                }
                Seen::Gone(forget, rows) => {
                    let known = state.all.get_mut(&forget);
                    let gone = known.map(|known| known.gone.get_or_insert_default());
                    gone.into_iter().for_each(|gone| {
                        rows.iter().for_each(|(name, many)| *gone.entry(name.clone()).or_default() += many);
                    });
                }
            }
        }
        drop(state);
        self.bell.notify_all();
    }

    /// Returns whether any user is being forgotten: until all are, no checkpoint is taken.
    pub fn are_pending(&self) -> bool {
        self.lock().all.values().any(Known::is_pending)
    }

    /// Waits for a user whose events have to be read back, at most for `patience`.
    pub fn wanted(&self, patience: Duration) -> Option<Wanted> {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(wanted) = state.wanted() {
                return Some(wanted);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes what was read back, and returns the record of it.
    pub fn read_back(&self, read: ReadBack) -> Vec<u8> {
        if let Some(known) = self.lock().all.get_mut(&read.forget) {
            known.read_back = Some(read.clone());
        }
        Control::Forgotten { read }.encode()
    }

    /// Refuses to forget a user, and returns the record of it.
    pub fn refuse(&self, forget: u64, why: String) -> Vec<u8> {
        self.lock().all.get_mut(&forget).into_iter().for_each(|known| known.is_answered = true);
        Control::Remembered { forget, why }.encode()
    }

    /// Returns the records of what has gone, of users who are forgotten in the views.
    pub fn receipts(&self) -> Vec<Vec<u8>> {
        let mut state = self.lock();
        let ready = state.all.values_mut().filter(|known| known.is_pending() && known.receipt.is_none());
        let receipts = ready.filter_map(|known| {
            let ((tick, now_ms), rows) = (known.at?, known.gone.clone()?);
            let gone = Gone { forget: known.asked.forget, tick, now_ms, rows };
            known.receipt = Some(gone.clone());
            Some(Control::Receipt { gone }.encode())
        });
        receipts.collect()
    }

    /// Waits until nothing of a forget is to come, at most for `patience`. Returns how far it is, once it is durable.
    pub fn settled(&self, forget: u64, patience: Duration) -> Option<ForgetReport> {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            let known = state.all.get(&forget)?;
            let left = until.saturating_duration_since(Instant::now());
            if !known.is_pending() || left.is_zero() {
                return known.is_durable.then(|| known.report());
            }
            state = self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns the users of whom a tick is known at which they go from the views, in the order in which they were asked for.
    pub fn gone(&self) -> Vec<Forgotten> {
        let state = self.lock();
        let gone = state.all.values().filter_map(|known| {
            let Asked { forget, asked_ms, .. } = known.asked;
            let receipt = known.receipt.as_ref().map(|gone| gone.tick);
            let at = receipt.or(known.at.map(|(tick, _)| tick))?;
            let (user, before) = (known.asked.key()?, known.read_back.as_ref()?.before);
            Some(Forgotten { forget, user, at, is_done: known.is_done, before, asked_ms })
        });
        gone.collect()
    }

    /// Returns whether a user has gone from the views after a tick.
    pub fn have_gone_since(&self, tick: Tick) -> bool {
        self.lock().all.values().any(|known| known.receipt.as_ref().is_some_and(|gone| gone.tick > tick))
    }

    /// Records what has gone from the landing.
    pub fn landed(&self, forget: u64, landed: Landed) {
        self.lock().landed.insert(forget, landed);
    }

    /// Returns what has gone from the landing with a user; `None`: not all yet.
    pub fn has_landed(&self, forget: u64) -> Option<Landed> {
        self.lock().landed.get(&forget).copied()
    }

    /// Returns all, in the order in which they were asked for.
    pub fn reports(&self) -> Vec<ForgetReport> {
        self.lock().all.values().filter(|known| known.is_durable).map(Known::report).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a record that is durable. `comes`: a tick takes it later.
    fn take(&mut self, offset: u64, record: Control, comes: bool) {
        let what = match record {
            Control::Forget { asked } => {
                let forget = asked.forget;
                self.all.entry(forget).or_insert_with(|| Known::new(asked)).is_durable = true;
                Some(What::Note(forget))
            }
            Control::Forgotten { read } => {
                let forget = read.forget;
                if let Some(known) = self.all.get_mut(&forget) {
                    known.read_back = Some(read);
                }
                Some(What::Forget(forget))
            }
            Control::Remembered { forget, why } => {
                self.all.get_mut(&forget).into_iter().for_each(|known| known.refused = Some(why.clone()));
                None
            }
            Control::Receipt { gone } => {
                if let Some(known) = self.all.get_mut(&gone.forget) {
                    (known.receipt, known.is_done) = (Some(gone), true);
                }
                None
            }
            Control::Rules { .. } => Some(What::Rules),
            _ => None,
        };
        if let Some(what) = what.filter(|_| comes) {
            self.unbound.insert(offset, what);
        }
    }

    fn wanted(&self) -> Option<Wanted> {
        let waits = |known: &&Known| known.is_pending() && known.read_back.is_none() && !known.is_answered;
        self.all.values().filter(waits).find_map(|known| {
            let ((before, queue), sessions) = (known.noted.clone()?, known.sessions.clone()?);
            let same = |other: &&Known| other.asked.user == known.asked.user && other.is_done;
            let last = self.all.values().rev().find(same);
            let after = last.and_then(|last| last.read_back.as_ref());
            let after = after.map(|last| (last.before, last.queue.clone()));
            let held = last.map(|last| last.asked.asked_ms);
            let (asked, user) = (known.asked.clone(), known.asked.key()?);
            let ruled = self.ruled.iter().filter(|ruled| ruled.tick < before).cloned().collect();
            Some(Wanted { asked, user, before, queue, after, held, sessions, ruled })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(payload: &[u8]) -> Control {
        Control::decode(payload).unwrap()
    }

    /// As a sequencer, the publisher and the thread that reads back do it; then as a start does that finds the records.
    #[test]
    fn a_user_is_asked_for_noted_read_back_and_gone() {
        let (forgets, user) = (Forgets::default(), UserKey::of("ann"));
        let (forget, record) = forgets.ask(user, Some("why".into()), false, 5).unwrap();
        let record = record.unwrap();
        // While it is asked for, it is the same request.
        assert_eq!(forgets.ask(user, None, true, 6), Ok((forget, None)));
        assert!(forgets.are_pending() && forgets.reports().is_empty());
        assert!(!String::from_utf8_lossy(&record).contains("ann"));
        forgets.durable(3, &record);
        assert_eq!(forgets.reports()[0].state, ForgetStage::Pending);
        forgets.bound(7, 100, &(3..4), &[5..9, 0..0]);
        assert!(forgets.wanted(Duration::ZERO).is_none(), "the workers have said nothing yet");
        forgets.published(7, vec![Seen::Sessions(forget, vec![(SignatureId(1), 2)])]);
        let wanted = forgets.wanted(Duration::ZERO).unwrap();
        assert_eq!((wanted.before, wanted.queue.clone(), wanted.after.clone()), (7, vec![5, 0], None));
        assert_eq!(wanted.sessions, BTreeMap::from([(SignatureId(1), 2)]));
        let read = ReadBack { forget, before: 7, queue: vec![5, 0], ..ReadBack::default() };
        let forgotten = forgets.read_back(read);
        assert!(forgets.wanted(Duration::ZERO).is_none() && forgets.receipts().is_empty());
        forgets.durable(4, &forgotten);
        forgets.bound(9, 200, &(4..5), &[9..12, 0..0]);
        forgets.published(9, vec![Seen::Gone(forget, BTreeMap::from([("sessions".into(), 2)]))]);
        let receipt = forgets.receipts().pop().unwrap();
        assert!(forgets.receipts().is_empty() && forgets.are_pending());
        // A start that finds the receipt missing computes both ticks again.
        let again = Forgets::default();
        again.load(&[(3, control(&record)), (4, control(&forgotten))], [], 3);
        assert!(again.are_pending() && again.wanted(Duration::ZERO).is_none());
        again.bound(7, 100, &(3..4), &[5..9, 0..0]);
        again.bound(9, 200, &(4..5), &[9..12, 0..0]);
        again.published(9, vec![Seen::Gone(forget, BTreeMap::from([("sessions".into(), 2)]))]);
        assert_eq!(again.receipts(), std::slice::from_ref(&receipt));
        forgets.durable(5, &receipt);
        assert!(!forgets.are_pending() && forgets.have_gone_since(8) && !forgets.have_gone_since(9));
        let report = forgets.settled(forget, Duration::ZERO).unwrap();
        assert_eq!((report.state, report.tick, report.rows.get("sessions")), (ForgetStage::Done, Some(9), Some(&2)));
        let found = Forgets::default();
        let records = [(3, control(&record)), (4, control(&forgotten)), (5, control(&receipt))];
        found.load(&records, [], 6);
        assert_eq!(found.reports(), forgets.reports());
        // The next time, only what came since goes.
        let (next, record) = found.ask(user, None, false, 9).unwrap();
        assert_eq!(next, forget + 1);
        found.durable(6, &record.unwrap());
        found.bound(20, 300, &(6..7), &[15..15, 0..0]);
        found.published(20, vec![]);
        let wanted = found.wanted(Duration::ZERO).unwrap();
        assert_eq!((wanted.after, wanted.held), (Some((7, vec![5, 0])), Some(5)));
        // It is read back once, however long the answer takes to become durable.
        let refused = found.refuse(next, "no".into());
        assert!(found.wanted(Duration::ZERO).is_none() && found.are_pending());
        found.durable(7, &refused);
        assert!(!found.are_pending());
        assert_eq!(found.settled(next, Duration::ZERO).unwrap().why.as_deref(), Some("no"));
    }
}
