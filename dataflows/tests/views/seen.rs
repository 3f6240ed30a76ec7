//! What is seen of a graph: everything that it says, accumulated tick by tick.

use super::steps::Input;
use dataflows::close::Closing;
use dataflows::counts::{ClassHour, SignatureHour};
use dataflows::group::Group;
use dataflows::ingest::{IdRow, Verdict};
use dataflows::resolve::SessionRow;
use dataflows::sessionize::{EndedBy, Late, Lineage, Mark, Moved, Rejection, Session};
use dataflows::shapes::ShapeTotals;
use dataflows::users::UserTotals;
use dataflows::{Measure, SessionId, Sessionless, ShapeId, SignatureId, Tick, UserKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What all views hold after a tick, and what the journals gained in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub sessions: BTreeMap<Row, isize>,
    pub names: BTreeSet<(UserKey, String)>,
    /// As each worker has them.
    pub classes: BTreeMap<(SignatureId, String), isize>,
    /// Class, hour, number of events.
    pub counts: BTreeMap<(String, Option<i64>, u64), isize>,
    pub shapes: BTreeMap<(Option<ShapeId>, Arc<ShapeTotals>), isize>,
    pub sessionless: BTreeMap<Sessionless, isize>,
    pub users: BTreeMap<(UserKey, UserTotals), isize>,
    /// User, start, end, events.
    pub closings: BTreeMap<(UserKey, i64, i64, u64), isize>,
    pub verdicts: Vec<Verdict>,
    pub rejected: Vec<(UserKey, Vec<SessionId>)>,
    /// Time, signature, start of the session.
    pub late: Vec<(UserKey, i64, SignatureId, i64)>,
    /// Start that was, start that is.
    pub lineage: Vec<(UserKey, i64, i64, Moved)>,
    pub resolved: Resolved,
}

/// What the same views and journals hold with names in the place of identities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    pub sessions: BTreeMap<ResolvedSession, isize>,
    /// Of views other than the sessions, and journals: a row as text.
    pub others: BTreeMap<String, isize>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResolvedSession {
    pub user: String,
    pub start: i64,
    pub end: i64,
    pub events: u64,
    pub classes: Vec<(String, u64)>,
    pub first_class: String,
    pub last_class: String,
    pub price: Measure,
    pub pages: Option<(String, String)>,
    pub ended_by: Option<EndedBy>,
}

impl ResolvedSession {
    pub fn of(row: &SessionRow<'_>) -> ResolvedSession {
        assert_eq!(row.key, UserKey::of(row.user));
        let pages = row.carried[0].0.zip(row.carried[0].1);
        ResolvedSession {
            user: row.user.into(),
            start: row.start.micros(),
            end: row.end.micros(),
            events: row.events,
            classes: row.classes.iter().map(|(class, events)| (String::from(*class), *events)).collect(),
            first_class: row.first_class.into(),
            last_class: row.last_class.into(),
            price: row.sums[0],
            pages: pages.map(|(entry, exit)| (entry.into(), exit.into())),
            ended_by: row.ended_by,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub user: UserKey,
    pub start: i64,
    pub end: i64,
    pub events: u64,
    pub signatures: Vec<(SignatureId, u64)>,
    pub first: SignatureId,
    pub last: SignatureId,
    pub price: Measure,
    pub pages: Option<(String, String)>,
    pub ended_by: Option<EndedBy>,
}

impl Row {
    pub fn of(user: UserKey, session: &Session) -> Row {
        let details = session.details().expect("every event has details");
        let carried = details.carried[0].as_ref();
        Row {
            user,
            start: session.start.micros(),
            end: session.end.micros(),
            events: session.events,
            signatures: session.counts().collect(),
            first: session.first,
            last: session.last,
            price: details.sums[0],
            pages: carried.map(|carried| (carried.entry.1.to_string(), carried.exit.1.to_string())),
            ended_by: session.ended_by(),
        }
    }
}

/// One thing that a graph says.
#[derive(Clone, Debug)]
pub enum Output {
    Session((UserKey, Session), isize),
    Name(UserKey, String),
    /// At this worker.
    Class(usize, (SignatureId, String), isize),
    Count((ClassHour, u64), isize),
    Shape((Option<ShapeId>, Arc<ShapeTotals>), isize),
    Sessionless(Sessionless, isize),
    User((UserKey, UserTotals), isize),
    Closing(Closing, isize),
    Verdict(Verdict),
    Rejection(Rejection),
    Late(Late),
    Lineage(Lineage),
    Mark((UserKey, Mark), isize),
    Id(IdRow, isize),
    BySignature(SignatureHour, isize),
    ByReason(Sessionless, isize),
    Resolved(ResolvedSession, isize),
    Group(Group, isize),
    /// A row of another collection, resolved, and whether it is of a view.
    ResolvedOther(String, bool, isize),
}

/// What a snapshot holds, and with it all that went in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The last tick in it.
    pub tick: Tick,
    pub sessions: BTreeMap<(UserKey, Session), isize>,
    pub marks: BTreeMap<(UserKey, Mark), isize>,
    pub ids: BTreeMap<IdRow, isize>,
    pub by_signature: BTreeMap<SignatureHour, isize>,
    pub by_reason: BTreeMap<Sessionless, isize>,
    /// Of the count over events.
    pub groups: BTreeMap<Group, isize>,
}

/// All that a graph said, with its ticks.
pub struct Said {
    start: Option<Snapshot>,
    workers: usize,
    outputs: Vec<(Tick, Output)>,
}

impl Said {
    pub fn new(start: Option<Snapshot>, workers: usize, outputs: Vec<(Tick, Output)>) -> Said {
        Said { start, workers, outputs }
    }

