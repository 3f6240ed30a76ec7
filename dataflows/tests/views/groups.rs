//! Counts by keys, over all that can be counted: what the graph gets of them, and what they have to be.

use super::seen::Seen;
use super::steps::Raw;
use dataflows::group::{Added, Cell, Cells, Definition, GroupKey, Over, Sum, Totals};
use dataflows::group_by::{Groups, cells_hash};
use dataflows::record::Counted;
use dataflows::resolve::Row;
use dataflows::shapes::ShapeTotals;
use dataflows::{Decimal, UserKey};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is counted, at which level, and how many groups have rows of their own.
const COUNTS: [(Over, u8, usize); 10] = [
    (Over::Events, 0, 3),
    (Over::Sessions, 0, 2),
    (Over::Users, 0, 100),
    (Over::Counts, 0, 100),
    (Over::Shapes, 0, 1),
    (Over::Closings, 0, 2),
    (Over::Groups(1), 1, 100),
    (Over::Groups(6), 2, 100),
    (Over::Groups(0), 1, 100),
    (Over::Sessions, 0, 2),
];

/// Returns all counts.
pub fn counts() -> Arc<[Definition]> {
    let definition = |(number, (over, level, limit)): (usize, (Over, u8, usize))| Definition {
        over,
        level,
        limit,
        place: UserKey::of(&format!("count {number}")),
    };
    COUNTS.into_iter().enumerate().map(definition).collect()
}

fn text(text: impl Into<Arc<str>>) -> Cell {
    Cell::Text(text.into())
}

fn added(count: u16, cells: impl IntoIterator<Item = Cell>, sum: Option<i128>) -> Added {
    let sum = sum.map(|sum| Sum { sum: Decimal::from_millionths(sum), numbers: 1, others: 0 });
    let totals = Totals { rows: 1, sums: sum.into_iter().collect() };
    (GroupKey { count, cells: Some(cells.into_iter().collect()) }, totals)
}

/// Returns what an event adds: to a group of its type and page, its price.
fn of_event(raw: &Raw) -> Added {
    let kind = if raw.kind < 3 { text(format!("kind {}", raw.kind)) } else { Cell::Null };
    let page = raw.page.map_or(Cell::Null, |page| Cell::Integer(page.into()));
    added(0, [kind, page], Some(raw.price.unwrap_or(0).into()))
}

/// Returns what an event adds, as the graph gets it.
pub fn counted(raw: &Raw) -> Option<Box<Counted>> {
    // Those of one type are not counted.
    (raw.kind != 2).then(|| Box::new([of_event(raw)].into_iter().collect()))
}

fn of_shape(totals: &ShapeTotals) -> Added {
    let events: u64 = totals.classes.iter().map(|class| class.events).sum();
    added(4, [], Some(events.into()))
}

fn of_group(key: &GroupKey, totals: &Totals) -> Option<Added> {
    let cells = key.cells.as_deref();
    match key.count {
        0 => Some(added(8, [cells.map_or(Cell::Null, |cells| cells[0].clone())], Some(totals.rows.into()))),
        1 => Some(added(6, [Cell::Integer(totals.rows)], None)),
        6 => Some(added(7, [], Some(totals.rows.into()))),
        _ => None,
    }
}

pub struct Rows;

impl Groups for Rows {
    fn of(&self, row: &Row<'_>, give: &mut dyn FnMut(Added)) {
        match row {
            Row::Session(session) => {
                give(added(1, [text(session.first_class)], Some(session.sums[0].sum.millionths())));
                give(added(9, [text(session.user)], None));
            }
            Row::User(_, totals) => give(added(2, [Cell::Integer(totals.sessions as i64)], None)),
            Row::Count((class, _), events) => give(added(3, [text(&**class)], Some((*events).into()))),
            Row::Shape(_, totals) => give(of_shape(totals)),
            Row::Closing(_, closing) => give(added(5, [Cell::Integer(closing.events as i64)], None)),
            Row::Group(key, totals) => of_group(key, totals).into_iter().for_each(give),
            row => panic!("{row:?} is not counted"),
        }
    }
}

