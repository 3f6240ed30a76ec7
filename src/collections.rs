//! The collections that clients read, follow and filter, and that sinks hand over. Each has one definition, in a file
//! of its own: its name, its columns, its key, its look-up columns, and the encoding of a row.
//!
//! ```text
//! worker ── encode ──▶ bytes, in the output log ── decode ──▶ Row: a value for each column ──▶ JSON, filters, tables
//! ```
//!
//! In the log a row is as small as possible, and equal rows have equal bytes. A row has no version: its block has one
//! (`crates/log/src/output/block.rs`). A change of the bytes that tests pin is a new version of blocks, and needs code
//! that reads this one.

pub mod actions;
pub mod activities;
pub mod closings;
pub mod count;
pub mod counts;
pub mod dead_letters;
pub mod filter;
pub mod funnels;
pub mod identities;
pub mod label_changes;
pub mod late;
pub mod place;
pub mod predicate;
mod row;
mod schema;
pub mod sequences;
pub mod session_lineage;
pub mod sessions;
pub mod shapes;
pub mod state;
pub mod users;

pub(crate) use row::bounded;
pub use row::{Row, Value};
pub use schema::{Column, Kind, Schema, Schemas, Storage};

use count::CountSchema;
use dataflows::{EventTime, resolve};
use headwater_log::output::SameKey;
use identities::IdentitySchema;
use sequences::SequenceSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sessions::SessionSchema;
use std::cmp::Ordering;
use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher};

/// The definition of a collection.
pub struct Definition {
    /// The name in requests and in the output log. It never changes.
    pub name: &'static str,
    pub nature: Nature,
    /// The key columns of a row. Those of a view come first in its schema.
    pub key: &'static [&'static str],
    /// The look-up columns of a row: `key=` of a reader names a value of any of them.
    pub lookup: &'static [&'static str],
    /// The columns, in order. A configuration may add some.
    pub columns: fn(&SessionSchema) -> Vec<Column>,
    /// Returns the values of an encoded row, one for each column; `None` if these are not the bytes of one.
    pub decode: for<'b> fn(&'b [u8]) -> Option<Row<'b>>,
    /// See [`Collection::same_key`].
    pub same_key: SameKey,
    pub held: Held,
    pub begins: Begins,
}

/// The state that workers keep of a collection, so that its rows can be read as of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A row for each session, by user.
    Sessions,
    /// A row for each session that the clock has closed, by user.
    Closings,
    /// A row for each user.
    Users,
    /// The rows of each key, by key.
    Activities,
    /// A row for each id, by id.
    Identities,
    /// Few rows.
    Funnels,
    /// A row for each entity, made when it is read: only of a configuration that asks for them it has changes to be followed.
    State,
    /// A row for each group of a count, by key columns. All of them are at one worker.
    Groups,
    /// Few rows, in no order.
    Counts,
    /// Few rows, in no order.
    Shapes,
    /// Nothing: clients follow it, and do not read it.
    Nothing,
}

/// Since when the changes of a collection are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// Since the first tick of the data folder.
    WithTheFolder,
    /// Since the tick that takes a record in the control partition. The first start of a release that knows the collection
    /// writes the record. Collections that were added after release 0.1.0 begin like this.
    WithARecord,
}

/// The kind of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Rows come and go: at each tick they are a function of the events and rules so far.
    View,
    /// Rows only come: each was seen or decided once.
    Journal,
}

/// A collection, by its definition.
#[derive(Clone, Copy)]
pub struct Collection(&'static Definition);

impl Collection {
    pub const SESSIONS: Collection = Collection(&sessions::DEFINITION);
    pub const USERS: Collection = Collection(&users::DEFINITION);
    pub const COUNTS: Collection = Collection(&counts::DEFINITION);
    pub const SHAPES: Collection = Collection(&shapes::DEFINITION);
    pub const CLOSINGS: Collection = Collection(&closings::DEFINITION);
    pub const LATE: Collection = Collection(&late::DEFINITION);
    pub const SESSION_LINEAGE: Collection = Collection(&session_lineage::DEFINITION);
    pub const DEAD_LETTERS: Collection = Collection(&dead_letters::DEFINITION);
    pub const ACTIONS: Collection = Collection(&actions::DEFINITION);

    pub const LABEL_CHANGES: Collection = Collection(&label_changes::DEFINITION);

    pub const ACTIVITIES: Collection = Collection(&activities::DEFINITION);
    pub const FUNNELS: Collection = Collection(&funnels::DEFINITION);
    pub const IDENTITIES: Collection = Collection(&identities::DEFINITION);
    pub const IDENTITY_CHANGES: Collection = Collection(&identities::CHANGES);

    /// In the order in which they are listed. Those of sequences and states come behind them: see [`Schemas`].
    pub const ALL: [Collection; 10] = [
        Collection::SESSIONS,
        Collection::USERS,
        Collection::COUNTS,
        Collection::SHAPES,
        Collection::CLOSINGS,
        Collection::LATE,
        Collection::SESSION_LINEAGE,
        Collection::DEAD_LETTERS,
        Collection::ACTIONS,
        Collection::LABEL_CHANGES,
    ];

    /// Those that a run with a `[[sequence]]` has.
    pub const OF_SEQUENCES: [Collection; 2] = [Collection::ACTIVITIES, Collection::FUNNELS];

    /// Those that a run with `[identity]` has.
    pub const OF_IDENTITIES: [Collection; 2] = [Collection::IDENTITIES, Collection::IDENTITY_CHANGES];

    pub fn named(name: &str) -> Option<Collection> {
        let sometimes = Collection::OF_SEQUENCES.into_iter().chain(Collection::OF_IDENTITIES);
        let mut fixed = Collection::ALL.into_iter().chain(sometimes);
        fixed.find(|collection| collection.name() == name).or_else(|| state::named(name)).or_else(|| count::named(name))
    }

    pub fn name(self) -> &'static str {
        self.0.name
    }

    pub fn is_view(self) -> bool {
        self.0.nature == Nature::View
    }

    /// `view` or `journal`.
    pub fn kind(self) -> &'static str {
        if self.is_view() { "view" } else { "journal" }
    }

    pub fn key(self) -> &'static [&'static str] {
        self.0.key
    }

    pub fn lookup(self) -> &'static [&'static str] {
        self.0.lookup
    }

    pub fn columns(self, sessions: &SessionSchema) -> Vec<Column> {
        (self.0.columns)(sessions)
    }

    /// Decodes a row of the output log; `None` if the bytes are not one.
    pub fn decode(self, bytes: &[u8]) -> Option<Row<'_>> {
        (self.0.decode)(bytes)
    }

    pub fn held(self) -> Held {
        self.0.held
    }

    pub fn begins(self) -> Begins {
        self.0.begins
    }

    /// Tells whether two encoded rows of a view have the same key. Those of a journal are events: no two belong together.
    pub fn same_key(self) -> SameKey {
        self.0.same_key
    }
}

