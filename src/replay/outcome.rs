//! The outcome of one worker: its views, written and summed when all is done.

use super::durations::Durations;
use crate::collections::sequences::SequenceSchema;
use crate::tables::{self, TableWriter, session_values, user_values};
use dataflows::classify::Class;
use dataflows::resolve::{self, Row};
use dataflows::sequence::{Counts, FunnelKey};
use dataflows::shapes::ShapeTotals;
use dataflows::views::Views;
use dataflows::{EventTime, Sessionless, ShapeId};
use headwater_decode::transform;
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// The totals of one worker's sessions.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub users: u64,
    pub sessions: u64,
    /// The first start, and the largest end.
    pub first: Option<EventTime>,
    pub last: Option<EventTime>,
    /// Sessions of one event.
    pub bounces: u64,
    pub durations: Durations,
    /// Events of all sessions.
    pub visits: u64,
    /// The user with the most events, and how many.
    pub largest: Option<(u64, String)>,
    /// Users that are an address with a port.
    pub ports: u64,
    /// Users that are a list of addresses.
    pub lists: u64,
    /// Of the first users: how many, and the hashes of their names in lower case.
    pub looked_at: u64,
    pub folded: HashSet<u64>,
}

/// Users of a worker whose spelling is compared. It bounds memory.
const COMPARED: u64 = 1 << 16;

impl Totals {
    /// Adds the totals of other users.
    pub fn add(&mut self, other: &Totals) {
        self.users += other.users;
        self.sessions += other.sessions;
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
        self.bounces += other.bounces;
        self.durations.join(&other.durations);
        self.visits += other.visits;
        self.largest = self.largest.take().max(other.largest.clone());
        self.ports += other.ports;
        self.lists += other.lists;
        self.looked_at += other.looked_at;
        self.folded.extend(&other.folded);
    }

    fn user(&mut self, name: &str, events: u64) {
        self.users += 1;
        self.visits += events;
        if events > self.largest.as_ref().map_or(0, |(most, _)| *most) {
            self.largest = Some((events, name.to_owned()));
        }
        self.ports += u64::from(transform::has_port(name));
        if self.looked_at < COMPARED {
            self.looked_at += 1;
            let mut hasher = DefaultHasher::new();
            name.trim().to_lowercase().hash(&mut hasher);
            self.folded.insert(hasher.finish());
        }
        let first = name.split_once(',').map(|(first, _)| first.trim());
        self.lists += u64::from(first.is_some_and(|first| first.parse::<IpAddr>().is_ok()));
    }
}

/// Writes the sessions in the order of user key and time, and the users in the order of their keys.
pub fn write(views: &mut Views, sessions: &mut TableWriter, users: &mut TableWriter) -> Result<Totals, tables::Error> {
    let (mut totals, mut outcome) = (Totals::default(), Ok(()));
    resolve::rows(views, &mut |row| {
        let written = match row {
            Row::Session(session) => {
                totals.sessions += 1;
                totals.first = Some(totals.first.map_or(session.start, |first| first.min(session.start)));
                totals.last = totals.last.max(Some(session.end));
                totals.bounces += u64::from(session.events == 1);
                totals.durations.add(session.end.micros() - session.start.micros());
                outcome.is_ok().then(|| sessions.write(session_values(session)))
            }
            Row::User(user, of_user) => {
                totals.user(user, of_user.events);
                outcome.is_ok().then(|| users.write(user_values(user, of_user)))
            }
            // Not by user.
            Row::Count(..) | Row::Shape(..) | Row::Closing(..) | Row::Late(..) | Row::Lineage(..) => None,
            Row::Activity(..) | Row::Funnel(..) | Row::State(..) | Row::Group(..) => None,
            Row::Identity(..) | Row::Moved(..) => None,
        };
        if let Some(Err(error)) = written {
            outcome = Err(error);
        }
    });
    outcome.map(|()| totals)
}

/// Writes the activities in the order of key, sequence and time, as they are at `now`. Returns their counts.
pub fn activities(
    views: &mut Views,
    sequences: &[SequenceSchema],
    now: EventTime,
    table: &mut TableWriter,
) -> Result<BTreeMap<FunnelKey, Counts>, tables::Error> {
    let (mut counts, mut outcome) = (BTreeMap::<FunnelKey, Counts>::new(), Ok(()));
    views.activities(&mut |track, name, activity| {
        let sequence = &sequences[usize::from(track.sequence)];
        let activity = activity.clone().at_time(now, &sequence.definition);
        counts.entry(FunnelKey::of(track, &activity)).or_default().add(&activity, &sequence.definition, 1);
        if outcome.is_ok() {
            outcome = tables::activity_values(sequence, name, &activity, |values| table.write(values));
        }
    });
    outcome.map(|()| counts)
}

/// Returns of the sessions whose gap has not passed at `now` the times that it is behind: see
/// [`until`](dataflows::sessionize::Session::until).
pub fn ends(views: &mut Views, now: Option<EventTime>, gap: i64) -> Vec<EventTime> {
    let mut ends = Vec::new();
    if let Some(now) = now {
        views.sessions(&mut |_, session| {
            if is_open(session.until(), now, gap) {
                ends.push(session.until());
            }
        });
    }
    ends
}

/// Returns whether an event at `now` would still belong to a session with this
/// [`until`](dataflows::sessionize::Session::until).
pub fn is_open(until: EventTime, now: EventTime, gap: i64) -> bool {
    now.micros() - until.micros() <= gap
}

/// Events by class and hour, those that are counted at this worker.
pub fn counts(views: &mut Views) -> Vec<(Class, Option<EventTime>, u64)> {
    let mut counts = Vec::new();
    views.counts(&mut |class, hour, events| counts.push((Arc::clone(class), hour, events)));
    counts
}

/// Shapes, those that are at this worker.
pub fn shapes(views: &mut Views) -> Vec<(Option<ShapeId>, ShapeTotals)> {
    let mut shapes = Vec::new();
    views.shapes(&mut |shape, totals| shapes.push((shape, totals.clone())));
    shapes
}

/// Events without a session by reason, those that are counted at this worker.
pub fn sessionless(views: &mut Views) -> BTreeMap<Sessionless, u64> {
    let mut counts = BTreeMap::new();
    // Nothing comes back from before, so none is negative.
    views.sessionless(&mut |reason, events| *counts.entry(reason).or_insert(0) += events.unsigned_abs() as u64);
    counts
}
