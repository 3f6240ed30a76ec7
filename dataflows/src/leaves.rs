//! What a shape is made of, and which shapes are kept apart.

use crate::identity::{ShapeId, ValueKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Shapes that are kept apart in the view of shapes. Of more, those with the least ids (a hash) are, as with types; events
/// of the others are in one row. Payloads with keys that are never the same would otherwise fill the memory.
pub const MAX_SHAPES: usize = 4096;

/// Bytes of the paths that are kept of a shape. Of a shape with more, the last leaves are counted and not named.
const MAX_BYTES: usize = 1 << 14;

/// One leaf of a shape: where it is, and what is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Leaf {
    /// As the configuration writes it.
    pub path: String,
    /// Of its value.
    pub kind: ValueKind,
}

/// The leaves of a shape: what its id stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Leaves {
    /// In the order of their paths, no repeats.
    pub named: Vec<Leaf>,
    /// How many more there are.
    pub more: u64,
}

impl Leaves {
    /// Keeps as many as have room, whatever their order.
    pub fn of(mut leaves: Vec<Leaf>) -> Leaves {
        leaves.sort_unstable();
        leaves.dedup();
        let mut bytes = 0;
        let kept = leaves.iter().take_while(|leaf| {
            bytes += leaf.path.len();
            bytes <= MAX_BYTES
        });
        let kept = kept.count();
        let more = (leaves.len() - kept) as u64;
        leaves.truncate(kept);
        Leaves { named: leaves, more }
    }
}

/// The shapes that are kept apart: those with the least ids of all that were offered. They do not depend on the order.
#[derive(Clone, Debug)]
pub struct Least {
    ids: BTreeSet<ShapeId>,
    most: usize,
}

impl Least {
    /// Tells at most `most` apart.
    pub fn new(most: usize) -> Least {
        Least { ids: BTreeSet::new(), most }
    }

    /// Offers a shape. Returns the one that is not kept apart any more, if it is one too many.
    pub fn offer(&mut self, shape: ShapeId) -> Option<ShapeId> {
        self.ids.insert(shape);
        if self.ids.len() > self.most { self.ids.pop_last() } else { None }
    }

    /// Returns whether a shape is kept apart.
    pub fn has(&self, shape: ShapeId) -> bool {
        self.ids.contains(&shape)
    }
}

/// The leaves of shapes, as one worker knows them: of those with the least ids.
pub(crate) struct Dictionary {
    least: Least,
    leaves: BTreeMap<ShapeId, Arc<Leaves>>,
}

impl Default for Dictionary {
    fn default() -> Dictionary {
        Dictionary { least: Least::new(MAX_SHAPES), leaves: BTreeMap::new() }
    }
}

impl Dictionary {
    /// Returns the leaves of a shape, if they are known.
    pub fn of(&self, shape: ShapeId) -> Option<&Arc<Leaves>> {
        self.leaves.get(&shape)
    }

    /// Takes the leaves of shapes; repeats are fine. Returns what changes; `None`: they are forgotten.
    pub fn tick(&mut self, shapes: Vec<(ShapeId, Arc<Leaves>)>) -> BTreeMap<ShapeId, Option<Arc<Leaves>>> {
        let mut changes = BTreeMap::new();
        for (shape, leaves) in shapes {
            if self.leaves.contains_key(&shape) {
                continue;
            }
            let gone = self.least.offer(shape);
            if gone != Some(shape) {
                changes.insert(shape, Some(Arc::clone(&leaves)));
                self.leaves.insert(shape, leaves);
            }
            if let Some(gone) = gone {
                self.leaves.remove(&gone);
                changes.insert(gone, None);
            }
        }
        changes
    }
}
