//! `[[table]]` as typed.

use super::Named;
use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[table]]")]
pub(in crate::config) struct Table {
    pub name: Option<Spanned<String>>,
    pub path: Option<Spanned<String>>,
    pub key: Option<Spanned<String>>,
    pub per: Option<Spanned<String>>,
    pub columns: Named<Spanned<String>>,
}
