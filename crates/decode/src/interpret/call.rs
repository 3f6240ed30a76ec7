//! The actions that an event calls, and the values of the event that their decisions show.
//!
//! As with states, a class is the one that the rules give when the event is read.

use super::{Interpreter, intern};
use crate::reading::Reading;
use crate::spec::ActionSpec;
use dataflows::record::{Call, Calls, Cause};
use dataflows::{Descriptor, Position, Record, SignatureId};
use std::collections::HashMap;
use std::sync::Arc;

/// By signature, the actions whose condition holds. Signatures that call none are left out.
#[derive(Default)]
pub(super) struct Called {
    fits: HashMap<SignatureId, Arc<Fit>, foldhash::fast::FixedState>,
}

/// The events of one signature, as actions see them.
struct Fit {
    class: Arc<str>,
    kind: Option<Arc<str>>,
    /// Indexes in the specification. Not empty.
    actions: Vec<usize>,
}

impl Called {
    /// Remembers which actions the events of a signature call.
    pub fn classify(&mut self, signature: SignatureId, descriptor: &Descriptor, class: &str, actions: &[ActionSpec]) {
        let holds = |action: &ActionSpec| {
            let when = action.when.as_ref();
            when.is_none_or(|when| when.holds(&descriptor.answers, class))
        };
        let actions: Vec<usize> = (0..actions.len()).filter(|index| holds(&actions[*index])).collect();
        if !actions.is_empty() {
            let fit = Fit { class: Arc::from(class), kind: descriptor.kind.clone(), actions };
            self.fits.insert(signature, Arc::new(fit));
        }
    }

    /// Returns whether events of a signature call any action.
    pub fn has(&self, signature: SignatureId) -> bool {
        self.fits.contains_key(&signature)
    }

    pub fn forget(&mut self) {
        self.fits.clear();
    }
}

impl Interpreter {
    /// Adds the actions that the event of a record calls, if there are any. `user` is the text of its user. Names of entities
    /// go into `input`.
    pub(super) fn call(
        &mut self,
        reading: &Reading,
        position: Position,
        user: Option<Arc<str>>,
        record: &mut Record,
        input: &mut dataflows::engine::Input,
    ) {
        let Some(fit) = self.called.fits.get(&record.event.signature).map(Arc::clone) else { return };
        let spec = Arc::clone(&self.spec);
        let cause = Arc::new(Cause {
            position,
            id: record.identity.as_ref().map(|identity| identity.id),
            received: self.received,
            time: record.event.at(),
            user,
            class: Arc::clone(&fit.class),
            kind: fit.kind.clone(),
            values: spec.shown.iter().map(|field| self.shown(reading, *field)).collect(),
        });
        let mut calls = Calls::new();
        for index in &fit.actions {
            let ActionSpec { number, entity, .. } = spec.actions[*index];
            // Without a value there is no entity, and not that of the user.
            let entity = entity.map(|field| {
                let text = self.shown(reading, field);
                text.map_or_else(Call::no_entity, |text| self.names.key(&text, input))
            });
            calls.push(Call { action: number, entity, cause: Arc::clone(&cause) });
        }
        record.event.calls = Some(Box::new(calls));
    }

    /// Returns the first value of a field, unless it stands for none.
    pub(super) fn shown(&mut self, reading: &Reading, field: usize) -> Option<Arc<str>> {
        let value = self.field(reading, field).and_then(|slot| reading.first(slot))?;
        let text = (!self.absent.has(value.text)).then(|| self.bounded(value.text))?;
        Some(intern(&mut self.texts, &text))
    }
}
