//! What the summary of a replay says about sequences.

use super::notice::Notice;
use crate::collections::funnels::BUCKETS;
use crate::plan::{Plan, SequencePlan};
use crate::text::nearest::nearest;
use dataflows::sequence::{Counts, FunnelKey, State};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The funnel of one sequence, over all hours and breakdowns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunnelOf {
    pub sequence: String,
    /// Attempts that were broken off are in none of them.
    pub steps: Vec<StepOf>,
    pub matched: u64,
    pub open: u64,
    pub expired: u64,
    pub broken: u64,
    /// Half of the matches took at most so long: a bucket of `took`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_within: Option<&'static str>,
}

/// One step of a funnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepOf {
    /// With `?` behind the name of an optional one.
    pub step: String,
    pub reached: u64,
}

/// Returns the funnel of each sequence.
pub fn funnels(sequences: &[SequencePlan], counts: &BTreeMap<FunnelKey, Counts>) -> Vec<FunnelOf> {
    let of = |(index, plan): (usize, &SequencePlan)| {
        let mut all = Counts::default();
        let rows = counts.iter().filter(|(key, _)| usize::from(key.sequence) == index);
        rows.for_each(|(_, counts)| all.merge(counts));
        let required = plan.definition.required();
        let steps =
            plan.schema().steps.into_iter().zip(all.reached).enumerate().map(|(step, (name, reached))| StepOf {
                step: if required.contains(&(step as u8)) { name } else { format!("{name}?") },
                reached: reached.unsigned_abs(),
            });
        let mut below = 0;
        let median = all.took.iter().position(|matches| {
            below += matches;
            2 * below >= all.matched() && below > 0
        });
        let state = |state: State| all.states[state as usize].unsigned_abs();
        FunnelOf {
            sequence: plan.name.clone(),
            steps: steps.collect(),
            matched: state(State::Matched),
            open: state(State::Open),
            expired: state(State::Expired),
            broken: state(State::Broken),
            median_within: median.map(|bucket| BUCKETS[bucket]),
        }
    };
    sequences.iter().enumerate().map(of).collect()
}

/// Returns what looks wrong: steps of classes that no event has, and events without the key of a sequence.
pub fn notices(plan: &Plan, classes: &BTreeMap<String, u64>, keyless: &BTreeMap<u16, u64>) -> Vec<Notice> {
    let mut notices = Vec::new();
    for (index, sequence) in (0..).zip(&plan.sequences) {
        let name = &sequence.name;
        let named: BTreeSet<&String> = sequence.spec.steps.iter().chain(&sequence.spec.excepts).collect();
        for class in named.into_iter().filter(|class| !classes.contains_key(*class)) {
            let near = nearest(class, classes.keys().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let message = format!("sequence `{name}`: no event has the class `{class}`{near}");
            notices.push(Notice { code: "sequence_step", message });
        }
        if let (Some(events), Some(per)) = (keyless.get(&index), sequence.spec.per) {
            let field = &plan.fields[per].name;
            let message =
                format!("sequence `{name}`: {events} events have no `{field}`, and are in none of its activities");
            notices.push(Notice { code: "sequence_key", message });
        }
    }
    notices
}
