//! The classes of signatures at one worker, and the rows of sessions that they resolve.

use super::sessions::SessionRow;
use dataflows::classify::Class;
use dataflows::engine::Views;
use dataflows::sessionize::Session;
use dataflows::{Measure, SignatureId, Tick, UserKey};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// The class of each signature, by rank: ranks are in the order of names.
#[derive(Clone, Default)]
pub struct Classes {
    names: Vec<Class>,
    ranks: HashMap<SignatureId, u32, foldhash::fast::FixedState>,
}

impl Classes {
    pub fn read(views: &mut Views) -> Classes {
        Classes::before(views, Tick::MAX)
    }

    /// Returns the classes as they were before a tick that was not compacted away.
    pub fn before(views: &mut Views, tick: Tick) -> Classes {
        let mut pairs = Vec::new();
        views.classes_before(tick, &mut |signature, class| pairs.push((signature, Arc::clone(class))));
        let mut classes = Classes::default();
        classes.add(pairs);
        classes
    }

    /// Takes changes of the view of classes, as they come.
    pub fn update(&mut self, changes: Vec<((SignatureId, Class), isize)>) {
        let asserted = changes.into_iter().filter(|(_, diff)| *diff > 0);
        self.add(asserted.map(|(row, _)| row).collect());
    }

    fn add(&mut self, pairs: Vec<(SignatureId, Class)>) {
        let mut names: Vec<Class> = pairs.iter().map(|(_, class)| Arc::clone(class)).collect();
        names.retain(|name| self.names.binary_search(name).is_err());
        if !names.is_empty() {
            let before = std::mem::take(&mut self.names);
            names.extend(before.iter().cloned());
            names.sort_unstable();
            names.dedup();
            self.names = names;
            let moved: Vec<u32> = before.iter().map(|name| self.rank_of(name)).collect();
            self.ranks.values_mut().for_each(|rank| *rank = moved[*rank as usize]);
        }
        for (signature, class) in pairs {
            let rank = self.rank_of(&class);
            self.ranks.insert(signature, rank);
        }
    }

    fn rank_of(&self, name: &Class) -> u32 {
        self.names.partition_point(|other| other < name) as u32
    }

    fn rank(&self, signature: SignatureId) -> u32 {
        // A signature is sent in the tick of its first event, or before.
        *self.ranks.get(&signature).expect("every signature has a class")
    }

    pub fn name(&self, signature: SignatureId) -> &str {
        &self.names[self.rank(signature) as usize]
    }
}

/// Reused from row to row.
#[derive(Default)]
pub struct Scratch {
    ranks: Vec<(u32, u64)>,
}

impl Scratch {
    /// Calls `write` with the row of a session.
    pub fn row<R>(
        &mut self,
        user: UserKey,
        name: &str,
        session: &Session,
        classes: &Classes,
        write: impl FnOnce(&SessionRow<'_>) -> R,
    ) -> R {
        self.ranks.clear();
        self.ranks.extend(session.counts().map(|(signature, events)| (classes.rank(signature), events)));
        self.ranks.sort_unstable();
        let mut by_class: SmallVec<[(&str, u64); 8]> = SmallVec::new();
        for same in self.ranks.chunk_by(|one, other| one.0 == other.0) {
            by_class.push((&classes.names[same[0].0 as usize], same.iter().map(|(_, events)| events).sum()));
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
        write(&SessionRow {
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
        })
    }
}
