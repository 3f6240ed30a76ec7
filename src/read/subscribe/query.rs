//! The query of a reader: rows of a collection that fit a filter, some of their columns, in one of the envelopes.

use crate::collections::filter::Filter;
use crate::collections::{Collection, Row, Schema};
use crate::fingerprint::Canonical;
use serde::Deserialize;
use std::sync::Arc;

/// Values of `key=`.
const KEYS: usize = 1024;

/// The form of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Envelope {
    /// A row and how often it is added, or removed.
    #[default]
    Diff,
    /// A key and the row that it has now; null if it has none any more.
    Upsert,
}

/// As they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    pub filter: Option<String>,
    /// Any of these.
    pub keys: Vec<String>,
    /// Names with commas between.
    pub columns: Option<String>,
    pub envelope: Envelope,
}

/// A query that makes sense.
#[derive(Clone, Debug)]
pub struct Query {
    pub collection: Collection,
    pub filter: Option<Arc<Filter>>,
    /// Indices in the schema, in the order in which they are shown.
    pub columns: Vec<usize>,
    pub envelope: Envelope,
    /// Queries with equal ones give equal frames.
    pub fingerprint: [u8; 8],
    /// The same in the tokens of releases up to 0.1.0.
    pub former: [u8; 8],
}

/// The mistake of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError {
    /// `filter`, `columns` or `key`.
    pub code: &'static str,
    pub message: String,
}

impl Query {
    /// # Errors
    /// If a filter or the columns cannot be read.
    pub fn new(schema: &Schema, parameters: &Parameters) -> Result<Query, QueryError> {
        let Parameters { filter, keys, columns, envelope } = parameters;
        let wrong = |code| move |message: String| QueryError { code, message };
        if keys.len() > KEYS {
            return Err(wrong("key")(format!("more than {KEYS} keys: ask in parts")));
        }
        let mut all = Vec::new();
        if let Some(filter) = filter {
            all.push(Filter::parse(filter, schema).map_err(|error| wrong("filter")(error.to_string()))?);
        }
        if !keys.is_empty() {
            all.push(Filter::any(keys.iter().map(|key| Filter::of_key(key, schema)).collect()));
        }
        let filter = if all.len() > 1 { Some(Filter::all(all)) } else { all.pop() };
        let took_unknown = filter.as_ref().is_some_and(|filter| filter.took_unknown(schema));
        let indices = match columns {
            None => (0..schema.columns.len()).collect(),
            Some(names) => named(schema, names).map_err(wrong("columns"))?,
        };
        Ok(Query {
            collection: schema.collection,
            filter: filter.map(Arc::new),
            columns: indices,
            envelope: *envelope,
            fingerprint: fingerprint(schema.collection, parameters, took_unknown),
            // No token of before continues a filter that took other rows then.
            former: match took_unknown {
                true => fingerprint(schema.collection, parameters, took_unknown),
                false => former_fingerprint(schema.collection, parameters),
            },
        })
    }

    pub fn wants(&self, row: &Row<'_>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(row))
    }

    /// Returns whether rows are shown as they are.
    pub fn is_whole(&self, schema: &Schema) -> bool {
        self.envelope == Envelope::Diff && self.columns.iter().copied().eq(0..schema.columns.len())
    }
}

/// `took_unknown`: see [`Filter::took_unknown`].
fn fingerprint(collection: Collection, parameters: &Parameters, took_unknown: bool) -> [u8; 8] {
    let Parameters { filter, keys, columns, envelope } = parameters;
    let mut to = Canonical::new("headwater query v2");
    to.text(collection.name()).option(filter.as_ref(), |to, filter| {
        to.text(filter);
    });
    to.list(keys, |to, key| {
        to.text(key);
    })
    .option(columns.as_ref(), |to, columns| {
        to.text(columns);
    });
    to.number(u64::from(*envelope == Envelope::Upsert));
    if took_unknown {
        to.number(1);
    }
    let [a, b, c, d, e, f, g, h, ..] = to.finish();
    [a, b, c, d, e, f, g, h]
}

/// Returns a digest of the text that `Debug` printed of these values: strings, options, lists and tuples of the
/// standard library.
fn former_fingerprint(collection: Collection, parameters: &Parameters) -> [u8; 8] {
    let Parameters { filter, keys, columns, envelope } = parameters;
    let parts = (collection.name(), filter, keys, columns, *envelope == Envelope::Upsert);
    let hash = blake3::hash(format!("{parts:?}").as_bytes());
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

fn named(schema: &Schema, names: &str) -> Result<Vec<usize>, String> {
    let mut indices = Vec::new();
    for name in names.split(',').map(str::trim) {
        let Some(index) = schema.column(name) else {
            let known: Vec<_> = schema.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(format!("there is no column `{name}`: the columns are {}", known.join(", ")));
        };
        if !indices.contains(&index) {
            indices.push(index);
        }
    }
    Ok(indices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::hex;

    /// Tokens hold these.
    #[test]
    fn fingerprints_are_pinned() {
        let of = |parameters: &Parameters| {
            (
                hex(&fingerprint(Collection::SESSIONS, parameters, false)),
                hex(&former_fingerprint(Collection::SESSIONS, parameters)),
            )
        };
        let pinned = |one: &str, former: &str| (one.to_owned(), former.to_owned());
        let all = Parameters {
            filter: Some("user = \"ü\"".into()),
            keys: vec!["a".into(), "b'\n".into()],
            columns: Some("user,events".into()),
            envelope: Envelope::Upsert,
        };
        let pins = [pinned("118f67c0587ae7fd", "9c1bddbc55de9ec4"), pinned("653136a7e3e65189", "e633a38ee40fc691")];
        assert_eq!([of(&Parameters::default()), of(&all)], pins);
    }
}
