//! Events that clients send, and the sessions that a slow, obvious oracle makes of them.

use crate::headwater::Row;
use headwater_log::vfs::model::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// As the configuration says.
pub const GAP_MS: i64 = 2000;
/// 2023-11-14T22:13:20Z: long closed.
pub const PAST_MS: i64 = 1_700_000_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub user: String,
    pub time: i64,
    pub id: Option<String>,
    pub price: Option<u64>,
    pub page: Option<u64>,
}

impl Event {
    /// Times lie within `span` milliseconds after `from`, on a grid that makes neighbours at exactly the gap, and ties,
    /// frequent.
    pub fn any(rng: &mut Rng, user: String, from: i64, span: u64, id: Option<String>) -> Event {
        let maybe = |rng: &mut Rng, bound| Some(rng.below(bound)).filter(|_| rng.below(2) == 0);
        let time = from + (rng.below(span / 250) * 250) as i64;
        Event { user, time, id, price: maybe(rng, 4), page: maybe(rng, 5) }
    }

    pub fn json(&self) -> Value {
        let mut object = json!({ "user": self.user, "time": self.time, "kind": "view" });
        let id = self.id.clone().map(Value::from);
        let numbers = [("price", self.price), ("page", self.page)].map(|(key, number)| (key, number.map(Value::from)));
        for (key, value) in [("id", id)].into_iter().chain(numbers) {
            if let Some(value) = value {
                object[key] = value;
            }
        }
        object
    }
}

pub fn lines<'e>(events: impl IntoIterator<Item = &'e Event>) -> String {
    events.into_iter().map(|event| event.json().to_string() + "\n").collect()
}

/// The sessions of events that all count: sorted and split where neighbours are more than the gap apart.
pub fn sessions<'e>(events: impl IntoIterator<Item = &'e Event>) -> Vec<Row> {
    let mut times: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for event in events {
        times.entry(&event.user).or_default().push(event.time);
    }
    let mut rows: Vec<Row> = Vec::new();
    for (user, mut times) in times {
        times.sort_unstable();
        for (at, time) in times.iter().enumerate() {
            match rows.last_mut() {
                Some(row) if at > 0 && time - row.2 <= GAP_MS => (row.2, row.3) = (*time, row.3 + 1),
                _ => rows.push((user.to_owned(), *time, *time, 1)),
            }
        }
    }
    rows.sort();
    rows
}
