//! The table `users`: the columns of the collection, and its times as timestamps, too.

use super::Table;
use crate::collections::sessions::SessionSchema;
use crate::collections::{Collection, Column, Kind, Storage, Value, users};
use dataflows::users::UserTotals;

/// The timestamps stand behind the user.
const BEFORE_TIMES: usize = 1;

/// Returns the columns.
pub fn user_table() -> Table {
    let mut columns = Collection::USERS.columns(&SessionSchema::default());
    let times = ["first_seen", "last_seen"].map(|name| Column::new(name, Kind::Time, Storage::Distinct));
    columns.splice(BEFORE_TIMES..BEFORE_TIMES, times);
    Table { name: "users", columns }
}

/// Returns the values of a row, in the order of the columns.
pub fn user_values<'a>(user: &'a str, totals: &UserTotals) -> impl Iterator<Item = Value<'a>> + use<'a> {
    let times = [totals.first_seen, totals.last_seen].map(Value::Time);
    let [name, rest @ ..] = users::values(user, totals);
    [name].into_iter().chain(times).chain(rest)
}
