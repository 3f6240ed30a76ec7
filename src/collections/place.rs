//! The place of an event in the queue: the offset of its [`Position`] has the record of the part, and the byte within
//! that delivery.

use dataflows::Position;

/// The index of a source in the configuration at hand, which [`Position::source`] names. What is durable has the source's
/// number instead ([`crate::queue::numbers::SourceNumber`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceIndex(pub u16);

/// Bits of an offset in a [`Position`] that are for the place of an event in its delivery. The others are the record's.
const PLACE_BITS: u32 = 24;

/// Bytes of events that one delivery can hold.
pub const DELIVERY_BYTES: usize = (1 << PLACE_BITS) - 1;

/// Returns the position of the record that begins at `byte` of a delivery.
pub fn position(source: SourceIndex, part: u32, record: u64, byte: usize) -> Position {
    Position { source: source.0, part, offset: record << PLACE_BITS | byte as u64 }
}

/// Returns the record and the byte of the offset of such a position.
pub fn place(offset: u64) -> (u64, usize) {
    (offset >> PLACE_BITS, offset as usize & DELIVERY_BYTES)
}
