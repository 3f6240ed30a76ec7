//! `identities`: which ids are one person. `identity_changes`: ids that became another person's.

use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Storage, Value, encoded, no_key, same_columns};
use dataflows::EventTime;
use dataflows::link::Alias;
use dataflows::stitch::{Identity, Moved};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const DEFINITION: Definition = Definition {
    name: "identities",
    nature: Nature::View,
    key: &["id", "kind"],
    lookup: &["id"],
    columns: |_| columns(),
    decode,
    same_key: |one, other| same_columns(decode(one), decode(other), 2),
    held: Held::Identities,
    begins: Begins::WithTheFolder,
};

pub(super) const CHANGES: Definition = Definition {
    name: "identity_changes",
    nature: Nature::Journal,
    key: &["id", "kind"],
    lookup: &["id", "old", "new"],
    columns: |_| {
        const CATEGORY: Storage = Storage::Category { nullable: false };
        vec![
            Column::new("id", Kind::Text, Storage::Lookup),
            Column::new("kind", Kind::Text, CATEGORY),
            Column::new("old", Kind::Text, Storage::Lookup),
            Column::new("old_kind", Kind::Text, CATEGORY),
            Column::new("new", Kind::Text, Storage::Lookup),
            Column::new("new_kind", Kind::Text, CATEGORY),
            Column::new("reason", Kind::Text, CATEGORY),
        ]
    },
    decode: decode_change,
    same_key: no_key,
    held: Held::Nothing,
    begins: Begins::WithTheFolder,
};

/// The column of a run that says since when events count.
pub const PARTIAL: &str = "partial_since";

/// What rows of identities name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentitySchema {
    /// The name of each kind.
    pub kinds: Vec<Arc<str>>,
    /// Since when events count, if that is not the beginning.
    pub since: Option<EventTime>,
}

impl IdentitySchema {
    fn kind(&self, alias: &Alias) -> &str {
        &self.kinds[usize::from(alias.kind)]
    }
}

/// Returns the columns, in order.
pub fn columns() -> Vec<Column> {
    const CATEGORY: Storage = Storage::Category { nullable: false };
    let head = [
        Column::new("id", Kind::Text, Storage::Lookup),
        Column::new("kind", Kind::Text, CATEGORY),
        Column::new("identity", Kind::Text, Storage::Lookup),
        Column::new("identity_kind", Kind::Text, CATEGORY),
        Column::new("first_seen", Kind::Time, Storage::Distinct),
    ];
    let tail = Column::plain([
        ("ids", Kind::Integer),
        ("links", Kind::Integer),
        ("capped", Kind::Integer),
        ("refused", Kind::Integer),
        (PARTIAL, Kind::Time),
    ]);
    Column::nullable(head.into_iter().chain(tail).collect(), &[PARTIAL])
}

/// A row in the log.
#[derive(Serialize, Deserialize)]
struct Encoded<'a> {
    id: &'a str,
    kind: &'a str,
    identity: &'a str,
    identity_kind: &'a str,
    first_seen: EventTime,
    /// In the order of the columns.
    numbers: [u32; 4],
    since: Option<EventTime>,
}

fn row<'a>(schema: &'a IdentitySchema, identity: &'a Identity) -> Encoded<'a> {
    let Identity { alias, of, first_seen, aliases, links, capped, refused } = identity;
    Encoded {
        id: &alias.text,
        kind: schema.kind(alias),
        identity: &of.text,
        identity_kind: schema.kind(of),
        first_seen: *first_seen,
        numbers: [*aliases, *links, *capped, *refused],
        since: schema.since,
    }
}

pub fn encode(schema: &IdentitySchema, identity: &Identity) -> Vec<u8> {
    encoded(&row(schema, identity))
}

/// Returns the values of a row, in the order of the columns.
pub fn values<'a>(schema: &'a IdentitySchema, identity: &'a Identity) -> [Value<'a>; 10] {
    values_of(row(schema, identity))
}

fn values_of(row: Encoded<'_>) -> [Value<'_>; 10] {
    let Encoded { id, kind, identity, identity_kind, first_seen, numbers, since } = row;
    let [ids, links, capped, refused] = numbers.map(|number| Value::Integer(i64::from(number)));
    [
        Value::Text(id),
        Value::Text(kind),
        Value::Text(identity),
        Value::Text(identity_kind),
        Value::Time(first_seen),
        ids,
        links,
        capped,
        refused,
        Value::or_null(since, Value::Time),
    ]
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    postcard::from_bytes(bytes).ok().map(|row| Row::new(values_of(row)))
}

pub fn encode_change(schema: &IdentitySchema, moved: &Moved) -> Vec<u8> {
    let Moved { alias, from, to, why } = moved;
    let [id, old, new] = [alias, from, to].map(|alias| (&*alias.text, schema.kind(alias)));
    encoded(&(id, old, new, why.code()))
}

fn decode_change(bytes: &[u8]) -> Option<Row<'_>> {
    type Named<'a> = (&'a str, &'a str);
    let (id, old, new, why): (Named<'_>, Named<'_>, Named<'_>, &str) = postcard::from_bytes(bytes).ok()?;
    Some(Row::new([id.0, id.1, old.0, old.1, new.0, new.1, why].map(Value::Text)))
}
