//! What happens to one user in one tick: a plain function of the user's sessions, new visits and replacements. The
//! graph only carries values to it.

use crate::sessionize::session::{Builder, Session};
use crate::sessionize::{Rejection, Replacement, Visit};
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

/// Folds one tick's changes of one user. Scratch space is reused from user to user.
pub(super) struct Fold {
    /// Microseconds.
    gap: i64,
    builder: Builder,
    /// Sessions that replacements took away in this tick, sorted.
    replaced: Vec<Session>,
}

impl Fold {
    pub fn new(gap: i64) -> Fold {
        Fold { gap, builder: Builder::new(), replaced: Vec::new() }
    }

    /// Appends to `changes` the sessions that go (-1) and that come (+1), sorted and consolidated. `visits` come
    /// sorted by time.
    ///
    /// Replacements apply first, in their order, to the sessions before the tick; their survivors are then inserted
    /// together with the tick's visits.
    pub fn apply(
        &mut self,
        past: &mut impl Past,
        visits: &[Visit],
        replacements: &[Replacement],
        changes: &mut Vec<(Session, isize)>,
        rejections: &mut Vec<Rejection>,
    ) {
        self.replaced.clear();
        if replacements.is_empty() {
            self.insert(past, visits, changes);
        } else {
            let mut visits = visits.to_vec();
            for replacement in replacements {
                self.replace(past, replacement, &mut visits, changes, rejections);
            }
            visits.sort_unstable_by_key(|visit| visit.time);
            self.replaced.sort_unstable();
            past.rewind();
            self.insert(past, &visits, changes);
        }
        differential_dataflow::consolidation::consolidate(changes);
    }

    /// Takes away the sessions that a replacement names, or rejects it if they are not the ones there.
    fn replace(
        &mut self,
        past: &mut impl Past,
        replacement: &Replacement,
        visits: &mut Vec<Visit>,
        changes: &mut Vec<(Session, isize)>,
        rejections: &mut Vec<Rejection>,
    ) {
        past.rewind();
        past.seek(replacement.from);
        let mut found = Vec::new();
        while let Some(session) = past.peek().filter(|session| session.start <= replacement.to) {
            if !self.replaced.contains(session) {
                found.push(session.clone());
            }
            past.step();
        }
        let mut ids: Vec<_> = found.iter().map(|session| session.id(replacement.user)).collect();
        ids.sort_unstable();
        if ids != replacement.sessions {
            rejections.push(Rejection { replacement: replacement.clone(), found: ids });
            return;
        }
        visits.extend(replacement.survivors.iter().cloned());
        changes.extend(found.iter().map(|session| (session.clone(), -1)));
        self.replaced.append(&mut found);
    }

    /// Inserts sorted visits. Each run of close visits swallows the sessions within reach, left to right.
    fn insert(&mut self, past: &mut impl Past, visits: &[Visit], changes: &mut Vec<(Session, isize)>) {
        let (gap, replaced, builder) = (self.gap, &self.replaced, &mut self.builder);
        for visit in visits {
            // Strictly more than the gap splits.
            if !builder.is_empty() && visit.time.micros() - builder.end.micros() > gap {
                // Sessions ahead of the new visit may still be within reach of the run that ends here.
                swallow(past, gap, replaced, builder, changes);
                if visit.time.micros() - builder.end.micros() > gap {
                    changes.push((builder.finish(), 1));
                }
            }
            builder.add_visit(visit);
        }
        if !builder.is_empty() {
            swallow(past, gap, replaced, builder, changes);
            changes.push((builder.finish(), 1));
        }
    }
}

/// Merges into the builder the sessions that are at most the gap away, and retracts them.
fn swallow(
    past: &mut impl Past,
    gap: i64,
    replaced: &[Session],
    builder: &mut Builder,
    changes: &mut Vec<(Session, isize)>,
) {
    past.seek(builder.start.saturating_sub(gap));
    while let Some(session) = past.peek() {
        if session.start.micros() - builder.end.micros() > gap {
            break;
        }
        if replaced.binary_search(session).is_err() {
            builder.add_session(session);
            changes.push((session.clone(), -1));
        }
        past.step();
    }
}
