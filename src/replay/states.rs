//! The tables of states, written by each worker when all is done, and what looks wrong about them.

use super::notice::Notice;
use crate::plan::{Plan, StatePlan};
use crate::tables::{self, Table, TableWriter, state_table, state_values};
use dataflows::EventTime;
use dataflows::Tick;
use dataflows::state::{Counts, Fold, Read};
use dataflows::views::Views;
use indicatif::HumanCount;

/// One worker's share of a state.
pub(super) struct Share {
    pub part: tables::Part,
    pub rows: u64,
    counts: Counts,
}

/// Writes the rows of each state as of `now`.
pub(super) fn write(
    views: &mut Views,
    plan: &Plan,
    now: EventTime,
    writer: impl Fn(&Table) -> Result<TableWriter, tables::Error>,
) -> Result<Vec<Share>, tables::Error> {
    let mut shares = Vec::new();
    for ((at, state), counts) in plan.states.iter().enumerate().zip(views.state_counts()) {
        let mut writer = writer(&state_table(&state.schema))?;
        let (mut rows, mut failed) = (0, None);
        if let Some(mut scan) = views.scan_state(at, Tick::MAX, now) {
            let mut row = |_, name: &str, values: &[dataflows::state::Value<'_>]| {
                rows += 1;
                if failed.is_none() {
                    failed = writer.write(state_values(name, values)).err();
                }
            };
            while scan.step(&mut row).is_some() {}
        }
        failed.map_or(Ok(()), Err)?;
        shares.push(Share { part: writer.finish()?, rows, counts });
    }
    Ok(shares)
}

/// Returns a notice for each column that took nothing, and for each that met values that are no numbers.
pub(super) fn notices<'s>(plan: &Plan, shares: impl Iterator<Item = &'s [Share]> + Clone) -> Vec<Notice> {
    let mut notices = Vec::new();
    for (at, state) in plan.states.iter().enumerate() {
        for (column, read) in state.schema.columns.iter().zip(&state.definition.columns) {
            let (Read::Whole(aggregate) | Read::Top { aggregate, .. }) = *read;
            let aggregate = usize::from(aggregate);
            let sum =
                |of: fn(&Counts) -> &Vec<u64>| shares.clone().map(|all| of(&all[at].counts)[aggregate]).sum::<u64>();
            let (taken, not_numbers) = (sum(|counts| &counts.taken), sum(|counts| &counts.not_numbers));
            let named = format!("the column `{}` of {}", column.name, state.schema.collection_name());
            if taken == 0 {
                let message = format!("{named} took nothing: {}", why(plan, state, aggregate));
                notices.push(Notice { code: "state_column_without_events", message });
            } else if not_numbers > 0 && state.definition.aggregates[aggregate].fold != Fold::Sum {
                let values = HumanCount(not_numbers);
                let message = format!("{named} left out {values} values that are no numbers");
                notices.push(Notice { code: "state_not_numbers", message });
            }
        }
    }
    notices
}

/// Returns what a column asks for.
fn why(plan: &Plan, state: &StatePlan, aggregate: usize) -> String {
    let input = &state.inputs[aggregate];
    let name = |field: usize| format!("`{}`", plan.fields[field].name);
    let entity = state.per.map_or_else(|| "a user".to_owned(), name);
    let mut asked = vec![entity];
    asked.extend(input.take.field().map(name));
    let when = if input.when.is_some() { " and fits its `when`" } else { "" };
    format!("no event with a time has {}{when}", asked.join(" and "))
}
