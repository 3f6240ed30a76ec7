//! What counts are made of: definitions, groups, their keys and their totals.

use crate::decimal::Decimal;
use crate::identity::UserKey;
use crate::time::{EventTime, Tick};
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::implementations::ValSpine;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::sync::Arc;

/// The value of one key column of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cell {
    /// There is none.
    Null,
    /// A text.
    Text(Arc<str>),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(Decimal),
    /// A time, such as the start of an hour.
    Time(EventTime),
}

/// The values of the key columns of a group.
pub type Cells = Arc<[Cell]>;

/// What a group is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey {
    /// Index of the count.
    pub count: u16,
    /// `None`: all groups that are beyond the limit of the count.
    pub cells: Option<Cells>,
}

/// The numbers of a group. They are sums: those of what has gone are negative.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Totals {
    /// Number of events or rows.
    pub rows: i64,
    /// By sum of the count.
    pub sums: SmallVec<[Sum; 1]>,
}

/// An exact sum, from which values can be taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sum {
    /// Of the values that are numbers.
    pub sum: Decimal,
    /// How many values were summed.
    pub numbers: i64,
    /// How many values were present and no number.
    pub others: i64,
}

/// What is added to a group.
pub type Added = (GroupKey, Totals);
/// A row of a count.
pub type Group = (GroupKey, Totals);
/// Totals by key: one row for each, and none where there is nothing.
pub type GroupSpine<T = Tick> = ValSpine<GroupKey, Totals, T, isize>;
/// Reads [`GroupSpine`].
pub type GroupTrace<T = Tick> = TraceAgent<GroupSpine<T>>;

impl Totals {
    /// Adds other totals, `times` times.
    pub fn add(&mut self, other: &Totals, times: i64) {
        self.rows += other.rows * times;
        if self.sums.len() < other.sums.len() {
            self.sums.resize(other.sums.len(), Sum::default());
        }
        for (one, Sum { sum, numbers, others }) in self.sums.iter_mut().zip(&other.sums) {
            let sum = Decimal::from_millionths(sum.millionths().saturating_mul(i128::from(times)));
            one.sum = one.sum.saturating_add(sum);
            one.numbers += numbers * times;
            one.others += others * times;
        }
    }

    /// Returns whether nothing is counted. Nothing is then summed either.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

/// What a count counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Over {
    /// Events, once each.
    #[default]
    Events,
    /// Sessions.
    Sessions,
    /// Totals of users.
    Users,
    /// Events by class and hour.
    Counts,
    /// Shapes.
    Shapes,
    /// Sessions that are closed.
    Closings,
    /// Activities of sequences.
    Activities,
    /// Funnels of sequences.
    Funnels,
    /// The groups of another count, by index.
    Groups(u16),
}

/// One count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What it counts.
    pub over: Over,
    /// 0, or one more than that of the count whose groups it counts.
    pub level: u8,
    /// Rows that it has at most, beside the one of all other groups. At least 1.
    pub limit: usize,
    /// Its groups are at the worker of this key.
    pub place: UserKey,
}
