//! The configuration file as typed, key by key, each value with its place. This module checks only types and names of
//! keys. The conversion to a [`crate::plan::Plan`] makes every other check.

mod actions;
mod conditions;
mod counts;
mod entries;
mod sections;
mod states;
mod tables;

pub(super) use actions::{Action, Decorate};
pub(super) use conditions::{Asked, Number, Predicates, Scalar, When};
pub(super) use counts::{By, ByTable, Count};
pub(super) use entries::{Entries, Entry, PathTable};
pub(super) use sections::SECTIONS;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
pub(super) use states::{State, StateColumn};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
pub(super) use tables::Table;
use toml::Spanned;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub cluster: Cluster,
    pub http: Http,
    pub landing: Option<Spanned<Landing>>,
    pub events: Events,
    pub fields: Named<Spanned<Entries<Spanned<Entry>>>>,
    pub source: Tables<Source>,
    pub sessions: Sessions,
    pub class: Tables<Class>,
    pub classes: Option<Classes>,
    pub sequence: Tables<Sequence>,
    pub identity: Option<Spanned<Identity>>,
    pub state: Tables<State>,
    pub count: Tables<Count>,
    pub table: Tables<Table>,
    pub action: Tables<Action>,
    pub decorate: Tables<Decorate>,
    pub sink: Tables<Sink>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [cluster]")]
