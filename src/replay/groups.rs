//! The groups of counts at the end of a replay. Those of events come from the graph. Those of views follow from their rows: each
//! worker sums what its own add, and the sums are joined when all are done.

use super::notice::Notice;
use crate::plan::{CountPlan, Counted, Plan, RowGroups};
use dataflows::close::{Closing, deadline};
use dataflows::group::{Cells, GroupKey, Over, Totals};
use dataflows::group_by::{Groups, Kept};
use dataflows::resolve::{self, Row};
use dataflows::sequence::{Counts, FunnelKey};
use dataflows::views::Views;
use dataflows::{EventTime, Tick};
use indicatif::HumanCount;
use std::collections::BTreeMap;

/// What rows add, by group.
#[derive(Default)]
pub(super) struct Sums(BTreeMap<GroupKey, Totals>);

impl Sums {
    fn add(&mut self, groups: &RowGroups, row: &Row<'_>) {
        groups.of(row, &mut |(key, totals)| self.0.entry(key).or_default().add(&totals, 1));
    }
}

/// Returns what the rows of this worker add, as of `now`, and the groups of events that are at it.
pub(super) fn sums(views: &mut Views, plan: &Plan, now: EventTime) -> Sums {
    let mut sums = Sums::default();
    for (count, _) in (0..).zip(&plan.counts).filter(|(_, count)| count.is_of_events()) {
        views.groups_before(count, Tick::MAX, &mut |key, totals| _ = sums.0.insert(key.clone(), totals.clone()));
    }
    let has = |over: Over| plan.counts.iter().any(|count| count.over() == over);
    let groups = plan.row_groups();
    if has(Over::Sessions) || has(Over::Users) {
        resolve::rows(views, &mut |row| {
            let counts = match row {
                Row::Session(_) => has(Over::Sessions),
                Row::User(..) => has(Over::Users),
                _ => false,
            };
            if counts {
                sums.add(&groups, &row);
            }
        });
    }
    if has(Over::Closings) {
        let mut scan = views.scan(Tick::MAX);
        while scan
            .step(&mut |user, name, session| {
                if deadline(session.until(), plan.sessions.gap) <= now {
                    sums.add(&groups, &Row::Closing(name, &Closing::of(user, session)));
                }
            })
            .is_some()
        {}
    }
    if has(Over::Counts) {
        views.counts(&mut |class, hour, events| sums.add(&groups, &Row::Count(&(class.clone(), hour), events)));
    }
    if has(Over::Shapes) {
        views.shapes(&mut |shape, totals| sums.add(&groups, &Row::Shape(shape, totals)));
    }
    if has(Over::Activities) {
        let sequences = plan.sequence_schemas();
        views.activities(&mut |track, name, activity| {
            let activity = activity.clone().at_time(now, &sequences[usize::from(track.sequence)].definition);
            sums.add(&groups, &Row::Activity(track, name, &activity));
        });
    }
    sums
}

/// Returns the rows of each count, of what all workers have summed.
pub(super) fn rows(
    plan: &Plan,
    shares: impl IntoIterator<Item = Sums>,
    funnels: &BTreeMap<FunnelKey, Counts>,
) -> Vec<Vec<(Option<Cells>, Totals)>> {
    let groups = plan.row_groups();
    let mut all = Sums::default();
    for Sums(share) in shares {
        share.into_iter().for_each(|(key, totals)| all.0.entry(key).or_default().add(&totals, 1));
    }
    if plan.counts.iter().any(|count| count.over() == Over::Funnels) {
        funnels.iter().for_each(|(key, counts)| all.add(&groups, &Row::Funnel(key, counts)));
    }
    let mut order: Vec<usize> = (0..plan.counts.len()).collect();
    order.sort_by_key(|index| plan.level(&plan.counts[*index]));
    let mut rows = vec![Vec::new(); plan.counts.len()];
    for index in order {
        let count = &plan.counts[index];
        // A file with more counts than that does not fit into memory.
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        let own = GroupKey { count: number, cells: None }..GroupKey { count: number + 1, cells: None };
        let own: Vec<(GroupKey, Totals)> =
            all.0.range(own).map(|(key, totals)| (key.clone(), totals.clone())).collect();
        let mut kept = Kept::new(count.limit, false);
        let (within, beyond): (Vec<_>, Vec<_>) = own.into_iter().partition(|(key, _)| key.cells.is_some());
        for (GroupKey { cells, .. }, totals) in within.into_iter().chain(beyond) {
            kept.add(cells, &totals, &mut |_, _, _| {});
        }
        for (cells, totals) in kept.rows() {
            let is_below =
                |count: &CountPlan| matches!(count.of, Counted::Rows { over: Over::Groups(of), .. } if of == number);
            if plan.counts.iter().any(is_below) {
                let key = GroupKey { count: number, cells: cells.clone() };
                all.add(&groups, &Row::Group(&key, &totals));
            }
            rows[index].push((cells, totals));
        }
    }
    rows
}

/// Returns what looks wrong about a count.
pub(super) fn notice(count: &CountPlan, rows: &[(Option<Cells>, Totals)]) -> Option<Notice> {
    let name = count.schema.collection_name();
    match rows.last() {
        None => {
            let message = format!("{name} has no rows: nothing that it counts is there, or nothing fits its `when`");
            Some(Notice { code: "count_without_rows", message })
        }
        Some((None, totals)) => {
            let message = format!(
                "{name} has more groups than its limit of {}: the row with `overflow` counts {} of those beyond. Raise `limit`, \
                 or count by something with fewer values",
                HumanCount(count.limit as u64),
                HumanCount(totals.rows.unsigned_abs()),
            );
            Some(Notice { code: "count_overflow", message })
        }
        Some((Some(_), _)) => None,
    }
}
