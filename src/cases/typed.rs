//! A file of cases as typed, each value with its place. This module checks only types and names of keys.

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub config: Option<Spanned<String>>,
    pub case: Option<Spanned<Vec<Spanned<Case>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[case]]")]
pub(super) struct Case {
    pub name: Option<Spanned<String>>,
    pub events: Option<Spanned<Given>>,
    pub files: Option<Spanned<Given>>,
    pub now: Option<Spanned<toml::Value>>,
    pub classes: Option<Spanned<Vec<Spanned<String>>>>,
    pub sessions: Option<Rows>,
    pub users: Option<Rows>,
    pub counts: Option<Rows>,
    pub shapes: Option<Rows>,
    pub session_events: Option<Rows>,
    pub activities: Option<Rows>,
    pub funnels: Option<Rows>,
    pub identities: Option<Rows>,
    pub state: BTreeMap<Spanned<String>, Rows>,
    pub count: BTreeMap<Spanned<String>, Rows>,
    pub dead_letters: Option<Numbers>,
    pub sessionless: Option<Numbers>,
    /// Known, to say why it cannot be expected.
    pub actions: Option<Spanned<toml::Value>>,
}

/// The rows that a table has, each with the columns that matter.
pub(super) type Rows = Spanned<Vec<Spanned<Row>>>;
pub(super) type Row = BTreeMap<Spanned<String>, Spanned<toml::Value>>;
/// Numbers by reason.
pub(super) type Numbers = Spanned<BTreeMap<Spanned<String>, Spanned<u64>>>;

/// What a source reads: a text, or names of files; or that by source.
#[derive(Debug)]
pub(super) enum Given {
    Text(String),
    List(Vec<Spanned<String>>),
    BySource(BTreeMap<Spanned<String>, Spanned<Given>>),
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Given, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Given;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text; for several sources a table with a text for each one")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Given, E> {
                Ok(Given::Text(text.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Given, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Given::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Given, A::Error> {
                let mut by_source = BTreeMap::new();
                while let Some((name, given)) = table.next_entry()? {
                    by_source.insert(name, given);
                }
                Ok(Given::BySource(by_source))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
