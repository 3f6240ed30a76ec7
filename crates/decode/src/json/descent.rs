//! The one pass over a payload, token by token. It keeps its own stack and takes numbers as they are written: so nothing
//! is limited by recursion, nothing is converted, and all memory is used again.
//!
//! Validation is complete and does not depend on which paths are asked for: structure, literals, numbers, and every
//! string with its escapes.

use super::layout::{Content, Node, Reached};
use crate::fault::Fault;
use crate::path_set::PathSet;
use crate::reading::{Reading, Slot};
use crate::tokens::Tokens;
use dataflows::identity::has_dot;
use dataflows::{PathHash, ValueKind};
use std::ops::Range;

/// The result of the pass over one payload.
#[derive(Debug, Default)]
pub struct Descent {
    /// Of the payload itself, without what lies in exploded arrays.
    pub whole: Findings,
    /// Of the elements of exploded arrays, one after the other.
    pub elements: Findings,
    /// Where each of these elements begins and ends.
    pub spans: Vec<Span>,
    /// There is an array at the path that is to be exploded.
    pub exploded: bool,
    /// Scratch for strings with escapes.
    pub unescaped: String,
    stack: Vec<Frame>,
}

#[derive(Debug, Default)]
pub struct Findings {
    pub nodes: Vec<Node>,
    /// All scalars, in the order of the text.
    pub scalars: Vec<Scalar>,
    pub values: Reading,
    /// The node that holds each value.
    pub holders: Vec<u32>,
    /// The node of each object and array that `values` notes; of one that a key with dots stands for, that around it.
    pub container_holders: Vec<u32>,
    /// Keys of all objects.
    pub keys: usize,
}

/// Where a scalar lies within the payload, a string without its opening quote.
#[derive(Clone, Copy, Debug)]
pub struct Scalar {
    pub kind: ValueKind,
    pub slot: Option<Slot>,
    pub start: u32,
    pub end: u32,
}

/// One element of an exploded array.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// Within the payload.
    pub bytes: Range<usize>,
    /// Within [`Descent::elements`].
    pub nodes: Range<usize>,
    pub values: Range<usize>,
    pub containers: Range<usize>,
    pub keys: usize,
}

/// An object or array that is not closed yet.
#[derive(Clone, Copy, Debug)]
struct Frame {
    path: PathHash,
    node: u32,
    is: Container,
    /// A key since the innermost element (or the root) contained a dot.
    dotted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Object,
    Array,
    Exploded,
}

/// Where the next value lies.
#[derive(Clone, Copy)]
struct Place {
    path: PathHash,
    parent: u32,
    reached: Reached,
}

impl Findings {
    fn clear(&mut self) {
        self.nodes.clear();
        self.scalars.clear();
        self.values.clear();
        self.holders.clear();
        self.container_holders.clear();
        self.keys = 0;
    }

    /// Returns the index of a node that is added.
    #[inline]
    fn node(&mut self, place: Place, content: Content) -> u32 {
        let index = self.nodes.len() as u32;
        self.nodes.push(Node::new(place.path, place.parent, place.reached, content));
        index
    }

    /// Returns the index of the node of an object or an array.
    #[inline]
    fn container(&mut self, place: Place, content: Content, paths: &PathSet) -> u32 {
        let index = self.node(place, content);
        if let Some(slot) = paths.slot(place.path) {
            self.values.contain(slot);
            self.container_holders.push(index);
        }
        index
    }

    /// Adds a scalar that lies in `bytes` of the payload.
    #[inline]
    fn leaf(&mut self, place: Place, kind: ValueKind, text: &str, bytes: Range<usize>, paths: &PathSet) {
        let index = self.node(place, Content::Leaf(kind));
        let slot = paths.slot(place.path);
        self.scalars.push(Scalar { kind, slot, start: bytes.start as u32, end: bytes.end as u32 });
        if let Some(slot) = slot {
            self.values.push(slot, kind, text);
            self.holders.resize(self.values.len(), index);
        }
    }
}