pub(super) struct Cluster {
    pub workers: Option<Spanned<i64>>,
    pub processes: Option<Spanned<i64>>,
    pub hosts_file: Option<Spanned<String>>,
    pub key_file: Option<Spanned<String>>,
    pub data_dir: Option<Spanned<String>>,
    pub listen: Option<Spanned<String>>,
    pub hosts: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub tokens: Option<Spanned<String>>,
    pub tick: Option<Spanned<Duration>>,
    pub snapshot: Option<Spanned<Duration>>,
    pub segment: Option<Spanned<Size>>,
    pub retain: Option<Spanned<Size>>,
    pub retain_for: Option<Spanned<Duration>>,
    pub reserve: Option<Spanned<Size>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [http]")]
pub(super) struct Http {
    pub max_body: Option<Spanned<Size>>,
    pub rate: Option<Spanned<i64>>,
    pub origins: Option<Spanned<OneOrMany<Spanned<String>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [landing]")]
pub(super) struct Landing {
    pub path: Option<Spanned<String>>,
    pub visible_every: Option<Spanned<Duration>>,
    pub target_file: Option<Spanned<Size>>,
    pub retain_for: Option<Spanned<Duration>>,
    pub vacuum_after: Option<Spanned<Duration>>,
    pub hold: Option<Spanned<Size>>,
    pub max_classes: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [events] or [source.events]")]
pub(super) struct Events {
    pub user: Option<Spanned<Candidates>>,
    pub time: Option<Spanned<Candidates>>,
    #[serde(rename = "type")]
    pub kind: Option<Spanned<Candidates>>,
    pub id: Option<Spanned<Candidates>>,
    pub join: Option<String>,
    pub zone: Option<Spanned<String>>,
    pub time_unit: Option<Spanned<String>>,
    pub time_format: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub year: Option<Spanned<i64>>,
    pub absent: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub dedupe: Option<Spanned<Duration>>,
    pub max_future: Option<Spanned<Duration>>,
    pub explode: Option<Spanned<String>>,
    pub order: Option<Spanned<String>>,
    pub ties: Option<Spanned<String>>,
    pub max_bytes: Option<Spanned<Size>>,
    pub max_depth: Option<Spanned<i64>>,
    pub max_keys: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[source]]")]
pub(super) struct Source {
    pub name: Option<Spanned<String>>,
    pub kind: Option<Spanned<String>>,
    pub paths: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub format: Option<Spanned<String>>,
    pub delimiter: Option<Spanned<String>>,
    pub quote: Option<Spanned<String>>,
    pub escape: Option<Spanned<String>>,
    pub header: Option<Spanned<Header>>,
    pub skip: Option<Spanned<i64>>,
    pub comment: Option<Spanned<String>>,
    pub encoding: Option<Spanned<String>>,
    pub layout: Option<Spanned<String>>,
    pub prefix: Option<Spanned<String>>,
    pub unwrap: Option<Spanned<String>>,
    pub follow: Option<Spanned<bool>>,
    pub brokers: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub topics: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub start: Option<Spanned<String>>,
    pub on_gap: Option<Spanned<String>>,
    pub kafka: Option<Spanned<Named<Spanned<Setting>>>>,
    pub events: Events,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [sessions]")]
pub(super) struct Sessions {
    pub gap: Option<Spanned<Duration>>,
    pub sum: Named<Spanned<String>>,
    pub carry: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub max_duration: Option<Spanned<Duration>>,
    pub max_events: Option<Spanned<i64>>,
    pub split_on: Option<Spanned<String>>,
    pub split_at: Option<Spanned<String>>,
    pub zone: Option<Spanned<String>>,
    pub start: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub end: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub keepalive: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub gap_by_class: Named<Spanned<Duration>>,
    pub gap_by_source: Named<Spanned<Duration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [classes]")]
pub(super) struct Classes {
    pub learn: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[class]]")]
pub(super) struct Class {
    pub name: Option<Spanned<String>>,
    pub priority: i64,
    pub when: Option<Spanned<When>>,
    pub sessions: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[sequence]]")]
pub(super) struct Sequence {
    pub name: Option<Spanned<String>>,
    pub per: Option<Spanned<String>>,
    pub steps: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub within: Option<Spanned<Duration>>,
    pub except: Option<Spanned<Vec<Spanned<Except>>>>,
    pub repeat: Option<Spanned<String>>,
    pub ties: Option<Spanned<String>>,
    pub by: Option<Spanned<OneOrMany<Spanned<String>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as { class = \"logout\", between = [\"cart\", \"purchase\"] }"
)]
pub(super) struct Except {
    pub class: Option<Spanned<String>>,
    pub between: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [identity]")]
pub(super) struct Identity {
    pub links: Option<Spanned<Vec<Spanned<Vec<Spanned<String>>>>>>,
    pub unique: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub cap: Option<Spanned<i64>>,
    pub block: Option<Spanned<OneOrMany<Spanned<String>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[sink]]")]
pub(super) struct Sink {
    pub name: Option<Spanned<String>>,
    pub collection: Option<Spanned<String>>,
    pub when: Option<Spanned<Condition>>,
    pub changes: Option<Spanned<String>>,
    pub from: Option<Spanned<String>>,
    pub kind: Option<Spanned<String>>,
    pub batch: Option<Spanned<i64>>,
    pub path: Option<Spanned<String>>,
    pub url: Option<Spanned<String>>,
    pub headers: Option<Spanned<Named<Spanned<HeaderValue>>>>,
    pub allow_private: Option<Spanned<bool>>,
    pub brokers: Option<Spanned<OneOrMany<Spanned<String>>>>,
    pub topic: Option<Spanned<String>>,
    pub envelope: Option<Spanned<String>>,
    pub kafka: Option<Spanned<Named<Spanned<Setting>>>>,
}

/// A table whose keys are the user's own words. [`in_order`] gives the order in which they were written.
pub(super) type Named<T> = BTreeMap<Spanned<String>, T>;

/// Returns the entries of a table as they follow each other in the file.
pub(super) fn in_order<T>(table: &Named<T>) -> Vec<(&Spanned<String>, &T)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// Paths of which the first that is present wins; an inner list composes one value from several.
pub(super) type Candidates = Entries<Spanned<Entries<Spanned<Entry>>>>;

/// A string, or a list.
#[derive(Debug)]
pub(super) enum OneOrMany<T> {
    One(String),
    Many(Vec<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMany::One(text.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(OneOrMany::Many(items))
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// An array of tables. Its own type because `[source]` for `[[source]]` is so easily typed.
#[derive(Debug)]
pub(super) struct Tables<T>(pub Vec<Spanned<T>>);

impl<T> Default for Tables<T> {
    fn default() -> Self {
        Tables(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Tables<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rows<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Rows<T> {
            type Value = Tables<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tables, each under a header in double brackets, such as [[source]] or [[class]]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut tables = Vec::new();
                while let Some(table) = list.next_element()? {
                    tables.push(table);
                }
                Ok(Tables(tables))
            }
        }
        deserializer.deserialize_any(Rows(PhantomData))
    }
}

/// The names of columns, or whether the first row has them.
#[derive(Debug)]
pub(super) enum Header {
    First(bool),
    Names(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("false, or a list of names such as [\"user_id\", \"time\", \"event\"]")
            }

            fn visit_bool<E>(self, first: bool) -> Result<Header, E> {
                Ok(Header::First(first))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Header, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Header::Names(names))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The text of a duration. Its own type because `gap = 30` lacks a unit, not only quotes.
#[derive(Debug)]
pub(super) struct Duration(pub String);

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, in quotes, such as \"30m\", \"90s\" or \"7d\"")
            }

            fn visit_str<E>(self, text: &str) -> Result<Duration, E> {
                Ok(Duration(text.into()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The text of a filter. Its own type because rules may write their `when` as a table.
#[derive(Debug)]
pub(super) struct Condition(pub String);

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Condition;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a condition in quotes, such as 'events >= 3 and classes has \"checkout\"'")
            }

            fn visit_str<E>(self, text: &str) -> Result<Condition, E> {
                Ok(Condition(text.into()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The value of a header, or the file that has it.
#[derive(Debug)]
pub(super) enum HeaderValue {
    Text(String),
    File(HeaderFile),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderFile {
    pub file: Spanned<String>,
}

impl<'de> Deserialize<'de> for HeaderValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = HeaderValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or the file that has it, such as { file = \"hook.secret\" }")
            }

            fn visit_str<E>(self, text: &str) -> Result<HeaderValue, E> {
                Ok(HeaderValue::Text(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<HeaderValue, A::Error> {
                HeaderFile::deserialize(MapAccessDeserializer::new(table)).map(HeaderValue::File)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A setting of librdkafka, as its text; or a table, where a name with dots was written without quotes.
#[derive(Debug)]
pub(super) enum Setting {
    Value(String),
    Table(Named<Spanned<Setting>>),
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Setting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, true or false")
            }

            fn visit_str<E>(self, text: &str) -> Result<Setting, E> {
                Ok(Setting::Value(text.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Setting, E> {
                Ok(Setting::Value(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Setting, E> {
                Ok(Setting::Value(number.to_string()))
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Setting, E> {
                Ok(Setting::Value(truth.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Setting, A::Error> {
                Named::deserialize(MapAccessDeserializer::new(table)).map(Setting::Table)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A number of bytes, or a text with a unit.
#[derive(Debug)]
pub(super) enum Size {
    Bytes(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"1MiB\"")
            }

            fn visit_i64<E>(self, bytes: i64) -> Result<Size, E> {
                Ok(Size::Bytes(bytes))
            }

            fn visit_str<E>(self, text: &str) -> Result<Size, E> {
                Ok(Size::Text(text.into()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
