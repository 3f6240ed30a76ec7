//! The reason why a payload could not be read. With the position and the original bytes it becomes a dead letter.

use dataflows::Reason;

/// Why a payload is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For programs.
    pub reason: Reason,
    /// In words for the user; lower case, without the payload.
    pub message: String,
}

impl Fault {
    /// Makes a fault.
    pub fn new(reason: Reason, message: impl Into<String>) -> Fault {
        Fault { reason, message: message.into() }
    }

    /// Returns the fault of a record of `length` bytes where `limit` are allowed.
    pub fn too_large(length: u64, limit: usize) -> Fault {
        Fault::new(
            Reason::TooLarge,
            format!("the record has {length} bytes, more than the limit of {limit} (`max_bytes` of [events])"),
        )
    }
}
