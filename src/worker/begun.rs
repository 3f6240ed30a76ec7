//! Where the collections begin that data folders of earlier releases do not have.
//!
//! A control record says that a collection begins. The tick that takes the record publishes all rows that are there,
//! and later ticks publish changes. Before that tick the collection is empty. So what is published adds up to the rows
//! that are read, in a folder of any release, and each tick is the same when it is computed again.

use crate::collections::Collection;
use crate::queue::sequencer::Bound;
use dataflows::Tick;
use std::collections::BTreeMap;

/// The beginnings, as one worker knows them.
#[derive(Debug)]
pub(super) struct Begun {
    /// Offset of the record in the control partition, by collection. Others begin with the folder.
    offsets: BTreeMap<Collection, u64>,
    /// Of those that have begun: the first tick with rows, or one after it.
    since: BTreeMap<Collection, Tick>,
}

/// What a tick publishes of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It has not begun.
    Nothing,
    /// All rows.
    Whole,
    Changes,
}

impl Begun {
    /// `control`: how far the control partition has been taken before the first tick.
    pub fn new(offsets: BTreeMap<Collection, u64>, control: u64) -> Begun {
        let before = offsets.iter().filter(|(_, offset)| **offset < control);
        let since = before.map(|(collection, _)| (*collection, 0)).collect();
        Begun { offsets, since }
    }

    /// Takes a tick, in order. Returns what it publishes of a view.
    pub fn tick(&mut self, collection: Collection, bound: &Bound) -> Says {
        match self.offsets.get(&collection) {
            Some(offset) if bound.control.end <= *offset => Says::Nothing,
            Some(offset) if bound.control.contains(offset) => {
                self.since.insert(collection, bound.tick);
                Says::Whole
            }
            Some(_) | None => Says::Changes,
        }
    }

    /// Returns whether a collection has begun at `tick`, which has been taken.
    pub fn has(&self, collection: Collection, tick: Tick) -> bool {
        let begins = self.offsets.contains_key(&collection);
        !begins || self.since.get(&collection).is_some_and(|since| *since <= tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    #[test]
    fn a_collection_is_whole_at_the_tick_that_takes_its_record_and_empty_before() {
        let bound = |tick, control| Bound { tick, now_ms: 0, queue: Vec::new(), control, snapshot: false };
        let offsets = BTreeMap::from([(Collection::USERS, 5)]);
        let mut begun = Begun::new(offsets.clone(), 3);
        let mut says = |tick, control: Range<u64>| {
            let says =
                [Collection::USERS, Collection::SESSIONS].map(|of| begun.tick(of, &bound(tick, control.clone())));
            (says, begun.has(Collection::USERS, tick), begun.has(Collection::SESSIONS, tick))
        };
        assert_eq!(says(7, 3..5), ([Says::Nothing, Says::Changes], false, true));
        assert_eq!(says(8, 5..5), ([Says::Nothing, Says::Changes], false, true));
        assert_eq!(says(9, 5..6), ([Says::Whole, Says::Changes], true, true));
        assert_eq!(says(10, 6..6), ([Says::Changes, Says::Changes], true, true));
        assert!(!begun.has(Collection::USERS, 8), "a tick that can still be asked for");
        // A snapshot that was taken since has its rows.
        let restored = Begun::new(offsets, 6);
        assert!(restored.has(Collection::USERS, 0) && restored.has(Collection::SESSIONS, 0));
    }
}
