//! Payloads of layouts that are known, without parsing their structure again.
//!
//! The events of one writer repeat, byte for byte, what stands between their values: `{"time": "`, `", "user": "`. So a
//! tree keeps the texts between the values of earlier payloads, and the decoder guesses that the next payload follows
//! one of its branches. Per value that takes one comparison of bytes, instead of tokens, a hash of the key and a
//! look-up. Speculating on the structure of JSON is due to Y. Li et al., "Mison: A Fast JSON Parser for Data
//! Analytics", VLDB 2017.
//!
//! A guess is never trusted: every byte is compared or validated, and a payload that follows no branch is read from its
//! start by [`super::descent`]. So what is remembered changes no answer, and the tree knows neither faults nor flags: only
//! payloads that have none are learned.

use super::descent::Scalar;
use crate::reading::{Reading, Slot};
use crate::tokens::Tokens;
use dataflows::{ShapeId, ValueKind};
use std::collections::BTreeSet;
use wide::u8x16;

/// The tree of texts between values. Step 0 is the root, before the first text.
#[derive(Debug)]
pub struct Templates {
    steps: Vec<Step>,
    /// About how much memory the steps take.
    held: usize,
}

/// One text and the value behind it.
#[derive(Debug)]
struct Step {
    /// The text between the value before and this one, with the opening quote of a string.
    text: Box<[u8]>,
    /// Its first bytes, filled up with zeros, and a bit for each of them.
    head: [u8x16; 2],
    mask: u32,
    then: Then,
    /// At the end: the objects and arrays of the whole payload that are wanted. They follow from the texts before.
    containers: Box<[Slot]>,
    next: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// A scalar, and where it is wanted.
    Value(ValueKind, Option<Slot>),
    /// Nothing more: the shape of the whole payload.
    End(ShapeId),
}

/// Memory for all texts together, per source and worker. When it is full, everything is forgotten and learned again:
/// such payloads hardly repeat, and then cost as much as without templates.
const REMEMBERED: usize = 4 << 20;

/// Branches behind one value. They are tried one after the other, so a payload with another one is not learned.
const BRANCHES: usize = 32;

impl Default for Templates {
    fn default() -> Templates {
        Templates { steps: vec![Step::new(&[], Then::Value(ValueKind::Null, None))], held: 0 }
    }
}

impl Step {
    fn new(text: &[u8], then: Then) -> Step {
        let byte = |at: usize| text.get(at).copied().unwrap_or(0);
        let head = [0, 16].map(|from| u8x16::new(std::array::from_fn(|at| byte(from + at))));
        let mask = 1_u32.checked_shl(text.len() as u32).map_or(u32::MAX, |bit| bit - 1);
        Step { text: text.into(), head, mask, then, containers: Box::default(), next: Vec::new() }
    }

    /// Returns whether `rest` begins with the text. Nearly all texts are short, and a call to compare them would take
    /// longer.
    #[inline]
    fn begins(&self, rest: &[u8]) -> bool {
        let (Some(low), Some(high)) =
            (rest.first_chunk::<16>(), rest.get(16..).and_then(|rest| rest.first_chunk::<16>()))
        else {
            return rest.starts_with(&self.text);
        };
        let equal = |part: usize, bytes: &[u8; 16]| self.head[part].simd_eq(u8x16::new(*bytes)).to_bitmask();
        let equal = equal(0, low) | equal(1, high) << 16;
        equal & self.mask == self.mask && (self.text.len() <= 32 || rest.starts_with(&self.text))
    }

    /// Returns whether `rest` may go on with this step.
    #[inline]
    fn fits(&self, rest: &[u8]) -> bool {
        if !self.begins(rest) {
            return false;
        }
        let first = rest.get(self.text.len());
        match self.then {
            // The text ends with the opening quote.
            Then::Value(ValueKind::String, _) => true,
            Then::Value(ValueKind::Number, _) => matches!(first, Some(b'-' | b'0'..=b'9')),
            Then::Value(ValueKind::Bool, _) => matches!(first, Some(b't' | b'f')),
            Then::Value(..) => first == Some(&b'n'),
            Then::End(_) => first.is_none(),
        }
    }
}

impl Templates {
    /// Reads `text` if it is a payload of a known layout; `None` says nothing about it, nor does `reading` then.
    #[inline]
    pub fn follow(&self, text: &str, unescaped: &mut String, reading: &mut Reading) -> Option<ShapeId> {
        reading.clear();
        let mut json = Tokens::of(text);
        let mut at = &self.steps[0];
        loop {
            let rest = &text.as_bytes()[json.at()..];
            at = at.next.iter().map(|next| &self.steps[*next as usize]).find(|step| step.fits(rest))?;
            json.skip(at.text.len());
            let (kind, slot) = match at.then {
                Then::Value(kind, slot) => (kind, slot),
                Then::End(shape) => {
                    at.containers.iter().for_each(|slot| reading.contain(*slot));
                    return Some(shape);
                }
            };
            let value = match kind {
                ValueKind::String => json.string(unescaped).ok()?,
                _ => json.next().and_then(|first| json.scalar(first, unescaped).ok())?.1,
            };
            if let Some(slot) = slot {
                reading.push(slot, kind, value);
            }
        }
    }

