//! One session, resolved: its classes by name, from its counts by signature.

use super::Classes;
use crate::identity::UserKey;
use crate::record::Measure;
use crate::sessionize::{EndedBy, Session};
use crate::time::EventTime;
use smallvec::SmallVec;

/// A session with every name resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow<'a> {
    /// Key of the user, which the id follows from.
    pub key: UserKey,
    /// The string behind the key.
    pub user: &'a str,
    /// Time of its first event.
    pub start: EventTime,
    /// Time of its last event.
    pub end: EventTime,
    /// Its number of events.
    pub events: u64,
    /// Events by class: sorted by name, no repeats.
    pub classes: &'a [(&'a str, u64)],
    /// Class of the first event.
    pub first_class: &'a str,
    /// Class of the last event.
    pub last_class: &'a str,
    /// One for each field that the configuration sums.
    pub sums: &'a [Measure],
    /// Entry and exit value of each field that the configuration carries.
    pub carried: &'a [(Option<&'a str>, Option<&'a str>)],
    /// Why it ended, under session policies.
    pub ended_by: Option<EndedBy>,
}

/// Resolves sessions. Its memory is used again from row to row.
#[derive(Default)]
pub struct SessionResolver {
    ranks: Vec<(u32, u64)>,
}

impl SessionResolver {
    /// Calls `with` with the row of a session. `name` is the string behind `user`.
    pub fn row<R>(
        &mut self,
        user: UserKey,
        name: &str,
        session: &Session,
        classes: &Classes,
        with: impl FnOnce(&SessionRow<'_>) -> R,
    ) -> R {
        self.ranks.clear();
        self.ranks.extend(session.counts().map(|(signature, events)| (classes.rank(signature), events)));
        self.ranks.sort_unstable();
        let mut by_class: SmallVec<[(&str, u64); 8]> = SmallVec::new();
        for same in self.ranks.chunk_by(|one, other| one.0 == other.0) {
            by_class.push((classes.ranked(same[0].0), same.iter().map(|(_, events)| events).sum()));
        }
        let details = session.details();
        let none: (&[Measure], &[_]) = (&[], &[]);
        let (sums, carried) = details.map_or(none, |details| (&details.sums, &details.carried));
        let carried: SmallVec<[_; 4]> = carried
            .iter()
            .map(|carried| match carried {
                Some(carried) => (Some(&*carried.entry.1), Some(&*carried.exit.1)),
                None => (None, None),
            })
            .collect();
        with(&SessionRow {
            key: user,
            user: name,
            start: session.start,
            end: session.end,
            events: session.events,
            classes: &by_class,
            first_class: classes.name(session.first),
            last_class: classes.name(session.last),
            sums,
            carried: &carried,
            ended_by: session.ended_by(),
        })
    }
}
