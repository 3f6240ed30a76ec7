//! What could not become an event, why, and where it lies. Bad input is data: the run goes on.

use crate::record::Position;
use serde::{Deserialize, Serialize};

/// One record that could not become an event. A row of the journal `dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Where the record begins.
    pub position: Position,
    /// Why it is no event.
    pub reason: Reason,
    /// What was wrong, in words; lower case, without the payload.
    pub message: String,
    /// The original bytes. Of a record above the size limit: its first bytes, up to that limit.
    pub payload: Vec<u8>,
    /// Length of the whole record in bytes; larger than `payload.len()` only for [`Reason::TooLarge`].
    pub length: u64,
}

/// Why a record is a dead letter. [`Reason::code`] is part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The record is not valid UTF-8.
    NotUtf8,
    /// The record is not valid JSON (or is cut short).
    NoJson,
    /// The record is JSON, but an event has to be an object.
    NotAnObject,
    /// An object names the same key twice, so its meaning is undefined (RFC 8259 §4).
    DuplicateKey,
    /// More bytes than the event size limit.
    TooLarge,
    /// Nested deeper than the limit; found before parsing.
    TooDeep,
    /// More keys than the limit.
    TooManyKeys,
    /// A CSV row whose number of fields differs from its header's.
    WrongFieldCount,
    /// The line is not in Common or Combined Log Format.
    NoLogLine,
    /// The stream could not be read to its end (truncated or damaged compression); what was readable counted.
    DamagedInput,
    /// Another record with the same identity and another payload came first and counts.
    ConflictingDuplicate,
    /// The decoder panicked on it, twice. A defect of ours: others must not have to wait until it is mended.
    Poison,
}

impl Reason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Reason; 12] = [
        Reason::NotUtf8,
        Reason::NoJson,
        Reason::NotAnObject,
        Reason::DuplicateKey,
        Reason::TooLarge,
        Reason::TooDeep,
        Reason::TooManyKeys,
        Reason::WrongFieldCount,
        Reason::NoLogLine,
        Reason::DamagedInput,
        Reason::ConflictingDuplicate,
        Reason::Poison,
    ];

    /// Returns the stable name of this reason in outputs.
    pub fn code(self) -> &'static str {
        match self {
            Reason::NotUtf8 => "not_utf8",
            Reason::NoJson => "no_json",
            Reason::NotAnObject => "not_an_object",
            Reason::DuplicateKey => "duplicate_key",
            Reason::TooLarge => "too_large",
            Reason::TooDeep => "too_deep",
            Reason::TooManyKeys => "too_many_keys",
            Reason::WrongFieldCount => "wrong_field_count",
            Reason::NoLogLine => "no_log_line",
            Reason::DamagedInput => "damaged_input",
            Reason::ConflictingDuplicate => "conflicting_duplicate",
            Reason::Poison => "poison",
        }
    }
}