/// The rows of all counts, from the events that count and from what is seen of the other views.
pub fn expected(events: &[Raw], seen: &Seen) -> Vec<(GroupKey, Totals)> {
    let mut all: Vec<Added> = events.iter().filter(|raw| raw.kind != 2).map(of_event).collect();
    for session in seen.resolved.sessions.keys() {
        all.push(added(1, [text(&*session.first_class)], Some(session.price.sum.millionths())));
        all.push(added(9, [text(&*session.user)], None));
    }
    all.extend(seen.users.keys().map(|(_, totals)| added(2, [Cell::Integer(totals.sessions as i64)], None)));
    all.extend(seen.counts.keys().map(|(class, _, events)| added(3, [text(&**class)], Some((*events).into()))));
    all.extend(seen.shapes.keys().map(|(_, totals)| of_shape(totals)));
    all.extend(seen.closings.keys().map(|(_, _, _, events)| added(5, [Cell::Integer(*events as i64)], None)));
    let mut rows = Vec::new();
    // No count is over one behind it but the count 8, over the first one.
    for (count, (_, _, limit)) in (0..).zip(COUNTS) {
        let own = of_count(count, limit, &all);
        all.extend(own.iter().filter_map(|(key, totals)| of_group(key, totals)));
        rows.extend(own);
    }
    rows
}

/// Sums what is added to one count: those groups with the least hashes have rows, and one row has the others.
fn of_count(count: u16, limit: usize, all: &[Added]) -> Vec<(GroupKey, Totals)> {
    let mut groups = BTreeMap::<(u64, Cells), Vec<&Totals>>::new();
    for (key, totals) in all.iter().filter(|(key, _)| key.count == count) {
        let cells = Arc::clone(key.cells.as_ref().unwrap());
        groups.entry((cells_hash(&cells), cells)).or_default().push(totals);
    }
    let mut rows = BTreeMap::<Option<Cells>, Vec<&Totals>>::new();
    for (at, ((_, cells), totals)) in groups.into_iter().enumerate() {
        rows.entry(Some(cells).filter(|_| at < limit)).or_default().extend(totals);
    }
    let sum = |totals: Vec<&Totals>| Totals {
        rows: totals.len() as i64,
        sums: (0..totals[0].sums.len())
            .map(|at| Sum {
                sum: Decimal::from_millionths(totals.iter().map(|one| one.sums[at].sum.millionths()).sum()),
                numbers: totals.len() as i64,
                others: 0,
            })
            .collect(),
    };
    rows.into_iter().map(|(cells, totals)| (GroupKey { count, cells }, sum(totals))).collect()
}

#[test]
fn the_groups_of_a_few_rows_are_as_counted_by_hand() {
    let raw = |kind, price| Raw { user: Some(0), time: Some(0), kind, id: None, price, page: None };
    let mut seen = Seen::default();
    for (hour, events) in [(None, 4), (Some(0), 5)] {
        seen.counts.insert(("view".into(), hour, events), 1);
    }
    let rows = expected(&[raw(0, Some(5)), raw(0, Some(6)), raw(2, Some(7)), raw(3, None)], &seen);
    let found: Vec<String> = rows.iter().map(|(key, totals)| format!("{} {}", key.count, totals.rows)).collect();
    // Two groups of events, then one of classes; the count 8 is over both of the first.
    assert_eq!(found, ["0 1", "0 2", "3 2", "8 1", "8 1"]);
    assert!(rows.iter().any(|(key, totals)| key.count == 3 && totals.sums[0].sum.millionths() == 9));
    assert!(rows.iter().any(|(key, totals)| key.count == 0 && totals.sums[0].sum.millionths() == 11));
}
