//! What one worker publishes of one tick, in the one form that it has.

use crate::log::error::LogError;
use dataflows::Tick;
use std::collections::BTreeMap;

const VERSION: u8 = 1;

/// Encoded rows, each with how often it is added (or removed, below 0).
pub type Rows = Vec<(Vec<u8>, i64)>;

/// The rows of a tick, by collection. Rows are sorted by bytes, each is there once, and none with 0: the same rows make
/// the same bytes, in whatever order and pieces they came. The rank of a row is its sequence number in the tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub tick: Tick,
    /// The tick's clock: milliseconds since 1970-01-01T00:00:00Z.
    pub now_ms: i64,
    collections: BTreeMap<String, Rows>,
}

impl Block {
    pub fn new(tick: Tick, now_ms: i64) -> Block {
        Block { tick, now_ms, collections: BTreeMap::new() }
    }

    /// Adds rows to a collection.
    ///
    /// # Errors
    /// [`LogError::Refused`] if a row's multiplicity leaves `i64`; the block is then of no use.
    pub fn add(&mut self, collection: &str, rows: Rows) -> Result<(), LogError> {
        let all = self.collections.entry(collection.to_owned()).or_default();
        all.extend(rows);
        all.sort_unstable();
        let mut overflow = false;
        all.dedup_by(|row, kept| {
            let same = row.0 == kept.0;
            if same {
                let sum = kept.1.checked_add(row.1);
                overflow |= sum.is_none();
                kept.1 = sum.unwrap_or_default();
            }
            same
        });
        all.retain(|(_, diff)| *diff != 0);
        if all.is_empty() {
            self.collections.remove(collection);
        }
        if overflow {
            return Err(LogError::Refused(format!("a row of `{collection}` is there too often")));
        }
        Ok(())
    }

    /// By name. Collections without rows are not there.
    pub fn collections(&self) -> impl Iterator<Item = (&str, &[(Vec<u8>, i64)])> {
        self.collections.iter().map(|(name, rows)| (name.as_str(), rows.as_slice()))
    }

    /// Of one collection.
    pub fn rows(&self, collection: &str) -> &[(Vec<u8>, i64)] {
        self.collections.get(collection).map_or(&[], Vec::as_slice)
    }

    /// Of the tick and all rows: what recovery compares when it computes the tick again.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.body()).as_bytes()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let body = self.body();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(blake3::hash(&body).as_bytes());
        bytes.extend_from_slice(&body);
        bytes
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
        let mut rest = bytes;
        let [VERSION] = take(&mut rest)? else { return None };
        let digest: [u8; 32] = take(&mut rest)?;
        if blake3::hash(rest) != digest {
            return None;
        }
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

/// What changed in one collection in one tick, over the blocks of all workers: removals first, then by bytes. The same
/// rows are in the same order, however many workers there were.
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

fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(text);
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn take_text<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = u32::from_le_bytes(take(bytes)?) as usize;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

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
