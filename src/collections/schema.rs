//! The columns of each collection under a configuration.

use super::Collection;
use super::count::CountSchema;
use super::sessions::SessionSchema;
use super::state::StateSchema;
use serde_json::{Map, Value};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// A text: RFC 3339, in UTC. A table that has a type for it, such as Parquet, keeps an instant.
    Time,
    Integer,
    /// An exact number with at most six digits after the point.
    Decimal,
    /// Numbers of events by class.
    Classes,
    /// An object of any columns.
    Object,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text | Kind::Time => "string",
            Kind::Integer => "integer",
            Kind::Decimal => "decimal",
            Kind::Classes | Kind::Object => "object",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    /// The way in which a table keeps the values of a column.
    pub storage: Storage,
    /// A row may have no value in it. Set by `Column::nullable`.
    pub nullable: bool,
    /// The name as JSON, with its colon.
    pub(super) json: Vec<u8>,
}

/// The facts about the values of a column that a table, such as Parquet, uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Each value once, or nearly.
    Distinct,
    /// As [`Storage::Distinct`], and searched by value.
    Lookup,
    /// One of few values.
    Category { nullable: bool },
}

impl Column {
    pub fn new(name: impl Into<String>, kind: Kind, storage: Storage) -> Column {
        let name = name.into();
        let json = format!("{}:", Value::from(name.as_str())).into_bytes();
        Column { name, kind, storage, nullable: storage == Storage::Category { nullable: true }, json }
    }

    /// Appends the name as JSON, with its colon.
    pub fn json_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.json);
    }

    /// Columns without special facts for tables.
    pub(super) fn plain<const N: usize>(columns: [(&str, Kind); N]) -> Vec<Column> {
        columns.into_iter().map(|(name, kind)| Column::new(name, kind, Storage::Distinct)).collect()
    }

    /// Returns the same columns. A row may have no value in those of these names.
    pub(super) fn nullable(mut columns: Vec<Column>, names: &[&str]) -> Vec<Column> {
        columns.iter_mut().for_each(|column| column.nullable |= names.contains(&column.name.as_str()));
        columns
    }
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
    fn new(collection: Collection, sessions: &SessionSchema) -> Schema {
        Schema::with(collection, collection.columns(sessions))
    }

    pub(crate) fn with(collection: Collection, columns: Vec<Column>) -> Schema {
        let at = |name: &&str| columns.iter().position(|column| column.name == **name);
        let key = collection.key().iter().filter_map(at).collect();
        Schema { collection, columns, key }
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Kinds by name, for readers.
    pub fn json(&self) -> Value {
        let kinds = self.columns.iter().map(|column| (column.name.clone(), column.kind.name().into()));
        Value::Object(kinds.collect::<Map<_, _>>())
    }
}

/// The columns of all collections.
#[derive(Clone, Debug)]
pub struct Schemas(Vec<Schema>);

impl Schemas {
    /// `sequences`: there are some.
    pub fn new(sessions: &SessionSchema, sequences: bool, states: &[StateSchema]) -> Schemas {
        let of_sequences = Collection::OF_SEQUENCES.into_iter().filter(|_| sequences);
        let fixed = Collection::ALL.into_iter().chain(of_sequences);
        let fixed = fixed.map(|collection| Schema::new(collection, sessions));
        let of_states = states.iter().map(|state| Schema::with(state.collection(), state.columns()));
        Schemas(fixed.chain(of_states).collect())
    }

    /// Adds those of counts.
    #[must_use]
    pub fn with_counts(mut self, counts: &[CountSchema]) -> Schemas {
        self.0.extend(counts.iter().map(|count| Schema::with(count.collection(), count.columns())));
        self
    }

    /// Adds those of identities, if there are any.
    #[must_use]
    pub fn with_identities(mut self, identities: bool) -> Schemas {
        let none = SessionSchema::default();
        let of_identities = Collection::OF_IDENTITIES.into_iter().filter(|_| identities);
        self.0.extend(of_identities.map(|collection| Schema::new(collection, &none)));
        self
    }

    /// Returns all collections, in the order in which they are listed.
    pub fn collections(&self) -> impl Iterator<Item = Collection> {
        self.0.iter().map(|schema| schema.collection)
    }

    /// Returns the collection of this name, if there is one.
    pub fn named(&self, name: &str) -> Option<Collection> {
        self.collections().find(|collection| collection.name() == name)
    }

    pub fn of(&self, collection: Collection) -> &Schema {
        let found = self.0.iter().find(|schema| schema.collection == collection);
        found.expect("there is a schema of every collection")
    }
}
