//! The plans of all times of a run: those that its start has found, and those of rules that were applied since.

use crate::collections::label_changes::Causes;
use crate::plan::Plan;
use crate::queue::control::Control;
use headwater_log::partition::Reader;
use std::ops::Range;
use std::sync::Arc;

/// Plans, each with the offset in the control partition from which it holds.
pub struct Timeline {
    plans: Vec<(u64, Arc<Plan>)>,
    control: Option<Reader>,
    /// Records before it are in the plans.
    read: u64,
}

impl Timeline {
    /// `plans`: those of all definitions that the start has found. `control` reads what comes later.
    pub fn new(plans: &[(u64, Arc<Plan>)], control: Option<Reader>) -> Timeline {
        let read = plans.last().map_or(0, |(offset, _)| offset + 1);
        Timeline { plans: plans.to_vec(), control, read }
    }

    /// Takes the rules and labels that the control partition has before `control`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn reach(&mut self, control: u64) -> Result<(), String> {
        let Some(reader) = self.control.as_mut().filter(|_| control > self.read) else { return Ok(()) };
        let (plans, mut wrong) = (&mut self.plans, None);
        let read = reader.read(self.read, control, |record| match Control::decode(record.payload) {
            Ok(control @ (Control::Rules { .. } | Control::Label { .. })) => {
                let Some((_, last)) = plans.last() else { return };
                let mut plan = Plan::clone(last);
                match control {
                    Control::Rules { applied } => plan.rules = applied.rules,
                    Control::Label { label } => label.apply(&mut plan.labels),
                    _ => {}
                }
                plans.push((record.offset, Arc::new(plan)));
            }
            Ok(_) => {}
            Err(why) => wrong = Some(why),
        });
        read.map_err(|error| error.to_string())?;
        wrong.map_or(Ok(()), Err)?;
        self.read = control;
        Ok(())
    }

    /// Returns what people have changed by these records of the control partition.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn causes(&mut self, control: &Range<u64>) -> Result<Causes, String> {
        let mut causes = Causes::default();
        let Some(reader) = self.control.as_mut().filter(|_| !control.is_empty()) else { return Ok(causes) };
        let read = reader.read(control.start, control.end, |record| match Control::decode(record.payload) {
            Ok(Control::Rules { applied }) => causes.rules = Some(applied.version),
            Ok(Control::Label { .. }) => causes.label = true,
            _ => {}
        });
        read.map_err(|error| error.to_string())?;
        Ok(causes)
    }

    /// Returns all plans that have been reached.
    pub fn plans(&self) -> &[(u64, Arc<Plan>)] {
        &self.plans
    }

    /// Returns the plan that is in force when the control partition has been taken up to `control`, as far as it has been
    /// reached.
    pub fn at(&self, control: u64) -> Option<&Arc<Plan>> {
        let after = self.plans.partition_point(|(offset, _)| *offset < control);
        after.checked_sub(1).map(|index| &self.plans[index].1)
    }
}
