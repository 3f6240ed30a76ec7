//! Counts, after every check: what is counted, by which keys, and what is summed.

use super::Plan;
use crate::collections::count::{CountSchema, place};
use crate::collections::filter::{Field, Filter};
use crate::collections::{self, Collection, Naming, Row, Value};
use dataflows::group::{Added, Cell, Definition, GroupKey, Over, Sum, Totals};
use dataflows::group_by::Groups;
use dataflows::{Decimal, EventTime, resolve};
use headwater_decode::bucket::Bucket;
use headwater_decode::spec::{By, CountSpec, StateWhen};
use std::sync::Arc;

/// A count: what is counted by which keys.
#[derive(Clone, Debug, PartialEq)]
pub struct CountPlan {
    pub schema: CountSchema,
    pub of: Counted,
    /// The condition as it was typed.
    pub when: Option<String>,
    /// Rows that it has at most, beside the one of all other groups.
    pub limit: usize,
    /// Of a run.
    pub begins: Option<CountBegins>,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq)]
pub enum Counted {
    /// Each event, once.
    Events {
        /// `None`: all events.
        when: Option<StateWhen>,
        by: Vec<By>,
        /// Fields.
        sums: Vec<usize>,
    },
    /// The rows of a view.
    Rows {
        collection: Collection,
        over: Over,
        /// `None`: all rows.
        when: Option<Filter>,
        by: Vec<ByColumn>,
        sums: Vec<Field>,
    },
}

/// A key column of a count over rows.
#[derive(Clone, Debug, PartialEq)]
pub enum ByColumn {
    Value(Field),
    /// The part of time that has the time in a column.
    Time(Field, Bucket),
}

/// Since when events count for a count of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountBegins {
    /// Not yet: the events at hand came before the count was in the configuration.
    Later,
    Since {
        /// Milliseconds since 1970; `None`: since the first event of the data folder.
        ms: Option<i64>,
        /// Tells this beginning from others, and from those of other definitions.
        id: [u8; 16],
    },
}

impl CountPlan {
    /// Returns what decoding reads; `None`: no event counts.
    pub(super) fn spec(&self, number: u16) -> Option<CountSpec> {
        match &self.of {
            Counted::Events { when, by, sums } if self.begins != Some(CountBegins::Later) => {
                Some(CountSpec { number, when: when.clone(), by: by.clone(), sums: sums.clone() })
            }
            _ => None,
        }
    }

    /// Returns what it counts.
    pub fn over(&self) -> Over {
        match self.of {
            Counted::Events { .. } => Over::Events,
            Counted::Rows { over, .. } => over,
        }
    }

    /// Returns whether it counts events.
    pub fn is_of_events(&self) -> bool {
        self.over() == Over::Events
    }
}

impl Plan {
    /// Returns the counts as the graph has them.
    pub fn graph_counts(&self) -> Arc<[Definition]> {
        let definition = |count: &CountPlan| Definition {
            over: count.over(),
            level: self.level(count),
            limit: count.limit,
            place: place(&count.schema.collection_name()),
        };
        self.counts.iter().map(definition).collect()
    }

    /// Returns what says to which groups rows belong, if there are counts of any.
    pub fn groups(&self) -> Option<Arc<dyn Groups>> {
        let has_rows = self.counts.iter().any(|count| !count.is_of_events());
        has_rows.then(|| Arc::new(self.row_groups()) as Arc<dyn Groups>)
    }

    /// Returns how many counts lie below one.
    pub fn level(&self, count: &CountPlan) -> u8 {
        let (mut level, mut over) = (0, count.over());
        // The configuration has no circle, and not as many counts.
        while let Over::Groups(below) = over {
            (level, over) = (level + 1, self.counts[usize::from(below)].over());
        }
        level
    }

    /// Returns the time since which events count for a count, or for the one whose groups it counts, in milliseconds since 1970.
    pub fn counts_since(&self, count: &CountPlan) -> Option<i64> {
        let mut count = count;
        while let Over::Groups(below) = count.over() {
            count = &self.counts[usize::from(below)];
        }
        match count.begins {
            Some(CountBegins::Since { ms, .. }) => ms,
            Some(CountBegins::Later) | None => None,
        }
    }

    /// Returns what says to which groups rows belong.
    pub fn row_groups(&self) -> RowGroups {
        let of_rows = |(number, count): (u16, &CountPlan)| match &count.of {
            Counted::Events { .. } => None,
            Counted::Rows { collection, when, by, sums, .. } => {
                let (when, by, sums) = (when.clone(), by.clone(), sums.clone());
                Some(OfRows { number, collection: *collection, when, by, sums })
            }
        };
        let counts = (0..).zip(&self.counts).filter_map(of_rows).collect();
        RowGroups { naming: self.naming(), counts }
    }
}

/// Says to which groups rows belong.
pub struct RowGroups {
    naming: Naming,
    counts: Vec<OfRows>,
}

/// A count over the rows of a collection.
struct OfRows {
    number: u16,
    collection: Collection,
    when: Option<Filter>,
    by: Vec<ByColumn>,
    sums: Vec<Field>,
}

impl Groups for RowGroups {
    fn of(&self, row: &resolve::Row<'_>, give: &mut dyn FnMut(Added)) {
        let (collection, bytes) = collections::encode(row, &self.naming);
        let mut decoded = None;
        for count in self.counts.iter().filter(|count| count.collection == collection) {
            // What was encoded here is a row.
            let Some(row) = decoded.get_or_insert_with(|| collection.decode(&bytes)) else { return };
            if count.when.as_ref().is_none_or(|when| when.matches(row)) {
                give(count.of(row));
            }
        }
    }
}

impl OfRows {
    fn of(&self, row: &Row<'_>) -> Added {
        let cells = self.by.iter().map(|by| by.cell(row)).collect();
        let sum = |field: &Field| {
            let number = match *field.value(row) {
                Value::Integer(number) => Some(Decimal::from(number)),
                Value::Decimal(number) => Some(number),
                _ => None,
            };
            number.map_or(Sum::default(), |sum| Sum { sum, numbers: 1, others: 0 })
        };
        let totals = Totals { rows: 1, sums: self.sums.iter().map(sum).collect() };
        (GroupKey { count: self.number, cells: Some(cells) }, totals)
    }
}

impl ByColumn {
    fn cell(&self, row: &Row<'_>) -> Cell {
        match self {
            ByColumn::Value(field) => {
                let value = field.value(row);
                match &*value {
                    Value::Integer(number) => Cell::Integer(*number),
                    Value::Decimal(number) => Cell::Number(*number),
                    Value::Time(time) => Cell::Time(*time),
                    value => value.text().map_or(Cell::Null, |text| Cell::Text(Arc::from(&*text))),
                }
            }
            ByColumn::Time(field, bucket) => {
                let time = match *field.value(row) {
                    Value::Integer(micros) => EventTime::from_micros(micros),
                    Value::Time(time) => Some(time),
                    _ => None,
                };
                time.map_or(Cell::Null, |time| Cell::Time(bucket.start(time)))
            }
        }
    }
}
