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
    /// The gaps of events that have another one than the rest.
    pub gaps: Gaps,
}

/// The gaps that the numbers in cues stand for ([`Cue::gap`]), in microseconds. Number 0 is the gap of all other events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    gaps: [i64; Cue::GAPS as usize],
    count: u8,
}

impl Gaps {
    /// Makes numbers, from 1 on, of gaps. `None`: there are more than [`Cue::GAPS`].
    pub fn new(gaps: &[i64]) -> Option<Gaps> {
        let mut all = Gaps { gaps: [0; Cue::GAPS as usize], count: u8::try_from(gaps.len()).ok()? };
        all.gaps.get_mut(..gaps.len())?.copy_from_slice(gaps);
        Some(all)
    }

    /// Returns the gaps by number, from 1 on.
    pub fn all(&self) -> &[i64] {
        &self.gaps[..usize::from(self.count)]
    }

    /// Returns the gap behind an event. `gap` is that of number 0.
    fn of(&self, cue: Cue, gap: i64) -> i64 {
        usize::from(cue.gap()).checked_sub(1).map_or(gap, |index| self.gaps[index])
    }

    /// Returns the longest gap. `gap` is that of number 0.
    pub(super) fn longest(&self, gap: i64) -> i64 {
        self.all().iter().copied().fold(gap, i64::max)
    }
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
        self.marks.iter().map(|(mark, _)| mark.cue).reduce(Cue::with).unwrap_or_default().with(Cue::LEAST)
    }

    /// Returns whether its events only extend sessions.
    pub fn keeps_alive(&self) -> bool {
        self.marks.iter().all(|(mark, _)| mark.cue.keeps_alive())
    }

    pub fn events(&self) -> u64 {
        self.marks.iter().map(|(_, times)| times).sum()
    }

    /// Adds its events to a session. `gap` is that of events without one of their own.
    pub fn add_to(&self, session: &mut Builder, policies: &Policies, gap: i64) {
        let cue = self.cue();
        let before = session.tail.map(|tail| tail.cue);
        let longest = self.marks.iter().map(|(mark, _)| policies.gaps.of(mark.cue, gap)).max().unwrap_or(gap);
        // Behind the end of the session as it was, if there was one.
        let left = session.tail.map(|tail| tail.extra - (self.marks[0].0.time.micros() - session.end.micros()));
        let extra = (longest - gap).max(left.unwrap_or(i64::MIN));
        for (mark, times) in &self.marks {
            (0..*times).for_each(|_| session.add_event(mark.time, mark.signature, mark.details.as_deref()));
        }
        session.tail = Some(Tail { cue: cue.or_key_of(before), ended_by: EndedBy::Gap, extra });
    }
}

impl Policies {
    /// Returns why a session ends before the next time of the user's events; `None`: it goes on. `gap` is in microseconds.
    pub(super) fn end_before(&self, session: &Builder, next: &Instant, gap: i64) -> Option<EndedBy> {
        let time = next.marks.first()?.0.time.micros();
        let Tail { cue: tail, extra, .. } = session.tail?;
        let cue = next.cue();
        let other_key = matches!((tail.key(), cue.key()), (Some(one), Some(other)) if one != other);
        let too_long = self.max_duration.is_some_and(|most| time - session.start.micros() > most);
        let too_many = self.max_events.is_some_and(|most| session.events() + next.events() > most);
        let holds = [
            (tail.ends(), EndedBy::End),
            // Strictly more than the gap splits.
            (time - session.end.micros() > gap + extra, EndedBy::Gap),
            (cue.starts(), EndedBy::Start),
            (other_key, EndedBy::SplitOn),
            (tail.day() != cue.day(), EndedBy::SplitAt),
            (too_long, EndedBy::MaxDuration),
            (too_many, EndedBy::MaxEvents),
        ];
        holds.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason)
    }
}
