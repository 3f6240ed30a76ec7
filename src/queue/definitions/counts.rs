//! Counts in records of the control partition: since when each of them counts, and what tells it from others.

use super::fingerprint_when;
use crate::collections::filter::Field;
use crate::fingerprint::{Canonical, hex};
use crate::plan::{ByColumn, CountPlan, Counted, Plan};
use dataflows::group::Over;
use headwater_decode::bucket::Bucket;
use headwater_decode::path::Path;
use headwater_decode::spec::By;
use serde::{Deserialize, Serialize};

/// A count that does not depend on a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedCount {
    pub name: String,
    /// Of what it counts, and of its columns. With another one it is another count.
    pub fingerprint: String,
    /// Milliseconds since 1970: events count that were received from then on. `None`: all do.
    pub since_ms: Option<i64>,
}

impl NamedCount {
    /// Returns the count of a plan whose tests have their places of the configuration.
    pub(super) fn of(plan: &Plan, count: &CountPlan, since_ms: Option<i64>) -> NamedCount {
        // A view is there as a whole, and so is what is counted of it.
        let since_ms = since_ms.filter(|_| count.is_of_events());
        NamedCount { name: count.schema.name.clone(), fingerprint: fingerprint(plan, count), since_ms }
    }

    /// Returns whether this is the same count, whenever both began.
    pub(super) fn is_as(&self, other: &NamedCount) -> bool {
        (&self.name, &self.fingerprint) == (&other.name, &other.fingerprint)
    }

    /// Returns what tells this beginning from others.
    pub fn id(&self) -> [u8; 16] {
        let mut to = Canonical::new("headwater count v1");
        to.text(&self.name).text(&self.fingerprint).option(self.since_ms, |to, since| {
            to.signed(since);
        });
        *to.finish().first_chunk().expect("a fingerprint has 32 bytes")
    }
}

fn fingerprint(plan: &Plan, count: &CountPlan) -> String {
    let mut to = Canonical::new("headwater count definition v1");
    let CountPlan { schema, of, when: typed, limit, begins: _ } = count;
    to.number(*limit as u64);
    to.list(&schema.columns(), |to, column| _ = to.text(&column.name).text(column.kind.name()));
    let bucket = |to: &mut Canonical, bucket: &Bucket| _ = to.text(bucket.unit.name()).text(&bucket.name);
    match of {
        Counted::Events { when, by, sums } => {
            let field = |to: &mut Canonical, field: usize| {
                to.list(&plan.fields[field].candidates, |to, path: &Path| _ = to.text(&path.to_string()));
            };
            to.text("events").list(by, |to, by| match by {
                By::Field(of) => field(to.text("field"), *of),
                By::User => _ = to.text("user"),
                By::Class => _ = to.text("class"),
                By::Type => _ = to.text("type"),
                By::Time(of) => bucket(to.text("time"), of),
            });
            to.list(sums, |to, of| field(to, *of));
            to.option(when.as_ref(), |to, when| fingerprint_when(plan, to, when));
        }
        Counted::Rows { collection, over, when: _, by, sums } => {
            let field = |to: &mut Canonical, field: &Field| match field {
                Field::Column(column) => _ = to.text("column").number(*column as u64),
                Field::Class(column, class) => _ = to.text("class").number(*column as u64).text(class),
            };
            to.text(collection.name());
            if let Over::Groups(below) = over {
                to.text(&fingerprint(plan, &plan.counts[usize::from(*below)]));
            }
            to.list(by, |to, by| match by {
                ByColumn::Value(of) => field(to.text("value"), of),
                ByColumn::Time(of, time) => {
                    field(to.text("time"), of);
                    bucket(to, time);
                }
            });
            to.list(sums, field);
            to.option(typed.as_deref(), |to, when| _ = to.text(when));
        }
    }
    hex(&to.finish()[..16])
}
