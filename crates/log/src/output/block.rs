//! The published rows of one tick, in their one canonical form.

use crate::Tick;
use crate::error::LogError;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

const VERSION: u8 = 1;
/// Bytes before the body of a record: version and digest.
const HEAD: usize = 33;

/// Encoded rows, each with how often it is added (or removed, below 0).
pub type Rows = Vec<(Vec<u8>, i64)>;

/// Rows of a tick that need not be in memory, in canonical order: by collection, sorted by bytes, each once, none with 0.
pub trait Canonical {
    /// Returns the tick, and its clock: milliseconds since 1970-01-01T00:00:00Z.
    fn tick(&self) -> (Tick, i64);

    /// Names of the collections that may have rows, sorted.
    fn collections(&self) -> Vec<String>;

    /// Returns the rows of a collection from the first one on, however often it is called.
    ///
    /// # Errors
    /// [`LogError::Read`] of where they are kept.
    fn rows<'r>(&'r self, collection: &str) -> Result<RowStream<'r>, LogError>;
}

/// Rows one by one.
pub type RowStream<'r> = Box<dyn Iterator<Item = Result<(Vec<u8>, i64), LogError>> + 'r>;

/// The rows of a tick, by collection. Rows are sorted by bytes, each is there once, and none with 0: the same rows make
/// the same bytes, in whatever order and pieces they came. The rank of a row is its sequence number in the tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The tick that changed the rows.
    pub tick: Tick,
    /// The tick's clock: milliseconds since 1970-01-01T00:00:00Z.
    pub now_ms: i64,
    collections: BTreeMap<String, Rows>,
}

impl Block {
    /// Makes a block without rows.
    pub fn new(tick: Tick, now_ms: i64) -> Block {
        Block { tick, now_ms, collections: BTreeMap::new() }
    }

    /// Returns a block with the rows of one collection, which are in canonical form.
    pub(super) fn of(tick: Tick, now_ms: i64, collection: &str, rows: Rows) -> Block {
        Block { tick, now_ms, collections: [(collection.to_owned(), rows)].into() }
    }

    /// Adds rows to a collection.
    ///
    /// # Errors
    /// [`LogError::Refused`] if a row's multiplicity leaves `i64`; the block is then of no use.
    pub fn add(&mut self, collection: &str, rows: Rows) -> Result<(), LogError> {
        let all = self.collections.entry(collection.to_owned()).or_default();
        all.extend(rows);
        let consolidated = consolidate(all);
        if all.is_empty() {
            self.collections.remove(collection);
        }
        consolidated.ok_or_else(|| too_often(collection))
    }

    /// Returns the rows of several blocks of one tick.
    ///
    /// # Errors
    /// As [`Block::add`].
    pub fn union(mut self, others: impl IntoIterator<Item = Block>) -> Result<Block, LogError> {
        for other in others {
            other.collections.into_iter().try_for_each(|(collection, rows)| self.add(&collection, rows))?;
        }
        Ok(self)
    }

    /// Returns the rows by name of collection. Collections without rows are absent.
    pub fn collections(&self) -> impl Iterator<Item = (&str, &[(Vec<u8>, i64)])> {
        self.collections.iter().map(|(name, rows)| (name.as_str(), rows.as_slice()))
    }

    /// Returns the rows of one collection.
    pub fn rows(&self, collection: &str) -> &[(Vec<u8>, i64)] {
        self.collections.get(collection).map_or(&[], Vec::as_slice)
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.collections.values().flatten().map(|(row, _)| row.len()).sum()
    }

    /// Returns the digest of the tick and all rows. Recovery compares it when it computes the tick again.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.body()).as_bytes()
    }

    /// Takes the rows of a collection out.
    pub(super) fn take(&mut self, collection: &str) -> Rows {
        self.collections.remove(collection).unwrap_or_default()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        sealed(VERSION, &self.body())
    }

    fn body(&self) -> Vec<u8> {
        let mut bytes = self.tick.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.now_ms.to_le_bytes());
        bytes.extend_from_slice(&(self.collections.len() as u32).to_le_bytes());
        for (name, rows) in &self.collections {
            text(&mut bytes, name.as_bytes());
            bytes.extend_from_slice(&(rows.len() as u64).to_le_bytes());
            for (row, diff) in rows {
                text(&mut bytes, row);
                bytes.extend_from_slice(&diff.to_le_bytes());
            }
        }
        bytes
    }

    /// `None` if these are not the bytes of a block, or it is not in canonical form.
    pub(super) fn decode(bytes: &[u8]) -> Option<Block> {
        Block::of_body(unsealed(bytes).filter(|_| bytes[0] == VERSION)?)
    }

    fn of_body(mut rest: &[u8]) -> Option<Block> {
        let mut block = Block::new(u64::from_le_bytes(take(&mut rest)?), i64::from_le_bytes(take(&mut rest)?));
        for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
            let name = String::from_utf8(take_text(&mut rest)?.to_vec()).ok()?;
            let count = u64::from_le_bytes(take(&mut rest)?);
            let mut rows = Rows::new();
            for _ in 0..count {
                let row = take_text(&mut rest)?;
                if rows.last().is_some_and(|(last, _)| last.as_slice() >= row) {
                    return None;
                }
                rows.push((row.to_vec(), i64::from_le_bytes(take(&mut rest)?)));
            }
            block.collections.insert(name, rows);
        }
        rest.is_empty().then_some(block)
    }
}

