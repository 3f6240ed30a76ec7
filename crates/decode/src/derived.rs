//! Values that one pass over a payload does not give: those of paths with `[key=x]`, `{}` or transforms
//! ([`crate::path`]). They are derived from what a reading holds, or from the document itself, and join it.

mod document;

use crate::path::{Path, Step};
use crate::reading::{Reading, Slot};
use crate::transform::Transform;
use dataflows::ValueKind;
pub use document::Document;
use std::borrow::Cow;

/// The paths of a set that are derived.
#[derive(Clone, Debug, Default)]
pub struct Derived {
    /// By slot: the paths that begin with its values.
    of_values: Vec<Vec<DerivedPath>>,
    /// Paths that begin at the event itself.
    of_document: Vec<DerivedPath>,
}

#[derive(Clone, Debug)]
struct DerivedPath {
    slot: Slot,
    steps: Vec<Step>,
    transforms: Vec<Transform>,
}

/// A value that was derived.
enum Found {
    /// A scalar, and whether it is inherited.
    Text(ValueKind, bool, String),
    Container,
}

impl Derived {
    /// Adds a path; `base` is the slot of the part that one pass finds, or `None` for the event itself.
    pub fn add(&mut self, slot: Slot, base: Option<Slot>, path: &Path) {
        let (_, steps) = path.parts();
        let path = DerivedPath { slot, steps: steps.to_vec(), transforms: path.transforms().to_vec() };
        match base {
            Some(base) => {
                let length = self.of_values.len().max(base as usize + 1);
                self.of_values.resize(length, Vec::new());
                self.of_values[base as usize].push(path);
            }
            None => self.of_document.push(path),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.of_values.is_empty() && self.of_document.is_empty()
    }

    /// Adds what can be derived to a reading. `document` is the event if it is JSON, and `around` the payload that it is
    /// an element of: what the element lacks is inherited.
    #[inline]
    pub fn fill(&self, document: Option<&[u8]>, around: Option<&[u8]>, reading: &mut Reading) {
        for index in 0..reading.len() {
            if let Some(paths) = self.of_values.get(reading.slot_of(index) as usize)
                && !paths.is_empty()
            {
                for path in paths {
                    path.add_from_value(index, reading);
                }
            }
        }
        if !self.of_document.is_empty() {
            self.fill_from_document(document, around, reading);
        }
    }

    fn fill_from_document(&self, document: Option<&[u8]>, around: Option<&[u8]>, reading: &mut Reading) {
        let parse = |bytes: Option<&[u8]>| Document::parse(std::str::from_utf8(bytes?).ok()?);
        let (document, around) = (parse(document), parse(around));
        for path in &self.of_document {
            let mut found = Vec::new();
            path.walk(document.as_ref(), &path.steps, false, &mut found);
            if found.is_empty() {
                path.walk(around.as_ref(), &path.steps, true, &mut found);
            }
            path.add(found, reading);
        }
    }
}

impl DerivedPath {
    /// Adds what follows from the value of an index.
    fn add_from_value(&self, index: usize, reading: &mut Reading) {
        let (_, value) = reading.nth(index);
        let inherited = reading.is_inherited(index);
        let mut found = Vec::new();
        if self.steps.is_empty() {
            match self.transform(Cow::Borrowed(value.text)) {
                Some(Cow::Borrowed(text)) if text.len() == value.text.len() => {
                    return reading.push_same(self.slot, index);
                }
                Some(text) => found.push(Found::Text(ValueKind::String, inherited, text.into_owned())),
                None => {}
            }
        } else {
            // The first step is `{}`, which parsing the text is.
            let document = Document::parse(value.text.trim_ascii());
            self.walk(document.as_ref(), &self.steps[1..], inherited, &mut found);
        }
        self.add(found, reading);
    }

    fn add(&self, found: Vec<Found>, reading: &mut Reading) {
        for one in found {
            match one {
                Found::Text(kind, inherited, text) => reading.push_of(self.slot, kind, &text, inherited),
                Found::Container => reading.contain(self.slot),
            }
        }
    }

    fn walk(&self, document: Option<&Document>, steps: &[Step], inherited: bool, found: &mut Vec<Found>) {
        let Some(document) = document else { return };
        document.walk(steps, &mut |value| match value {
            Document::Scalar(kind, text) => {
                let kept = if self.transforms.is_empty() { *kind } else { ValueKind::String };
                if *kind != ValueKind::Null
                    && let Some(text) = self.transform(Cow::Borrowed(text))
                {
                    found.push(Found::Text(kept, inherited, text.into_owned()));
                }
            }
            Document::Object(_) | Document::Array(_) => found.push(Found::Container),
        });
    }

    fn transform<'t>(&self, text: Cow<'t, str>) -> Option<Cow<'t, str>> {
        self.transforms.iter().try_fold(text, |text, transform| transform.apply(text))
    }
}

#[cfg(test)]
mod tests;
