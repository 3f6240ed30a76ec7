//! The views of one worker, resolved: signatures become classes, user keys become names.

use crate::collections::classes::{Classes, Scratch};
use crate::tables::{self, TableWriter, session_values};
use dataflows::classify::Class;
use dataflows::engine::Views;
use dataflows::{EventTime, Sessionless, UserKey};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The totals of one worker's sessions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub users: u64,
    pub sessions: u64,
    /// Returns the largest end.
    pub last: Option<EventTime>,
}

/// Writes the sessions in the order of user key and time.
pub fn write_sessions(views: &mut Views, writer: &mut TableWriter) -> Result<Totals, tables::Error> {
    let classes = Classes::read(views);
    let mut names = Vec::new();
    views.names(&mut |user, name| names.push((user, Arc::clone(name))));
    let mut names = names.iter();
    let mut name: Option<&(UserKey, Arc<str>)> = None;
    let mut scratch = Scratch::default();
    let mut totals = Totals::default();
    let mut outcome = Ok(());
    views.sessions(&mut |user, session| {
        if name.is_none_or(|(named, _)| *named != user) {
            name = names.find(|(named, _)| *named == user);
            totals.users += 1;
        }
        totals.sessions += 1;
        totals.last = totals.last.max(Some(session.end));
        // Readers send the name of a user in the tick of the user's first event, or before.
        let name = name.map_or("", |(_, name)| name);
        if outcome.is_ok() {
            outcome = scratch.row(user, name, session, &classes, |row| writer.write(session_values(row)));
        }
    });
    outcome.map(|()| totals)
}

/// Ends of the sessions whose gap has not passed at `now`.
pub fn ends(views: &mut Views, now: Option<EventTime>, gap: i64) -> Vec<EventTime> {
    let mut ends = Vec::new();
    if let Some(now) = now {
        views.sessions(&mut |_, session| {
            if is_open(session.end, now, gap) {
                ends.push(session.end);
            }
        });
    }
    ends
}

/// Returns whether an event at `now` would still belong to a session that ends at `end`.
pub fn is_open(end: EventTime, now: EventTime, gap: i64) -> bool {
    now.micros() - end.micros() <= gap
}

/// Events by class and hour, those that are counted at this worker.
pub fn counts(views: &mut Views) -> Vec<(Class, Option<EventTime>, u64)> {
    let mut counts = Vec::new();
    views.counts(&mut |class, hour, events| counts.push((Arc::clone(class), hour, events)));
    counts
}

/// Events without a session by reason, those that are counted at this worker.
pub fn sessionless(views: &mut Views) -> BTreeMap<Sessionless, u64> {
    let mut counts = BTreeMap::new();
    views.sessionless(&mut |reason, events| *counts.entry(reason).or_insert(0) += events);
    counts
}
