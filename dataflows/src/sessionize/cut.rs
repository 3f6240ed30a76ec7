//! What happens to one user in one tick under session policies: a plain function of the user's sessions, the marks of
//! the user's events, new visits and replacements.
//!
//! ```text
//! marks     . . .  .    .  . . .     .        events of the user, in order
//! sessions [b        ][ s1      ]  [ s2 ]     before the tick
//! change             +                        between b and s1
//! computed [b'         ][ s1'   ]             from b on, until a session begins where one began before
//! ```
//!
//! Before `b`, and from `s2` on, nothing is read or written. If the change lies behind the last event of `b`, its summary
//! and its tail stand for its events. Computing also ends at an event that lies outside of sessions, now as before.

use crate::identity::UserKey;
use crate::sessionize::fold::{Folded, Past, named_by};
use crate::sessionize::policy::{Instant, Mark, Policies};
use crate::sessionize::session::{Builder, EndedBy, Tail};
use crate::sessionize::{Entry, Late, Lineage, Moved, Replacement, Session, Visit};
use crate::time::EventTime;
use differential_dataflow::consolidation::consolidate;

/// The marks that a user had before this tick, in order.
pub(super) trait Marks {
    /// Forgets how far reading has come.
    fn rewind(&mut self);
    /// Skips the marks before `time`, if it lies ahead of what was read.
    fn seek(&mut self, time: EventTime);
    /// The mark at hand, and how often it is there.
    fn peek(&mut self) -> Option<(&Mark, isize)>;
    /// Goes on to the next one.
    fn step(&mut self);
}

/// Folds one tick's changes of one user. Scratch space is reused from user to user.
pub(super) struct CutFold {
    /// Microseconds.
    gap: i64,
    policies: Policies,
    builder: Builder,
    instant: Instant,
    /// Starts and ends of the sessions that a change retracts, and of those that it asserts, in order.
    retracted: Vec<(EventTime, EventTime)>,
    asserted: Vec<(EventTime, EventTime)>,
    /// How many more events lie outside of sessions than before.
    outside: isize,
    /// The marks that come and go.
    pub marks: Vec<(Mark, isize)>,
}

impl CutFold {
    pub fn new(gap: i64, policies: Policies) -> CutFold {
        CutFold {
            gap,
            policies,
            builder: Builder::new(),
            instant: Instant::default(),
            retracted: Vec::new(),
            asserted: Vec::new(),
            outside: 0,
            marks: Vec::new(),
        }
    }

    /// Appends to `folded`, whose changes are empty, and leaves the changes of marks in `marks`, sorted. `visits` come sorted
    /// by time.
    ///
    /// As without policies, replacements apply first, and of a user with one the journals say nothing else.
    pub fn apply(
        &mut self,
        user: UserKey,
        past: &mut impl Past,
        marks: &mut impl Marks,
        visits: &[Visit],
        replacements: &[Replacement],
        folded: &mut Folded,
    ) {
        self.marks.clear();
        self.marks.extend(visits.iter().map(|visit| (Mark::of(visit), 1)));
        let mut replaced = Vec::new();
        for replacement in replacements {
            match named_by(past, replacement, &replaced) {
                Ok(mut found) if replacement.sessions.is_none() => {
                    self.take_all(marks);
                    replaced.append(&mut found);
                }
                Ok(mut found) => {
                    self.marks.extend(replacement.survivors.iter().map(|visit| (Mark::of(visit), 1)));
                    found.iter().for_each(|session| self.take_away(marks, session));
                    replaced.append(&mut found);
                }
                Err(rejection) => folded.entries.push(Entry::Rejection(Box::new(rejection))),
            }
        }
        consolidate(&mut self.marks);
        past.rewind();
        let said = folded.entries.len();
        let (mut changed, mut visits) = (0, visits);
        while changed < self.marks.len() {
            visits = self.around(user, past, marks, &mut changed, visits, folded);
        }
        if !replacements.is_empty() {
            folded.entries.truncate(said);
        }
        let outside = std::mem::take(&mut self.outside);
        if outside != 0 {
            folded.entries.push(Entry::Outside(outside));
        }
        consolidate(&mut folded.changes);
    }

    /// Takes away all marks, those outside of sessions too.
    fn take_all(&mut self, marks: &mut impl Marks) {
        marks.rewind();
        while let Some((mark, times)) = marks.peek() {
            self.marks.push((mark.clone(), -times));
            marks.step();
        }
    }

    /// Takes away the marks of a session.
    fn take_away(&mut self, marks: &mut impl Marks, session: &Session) {
        marks.rewind();
        marks.seek(session.start);
        while let Some((mark, times)) = marks.peek().filter(|(mark, _)| mark.time <= session.end) {
            self.marks.push((mark.clone(), -times));
            marks.step();
        }
    }

