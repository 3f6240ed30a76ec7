//! The paths that a pass over a payload has to find.

use crate::derived::Derived;
use crate::path::Path;
use crate::reading::Slot;
use dataflows::PathHash;
use std::collections::HashMap;

/// The paths that are asked for, looked up by hash while descending.
#[derive(Clone, Debug, Default)]
pub struct PathSet {
    paths: Vec<Path>,
    slots: HashMap<u64, Slot, foldhash::fast::FixedState>,
    /// Of paths that no pass over a payload finds.
    derived_slots: HashMap<u64, Slot, foldhash::fast::FixedState>,
    derived: Derived,
}

impl PathSet {
    /// Returns the slot of `path`, the same one if it was asked for before.
    pub fn add(&mut self, path: &Path) -> Slot {
        if !path.is_plain() {
            return self.add_derived(path);
        }
        let paths = &mut self.paths;
        *self.slots.entry(path.hash().bits()).or_insert_with(|| {
            paths.push(path.clone());
            (paths.len() - 1) as Slot
        })
    }

    fn add_derived(&mut self, path: &Path) -> Slot {
        if let Some(slot) = self.derived_slots.get(&path.hash().bits()) {
            return *slot;
        }
        let base = path.parts().0.map(|base| self.add(&base));
        self.paths.push(path.clone());
        let slot = (self.paths.len() - 1) as Slot;
        self.derived_slots.insert(path.hash().bits(), slot);
        self.derived.add(slot, base, path);
        slot
    }

    /// Returns the slot of a path that was added.
    pub fn of(&self, path: &Path) -> Option<Slot> {
        let slots = if path.is_plain() { &self.slots } else { &self.derived_slots };
        slots.get(&path.hash().bits()).copied()
    }

    /// Returns the paths whose values are derived from those of others.
    pub fn derived(&self) -> &Derived {
        &self.derived
    }

    /// Returns the slot of a path by its hash, if it is asked for and a pass finds it.
    #[inline]
    pub fn slot(&self, path: PathHash) -> Option<Slot> {
        self.slots.get(&path.bits()).copied()
    }

    /// Returns the slots of the objects that a key with dots, in an object at `path`, leads through: it says the same
    /// as if they were written.
    pub fn through<'k>(&'k self, path: PathHash, key: &'k str) -> impl Iterator<Item = Slot> + 'k {
        let names = key.rsplit_once('.').map(|(names, _)| names.split('.'));
        let steps = names.into_iter().flatten().scan(path, |path, name| {
            *path = path.segment(name.as_bytes());
            Some(*path)
        });
        steps.filter_map(|path| self.slot(path))
    }

    /// Returns the path of a slot.
    pub fn path(&self, slot: Slot) -> &Path {
        &self.paths[slot as usize]
    }

    /// Returns the number of slots.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Returns whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_slot_however_it_is_written() {
        let mut paths = PathSet::default();
        let path = |text| Path::parse(text).unwrap();
        assert!(paths.is_empty());
        assert_eq!(paths.add(&path("id.orig_h")), 0);
        assert_eq!(paths.add(&path("user")), 1);
        assert_eq!(paths.add(&path(r#""id.orig_h""#)), 0);
        assert_eq!(paths.len(), 2);
        assert_eq!(paths.slot(PathHash::ROOT.key("user")), Some(1));
        assert_eq!(paths.slot(PathHash::ROOT.key("absent")), None);
        assert_eq!(paths.path(0).to_string(), "id.orig_h");
    }
}
