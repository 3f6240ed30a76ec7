//! `[[count]]` as typed.

use super::{Named, When};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::fmt;
use toml::Spanned;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[count]]")]
pub(in crate::config) struct Count {
    pub name: Option<Spanned<String>>,
    pub over: Option<Spanned<String>>,
    pub by: Option<Spanned<Vec<Spanned<By>>>>,
    pub sum: Named<Spanned<String>>,
    pub when: Option<Spanned<When>>,
    pub limit: Option<Spanned<i64>>,
}

/// A key column: a field or a column, or a part of time.
#[derive(Debug)]
pub(in crate::config) enum By {
    Name(String),
    Table(Box<ByTable>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ByTable {
    /// What is the key, under another name.
    pub column: Option<Spanned<String>>,
    pub minute: Option<Spanned<String>>,
    pub hour: Option<Spanned<String>>,
    pub day: Option<Spanned<String>>,
    pub week: Option<Spanned<String>>,
    pub month: Option<Spanned<String>>,
    pub zone: Option<Spanned<String>>,
    pub name: Option<Spanned<String>>,
}

const EXPECTED: &str = "a field or column in quotes, or a table such as { hour = \"time\" } or { day = \"start_us\", zone = \"Europe/Berlin\" }";

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = By;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E>(self, text: &str) -> Result<By, E> {
                Ok(By::Name(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<By, A::Error> {
                ByTable::deserialize(MapAccessDeserializer::new(table)).map(|table| By::Table(Box::new(table)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
