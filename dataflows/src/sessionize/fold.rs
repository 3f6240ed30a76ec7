//! What happens to one user in one tick: a plain function of the user's sessions, new visits and replacements. The
//! graph only carries values to it.

use crate::identity::UserKey;
use crate::sessionize::session::{Builder, Session};
use crate::sessionize::{Entry, Late, Lineage, Moved, Rejection, Replacement, Visit};
use crate::time::EventTime;

/// The sessions that a user had before this tick, in order of their end.
pub(super) trait Past {
    /// Forgets how far reading has come.
    fn rewind(&mut self);
    /// Skips the sessions that end before `end`, if it lies ahead of what was read.
    fn seek(&mut self, end: EventTime);
    /// The session at hand.
    fn peek(&mut self) -> Option<&Session>;
    /// Goes on to the next one.
    fn step(&mut self);
}

/// What one tick's folding gives.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// The sessions of one user that go (-1) and that come (+1), sorted and consolidated.
    pub changes: Vec<(Session, isize)>,
    /// What the journals say, of all users.
    pub entries: Vec<Entry>,
}

/// Folds one tick's changes of one user. Scratch space is reused from user to user.
pub(super) struct Fold {
    /// Microseconds.
    gap: i64,
    builder: Builder,
    /// Sessions that replacements took away in this tick, sorted.
    replaced: Vec<Session>,
    /// Starts of the sessions that the builder has taken in, in order.
    swallowed: Vec<EventTime>,
}

impl Fold {
    pub fn new(gap: i64) -> Fold {
        Fold { gap, builder: Builder::new(), replaced: Vec::new(), swallowed: Vec::new() }
    }

    /// Appends to `folded`, whose changes are empty. `visits` come sorted by time.
    ///
    /// Replacements apply first, in their order, to the sessions before the tick; their survivors are then inserted
    /// together with the tick's visits. Of a user with a replacement the journals say nothing else.
    pub fn apply(
        &mut self,
        user: UserKey,
        past: &mut impl Past,
        visits: &[Visit],
        replacements: &[Replacement],
        folded: &mut Folded,
    ) {
        self.replaced.clear();
        if replacements.is_empty() {
            self.insert(user, past, visits, folded);
        } else {
            let mut visits = visits.to_vec();
            for replacement in replacements {
                self.replace(past, replacement, &mut visits, folded);
            }
            visits.sort_unstable_by_key(|visit| visit.time);
            self.replaced.sort_unstable();
            past.rewind();
            let said = folded.entries.len();
            self.insert(user, past, &visits, folded);
            folded.entries.truncate(said);
        }
        differential_dataflow::consolidation::consolidate(&mut folded.changes);
    }

    /// Takes away the sessions that a replacement names, or rejects it if they are not the ones there.
    fn replace(
        &mut self,
        past: &mut impl Past,
        replacement: &Replacement,
        visits: &mut Vec<Visit>,
        folded: &mut Folded,
    ) {
        match named_by(past, replacement, &self.replaced) {
            Ok(mut found) => {
                visits.extend(replacement.survivors.iter().cloned());
                folded.changes.extend(found.iter().map(|session| (session.clone(), -1)));
                self.replaced.append(&mut found);
            }
            Err(rejection) => folded.entries.push(Entry::Rejection(Box::new(rejection))),
        }
    }

    /// Inserts sorted visits. Each run of close visits swallows the sessions within reach, left to right.
    fn insert(&mut self, user: UserKey, past: &mut impl Past, visits: &[Visit], folded: &mut Folded) {
        let mut first = 0;
        for (index, visit) in visits.iter().enumerate() {
            // Strictly more than the gap splits.
            if !self.builder.is_empty() && visit.time.micros() - self.builder.end.micros() > self.gap {
                // Sessions ahead of the new visit may still be within reach of the run that ends here.
                self.swallow(past, &mut folded.changes);
                if visit.time.micros() - self.builder.end.micros() > self.gap {
                    self.finish(user, past, &visits[first..index], folded);
                    first = index;
                }
            }
            self.builder.add_visit(visit);
        }
        if !self.builder.is_empty() {
            self.swallow(past, &mut folded.changes);
            self.finish(user, past, &visits[first..], folded);
        }
    }

    /// Merges into the builder the sessions that are at most the gap away, and retracts them.
    fn swallow(&mut self, past: &mut impl Past, changes: &mut Vec<(Session, isize)>) {
        past.seek(self.builder.start.saturating_sub(self.gap));
        while let Some(session) = past.peek() {
            if session.start.micros() - self.builder.end.micros() > self.gap {
                break;
            }
            if self.replaced.binary_search(session).is_err() {
                self.builder.add_session(session);
                self.swallowed.push(session.start);
                changes.push((session.clone(), -1));
            }
            past.step();
        }
    }

    /// Asserts the session that `run` and what it swallowed make, and says what the journals have to say. An event is
    /// late that comes before the start of what was its user's last session.
    fn finish(&mut self, user: UserKey, past: &mut impl Past, run: &[Visit], folded: &mut Folded) {
        let session = self.builder.finish();
        let last = match past.peek() {
            Some(_) => Some(EventTime::MAX),
            None => self.swallowed.last().copied(),
        };
        if let Some(last) = last {
            let late = run.iter().take_while(|visit| visit.time < last);
            folded.entries.extend(late.map(|visit| {
                let Visit { time, signature, .. } = *visit;
                Entry::Late(Late { user, time, signature, session: session.start })
            }));
        }
        for (rank, old) in self.swallowed.drain(..).enumerate().filter(|(_, old)| *old != session.start) {
            let reason = if rank == 0 { Moved::Extended } else { Moved::Merged };
            folded.entries.push(Entry::Lineage(Lineage { user, old, new: session.start, reason }));
        }
        folded.changes.push((session, 1));
    }
}

