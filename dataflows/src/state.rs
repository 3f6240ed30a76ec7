//! Event -> state: what is known of an entity, as counts, sums and other folds over its whole history or a sliding window.
//!
//! An entity is a user, or the value of a field such as a package. A row is a function of the set of its items, which are
//! the parts of events that a [`Definition`] asks for, and of the time of its reader. No order of arrival matters.
//!
//! Rows are made when they are read. What a worker keeps is partial results by hop ([`Window`]): a late item changes its hop,
//! and a hop that has left the window is skipped by readers. So the clock costs nothing, whatever the number of entities.
//! Only of a state that is followed, rows change with each hop that expires: see [`Follow`].
//!
//! A deletion comes as a [`Replacement`] that brings the items that remain, as that of a session does: extremes and values
//! cannot be subtracted.
//!
//! ```text
//! items ────────┐
//! replacements ─┼─▶ accumulate ── changes of a tick ─▶ Table ◀── rows as of a tick, snapshots
//! restored ─────┘        └─ rejections
//! ```

mod cells;
mod decay;
mod follow;
mod scan;
mod table;
mod window;

pub use cells::Entity;
pub use decay::largest as largest_decaying;
pub use follow::Follow;
pub use scan::StateScan;
use table::History;
pub use table::{Changed, Counts, Table};
pub use window::Window;

pub use crate::record::{Contribution, Given, Item};

use crate::decimal::Decimal;
use crate::identity::UserKey;
use crate::operators::{self, Capabilities, Keyed, Output, Turn};
use crate::record::Measure;
use crate::time::{EventTime, Tick, TotalTime};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;

/// All states, and who reads them.
#[derive(Clone, Debug, Default)]
pub struct States {
    /// What is kept.
    pub definitions: Vec<Arc<Definition>>,
    /// Of a graph without a clock, whose end alone is read: the time of its reader. `None`: the latest event time.
    pub now: Option<EventTime>,
}

/// What is kept of each entity, and how it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// What is kept. At most 256.
    pub aggregates: Vec<Aggregate>,
    /// The columns of a row.
    pub columns: Vec<Read>,
}

/// A fold over the items of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// What is done with them.
    pub fold: Fold,
    /// `None`: over the whole history.
    pub window: Option<Window>,
}

/// What is kept of the values of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Their number.
    Count,
    /// Their exact sum.
    Sum,
    /// The first one: by event time, then by [`crate::record::Rank`], then the least text.
    First,
    /// The last one: by event time, then by [`crate::record::Rank`], then the greatest text.
    Last,
    /// The least number.
    Min,
    /// The greatest number.
    Max,
    /// How often each came, of at most `cap` of them in each hop.
    Values {
        /// At least 1.
        cap: u32,
    },
    /// Their sum, each halved with each `half_life` of its age.
    Decay {
        /// Microseconds, at least 1.
        half_life: i64,
    },
}

/// How a column reads an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// As it is; of [`Fold::Values`] the number of different values, up to the cap.
    Whole(u8),
    /// Of [`Fold::Values`]: those that came most often.
    Top {
        /// Index of the aggregate.
        aggregate: u8,
        /// How many.
        k: u32,
    },
}

impl Read {
    fn aggregate(self) -> u8 {
        match self {
            Read::Whole(aggregate) | Read::Top { aggregate, .. } => aggregate,
        }
    }
}

/// The value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'e> {
    /// Of [`Fold::Count`].
    Count(u64),
    /// Of [`Fold::Sum`].
    Sum(Measure),
    /// Of [`Fold::Min`], [`Fold::Max`] and [`Fold::Decay`]; `None`: there is no value.
    Number(Option<Decimal>),
    /// Of [`Fold::First`] and [`Fold::Last`]; `None`: there is no value.
    Text(Option<&'e str>),
    /// The number of different values.
    Distinct {
        /// At most the cap.
        count: u64,
        /// There are more than the cap.
        over: bool,
    },
    /// The values that came most often, the most frequent first; of equal numbers, the least text comes first.
    Top {
        /// With their numbers.
        values: Vec<(&'e str, u64)>,
        /// There are more different values than the cap: some that are not kept may have come as often.
        over: bool,
    },
}

/// An entity to be made again of what remains of it: how a deletion or a correction enters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Replacement {
    /// Index of the state.
    pub state: u16,
    /// The entity.
    pub entity: UserKey,
    /// The items that it was seen to have. If there are more or fewer now, the replacement is rejected. `None`: whatever it
    /// has.
    pub items: Option<u64>,
    /// The items that remain.
    pub survivors: Vec<Item>,
}

impl Replacement {
    /// Takes away all that an entity has, whatever it is.
    pub fn of_all(state: u16, entity: UserKey) -> Replacement {
        Replacement { state, entity, items: None, survivors: Vec::new() }
    }
}

