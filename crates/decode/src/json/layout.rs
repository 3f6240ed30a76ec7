//! The facts that follow from the keys and kinds of a document, not from its values: its shape, ambiguous paths, and
//! repeated keys of an object. Documents of one log have few layouts, so the answers are remembered.

use dataflows::{PathHash, ShapeId, ValueKind};
use std::collections::HashMap;

/// One value of a document: the root, or what a key or an array element holds. The nodes of a document are listed in
/// the order of its text, each after the object or array that it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    path: PathHash,
    /// Index of the parent, shifted by 32; below it the flags and the code of what is held. Packed, because nodes are
    /// compared with remembered ones for every event.
    about: u64,
}

/// The content of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A scalar, an empty object or an empty array: a leaf of the shape.
    Leaf(ValueKind),
    /// An object with keys.
    Object,
    /// An array with elements, or the array that was exploded.
    Array,
}

/// How a node is reached from its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The root of an event, or an element of an array. Paths below are compared with each other, not with the same
    /// path in another element.
    Fresh,
    /// By a key; only keys without dots lie between it and the element (or root) that it belongs to.
    Nested,
    /// By a key; it or a key between it and the element (or root) that it belongs to contains a dot.
    Dotted,
}

const OBJECT: u64 = 6;
const ARRAY: u64 = 7;
const DOTTED: u64 = 1 << 8;
const FRESH: u64 = 1 << 9;

impl Node {
    /// Makes a node. The parent of a root is the root itself.
    #[inline]
    pub fn new(path: PathHash, parent: u32, reached: Reached, content: Content) -> Node {
        let content = match content {
            Content::Leaf(kind) => kind as u64,
            Content::Object => OBJECT,
            Content::Array => ARRAY,
        };
        let reached = match reached {
            Reached::Fresh => FRESH,
            Reached::Nested => 0,
            Reached::Dotted => DOTTED,
        };
        Node { path, about: u64::from(parent) << 32 | reached | content }
    }

    /// Returns the same node in a list that has its document `by` places further back (or, negative, further forward).
    pub fn moved(self, by: i64) -> Node {
        Node { path: self.path, about: self.about.wrapping_add((by << 32) as u64) }
    }

    /// Returns the same leaf as part of another document: it belongs to the shape there, and is compared with nothing.
    /// `None` for what is no leaf.
    pub fn inherited(self) -> Option<Node> {
        Some(Node::new(self.path, 0, Reached::Fresh, Content::Leaf(self.leaf()?)))
    }

    #[inline]
    fn parent(self) -> usize {
        (self.about >> 32) as usize
    }

    fn leaf(self) -> Option<ValueKind> {
        ValueKind::ALL.get((self.about & 0xff) as usize).copied()
    }

    pub fn is_object(self) -> bool {
        matches!(self.about & 0xff, OBJECT) || self.leaf() == Some(ValueKind::EmptyObject)
    }

    fn is_array(self) -> bool {
        self.about & 0xff == ARRAY
    }

    fn is_fresh(self) -> bool {
        self.about & FRESH != 0
    }

    fn is_dotted(self) -> bool {
        self.about & DOTTED != 0
    }

    /// Returns whether something is at the path of this node. An object is no presence: `{"a.b":1,"a":{"c":2}}` has two
    /// different paths.
    fn is_present(self) -> bool {
        self.is_array() || self.leaf().is_some_and(|kind| kind != ValueKind::Null)
    }
}

/// The facts that follow from a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub shape: ShapeId,
    /// Some path is present both by a dotted key and nested, in the same root or array element.
    pub ambiguous: bool,
    /// Some object names the same key twice.
    pub duplicate: bool,
}

impl Verdict {
    /// Computes the verdict, as a pure function of `nodes`.
    pub fn of(nodes: &[Node]) -> Verdict {
        let mut leaves = nodes.iter().filter_map(|node| Some(node.path.leaf(node.leaf()?))).collect();
        // The canonical path of a key names it within its object: splitting at dots loses nothing.
        let keys = nodes.iter().filter(|node| !node.is_fresh()).map(|node| (node.parent(), node.path));
        let owners = owners(nodes);
        let present = (nodes.iter().zip(&owners))
            .filter(|(node, _)| !node.is_fresh() && node.is_present())
            .map(|(node, owner)| (*owner, node.path));
        Verdict { shape: ShapeId::of(&mut leaves), ambiguous: repeats(present), duplicate: repeats(keys) }
    }
}

