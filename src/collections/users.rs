//! `users`: when each user was first and last seen, and how many sessions and events there are.

use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Value, encoded, same_columns};
use dataflows::users::UserTotals;

pub(super) const DEFINITION: Definition = Definition {
    name: "users",
    nature: Nature::View,
    key: &["user"],
    lookup: &["user"],
    columns: |_| {
        Column::plain([
            ("user", Kind::Text),
            ("first_seen_us", Kind::Integer),
            ("last_seen_us", Kind::Integer),
            ("sessions", Kind::Integer),
            ("events", Kind::Integer),
        ])
    },
    decode,
    same_key: |one, other| same_columns(decode(one), decode(other), 1),
    held: Held::Users,
    begins: Begins::WithARecord,
};

/// Returns the values of a row in the order of the columns.
pub fn values<'a>(user: &'a str, totals: &UserTotals) -> [Value<'a>; 5] {
    let UserTotals { first_seen, last_seen, sessions, events } = *totals;
    let [sessions, events] = [sessions, events].map(Value::count);
    [Value::Text(user), Value::time(first_seen), Value::time(last_seen), sessions, events]
}

pub fn encode(user: &str, totals: &UserTotals) -> Vec<u8> {
    encoded(&(user, totals))
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    let (user, totals): (&str, UserTotals) = postcard::from_bytes(bytes).ok()?;
    Some(Row::new(values(user, &totals)))
}