/// An entity that a snapshot brings back.
pub type RestoredEntity = (u16, UserKey, Entity);

/// A table, shared between the operator that writes it and its readers at the same worker.
pub type SharedTable<T = Tick> = Rc<RefCell<Table<T>>>;

/// What enters [`accumulate`].
pub struct Inputs<'s, T: TotalTime = Tick> {
    /// Parts of events. One without an entity is dropped.
    pub contributions: Stream<'s, T, Vec<Contribution>>,
    /// Deletions and corrections.
    pub replacements: Stream<'s, T, Vec<Replacement>>,
    /// The entities of a snapshot, at a tick before all others.
    pub restored: Stream<'s, T, Vec<RestoredEntity>>,
}

/// What [`accumulate`] gives.
pub struct Accumulated<'s, T: TotalTime = Tick> {
    /// By state: this worker's entities. An entity is at the worker that owns its key.
    pub tables: Vec<SharedTable<T>>,
    /// Journal of the replacements that did not apply. Its frontier says how far the tables are written.
    pub rejections: Stream<'s, T, Vec<(Replacement, T)>>,
}

/// Keeps the entities of all states. With a `history`, tables can be read as of ticks that have not been compacted away
/// ([`Table::compact`]). Without one, they are read once, when all is done.
pub fn accumulate<'s, T: TotalTime>(inputs: Inputs<'s, T>, states: &States, history: bool) -> Accumulated<'s, T> {
    let scope = inputs.contributions.scope();
    let (worker, workers) = (scope.index(), scope.peers());
    let mut operator = Keyed::<T, Accumulate<T>>::new("Accumulate", scope);
    let (rejections, stream) = operator.output();
    let owner = move |entity: Option<UserKey>| entity.map_or(0, |entity| entity.worker(workers));
    let by_entity = Exchange::new(move |contribution: &Contribution| owner(contribution.entity));
    operator.input(inputs.contributions, by_entity, |fold, arrivals| {
        let states = fold.tables.len();
        arrivals.each(|waiting, _, contributions| {
            waiting.items.resize_with(states, Vec::new);
            for Contribution { state, entity, item } in contributions.drain(..) {
                waiting.items[usize::from(state)].extend(entity.map(|entity| (entity, item)));
            }
        });
    });
    let by_entity = Exchange::new(move |replacement: &Replacement| owner(Some(replacement.entity)));
    operator.input(inputs.replacements, by_entity, |_, arrivals| {
        arrivals.each(|waiting, _, replacements| waiting.replacements.append(replacements));
    });
    let by_entity = Exchange::new(move |(_, entity, _): &RestoredEntity| owner(Some(*entity)));
    operator.input(inputs.restored, by_entity, |_, arrivals| {
        arrivals.each(|waiting, _, restored| waiting.restored.append(restored));
    });
    let history = if history { History::Kept } else { History::None { now: states.now } };
    let table = |definition: &Arc<Definition>| Table::new(Arc::clone(definition), (worker, workers), history);
    let tables = states.definitions.iter().map(|one| Rc::new(RefCell::new(table(one))));
    let tables: Vec<SharedTable<T>> = tables.collect();
    operator.build(Accumulate { tables: tables.clone(), rejections });
    Accumulated { tables, rejections: stream }
}

/// What has arrived for a tick that is not complete yet.
#[derive(Default)]
struct Waiting {
    /// By state.
    items: Vec<Vec<(UserKey, Item)>>,
    replacements: Vec<Replacement>,
    restored: Vec<RestoredEntity>,
}

/// One worker's states.
struct Accumulate<T: TotalTime> {
    tables: Vec<SharedTable<T>>,
    rejections: Output<T, (Replacement, T)>,
}

impl<T: TotalTime> operators::Fold<T> for Accumulate<T> {
    type Waiting = Waiting;

    fn tick(&mut self, tick: &T, waiting: &mut Waiting, at: &Capabilities<T>) -> Turn {
        let Waiting { mut items, mut replacements, restored } = std::mem::take(waiting);
        for (state, entity, cells) in restored {
            self.tables[usize::from(state)].borrow_mut().restore(entity, cells);
        }
        items.resize_with(self.tables.len(), Vec::new);
        replacements.sort_unstable();
        for (state, (table, items)) in self.tables.iter().zip(items).enumerate() {
            let own = replacements.iter().filter(|replacement| usize::from(replacement.state) == state).cloned();
            let own: Vec<Replacement> = own.collect();
            if items.is_empty() && own.is_empty() {
                continue;
            }
            let rejected = table.borrow_mut().tick(tick, items, own);
            self.rejections.give(at, rejected.into_iter().map(|replacement| (replacement, tick.clone())));
        }
        Turn::Done
    }
}