/// As its bytes, for a reader of the same program.
impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.body())
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Block, D::Error> {
        struct Body;
        impl Visitor<'_> for Body {
            type Value = Block;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a block")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Block, E> {
                Block::of_body(bytes).ok_or_else(|| E::custom("these are not the bytes of a block"))
            }
        }
        deserializer.deserialize_bytes(Body)
    }
}

impl Canonical for Block {
    fn tick(&self) -> (Tick, i64) {
        (self.tick, self.now_ms)
    }

    fn collections(&self) -> Vec<String> {
        self.collections.keys().cloned().collect()
    }

    fn rows<'r>(&'r self, collection: &str) -> Result<RowStream<'r>, LogError> {
        Ok(Box::new(Block::rows(self, collection).iter().cloned().map(Ok)))
    }
}

/// Sorts rows and adds up those that are equal. `None` if a multiplicity leaves `i64`; the rows are then of no use.
pub fn consolidate(rows: &mut Rows) -> Option<()> {
    // Rows of several workers are runs that are sorted already, which a stable sort merges.
    rows.sort();
    let mut overflow = false;
    rows.dedup_by(|row, kept| {
        let same = row.0 == kept.0;
        if same {
            let sum = kept.1.checked_add(row.1);
            overflow |= sum.is_none();
            kept.1 = sum.unwrap_or_default();
        }
        same
    });
    rows.retain(|(_, diff)| *diff != 0);
    (!overflow).then_some(())
}

/// Returns the error of a row whose multiplicity leaves `i64`.
pub fn too_often(collection: &str) -> LogError {
    LogError::Refused(format!("a row of `{collection}` is there too often"))
}

/// Returns the changes of one collection in one tick, over the blocks of all workers: removals first, then by bytes.
/// The same rows are in the same order, however many workers there were. As [`super::Pieces`], of a tick that is one
/// piece.
pub fn changes<'b>(blocks: &'b [Block], collection: &str) -> Vec<(&'b [u8], i64)> {
    let rows = blocks.iter().flat_map(|block| block.rows(collection));
    let mut all: Vec<(&[u8], i64)> = rows.map(|(row, diff)| (row.as_slice(), *diff)).collect();
    all.sort_unstable();
    all.dedup_by(|row, kept| {
        let same = row.0 == kept.0;
        if same {
            kept.1 += row.1;
        }
        same
    });
    all.retain(|(_, diff)| *diff != 0);
    // Stable.
    all.sort_by_key(|(_, diff)| *diff > 0);
    all
}

/// Returns a record: version, BLAKE3 of the body, body.
pub(super) fn sealed(version: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.push(version);
    bytes.extend_from_slice(blake3::hash(body).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Returns the body of a record; `None` if its digest is another one.
pub(super) fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let body = bytes.get(HEAD..)?;
    (blake3::hash(body).as_bytes()[..] == *digest_of(bytes)).then_some(body)
}

/// Returns the digest that a record has been given.
pub(super) fn digest_of(bytes: &[u8]) -> &[u8] {
    &bytes[1..HEAD]
}

pub(super) fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(text);
}

pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

pub(super) fn take_text<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = u32::from_le_bytes(take(bytes)?) as usize;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output logs hold these bytes.
    #[test]
    fn the_encoding_of_version_1_is_pinned() {
        let mut block = Block::new(7, -2);
        block.add("late", vec![(b"ab".to_vec(), -3)]).unwrap();
        let body = [
            &[7, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 4, 0, 0, 0][..],
            b"late\x01\0\0\0\0\0\0\0\x02\0\0\0ab\xfd\xff\xff\xff\xff\xff\xff\xff",
        ];
        let body = body.concat();
        let record = [&[1], &blake3::hash(&body).as_bytes()[..], &body].concat();
        assert_eq!(block.encode(), record);
        assert_eq!(Block::decode(&record), Some(block));
    }

    #[test]
    fn the_same_rows_make_the_same_bytes() {
        let row = |text: &str, diff| (text.as_bytes().to_vec(), diff);
        let mut one = Block::new(4, 9);
        one.add("sessions", vec![row("b", 1), row("a", -1), row("c", 2), row("c", -2)]).unwrap();
        one.add("counts", vec![row("x", 1), row("x", -1)]).unwrap();
        let mut other = Block::new(4, 9);
        other.add("sessions", vec![row("a", -2)]).unwrap();
        other.add("sessions", vec![row("b", 1), row("a", 1)]).unwrap();
        assert_eq!(one.encode(), other.encode());
        assert_eq!(Block::decode(&one.encode()), Some(other));
        let shown: Vec<_> = one.collections().collect();
        assert_eq!(shown, [("sessions", &[row("a", -1), row("b", 1)][..])]);
        assert!(one.add("sessions", vec![row("b", i64::MAX)]).is_err());
    }
}
