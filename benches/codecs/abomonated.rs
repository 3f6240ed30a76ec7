//! abomonation, limited to rows for which it is sound enough to be measured.
//!
//! It is unsound in general (RUSTSEC-2021-0120): it copies memory as it lies, with padding, and reads it back wherever
//! the bytes happen to be. Here rows have no padding, and buffers are aligned (checked at every decoding). A row owns
//! only strings, whose bytes need no alignment. Bytes are decoded only in the process that encoded them.
#![allow(unsafe_code, reason = "abomonation has no safe interface; it is measured here and used nowhere")]

use abomonation::Abomonation;
use std::io::{self, Write};

/// A row that may be encoded as it lies in memory.
///
/// # Safety
/// Neither the type nor anything that it owns has padding, and nothing that it owns is aligned to more than a byte.
pub unsafe trait Plain: Abomonation {}

/// User key, time, signature: [`dataflows::sessionize::Visit`] without details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    pub user: [u64; 2],
    pub time: i64,
    pub signature: u64,
}

impl Abomonation for Visit {}
// SAFETY: four words, nothing owned.
unsafe impl Plain for Visit {}

/// One that has a sum and a carried field, beside each other instead of in boxes and vectors: an inner vector would lie
/// behind the strings of the row before, at any address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetailedVisit {
    pub visit: Visit,
    /// Millionths in two halves, how many numbers, how many others.
    pub sum: [u64; 4],
    pub carried: String,
}

impl Abomonation for DetailedVisit {
    unsafe fn entomb<W: Write>(&self, write: &mut W) -> io::Result<()> {
        // SAFETY: the caller's.
        unsafe { self.carried.entomb(write) }
    }

    unsafe fn exhume<'b>(&mut self, bytes: &'b mut [u8]) -> Option<&'b mut [u8]> {
        // SAFETY: the caller's.
        unsafe { self.carried.exhume(bytes) }
    }

    fn extent(&self) -> usize {
        self.carried.extent()
    }
}
// SAFETY: eight words and a string, which is three; the string owns bytes.
unsafe impl Plain for DetailedVisit {}

/// A user key and the string behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub user: [u64; 2],
    pub name: String,
}

impl Abomonation for Name {
    unsafe fn entomb<W: Write>(&self, write: &mut W) -> io::Result<()> {
        // SAFETY: the caller's.
        unsafe { self.name.entomb(write) }
    }

    unsafe fn exhume<'b>(&mut self, bytes: &'b mut [u8]) -> Option<&'b mut [u8]> {
        // SAFETY: the caller's.
        unsafe { self.name.exhume(bytes) }
    }

    fn extent(&self) -> usize {
        self.name.extent()
    }
}
// SAFETY: two words and a string, which is three; the string owns bytes.
unsafe impl Plain for Name {}

/// Rows that were encoded in this process. There is no way to make one of bytes from elsewhere.
#[derive(Debug)]
pub struct Encoded<T> {
    bytes: Vec<u8>,
    rows: std::marker::PhantomData<T>,
}

impl<T: Plain> Encoded<T> {
    /// Reuses the memory of `spare`.
    pub fn of(rows: &Vec<T>, spare: Vec<u8>) -> Encoded<T> {
        let mut bytes = spare;
        bytes.clear();
        // SAFETY: rows have no padding.
        unsafe { abomonation::encode(rows, &mut bytes) }.expect("memory takes all that is written");
        Encoded { bytes, rows: std::marker::PhantomData }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn into_spare(self) -> Vec<u8> {
        self.bytes
    }

    /// Decodes in place: the rows point into the bytes.
    pub fn decode(&mut self) -> &[T] {
        assert!(self.bytes.as_ptr().addr().is_multiple_of(align_of::<u64>()), "allocations are aligned to a word");
        // SAFETY: the bytes were encoded from a vector of the same type in this process and are aligned; the vector's
        // elements follow its three words, and whatever follows these needs no alignment. Decoding again writes the
        // same pointers again.
        let decoded = unsafe { abomonation::decode::<Vec<T>>(&mut self.bytes) };
        decoded.expect("what was encoded is complete").0
    }
}
