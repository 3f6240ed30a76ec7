//! The output of decoding: records for the graph, dead letters, and counts.

use super::Interpreter;
use crate::account::Account;
use crate::usage::Usage;
use crate::{Harvest, Read};
use dataflows::engine::Input;
use dataflows::{DeadLetter, Position, Reason};
use std::collections::{BTreeMap, BTreeSet};

/// The output of decoding, reused from block to block.
#[derive(Default)]
pub struct Batch {
    /// For the graph.
    pub input: Input,
    /// What could not become an event.
    pub dead_letters: Vec<DeadLetter>,
    /// Events that held one path both dotted and nested.
    pub ambiguous: u64,
    /// Events outside of the asked range of event time.
    pub outside: u64,
    /// Events whose time was too far in the future, and counts as that of reception.
    pub skewed: u64,
    /// Users, types and carried texts that were longer than [`crate::longest::LONGEST`] and were cut.
    pub texts_cut: u64,
    /// Events of which something unreadable was mended.
    pub repaired: u64,
    /// Where the bytes of the input went.
    pub account: Account,
    /// The fields that tests ask for and that some event has.
    pub met: BTreeSet<usize>,
    /// What was used of the configuration.
    pub usage: Usage,
    /// Events of a sequence that have no value of the field that it is followed for, by sequence.
    pub keyless: BTreeMap<u16, u64>,
}

/// The lengths of a [`Batch`] at one moment.
pub struct BatchMark {
    records: usize,
    names: usize,
    signatures: usize,
    shapes: usize,
    dead_letters: usize,
    ambiguous: u64,
    outside: u64,
    skewed: u64,
    texts_cut: u64,
    repaired: u64,
}

/// Each event becomes a record, a dead letter, or is outside of the asked range.
impl Harvest for Batch {
    type Mark = BatchMark;

    #[inline]
    fn event(&mut self, interpreter: &mut Interpreter, read: Read<'_>, position: Position, payload: &[u8]) {
        let fault = match read {
            Ok(reading) => {
                self.repaired += u64::from(interpreter.repaired);
                return interpreter.record(reading, position, payload, self);
            }
            Err(fault) => fault,
        };
        let length = payload.len();
        let kept = match fault.reason {
            Reason::TooLarge => length.min(interpreter.events().limits.event_bytes),
            _ => length,
        };
        self.dead_letters.push(DeadLetter {
            position,
            reason: fault.reason,
            message: fault.message,
            payload: payload[..kept].to_vec(),
            length: length as u64,
        });
    }

    fn account(&mut self, account: &Account) {
        self.account.add(account);
    }

    fn finish(&mut self, interpreter: &mut Interpreter) {
        interpreter.finish(self);
    }

    fn mark(&self) -> BatchMark {
        BatchMark {
            records: self.input.records.len(),
            names: self.input.names.len(),
            signatures: self.input.signatures.len(),
            shapes: self.input.shapes.len(),
            dead_letters: self.dead_letters.len(),
            ambiguous: self.ambiguous,
            outside: self.outside,
            skewed: self.skewed,
            texts_cut: self.texts_cut,
            repaired: self.repaired,
        }
    }

    fn back_to(&mut self, mark: BatchMark) {
        self.input.records.truncate(mark.records);
        self.input.names.truncate(mark.names);
        self.input.signatures.truncate(mark.signatures);
        self.input.shapes.truncate(mark.shapes);
        self.dead_letters.truncate(mark.dead_letters);
        (self.ambiguous, self.outside) = (mark.ambiguous, mark.outside);
        (self.skewed, self.texts_cut, self.repaired) = (mark.skewed, mark.texts_cut, mark.repaired);
    }
}
