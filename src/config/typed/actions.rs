//! `[[action]]` and `[[decorate]]` as typed.

use super::{Condition, Duration, OneOrMany};
use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[action]]")]
pub(in crate::config) struct Action {
    pub name: Option<Spanned<String>>,
    pub on: Option<Spanned<String>>,
    pub when: Option<Spanned<Condition>>,
    pub edge: Option<Spanned<String>>,
    #[serde(rename = "do")]
    pub act: Option<Spanned<String>>,
    pub sink: Option<Spanned<String>>,
    pub timing: Option<Spanned<String>>,
    pub objective: Option<Spanned<String>>,
    pub max_age: Option<Spanned<Duration>>,
    pub replay: Option<Spanned<String>>,
    pub until: Option<Spanned<Condition>>,
    pub deadline: Option<Spanned<Duration>>,
    pub otherwise: Option<Spanned<String>>,
    pub limit: Option<Spanned<i64>>,
    pub compensate: Option<Spanned<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[decorate]]")]
pub(in crate::config) struct Decorate {
    pub to: Option<Spanned<String>>,
    pub with: Option<Spanned<OneOrMany<Spanned<String>>>>,
}
