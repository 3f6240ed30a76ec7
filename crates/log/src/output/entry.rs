//! The record of a tick: its rows, or where they are, and the step that made the tick.

use super::block::{Block, take_text, text, unsealed};
use super::blocks::{self, Contents};
use crate::Tick;
use crate::remap::Step;

/// Of a record that begins with a step: its length, the step, and then a record of another version.
const STEP: u8 = 3;

/// The record of a tick.
pub(super) enum Entry {
    /// The rows.
    Whole(Block),
    /// Where the rows are.
    Large(Contents),
}

impl Entry {
    /// Reads the record of `tick`. `None` if these are not its bytes, or they are not in canonical form.
    pub fn decode(bytes: &[u8], tick: Tick) -> Option<Entry> {
        let bytes = split_step(bytes)?.1;
        let entry = match bytes.first()? {
            &blocks::VERSION => Entry::Large(Contents::decode(unsealed(bytes)?)?),
            _ => Entry::Whole(Block::decode(bytes)?),
        };
        let of = match &entry {
            Entry::Whole(block) => block.tick,
            Entry::Large(contents) => contents.tick,
        };
        (of == tick).then_some(entry)
    }
}

/// Returns the record of a tick that says what made the tick's own record of the one before.
pub(super) fn with_step(step: &Step, entry: &[u8]) -> Vec<u8> {
    let step = step.encode();
    let mut bytes = Vec::with_capacity(5 + step.len() + entry.len());
    bytes.push(STEP);
    text(&mut bytes, &step);
    bytes.extend_from_slice(entry);
    bytes
}

/// Returns the step of a record, if it has one.
pub(super) fn step_of(record: &[u8]) -> Option<Step> {
    Step::decode(split_step(record)?.0?)
}

/// Returns the bytes of a record's step, if it has one, and what follows.
fn split_step(record: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let Some((&STEP, mut rest)) = record.split_first() else { return Some((None, record)) };
    let step = take_text(&mut rest)?;
    (rest.first() != Some(&STEP)).then_some((Some(step), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output logs hold these bytes.
    #[test]
    fn the_encoding_of_version_3_is_pinned() {
        let step = Step { epoch: 1, digest: [5; 32], uppers: Default::default() };
        let block = Block::new(7, -2);
        let record = with_step(&step, &block.encode());
        let head = [&b"\x03\x2c\0\0\0\x01\0\0\0\0\0\0\0"[..], &[5; 32], b"\0\0\0\0"].concat();
        assert_eq!(record, [head, block.encode()].concat());
        assert_eq!(step_of(&record), Some(step.clone()));
        assert_eq!(step_of(&block.encode()), None);
        assert!(matches!(Entry::decode(&record, 7), Some(Entry::Whole(found)) if found == block));
        assert!(Entry::decode(&with_step(&step, &record), 7).is_none(), "a step follows no step");
    }
}
