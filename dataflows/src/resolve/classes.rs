//! The class of each signature, as one worker has them.

use crate::classify::Class;
use crate::hashed::Hashed;
use crate::identity::SignatureId;
use crate::time::Tick;
use crate::views::Views;
use std::sync::Arc;

/// The class of each signature, by rank: ranks are in the order of names. So the classes of a session are sorted by a
/// number each.
#[derive(Clone, Default)]
pub struct Classes {
    names: Vec<Class>,
    ranks: Hashed<SignatureId, u32>,
}

impl Classes {
    /// Returns the classes as they were before a tick that was not compacted away; [`Tick::MAX`]: as they are.
    pub fn before(views: &mut Views, tick: Tick) -> Classes {
        let mut pairs = Vec::new();
        views.classes_before(tick, &mut |signature, class| pairs.push((signature, Arc::clone(class))));
        let mut classes = Classes::default();
        classes.add(pairs);
        classes
    }

    /// Takes the classes that signatures have from now on.
    pub(super) fn add(&mut self, pairs: Vec<(SignatureId, Class)>) {
        let mut names: Vec<Class> = pairs.iter().map(|(_, class)| Arc::clone(class)).collect();
        names.retain(|name| self.names.binary_search(name).is_err());
        if !names.is_empty() {
            let before = std::mem::take(&mut self.names);
            names.extend(before.iter().cloned());
            names.sort_unstable();
            names.dedup();
            self.names = names;
            let moved: Vec<u32> = before.iter().map(|name| self.rank_of(name)).collect();
            self.ranks.change_in_no_order(|rank| *rank = moved[*rank as usize]);
        }
        for (signature, class) in pairs {
            let rank = self.rank_of(&class);
            *self.ranks.or_default(signature) = rank;
        }
    }

    fn rank_of(&self, name: &Class) -> u32 {
        self.names.partition_point(|other| other < name) as u32
    }

    /// Returns where the class of a signature stands in the order of names.
    pub(super) fn rank(&self, signature: SignatureId) -> u32 {
        // A signature is sent in the tick of its first event, or before.
        *self.ranks.get(&signature).expect("every signature has a class")
    }

    /// Returns the name of the class of this rank.
    pub(super) fn ranked(&self, rank: u32) -> &str {
        &self.names[rank as usize]
    }

    /// Returns the name of the class of a signature, if that is known.
    pub(super) fn of(&self, signature: SignatureId) -> Option<&str> {
        self.ranks.get(&signature).map(|rank| self.ranked(*rank))
    }

    /// Returns the name of the class of a signature that some event has.
    pub fn name(&self, signature: SignatureId) -> &str {
        self.ranked(self.rank(signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// New names move the ranks of those that are there.
    #[test]
    fn signatures_keep_their_classes_when_others_come_between() {
        let pair = |signature, class: &str| (SignatureId(signature), Class::from(class));
        let mut classes = Classes::default();
        classes.add(vec![pair(1, "m"), pair(2, "x"), pair(3, "m")]);
        classes.add(vec![pair(4, "a"), pair(5, "p"), pair(2, "z")]);
        let named = |signature| classes.name(SignatureId(signature));
        assert_eq!([1, 2, 3, 4, 5].map(named), ["m", "z", "m", "a", "p"]);
        let rank = |signature| classes.rank(SignatureId(signature));
        assert!(rank(4) < rank(1) && rank(1) == rank(3) && rank(1) < rank(5) && rank(5) < rank(2));
    }
}