    pub fn workers(&self) -> usize {
        self.workers
    }

    /// What is seen after each of these ticks.
    pub fn seen(&self, ticks: std::ops::Range<Tick>) -> Vec<Seen> {
        ticks.map(|tick| self.seen_after(tick)).collect()
    }

    fn seen_after(&self, after: Tick) -> Seen {
        let mut seen = Seen::default();
        let mut classes = vec![BTreeMap::new(); self.workers];
        for (tick, output) in self.outputs.iter().filter(|(tick, _)| *tick <= after) {
            match output.clone() {
                Output::Session((user, session), diff) => add(&mut seen.sessions, Row::of(user, &session), diff),
                Output::Name(user, name) => drop(seen.names.insert((user, name))),
                Output::Class(worker, row, diff) => add(&mut classes[worker], row, diff),
                Output::Count(((class, hour), events), diff) => {
                    add(&mut seen.counts, (class.to_string(), hour.map(|hour| hour.micros()), events), diff);
                }
                Output::Shape(row, diff) => add(&mut seen.shapes, row, diff),
                Output::Sessionless(reason, diff) => add(&mut seen.sessionless, reason, diff),
                Output::User(row, diff) => add(&mut seen.users, row, diff),
                Output::Closing(Closing { end, user, start, events, .. }, diff) => {
                    add(&mut seen.closings, (user, start.micros(), end.micros(), events), diff);
                }
                Output::Resolved(row, diff) => add(&mut seen.resolved.sessions, row, diff),
                Output::ResolvedOther(row, true, diff) => add(&mut seen.resolved.others, row, diff),
                Output::Mark(..) | Output::Id(..) | Output::BySignature(..) => {}
                Output::ByReason(..) | Output::Group(..) => {}
                // Journals: only what they gained.
                _ if *tick < after => {}
                Output::ResolvedOther(row, false, diff) => add(&mut seen.resolved.others, row, diff),
                Output::Verdict(verdict) => seen.verdicts.push(verdict),
                Output::Rejection(Rejection { replacement, found }) => seen.rejected.push((replacement.user, found)),
                Output::Late(Late { user, time, signature, session }) => {
                    seen.late.push((user, time.micros(), signature, session.micros()));
                }
                Output::Lineage(Lineage { user, old, new, reason }) => {
                    seen.lineage.push((user, old.micros(), new.micros(), reason));
                }
            }
        }
        assert!(classes.iter().all(|other| *other == classes[0]), "classes are whole on each worker: {classes:?}");
        seen.classes = classes.swap_remove(0);
        seen.verdicts.sort();
        seen.rejected.sort();
        seen.late.sort();
        seen.lineage.sort();
        seen
    }

    /// As the process would take it: what it started from, and what changed since.
    pub fn snapshot(&self, tick: Tick) -> Snapshot {
        let mut snapshot = Snapshot { tick, ..self.start.clone().unwrap_or_default() };
        // The graph itself gives back the sessions, marks and groups that it started from.
        snapshot.sessions.clear();
        snapshot.marks.clear();
        snapshot.groups.clear();
        for (_, output) in self.outputs.iter().filter(|(at, _)| *at <= tick) {
            match output.clone() {
                Output::Session(row, diff) => add(&mut snapshot.sessions, row, diff),
                Output::Mark(row, diff) => add(&mut snapshot.marks, row, diff),
                Output::Id(row, diff) => add(&mut snapshot.ids, row, diff),
                Output::BySignature(row, diff) => add(&mut snapshot.by_signature, row, diff),
                Output::ByReason(row, diff) => add(&mut snapshot.by_reason, row, diff),
                Output::Group(row, diff) if row.0.count == 0 => add(&mut snapshot.groups, row, diff),
                _ => {}
            }
        }
        snapshot
    }
}

fn add<K: Ord>(rows: &mut BTreeMap<K, isize>, key: K, diff: isize) {
    let total = rows.get(&key).copied().unwrap_or(0) + diff;
    match total {
        0 => drop(rows.remove(&key)),
        _ => drop(rows.insert(key, total)),
    }
}

/// What has to be sent again with a snapshot: all names and signatures so far, the rules and the clock as they are.
pub fn sent_so_far(inputs: &[Input]) -> Input {
    let mut all = Input { now_ms: i64::MIN, ..Input::default() };
    for input in inputs {
        all.names.extend(input.names.iter().cloned());
        all.signatures.extend(input.signatures.iter().cloned());
        all.shapes.extend(input.shapes.iter().cloned());
        all.rules.extend(input.rules.iter().cloned());
        all.learns += input.learns;
        all.labels.extend(input.labels.iter().cloned());
        all.now_ms = all.now_ms.max(input.now_ms);
    }
    all
}