    /// Computes the sessions around the first change of marks that is left, and around all that follow until a session
    /// begins where one began before. Returns the visits behind these.
    fn around<'v>(
        &mut self,
        user: UserKey,
        past: &mut impl Past,
        marks: &mut impl Marks,
        changed: &mut usize,
        visits: &'v [Visit],
        folded: &mut Folded,
    ) -> &'v [Visit] {
        let first = self.marks[*changed].0.time;
        marks.rewind();
        marks.seek(self.begin(past, first, &mut folded.changes));
        let resumes_at = loop {
            let known = marks.peek().map(|(mark, _)| mark.time);
            let change = self.marks.get(*changed).map(|(mark, _)| mark.time);
            let Some(time) = known.into_iter().chain(change).min() else { break None };
            self.retract(past, Some(time), &mut folded.changes);
            let before = self.gather(time, marks, changed);
            // Of events that only extend sessions, none has started one.
            let was_outside = before.is_some() && self.retracted.last().is_none_or(|(_, end)| *end < time);
            self.outside -= before.filter(|_| was_outside).unwrap_or(0);
            if self.instant.marks.is_empty() {
                continue;
            }
            if let Some(reason) = self.policies.end_before(&self.builder, &self.instant, self.gap) {
                self.finish(reason, &mut folded.changes);
            }
            let is_outside = self.builder.is_empty() && self.instant.keeps_alive();
            if is_outside {
                self.outside += self.instant.events().cast_signed() as isize;
            }
            if self.builder.is_empty() && change != Some(time) {
                let began_here = past.peek().is_some_and(|session| session.start == time);
                if began_here || is_outside && was_outside {
                    break Some(time);
                }
            }
            if !is_outside {
                self.instant.add_to(&mut self.builder, &self.policies, self.gap);
            }
        };
        if resumes_at.is_none() {
            self.retract(past, None, &mut folded.changes);
            if let Some(tail) = self.builder.tail {
                self.finish(tail.without_next(), &mut folded.changes);
            }
        }
        let (own, others) =
            visits.split_at(visits.partition_point(|visit| resumes_at.is_none_or(|end| visit.time < end)));
        self.journals(user, own, past.peek().is_some(), folded);
        others
    }

    /// Goes to the session before `first` that a change there may extend, and takes it into the builder as far as it stays.
    /// Returns where to go on among the marks.
    fn begin(&mut self, past: &mut impl Past, first: EventTime, changes: &mut Vec<(Session, isize)>) -> EventTime {
        past.seek(first.saturating_sub(self.policies.gaps.longest(self.gap)));
        let mut before = None;
        while let Some(session) = past.peek().filter(|session| session.start < first) {
            before = Some(session.clone());
            past.step();
        }
        let Some(before) = before else { return first };
        let (start, end, tail) = (before.start, before.end, before.tail());
        self.retracted.push((start, end));
        changes.push((before, -1));
        if end >= first {
            return start;
        }
        let (before, _) = changes.last().expect("it was pushed");
        self.builder.add_session(before);
        self.builder.tail = tail;
        EventTime::from_micros(end.micros() + 1).expect("it is not behind the change")
    }

    /// Gathers the events of one time, and goes on behind them. Returns how many were there before, if these only extend
    /// sessions.
    fn gather(&mut self, time: EventTime, marks: &mut impl Marks, changed: &mut usize) -> Option<isize> {
        let mut all: Vec<(Mark, isize)> = Vec::new();
        while let Some((mark, times)) = marks.peek().filter(|(mark, _)| mark.time == time) {
            all.push((mark.clone(), times));
            marks.step();
        }
        let change = self.marks[*changed..].iter().take_while(|(mark, _)| mark.time == time);
        let known = all.len();
        let kept_alive = known > 0 && all.iter().all(|(mark, _)| mark.cue.keeps_alive());
        let before = kept_alive.then(|| all.iter().map(|(_, times)| times).sum());
        all.extend(change.cloned());
        *changed += all.len() - known;
        if all.len() > 1 {
            consolidate(&mut all);
        }
        self.instant.marks.clear();
        self.instant.marks.extend(all.into_iter().map(|(mark, times)| {
            assert!(times > 0, "a user has {times} events {mark:?}");
            (mark, times.unsigned_abs() as u64)
        }));
        before
    }

    /// Asserts the session in the builder.
    fn finish(&mut self, reason: EndedBy, changes: &mut Vec<(Session, isize)>) {
        self.builder.tail = self.builder.tail.map(|tail| Tail { ended_by: reason, ..tail });
        let session = self.builder.finish();
        self.asserted.push((session.start, session.end));
        changes.push((session, 1));
    }

    /// Retracts the sessions before `end` that are left; `None`: all.
    fn retract(&mut self, past: &mut impl Past, end: Option<EventTime>, changes: &mut Vec<(Session, isize)>) {
        while let Some(session) = past.peek().filter(|session| end.is_none_or(|end| session.start < end)) {
            self.retracted.push((session.start, session.end));
            changes.push((session.clone(), -1));
            past.step();
        }
    }

    /// Says what the journals have to say. An event is late that comes before the start of what was its user's last session.
    fn journals(&mut self, user: UserKey, visits: &[Visit], sessions_follow: bool, folded: &mut Folded) {
        let last = if sessions_follow { Some(EventTime::MAX) } else { self.retracted.last().map(|(start, _)| *start) };
        let asserted = &self.asserted;
        let now = |time| {
            let (start, end) = asserted[..asserted.partition_point(|(start, _)| *start <= time)].last()?;
            (*end >= time).then_some(*start)
        };
        let late = visits.iter().filter(|visit| last.is_some_and(|last| visit.time < last));
        folded.entries.extend(late.filter_map(|visit| {
            let Visit { time, signature, .. } = *visit;
            Some(Entry::Late(Late { user, time, signature, session: now(time)? }))
        }));
        let mut before = None;
        for (old, _) in &self.retracted {
            // A session may be gone altogether: replacements say nothing here.
            let Some(new) = now(*old) else { continue };
            if new != *old {
                let reason = if before == Some(new) { Moved::Merged } else { Moved::Extended };
                folded.entries.push(Entry::Lineage(Lineage { user, old: *old, new, reason }));
            }
            before = Some(new);
        }
        self.retracted.clear();
        self.asserted.clear();
    }
}
