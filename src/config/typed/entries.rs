//! A path as it is typed: a text, or a table with its transforms. And lists of them.

use super::{Named, OneOrMany};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use toml::Spanned;

/// One path.
#[derive(Debug)]
pub(in crate::config) enum Entry {
    Text(String),
    Table(Box<PathTable>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct PathTable {
    pub path: Option<Spanned<String>>,
    #[serde(rename = "as")]
    pub transforms: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub regex: Option<Spanned<String>>,
    pub map: Option<Spanned<Named<Spanned<String>>>>,
}

const EXPECTED: &str = "a path in quotes, or a table such as { path = \"xff\", as = [\"first_of_list\", \"ip\"] }";

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E>(self, text: &str) -> Result<Entry, E> {
                Ok(Entry::Text(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Entry, A::Error> {
                PathTable::deserialize(MapAccessDeserializer::new(table)).map(|table| Entry::Table(Box::new(table)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// One path, or a list.
#[derive(Debug)]
pub(in crate::config) enum Entries<T> {
    One(Entry),
    Many(Vec<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path in quotes, a table with `path`, or a list of them")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Entries::One(Entry::Text(text.into())))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Self::Value, A::Error> {
                let table = PathTable::deserialize(MapAccessDeserializer::new(table))?;
                Ok(Entries::One(Entry::Table(Box::new(table))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Entries::Many(items))
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}
