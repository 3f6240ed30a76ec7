//! `compensate` of an action: whether a decision is taken back when its cause is gone.

use super::super::typed::Action;
use super::Checking;
use super::timing::PLACED;
use crate::plan::{Edge, On, Timing};

impl Checking<'_, '_> {
    pub(super) fn compensate(&mut self, typed: &Action, on: &On, timing: Timing) -> bool {
        let Some(asked) = typed.compensate.as_ref().filter(|asked| *asked.get_ref()) else { return false };
        let (message, help) = match on {
            On::Events { .. } => (
                "an event is not taken back, and neither is a decision on it".to_owned(),
                "leave `compensate` out, or decide on a view, such as on = \"sessions\"",
            ),
            On::Rows { collection, .. } if !collection.is_view() => (
                format!("a row of `{}` is not taken back, and neither is a decision on it", collection.name()),
                "leave `compensate` out, or decide on a view, such as on = \"sessions\"",
            ),
            On::Rows { collection, .. } if !PLACED.contains(collection) => (
                format!("an action on `{}` does not remember its decisions", collection.name()),
                "leave `compensate` out, or write on = \"sessions\", \"users\", \"closings\" or \"activities\"",
            ),
            On::Rows { edge, .. } if *edge != Edge::Enter && matches!(timing, Timing::Now | Timing::Every(_)) => (
                format!("that a row does `{}` is not taken back", edge.name()),
                "leave `compensate` out, or write edge = \"enter\": its decision holds while the row fits",
            ),
            On::Rows { .. } => return true,
        };
        self.problems.push(asked.span(), message, help);
        false
    }
}
