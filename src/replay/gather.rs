//! A batch of records that, on request, also gathers what classes follow from: which signatures and shapes there are, and
//! an example of each.

use dataflows::engine::Input;
use dataflows::facts::Facts;
use dataflows::{Position, SignatureId};
use headwater_decode::account::Account;
use headwater_decode::interpret::{Batch, BatchMark, Interpreter};
use headwater_decode::{Harvest, Read};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Bytes of a payload that are kept as an example.
const EXAMPLE: usize = 400;

/// Examples that a worker keeps. Of more signatures, the later ones have none.
const EXAMPLES: usize = 1 << 16;

/// The first event of a signature, as far as a worker has seen.
#[derive(Clone, Debug)]
pub struct Example {
    pub position: Position,
    /// Its first bytes.
    pub payload: Vec<u8>,
    pub is_cut: bool,
}

/// What one worker has seen of the events that it decoded.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Without numbers of events: the graph counts them.
    pub facts: Facts,
    pub examples: BTreeMap<SignatureId, Example>,
}

impl Seen {
    fn example(&mut self, signature: SignatureId, position: Position, payload: &[u8]) {
        let is_full = self.examples.len() >= EXAMPLES;
        let made = || {
            let kept = &payload[..payload.len().min(EXAMPLE)];
            Example { position, payload: kept.to_vec(), is_cut: kept.len() < payload.len() }
        };
        match self.examples.entry(signature) {
            Entry::Vacant(entry) if !is_full => _ = entry.insert(made()),
            // A file may be read before another one that comes first in the order of the log.
            Entry::Occupied(mut entry) if position < entry.get().position => _ = entry.insert(made()),
            _ => {}
        }
    }

    /// Takes what a batch says of signatures and shapes.
    pub fn take(&mut self, input: &Input) {
        self.facts.signatures.extend(input.signatures.iter().cloned());
        self.facts.shapes.extend(input.shapes.iter().cloned());
    }

    /// Adds what another worker has seen.
    pub fn add(&mut self, other: Seen) {
        self.facts.add(other.facts);
        for (signature, example) in other.examples {
            match self.examples.entry(signature) {
                Entry::Vacant(entry) => _ = entry.insert(example),
                Entry::Occupied(mut entry) if example.position < entry.get().position => _ = entry.insert(example),
                Entry::Occupied(_) => {}
            }
        }
    }
}

/// A batch, and what was seen of its events.
#[derive(Default)]
pub struct Gathering {
    pub batch: Batch,
    /// `None`: that is not wanted.
    pub seen: Option<Box<Seen>>,
}

impl Harvest for Gathering {
    type Mark = BatchMark;

    fn event(&mut self, interpreter: &mut Interpreter, read: Read<'_>, position: Position, payload: &[u8]) {
        let before = self.batch.input.records.len();
        self.batch.event(interpreter, read, position, payload);
        if let Some(seen) = &mut self.seen
            && let Some(record) = self.batch.input.records.get(before)
        {
            seen.example(record.event.signature, position, payload);
        }
    }

    fn account(&mut self, account: &Account) {
        self.batch.account(account);
    }

    fn finish(&mut self, interpreter: &mut Interpreter) {
        self.batch.finish(interpreter);
    }

    fn mark(&self) -> BatchMark {
        self.batch.mark()
    }

    /// Examples stay: each other record of the block is read again.
    fn back_to(&mut self, mark: BatchMark) {
        self.batch.back_to(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Overrides};
    use headwater_decode::framing::Framing;
    use headwater_decode::interpret::Range;
    use headwater_decode::spec::Format;
    use headwater_decode::{Block, Decoder};

    const EVENTS: &str = r#"{"user":"a","type":"x","price":1}
{"user":"a","type":"","price":2}
{"user":"b","price":2,"page":"/p"}
{"user":"b","type":"x","price":9}
{"user":"c","type":"x","price":1}
"#;

    /// A descriptor stands for the signature that the reader computed.
    #[test]
    fn what_is_gathered_are_the_signatures_of_the_events() {
        let text = "[[source]]\nname = 'w'\npaths = 'x'\n[[class]]\nname = 'a'\nwhen = \"price > 1 or page = '/p'\"\n[[class]]\nname = 'b'\nwhen = 'price > 5'\n";
        let overrides = Overrides { without_files: true, ..Overrides::default() };
        let plan = config::parse("test.toml", text, std::path::Path::new("/"), &overrides).unwrap();
        let mut gathering = Gathering { seen: Some(Box::default()), ..Gathering::default() };
        let position = Position { source: 0, part: 3, offset: 100 };
        let block = Block {
            position,
            format: Format::Json,
            framing: Framing::Lines,
            header: None,
            received: None,
            bytes: EVENTS.as_bytes(),
        };
        Decoder::new(plan.spec(), Range::default()).read(&block, &mut gathering);
        let Gathering { batch, seen: Some(mut seen) } = gathering else { panic!("it was wanted") };
        seen.take(&batch.input);
        assert_eq!(seen.facts.signatures.len(), 4);
        for (signature, descriptor) in &seen.facts.signatures {
            assert_eq!(descriptor.signature(), *signature, "{descriptor:?}");
        }
        let mut places: Vec<u64> = seen.examples.values().map(|example| example.position.offset - 100).collect();
        places.sort_unstable();
        let starts: Vec<u64> = EVENTS.match_indices("{\"user").map(|(at, _)| at as u64).collect();
        assert_eq!(places, starts[..4]);
    }
}