// A name stands for one definition.
impl PartialEq for Collection {
    fn eq(&self, other: &Collection) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Collection {}

impl PartialOrd for Collection {
    fn partial_cmp(&self, other: &Collection) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Collection {
    fn cmp(&self, other: &Collection) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl Hash for Collection {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

/// As its name.
impl Serialize for Collection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Collection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Collection, D::Error> {
        let name = String::deserialize(deserializer)?;
        Collection::named(&name).ok_or_else(|| D::Error::custom(format!("there is no collection `{name}`")))
    }
}

impl Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What rows say that the graph does not know.
#[derive(Clone, Debug, Default)]
pub struct Naming {
    /// Of the sessions, in microseconds.
    pub gap: i64,
    /// By index.
    pub sequences: Vec<SequenceSchema>,
    /// If there are identities.
    pub identity: Option<IdentitySchema>,
    /// By index: the collection of a state, and since when events count for it, if that is not the beginning.
    pub states: Vec<(Collection, Option<EventTime>)>,
    /// By index: the columns of a count, its collection, and since when events count for it, as above.
    pub counts: Vec<(CountSchema, Collection, Option<EventTime>)>,
}

impl Naming {
    /// Returns what rows of identities name.
    ///
    /// # Panics
    /// If there are none: no row asks for it then.
    pub fn identities(&self) -> &IdentitySchema {
        self.identity.as_ref().expect("rows of identities are of a plan with identities")
    }
}

/// Encodes a row that the graph has resolved, for the collection that it is of.
pub fn encode(row: &resolve::Row<'_>, naming: &Naming) -> (Collection, Vec<u8>) {
    let sequence = |index: u16| &naming.sequences[usize::from(index)];
    match row {
        resolve::Row::Session(row) => (Collection::SESSIONS, sessions::encode(row)),
        resolve::Row::Count((class, hour), events) => (Collection::COUNTS, counts::encode(class, *hour, *events)),
        resolve::Row::Shape(shape, totals) => (Collection::SHAPES, shapes::encode(*shape, totals)),
        resolve::Row::User(user, totals) => (Collection::USERS, users::encode(user, totals)),
        resolve::Row::Closing(user, closing) => (Collection::CLOSINGS, closings::encode(user, closing, naming.gap)),
        resolve::Row::Activity(track, key, activity) => {
            (Collection::ACTIVITIES, activities::encode(sequence(track.sequence), key, activity))
        }
        resolve::Row::Identity(identity) => (Collection::IDENTITIES, identities::encode(naming.identities(), identity)),
        resolve::Row::Moved(moved) => {
            (Collection::IDENTITY_CHANGES, identities::encode_change(naming.identities(), moved))
        }
        resolve::Row::State(state, name, values) => {
            let (collection, since) = naming.states[usize::from(*state)];
            (collection, state::encode(name, values, since))
        }
        resolve::Row::Funnel(key, counts) => {
            (Collection::FUNNELS, funnels::encode(sequence(key.sequence), key, counts))
        }
        resolve::Row::Group(key, totals) => {
            let (schema, collection, since) = &naming.counts[usize::from(key.count)];
            (*collection, schema.encode(key.cells.as_ref(), totals, *since))
        }
        resolve::Row::Late(user, class, late) => (Collection::LATE, late::encode(user, class, late)),
        resolve::Row::Lineage(user, lineage) => (Collection::SESSION_LINEAGE, session_lineage::encode(user, lineage)),
    }
}

/// The [`Definition::same_key`] of journals.
fn no_key(_: &[u8], _: &[u8]) -> bool {
    false
}

/// Returns whether the first `columns` of two rows are equal.
fn same_columns<'b>(one: Option<Row<'b>>, other: Option<Row<'b>>, columns: usize) -> bool {
    one.zip(other).is_some_and(|(one, other)| (0..columns).all(|column| one.value(column) == other.value(column)))
}

/// Returns the bytes of a row.
fn encoded(row: &impl Serialize) -> Vec<u8> {
    // Most rows are shorter: growing to that step by step takes longer than to write it.
    postcard::to_extend(row, Vec::with_capacity(192)).expect("rows are plain data, and memory can be written to")
}

#[cfg(test)]
mod tests;