    /// Remembers a payload without faults and flags: its scalars in order, its objects and arrays that are wanted, and its
    /// shape.
    #[cold]
    pub fn learn(&mut self, text: &str, scalars: &[Scalar], containers: &[Slot], shape: ShapeId) {
        let bytes = text.as_bytes();
        let mut at = 0;
        let mut end = 0;
        for scalar in scalars {
            let then = Then::Value(scalar.kind, scalar.slot);
            let Some(next) = self.step(at, &bytes[end..scalar.start as usize], then) else { return };
            (at, end) = (next, scalar.end as usize);
        }
        let Some(end) = self.step(at, &bytes[end..], Then::End(shape)) else { return };
        if self.steps[end].containers.is_empty() && !containers.is_empty() {
            // Each once: an array may hold very many.
            let containers: BTreeSet<Slot> = containers.iter().copied().collect();
            self.held += containers.len() * size_of::<Slot>();
            self.steps[end].containers = containers.into_iter().collect();
        }
    }

    /// Returns the step behind `at` with this text and value, a new one if need be; `None` if there is no room for it.
    fn step(&mut self, at: usize, text: &[u8], then: Then) -> Option<usize> {
        let known = self.steps[at].next.iter().map(|next| *next as usize);
        let mut known = known.filter(|next| *self.steps[*next].text == *text && self.steps[*next].then == then);
        if let Some(next) = known.next() {
            return Some(next);
        }
        if self.steps[at].next.len() == BRANCHES {
            return None;
        }
        self.held += text.len() + size_of::<Step>() + 2 * size_of::<u32>();
        if self.held > REMEMBERED {
            *self = Templates::default();
            return None;
        }
        let next = self.steps.len();
        self.steps.push(Step::new(text, then));
        self.steps[at].next.push(next as u32);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Learns `{"before":{"key":1}}`.
    fn learn(templates: &mut Templates, before: &str, key: &str) {
        let text = format!("{{\"{before}\":{{\"{key}\":1}}}}");
        let at = text.len() as u32 - 3;
        let scalar = Scalar { kind: ValueKind::Number, slot: Some(3), start: at, end: at + 1 };
        templates.learn(&text, &[scalar], &[4], ShapeId(7));
    }

    #[test]
    fn values_may_change_and_texts_may_not() {
        let mut templates = Templates::default();
        learn(&mut templates, "a", "b");
        let mut reading = Reading::default();
        let mut follow = |text| {
            let shape = templates.follow(text, &mut String::new(), &mut reading)?;
            assert_eq!((reading.has(4), reading.first(4)), (true, None));
            Some((shape, reading.first(3)?.text.to_owned()))
        };
        assert_eq!(follow(r#"{"a":{"b":1}}"#), Some((ShapeId(7), "1".to_owned())));
        assert_eq!(follow(r#"{"a":{"b":-2.5e1}}"#), Some((ShapeId(7), "-2.5e1".to_owned())));
        for other in [
            r#"{"a":{"b":"1"}}"#,
            r#"{"a":{"b":null}}"#,
            r#"{"a":{"b":01}}"#,
            r#"{"a":{"b":1.}}"#,
            r#"{"a":{"c":1}}"#,
            r#"{"a": {"b":1}}"#,
            r#"{"a":{"b":1}} "#,
            r#"{"a":{"b":1}"#,
            r#"{"a":{"b":"#,
            "",
        ] {
            assert_eq!(follow(other), None, "{other}");
        }
    }

    #[test]
    fn a_text_of_any_length_is_compared_to_its_last_byte() {
        for length in 0..70 {
            let text: Vec<u8> = (0..length).map(|at| b'a' + at % 26).collect();
            let step = Step::new(&text, Then::Value(ValueKind::String, None));
            for behind in [0, 1, 40] {
                let rest = [&text[..], &vec![0; behind]].concat();
                assert!(step.fits(&rest));
                for at in 0..text.len() {
                    let mut other = rest.clone();
                    other[at] ^= 1;
                    assert!(!step.fits(&other));
                    assert!(!step.fits(&rest[..at]));
                }
            }
        }
    }

    #[test]
    fn what_is_remembered_stays_bounded() {
        let mut templates = Templates::default();
        for number in 0..2 * BRANCHES {
            learn(&mut templates, "a", &number.to_string());
        }
        assert_eq!(templates.steps[0].next.len(), BRANCHES);

        let long = "x".repeat(REMEMBERED / BRANCHES * 2);
        let mut templates = Templates::default();
        let mut forgot = false;
        for number in 0..BRANCHES {
            learn(&mut templates, &number.to_string(), &long);
            forgot |= templates.steps.len() == 1;
            assert!(templates.held <= REMEMBERED);
        }
        assert!(forgot);
    }
}