/// Returns the nodes of an ambiguous document that do not count: dotted ones whose path also has a nested value, and
/// all nodes below them. `has_value` returns whether the scalar at an index has a value (neither null nor empty). An
/// absent value does not replace another one.
pub fn outdone(nodes: &[Node], has_value: impl Fn(usize) -> bool) -> Vec<bool> {
    let owners = owners(nodes);
    let mut nested: Vec<_> = (nodes.iter().enumerate())
        .filter(|(index, node)| !node.is_fresh() && !node.is_dotted() && (node.is_array() || has_value(*index)))
        .map(|(index, node)| (owners[index], node.path))
        .collect();
    nested.sort_unstable();
    let mut outdone = vec![false; nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        let beaten = node.is_dotted() && node.is_present() && nested.binary_search(&(owners[index], node.path)).is_ok();
        outdone[index] = beaten || outdone[node.parent()];
    }
    outdone
}

/// Returns for each node the element or root that it belongs to.
fn owners(nodes: &[Node]) -> Vec<usize> {
    let mut owners = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        owners.push(if node.is_fresh() { index } else { owners[node.parent()] });
    }
    owners
}

fn repeats(items: impl Iterator<Item = (usize, PathHash)>) -> bool {
    let mut items: Vec<_> = items.collect();
    items.sort_unstable();
    items.windows(2).any(|pair| pair[0] == pair[1])
}

/// Verdicts of the layouts seen lately. A layout is recognised by all of its nodes, so what is remembered never
/// changes an answer.
#[derive(Debug, Default)]
pub struct Layouts {
    known: HashMap<u64, (Box<[Node]>, Verdict), foldhash::fast::FixedState>,
    /// Nodes of all known layouts together.
    held: usize,
}

/// Nodes (16 bytes each) of all remembered layouts together. When they would become more, all are forgotten and each
/// layout costs one sort again.
const REMEMBERED: usize = 1 << 18;

impl Layouts {
    /// Returns the facts that follow from a layout, and whether the layout was known already.
    #[inline]
    pub fn verdict(&mut self, nodes: &[Node]) -> (Verdict, bool) {
        let digest = digest(nodes);
        match self.known.get(&digest) {
            Some((known, verdict)) if **known == *nodes => (*verdict, true),
            _ => (self.learn(digest, nodes), false),
        }
    }

    #[cold]
    fn learn(&mut self, digest: u64, nodes: &[Node]) -> Verdict {
        let verdict = Verdict::of(nodes);
        // A layout that takes much of the room alone is not likely to come again.
        if nodes.len() <= REMEMBERED / 16 {
            if self.held + nodes.len() > REMEMBERED {
                self.known.clear();
                self.held = 0;
            }
            self.held += nodes.len();
            if let Some((forgotten, _)) = self.known.insert(digest, (nodes.into(), verdict)) {
                self.held -= forgotten.len();
            }
        }
        verdict
    }
}

/// Finds a layout; equality decides. Folded multiplication, as in foldhash.
#[inline]
fn digest(nodes: &[Node]) -> u64 {
    nodes.iter().fold(nodes.len() as u64, |digest, node| {
        let product = u128::from(digest ^ node.path.bits()) * u128::from(node.about ^ 0x9e37_79b9_7f4a_7c15);
        product as u64 ^ (product >> 64) as u64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object_of(count: usize, salt: usize) -> Vec<Node> {
        let root = Node::new(PathHash::ROOT, 0, Reached::Fresh, Content::Object);
        let key = |index| PathHash::ROOT.key(&format!("{salt}-{index}"));
        let leaf = |index| Node::new(key(index), 0, Reached::Nested, Content::Leaf(ValueKind::Number));
        std::iter::once(root).chain((1..count).map(leaf)).collect()
    }

    #[test]
    fn what_is_remembered_stays_bounded_and_true() {
        let mut layouts = Layouts::default();
        for salt in 0..200 {
            for count in [2, REMEMBERED / 64, REMEMBERED / 16 + 1] {
                if count > 2 && salt > 70 {
                    continue;
                }
                let nodes = object_of(count, salt);
                let (verdict, _) = layouts.verdict(&nodes);
                assert_eq!(verdict, layouts.verdict(&nodes).0);
                let held: usize = layouts.known.values().map(|(nodes, _)| nodes.len()).sum();
                assert_eq!(held, layouts.held);
                assert!(held <= REMEMBERED);
            }
        }
        assert!(!layouts.known.is_empty());
    }

    #[test]
    fn a_clash_of_digests_changes_no_answer() {
        let (one, other) = (object_of(3, 1), object_of(3, 2));
        let mut layouts = Layouts::default();
        layouts.verdict(&one);
        // As if both had the same digest.
        let forged = layouts.known.remove(&digest(&one)).unwrap();
        layouts.known.insert(digest(&other), forged);
        assert_eq!(layouts.verdict(&other).0, Verdict::of(&other));
        assert_ne!(layouts.verdict(&other).0, layouts.verdict(&one).0);
    }

    #[test]
    fn a_moved_document_has_its_parents_moved() {
        let nodes = object_of(3, 0);
        assert_eq!(nodes[2].moved(7).parent(), 7);
        assert_eq!(nodes[2].moved(7).moved(-7), nodes[2]);
    }
}
