//! The columns of each collection.

use super::Collection;
use super::sessions::column_kinds;
use crate::collections::sessions::SessionSchema;
use serde_json::{Map, Value};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    /// An exact number with at most six digits after the point.
    Decimal,
    /// Numbers of events by class.
    Classes,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "string",
            Kind::Integer => "integer",
            Kind::Decimal => "decimal",
            Kind::Classes => "object",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    /// The name as JSON, with its colon.
    pub(super) json: Vec<u8>,
}

/// The columns of one collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    pub collection: Collection,
    pub columns: Vec<Column>,
    /// The columns that a row is known by.
    pub key: Vec<usize>,
}

impl Schema {
    fn new(collection: Collection, columns: Vec<(String, Kind)>) -> Schema {
        let column = |(name, kind): (String, Kind)| {
            let json = format!("{}:", Value::from(name.as_str())).into_bytes();
            Column { name, kind, json }
        };
        let columns: Vec<Column> = columns.into_iter().map(column).collect();
        let at = |name: &&str| columns.iter().position(|column| column.name == **name);
        let key = collection.key().iter().filter_map(at).collect();
        Schema { collection, columns, key }
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Kinds by name, for those who read.
    pub fn json(&self) -> Value {
        let kinds = self.columns.iter().map(|column| (column.name.clone(), column.kind.name().into()));
        Value::Object(kinds.collect::<Map<_, _>>())
    }
}

/// The columns of all collections.
#[derive(Clone, Debug)]
pub struct Schemas(Vec<Schema>);

impl Schemas {
    pub fn new(sessions: &SessionSchema) -> Schemas {
        let fixed = |columns: &[(&str, Kind)]| columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        let schema = |collection| {
            let columns: Vec<(String, Kind)> = match collection {
                Collection::Sessions => column_kinds(sessions),
                Collection::Counts => fixed(&[("class", Kind::Text), ("hour", Kind::Text), ("events", Kind::Integer)]),
                Collection::Closings => fixed(&[
                    ("session_id", Kind::Text),
                    ("user", Kind::Text),
                    ("start_us", Kind::Integer),
                    ("end_us", Kind::Integer),
                    ("events", Kind::Integer),
                    ("closed_us", Kind::Integer),
                ]),
                Collection::Late => fixed(&[
                    ("user", Kind::Text),
                    ("time_us", Kind::Integer),
                    ("class", Kind::Text),
                    ("session_id", Kind::Text),
                ]),
                Collection::SessionLineage => fixed(&[
                    ("old_id", Kind::Text),
                    ("new_id", Kind::Text),
                    ("user", Kind::Text),
                    ("reason", Kind::Text),
                ]),
                Collection::DeadLetters => fixed(&[
                    ("source", Kind::Text),
                    ("part", Kind::Integer),
                    ("offset", Kind::Integer),
                    ("byte", Kind::Integer),
                    ("reason", Kind::Text),
                    ("message", Kind::Text),
                    ("length", Kind::Integer),
                    ("payload", Kind::Text),
                    ("payload_base64", Kind::Text),
                ]),
            };
            Schema::new(collection, columns)
        };
        Schemas(Collection::ALL.into_iter().map(schema).collect())
    }

    pub fn of(&self, collection: Collection) -> &Schema {
        &self.0[collection as usize]
    }
}
