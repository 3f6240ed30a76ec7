//! `[[state]]` as typed.

use super::{Duration, Named, When};
use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[state]]")]
pub(in crate::config) struct State {
    pub name: Option<Spanned<String>>,
    pub per: Option<Spanned<String>>,
    pub over: Option<Spanned<String>>,
    pub changes: Option<Spanned<bool>>,
    pub columns: Named<Spanned<StateColumn>>,
}

/// One of `count` to `step`, and what belongs to it.
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as { count = true } or { sum = \"price\", window = \"30d\" }"
)]
pub(in crate::config) struct StateColumn {
    pub count: Option<Spanned<bool>>,
    pub sum: Option<Spanned<String>>,
    pub first: Option<Spanned<String>>,
    pub last: Option<Spanned<String>>,
    pub min: Option<Spanned<String>>,
    pub max: Option<Spanned<String>>,
    pub distinct: Option<Spanned<String>>,
    pub top: Option<Spanned<String>>,
    pub decay: Option<Spanned<String>>,
    pub step: Option<Spanned<String>>,
    pub when: Option<Spanned<When>>,
    pub window: Option<Spanned<Duration>>,
    pub over: Option<Spanned<String>>,
    pub cap: Option<Spanned<i64>>,
    pub k: Option<Spanned<i64>>,
    pub half_life: Option<Spanned<Duration>>,
}
