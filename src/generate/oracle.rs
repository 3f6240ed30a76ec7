//! Computes the right answer from the events: one sort, and one pass. It shares no code with the engine.

use super::schedule::Session;
use super::schedule::{Defect, Event, Sending, Users};
use super::text::{self, malformation};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The totals that the summary of a replay has to show, by the same names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expected {
    pub events: u64,
    pub users: u64,
    pub sessions: u64,
    pub duplicates: u64,
    pub dead_letters: u64,
    pub dead_letter_reasons: BTreeMap<&'static str, u64>,
    pub sessionless: BTreeMap<&'static str, u64>,
    pub classes: BTreeMap<&'static str, u64>,
}

/// Writes the sessions of `events`, which are in the order of users and times, and counts them.
pub fn sessions(
    events: &[Event],
    users: &Users,
    gap: i64,
    expected: &mut Expected,
    out: &mut impl Write,
) -> io::Result<()> {
    out.write_all(b"user,start_us,end_us,events,purchases\n")?;
    let mut line = Vec::new();
    let mut write = |session: &Session| {
        line.clear();
        text::session(users.name(session.user), session, &mut line);
        out.write_all(&line)
    };
    let mut open: Option<Session> = None;
    for event in events {
        expected.events += 1;
        let class = if event.kind.is_purchase() { "purchase" } else { event.kind.name() };
        *expected.classes.entry(class).or_default() += 1;
        let reason = match event.defect {
            Defect::None => None,
            Defect::NoUser => Some("no_user"),
            Defect::NoTime => Some("no_time"),
            Defect::UnreadableTime => Some("unreadable_time"),
        };
        if let Some(reason) = reason {
            *expected.sessionless.entry(reason).or_default() += 1;
            continue;
        }
        let purchases = u64::from(event.kind.is_purchase());
        match &mut open {
            Some(session) if session.user == event.user && event.time - session.end <= gap.unsigned_abs() => {
                session.end = event.time;
                session.events += 1;
                session.purchases += purchases;
            }
            last => {
                expected.users += u64::from(last.as_ref().is_none_or(|last| last.user != event.user));
                expected.sessions += 1;
                let (user, start, end) = (event.user, event.time, event.time);
                if let Some(last) = last.replace(Session { user, start, end, events: 1, purchases }) {
                    write(&last)?;
                }
            }
        }
    }
    open.map_or(Ok(()), |last| write(&last))
}
/// Counts what does not count.
pub fn copies(events: &[Event], seed: u64, expected: &mut Expected) {
    for event in events {
        let reason = match event.sending {
            Sending::First => continue,
            Sending::Again => {
                expected.duplicates += 1;
                continue;
            }
            Sending::Conflict => "conflicting_duplicate",
            Sending::Malformed => malformation(seed, event.number).reason(),
        };
        expected.dead_letters += 1;
        *expected.dead_letter_reasons.entry(reason).or_default() += 1;
    }
}
