//! UTF-16 as UTF-8, while it is read.

use std::io::{self, Read};

/// Units are read in blocks of this many bytes.
const BLOCK: usize = 16 << 10;

/// The text of a stream in UTF-16. What is no character becomes U+FFFD.
pub struct Utf16<R> {
    units: R,
    /// Reads a unit from its two bytes.
    unit: fn([u8; 2]) -> u16,
    /// Bytes that were read and are not decoded yet: less than a character.
    rest: Vec<u8>,
    text: String,
    taken: usize,
    ended: bool,
}

/// The order of the two bytes of a unit that a text in UTF-16 begins with: the mark of RFC 2781.
pub fn order(head: &[u8]) -> Option<fn([u8; 2]) -> u16> {
    match head {
        // UTF-32, which no log is written in.
        [0xff, 0xfe, 0, 0, ..] => None,
        [0xff, 0xfe, ..] => Some(u16::from_le_bytes),
        [0xfe, 0xff, ..] => Some(u16::from_be_bytes),
        _ => None,
    }
}

impl<R: Read> Utf16<R> {
    pub fn new(units: R, unit: fn([u8; 2]) -> u16) -> Utf16<R> {
        Utf16 { units, unit, rest: Vec::new(), text: String::new(), taken: 0, ended: false }
    }

    /// Decodes what comes next.
    fn decode(&mut self) -> io::Result<()> {
        let from = self.rest.len();
        self.rest.resize(from + BLOCK, 0);
        let read = self.units.read(&mut self.rest[from..]);
        self.rest.truncate(from + *read.as_ref().unwrap_or(&0));
        self.ended = read? == 0;
        self.text.clear();
        self.taken = 0;
        let (pairs, odd) = self.rest.as_chunks::<2>();
        let mut units: Vec<u16> = pairs.iter().map(|pair| (self.unit)(*pair)).collect();
        let mut left = odd.len();
        // The other half of a pair may still come.
        if !self.ended && units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit)) {
            units.pop();
            left += 2;
        }
        let characters = char::decode_utf16(units);
        self.text.extend(characters.map(|one| one.unwrap_or(char::REPLACEMENT_CHARACTER)));
        self.rest.drain(..self.rest.len() - left);
        if self.ended && left > 0 {
            self.text.push(char::REPLACEMENT_CHARACTER);
            self.rest.clear();
        }
        Ok(())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.text.len() {
            if self.ended {
                return Ok(0);
            }
            self.decode()?;
        }
        let rest = &self.text.as_bytes()[self.taken..];
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives a few bytes at a time.
    struct Pieces<'b>(&'b [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(into.len()).min(self.0.len());
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(text in "\\PC{0,40}", piece in 1..7_usize) {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            let mut read = String::new();
            Utf16::new(Pieces(&bytes, piece), u16::from_be_bytes).read_to_string(&mut read).unwrap();
            prop_assert_eq!(read, text);
        }

        #[test]
        fn any_units_are_read_to_their_end(units: Vec<u16>, odd: bool, piece in 1..7_usize) {
            let mut bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            bytes.extend(odd.then_some(7));
            let mut read = String::new();
            Utf16::new(Pieces(&bytes, piece), u16::from_le_bytes).read_to_string(&mut read).unwrap();
            let expected = String::from_utf16_lossy(&units) + if odd { "\u{fffd}" } else { "" };
            prop_assert_eq!(read, expected);
        }
    }
}