/// Returns the sessions that a replacement takes away: those that intersect its range, without those that are `replaced`.
///
/// # Errors
/// If it names others.
pub(super) fn named_by(
    past: &mut impl Past,
    replacement: &Replacement,
    replaced: &[Session],
) -> Result<Vec<Session>, Rejection> {
    past.rewind();
    past.seek(replacement.from);
    let mut found = Vec::new();
    while let Some(session) = past.peek().filter(|session| session.start <= replacement.to) {
        if !replaced.contains(session) {
            found.push(session.clone());
        }
        past.step();
    }
    let mut ids: Vec<_> = found.iter().map(|session| session.id(replacement.user)).collect();
    ids.sort_unstable();
    match replacement.sessions.as_ref().is_none_or(|named| *named == ids) {
        true => Ok(found),
        false => Err(Rejection { replacement: replacement.clone(), found: ids }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SignatureId;
    use proptest::prelude::*;

    const GAP: i64 = 10;

    /// The sessions of one user, in order.
    struct Known {
        sessions: Vec<Session>,
        at: usize,
    }

    impl Past for Known {
        fn rewind(&mut self) {
            self.at = 0;
        }

        fn seek(&mut self, end: EventTime) {
            self.at = self.at.max(self.sessions.partition_point(|session| session.end < end));
        }

        fn peek(&mut self) -> Option<&Session> {
            self.sessions.get(self.at)
        }

        fn step(&mut self) {
            self.at += 1;
        }
    }

    fn visit(user: UserKey, time: i64, signature: u64) -> Visit {
        let time = EventTime::from_micros(time).expect("small");
        Visit { user, time, signature: SignatureId(signature), details: None }
    }

    /// All sessions of visits, by sorting and splitting them.
    fn slow(visits: &[Visit]) -> Vec<Session> {
        let mut visits = visits.to_vec();
        visits.sort();
        let runs = visits.chunk_by(|one, other| other.time.micros() - one.time.micros() <= GAP);
        let mut builder = Builder::new();
        let session = |run: &[Visit]| {
            run.iter().for_each(|visit| builder.add_visit(visit));
            builder.finish()
        };
        runs.map(session).collect()
    }

    proptest! {
        /// Whatever comes in which tick, the changes lead to the sessions of all visits, and say of an event that it is late
        /// if and only if it lies before the start of what was the last session.
        #[test]
        fn changes_add_up_to_the_sessions_of_all_visits(
            ticks in prop::collection::vec(prop::collection::vec((0i64..300, 0u64..3), 0..6), 1..12),
        ) {
            let user = UserKey::of("u");
            let (mut fold, mut folded) = (Fold::new(GAP), Folded::default());
            let (mut known, mut all) = (Known { sessions: Vec::new(), at: 0 }, Vec::new());
            for tick in ticks {
                let mut visits: Vec<Visit> = tick.iter().map(|(time, signature)| visit(user, *time, *signature)).collect();
                visits.sort_by_key(|visit| visit.time);
                let last = known.sessions.last().map(|session| session.start);
                known.rewind();
                fold.apply(user, &mut known, &visits, &[], &mut folded);
                for (session, diff) in folded.changes.drain(..) {
                    match known.sessions.binary_search(&session) {
                        Ok(at) if diff == -1 => drop(known.sessions.remove(at)),
                        Err(at) if diff == 1 => known.sessions.insert(at, session),
                        found => prop_assert!(false, "{:?} by {} is {:?}", session, diff, found),
                    }
                }
                let late = folded.entries.drain(..).filter(|entry| matches!(entry, Entry::Late(_))).count();
                prop_assert_eq!(late, visits.iter().filter(|visit| last.is_some_and(|last| visit.time < last)).count());
                all.extend(visits);
                prop_assert_eq!(&known.sessions, &slow(&all));
            }
        }
    }

    #[test]
    fn a_replacement_of_other_sessions_than_are_there_is_rejected() {
        let user = UserKey::of("u");
        let sessions = slow(&[visit(user, 0, 1), visit(user, 5, 1), visit(user, 50, 1)]);
        let ids: Vec<_> = sessions.iter().map(|session| session.id(user)).collect();
        let [from, to] = [0, 10].map(|time| EventTime::from_micros(time).expect("small"));
        let survivors = || vec![visit(user, 5, 1)];
        let replacement = |sessions| Replacement { user, from, to, sessions: Some(sessions), survivors: survivors() };
        let apply = |replacement: Replacement| {
            let mut folded = Folded::default();
            let mut known = Known { sessions: sessions.clone(), at: 0 };
            Fold::new(GAP).apply(user, &mut known, &[], &[replacement], &mut folded);
            (folded.changes, folded.entries)
        };
        let gone = (sessions[0].clone(), -1);
        let left = (slow(&[visit(user, 5, 1)]).remove(0), 1);
        let (mut changes, entries) = apply(replacement(vec![ids[0]]));
        changes.sort();
        let mut expected = [gone, left];
        expected.sort();
        assert_eq!((changes.as_slice(), entries), (expected.as_slice(), vec![]));
        let stale = replacement(ids);
        let rejection = Rejection { replacement: stale.clone(), found: vec![sessions[0].id(user)] };
        assert_eq!(apply(stale), (vec![], vec![Entry::Rejection(Box::new(rejection))]));
    }
}
