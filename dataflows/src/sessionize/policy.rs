//! Session policies: what ends a session beside the gap, decided between one time of a user's events and the next.
//!
//! The events of one microsecond are never separated, as the id of a session follows its start. Whether a session ends
//! before a time depends on its own events alone. So a session that begins at the same time as before holds the same
//! events as before, and a change stays within a run of events that are close to each other.

use crate::identity::SignatureId;
use crate::record::{Cue, Details, Rank};
use crate::sessionize::Visit;
use crate::sessionize::session::{Builder, EndedBy, Tail};
use crate::time::EventTime;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The policies of the graph. What an event itself says is in its [`Cue`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// The longest time from the first to the last event of a session, in microseconds.
    pub max_duration: Option<i64>,
    /// The largest number of events of a session, but for those of one time.
    pub max_events: Option<u64>,
}

/// An event of a user as it is kept under session policies: all that its session is made of.
///
/// Ordered by time first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// When it happened.
    pub time: EventTime,
    /// What the rules may look at.
    pub signature: SignatureId,
    /// What the policies look at.
    pub cue: Cue,
    /// What sessions sum and carry of it, and its rank.
    pub details: Option<Arc<Details>>,
}

impl Mark {
    pub(super) fn of(visit: &Visit) -> Mark {
        let Visit { user: _, time, signature, details } = visit;
        let cue = details.as_deref().map_or(Cue::default(), |details| details.cue);
        let details = details.as_deref().filter(|details| {
            !details.sums.is_empty() || !details.carried.is_empty() || details.rank != Rank::default()
        });
        let details = details.map(|details| Arc::new(Details { cue: Cue::default(), ..details.clone() }));
        Mark { time: *time, signature: *signature, cue, details }
    }

    /// The least possible mark of this time: where to seek to.
    pub(super) fn at(time: EventTime) -> Mark {
        Mark { time, signature: SignatureId(0), cue: Cue::LEAST, details: None }
    }
}

/// The events of one time.
#[derive(Debug, Default)]
pub(super) struct Instant {
    /// Each as often as it is there.
    pub marks: Vec<(Mark, u64)>,
}

impl Instant {
    fn cue(&self) -> Cue {
        self.marks.iter().map(|(mark, _)| mark.cue).reduce(Cue::with).unwrap_or_default()
    }

    fn events(&self) -> u64 {
        self.marks.iter().map(|(_, times)| times).sum()
    }

    /// Adds its events to a session.
    pub fn add_to(&self, session: &mut Builder) {
        let cue = self.cue();
        let before = session.tail.map(|tail| tail.cue);
        for (mark, times) in &self.marks {
            (0..*times).for_each(|_| session.add_event(mark.time, mark.signature, mark.details.as_deref()));
        }
        session.tail = Some(Tail { cue: cue.or_key_of(before), ended_by: EndedBy::Gap });
    }
}

impl Policies {
    /// Returns why a session ends before the next time of the user's events; `None`: it goes on. `gap` is in microseconds.
    pub(super) fn end_before(&self, session: &Builder, next: &Instant, gap: i64) -> Option<EndedBy> {
        let time = next.marks.first()?.0.time.micros();
        let (tail, cue) = (session.tail?.cue, next.cue());
        let other_key = matches!((tail.key(), cue.key()), (Some(one), Some(other)) if one != other);
        let too_long = self.max_duration.is_some_and(|most| time - session.start.micros() > most);
        let too_many = self.max_events.is_some_and(|most| session.events() + next.events() > most);
        let holds = [
            (tail.ends(), EndedBy::End),
            // Strictly more than the gap splits.
            (time - session.end.micros() > gap, EndedBy::Gap),
            (cue.starts(), EndedBy::Start),
            (other_key, EndedBy::SplitOn),
            (tail.day() != cue.day(), EndedBy::SplitAt),
            (too_long, EndedBy::MaxDuration),
            (too_many, EndedBy::MaxEvents),
        ];
        holds.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason)
    }
}