impl Descent {
    /// Replaces what was found before. After an error what is found means nothing.
    pub fn run(&mut self, text: &str, paths: &PathSet, explode: Option<PathHash>) -> Result<(), Fault> {
        self.whole.clear();
        self.elements.clear();
        self.spans.clear();
        self.stack.clear();
        self.exploded = false;

        let mut json = Tokens::of(text);
        let mut in_element = false;
        let mut place = Place { path: PathHash::ROOT, parent: 0, reached: Reached::Fresh };
        'value: loop {
            let found = if in_element { &mut self.elements } else { &mut self.whole };
            match json.next() {
                Some(first @ (b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')) => {
                    let start = json.at() - usize::from(first != b'"');
                    let (kind, value) = json.scalar(first, &mut self.unescaped)?;
                    found.leaf(place, kind, value, start..json.at(), paths);
                }
                Some(b'{') => match json.next() {
                    Some(b'}') => _ = found.container(place, Content::Leaf(ValueKind::EmptyObject), paths),
                    Some(b'"') => {
                        let node = found.container(place, Content::Object, paths);
                        let dotted = place.reached == Reached::Dotted;
                        self.stack.push(Frame { path: place.path, node, is: Container::Object, dotted });
                        place = key(&mut json, &mut self.unescaped, self.stack[self.stack.len() - 1], found, paths)?;
                        continue 'value;
                    }
                    other => return Err(json.unexpected(other, "expected a key in quotes or `}`")),
                },
                Some(b'[') => {
                    let exploded = !in_element && explode == Some(place.path);
                    self.exploded |= exploded;
                    let empty = json.peek() == Some(b']');
                    let content =
                        if empty && !exploded { Content::Leaf(ValueKind::EmptyArray) } else { Content::Array };
                    let node = match exploded {
                        // Its elements are events of their own, and none of them has it.
                        true => found.node(place, content),
                        false => found.container(place, content, paths),
                    };
                    if empty {
                        json.next();
                    } else {
                        let is = if exploded { Container::Exploded } else { Container::Array };
                        let frame = Frame { path: place.path, node, is, dotted: false };
                        self.stack.push(frame);
                        place = self.element(&mut json, frame);
                        in_element |= exploded;
                        continue 'value;
                    }
                }
                other => return Err(json.unexpected(other, "expected a value")),
            }
            // A value is complete. Either another follows it, or what holds it is complete, too.
            loop {
                let Some(frame) = self.stack.last().copied() else { break 'value };
                let end_of_value = json.at();
                let next = json.next();
                match frame.is {
                    Container::Object => match next {
                        Some(b',') => {
                            match json.next() {
                                Some(b'"') => {}
                                other => return Err(json.unexpected(other, "expected a key in quotes")),
                            }
                            let found = if in_element { &mut self.elements } else { &mut self.whole };
                            place = key(&mut json, &mut self.unescaped, frame, found, paths)?;
                            continue 'value;
                        }
                        Some(b'}') => {}
                        other => return Err(json.unexpected(other, "expected `,` or `}`")),
                    },
                    Container::Array | Container::Exploded => {
                        if frame.is == Container::Exploded {
                            self.end_element(end_of_value);
                        }
                        match next {
                            Some(b',') => {
                                place = self.element(&mut json, frame);
                                continue 'value;
                            }
                            Some(b']') => in_element &= frame.is != Container::Exploded,
                            other => return Err(json.unexpected(other, "expected `,` or `]`")),
                        }
                    }
                }
                self.stack.pop();
            }
        }
        match json.next() {
            None => Ok(()),
            other => Err(json.unexpected(other, "expected nothing more after the value")),
        }
    }

    /// Returns the place of the next element of an array.
    #[inline]
    fn element(&mut self, json: &mut Tokens, array: Frame) -> Place {
        if array.is != Container::Exploded {
            return Place { path: array.path.element(), parent: array.node, reached: Reached::Fresh };
        }
        // At the end of the text there is no next byte, and no element either: the caller finds out.
        json.peek();
        let (node, values) = (self.elements.nodes.len(), self.elements.values.len());
        let containers = self.elements.container_holders.len();
        self.elements.keys = 0;
        self.spans.push(Span {
            bytes: json.at()..0,
            nodes: node..0,
            values: values..0,
            containers: containers..0,
            keys: 0,
        });
        Place { path: PathHash::ROOT, parent: node as u32, reached: Reached::Fresh }
    }

    fn end_element(&mut self, end: usize) {
        if let Some(span) = self.spans.last_mut() {
            span.bytes.end = end;
            span.nodes.end = self.elements.nodes.len();
            span.values.end = self.elements.values.len();
            span.containers.end = self.elements.container_holders.len();
            span.keys = self.elements.keys;
        }
    }
}

/// Reads a key, whose opening quote has been read, and the colon after it.
#[inline]
fn key(
    json: &mut Tokens,
    unescaped: &mut String,
    object: Frame,
    found: &mut Findings,
    paths: &PathSet,
) -> Result<Place, Fault> {
    let key = json.string(unescaped)?;
    let (path, dotted) = if has_dot(key.as_bytes()) {
        for slot in paths.through(object.path, key) {
            found.values.contain(slot);
            found.container_holders.push(object.node);
        }
        (object.path.key(key), true)
    } else {
        (object.path.segment(key.as_bytes()), object.dotted)
    };
    let place = Place { path, parent: object.node, reached: if dotted { Reached::Dotted } else { Reached::Nested } };
    found.keys += 1;
    match json.next() {
        Some(b':') => Ok(place),
        other => Err(json.unexpected(other, "expected `:` after a key")),
    }
}
