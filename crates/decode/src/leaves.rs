//! Names of leaves: readers hash paths, and say once for each shape what its leaves are called.

use crate::derived::Document;
use crate::path::{Step, written};
use dataflows::leaves::{Leaf, Least, Leaves, MAX_SHAPES};
use dataflows::{ShapeId, ValueKind};
use std::collections::HashSet;
use std::sync::Arc;

/// Shapes that a reader remembers having met. When there would be more, all are forgotten, and each is looked at again.
const REMEMBERED: usize = 1 << 16;

/// The shapes of which a reader has said the leaves.
#[derive(Debug)]
pub struct Told {
    met: HashSet<ShapeId, foldhash::fast::FixedState>,
    /// Others are not kept apart, by any worker: a shape that is among the least of all is among those of each reader.
    least: Least,
}

impl Default for Told {
    fn default() -> Told {
        Told { met: HashSet::default(), least: Least::new(MAX_SHAPES) }
    }
}

impl Told {
    /// Returns the leaves of a shape, if they are to be said.
    #[inline]
    pub fn tell(&mut self, shape: ShapeId, leaves: impl FnOnce() -> Option<Vec<Leaf>>) -> Option<Arc<Leaves>> {
        if self.met.contains(&shape) { None } else { self.tell_first(shape, leaves) }
    }

    #[cold]
    fn tell_first(&mut self, shape: ShapeId, leaves: impl FnOnce() -> Option<Vec<Leaf>>) -> Option<Arc<Leaves>> {
        if self.met.len() >= REMEMBERED {
            self.met.clear();
        }
        self.met.insert(shape);
        if self.least.offer(shape) == Some(shape) {
            return None;
        }
        leaves().map(|leaves| Arc::new(Leaves::of(leaves)))
    }
}

/// Returns the leaf of a text below a key, which may have dots.
pub fn of_key(key: &str) -> Leaf {
    let steps: Vec<Step> = steps(key).collect();
    Leaf { path: written(&steps), kind: ValueKind::String }
}

/// Returns the leaves of a JSON text, without those below the array at `exploded`. `None` of a text that is too deep.
pub fn of_document(text: &str, exploded: Option<&[Step]>) -> Option<Vec<Leaf>> {
    let mut leaves = Vec::new();
    walk(&Document::parse(text)?, &mut Vec::new(), exploded, &mut leaves);
    Some(leaves)
}

fn walk(document: &Document, path: &mut Vec<Step>, exploded: Option<&[Step]>, leaves: &mut Vec<Leaf>) {
    let kind = match document {
        Document::Scalar(kind, _) => *kind,
        Document::Array(_) if exploded == Some(path) => return,
        Document::Object(members) if members.is_empty() => ValueKind::EmptyObject,
        Document::Array(elements) if elements.is_empty() => ValueKind::EmptyArray,
        Document::Object(members) => {
            for (key, value) in members {
                let above = path.len();
                path.extend(steps(key));
                walk(value, path, exploded, leaves);
                path.truncate(above);
            }
            return;
        }
        Document::Array(elements) => {
            path.push(Step::Element);
            elements.iter().for_each(|element| walk(element, path, exploded, leaves));
            path.pop();
            return;
        }
    };
    leaves.push(Leaf { path: written(path), kind });
}

fn steps(key: &str) -> impl Iterator<Item = Step> {
    key.split('.').map(|segment| Step::Key(segment.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::JsonReader;
    use crate::path::Path;
    use crate::reading::Reading;
    use crate::spec::Limits;

    #[test]
    fn the_leaves_of_a_shape_are_said_once() {
        let mut reader = JsonReader::new(Arc::default(), Some(&Path::parse("events").unwrap()), Limits::default());
        let mut said = |payload: &str| {
            let mut all = Vec::new();
            reader.read(payload.as_bytes(), &mut Reading::default(), |_, result| {
                let name = |leaf: &Leaf| format!("{} {:?}", leaf.path, leaf.kind);
                all.push(
                    result.unwrap().leaves.as_ref().map(|leaves| leaves.named.iter().map(name).collect::<Vec<_>>()),
                );
            });
            all
        };
        let named = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(said(r#"{"a":{"b":1},"c":[]}"#), [named(&["a.b Number", "c EmptyArray"])]);
        assert_eq!(said(r#"{"c":[],"a.b":2}"#), [None]);
        assert_eq!(
            said(r#"{"x":"y","events":[{"a":[{"k k":true}]},{"x":null},{"x":null}]}"#),
            [named(&["a[].\"k k\" Bool", "x String"]), named(&["x Null", "x String"]), None]
        );
    }

    /// Payloads with keys that are never the same: leaves are said of few, and always of those with the least ids.
    #[test]
    fn of_too_many_shapes_those_with_the_least_ids_are_said() {
        let mut told = Told::default();
        let shapes: Vec<ShapeId> = (0..100_000u64).map(|n| ShapeId(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        let said: HashSet<ShapeId> =
            shapes.iter().filter(|shape| told.tell(**shape, || Some(vec![])).is_some()).copied().collect();
        let mut least = shapes.clone();
        least.sort_unstable();
        assert!(least[..MAX_SHAPES].iter().all(|shape| said.contains(shape)));
        assert!(said.len() < MAX_SHAPES * 6, "{}", said.len());
        assert!(told.met.len() <= REMEMBERED);
    }
}
