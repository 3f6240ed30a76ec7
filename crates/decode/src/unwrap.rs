//! Events that lie as a text in a field of a JSON object, as collectors wrap them: Docker's `{"log":"…\n","stream":…}`.
//! The text is read as JSON or as a line of an access log. The event's own values come first: what lies
//! around it counts where it has none.

use crate::embedded;
use crate::json::JsonReader;
use crate::path::Path;
use crate::path_set::PathSet;
use crate::reading::{Reading, Slot};
use crate::spec::Limits;
use dataflows::ValueKind;
use std::sync::Arc;

/// Reads the objects around events.
#[derive(Debug)]
pub struct Unwrap {
    reader: JsonReader,
    slot: Slot,
    /// Slots below it are wanted of events too.
    wanted: Slot,
    scratch: Reading,
}

/// What is in the object around an event.
pub struct Wrapped {
    /// The event.
    pub text: String,
    values: Vec<(Slot, ValueKind, String)>,
}

impl Unwrap {
    /// `path`: where the text is. `paths`: those that are wanted of the objects too.
    pub fn new(path: &Path, paths: &PathSet, limits: Limits) -> Unwrap {
        let wanted = paths.len() as Slot;
        let mut paths = paths.clone();
        let slot = paths.add(path);
        Unwrap { reader: JsonReader::new(Arc::new(paths), None, limits), slot, wanted, scratch: Reading::default() }
    }

    /// Returns what an object wraps; `None` if it is no object, or has no text there.
    pub fn read(&mut self, object: &[u8]) -> Option<Wrapped> {
        let mut found = None;
        let (slot, wanted) = (self.slot, self.wanted);
        self.reader.read(object, &mut self.scratch, |_, read| {
            let Ok(reading) = read else { return };
            let Some(value) = reading.first(slot).filter(|value| value.kind == ValueKind::String) else { return };
            let values = (0..reading.len()).map(|index| reading.nth(index)).filter(|(slot, _)| *slot < wanted);
            let values = values.map(|(slot, value)| (slot, value.kind, value.text.to_owned())).collect();
            found = Some(Wrapped { text: embedded::plain(value.text).into_owned(), values });
        });
        found
    }
}

impl Wrapped {
    /// Returns the reading of the event together with what it lacks.
    pub fn around(&self, event: &Reading) -> Reading {
        let mut both = event.clone();
        for (slot, kind, text) in &self.values {
            if !event.has(*slot) {
                both.push_of(*slot, *kind, text, true);
            }
        }
        both
    }
}
