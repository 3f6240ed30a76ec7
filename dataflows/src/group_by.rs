//! Event or row -> [`Group`](crate::group::Group): the events, or the rows of a view, counted by keys of the configuration.
//!
//! ```text
//! events ── what each adds to which group ──┐
//! changes of views ── resolved ─────────────┼─▶ contribute: sums of this worker ─▶ (exchange) ─▶ group ▣ groups
//! groups of the level below ── resolved ────┘
//! ```
//!
//! A group is a sum. So a row that goes takes out exactly what it has put in, and no order matters. Counts of the changes of a
//! tick go to another worker, and not the changes: a tick that relabels a million sessions sends as many rows as there are
//! groups. A count of groups is of the next level: its stages follow those of the level below, within the same tick.
//!
//! All groups of one count are at one worker, which holds the number of its rows below a limit: see [`Kept`].

mod contribute;
mod kept;

pub use contribute::contribute;
pub use kept::{Kept, cells_hash};

use crate::group::{Added, Definition, GroupKey, GroupSpine, GroupTrace, Over, Totals};
use crate::operators::{Capabilities, Fold, Keyed, Own, Rows, Turn};
use crate::resolve::Row;
use crate::time::Tick;
use differential_dataflow::consolidation::consolidate;
use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::implementations::ValBuilder;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;

/// All counts.
#[derive(Clone, Default)]
pub struct Counting {
    /// By index.
    pub counts: Arc<[Definition]>,
    /// Says what rows of views add. `None`: only events are counted.
    pub rows: Option<Arc<dyn Groups>>,
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts.fmt(f)
    }
}

impl Counting {
    /// Returns the levels of the counts that the graph keeps: those of events, and with [`Counting::rows`] all.
    pub fn levels(&self) -> u8 {
        let kept = self.counts.iter().filter(|count| self.rows.is_some() || count.over == Over::Events);
        kept.map(|count| count.level + 1).max().unwrap_or(0)
    }

    /// Returns whether a count of this level is over `over`.
    fn has(&self, level: u8, over: Over) -> bool {
        self.counts.iter().any(|count| count.level == level && count.over == over)
    }
}

/// Says to which groups a row belongs.
pub trait Groups: Send + Sync {
    /// Gives what a row adds to the groups of counts over its collection.
    fn of(&self, row: &Row<'_>, give: &mut dyn FnMut(Added));
}

/// View: the groups of the counts of one level, of what the workers have summed. All groups of a count are at one worker.
pub fn group<'s>(added: Stream<'s, Tick, Vec<Added>>, counting: &Counting) -> Arranged<'s, GroupTrace> {
    let scope = added.scope();
    let workers = scope.peers();
    let mut operator = Keyed::<Tick, Grouping>::new("Group", scope);
    let (own, groups) = operator.arranged();
    let counts = Arc::clone(&counting.counts);
    let owner = move |(key, _): &Added| counts[usize::from(key.count)].place.worker(workers);
    operator.input(added, Exchange::new(owner), |_, arrivals| {
        arrivals.each(|waiting, _, rows| {
            for (key, totals) in rows.drain(..) {
                waiting.entry(key).or_default().add(&totals, 1);
            }
        });
    });
    let kept = |count: &Definition| Kept::new(count.limit, count.over == Over::Events);
    operator.build(Grouping { own, kept: counting.counts.iter().map(kept).collect(), rows: Rows::default() });
    groups
}

/// One worker's groups.
struct Grouping {
    own: Own<GroupSpine>,
    /// By count.
    kept: Vec<Kept>,
    rows: Rows<GroupKey, Totals, Tick>,
}

impl Fold<Tick> for Grouping {
    type Waiting = BTreeMap<GroupKey, Totals>;

    fn tick(&mut self, tick: &Tick, waiting: &mut Self::Waiting, _: &Capabilities<Tick>) -> Turn {
        let mut changes = Vec::new();
        // What is beyond the limit comes last: a snapshot brings it back behind the groups within.
        let (within, beyond): (Vec<_>, Vec<_>) =
            std::mem::take(waiting).into_iter().partition(|(key, _)| key.cells.is_some());
        for (GroupKey { count, cells }, totals) in within.into_iter().chain(beyond) {
            self.kept[usize::from(count)].add(cells, &totals, &mut |cells, totals, diff| {
                changes.push(((GroupKey { count, cells }, totals), diff));
            });
        }
        consolidate(&mut changes);
        let mut builder = ValBuilder::default();
        for ((key, totals), diff) in changes {
            self.rows.extend(&mut builder, [((key, totals), *tick, diff)]);
        }
        self.own.write(self.rows.finish(builder).map(Rc::new));
        Turn::Done
    }
}
